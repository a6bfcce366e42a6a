"""The output of one run while it comes in: masked, its beginning and end on disk, and the tail in memory."""

from __future__ import annotations

from pathlib import Path

from thrum.errors import SandboxError
from thrum.files import Printing
from thrum.masking import MaskedStream

_SLACK_BYTES = 65536
"""How much the tail in memory may outgrow itself before it is cut, so that not every chunk moves it."""


class Capture:
    """The output of one run: on disk as it comes (`thrum.files.Printed` reads it), and the tail in memory."""

    def __init__(self, path: str, *, limit_bytes: int, tail_bytes: int, mask: tuple[str, ...] = ()) -> None:
        self.total_bytes = 0
        self._limit_bytes = limit_bytes
        self._tail_bytes = tail_bytes
        self._masked = MaskedStream(mask)
        self._tail = bytearray()
        self._printing = Printing(Path(path), limit_bytes=limit_bytes) if path else None

    def __enter__(self) -> Capture:
        return self

    def __exit__(self, *_: object) -> None:
        if self._printing is not None:
            self._printing.close()

    @property
    def over(self) -> bool:
        """Whether it is more than is kept."""
        return self.total_bytes > self._limit_bytes

    def take(self, chunk: bytes) -> bytes:
        """Take in what was read; returns what can be told of it, masked."""
        return self._keep(self._masked.feed(chunk))

    def end(self) -> bytes:
        """Take in that nothing more comes; returns what was not told before."""
        return self._keep(self._masked.flush())

    def _keep(self, chunk: bytes) -> bytes:
        self.total_bytes += len(chunk)
        self._tail += chunk
        if len(self._tail) > 2 * self._tail_bytes + _SLACK_BYTES:
            del self._tail[: -self._tail_bytes or None]
        if self._printing is not None:
            try:
                self._printing.write(chunk)
            except OSError as error:
                raise SandboxError(
                    f"the output cannot be kept: {error.strerror}", remedy="free disk space, then retry"
                ) from error
        return chunk

    @property
    def tail(self) -> str:
        """The end of the output as text."""
        return self._tail[-self._tail_bytes :].decode(errors="replace") if self._tail_bytes else ""
