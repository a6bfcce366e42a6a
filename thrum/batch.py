"""What goes into a repo actor's store in one write, and what comes out of it when the actor starts.

Values only: the repo machine builds a `Batch` without touching a disk, and `thrum.store` turns it into rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from thrum.gate import CheckResult
from thrum.messages import Reply
from thrum.messages.landing import Durable
from thrum.task import Event, Task
from thrum.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptReply:
    """The answer that a command got, kept so that the same command sent again gets the same one."""

    at: float
    reply: Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A message that its destination has not acknowledged yet; `message.seq` is its place in that outbox."""

    destination: str
    message: Durable


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one step of the repo machine changes: all of it becomes durable together, or none.

    Events carry on the log's numbers: the first one's `seq` is the last written one plus one. A task id holds
    no slash.
    """

    events: tuple[Event, ...] = ()
    tasks: tuple[Task, ...] = ()
    """The tasks that the events changed, as they are after them."""
    marks: Mapping[str, int] = field(default_factory=dict)
    """For each durable stream the highest number that was handled."""
    replies: Mapping[str, KeptReply] = field(default_factory=dict)
    """By idempotency key."""
    dropped_replies: tuple[str, ...] = ()
    """Keys to forget; one that is in `replies` too has its new reply."""
    outbox: tuple[Outgoing, ...] = ()
    dropped_outbox: tuple[tuple[str, int], ...] = ()
    """(destination, seq) of what was acknowledged, be it of this very batch."""
    records: Mapping[str, Any] = field(default_factory=dict)
    """Small named records of plain values; None removes one."""
    results: Mapping[str, CheckResult] = field(default_factory=dict)
    """Results of checks that may be taken over, by what they are results of."""
    dropped_results: tuple[str, ...] = ()
    next_number: int = 0
    """The number of the next new task; 0 leaves it as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """All that a repo actor keeps in memory; the events stay on disk."""

    epoch: str
    """Random, made with the store: the name of its durable stream, and a new one if the store is ever lost."""
    last_seq: int
    next_number: int
    tasks: dict[str, Task]
    marks: dict[str, int]
    replies: dict[str, KeptReply]
    outbox: tuple[Outgoing, ...]
    """By destination, then by number."""
    next_out: dict[str, int]
    """For each destination ever written to, the number of its next message; 1 for one that is not here."""
    records: dict[str, Any]
    results: dict[str, CheckResult] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What walking a whole store found. Everything before `first_bad_seq` is as it was written."""

    ok: bool
    events: int = 0
    """How many events from the start are good."""
    tasks: int = 0
    problem: str = ""
    first_bad_seq: int | None = None
    """None where no single event is to blame."""
