"""A task and everything it remembers: states, attempts, approvals. Values only; `thrum.pipeline` decides."""

from __future__ import annotations

from dataclasses import field
from enum import StrEnum
from typing import Any

from thrum.failures import Failure
from thrum.gate import GateResult
from thrum.values import dataclass


class State(StrEnum):
    """Where a task stands. The last three are ends; `retry` leads out of FAILED and CANCELLED."""

    PENDING = "pending"
    CLAIMED = "claimed"
    IMPLEMENTING = "implementing"
    GATE1 = "gate1"
    REVIEWING = "reviewing"
    GATE2 = "gate2"
    AWAITING_APPROVAL = "awaiting-approval"
    APPROVED = "approved"
    INTEGRATING = "integrating"
    GATE3 = "gate3"
    MERGED = "merged"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDS = frozenset({State.MERGED, State.FAILED, State.CANCELLED})


class WaitingFor(StrEnum):
    """What a task needs before it can go on; `none` while it is being worked on or has ended."""

    NONE = "none"
    SLOT = "slot"
    DEPENDENCY = "dependency"
    QUOTA = "quota"
    BUDGET = "budget"
    OPERATOR = "operator"
    APPROVAL = "approval"
    CLEAN_CHECKOUT = "clean-checkout"
    LANDING = "landing"
    HOST = "host"


class AttemptEnding(StrEnum):
    """How an attempt ended, as its worker saw it; what it achieved is judged by its commits alone."""

    FINISHED = "finished"
    TIMED_OUT = "timed-out"
    SILENT = "silent"
    STOPPED = "stopped"
    LOST = "lost"
    """Its worker vanished, or the machine restarted."""
    COULD_NOT_RUN = "could-not-run"
    """The agent's program, its sandbox or the setup is not there; nobody's work, the operator's problem."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One run of an agent. `token` is its fencing token, unique and growing within its task."""

    token: int
    base: str
    """The commit that its work is measured against."""
    start: str = ""
    """The commit (or tree) that the work tree started from: the base, or what an earlier attempt left."""
    started_at: float = 0.0
    ended_at: float = 0.0
    ending: AttemptEnding | None = None
    reason: str = ""
    exit_code: int | None = None
    head: str = ""
    tree: str = ""
    files: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    """Those of `files` that the base has not."""
    links: tuple[str, ...] = ()
    """Those of `files` that are links."""
    namesakes: tuple[str, ...] = ()
    """Those of `added` that Python could import in place of a module that the base has."""
    leaks: tuple[str, ...] = ()
    """Where its commits hold a value that is masked elsewhere, or could not be searched for one: files, in whichever of
    the commits, and commits."""
    protected: tuple[str, ...] = ()
    """Those of `files` that were protected when it ended."""
    backend: str = ""
    model: str = ""
    worker: str = ""
    session: str = ""
    failure: Failure | None = None
    """Why it came to nothing, or was cut short, by what its program said and how it ended."""
    cost_usd: float = 0.0
    input_tokens: int = 0
    """All that went in, those taken from a cache included."""
    cached_tokens: int = 0
    output_tokens: int = 0
    output_digest: str = ""
    output_bytes: int = 0
    tail: str = ""
    prompt_digest: str = ""
    system_prompt_digest: str = ""
    """Of the instructions, where its program takes them apart from the prompt."""
    no_change: str = ""
    """The agent's own words for why no change is needed; empty unless it said so in the agreed form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """A person's yes to one commit, shown as a diff against one base."""

    by: str
    at: float
    commit: str
    base: str
    protected: bool = False
    """It holds for a change to protected paths, and for secrets, too."""
    flaky: tuple[str, ...] = ()
    """Tests that had passed only when run again, as far as it was on record then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """The commit that would land: the approved work merged onto `base`, the branch's tip when it was built."""

    base: str
    commit: str
    tree: str
    vector: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setback:
    """Why a task was sent back, kept for the next attempt's prompt."""

    cause: str
    """gate, no-change, timed-out, silent, conflict, rejected, crashed."""
    text: str
    token: int = 0
    at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The folded state of one task: exactly what its events say, nothing that could be computed from the rest.

    `wake_at` (Unix seconds, 0 = never) is when the repo actor looks at the task again without being told to.
    """

    id: str
    repo: str
    title: str
    description: str = ""
    depends_on: tuple[str, ...] = ()
    priority: int = 0
    created_at: float = 0.0
    created_by: str = ""

    state: State = State.PENDING
    waiting_for: WaitingFor = WaitingFor.SLOT
    reason: str = ""
    """One line for a person: why it waits, failed or was cancelled."""
    slot: bool = False
    """True while it holds a slot of its repository and of the global cap."""
    wake_at: float = 0.0
    changed_at: float = 0.0

    round: int = 1
    retries: int = 0
    rejections: int = 0
    rebuilds: int = 0
    interruptions: int = 0
    waited_s: float = 0.0
    """How long it was put off in this round for rate limits and quotas."""
    fallbacks: int = 0
    """How many of the implementer's backends were passed over in this round: 0 is the first."""
    stalls: int = 0
    """How often in a row it could not go on for want of an operator; sets the pause before the next look."""

    token: int = 0
    attempts: tuple[Attempt, ...] = ()
    setbacks: tuple[Setback, ...] = ()
    gates: tuple[GateResult, ...] = ()
    """Results that speak of the present attempt or candidate; earlier ones are in the events."""
    runs: int = 0
    """How many gate runs were started; part of each run's id."""
    run: str = ""
    """Id of the gate run under way; empty if none is."""
    approvals: tuple[Approval, ...] = ()
    candidate: Candidate | None = None
    landing: bool = False
    """True from the synced intent to move the branch until the move's outcome is recorded."""
    landed: str = ""

    @property
    def attempt(self) -> Attempt | None:
        """The latest attempt, or None before the first."""
        return self.attempts[-1] if self.attempts else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One recorded fact about a task: what happened (`kind`, `data`) and which fields it set (`changes`).

    `changes` holds plain values (see `thrum.records`); folding the changes of a task's events in order gives
    the task. `cause` is the id of the message that led to it, `seq` its place in the repository's log.
    """

    seq: int
    task: str
    at: float
    kind: str
    cause: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)
