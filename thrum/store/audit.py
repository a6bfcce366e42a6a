"""Does a store say what was written into it? A walk over all its rows that changes nothing."""

from __future__ import annotations

from thrum.batch import Verification
from thrum.errors import StoreDamagedError, StoreError
from thrum.records import evolve, from_plain
from thrum.store.layout import (
    FORMAT,
    GENESIS,
    HASH_BYTES,
    decode,
    event_key,
    index_key,
    name_in,
    read_head,
    read_row,
    row_hash,
    unpack,
    unpack_event,
)
from thrum.store.rows import Rows
from thrum.task import Event, Task


def verify(rows: Rows) -> Verification:
    """Walk all rows of a store: the chain of hashes, the index, each task against the fold of its events.

    Whatever the rows say is the result, never an exception. What no walk can see is a log that lost its end
    together with everything that was written along with it.
    """
    audit = _Audit(rows)
    problem = ""
    try:
        audit.run()
    except StoreError as error:
        problem = error.message
    return Verification(
        ok=not problem,
        events=audit.good,
        tasks=len(audit.tasks),
        problem=problem,
        first_bad_seq=audit.suspect,
    )


class _Audit:
    """One walk: `good` events from the start are fine, `suspect` is the number of the one being looked at."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.tasks: dict[str, Task] = {}
        self.good = 0
        self.suspect: int | None = None

    def run(self) -> None:
        found = read_row(self.rows, b"m/format", unpack)
        if found != FORMAT:
            raise StoreError(f"format {found} cannot be verified here, only format {FORMAT}")
        last = self.walk_events()
        if read_head(self.rows) != (self.good, last):
            raise StoreDamagedError(f"the log ends with event {self.good}, which is not the end recorded")
        if sum(1 for _ in self.rows.scan(b"x/")) != self.good:
            raise StoreDamagedError("the index names events that the log does not have")
        self.compare_tasks()
        # Whatever was not read so far has no hash of ours, but the rows may know that they are bad.
        for _ in self.rows.scan(b""):
            pass

    def walk_events(self) -> bytes:
        before = GENESIS
        for key, row in self.rows.scan(b"e/"):
            self.suspect = self.good + 1
            if key != event_key(self.suspect):
                raise StoreDamagedError(f"event {self.suspect} is missing")
            if row[:HASH_BYTES] != before:
                raise StoreDamagedError(f"event {self.suspect} does not follow from the one before")
            self.fold(self.suspect, decode(self.rows, key, row, unpack_event))
            before = row_hash(row)
            self.good = self.suspect
        self.suspect = None
        return before

    def fold(self, seq: int, event: Event) -> None:
        if event.seq != seq:
            raise StoreDamagedError(f"event {seq} says that it is event {event.seq}")
        if self.rows.get(index_key(event.task, seq)) is None:
            raise StoreDamagedError(f"event {seq} is not in the index of {event.task}")
        task = self.tasks.get(event.task)
        if (task is None) != (event.kind == "added"):
            raise StoreDamagedError(f"event {seq} is {event.kind!r}: the first of a task, no other, is 'added'")
        try:
            task = from_plain(Task, event.changes) if task is None else evolve(task, event.changes)
        except (ValueError, KeyError, TypeError) as error:
            raise StoreDamagedError(f"event {seq} does not fit {event.task}: {error}") from error
        if task.id != event.task:
            raise StoreDamagedError(f"event {seq} of {event.task} makes it {task.id}")
        self.tasks[event.task] = task

    def compare_tasks(self) -> None:
        missing = set(self.tasks)
        for key, row in self.rows.scan(b"s/"):
            name = name_in(key, b"s/")
            if decode(self.rows, key, row, lambda raw: from_plain(Task, unpack(raw))) != self.tasks.get(name):
                raise StoreDamagedError(f"task {name} is not what its events say")
            missing.discard(name)
        if missing:
            raise StoreDamagedError(f"task {min(missing)} has events, but no row")
