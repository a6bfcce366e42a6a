"""A proxy that lets through what an allow list names: CONNECT and plain HTTP, nothing else.

It serves sockets that somebody else made to listen where only the program in question reaches them; which
sandbox that is does not matter here. A thread accepts, and each connection has one. A name that is not on the list is
never looked up, and a name that is leads to public addresses only (see `thrum.allowlist`).
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import select
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Self

from thrum.allowlist import AllowList, Target
from thrum.sandbox import relay
from thrum.sandbox.relay import Ended, Patience
from thrum.sandbox.request import HEAD_BYTES, BadRequest, Body, Request, parse
from thrum.values import dataclass

log = logging.getLogger(__name__)

_OTHERS = "others"
_BARE_NEWLINE = re.compile(rb"(?<!\r)\n")
_CLOSE_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one proxy bears."""

    connections: int = 256
    """At once; whoever comes then is told 503."""
    head_s: float = 30.0
    """From the beginning of a connection to the end of its request's headers."""
    dial_s: float = 20.0
    """For all addresses of a name together, without its look-up."""
    idle_s: float = 1800.0
    """Without a byte in either direction; a model may think for long."""
    linger_s: float = 2.0
    """How long a client may go on sending what nobody reads, once it is answered."""
    refusals: int = 100
    """Different targets that are counted each by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """A listening socket, which the proxy takes over."""

    socket: socket.socket
    target: Target | None = None
    """Where every connection to it leads, without any request; None: whoever comes must ask."""


class Refused(Exception):
    """The list does not have it; the text is for whoever asked."""


def look_up(host: str, port: int) -> Sequence[str]:
    """The addresses of a name, best first; none if it has none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return ()
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


class Proxy:
    """The proxy, from `serve` to `close`."""

    def __init__(
        self,
        allow: AllowList,
        *,
        limits: Limits = Limits(),  # noqa: B008 - a value
        resolve: Callable[[str, int], Sequence[str]] = look_up,
    ) -> None:
        self._allow = allow
        self._limits = limits
        self._resolve = resolve
        self._stop = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._patience = Patience(self._stop)
        self._doors: dict[int, Door] = {}
        self._listener: threading.Thread | None = None
        self._lock = threading.Lock()
        self._handlers: set[threading.Thread] = set()
        self._refused: dict[str, int] = {}
        self._closed = False

    def serve(self, doors: Iterable[Door]) -> None:
        """Take connections from these sockets, which end with the proxy; to be called once."""
        for door in doors:
            door.socket.setblocking(False)
            self._doors[door.socket.fileno()] = door
        self._listener = threading.Thread(target=self._listen, name="proxy", daemon=True)
        self._listener.start()

    @property
    def refused(self) -> dict[str, int]:
        """What was asked for and is not on the list, as `host:port`, and how often; beyond the limit, `others`."""
        with self._lock:
            return dict(self._refused)

    def close(self) -> None:
        """End every connection and the proxy; a second call does nothing.

        Only a look-up of a name cannot be ended: its thread ends with it.
        """
        if self._closed:
            return
        os.eventfd_write(self._stop, 1)
        if self._listener:
            self._listener.join()
        until = time.monotonic() + _CLOSE_S
        with self._lock:
            handlers = tuple(self._handlers)
        for handler in handlers:
            handler.join(max(0.0, until - time.monotonic()))
        for door in self._doors.values():
            door.socket.close()
        with self._lock:
            self._closed = True
            if self._handlers:
                log.warning("a name is still being looked up; its thread ends with that")
            else:
                os.close(self._stop)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _listen(self) -> None:
        wanted = dict.fromkeys(self._doors, select.POLLIN)
        with contextlib.suppress(Ended):
            while True:
                for fd in self._patience.wait(wanted, time.monotonic() + 3600) if wanted else ():
                    self._accept(self._doors[fd])

    def _accept(self, door: Door) -> None:
        try:
            client, _ = door.socket.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
                log.warning("a connection cannot be taken", extra={"reason": str(error)})
                with contextlib.suppress(TimeoutError):
                    self._patience.wait({}, time.monotonic() + 0.1)
            return
        client.setblocking(False)
        with self._lock:
            handler = threading.Thread(target=self._handle, args=(client, door), name="proxied", daemon=True)
            if len(self._handlers) < self._limits.connections:
                try:
                    handler.start()
                    self._handlers.add(handler)
                    return
                except RuntimeError as error:
                    log.warning("no thread for a connection", extra={"reason": str(error)})
        with client, contextlib.suppress(OSError):
            client.send(_answer("503 Service Unavailable", "too many connections at once"))

    def _handle(self, client: socket.socket, door: Door) -> None:
        try:
            with client:
                try:
                    self._serve(client, door)
                except (OSError, Ended, BadRequest) as error:
                    log.debug("a connection was cut off", extra={"reason": str(error)})
                    relay.reset(client)
        finally:
            with self._lock:
                self._handlers.discard(threading.current_thread())
                if self._closed and not self._handlers:
                    os.close(self._stop)

    def _serve(self, client: socket.socket, door: Door) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if door.target is not None:
            with self._dial(door.target) as server:
                self._pass_on(client, server, Request(target=door.target, tunnel=True), b"")
            return
        try:
            head, rest = self._read_head(client)
            if not head:
                return
            request = parse(head)
            server = self._dial(request.target)
        except BadRequest as error:
            self._tell(client, error.status, str(error))
        except Refused as error:
            self._tell(client, "403 Forbidden", str(error))
        except OSError as error:
            self._tell(client, "502 Bad Gateway", f"{request.target} cannot be reached: {error.strerror or error}")
        else:
            with server:
                if request.tunnel:
                    client.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
                self._pass_on(client, server, request, rest)
            relay.finish(client, self._patience, linger_s=self._limits.linger_s)

    def _pass_on(self, client: socket.socket, server: socket.socket, request: Request, rest: bytes) -> None:
        idle_s = self._limits.idle_s
        try:
            if request.tunnel:
                relay.tunnel(client, server, self._patience, first=rest, idle_s=idle_s)
            else:
                body = Body(request.body_length)
                relay.exchange(client, server, self._patience, head=request.head, rest=rest, body=body, idle_s=idle_s)
        except BaseException:
            relay.reset(server)
            raise

    def _read_head(self, client: socket.socket) -> tuple[bytes, bytes]:
        """The request's head and what came after it; nothing if the client ended before it asked."""
        until = time.monotonic() + self._limits.head_s
        data = bytearray()
        while True:
            try:
                self._patience.wait({client.fileno(): select.POLLIN}, until)
                more = client.recv(HEAD_BYTES)
            except TimeoutError:
                raise BadRequest("the request did not come in time", "408 Request Timeout") from None
            if not more:
                if data:
                    raise BadRequest("the request is cut off")
                return b"", b""
            seen = max(0, len(data) - 3)
            data += more
            end = data.find(b"\r\n\r\n", seen)
            head_bytes = len(data) if end < 0 else end + 4
            if not data[:1].isalpha() or _BARE_NEWLINE.search(data, seen, head_bytes):
                raise BadRequest("this is no request of HTTP/1")
            if head_bytes > HEAD_BYTES:
                raise BadRequest("the request's headers are too long", "431 Request Header Fields Too Large")
            if end >= 0:
                return bytes(data[:head_bytes]), bytes(data[head_bytes:])

    def _tell(self, client: socket.socket, status: str, problem: str) -> None:
        client.send(_answer(status, problem))
        relay.finish(client, self._patience, linger_s=self._limits.linger_s)

    def _dial(self, target: Target) -> socket.socket:
        """A connection to the target.

        Raises:
            Refused: the list does not have it.
            OSError: it cannot be reached.
        """
        if not self._allow.allows(target):
            self._count(target)
            raise Refused(f"{target} is not on Thrum's allow list")
        found = self._allow.known_addresses(target) or self._resolve(target.host, target.port)
        admitted = [address for address in found if self._allow.admits(address, target.port)]
        if found and not admitted:
            self._count(target)
            at = Target(host=found[0], port=target.port)
            raise Refused(f"{target} leads to a private address, and {at} is not on Thrum's allow list")
        last: OSError = OSError(errno.EHOSTUNREACH, "its name has no address")
        until = time.monotonic() + self._limits.dial_s
        for left, address in zip(range(len(admitted), 0, -1), admitted, strict=True):
            now = time.monotonic()
            try:
                return self._connect(address, target.port, now + (until - now) / left)
            except OSError as error:
                last = error
        raise last

    def _connect(self, address: str, port: int, until: float) -> socket.socket:
        server = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        try:
            server.setblocking(False)
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            code = server.connect_ex((address, port))
            if code == errno.EINPROGRESS:
                self._patience.wait({server.fileno(): select.POLLOUT}, until)
                code = server.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise OSError(code, os.strerror(code))
        except BaseException:
            server.close()
            raise
        return server

    def _count(self, target: Target) -> None:
        with self._lock:
            name = str(target)
            if name not in self._refused and len(self._refused) >= self._limits.refusals:
                name = _OTHERS
            self._refused[name] = self._refused.get(name, 0) + 1


def _answer(status: str, problem: str) -> bytes:
    body = f"{problem}\n".encode()
    lines = (f"HTTP/1.1 {status}", "Content-Type: text/plain; charset=utf-8", f"Content-Length: {len(body)}")
    return "\r\n".join((*lines, "Connection: close", "", "")).encode() + body
