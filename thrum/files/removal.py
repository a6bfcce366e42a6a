"""Removing what an untrusted program left, however it left it."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def remove_tree(path: Path) -> None:
    """Remove a tree that an untrusted program wrote; one that is not there is fine.

    Directories may be unreadable, and nested deeper than any path or stack reaches; no symbolic link is
    followed, not even one that `path` itself is.

    Raises:
        OSError: something in it cannot be removed; the rest of it may be gone.
    """
    try:
        root = _open_directory(str(path), None)
    except FileNotFoundError:
        return
    except NotADirectoryError:
        path.unlink()
        return
    try:
        _empty(root)
    finally:
        os.close(root)
    path.rmdir()


def _empty(root: int) -> None:
    """Each directory in turn hands its own directories up to the root: no recursion, two handles."""
    prefix = f".removed-{secrets.token_hex(8)}-"
    pending = _unlink_files(root)
    moved = 0
    while pending:
        name = pending.pop()
        directory = _open_directory(name, root)
        try:
            for inner in _unlink_files(directory):
                # Opened for its rights: moving a directory takes the right to write in it.
                os.close(_open_directory(inner, directory))
                moved += 1
                os.rename(inner, f"{prefix}{moved}", src_dir_fd=directory, dst_dir_fd=root)
                pending.append(f"{prefix}{moved}")
        finally:
            os.close(directory)
        os.rmdir(name, dir_fd=root)


def _unlink_files(directory: int) -> list[str]:
    """Remove all that is no directory, and return the names of those that are."""
    with os.scandir(directory) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_directory in found:
        if not is_directory:
            os.unlink(name, dir_fd=directory)
    return [name for name, is_directory in found if is_directory]


def _open_directory(name: str, parent: int | None) -> int:
    """A handle on a directory that its owner has all rights to from here on."""
    flags = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        handle = os.open(name, os.O_RDONLY | flags, dir_fd=parent)
    except PermissionError:
        # A handle of this kind needs no rights, and its entry in /proc leads to that very directory.
        place = os.open(name, os.O_PATH | flags, dir_fd=parent)
        try:
            os.chmod(f"/proc/self/fd/{place}", 0o700)
            handle = os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        finally:
            os.close(place)
    if os.fstat(handle).st_mode & 0o700 != 0o700:
        os.fchmod(handle, 0o700)
    return handle
