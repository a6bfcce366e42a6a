"""The store itself: opening with its checks, writing batches, loading what the actor keeps in memory."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TypeVar

from thrum.batch import Batch, KeptReply, Loaded, Verification
from thrum.errors import StoreDamagedError, StoreError
from thrum.gate import CheckResult
from thrum.records import from_plain
from thrum.store.audit import verify
from thrum.store.layout import (
    FORMAT,
    GENESIS,
    decode,
    event_key,
    index_key,
    name_in,
    new_packer,
    outbox_key,
    read_head,
    read_row,
    row_hash,
    unpack,
    unpack_event,
    unpack_outgoing,
)
from thrum.store.rows import Changes, Rows
from thrum.task import Event, Task

T = TypeVar("T")

MIGRATIONS: dict[int, Callable[[Rows], Changes]] = {}
"""From each older format, the changes that lead to the next one.

They leave the `e/` rows alone, which are the proof of what was: their old forms stay readable.
"""


class Store:
    """One repository's tasks, events, marks, replies and outbox over any `Rows`, for one thread.

    Rows without anything in them become a new store, whose epoch (see `Loaded`) is `epoch` or else random.
    Opening checks the format, the repository and the end of the log; `verify` checks everything.

    Raises:
        StoreDamagedError: the rows are not as a store left them.
        StoreError: it is another repository's store, or one of a format that cannot be read.
    """

    def __init__(self, rows: Rows, *, repo: str, epoch: str = "") -> None:
        self._rows = rows
        self._pack = new_packer()
        self._refuses = False
        if rows.get(b"m/format") is None:
            self._create(repo, epoch or secrets.token_hex(8))
        self._migrate()
        self._check_repo(repo)
        self.epoch = self._meta(b"m/epoch", str)
        self._seq, self._hash = read_head(rows)
        self._check_tail()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the rows; the store is of no use afterwards."""
        self._refuses = True
        self._rows.close()

    def write(self, *batches: Batch, sync: bool = True) -> None:
        """Make all the batches durable as one, in their order; they are once this returns.

        Without `sync` a crash of the machine (not of the process) may take them back, the latest first: for
        what can be found out again, such as that a message was acknowledged.

        Raises:
            StoreError: the events do not carry on the log, and nothing was written; or writing failed. Then
                nobody knows what is on disk, every further write is refused, and the process must end.
            TypeError, ValueError, OverflowError: a value has no plain form; nothing was written.
        """
        if self._refuses:
            raise StoreError(
                f"{self._rows.name} takes no more writes: it is closed, or an earlier write failed",
                remedy="the process that holds it must end and start again",
            )
        changes: Changes = {}
        seq, head = self._seq, self._hash
        for batch in batches:
            seq, head = self._add_events(batch, seq, head, changes)
            self._add_rows(batch, changes)
        if seq != self._seq:
            changes[b"m/head"] = self._pack((seq, head))
        if not changes:
            return
        # Set before and cleared after, so that an interrupt in between counts as a failed write. LevelDB itself
        # goes on after a log write that ran out of space, behind half a record.
        self._refuses = True
        self._rows.write(changes, sync=sync)
        self._seq, self._hash, self._refuses = seq, head, False

    def load(self) -> Loaded:
        """Everything that a repo actor keeps in memory.

        Raises:
            StoreDamagedError: a row cannot be read.
        """
        return Loaded(
            epoch=self.epoch,
            last_seq=self._seq,
            next_number=self._meta(b"m/next", int),
            tasks=self._table(b"s/", lambda raw: from_plain(Task, unpack(raw))),
            marks=self._table(b"i/", _integer),
            replies=self._table(b"k/", lambda raw: from_plain(KeptReply, unpack(raw))),
            outbox=tuple(self._table(b"o/", unpack_outgoing).values()),
            next_out=self._table(b"m/out/", _integer),
            records=self._table(b"l/", unpack),
            results=self._table(b"g/", lambda raw: from_plain(CheckResult, unpack(raw))),
        )

    def events(self, task: str = "", *, after: int = 0, limit: int | None = None) -> Iterator[Event]:
        """The events behind number `after`, oldest first, of one task or (empty) of all; at most `limit`.

        Raises:
            StoreDamagedError: a row cannot be read, while iterating.
        """
        return islice(self._events_of(task, after) if task else self._all_events(after), limit)

    def verify(self) -> Verification:
        """Walk the whole store; see `thrum.store.verify`."""
        return verify(self._rows)

    def _add_events(self, batch: Batch, seq: int, head: bytes, changes: Changes) -> tuple[int, bytes]:
        for event in batch.events:
            if event.seq != seq + 1:
                raise StoreError(f"event {event.seq} of {event.task} does not follow event {seq}")
            if not event.task or "/" in event.task:
                raise StoreError(f"{event.task!r} cannot be the id of a task")
            seq = event.seq
            row = head + self._pack(event)
            head = row_hash(row)
            changes[event_key(seq)] = row
            changes[index_key(event.task, seq)] = b""
        return seq, head

    def _add_rows(self, batch: Batch, changes: Changes) -> None:
        pack = self._pack
        for task in batch.tasks:
            changes[b"s/" + task.id.encode()] = pack(task)
        for stream, number in batch.marks.items():
            changes[b"i/" + stream.encode()] = pack(number)
        for key in batch.dropped_replies:
            changes[b"k/" + key.encode()] = None
        for key, kept in batch.replies.items():
            changes[b"k/" + key.encode()] = pack(kept)
        for outgoing in batch.outbox:
            destination, message = outgoing.destination, outgoing.message
            row = pack((destination, type(message).__name__, message))
            changes[outbox_key(destination, message.seq)] = row
            changes[b"m/out/" + destination.encode()] = pack(message.seq + 1)
        for destination, number in batch.dropped_outbox:
            changes[outbox_key(destination, number)] = None
        for name, record in batch.records.items():
            changes[b"l/" + name.encode()] = None if record is None else pack(record)
        for key in batch.dropped_results:
            changes[b"g/" + key.encode()] = None
        for key, result in batch.results.items():
            changes[b"g/" + key.encode()] = pack(result)
        if batch.next_number:
            changes[b"m/next"] = pack(batch.next_number)

    def _create(self, repo: str, epoch: str) -> None:
        if next(self._rows.scan(b""), None) is not None:
            raise StoreDamagedError(f"{self._rows.name} has rows, but none that says in which format")
        meta = {b"m/format": FORMAT, b"m/repo": repo, b"m/epoch": epoch, b"m/next": 1, b"m/head": (0, GENESIS)}
        self._rows.write({key: self._pack(value) for key, value in meta.items()}, sync=True)

    def _migrate(self) -> None:
        while (found := self._meta(b"m/format", int)) != FORMAT:
            migration = MIGRATIONS.get(found)
            if migration is None:
                which = "a newer" if found > FORMAT else "another"
                raise StoreError(
                    f"{self._rows.name} has format {found}, and this version of Thrum reads format {FORMAT}",
                    remedy=f"use {which} version of Thrum; nothing in the store was changed",
                )
            self._rows.write({**migration(self._rows), b"m/format": self._pack(found + 1)}, sync=True)

    def _check_repo(self, repo: str) -> None:
        found = self._meta(b"m/repo", str)
        if found != repo:
            raise StoreError(
                f"{self._rows.name} is the store of repository {found}, not of {repo}",
                remedy="give the repository its old name back, or move the store away",
            )

    def _check_tail(self) -> None:
        last = self._rows.get(event_key(self._seq)) if self._seq else None
        if (row_hash(last) if last else GENESIS) != self._hash:
            raise StoreDamagedError(f"{self._rows.name}: the last event, {self._seq}, is not the one recorded")
        if next(self._rows.scan(b"e/", event_key(self._seq)), None) is not None:
            raise StoreDamagedError(f"{self._rows.name}: there are events behind the last one, {self._seq}")

    def _all_events(self, after: int) -> Iterator[Event]:
        for key, row in self._rows.scan(b"e/", event_key(after)):
            yield decode(self._rows, key, row, unpack_event)

    def _events_of(self, task: str, after: int) -> Iterator[Event]:
        prefix = b"x/%b/" % task.encode()
        for key, _ in self._rows.scan(prefix, index_key(task, after)):
            yield read_row(self._rows, b"e/" + key[len(prefix) :], unpack_event)

    def _meta(self, key: bytes, cls: type[T]) -> T:
        return read_row(self._rows, key, lambda raw: from_plain(cls, unpack(raw)))

    def _table(self, prefix: bytes, reader: Callable[[bytes], T]) -> dict[str, T]:
        return {name_in(key, prefix): decode(self._rows, key, row, reader) for key, row in self._rows.scan(prefix)}


def _integer(raw: bytes) -> int:
    return from_plain(int, unpack(raw))
