"""A container that runs: what its first process does there, what that says of itself, and how the container is ended.

As seen from here there is docker's client, our child. Its standard output is the program's; on its standard error it
says what went wrong, as the first process in the container does, line by line. Its standard input is a pipe of ours:
the environment and the standard input of the program go through it, and its end is the container's end.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from thrum.errors import SandboxError
from thrum.sandbox import process
from thrum.sandbox.engine import Engine
from thrum.values import dataclass

if TYPE_CHECKING:
    from thrum.sandbox.outlet import Outlet

log = logging.getLogger(__name__)

_READY_S = 60.0
_MOST_BYTES = 65536
_SIGN = "thrum: "
_CLIENT_FAILED = 125
"""The exit code by which docker's client says that it failed itself; a program may have it, too."""

FIRST = r"""
trap 'exit 143' TERM USR1
thrum_say() { printf 'thrum: %s\n' "$*" >&2; }
thrum_stdin=$1 thrum_list=() thrum_whole=
shift
thrum_say ready
while IFS= read -r -d '' thrum_entry; do
    [ -n "$thrum_entry" ] || { thrum_whole=1; break; }
    thrum_list+=("$thrum_entry")
done
[ -n "$thrum_whole" ] || exit 125
exec 3</dev/null
if [ "$thrum_stdin" -ge 0 ]; then
    head -c "$thrum_stdin" >/tmp/.thrum && exec 3</tmp/.thrum && rm /tmp/.thrum || exit 125
fi
set -m
{ while read -r _; do :; done; kill -USR1 $$; } &
(
    exec 0<&3 3<&-
    echo 1000 >/proc/self/oom_score_adj
    unset HOSTNAME
    for thrum_entry in "${thrum_list[@]}"; do export "$thrum_entry" || exit 125; done
    thrum_found=$(type -P -- "$1") || { thrum_say missing; exit 127; }
    [ -f "$thrum_found" ] || { thrum_say missing; exit 127; }
    thrum_say began
    shift
    exec "$thrum_found" "$@" 2>&1
) &
thrum_program=$!
trap 'thrum_again=1; kill -TERM -- "-$thrum_program"' TERM
while thrum_again=; wait "$thrum_program"; thrum_code=$?; [ -n "$thrum_again" ]; do :; done
thrum_memory=0 thrum_pids=0
for thrum_file in /sys/fs/cgroup/memory/memory.oom_control /sys/fs/cgroup/memory.events \
    /sys/fs/cgroup/pids/pids.events /sys/fs/cgroup/pids.events; do
    [ -r "$thrum_file" ] && while read -r thrum_key thrum_value; do
        [ "$thrum_key" != oom_kill ] || thrum_memory=$thrum_value
        [ "$thrum_key" != max ] || [ "${thrum_file##*/}" != pids.events ] || thrum_pids=$thrum_value
    done <"$thrum_file"
done
thrum_say ended "$thrum_memory" "$thrum_pids"
exit "$thrum_code"
"""
"""What process 1 of a container runs, by bash. It never becomes the program, which as process 1 would not die of
signals; it passes SIGTERM on to the program's group, buries orphans, and ends all when its input ends. With job control
(`set -m`) the program does not begin with interrupts ignored, and where memory is short, the program is killed before
this. The environment comes by the pipe, as whatever is told to docker's client can be read in /proc by everybody, and a
file of variables has no way to write a newline."""


class Status:
    """What was said on the client's standard error."""

    def __init__(self, reader: int) -> None:
        self._reader = reader
        self._text = b""

    @property
    def ready(self) -> bool:
        """Whether the first process in the container runs."""
        return "ready" in self._words()

    @property
    def began(self) -> bool:
        """Whether the program was started."""
        # The program could write here too, but not before it began: the first word counts.
        return self._first() == "began"

    @property
    def missing(self) -> bool:
        """Whether there was no such program."""
        return self._first() == "missing"

    @property
    def hits(self) -> tuple[int, int] | None:
        """Once the program has ended, how many processes were killed for memory and how many forks were refused."""
        for word, *rest in map(str.split, self._words()):
            if word == "ended" and len(rest) == 2 and all(map(str.isdecimal, rest)):
                return int(rest[0]), int(rest[1])
        return None

    @property
    def complaint(self) -> str:
        """What docker or the shell complained about; empty for nothing."""
        lines = [line for line in self._lines() if line.strip() and not line.startswith(_SIGN)]
        docker = [line.partition(": ")[2] for line in lines if line.startswith("docker: ")]
        return next(iter(docker or lines), "").removeprefix("Error response from daemon: ").strip()

    def await_ready(self, pidfd: int, timeout_s: float) -> bool:
        """Wait for the first process; False if the client, which the descriptor holds, ends before, or in time."""
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        poll.register(pidfd, select.POLLIN)
        until = time.monotonic() + timeout_s
        while not self.ready:
            left_s = until - time.monotonic()
            if left_s <= 0 or pidfd in dict(poll.poll(left_s * 1000)):
                return False
        return True

    def _first(self) -> str:
        return next((word for word in self._words() if word in ("began", "missing")), "")

    def _words(self) -> list[str]:
        return [line.removeprefix(_SIGN) for line in self._lines() if line.startswith(_SIGN)]

    def _lines(self) -> list[str]:
        with contextlib.suppress(BlockingIOError):
            while more := os.read(self._reader, 4096):
                self._text = (self._text + more)[:_MOST_BYTES]
        return self._text.decode(errors="replace").split("\n")[:-1]


class Feed:
    """The pipe into a container: the environment, then the program's standard input. Its end is the container's."""

    def __init__(self, env: Mapping[str, str], stdin: bytes | None) -> None:
        self.stdin_bytes = -1 if stdin is None else len(stdin)
        entries = b"".join(os.fsencode(f"{name}={value}") + b"\0" for name, value in env.items())
        self._data = entries + b"\0" + (stdin or b"")
        self.reader, self._writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._writer, False)
        self._over = process.StopEvent()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Let the program begin; the client has the reading end by now."""
        self._drop_reader()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """End the pipe; a second call does nothing."""
        self._drop_reader()
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        if self._writer >= 0:
            os.close(self._writer)
            self._writer = -1

    def __enter__(self) -> Feed:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def _drop_reader(self) -> None:
        if self.reader >= 0:
            os.close(self.reader)
            self.reader = -1

    def _write(self) -> None:
        poll = select.poll()
        poll.register(self._writer, select.POLLOUT)
        poll.register(self._over, select.POLLIN)
        view = memoryview(self._data)
        with contextlib.suppress(BrokenPipeError):
            while view and not self._over.is_set():
                poll.poll()
                with contextlib.suppress(BlockingIOError):
                    view = view[os.write(self._writer, view) :]


@dataclass(frozen=True, slots=True, kw_only=True)
class Container(process.Launch):
    """A program to be started by docker's client, in the container called `name`."""

    engine: Engine
    name: str
    status: Status
    feed: Feed
    outlet: Outlet | None = None
    """What the program waits for, if it has one."""

    def ready(self, pid: int) -> None:
        if self.outlet is not None:
            self._open(pid, self.outlet)
        self.feed.begin()

    def terminate(self, pid: int) -> bool:
        if self.status.ready:
            # The client passes it on to the first process, and that to the program.
            return process.signal_group(pid, signal.SIGTERM)
        # A client that is ended while its engine makes the container would leave it behind. It will find its input
        # ended instead, and go by itself.
        self.feed.end()
        return True

    def kill(self, pid: int) -> None:
        # The client's end would not be the container's: its engine runs it. `clear` tells if this fails.
        with contextlib.suppress(SandboxError):
            self.engine.remove(self.name)
        process.signal_group(pid, signal.SIGKILL)

    def clear(self, pid: int) -> None:
        process.signal_group(pid, signal.SIGKILL)
        # A client that ends by itself has waited until the container was removed.
        if not _ended_by_itself(pid):
            self.engine.remove(self.name)

    def _open(self, pid: int, outlet: Outlet) -> None:
        pidfd = os.pidfd_open(pid)
        try:
            if self.status.await_ready(pidfd, _READY_S):
                outlet.open(self.engine.process(self.name))
            elif not process.await_exit(pidfd, 0.0):
                raise process.NotReadyError(f"docker does not start the container within {_READY_S:g} s")
        except SandboxError as error:
            raise process.NotReadyError(error.message) from error
        finally:
            os.close(pidfd)


def _ended_by_itself(pid: int) -> bool:
    found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
    return found is not None and found.si_code == os.CLD_EXITED and found.si_status != _CLIENT_FAILED
