"""Between any peer and the broker itself (destination `broker`)."""

from __future__ import annotations

from thrum.messages import Message
from thrum.values import dataclass


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
