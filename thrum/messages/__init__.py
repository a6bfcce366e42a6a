"""The messages that cross the bus: here what all of them share, in the modules one dataclass a kind.

Commands are imperative, reports past tense, queries begin with `Get`. Who sends to whom stands in each docstring,
how it gets through in each module's. A process imports the conversations that it takes part in; `kinds` has all of
them. No bytes are made here (`thrum.wire` does).
"""

from __future__ import annotations

from typing import Any

from thrum.values import dataclass

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


KINDS: dict[str, type[Message]] = {}
"""Every kind by its name on the wire, as far as this process has imported them (see `thrum.packing.unpack_body`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """The base of all bodies; the class's name is its kind."""

    def __init_subclass__(cls) -> None:
        KINDS[cls.__name__] = cls


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A message with its header: what an actor receives, and hands out to be sent."""

    destination: str
    header: Header
    body: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply(Message):
    """actor → edge: the answer to a request. `value` is plain data; an error has code, message and remedy."""

    ok: bool = True
    value: Any = None
    code: str = ""
    message: str = ""
    remedy: str = ""
