"""Between a repo actor and its workers: fenced by the attempt's token."""

from __future__ import annotations

from thrum.messages import Message
from thrum.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAttempt(Message):
    """repo → worker: everything that one attempt needs. Sent again until the worker's heartbeat names its token."""

    task: str
    token: int
    base: str
    start: str
    """The commit whose tree the agent finds in its work tree."""
    prompt: str
    system_prompt: str = ""
    """Instructions, for a program that takes them apart from the prompt."""
    backend: str
    session: str = ""
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
    failure: str = ""
    """A `thrum.failures.Failure`; empty where it ended well."""
    cost_usd: float = 0.0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
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


@dataclass(frozen=True, slots=True, kw_only=True)
class GetPrinted(Message):
    """edge → worker: a piece of what the running attempt's agent printed: `{text, offset, bytes, total_bytes}`, from
    `offset` on, or from later on where those bytes are missing."""

    task: str
    token: int
    offset: int = 0
