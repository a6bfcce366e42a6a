"""What can happen to a task, and what its pipeline then wants done: the inputs and the effects of `decide`.

Values only. An effect is carried out by the repo actor after the decision is synced; its outcome comes back as
an input. Each effect can be carried out again after a crash: whoever does it looks at the world first.
"""

from __future__ import annotations

from thrum.failures import Failure
from thrum.gate import Gate, GateResult
from thrum.task import AttemptEnding
from thrum.values import dataclass

# --- Inputs -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class StartGranted:
    """The scheduler gave the task a slot; `worker` is the free worker of the repository that will take it."""

    worker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptPrepared:
    """Base and start of the attempt are resolved and pinned."""

    token: int
    base: str
    start: str
    backend: str
    model: str
    prompt_digest: str
    system_prompt_digest: str = ""
    fallbacks: int = 0
    """Which of the implementer's backends it is: 0 is the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptBlocked:
    """The attempt could not even be prepared; nobody's work, the operator's problem. `held`: it is prepared, but what
    holds the whole repository back came first; it begins with the others."""

    token: int
    reason: str
    held: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEnded:
    """A worker's report, its bundle imported and pinned. `head` is empty where nothing was committed."""

    token: int
    ending: AttemptEnding
    reason: str = ""
    exit_code: int | None = None
    head: str = ""
    tree: str = ""
    base_tree: str = ""
    files: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    """Those of `files` that the base has not."""
    links: tuple[str, ...] = ()
    """Those of `files` that are symbolic links or links to other repositories."""
    namesakes: tuple[str, ...] = ()
    """Those of `added` that Python could import in place of a module in the base's root, `src` or `lib`."""
    leaks: tuple[str, ...] = ()
    """Where its commits hold a secret, or could not be searched for one."""
    session: str = ""
    failure: Failure | None = None
    cost_usd: float = 0.0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    output_digest: str = ""
    output_bytes: int = 0
    tail: str = ""
    no_change: str = ""
    retry_after_s: float = 0.0
    started_at: float = 0.0
    ended_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GateFinished:
    """Every check of the gate run has its result."""

    run: str
    result: GateResult


@dataclass(frozen=True, slots=True, kw_only=True)
class LandingGranted:
    """The task may be integrated: no other task of its integration set is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeeperSilent:
    """Who keeps the integration set's lock was asked for it, and does not answer."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeeperHeard:
    """Who keeps the integration set's lock answers again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateBuilt:
    """The approved work merged cleanly onto the branch's tip. `overlap` lists its files that landings since its base
    touched too."""

    base: str
    commit: str
    tree: str
    vector: dict[str, str]
    overlap: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateConflicted:
    """The work does not merge onto `base`. `start` is a commit on `base` whose tree holds the conflict markers."""

    base: str
    start: str
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateBlocked:
    """No candidate could be built, for a reason that lies outside the task. `host`: a repository on another host does
    not answer."""

    reason: str
    host: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchLanded:
    """The branch stands at the candidate, or at a commit that descends from it. `behind` tells of checkouts of the
    branch that could not follow it: a person must look at them."""

    commit: str
    behind: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchMoved:
    """The branch (or another tip of the vector) is no longer where the candidate was built on."""

    tip: str
    repo: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchBlocked:
    """The branch could not be moved and stays where it was. `checkout`: a dirty checkout of it is why; `host`: a
    repository on another host does not answer."""

    reason: str
    checkout: bool
    host: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Approved:
    """A person's yes; `commit` is the head that was shown to them, empty for the present one. `protected`: they say so
    of a change to protected paths, and of secrets, too."""

    by: str
    commit: str = ""
    protected: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A person's no."""

    by: str
    feedback: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryAsked:
    """A person asks for a new round, or for another look at what waits for an operator. `held`: something holds, or
    held, back what is to begin in its repository, so that a task in the queue may be meant."""

    by: str
    feedback: str = ""
    held: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelAsked:
    """A person ends the task."""

    by: str
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Woke:
    """The time that the task was to be looked at again has come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """The repo actor was started anew: whatever it was doing for this task must be taken up again."""


Input = (
    StartGranted
    | AttemptPrepared
    | AttemptBlocked
    | AttemptEnded
    | GateFinished
    | LandingGranted
    | KeeperSilent
    | KeeperHeard
    | CandidateBuilt
    | CandidateConflicted
    | CandidateBlocked
    | BranchLanded
    | BranchMoved
    | BranchBlocked
    | Approved
    | Rejected
    | RetryAsked
    | CancelAsked
    | Woke
    | Recovered
)

# --- Effects ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareAttempt:
    """Resolve (an empty `base` means the branch's tip) and pin what the attempt starts from."""

    task: str
    token: int
    base: str
    start: str
    fallbacks: int = 0
    """Which of the implementer's backends it gets, from 0; those that get no work now are passed over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BeginAttempt:
    """Have the worker run the attempt; sent again until the worker's heartbeat names its token."""

    task: str
    token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EndAttempt:
    """Have the worker end the attempt; what it made is pinned when its report comes."""

    task: str
    token: int
    worker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunChecks:
    """Run a gate on a commit; `run` names this run for ever. `attempt` is 0 for a candidate, which runs all checks.

    `base` is the commit that it is based on: what fails is run there too, to tell whose failure it is.
    """

    task: str
    run: str
    gate: Gate
    attempt: int
    commit: str
    tree: str
    vector: dict[str, str]
    base: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DropChecks:
    """The result of a run is not wanted any more."""

    run: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildCandidate:
    """Merge `head` onto the branch's tip, without a work tree."""

    task: str
    head: str
    attempt_base: str
    files: tuple[str, ...]
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveBranch:
    """Compare-and-swap the branch from `old` to `new`, after a look at all tips of the vector."""

    task: str
    old: str
    new: str
    vector: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseLandingLock:
    """The landing is over, whichever way: its integration set is free."""

    task: str


Effect = (
    PrepareAttempt
    | BeginAttempt
    | EndAttempt
    | RunChecks
    | DropChecks
    | BuildCandidate
    | MoveBranch
    | ReleaseLandingLock
)
