"""Every message that crosses the bus: the header, and one dataclass a kind.

Commands are imperative, reports past tense, queries begin with `Get`. The class of delivery stands in each
section's heading; who sends to whom in each docstring. No bytes are made here (`thrum.wire` does).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from thrum.gate import Check, CheckResult, Gate

VERSION = 1
"""The protocol's version; a peer that speaks another is refused with a clear error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What the broker may read. On the wire it is a msgpack array of the fields in this order.

    `id` is unique for a message, and the same each time it is sent again. `source` is the sender's name and
    `incarnation` its present life: together, `name#incarnation`, they are the address of just that process.
    `correlation` is the id of the request that this answers. `ttl_s` is how long it is worth delivering,
    0 for ever; it is relative, as clocks differ.
    """

    kind: str
    id: str
    source: str = ""
    incarnation: str = ""
    correlation: str = ""
    cause: str = ""
    fence: int = 0
    attempt: int = 0
    ttl_s: float = 0.0
    version: int = VERSION

    @property
    def sender(self) -> str:
        """The address that a reply goes to."""
        return f"{self.source}#{self.incarnation}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """The base of all bodies; the class's name is its kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A message with its header: what an actor receives, and hands out to be sent."""

    destination: str
    header: Header
    body: Message


# --- Control: between any peer and the broker itself (destination `broker`) --------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping(Message):
    """peer → broker, every 2 s: I live. `pools` names the pools it takes work from, `credit` how many more
    jobs it would take of each right now (an absolute number: doubled and lost pings change nothing)."""

    pools: tuple[str, ...] = ()
    credit: int = 0
    topics: tuple[str, ...] = ()
    """Prefixes of the topics that it wants to hear."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pong(Message):
    """broker → peer. `broker` changes when the broker was started anew."""

    broker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Leave(Message):
    """peer → broker: I am going; forget me at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Undeliverable(Message):
    """broker → sender: the message `correlation` could not be handed on, or the peer that had taken it from a
    pool is gone."""

    destination: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GetBrokerStatus(Message):
    """query, anyone → broker: who is connected, what waits, what was dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped(Message):
    """broker → subscriber: `count` messages of your topics did not reach you since the last word of this kind."""

    count: int


# --- Replies ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply(Message):
    """actor → edge: the answer to a request. `value` is plain data; an error has code, message and remedy."""

    ok: bool = True
    value: Any = None
    code: str = ""
    message: str = ""
    remedy: str = ""


# --- Durable commands: edge (CLI, API) → repo actor; repeated with the same id until answered -----------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Command(Message):
    """The base of what changes state for a person. `auth` is the project's token, `by` who asks."""

    auth: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddTask(Command):
    """Queue a task; answered with it after the synced write."""

    title: str
    description: str = ""
    depends_on: tuple[str, ...] = ()
    priority: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ApproveTask(Command):
    """A person's yes. `commit` is the head that was shown; empty means the present one."""

    task: str
    commit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectTask(Command):
    """A person's no, with what to do better."""

    task: str
    feedback: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryTask(Command):
    """Start a new round of a failed or cancelled task, or look again at one that waits for an operator."""

    task: str
    feedback: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelTask(Command):
    """End a task without landing it; its work stays pinned."""

    task: str
    why: str = ""


# --- Queries: edge → repo actor -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class GetTasks(Message):
    """All tasks of the repository (plain `Task`s, oldest first), optionally of some states only."""

    states: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GetTask(Message):
    """One task, whole."""

    task: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GetHistory(Message):
    """The recorded events of one task, oldest first."""

    task: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GetDiff(Message):
    """The diff of the task's latest attempt (or of attempt `token`): `{base, head, files, diff, truncated}`."""

    task: str
    token: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class GetOutput(Message):
    """A piece of the kept output with the given digest: `{text, total_bytes}` from `offset`."""

    digest: str
    offset: int = 0
    limit_bytes: int = 262_144


@dataclass(frozen=True, slots=True, kw_only=True)
class GetRepoStatus(Message):
    """The repository at a glance: counts by state and by what is waited for, slots in use, spend, faults."""


# --- Scheduler and repo actor: volatile, follows from announcements -------------------------------------------


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


# --- Repo actor and worker: fenced by the attempt's token ------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAttempt(Message):
    """repo → worker: everything that one attempt needs. Sent again until the worker's heartbeat names its token."""

    task: str
    token: int
    base: str
    start: str
    """The commit whose tree the agent finds in its work tree."""
    prompt: str
    backend: str
    session: str = ""
    resume: bool = False
    wall_s: float = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StopAttempt(Message):
    """repo → worker: end this attempt, harvest what is there and report."""

    task: str
    token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptHeartbeat(Message):
    """worker → repo, every few seconds: what it runs (token 0: nothing; it would take an attempt)."""

    slot: int
    task: str = ""
    token: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptReported(Message):
    """worker → repo, repeated until acknowledged: the attempt is over, its work lies in `bundle`."""

    task: str
    token: int
    ending: str
    reason: str = ""
    exit_code: int | None = None
    bundle: str = ""
    """Path of the git bundle on the worker's host; empty if nothing was committed on top of `start`."""
    head: str = ""
    session: str = ""
    cost_usd: float = 0.0
    output_digest: str = ""
    output_bytes: int = 0
    tail: str = ""
    no_change: str = ""
    retry_after_s: float = 0.0
    """How long the model's provider asks to wait; 0 where it does not say."""
    started_at: float = 0.0
    ended_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptAcknowledged(Message):
    """repo → worker: the report is safe (or its token is of the past); forget it."""

    task: str
    token: int


# --- Repo actor and gate actors (through the pool `gate@HOST`) ------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RunGate(Message):
    """repo → gate pool: run these checks, one after the other, each on a clean checkout.

    `run` names the run; it is answered with the same `run` however often it is sent. `vector` maps repository
    names to commits; a check runs in the checkout of its own `repo`.
    """

    run: str
    gate: Gate
    checks: tuple[Check, ...]
    vector: dict[str, str]
    fixture: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StopGate(Message):
    """repo → the gate actor that runs it: the result is not wanted any more."""

    run: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GateHeartbeat(Message):
    """gate actor → repo, every few seconds: this run is under way."""

    run: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GateReported(Message):
    """gate actor → repo: what each check said. Lost, it is asked for again with the same `RunGate`."""

    run: str
    checks: tuple[CheckResult, ...]
    started_at: float = 0.0
    ended_at: float = 0.0


# --- Streams: lossy under pressure; destination `topic:NAME` ---------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskChanged(Message):
    """repo → topic `task.REPO`: a task moved."""

    task: str
    state: str
    kind: str
    at: float
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOutput(Message):
    """worker → topic `output.TASK`: what the agent printed."""

    task: str
    token: int
    offset: int
    text: str


# --- Repo actor to repo actor: durable, through the outbox ------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Durable(Message):
    """The base of what repo actors send each other: `stream` is the sending store's epoch, `seq` grows by one."""

    stream: str = ""
    seq: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DurableAcknowledged(Message):
    """receiver → sender: everything up to `seq` of the stream is synced."""

    stream: str
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLanding(Durable):
    """repo → first repo of its integration set: may this task land? The lock's holder is answered with a fence."""

    repo: str
    task: str
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LandingGranted(Durable):
    """first repo of the set → repo: the set is yours under this fence."""

    task: str
    fence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseLanding(Durable):
    """repo → first repo of the set: the landing is over, whichever way."""

    repo: str
    task: str


def _all_kinds(base: type[Message]) -> dict[str, type[Message]]:
    found: dict[str, type[Message]] = {}
    for cls in base.__subclasses__():
        found[cls.__name__] = cls
        found.update(_all_kinds(cls))
    return found


KINDS: dict[str, type[Message]] = _all_kinds(Message)
"""Every kind by its name on the wire."""
