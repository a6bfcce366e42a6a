"""Which rows hold what, and in which form. Nothing is read or written here.

The rows, with their keys in order (SEQ has 16 digits):

    e/SEQ         an event: the SHA-256 of the row before it (32 bytes), then the event
    g/KEY         a result of a check that may be taken over
    i/STREAM      the highest number handled of a durable stream
    k/KEY         the reply given under an idempotency key
    l/NAME        a small named record
    m/format      version of this layout; m/repo, m/epoch, m/next: see `Loaded`
    m/head        number and SHA-256 of the last event's row
    m/out/DST     the next number of an outbox
    o/DST/SEQ     a message that DST has not acknowledged
    s/TASK        a task as its events left it
    x/TASK/SEQ    empty: which events are about the task

Values are msgpack of the plain form (`thrum.records`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, TypeVar

import msgpack

from thrum.batch import Outgoing
from thrum.errors import StoreDamagedError
from thrum.messages import KINDS
from thrum.messages.landing import Durable
from thrum.records import from_plain, one_level
from thrum.store.rows import Rows
from thrum.task import Event

T = TypeVar("T")

FORMAT = 1
"""The version of the layout that this module describes."""

HASH_BYTES = 32
GENESIS = bytes(HASH_BYTES)
"""What the first event's row begins with."""


def event_key(seq: int) -> bytes:
    """Where the event with this number lies."""
    return b"e/%016d" % seq


def index_key(task: str, seq: int) -> bytes:
    """The row which says that event `seq` is about the task."""
    return b"x/%b/%016d" % (task.encode(), seq)


def outbox_key(destination: str, seq: int) -> bytes:
    """Where message `seq` to the destination lies."""
    return b"o/%b/%016d" % (destination.encode(), seq)


def name_in(key: bytes, prefix: bytes) -> str:
    """What a key says after its prefix."""
    return key[len(prefix) :].decode()


def row_hash(row: bytes) -> bytes:
    """The hash that the event after this event's row begins with."""
    return hashlib.sha256(row).digest()


def new_packer() -> Callable[[Any], bytes]:
    """A function that gives the msgpack of a value's plain form; for one thread.

    Raises:
        TypeError, ValueError, OverflowError: the value has no plain form, or one that cannot be packed.
    """
    pack: Callable[[Any], bytes] = msgpack.Packer(default=one_level).pack
    return pack


def unpack(raw: bytes) -> Any:
    """The plain value that was packed."""
    return msgpack.unpackb(raw, strict_map_key=False)


def unpack_event(row: bytes) -> Event:
    """The event in an event's row."""
    return from_plain(Event, unpack(row[HASH_BYTES:]))


def unpack_outgoing(row: bytes) -> Outgoing:
    """The message in a row of the outbox, which holds its destination and kind too."""
    destination, kind, plain = unpack(row)
    message = from_plain(KINDS[kind], plain)
    if not isinstance(message, Durable):
        raise ValueError(f"{kind} is no durable message")
    return Outgoing(destination=destination, message=message)


def read_row(rows: Rows, key: bytes, reader: Callable[[bytes], T]) -> T:
    """What `reader` makes of the row at `key`.

    Raises:
        StoreDamagedError: it is not there, or not readable.
    """
    value = rows.get(key)
    if value is None:
        raise StoreDamagedError(f"{rows.name}: row {key!r} is missing")
    return decode(rows, key, value, reader)


def decode(rows: Rows, key: bytes, value: bytes, reader: Callable[[bytes], T]) -> T:
    """What `reader` makes of a value that lay at `key`.

    Raises:
        StoreDamagedError: it is not readable.
    """
    try:
        return reader(value)
    except (ValueError, TypeError, KeyError, msgpack.UnpackException) as error:
        raise StoreDamagedError(f"{rows.name}: row {key!r} cannot be read: {error}") from error


def read_head(rows: Rows) -> tuple[int, bytes]:
    """Number and hash of the last event, as recorded."""
    return read_row(rows, b"m/head", lambda raw: from_plain(tuple[int, bytes], unpack(raw)))
