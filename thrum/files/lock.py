"""One process at a time, and who it is."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

from thrum.errors import BusyError, RefusedError
from thrum.records import from_plain, to_plain
from thrum.values import dataclass

_RETRY_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who holds a lock, as the holder wrote it. `birth` tells a process from a later one of the same pid."""

    pid: int
    birth: str
    kind: str
    details: dict[str, str] = field(default_factory=dict)


class Lock:
    """A file that one process holds at a time, and that says who; let go of when its process ends.

    `kind` and `details` are for others to read. The file itself stays, as removing it would let two processes
    hold two files of the same name.
    """

    def __init__(self, path: Path, *, kind: str, details: Mapping[str, str] | None = None) -> None:
        self._path = path
        self._kind = kind
        self._details = dict(details or {})
        self._handle: int | None = None

    def acquire(self, *, deadline_s: float = 0.0) -> Lock:
        """Hold the lock from here on, waiting for it for at most `deadline_s`; returns itself, for `with`.

        Raises:
            BusyError: another one still holds it; says who.
            RefusedError: this object holds it already.
        """
        if self._handle is not None:
            raise RefusedError(f"{self._path} is already held by this lock")
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            self._wait(handle, time.monotonic() + deadline_s)
            os.ftruncate(handle, 0)
            os.pwrite(handle, json.dumps(to_plain(self._myself())).encode(), 0)
        except BaseException:
            os.close(handle)
            raise
        self._handle = handle
        return self

    def release(self) -> None:
        """Let go; nothing happens if it is not held."""
        if self._handle is not None:
            os.ftruncate(self._handle, 0)
            os.close(self._handle)
            self._handle = None

    def __enter__(self) -> Lock:
        return self if self._handle is not None else self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def _wait(self, handle: int, deadline: float) -> None:
        while True:
            try:
                return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise self._busy() from None
            time.sleep(min(_RETRY_S, max(0.0, deadline - time.monotonic())))

    def _busy(self) -> BusyError:
        holder = holder_of(self._path)
        who = f"{holder.kind} (process {holder.pid})" if holder else "another process"
        return BusyError(f"{self._path} is held by {who}", remedy="wait for it to end, or stop it")

    def _myself(self) -> Holder:
        pid = os.getpid()
        return Holder(pid=pid, birth=_birth(pid), kind=self._kind, details=self._details)


def holder_of(path: Path) -> Holder | None:
    """Who holds the lock at `path`; None if nobody does. It never gets in the way of one who wants it."""
    try:
        holder = from_plain(Holder, json.loads(path.read_bytes()))
        # One that was killed could not empty the file.
        return holder if _birth(holder.pid) == holder.birth else None
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return None


def _birth(pid: int) -> str:
    """What no other process of the same pid has: the boot, and the clock ticks since then, see proc(5).

    Unlike a time of day it stays the same when the clock is set.
    """
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    ended = fields[0] in (b"Z", b"X")
    return "" if ended else f"{boot}:{int(fields[19])}"
