"""Writes that a crash leaves whole or undone. What is written is not known here."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def write_atomically(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Put `data` at `path` so that after any crash it holds either what it held before, or all of it.

    A symbolic link there is replaced, not followed.

    Raises:
        OSError: it could not be written; `path` is as it was.
    """
    with new_file_beside(path, mode) as (handle, name):
        write_all(handle, data)
        os.fsync(handle)
        os.replace(name, path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable: those that were added, and those that went."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def new_file_beside(path: Path, mode: int) -> Iterator[tuple[int, str]]:
    """A new file in the same directory, to be filled and renamed; what is left of it at the end goes."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        os.fchmod(handle, mode)
        yield handle, name
    finally:
        os.close(handle)
        with suppress(FileNotFoundError):
            os.unlink(name)


def write_all(handle: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]
