"""What the broker knows of a peer, what it holds for it, and what it is told to send. Values only."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from thrum.errors import WireError
from thrum.messages import Header
from thrum.packing import unpack_header

from .pools import Job

BROKER = b"broker"
POOL = b"pool:"
TOPIC = b"topic:"
_MOMENT_S = 0.1


class Send(NamedTuple):
    """What the broker is to do: send three frames to the peer `to`. `sender` is whom they came from, empty for
    the broker's own."""

    to: bytes
    destination: bytes
    header: bytes
    body: bytes
    sender: bytes = b""

    @property
    def size(self) -> int:
        """What it takes to hold the message, in bytes."""
        return len(self.destination) + len(self.header) + len(self.body)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the broker holds for others, and for how long."""

    dead_after_s: float = 10.0
    held_messages: int = 10_000
    """For each peer that does not read; streams may fill half of it."""
    held_bytes: int = 64 * 1024 * 1024
    pool_jobs: int = 10_000
    tick_s: float = 0.5


class Held(NamedTuple):
    """A message that waits for a peer, and since when."""

    send: Send
    since: float


@dataclass(slots=True)
class Peer:
    """One life of one process, as the broker knows it."""

    address: bytes
    name: bytes
    incarnation: str
    heard_at: float
    heard: bool = False
    """A message came since the last tick."""
    suspect: bool = False
    """It has sent frames that are no message; none of its messages goes past the checks again."""
    replaced: bool = False
    topics: tuple[bytes, ...] = ()
    pools: tuple[str, ...] = ()
    taken: dict[str, Job] = field(default_factory=dict)
    """Jobs from pools that it has and did not answer, by the id of their message, oldest first."""
    held: deque[Held] = field(default_factory=deque)
    held_bytes: int = 0
    dropped: int = 0
    """Messages of its topics that were dropped since it was last told."""

    def status(self, now: float) -> dict[str, object]:
        """The peer as plain data for people."""
        return {
            "name": self.name.decode(),
            "incarnation": self.incarnation,
            "silent_s": 0.0 if self.heard else now - self.heard_at,
            "replaced": self.replaced,
            "suspect": self.suspect,
            "pools": list(self.pools),
            "topics": [topic.decode() for topic in self.topics],
            "taken": len(self.taken),
            "held": len(self.held),
            "dropped": self.dropped,
        }


@dataclass(slots=True)
class Counts:
    """What went wrong since the broker started."""

    malformed: int = 0
    undeliverable: int = 0
    dropped: int = 0
    expired: int = 0


def check_sender(read: Header, source: bytes) -> None:
    """Refuse whoever says it is another, or has a name that could be taken for something else.

    Raises:
        WireError: the header's source and incarnation are not the routing id, or make no address.
    """
    if read.sender.encode(errors="replace") != source:
        raise WireError(f"{read.sender!r:.80} is not who sends", raw=source)
    plain = read.source and read.incarnation and read.sender.isprintable() and ":" not in read.source
    if not plain or source.count(b"#") != 1 or read.source == BROKER.decode():
        raise WireError(f"{read.sender!r:.80} is no address of a peer", raw=source)


def epoch(incarnation: str) -> tuple[int, str]:
    """What incarnations are ordered by: the number before the hyphen, of any length."""
    digits = incarnation.partition("-")[0].lstrip("0")
    return len(digits), digits


def is_over(held: Held, now: float) -> bool:
    """Whether a held message has outlived its ttl."""
    # Most of what is held is gone in a moment, and a ttl shorter than that is none: that saves reading the header.
    if now - held.since < _MOMENT_S:
        return False
    try:
        ttl_s = unpack_header(held.send.header).ttl_s
    except WireError:
        return False
    return 0 < ttl_s <= now - held.since


def message_id(send: Send) -> str:
    """The id in the message's header; empty where that is none."""
    try:
        return unpack_header(send.header).id
    except WireError:
        return ""
