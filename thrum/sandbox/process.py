"""One child process, from its start behind a gate to its end: limits, captured output, and no way to hang us.

Sandboxes say how a program is started and ended (`Launch`); `run` does the waiting. Linux only: it waits on a
pidfd, the output's pipe and a stop event in one poll. Nothing here isolates anything.
"""

from __future__ import annotations

import logging
import math
import os
import resource
import select
import signal
import subprocess
import threading
import time
import weakref
from collections.abc import Callable

from thrum.errors import SandboxError
from thrum.job import Ending, Job, Outcome
from thrum.sandbox.capture import Capture
from thrum.sandbox.disk import FIRST_LOOK_S, Watch
from thrum.sandbox.endings import outcome_of
from thrum.values import dataclass

log = logging.getLogger(__name__)

GRACE_S = 5.0
"""Between the request to end (SIGTERM) and SIGKILL."""
DRAIN_S = 0.5
"""How long output is still read from a pipe that something holds open after the program has ended."""
KILL_WAIT_S = 30.0
"""How long a killed process may take to die (in the middle of a slow disk's write) before we give up on it."""
_TICK_S = 0.1
_CHUNK_BYTES = 65536

_GATE = 'while read -r line; do [ "$line" = go ] && exec "$@" <"$0"; echo 0 >"$line" || exit; done; exit 1'
"""The child waits here until it is where it belongs, and puts itself into the groups that it is told.

Control groups let a process move itself without the machine-wide lock that moving another takes (milliseconds).
If we die or refuse, the child reads the end of its input and exits.
"""


class NotReadyError(Exception):
    """A program cannot begin, for a reason that lies outside of it."""


class StopEvent(threading.Event):
    """An Event that `run` can wait on directly; a plain Event is looked at ten times a second instead."""

    def __init__(self) -> None:
        super().__init__()
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        weakref.finalize(self, os.close, self._fd)

    def fileno(self) -> int:
        """A descriptor that is readable while the event is set."""
        return self._fd

    def set(self) -> None:
        super().set()
        os.eventfd_write(self._fd, 1)

    def clear(self) -> None:
        super().clear()
        try:
            os.eventfd_read(self._fd)
        except BlockingIOError:
            pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How a program is started and ended. `argv[0]` is an absolute path; `env` is all of its environment.

    The methods get the id of the child that we started, which leads a session and process group of its own.
    """

    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str
    pass_fds: tuple[int, ...] = ()
    rlimits: tuple[tuple[int, int], ...] = ()
    """Pairs of a `resource.RLIMIT_…` and its value, which hold for each process of the program."""

    groups: tuple[str, ...] = ()
    """Files of control groups that a process joins by writing to them; nothing of `argv` runs outside of them."""
    output_owner: int | None = None
    """The user id that may open the output by name (/dev/stdout), where it is not ours."""
    mask: tuple[str, ...] = ()
    """Values that are masked in all that is kept and told of the output."""
    oom_score: int | None = None
    """Where memory is short, how willingly the kernel kills it (1000 is first). Set by root, it cannot be lowered."""
    disk: Watch | None = None
    """What ends the program where it has too much on disk, if there is a limit."""

    def ready(self, pid: int) -> None:
        """Do what must be done while the program comes up, or raise NotReadyError: it then counts as not started."""

    def terminate(self, pid: int) -> bool:
        """Ask the program to end; False if there is nobody to ask, and it shall be killed at once."""
        return signal_group(pid, signal.SIGTERM)

    def kill(self, pid: int) -> None:
        """End the program for sure."""
        signal_group(pid, signal.SIGKILL)

    def clear(self, pid: int) -> None:
        """End whatever the program left behind; called once it has ended, before the last output is read."""
        signal_group(pid, signal.SIGKILL)


def run(
    launch: Launch,
    job: Job,
    *,
    on_output: Callable[[bytes], None] | None = None,
    stop: threading.Event | None = None,
    grace_s: float | None = None,
) -> Outcome:
    """Run the job's program as `launch` says, to its end or to the first limit that it reaches.

    Takes from the job its limits, its standard input and where the output goes; `on_output` gets the output as
    it comes. A negative return code is told as a signal. Between SIGTERM and SIGKILL lie
    `grace_s`, by default GRACE_S. Does not return before the child is reaped and `launch.clear` is through. A
    parent-death signal of the child follows the end of the calling thread, which lives through the run as it is
    the one that waits.

    Raises:
        SandboxError: the output cannot be written, or the child cannot be killed.
    """
    if stop is not None and stop.is_set():
        return Outcome(ending=Ending.STOPPED, reason="stopped before it began")
    stdin_path = job.stdin_path or os.devnull
    try:
        # The child itself opens the file only after the gate, where a failure would look like the program's.
        with open(stdin_path, "rb"):
            pass
        capture = Capture(
            job.output_path, limit_bytes=job.output_limit_bytes, tail_bytes=job.tail_bytes, mask=launch.mask
        )
    except OSError as error:
        return Outcome(ending=Ending.NOT_STARTED, reason=_told(error))
    with capture:
        began = time.monotonic()
        reader, writer = os.pipe2(os.O_CLOEXEC)
        try:
            if launch.output_owner is not None:
                os.fchown(writer, launch.output_owner, -1)
            try:
                child = _spawn(launch, stdin_path, writer)
            except (OSError, ValueError) as error:
                return Outcome(ending=Ending.NOT_STARTED, reason=_told(error))
            finally:
                os.close(writer)
            refused = _admit(launch, child)
            if refused:
                child.wait()
                return Outcome(ending=Ending.NOT_STARTED, reason=refused)
            ending = _follow(
                launch, job, child, reader, capture, on_output, stop, GRACE_S if grace_s is None else grace_s
            )
        except NotReadyError as error:
            return Outcome(ending=Ending.NOT_STARTED, reason=str(error))
        finally:
            os.close(reader)
        return outcome_of(launch, job, child.returncode, ending, capture, time.monotonic() - began)


def file_size_limit(limit_mb: int) -> tuple[tuple[int, int], ...]:
    """The resource limits of a launch whose files may have that many MiB; 0 means any size."""
    return ((resource.RLIMIT_FSIZE, limit_mb << 20),) if limit_mb else ()


def signal_group(pid: int, number: signal.Signals) -> bool:
    """Signal the process group that `pid` leads; False if it has no members any more."""
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        log.warning("a process may not be signalled", extra={"group": pid, "signal": number})
    return True


def await_exit(pidfd: int, timeout_s: float) -> bool:
    """Wait for the end of the process that the descriptor holds; whether it came in time."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(timeout_s * 1000))


def _spawn(launch: Launch, stdin_path: str, output: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ("/bin/sh", "-c", _GATE, stdin_path, *launch.argv),
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=output,
        cwd=launch.cwd,
        env=launch.env,
        pass_fds=launch.pass_fds,
        start_new_session=True,
        bufsize=0,
    )


def _admit(launch: Launch, child: subprocess.Popen[bytes]) -> str:
    """Open the gate; if that fails, why."""
    assert child.stdin
    try:
        for which, value in launch.rlimits:
            resource.prlimit(child.pid, which, _within(which, value))
        if launch.oom_score is not None:
            with open(f"/proc/{child.pid}/oom_score_adj", "w", encoding="ascii") as file:
                file.write(str(launch.oom_score))
        child.stdin.write("".join(f"{line}\n" for line in (*launch.groups, "go")).encode())
    except OSError as error:
        child.kill()
        return _told(error)
    finally:
        child.stdin.close()
    return ""


def _within(which: int, value: int) -> tuple[int, int]:
    """The limit and its ceiling; a ceiling that we live under ourselves cannot be raised."""
    ceiling = resource.getrlimit(which)[1]
    value = value if ceiling == resource.RLIM_INFINITY else min(value, ceiling)
    return value, value


def _follow(
    launch: Launch,
    job: Job,
    child: subprocess.Popen[bytes],
    reader: int,
    capture: Capture,
    on_output: Callable[[bytes], None] | None,
    stop: threading.Event | None,
    grace_s: float,
) -> Ending | None:
    """Wait for the child's end, ending it where it passes a limit; which limit that was, if any."""
    pidfd = os.pidfd_open(child.pid)
    try:
        watch = _Watch(launch, job, child.pid, pidfd, reader, capture, on_output, stop)
        try:
            launch.ready(child.pid)
            ending = watch.until_exit(grace_s)
        except BaseException:
            launch.kill(child.pid)
            raise
        finally:
            # Cleared before it is reaped: until then nobody else can get its id, which is that of its group.
            if await_exit(pidfd, KILL_WAIT_S):
                launch.clear(child.pid)
                child.wait()
        watch.drain()
    finally:
        os.close(pidfd)
    if ending is None and capture.over and job.output_limit_ends:
        return Ending.OUTPUT_LIMIT
    return ending


class _Watch:
    """The poll over a running child."""

    def __init__(
        self,
        launch: Launch,
        job: Job,
        pid: int,
        pidfd: int,
        reader: int,
        capture: Capture,
        on_output: Callable[[bytes], None] | None,
        stop: threading.Event | None,
    ) -> None:
        self._launch = launch
        self._job = job
        self._pid = pid
        self._pidfd = pidfd
        self._reader = reader
        self._capture = capture
        self._on_output = on_output
        self._stop = stop
        self._tick_s = math.inf
        self._began = self._heard = time.monotonic()
        self._disk = launch.disk
        self._look_at = self._began + FIRST_LOOK_S if launch.disk else math.inf
        self._poll = select.poll()
        self._poll.register(pidfd, select.POLLIN)
        self._poll.register(reader, select.POLLIN)
        if isinstance(stop, StopEvent):
            self._poll.register(stop, select.POLLIN)
        elif stop is not None:
            self._tick_s = _TICK_S
        if launch.disk is not None:
            self._poll.register(launch.disk, select.POLLIN)

    def until_exit(self, grace_s: float) -> Ending | None:
        ending: Ending | None = None
        kill_at = give_up_at = math.inf
        full = False
        while True:
            now = time.monotonic()
            awaited = (self._wall_at, self._silent_at, self._look_at, now + self._tick_s)
            limits = (kill_at, give_up_at) if ending or full else awaited
            ready = self._wait(min(limits))
            now = time.monotonic()
            if self._reader in ready:
                self._read()
            if self._pidfd in ready:
                return ending
            if self._disk is not None and now >= self._look_at:
                self._look_at = math.inf
                self._disk.look()
            if self._disk is not None and self._disk.fileno() in ready:
                # At once: it would go on filling the disk in the time that it is given.
                self._poll.unregister(self._disk)
                full, kill_at = True, now
            elif ending is None and not full:
                ending = self._limit_reached(now)
                if ending:
                    if isinstance(self._stop, StopEvent):
                        self._poll.unregister(self._stop)
                    kill_at = now + grace_s if self._launch.terminate(self._pid) else now
            if now >= kill_at:
                self._launch.kill(self._pid)
                kill_at, give_up_at = math.inf, min(give_up_at, now + KILL_WAIT_S)
            if now >= give_up_at:
                raise SandboxError(f"process {self._pid} does not die of SIGKILL", remedy="look at its state in ps")

    def drain(self) -> None:
        """Read what is left in the pipe, for a short time only: a stranger may hold it open."""
        until = time.monotonic() + DRAIN_S
        self._poll.unregister(self._pidfd)
        while self._reader >= 0 and time.monotonic() < until and self._reader in self._wait(until):
            self._read()
        self._tell(self._capture.end())

    @property
    def _wall_at(self) -> float:
        return self._began + self._job.wall_s

    @property
    def _silent_at(self) -> float:
        return self._heard + self._job.silence_s if self._job.silence_s else math.inf

    def _wait(self, until: float) -> set[int]:
        timeout_s = max(0.0, until - time.monotonic())
        return {fd for fd, _ in self._poll.poll(None if timeout_s == math.inf else math.ceil(timeout_s * 1000))}

    def _read(self) -> None:
        chunk = os.read(self._reader, _CHUNK_BYTES)
        if not chunk:
            self._poll.unregister(self._reader)
            self._reader = -1
            return
        self._heard = time.monotonic()
        self._tell(self._capture.take(chunk))

    def _tell(self, kept: bytes) -> None:
        if kept and self._on_output:
            self._on_output(kept)

    def _limit_reached(self, now: float) -> Ending | None:
        if self._stop is not None and self._stop.is_set():
            return Ending.STOPPED
        if self._capture.over and self._job.output_limit_ends:
            return Ending.OUTPUT_LIMIT
        if now >= self._wall_at:
            return Ending.TIMED_OUT
        if now >= self._silent_at:
            return Ending.SILENT
        return None


def _told(error: Exception) -> str:
    return getattr(error, "message", None) or str(error)
