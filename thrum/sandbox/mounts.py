"""What of the host a sandbox shows, as values: which paths, in which order, and what is masked.

Pure but for looking at the host's file names. Nothing here runs anything.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from enum import StrEnum

from thrum.errors import SandboxError
from thrum.values import dataclass

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
"""Directories that every sandbox shows, read-only."""


class Access(StrEnum):
    """How a path appears inside."""

    READ = "read"
    WRITE = "write"
    MASKED = "masked"
    """Empty, whatever the host has there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One path, at the same place inside as on the host."""

    path: str
    access: Access


def plan(*, readable: Iterable[str], writable: Iterable[str], private: Iterable[str]) -> tuple[Mount, ...]:
    """The mounts of a job in the order in which they must be made: a path before what lies below it.

    A path that is both readable and writable is writable. A private path is masked wherever a mount would show
    it, also through a symbolic link; a mount below it is made after that, and thus seen.

    Raises:
        SandboxError: a path is not absolute, is the root or /proc, or is itself private; or a private one in a
            mount does not exist, and would show as soon as it does.
    """
    mounts = {path: Mount(path=path, access=Access.READ) for path in map(_checked, readable)}
    mounts |= {path: Mount(path=path, access=Access.WRITE) for path in map(_checked, writable)}
    masks = {}
    for hidden in {os.path.realpath(path) for path in private}:
        for path in mounts:
            real = os.path.realpath(path)
            if real == hidden:
                raise SandboxError(f"{path} is private to Thrum: it cannot be mounted", remedy="mount something else")
            if hidden.startswith(real + os.sep):
                mask = path + hidden[len(real) :]
                if not os.path.exists(hidden):
                    raise SandboxError(f"{hidden} must exist to be hidden from what mounts {path}")
                masks[mask] = Mount(path=mask, access=Access.MASKED)
    return tuple(sorted((masks | mounts).values(), key=lambda mount: mount.path.split(os.sep)))


def refuse_private(paths: Iterable[str], private: Iterable[str]) -> None:
    """Raise SandboxError for a path that lies in a private one: a job may name such, the configuration may not."""
    hidden = [os.path.realpath(path) for path in private]
    for path in paths:
        if visible(path, hidden):
            raise SandboxError(f"{path} is private to Thrum: it cannot be mounted", remedy="mount something else")


def _checked(path: str) -> str:
    if not os.path.isabs(path):
        raise SandboxError(f"{path!r} cannot be mounted: it is not absolute", remedy="give the whole path")
    path = os.path.normpath("/" + path.lstrip("/"))
    if path == "/" or path == "/proc" or path.startswith("/proc/"):
        raise SandboxError(f"{path} cannot be mounted: it would show the whole host", remedy="mount less of it")
    return path


def visible(path: str, roots: Iterable[str]) -> bool:
    """Whether a host path, links followed, lies in one of the directories that are shown (links resolved)."""
    return within(os.path.realpath(path), roots)


def within(real: str, roots: Iterable[str]) -> bool:
    """Whether a path without links is one of the directories, or lies in one."""
    return any(real == root or real.startswith(root + os.sep) for root in roots)


def find_program(program: str, path: str, cwd: str, roots: tuple[str, ...], uid: int | None) -> str | None:
    """The program's absolute path, if it may be executed inside and it, with what it links to, is seen there."""
    directories = [""] if "/" in program else path.split(":")
    for directory in directories:
        candidate = os.path.normpath(os.path.join(cwd, directory, program))
        if os.path.isfile(candidate) and _executable(candidate, uid) and visible(candidate, roots):
            return candidate
    return None


def _executable(path: str, uid: int | None) -> bool:
    """Whether the user may execute the file; what root may says nothing about another."""
    if uid is None:
        return os.access(path, os.X_OK)
    found = os.stat(path)
    return bool(found.st_mode & (stat.S_IXUSR if found.st_uid == uid else stat.S_IXOTH))


def parents(path: str) -> list[str]:
    """The directories above a path, outermost first, without the root."""
    steps = path.split(os.sep)[1:-1]
    return [os.sep + os.sep.join(steps[: end + 1]) for end in range(len(steps))]
