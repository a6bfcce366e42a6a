"""What one step of the ledger gives: the batch to write, then the messages to send, then the effects to carry out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from thrum import inputs as i
from thrum.batch import Batch, KeptReply, Outgoing
from thrum.gate import CheckResult
from thrum.messages import Message
from thrum.messages.attempts import AttemptReported
from thrum.task import Event, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """A message to be sent once the batch is written; `id` is empty where any will do."""

    destination: str
    body: Message
    id: str = ""
    correlation: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportAttempt:
    """Import and pin what a worker reported, then complete with `AttemptEnded`."""

    task: str
    base: str
    report: AttemptReported
    worker: str
    """The address of the worker, to be acknowledged once the outcome is written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LookAtBranch:
    """Find out where the branch stands now; it was red."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one step of the ledger wants: write `batch`, then send, then carry out, in this order."""

    batch: Batch | None
    sends: tuple[Send, ...]
    effects: tuple[i.Effect | ImportAttempt | LookAtBranch, ...]


@dataclass(slots=True)
class Gathered:
    """What came together since the last turn."""

    events: list[Event] = field(default_factory=list)
    touched: dict[str, Task] = field(default_factory=dict)
    marks: dict[str, int] = field(default_factory=dict)
    replies: dict[str, KeptReply] = field(default_factory=dict)
    dropped_replies: list[str] = field(default_factory=list)
    outbox: list[Outgoing] = field(default_factory=list)
    dropped_outbox: list[tuple[str, int]] = field(default_factory=list)
    records: dict[str, Any] = field(default_factory=dict)
    results: dict[str, CheckResult] = field(default_factory=dict)
    dropped_results: list[str] = field(default_factory=list)
    next_number: int = 0
    sends: list[Send] = field(default_factory=list)
    news: list[Send] = field(default_factory=list)
    """Streams, which are sent last: nobody waits for them."""
    effects: list[i.Effect | ImportAttempt | LookAtBranch] = field(default_factory=list)

    def batch(self) -> Batch | None:
        written = (
            self.events,
            self.marks,
            self.replies,
            self.dropped_replies,
            self.outbox,
            self.dropped_outbox,
            self.records,
            self.results,
            self.dropped_results,
        )
        if not any(written):
            return None
        return Batch(
            events=tuple(self.events),
            tasks=tuple(self.touched.values()),
            marks=self.marks,
            replies=self.replies,
            dropped_replies=tuple(self.dropped_replies),
            outbox=tuple(self.outbox),
            dropped_outbox=tuple(self.dropped_outbox),
            records=self.records,
            results=self.results,
            dropped_results=tuple(self.dropped_results),
            next_number=self.next_number,
        )
