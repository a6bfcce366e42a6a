"""Processes that carry a mark in their environment, found in /proc and killed.

The mark is how leftovers are told from strangers when no pid namespace or control group holds them. A process
that cleared its environment is not found. Identity is a pidfd, so that a reused pid is never hit.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Callable, Iterator

from thrum.sandbox import process

log = logging.getLogger(__name__)

MARK = "THRUM_MARK"
"""The variable in the environment of everything that a sandbox starts; its value is the sandbox's name."""

_PASSES = 100
"""A family that forks faster than a hundred passes can kill needs a sandbox that isolates."""
_DEATH_S = 1.0


def sweep(prefix: str) -> int:
    """Kill every process whose mark begins with `prefix`, but neither us nor our ancestors; how many those were."""
    return _kill_all(lambda mark: mark.startswith(prefix))


def sweep_exactly(mark: str) -> int:
    """Kill every process with just this mark, but neither us nor our ancestors; how many those were."""
    return _kill_all(lambda found: found == mark)


def _kill_all(wanted: Callable[[str], bool]) -> int:
    spared = set(_ancestry())
    killed: set[int] = set()
    for _ in range(_PASSES):
        held = {pid: pidfd for pid in _pids() if pid not in spared and (pidfd := _kill(pid, wanted)) >= 0}
        for pidfd in held.values():
            process.await_exit(pidfd, _DEATH_S)
            os.close(pidfd)
        killed |= held.keys()
        if not held:
            return len(killed)
    log.error("processes with our mark cannot all be killed", extra={"killed": len(killed)})
    return len(killed)


def _kill(pid: int, wanted: Callable[[str], bool]) -> int:
    """Kill the process if its mark is wanted; a descriptor that holds it then, else -1."""
    mark = mark_of(pid)
    if mark is None or not wanted(mark):
        return -1
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return -1
    # Looked at again now that the descriptor holds it: the first look may have been at another of this id.
    if mark_of(pid) == mark:
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            return pidfd
    os.close(pidfd)
    return -1


def mark_of(pid: int) -> str | None:
    """The mark in the environment that the process began with; None without one, or if it cannot be read."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            environ = file.read()
    except OSError:
        return None
    start = f"{MARK}=".encode()
    for entry in environ.split(b"\0"):
        if entry.startswith(start):
            return entry[len(start) :].decode(errors="replace")
    return None


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdecimal())


def _ancestry() -> Iterator[int]:
    pid = os.getpid()
    while pid > 0:
        yield pid
        pid = _parent(pid)


def _parent(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The command's name, in parentheses, may hold spaces and parentheses itself.
            return int(file.read().rpartition(b")")[2].split()[1])
    except OSError:
        return 0
