"""Control groups: memory, processor and process-count limits that bind a whole family of processes.

A controller lives in one hierarchy only, v1 or v2; where it is found is where the group is made, below our own
so that limits which bind us go on to do so. Nothing here starts a process.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import logging
import os
import re
import select
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from thrum.errors import SandboxError
from thrum.values import dataclass

log = logging.getLogger(__name__)

_MIB = 1 << 20
_CPU_PERIOD_US = 100_000
_CLEAR_S = 10.0
_REMEDY = (
    "run as root, or where the service manager delegates a group (`systemd-run --user --scope -p Delegate=yes "
    'thrum up`); or set [sandbox] limits = "best-effort" to go without'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a group may use, all its processes together; 0 means no limit."""

    memory_mb: int = 0
    cpus: float = 0.0
    pids: int = 0

    @property
    def controllers(self) -> tuple[str, ...]:
        """The controllers that these limits need."""
        wanted = (("memory", self.memory_mb), ("pids", self.pids), ("cpu", self.cpus))
        return tuple(name for name, limit in wanted if limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hits:
    """How often limits were met since the group was made."""

    memory: int = 0
    """Processes killed for memory."""
    pids: int = 0
    """Forks refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where groups for some controllers could be made: the nearest of `parents` that lets us."""

    version: int
    parents: tuple[Path, ...]
    controllers: frozenset[str] = frozenset()
    """Those of the hierarchy, in v1; in v2 each parent says which it has."""


def places(mountinfo: str, own: str) -> tuple[Place, ...]:
    """The hierarchies of this machine, read from the texts of /proc/self/mountinfo and /proc/self/cgroup.

    In v1 a group is made below our own. In v2 a group with members cannot have controlled children, so that the
    parent is the nearest group upwards that can.
    """
    paths: dict[str, str] = {}
    for line in own.splitlines():
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            paths[name] = path
    found = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        root, mounted = (_unescape(field) for field in before.split()[3:5])
        kind, _, options = after.split(" ", 2)
        if kind == "cgroup2" and "" in paths:
            here = _below(Path(mounted), root, paths[""])
            up = (here, *here.parents)
            parents = tuple(path for path in up if path.is_relative_to(mounted))
            found.append(Place(version=2, parents=parents))
        elif kind == "cgroup":
            controllers = frozenset(options.split(",")) & paths.keys()
            if controllers:
                here = _below(Path(mounted), root, paths[min(controllers)])
                found.append(Place(version=1, controllers=controllers, parents=(here,)))
    return tuple(found)


def _below(mounted: Path, root: str, path: str) -> Path:
    """Our group's directory; in a container, what is mounted may be a part of the hierarchy without us in it."""
    if Path(path).is_relative_to(root):
        return mounted / Path(path).relative_to(root)
    return mounted


def _unescape(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


class Group:
    """One owner's group, kept from job to job: empty between them, gone after `close`.

    What a predecessor of the same name left in it is killed. Limits that cannot be had are named by `missing`,
    and `demand` makes an error of it.

    Raises:
        SandboxError: another living process has the group of this name, or leftovers do not die.
    """

    def __init__(self, limits: Limits, *, name: str) -> None:
        self._limits = limits
        self._directories: dict[str, Path] = {}
        self._versions: dict[str, int] = {}
        self._locks: list[int] = []
        self._problems: list[str] = []
        mountinfo, own = Path("/proc/self/mountinfo").read_text(), Path("/proc/self/cgroup").read_text()
        try:
            for place in places(mountinfo, own):
                self._settle(place, group_folder(name))
            self.clear()
            for controller in tuple(self._directories):
                self._limit(controller)
        except BaseException:
            self.close()
            raise

    @property
    def missing(self) -> tuple[str, ...]:
        """The controllers that the limits need and that could not be had here."""
        return tuple(name for name in self._limits.controllers if name not in self._directories)

    @property
    def means(self) -> dict[str, str]:
        """For each controller in use what enforces it: `cgroup v1` or `cgroup v2`."""
        return {name: f"cgroup v{version}" for name, version in self._versions.items()}

    def demand(self) -> None:
        """Insist on all limits.

        Raises:
            SandboxError: one of them does not bind here.
        """
        if self.missing:
            why = f" ({'; '.join(self._problems)})" if self._problems else ""
            raise SandboxError(f"limits on {', '.join(self.missing)} cannot be enforced here{why}", remedy=_REMEDY)

    @property
    def doors(self) -> tuple[str, ...]:
        """The files to which a process writes `0` to put itself in, and with it all that it will start."""
        doors = {1: "tasks", 2: "cgroup.procs"}
        return tuple(
            dict.fromkeys(
                str(directory / doors[self._versions[controller]])
                for controller, directory in self._directories.items()
            )
        )

    def members(self) -> set[int]:
        """The processes in the group now."""
        return {int(pid) for directory in self._each() for pid in (directory / "cgroup.procs").read_text().split()}

    def hits(self) -> Hits:
        """How often limits were met so far."""
        memory, pids = self._directories.get("memory"), self._directories.get("pids")
        told_by = {1: "memory.oom_control", 2: "memory.events"}
        return Hits(
            memory=_counter(memory / told_by[self._versions["memory"]], "oom_kill") if memory else 0,
            pids=_counter(pids / "pids.events", "max") if pids else 0,
        )

    def clear(self) -> None:
        """Kill whatever is in the group, and wait until it is empty.

        Raises:
            SandboxError: something is still alive after 10 s.
        """
        until = time.monotonic() + _CLEAR_S
        while members := self.members():
            if time.monotonic() > until:
                raise SandboxError(f"processes {sorted(members)} do not die of SIGKILL", remedy="look at them in ps")
            _kill(members, still=self.members)

    def close(self) -> None:
        """Empty and remove the group. One that the kernel does not let go yet stays, empty; `remove_empty` takes it."""
        for directory in self._each():
            try:
                self.clear()
                directory.rmdir()
            except (OSError, SandboxError) as error:
                # A dead process counts until its parent, process 1, has taken note, which may be late.
                log.debug("a control group stays behind", extra={"path": str(directory), "why": str(error)})
        for lock in self._locks:
            os.close(lock)
        self._directories, self._versions, self._locks = {}, {}, []

    def _each(self) -> tuple[Path, ...]:
        return tuple(dict.fromkeys(self._directories.values()))

    def _settle(self, place: Place, folder: str) -> None:
        """Make our directory in one hierarchy, for those of the missing controllers that it has."""
        missing = set(self.missing)
        offers = [(parent, missing & (place.controllers or _words(parent, "controllers"))) for parent in place.parents]
        for parent, wanted in sorted(offers, key=lambda offer: -len(offer[1])):
            if not wanted:
                return
            try:
                if place.version == 2:
                    _delegate(parent, wanted)
                directory = parent / folder
                directory.mkdir(exist_ok=True)
                self._lock(directory)
            except OSError as error:
                self._problems.append(f"{parent}: {error.strerror}")
                continue
            for controller in wanted:
                self._directories[controller] = directory
                self._versions[controller] = place.version
            return

    def _lock(self, directory: Path) -> None:
        lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._locks.append(lock)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SandboxError(
                f"the control group {directory} is in use by another process",
                remedy="each sandbox needs a name of its own; is the project up twice?",
            ) from None

    def _limit(self, controller: str) -> None:
        directory, version = self._directories[controller], self._versions[controller]
        memory, quota = str(self._limits.memory_mb * _MIB), int(self._limits.cpus * _CPU_PERIOD_US)
        match controller, version:
            case "memory", 1:
                # The limit with swap may never be the lower one, so that both are lifted before they are set.
                swap = (directory / "memory.memsw.limit_in_bytes").exists()
                settings = [("memory.memsw.limit_in_bytes", "-1")] * swap + [("memory.limit_in_bytes", "-1")]
                settings += [("memory.limit_in_bytes", memory)] + [("memory.memsw.limit_in_bytes", memory)] * swap
            case "memory", _:
                settings = [("memory.max", memory)]
                settings += [("memory.swap.max", "0")] * (directory / "memory.swap.max").exists()
            case "pids", _:
                settings = [("pids.max", str(self._limits.pids))]
            case _, 1:
                settings = [("cpu.cfs_period_us", str(_CPU_PERIOD_US)), ("cpu.cfs_quota_us", str(quota))]
            case _:
                settings = [("cpu.max", f"{quota} {_CPU_PERIOD_US}")]
        try:
            for file, value in settings:
                (directory / file).write_text(value)
        except OSError as error:
            self._problems.append(f"{directory}: {error.strerror}")
            del self._directories[controller], self._versions[controller]


def group_folder(name: str) -> str:
    """The directory of the group of that owner; names that differ get different ones."""
    return f"{_plain(name)}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def remove_empty(prefix: str) -> int:
    """Remove the groups that owners whose names begin with `prefix` left behind empty; how many those were."""
    removed = 0
    mountinfo, own = Path("/proc/self/mountinfo").read_text(), Path("/proc/self/cgroup").read_text()
    for place in places(mountinfo, own):
        for parent in place.parents:
            for directory in parent.glob(f"{_plain(prefix)}*"):
                removed += _remove_unlocked(directory)
    return removed


def _remove_unlocked(directory: Path) -> bool:
    try:
        lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        directory.rmdir()
    except OSError:
        return False
    finally:
        os.close(lock)
    return True


def _plain(name: str) -> str:
    return "thrum-" + re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:100]


def _delegate(parent: Path, wanted: set[str]) -> None:
    """Let the children of a v2 group have the controllers, if it is ours to let; OSError if not."""
    if not os.access(parent / "cgroup.procs", os.W_OK):
        raise PermissionError(errno.EACCES, "we may not move processes there")
    absent = wanted - _words(parent, "subtree_control")
    if absent:
        (parent / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in sorted(absent)))


def _words(group: Path, file: str) -> set[str]:
    try:
        return set((group / f"cgroup.{file}").read_text().split())
    except OSError:
        return set()


def _counter(file: Path, key: str) -> int:
    for line in file.read_text().splitlines():
        name, _, value = line.partition(" ")
        if name == key:
            return int(value)
    return 0


def _kill(members: Iterable[int], *, still: Callable[[], set[int]]) -> None:
    """SIGKILL to the members, and a short wait for the end of the first that we hold."""
    held: dict[int, int] = {}
    try:
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                held[pid] = os.pidfd_open(pid)
        # A pid that is still listed after we took hold of it is the process that we hold.
        for pid in still() & held.keys():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(held[pid], signal.SIGKILL)
        poll = select.poll()
        for pidfd in held.values():
            poll.register(pidfd, select.POLLIN)
        poll.poll(100)
    finally:
        for pidfd in held.values():
            os.close(pidfd)
