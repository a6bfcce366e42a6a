"""Processes that carry a mark in their environment, found in /proc and killed.

The mark is how leftovers are told from strangers when no pid namespace or control group holds them. A process
that cleared its environment is not found. Identity is a pidfd, so that a reused pid is never hit.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator

log = logging.getLogger(__name__)

MARK = "THRUM_MARK"
"""The variable in the environment of everything that a sandbox starts; its value is the sandbox's name."""

_PASSES = 100
"""A family that forks faster than a hundred passes can kill needs a sandbox that isolates."""


def sweep(prefix: str) -> int:
    """Kill every process whose mark begins with `prefix`, but neither us nor our ancestors; how many those were."""
    return _kill_all(lambda mark: mark.startswith(prefix))


def sweep_exactly(mark: str) -> int:
    """Kill every process with just this mark, but neither us nor our ancestors; how many those were."""
    return _kill_all(lambda found: found == mark)


def _kill_all(wanted: Callable[[str], bool]) -> int:
    spared = set(_ancestry())
    killed = 0
    for _ in range(_PASSES):
        hit = sum(_kill(pid, wanted) for pid in _pids() if pid not in spared)
        killed += hit
        if not hit:
            return killed
    log.error("processes with our mark fork faster than they can be killed", extra={"killed": killed})
    return killed


def _kill(pid: int, wanted: Callable[[str], bool]) -> bool:
    mark = mark_of(pid)
    if mark is None or not wanted(mark):
        return False
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        # Read again through a pid that the descriptor now holds: the first look may have been at another.
        if mark_of(pid) != mark:
            return False
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except OSError:
        return False
    finally:
        os.close(pidfd)
    return True


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
