"""What every sandbox promises, which there are, and `none`, the one that isolates nothing.

`os-native` lives in `thrum.sandbox.bubblewrap`, `docker` in `thrum.sandbox.docker`. An unknown or unavailable backend
is an error, never a lesser sandbox.
"""

from __future__ import annotations

import logging
import os
import pwd
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol, Self

from thrum.config import SandboxConfig
from thrum.errors import SandboxError
from thrum.job import Ending, Job, Outcome
from thrum.sandbox import cgroup, homes, marks, process
from thrum.values import dataclass

log = logging.getLogger(__name__)


class Sandbox(Protocol):
    """Runs untrusted programs, one after the other, for one owner (a worker's slot, a gate actor).

    A second call of `run` waits for the first: both would share one set of limits.
    """

    @property
    def name(self) -> str:
        """The backend, as in `[sandbox] backend`."""

    @property
    def uid(self) -> int | None:
        """The user id that files which a job may write must belong to; None: our own."""

    @property
    def image(self) -> str:
        """The id of the image that holds the programs; empty where they are the host's."""

    def run(
        self,
        job: Job,
        *,
        on_output: Callable[[bytes], None] | None = None,
        stop: threading.Event | None = None,
    ) -> Outcome:
        """Run the job's program to its end or to its first limit; nothing that it started is alive afterwards.

        `on_output` gets the output as it comes, in the calling thread. `stop` ends the run when it is set; a
        `thrum.sandbox.process.StopEvent` does so at once, a plain Event within a tenth of a second.

        Raises:
            SandboxError: the output cannot be kept, or a process cannot be killed. A program that is missing
                or a sandbox that cannot be set up is an `Outcome`.
        """

    def which(self, program: str) -> str | None:
        """Where the program is inside the sandbox, or None. A job's own paths add to it.

        Raises:
            SandboxError: the sandbox has to be asked, and does not work any more.
        """

    def describe(self) -> dict[str, Any]:
        """What binds here and what does not, as plain data: `backend`, `uid`, `limits` (each with its means),
        `gaps` (sentences)."""

    def close(self) -> None:
        """Give back what the sandbox holds on the host; a second call does nothing."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def sweep(prefix: str) -> int:
    """Kill every process and container that a sandbox started whose owner's name begins with `prefix`; how many.

    For the time after a crash, before anything of that prefix is started again. Neither we nor our ancestors are
    touched. Control groups that were left empty and homes that were left over go, too. No engine is asked where no
    container can be left; one that does not answer is a warning, and asked again by the next sweep.
    """
    killed = marks.sweep(prefix)
    cgroup.remove_empty(prefix)
    left = homes.left(prefix)
    owners = {home: owner for home in left if (owner := homes.owner_of_containers(home)).startswith(prefix) and owner}
    if owners:
        from thrum.sandbox.engine import remove_owned

        try:
            killed += remove_owned(sorted(set(owners.values())))
        except SandboxError as error:
            log.warning("containers may be left over", extra={"owners": list(owners.values()), "why": error.message})
            left = [home for home in left if home not in owners]
    for home in left:
        homes.remove(home)
    return killed


BACKENDS = ("os-native", "docker", "none")


def open_sandbox(
    config: SandboxConfig, *, name: str, private: tuple[str, ...] = (), mask: tuple[str, ...] = ()
) -> Sandbox:
    """The sandbox that the configuration asks for, tried out.

    `name` is unique to its owner on this host and the same in its next life (`<project>-<actor>`): it names the
    control group and marks processes, so that a predecessor's leftovers are found. `private` are absolute paths
    (of directories with sockets, stores, tokens) that no job sees, whatever is mounted around them; what a job
    itself names below them it gets. `mask` are values that nothing kept or told of an output shows.

    Raises:
        SandboxError: the backend is unknown, is not available here, or cannot enforce the limits.
    """
    if sys.platform != "linux" and config.backend in BACKENDS:
        raise SandboxError(
            f"the sandbox {config.backend!r} needs Linux, and this is {sys.platform}: its processes are held by means "
            "that no other system has",
            remedy="run Thrum on Linux, or in a virtual machine with Linux",
        )
    match config.backend:
        case "none":
            return NoSandbox(config, name=name, mask=mask)
        case "os-native":
            # Imported here, so that a process without sandboxes does not pay for it.
            from thrum.sandbox.bubblewrap import Bubblewrap

            return Bubblewrap(config, name=name, private=private, mask=mask)
        case "docker":
            from thrum.sandbox.docker import Docker

            return Docker(config, name=name, private=private, mask=mask)
    raise SandboxError(
        f"there is no sandbox backend {config.backend!r}",
        remedy=f"set [sandbox] backend to one of: {', '.join(BACKENDS)}",
    )


_OPEN = "the allow list does not bind: sandbox 'none' leaves the whole network open"


class NoSandbox:
    """`none`: the program runs as we do, and may do what we may.

    Kept all the same: wall-clock, silence and output limits, file size (RLIMIT_FSIZE), an environment of its own,
    a private HOME and TMPDIR, and the end of all processes that still carry the mark in their environment.
    """

    name = "none"
    uid: int | None = None
    image = ""

    def __init__(self, config: SandboxConfig, *, name: str, mask: tuple[str, ...] = ()) -> None:
        self._config = config
        self._mask = mask
        self._mark = name
        self._busy = threading.Lock()
        marks.sweep_exactly(name)
        log.warning("sandbox 'none' isolates nothing", extra={"sandbox": name, "gaps": self.describe()["gaps"]})

    def run(
        self,
        job: Job,
        *,
        on_output: Callable[[bytes], None] | None = None,
        stop: threading.Event | None = None,
    ) -> Outcome:
        if job.allow and not job.network:
            log.warning(_OPEN, extra={"sandbox": self._mark, "allow": job.allow})
        with self._busy, homes.private(self._mark) as home:
            env = {**_own_environment(home), **job.env, marks.MARK: self._mark}
            found = _which(job.argv[0], env["PATH"], job.cwd)
            if found is None:
                return Outcome(ending=Ending.NOT_FOUND, reason=f"there is no program {job.argv[0]!r} on PATH")
            launch = _Marked(
                argv=(found, *job.argv[1:]),
                env=env,
                cwd=job.cwd,
                rlimits=process.file_size_limit(self._config.file_size_limit_mb),
                mark=self._mark,
                mask=self._mask,
            )
            return process.run(launch, job, on_output=on_output, stop=stop)

    def which(self, program: str) -> str | None:
        return _which(program, _host_path(), "/")

    def describe(self) -> dict[str, Any]:
        config = self._config
        limits = {"file_size": f"RLIMIT_FSIZE: {config.file_size_limit_mb} MiB"} if config.file_size_limit_mb else {}
        gaps = [
            "a job can read and write whatever this user can, the network and the project's own files included",
            "memory, processor and process-count limits do not bind",
            "a process that leaves its session and clears its environment outlives its job",
            *((_OPEN,) if config.allow or config.setup_allow else ()),
        ]
        return {"backend": self.name, "uid": self.uid, "limits": limits, "gaps": gaps}

    def close(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Marked(process.Launch):
    mark: str

    def clear(self, pid: int) -> None:
        # The sweep waits for each; the group catches who cleared its environment and stayed.
        marks.sweep_exactly(self.mark)
        process.signal_group(pid, signal.SIGKILL)


def _host_path() -> str:
    return os.environ.get("PATH", os.defpath)


def _own_environment(home: str) -> dict[str, str]:
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = str(os.getuid())
    temporary = os.path.join(home, "tmp")
    os.mkdir(temporary)
    return {"PATH": _host_path(), "HOME": home, "TMPDIR": temporary, "LANG": "C.UTF-8", "USER": user}


def _which(program: str, path: str, cwd: str) -> str | None:
    """Where a program is, absolute; one with a slash in it is looked for from `cwd`."""
    return shutil.which(os.path.join(cwd, program) if "/" in program else program, path=path)
