"""What a store stands on: an ordered table of bytes that is written all or nothing, and one in memory.

What the bytes mean is not known here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

Changes = dict[bytes, bytes | None]
"""Rows to put, by key; None deletes."""


class Rows(Protocol):
    """An ordered table of bytes in which a write happens whole or not at all."""

    name: str
    """For error messages: where the rows are."""

    def get(self, key: bytes) -> bytes | None:
        """The row's value, or None.

        Raises:
            StoreDamagedError: it is there, but not as it was written.
        """

    def scan(self, prefix: bytes, after: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """The rows under `prefix` whose keys come after `after`, in the order of their keys.

        They are those of the first step of the iteration; writing meanwhile is fine.

        Raises:
            StoreDamagedError: one is not as it was written, while iterating.
        """

    def write(self, changes: Mapping[bytes, bytes | None], *, sync: bool) -> None:
        """Apply all changes as one; with `sync`, they and all earlier ones survive whatever happens next.

        Raises:
            StoreError: it did not work; what was written is unknown, and nothing more can be.
        """

    def close(self) -> None:
        """Let go of what holds the rows; twice is as good as once."""


class MemoryRows:
    """Rows in memory with a layer that a crash takes away: for tests, the simulator, and stores of no value.

    A process that ends is a `Store` that is not used any more; the next one opens the same rows.
    """

    def __init__(self, name: str = "memory") -> None:
        self.name = name
        self._rows: dict[bytes, bytes] = {}
        self._before: Changes = {}
        """What a crash brings back: the synced values of the rows that changed since the last sync."""

    def get(self, key: bytes) -> bytes | None:
        return self._rows.get(key)

    def scan(self, prefix: bytes, after: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        yield from sorted(row for row in self._rows.items() if row[0].startswith(prefix) and row[0] > after)

    def write(self, changes: Mapping[bytes, bytes | None], *, sync: bool) -> None:
        if not sync:
            for key in changes:
                self._before.setdefault(key, self._rows.get(key))
        self._apply(changes)
        if sync:
            self._before.clear()

    def close(self) -> None:
        """Nothing to let go of: the rows outlive the store that used them."""

    def crash(self) -> None:
        """Lose what was not synced, as a machine does that loses its power."""
        self._apply(self._before)
        self._before.clear()

    def _apply(self, changes: Mapping[bytes, bytes | None]) -> None:
        for key, value in changes.items():
            if value is None:
                self._rows.pop(key, None)
            else:
                self._rows[key] = value
