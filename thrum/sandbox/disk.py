"""How much a run has on disk, looked at in intervals, and its end where that passes a limit.

A directory has no quota without a file system of its own. So a thread walks what the run may write, the first time a
second after its beginning, and rests between two looks for ten times as long as one took: what is written in between
is seen late. It follows no link, and counts files that are deleted but still open.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Self

from thrum.config import SandboxConfig
from thrum.values import dataclass

FIRST_LOOK_S = 1.0
"""Runs that are over before cost nothing."""
_REST_S = 1.0
_REST_RATIO = 10.0
_BLOCK_BYTES = 512
_SLACK = 20
"""The run after one that was ended may add the twentieth part of what lies there: it gathers or removes that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What all directories that a run may write may hold together, what was there before included; 0 means no limit."""

    megabytes: int = 0
    files: int = 0
    """Directory entries of every kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What was found."""

    size_bytes: int = 0
    files: int = 0


class Disk:
    """The limits of one sandbox, from run to run."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._full: Watch | None = None

    @classmethod
    def of(cls, config: SandboxConfig) -> Self:
        """Those that `[sandbox]` sets."""
        return cls(Limits(megabytes=config.disk_limit_mb, files=config.disk_limit_files))

    def describe(self) -> dict[str, str]:
        """What binds, in words."""
        megabytes, files = self._limits.megabytes, self._limits.files
        told = ([f"{megabytes} MiB"] if megabytes else []) + ([f"{files} files"] if files else [])
        return {"disk": f"looked at in intervals: {', '.join(told)}"} if told else {}

    def watch(self, directories: Iterable[str], first: Callable[[], int | None]) -> Watch | None:
        """A watch for the next run; None if there is nothing to limit. `first` is process 1 of its namespace."""
        full, self._full = self._full, None
        directories = tuple(directories)
        granted = full.grant if full and set(full.directories) & set(directories) else Usage()
        if not directories or not (self._limits.megabytes or self._limits.files):
            return None
        return Watch(self._limits, granted, directories, first)

    def ended(self, watch: Watch | None) -> None:
        """Note what the run left behind, for the sake of the next."""
        self._full = watch if watch is not None and watch.reason else None


class Watch:
    """One run's watch. `look` begins it, and `fileno` becomes readable when a limit is passed."""

    def __init__(
        self, limits: Limits, granted: Usage, directories: tuple[str, ...], first: Callable[[], int | None]
    ) -> None:
        self.reason = ""
        """Which limit was passed, for a person; empty for none."""
        self.limit = ""
        """The configuration's key for it."""
        self.found = Usage()
        """What the last look found, or the part of it that passed a limit."""
        self._limits = limits
        self._most_bytes = max(limits.megabytes << 20, granted.size_bytes) if limits.megabytes else 0
        self._most_files = max(limits.files, granted.files) if limits.files else 0
        self.directories = directories
        self._first = first
        self._space: int | None = None
        self._over = threading.Event()
        self._passed = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread: threading.Thread | None = None

    @property
    def grant(self) -> Usage:
        """What the next run in the same place may have, should this one have been ended."""
        found = self.found
        return Usage(
            size_bytes=found.size_bytes + found.size_bytes // _SLACK, files=found.files + found.files // _SLACK
        )

    def fileno(self) -> int:
        """Readable once `reason` is set."""
        return self._passed

    def look(self) -> None:
        """Look from now on, in a thread of its own; a second call does nothing."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._follow, name="disk", daemon=True)
            self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        os.close(self._passed)

    def _follow(self) -> None:
        while not self._over.is_set():
            began = time.monotonic()
            if self._passes():
                os.eventfd_write(self._passed, 1)
                return
            self._over.wait(max(_REST_S, _REST_RATIO * (time.monotonic() - began)))

    def _passes(self) -> bool:
        counted = Count(self.directories)
        if self._space is None and (first := self._first()) is not None:
            self._space = space_of(first)
        for _ in counted.steps(self._space):
            self.found = counted.usage
            if self._most_bytes and counted.size_bytes > self._most_bytes:
                self.limit, self.reason = "disk_limit_mb", f"disk limit of {self._limits.megabytes} MiB reached"
                return True
            if self._most_files and counted.files > self._most_files:
                self.limit, self.reason = "disk_limit_files", f"disk limit of {self._limits.files} files reached"
                return True
            if self._over.is_set():
                return False
        return False


class Count:
    """Adds up directories that somebody else may be changing."""

    def __init__(self, directories: Iterable[str]) -> None:
        self.size_bytes = self.files = 0
        self._directories = tuple(directories)
        self._devices: set[int] = set()
        self._linked: set[tuple[int, int]] = set()

    @property
    def usage(self) -> Usage:
        """What was added up so far."""
        return Usage(size_bytes=self.size_bytes, files=self.files)

    def steps(self, space: int | None = None) -> Iterator[None]:
        """Add up, yielding after each directory; then what the processes of a pid namespace hold open, deleted."""
        for directory in self._directories:
            # What is gone or closed to us meanwhile is not counted.
            with contextlib.suppress(OSError):
                yield from self._walk(directory)
        if space is not None:
            self._add_deleted(space)
            yield

    def _walk(self, root: str) -> Iterator[None]:
        """From directory to directory by one handle, since paths may be longer than any call takes."""
        here = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._devices.add(os.fstat(here).st_dev)
            levels = [(_identity(here), self._enter(here))]
            yield
            while levels:
                below = levels[-1][1]
                if below:
                    inner = _opened(below.pop(), here)
                    if inner < 0:
                        continue
                    os.close(here)
                    here = inner
                    levels.append((_identity(here), self._enter(here)))
                    yield
                    continue
                levels.pop()
                if levels:
                    upper = os.open("..", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=here)
                    os.close(here)
                    here = upper
                    if _identity(here) != levels[-1][0]:
                        return  # it was moved: the next look may have more luck
        finally:
            os.close(here)

    def _enter(self, directory: int) -> list[str]:
        """Add the entries of one directory; the names of the directories among them."""
        below = []
        with contextlib.suppress(OSError), os.scandir(directory) as entries:
            for entry in entries:
                self.files += 1
                try:
                    found = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                if stat.S_ISDIR(found.st_mode):
                    below.append(entry.name)
                self._add(found)
        return below

    def _add(self, found: os.stat_result) -> None:
        if found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode):
            if (found.st_dev, found.st_ino) in self._linked:
                return
            self._linked.add((found.st_dev, found.st_ino))
        self.size_bytes += found.st_blocks * _BLOCK_BYTES

    def _add_deleted(self, space: int) -> None:
        seen = set()
        for pid in filter(str.isdecimal, os.listdir("/proc")):
            if space_of(pid) != space:
                continue
            with contextlib.suppress(OSError):
                for name in os.listdir(f"/proc/{pid}/fd"):
                    with contextlib.suppress(OSError):
                        found = os.stat(f"/proc/{pid}/fd/{name}")
                        key = (found.st_dev, found.st_ino)
                        if found.st_nlink == 0 and found.st_dev in self._devices and key not in seen:
                            seen.add(key)
                            self._add(found)


def _opened(name: str, above: int) -> int:
    """A handle on the directory of that name, or -1 where there is none that we may read."""
    try:
        return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
    except OSError:
        return -1


def _identity(directory: int) -> tuple[int, int]:
    found = os.fstat(directory)
    return found.st_dev, found.st_ino


def space_of(pid: int | str) -> int | None:
    """The number of the process's own pid namespace."""
    try:
        return os.stat(f"/proc/{pid}/ns/pid").st_ino
    except OSError:
        return None
