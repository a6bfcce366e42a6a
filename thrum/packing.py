"""Between messages and bytes, both ways and checked; no socket is touched here (`thrum.wire` does that).

On the wire a message is three frames: the destination as UTF-8, the header as a msgpack array of its fields in
order, the body as a msgpack map of its fields by name. Whatever does not fit is a `WireError` with the bytes.
"""

from __future__ import annotations

import importlib
import math
from typing import Any

import msgpack

from thrum.errors import WireError
from thrum.messages import KINDS, VERSION, Header, Message
from thrum.records import RecordError, from_plain, one_level

HEADER_TYPES = (str, str, str, str, str, str, int, int, float, int)
HEADER_MARK = bytes([0x90 + len(HEADER_TYPES)])
"""The first byte of each packed header: msgpack's array of ten. No routing id of ours can begin with it, as it
cannot begin UTF-8 text; the broker tells frames that slipped by it."""


def pack_header(header: Header) -> bytes:
    """The header's frame.

    Raises:
        WireError: a field has no form on the wire, such as half of a surrogate pair.
    """
    fields = (
        header.kind,
        header.id,
        header.source,
        header.incarnation,
        header.correlation,
        header.cause,
        header.fence,
        header.attempt,
        float(header.ttl_s),
        header.version,
    )
    return _pack(fields, "header")


def unpack_header(raw: bytes) -> Header:
    """The header that a frame holds.

    Raises:
        WireError: it is none, or one of another version of the protocol.
    """
    fields = _unpack(raw, "header")
    if type(fields) is not list or len(fields) != len(HEADER_TYPES):
        raise WireError("a header must be an array of ten fields", raw=raw)
    if fields[-1] != VERSION:
        raise WireError(f"the peer speaks version {fields[-1]!r:.20} of the protocol, we speak {VERSION}", raw=raw)
    if tuple(map(type, fields)) != HEADER_TYPES:
        raise WireError("a field of the header has the wrong type", raw=raw)
    kind, id_, source, incarnation, correlation, cause, fence, attempt, ttl_s, version = fields
    if not kind or not id_ or ttl_s < 0 or not math.isfinite(ttl_s):
        raise WireError("a header needs a kind, an id and a ttl that is not negative", raw=raw)
    return Header(
        kind=kind,
        id=id_,
        source=source,
        incarnation=incarnation,
        correlation=correlation,
        cause=cause,
        fence=fence,
        attempt=attempt,
        ttl_s=ttl_s,
        version=version,
    )


def pack_body(body: Message) -> bytes:
    """The body's frame.

    Raises:
        WireError: a value has no form on the wire.
    """
    return _pack(body, type(body).__name__)


def fits(body: Message) -> bool:
    """Whether the body comes out at the other end of the wire: its texts have a form there, and its numbers are finite
    and not too large."""
    try:
        unpack_body(type(body).__name__, pack_body(body))
    except WireError:
        return False
    return True


def unpack_body(kind: str, raw: bytes) -> Message:
    """The body of that kind that a frame holds.

    Raises:
        WireError: the kind is unknown, or the body does not fit it.
    """
    if kind not in KINDS:
        # A conversation that this process has not taken part in so far: it may begin with this very message.
        importlib.import_module("thrum.messages.kinds")
    cls = KINDS.get(kind)
    if cls is None:
        raise WireError(f"no message is called {kind!r:.80}", raw=raw)
    try:
        return from_plain(cls, _unpack(raw, kind))
    except RecordError as error:
        raise WireError(f"malformed {kind}: {error}", raw=raw) from error


def _pack(value: object, what: str) -> bytes:
    try:
        packed: bytes = msgpack.packb(value, default=one_level)
    except (ValueError, TypeError, OverflowError) as error:
        raise WireError(f"{what} cannot be packed: {error}") from error
    return packed


def _unpack(raw: bytes, what: str) -> Any:
    try:
        return msgpack.unpackb(raw, ext_hook=_refuse_extension)
    except (ValueError, msgpack.UnpackException) as error:
        raise WireError(f"the {what} is not msgpack: {error or type(error).__name__}", raw=raw) from error


def _refuse_extension(code: int, data: bytes) -> object:
    raise ValueError(f"extension type {code}")
