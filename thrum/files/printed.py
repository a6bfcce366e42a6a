"""What a program prints, on disk while it prints: a beginning, an end, and how many bytes are missing between them.

The beginning is the file itself. What comes after it goes into parts beside it, each named after where it begins
(`output.log.33554432`), of which the last two stay. So all of it is on disk as it comes, in bounded space, and whoever
writes may be killed at any time. Whose output it is, is not known here.
"""

from __future__ import annotations

import codecs
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from thrum.files.durable import write_all
from thrum.values import dataclass

PIECE_BYTES = 256 * 1024


class Printing:
    """Writes an output to `path`, at most `limit_bytes` of it; what was there before goes."""

    def __init__(self, path: Path, *, limit_bytes: int) -> None:
        self._path = path
        self._part_bytes = limit_bytes // 4
        self._beginning_bytes = limit_bytes - 2 * self._part_bytes
        self._total = 0
        for _, part in _parts(path):
            part.unlink()
        self._kept: list[Path] = []
        self._file = _create(path)
        self._room = self._beginning_bytes

    def write(self, data: bytes) -> None:
        """Put down what came next.

        Raises:
            OSError: it could not be written.
        """
        left = memoryview(data)
        while left:
            if not self._room:
                left = self._next_part(left)
            write_all(self._file, left[: self._room])
            self._total += min(self._room, len(left))
            self._room, left = max(0, self._room - len(left)), left[self._room :]

    def close(self) -> None:
        """Let go of the file; what was written stays."""
        os.close(self._file)

    def _next_part(self, left: memoryview) -> memoryview:
        """Begin a part, and drop what it takes the place of; what is left to write, which may have to skip some."""
        skipped = max(0, len(left) - 2 * self._part_bytes)
        self._total += skipped
        if not self._part_bytes:
            return left[skipped:]
        path = self._path.with_name(f"{self._path.name}.{self._total}")
        file = _create(path)
        os.close(self._file)
        self._file, self._room = file, self._part_bytes
        dropped = self._kept[:] if skipped else self._kept[:-1]
        for old in dropped:
            old.unlink()
        self._kept = [*self._kept[len(dropped) :], path]
        return left[skipped:]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    begin: int
    end: int
    path: Path


class Printed:
    """Reads what was printed to `path`, also while it is being written. Offsets count all bytes, missing ones too."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def total_bytes(self) -> int:
        """How much was printed so far, whatever is missing; 0 where nothing is kept."""
        return self.read(0, 0)[2]

    def read(self, offset: int, limit_bytes: int = PIECE_BYTES) -> tuple[bytes, int, int]:
        """Some bytes from `offset` on, where they begin (later, if those at `offset` are missing), and the total."""
        while True:
            try:
                return self._read(offset, limit_bytes)
            except FileNotFoundError:
                if not self._path.exists():
                    return b"", offset, 0
                # A part that has just made room for another one.

    def since(self, offset: int = 0) -> Iterator[bytes]:
        """All from `offset` on, in pieces; where some is missing, a line says how much."""
        while True:
            data, begin, _ = self.read(offset)
            if not data:
                return
            if begin > offset:
                yield missing(begin - offset).encode()
            yield data
            offset = begin + len(data)

    def ends(self, beginning_bytes: int, end_bytes: int) -> bytes:
        """All of it, or only a beginning and an end, on lines of their own, where it is longer than both."""
        total = self.total_bytes
        if total <= beginning_bytes + end_bytes:
            return b"".join(self.since())
        return b"\n".join((self.read(0, beginning_bytes)[0], b"".join(self.since(total - end_bytes))))

    def _read(self, offset: int, limit_bytes: int) -> tuple[bytes, int, int]:
        parts = [_part(self._path, 0), *(_part(path, begin) for begin, path in _parts(self._path))]
        total = parts[-1].end
        part = next((one for one in parts if one.end > offset), None)
        if part is None:
            return b"", offset, total
        at = max(offset, part.begin)
        with open(os.open(part.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            file.seek(at - part.begin)
            return file.read(min(limit_bytes, part.end - at)), at, total


def missing(count: int) -> str:
    """What stands in the place of bytes that were not kept."""
    return f"\n[… {count} bytes are missing here …]\n"


def text_of(data: bytes, *, final: bool) -> tuple[str, int]:
    """Bytes as text, and how many of them that is: unless they are the last, the beginning of a character waits."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(data, final)
    return text, len(data) - len(decoder.getstate()[0])


def _create(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _part(path: Path, begin: int) -> _Part:
    found = os.stat(path, follow_symlinks=False)
    return _Part(begin=begin, end=begin + (found.st_size if stat.S_ISREG(found.st_mode) else 0), path=path)


def _parts(path: Path) -> list[tuple[int, Path]]:
    """Where each part after the beginning begins, and its file, in order."""
    names = os.listdir(path.parent) if path.parent.is_dir() else ()
    begins = (name.removeprefix(f"{path.name}.") for name in names if name.startswith(f"{path.name}."))
    return [(n, path.with_name(f"{path.name}.{n}")) for n in sorted(int(one) for one in begins if one.isdecimal())]
