"""The output of one run while it comes in: a bounded file with its digest, and the tail in memory."""

from __future__ import annotations

import hashlib
import os

from thrum.errors import SandboxError
from thrum.masking import MaskedStream

_SLACK_BYTES = 65536
"""How much the tail in memory may outgrow itself before it is cut, so that not every chunk moves it."""


class Capture:
    """The output of one run: a bounded file with its digest, and the tail in memory."""

    def __init__(self, path: str, *, limit_bytes: int, tail_bytes: int, mask: tuple[str, ...] = ()) -> None:
        self.kept_bytes = 0
        self.over = False
        self._path = path
        self._limit_bytes = limit_bytes
        self._tail_bytes = tail_bytes
        self._masked = MaskedStream(mask)
        self._tail = bytearray()
        self._hash = hashlib.sha256()
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.open(path, flags, 0o600) if path else -1

    def __enter__(self) -> Capture:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file >= 0:
            os.close(self._file)

    def take(self, chunk: bytes) -> bytes:
        """Take in what was read; returns what can be told of it, masked, as far as it is within the limit."""
        return self._keep(self._masked.feed(chunk))

    def end(self) -> bytes:
        """Take in that nothing more comes; returns what was not told before."""
        return self._keep(self._masked.flush())

    def _keep(self, chunk: bytes) -> bytes:
        kept = chunk[: self._limit_bytes - self.kept_bytes]
        self.kept_bytes += len(kept)
        self.over = self.over or len(kept) < len(chunk)
        self._tail += chunk
        if len(self._tail) > 2 * self._tail_bytes + _SLACK_BYTES:
            del self._tail[: -self._tail_bytes or None]
        if self._file >= 0 and kept:
            self._hash.update(kept)
            self._write(kept)
        return kept

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._file, view) :]
        except OSError as error:
            raise SandboxError(
                f"the output cannot be kept: {error.strerror}", remedy="free disk space, then retry"
            ) from error

    @property
    def tail(self) -> str:
        """The end of the output as text."""
        return self._tail[-self._tail_bytes :].decode(errors="replace") if self._tail_bytes else ""

    @property
    def digest(self) -> str:
        """SHA-256 of the file's content; empty without a file."""
        return self._hash.hexdigest() if self._file >= 0 else ""
