"""`os-native`: programs in namespaces of their own, by bubblewrap, with control groups and a seccomp filter.

How privileges end. As an ordinary user, bubblewrap makes a user namespace in which the program has no capability
and can make no other. As root there is no user namespace: bubblewrap makes the mounts as root (a project below
/root stays reachable), keeps three capabilities, and `setpriv` in the sandbox spends them on becoming UID and
dropping all, the bounding set included, before the program starts. Files that a job may write belong to UID.
Linux only. Which paths appear is decided in `thrum.sandbox.mounts`, which limits bind in `thrum.sandbox.cgroup`.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import re
import resource
import signal
import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from thrum.config import SandboxConfig
from thrum.errors import SandboxError
from thrum.job import Ending, Job, Outcome
from thrum.sandbox import homes, marks, process, seccomp
from thrum.sandbox.bubble import Bubble, Status
from thrum.sandbox.cgroup import Group, Hits, Limits
from thrum.sandbox.disk import Disk
from thrum.sandbox.endings import ended_by_itself, limit_met, out_of_memory, too_many_processes
from thrum.sandbox.etc import Etc
from thrum.sandbox.mounts import (
    SYSTEM,
    Access,
    Mount,
    find_program,
    parents,
    plan,
    refuse_private,
    within,
)
from thrum.sandbox.programs import find_bubblewrap, find_setpriv

if TYPE_CHECKING:
    from thrum.sandbox.outlet import Outlet

log = logging.getLogger(__name__)

UID = 64123
"""User and group id of programs when Thrum runs as root; from a range that distributions keep for such uses."""
HOME = "/home/thrum"
USER = "thrum"

_DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"
_BUBBLEWRAPS_OWN = 2
"""Processes of bubblewrap in the group, which the limit on processes does not count."""
_NESTING_SINCE = (0, 8)
"""The version that knows --disable-userns; before it, the seccomp filter alone refuses nested user namespaces."""
_LOADER_VARIABLES = re.compile(r"LD_|GLIBC_|MALLOC_|GCONV_PATH$|LOCPATH$|NLSPATH$")
ENDS_A_PROGRAM = frozenset(
    number
    for number in signal.valid_signals()
    if number not in {signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH}
    and number not in {signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
)
"""Signals that end a program; an exit code of 128 and one of these is told as the signal."""


class Bubblewrap:
    """The `os-native` sandbox; see `thrum.sandbox.Sandbox` for what each method promises."""

    name = "os-native"
    image = ""

    def __init__(
        self, config: SandboxConfig, *, name: str, private: tuple[str, ...] = (), mask: tuple[str, ...] = ()
    ) -> None:
        self.uid: int | None = UID if os.geteuid() == 0 else None
        self._config = config
        self._mark = name
        self._private = private
        self._masked = mask
        self._busy = threading.Lock()
        self._disk = Disk.of(config)
        self._bwrap, self._version = find_bubblewrap()
        self._setpriv = find_setpriv() if self.uid is not None else ""
        self._system = _system()
        self._system_roots = tuple(map(os.path.realpath, SYSTEM))
        self._filter = seccomp.program(os.uname().machine)
        refuse_private(config.mount_paths, private)
        plan(readable=config.mount_paths, writable=(), private=private)
        limits = Limits(
            memory_mb=config.memory_limit_mb,
            cpus=config.cpu_limit,
            pids=config.pids_limit and config.pids_limit + _BUBBLEWRAPS_OWN,
        )
        self._held = ExitStack()
        try:
            self._group = Group(limits, name=name)
            self._held.callback(self._group.close)
            if config.limits == "enforced":
                self._group.demand()
            # With the group comes the lock on our name: whoever still bears our mark is a leftover.
            marks.sweep_exactly(name)
            home = homes.make(name)
            self._held.callback(homes.remove, home)
            self._etc = Etc(home, _accounts(self.uid))
            self._try_out()
        except BaseException:
            self.close()
            raise
        if gaps := self.describe()["gaps"]:
            log.warning("sandbox 'os-native' has gaps", extra={"sandbox": name, "gaps": gaps})

    def run(
        self,
        job: Job,
        *,
        on_output: Callable[[bytes], None] | None = None,
        stop: threading.Event | None = None,
    ) -> Outcome:
        with self._busy, ExitStack() as stack:
            roots = self._roots(*job.readable, *job.writable)
            path = job.env.get("PATH") or self._path(roots)
            program = find_program(job.argv[0], path, job.cwd, roots, self.uid)
            if program is None:
                return Outcome(ending=Ending.NOT_FOUND, reason=f"there is no program {job.argv[0]!r} in the sandbox")
            try:
                mounts = plan(
                    readable=(*self._config.mount_paths, *job.readable),
                    writable=job.writable,
                    private=self._private,
                )
                outlet = stack.enter_context(self._outlet(job))
                launch = self._launch(job, program, path, mounts, outlet, stack)
            except (SandboxError, OSError) as error:
                return Outcome(ending=Ending.NOT_STARTED, reason=str(error))
            before = self._group.hits()
            outcome = process.run(launch, job, on_output=on_output, stop=stop)
            self._disk.ended(launch.disk)
            outcome = self._judge(outcome, launch, before, self._group.hits())
            return outcome if outlet is None else outlet.tell(outcome)

    def which(self, program: str) -> str | None:
        roots = self._roots()
        return find_program(program, self._path(roots), "/", roots, self.uid)

    def describe(self) -> dict[str, Any]:
        config = self._config
        amounts = {
            "memory": f"{config.memory_limit_mb} MiB",
            "cpu": f"{config.cpu_limit:g} processors",
            "pids": f"{config.pids_limit} processes",
        }
        limits = {name: f"{means}: {amounts[name]}" for name, means in self._group.means.items()}
        if config.file_size_limit_mb:
            limits["file_size"] = f"RLIMIT_FSIZE: {config.file_size_limit_mb} MiB"
        limits |= self._disk.describe()
        stand_ins = {
            "memory": "each process by itself",
            "pids": "all sandboxes together" if self.uid else "not at all",
        }
        gaps = [
            f"the limit on {name} binds {stand_ins.get(name, 'not at all')}: there is no control group for it"
            for name in self._group.missing
        ]
        if self._filter is None:
            gaps.append(f"no system call filter for {os.uname().machine}: keyrings are shared with the host")
            if self.uid is not None or self._version < _NESTING_SINCE:
                gaps.append("nested user namespaces are possible")
        return {"backend": self.name, "uid": self.uid, "limits": limits, "gaps": gaps}

    def close(self) -> None:
        self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _try_out(self) -> None:
        outcome = self.run(Job(argv=("true",), cwd="/", wall_s=60.0))
        if not outcome.ok:
            told = (outcome.tail.strip() or outcome.reason).splitlines()[-1]
            raise SandboxError(
                f"bubblewrap does not work here: {told}",
                command=(self._bwrap,),
                exit_code_seen=outcome.exit_code,
                output=outcome.tail,
                remedy="allow user namespaces (sysctl kernel.apparmor_restrict_unprivileged_userns=0, or "
                "user.max_user_namespaces above 0), or set another [sandbox] backend",
            )

    def _roots(self, *more: str) -> tuple[str, ...]:
        return (*self._system_roots, *map(os.path.realpath, (*self._config.mount_paths, *more)))

    def _path(self, roots: tuple[str, ...]) -> str:
        entries = _entries(os.environ.get("PATH", ""))
        return ":".join(entry for entry, real in entries.items() if within(real, roots)) or _DEFAULT_PATH

    def _outlet(self, job: Job) -> AbstractContextManager[Outlet | None]:
        if job.network or not job.allow:
            return contextlib.nullcontext()
        # Imported here, so that sandboxes without an allow list do not pay for it.
        from thrum.sandbox.outlet import Outlet

        return Outlet(job.allow, mark=self._mark, mask=self._masked)

    def _launch(
        self,
        job: Job,
        program: str,
        path: str,
        mounts: tuple[Mount, ...],
        outlet: Outlet | None,
        stack: ExitStack,
    ) -> Bubble:
        etc = self._etc.directory(network=job.network, places=(mount.path for mount in mounts))
        options = [
            *self._isolation(job),
            *self._system,
            *("--ro-bind", etc, "/etc"),
            *_shown(mounts),
            *("--remount-ro", "/", "--chdir", job.cwd, "--clearenv"),
        ]
        environment = {
            "PATH": path,
            "HOME": HOME,
            "TMPDIR": "/tmp",
            "LANG": "C.UTF-8",
            "USER": USER,
            **(outlet.variables if outlet else {}),
            **job.env,
        }
        loader = {name: value for name, value in environment.items() if _LOADER_VARIABLES.match(name)}
        early = environment if self.uid is None else environment.items() - loader.items()
        options += [part for name, value in dict(early).items() for part in ("--setenv", name, value)]
        files = []
        if self._filter is not None:
            files.append(_memory_file("filter", self._filter, stack))
            options += ["--seccomp", str(files[-1])]
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        stack.callback(os.close, reader)
        stack.callback(os.close, writer)
        options += ["--json-status-fd", str(writer)]
        if outlet:
            options += ["--block-fd", str(outlet.block)]
        if any("\0" in option for option in options):
            raise SandboxError("a path or variable holds a NUL character")
        # By descriptor: the environment may hold keys, and /proc/PID/cmdline is everybody's to read.
        files.append(_memory_file("options", os.fsencode("\0".join([*options, ""])), stack))
        status = Status(reader)
        watch = self._disk.watch(job.writable, lambda: status.init)
        return Bubble(
            argv=(
                *(self._bwrap, "--args", str(files[-1]), "--"),
                *self._drop(loader),
                program,
                *job.argv[1:],
            ),
            env={"PATH": _DEFAULT_PATH, marks.MARK: self._mark},
            cwd="/",
            pass_fds=(*files, writer, *((outlet.block,) if outlet else ())),
            rlimits=self._rlimits(),
            oom_score=1000,
            output_owner=self.uid,
            groups=self._group.doors,
            mask=self._masked,
            group=self._group,
            disk=stack.enter_context(watch) if watch else None,
            status=status,
            outlet=outlet,
        )

    def _rlimits(self) -> tuple[tuple[int, int], ...]:
        """Limits of single processes; with `best-effort` they stand in for control groups as far as they go."""
        limits = process.file_size_limit(self._config.file_size_limit_mb)
        if "memory" in self._group.missing:
            limits += ((resource.RLIMIT_DATA, self._config.memory_limit_mb << 20),)
        if "pids" in self._group.missing and self.uid is not None:
            # Counted over all sandboxes, as they share the user id; of an ordinary user it would count the desktop.
            limits += ((resource.RLIMIT_NPROC, self._config.pids_limit),)
        return limits

    def _isolation(self, job: Job) -> list[str]:
        options = ["--die-with-parent", "--new-session", "--unshare-pid", "--unshare-ipc", "--unshare-uts"]
        options += ["--hostname", "sandbox", "--unshare-cgroup-try"]
        if not job.network:
            options.append("--unshare-net")
        if self.uid is not None:
            options += ["--cap-drop", "ALL"]
            options += [part for name in ("SETUID", "SETGID", "SETPCAP") for part in ("--cap-add", f"CAP_{name}")]
        else:
            options += ["--unshare-user", *(["--disable-userns"] if self._version >= _NESTING_SINCE else [])]
        return options

    def _drop(self, loader: dict[str, str]) -> list[str]:
        """What stands before the program as root: still privileged, hence away from variables that load code."""
        if self.uid is None:
            return []
        drop = [self._setpriv, f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--no-new-privs"]
        drop += ["--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all", "--"]
        if loader:
            drop += ["/usr/bin/env", *(f"{name}={value}" for name, value in loader.items())]
        return drop

    def _judge(self, outcome: Outcome, launch: Bubble, before: Hits, after: Hits) -> Outcome:
        """The outcome of the program, from that of bubblewrap."""
        if outcome.ending is not Ending.EXITED:
            return outcome
        starved = after.memory > before.memory
        if not launch.status.ran and not starved and outcome.signal is None:
            said = outcome.tail.strip() or f"bubblewrap: {outcome.reason}"
            return replace(outcome, ending=Ending.NOT_STARTED, exit_code=None, reason=said.splitlines()[-1])
        number = outcome.signal or ((outcome.exit_code or 0) - 128)
        if number in ENDS_A_PROGRAM:
            reason, limit = ended_by_itself(launch, None, number), limit_met(launch, number)
            outcome = replace(outcome, exit_code=None, signal=number, reason=reason, limit=limit)
        if outcome.ok:
            return outcome
        if starved:
            return out_of_memory(outcome, self._config)
        if after.pids > before.pids:
            return too_many_processes(outcome, self._config)
        return outcome


@functools.lru_cache(maxsize=8)
def _entries(path: str) -> dict[str, str]:
    """The absolute entries of a PATH, each with where its links lead: followed once, as that takes a while."""
    return {entry: os.path.realpath(entry) for entry in path.split(":") if os.path.isabs(entry)}


def _accounts(uid: int | None) -> dict[str, str]:
    """Files of /etc that say who programs are, which is all that they are told of accounts."""
    uid, gid = (uid, uid) if uid is not None else (os.getuid(), os.getgid())
    nobody = "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    return {
        "passwd": f"root:x:0:0:root:/root:/bin/sh\n{USER}:x:{uid}:{gid}:Thrum:{HOME}:/bin/sh\n{nobody}",
        "group": f"root:x:0:\n{USER}:x:{gid}:\nnogroup:x:65534:\n",
    }


def _system() -> list[str]:
    """Options for what every sandbox has: the system's programs, read-only, and scratch space of its own."""
    options = ["--perms", "0755", "--tmpfs", "/", "--dir", "/var", "--symlink", "/tmp", "/var/tmp"]
    for path in SYSTEM:
        if os.path.islink(path):
            options += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            options += ["--ro-bind", path, path]
    options += ["--proc", "/proc", "--dev", "/dev"]
    for scratch in ("/tmp", "/dev/shm", HOME):
        options += ["--perms", "1777", "--tmpfs", scratch]
    return options


def _shown(mounts: Iterable[Mount]) -> list[str]:
    options: list[str] = []
    for mount in mounts:
        # Bubblewrap makes the parents of a mounted file unreadable to others; made before, they are not.
        options += [part for parent in parents(mount.path) for part in ("--dir", parent)]
        match mount.access:
            case Access.READ:
                options += ["--ro-bind", mount.path, mount.path]
            case Access.WRITE:
                options += ["--bind", mount.path, mount.path]
            case Access.MASKED if os.path.isdir(mount.path):
                options += ["--perms", "0755", "--tmpfs", mount.path]
            case Access.MASKED:
                options += ["--ro-bind", os.devnull, mount.path]
    return options


def _memory_file(name: str, content: bytes, stack: ExitStack) -> int:
    """A descriptor from which the content can be read; it ends with the stack."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC)
    stack.callback(os.close, fd)
    os.write(fd, content)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
