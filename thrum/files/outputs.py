"""Outputs of agents and checks, kept by what they say. Nothing here knows whose they are."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path

from thrum.errors import NotFoundError, RefusedError, UsageError
from thrum.files.durable import new_file_beside, sync_directory, write_all, write_atomically

_COPY_BYTES = 1024 * 1024


class OutputStore:
    """Large outputs in a directory, each under the SHA-256 of its content: `ab/cdef…`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def adopt(self, path: Path) -> tuple[str, int]:
        """Move a finished file in, durably, and return its digest (hex) and size.

        One with the same content that is there already stays, and the new one goes. `path` may lie on another
        file system.

        Raises:
            RefusedError: `path` is no regular file.
            OSError: it could not be kept; `path` is still there.
        """
        digest, size = _digest_durably(path)
        target = self.path(digest)
        self._make(target.parent)
        if target.exists():
            path.unlink()
        else:
            self._move(path, target)
        sync_directory(target.parent)
        return digest, size

    def keep(self, data: bytes) -> str:
        """Keep these bytes, durably, and return their digest."""
        digest = hashlib.sha256(data).hexdigest()
        target = self.path(digest)
        self._make(target.parent)
        if not target.exists():
            write_atomically(target, data)
        return digest

    def gather(self, pieces: Iterable[bytes]) -> tuple[str, int]:
        """Keep what the pieces hold together, durably, and return its digest (hex) and size.

        Raises:
            OSError: it could not be kept.
        """
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found, size = hashlib.sha256(), 0
        with new_file_beside(self._directory / "gathered", 0o600) as (handle, name):
            for piece in pieces:
                write_all(handle, piece)
                found.update(piece)
                size += len(piece)
            os.fsync(handle)
            target = self.path(found.hexdigest())
            self._make(target.parent)
            if not target.exists():
                os.replace(name, target)
        sync_directory(target.parent)
        return found.hexdigest(), size

    def read(self, digest: str, *, offset: int = 0, limit: int = 262_144) -> tuple[bytes, int]:
        """At most `limit` bytes from `offset`, and the size of the whole; nothing behind its end.

        Raises:
            NotFoundError: no output has this digest.
            UsageError: a negative offset or limit.
        """
        if offset < 0 or limit < 0:
            raise UsageError("offset and limit of an output must not be negative")
        # Checked first: a digest comes from outside, and becomes a path.
        if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
            raise NotFoundError(f"{digest!r:.80} is not the digest of an output")
        try:
            with self.path(digest).open("rb") as output:
                total = os.fstat(output.fileno()).st_size
                output.seek(min(offset, total))
                return output.read(min(limit, total)), total
        except FileNotFoundError:
            raise NotFoundError(f"no output with the digest {digest} is kept here") from None

    def _move(self, path: Path, target: Path) -> None:
        try:
            path.rename(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            with new_file_beside(target, 0o600) as (handle, name):
                with path.open("rb") as source, os.fdopen(os.dup(handle), "wb") as copy:
                    shutil.copyfileobj(source, copy, _COPY_BYTES)
                os.fsync(handle)
                os.replace(name, target)
            path.unlink()

    def path(self, digest: str) -> Path:
        """Where the output with this digest lies, if it is kept."""
        return self._directory / digest[:2] / digest[2:]

    def _make(self, folder: Path) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not folder.exists():
            folder.mkdir(mode=0o700, exist_ok=True)
            sync_directory(self._directory)


def _digest_durably(path: Path) -> tuple[str, int]:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise RefusedError(f"{path} is no regular file") from None
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise RefusedError(f"{path} is no regular file")
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(handle)
        return digest, os.fstat(handle).st_size
