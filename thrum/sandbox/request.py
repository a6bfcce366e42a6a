"""What a client asks of the filtering proxy, read strictly: whatever two readers could read in two ways is refused.

Pure: bytes in, values out. A request is either `CONNECT host:port` or has a whole `http://` URL; the URL alone
says where it goes, and the Host header is made anew from it.
"""

from __future__ import annotations

import re

from thrum.allowlist import Target, parse_target
from thrum.values import dataclass

HEAD_BYTES = 64 * 1024
"""The most that a request's line and headers may take together."""
_LINE_BYTES = 8 * 1024
"""The most that a line of a chunked body may take, sizes and trailers alike."""
_TRAILERS = 100

_METHOD = re.compile(rb"[A-Za-z][A-Za-z0-9_-]{0,31}")
_LINE = re.compile(rb"([^ ]+) ([\x21-\x7e]+) (HTTP/1\.[01])")
_URL = re.compile(rb"(?i:http)://([^/?#]*)(/[^?#]*)?(\?[^#]*)?")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\x00-\x08\x0a-\x1f\x7f]*)")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?")

_HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection"}
    | {b"te", b"upgrade", b"http2-settings", b"host"}
)
"""What is for the proxy and not for the server; Host is made anew."""
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})
"""What no Connection header can take away."""


class BadRequest(Exception):
    """A request that is not understood; `status` is the answer's first line without the version."""

    def __init__(self, problem: str, status: str = "400 Bad Request") -> None:
        super().__init__(problem)
        self.status = status


class Body:
    """The body of a request, as it comes: `pass_on` gives what belongs to it, and `over` tells that all has come.

    It goes on as it was sent, chunks and all; what comes after its end is not part of the request.
    """

    def __init__(self, length: int | None) -> None:
        """`length` is in bytes; None means chunks."""
        self._chunked = length is None
        self._left = length or 0
        self._line = b""
        self._trailers: int | None = None
        self._data = False
        self.over = length == 0

    def pass_on(self, data: bytes) -> bytes:
        """The part of the data that belongs to the body; of a line that is not whole yet, it comes later.

        Raises:
            BadRequest: the chunks are malformed.
        """
        if not self._chunked:
            part = data[: self._left]
            self._left -= len(part)
            self.over = not self._left
            return part
        passed: list[bytes] = []
        at = 0
        while at < len(data) and not self.over:
            if self._left:
                piece = data[at : at + self._left]
                self._left -= len(piece)
                passed.append(piece)
                at += len(piece)
                continue
            end = data.find(b"\n", at) + 1 or len(data)
            self._line += data[at:end]
            at = end
            if self._line.endswith(b"\n"):
                self._take_line()
                passed.append(self._line)
                self._line = b""
            elif len(self._line) > _LINE_BYTES:
                raise BadRequest("a line of the chunked body is too long")
        return b"".join(passed)

    def _take_line(self) -> None:
        line = self._line.removesuffix(b"\r\n")
        if len(self._line) > _LINE_BYTES or len(line) != len(self._line) - 2 or b"\r" in line:
            raise BadRequest("a line of the chunked body is malformed")
        if self._trailers is not None:
            self._trailers += 1
            if (line and not _FIELD.fullmatch(line)) or self._trailers > _TRAILERS:
                raise BadRequest("the trailers of the chunked body are malformed")
            self.over = not line
        elif self._data:
            self._data = False
            if line:
                raise BadRequest("a chunk is longer than its size")
        else:
            found = _CHUNK.fullmatch(line)
            if not found:
                raise BadRequest("the size of a chunk is malformed")
            self._left = int(found[1], 16)
            self._data = self._left > 0
            if not self._left:
                self._trailers = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request that was understood."""

    target: Target
    tunnel: bool
    """True for CONNECT: what follows is passed on both ways as it is."""
    head: bytes = b""
    """What the server is sent instead, up to the empty line; nothing for a tunnel."""
    body_length: int | None = 0
    """In bytes; None means chunks."""


def parse(head: bytes) -> Request:
    """The request whose line and headers, the empty line at their end included, are these.

    Raises:
        BadRequest: it is none that the proxy can serve, or could be read in more than one way.
    """
    line, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    found = _LINE.fullmatch(line)
    if not found or not _METHOD.fullmatch(found[1]):
        raise BadRequest("the request's first line is malformed")
    fields = list(map(_field, lines))
    if found[1] == b"CONNECT":
        return Request(target=_target(found[2]), tunnel=True)
    url = _URL.fullmatch(found[2])
    if not url:
        raise BadRequest("a proxy is asked for CONNECT host:port, or for a whole http:// URL")
    target = _target(url[1], 80)
    dropped = {name.strip().lower() for name in b",".join(_values(fields, b"connection")).split(b",")}
    dropped = dropped - _FRAMING | _HOP_BY_HOP
    path = (url[2] or b"/") + (url[3] or b"")
    told = [b"%s %s %s" % (found[1], path, found[3]), b"Host: %s" % str(target).removesuffix(":80").encode()]
    told += [b"%s: %s" % field for field in fields if field[0].lower() not in dropped]
    told += [b"Connection: close", b"", b""]
    length = _body_length(fields, may_be_chunked=found[3] == b"HTTP/1.1")
    return Request(target=target, tunnel=False, head=b"\r\n".join(told), body_length=length)


def _target(text: bytes, default_port: int | None = None) -> Target:
    try:
        return parse_target(text.decode("ascii"), default_port)
    except ValueError as error:
        raise BadRequest(f"{text.decode('ascii', 'replace')[:100]!r} {error}") from error


def _field(line: bytes) -> tuple[bytes, bytes]:
    found = _FIELD.fullmatch(line)
    if not found:
        raise BadRequest("a header is malformed")
    return found[1], found[2].strip(b" \t")


def _values(fields: list[tuple[bytes, bytes]], wanted: bytes) -> list[bytes]:
    return [value for name, value in fields if name.lower() == wanted]


def _body_length(fields: list[tuple[bytes, bytes]], *, may_be_chunked: bool) -> int | None:
    lengths, codings = _values(fields, b"content-length"), _values(fields, b"transfer-encoding")
    if codings:
        if lengths or not may_be_chunked or [one.lower() for one in codings] != [b"chunked"]:
            raise BadRequest("it cannot be told where the body ends")
        return None
    if len(lengths) > 1 or not all(map(_LENGTH.fullmatch, lengths)):
        raise BadRequest("it cannot be told where the body ends")
    return int(lengths[0]) if lengths else 0
