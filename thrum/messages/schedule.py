"""Between the scheduler and the repo actors: volatile, as all of it follows from announcements."""

from __future__ import annotations

from dataclasses import field

from thrum.messages import Message
from thrum.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSummary:
    """What the scheduler knows of a task. `ready` is `start`, `land` or empty."""

    id: str
    state: str
    ready: str = ""
    slot: bool = False
    landing: bool = False
    """It is being integrated: its integration set is busy."""
    waiting_for: str = "none"
    depends_on: tuple[str, ...] = ()
    priority: int = 0
    created_at: float = 0.0
    changed_at: float = 0.0
    cost_usd: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced(Message):
    """repo → scheduler: what changed since announcement `seq - 1` of this `epoch`, or with `snapshot` all."""

    repo: str
    epoch: str
    seq: int
    snapshot: bool
    tasks: tuple[TaskSummary, ...]
    concurrency: int
    fault: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnounceAgain(Message):
    """scheduler → repo: I missed something; send a snapshot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantStart(Message):
    """scheduler → repo: the task may take a slot."""

    task: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantLanding(Message):
    """scheduler → repo: the task may be integrated now; no other of its set is."""

    task: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteWaiting(Message):
    """scheduler → repo: what tasks wait for that only the scheduler can tell (dependency, budget, slot)."""

    waiting: dict[str, str]
    reasons: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class GetSchedule(Message):
    """query, edge → scheduler: what runs, is ready, waits and for what, over all repositories."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOnce(Message):
    """edge → scheduler that was started idle: take the next task as far as it goes without a person."""
