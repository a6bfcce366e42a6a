"""Between repo actors, for who may land: durable, through the outbox."""

from __future__ import annotations

from thrum.messages import Message
from thrum.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Durable(Message):
    """The base of what repo actors send each other: `stream` is the sending store's epoch, `seq` grows by one, and
    `first` is the first of it that was not acknowledged when this was sent."""

    stream: str = ""
    seq: int = 0
    first: int = 0


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
