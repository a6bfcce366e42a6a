"""The one door to ZeroMQ: what every socket is set to, and `Dealer`, a peer's connection to the broker.

How messages look as bytes is in `thrum.packing`; what is done about them is the actors'. Nothing here blocks
for longer than it was told to, and nothing assumes that the broker is on this host.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections import deque
from collections.abc import Callable
from typing import Self

import zmq

from thrum.errors import WireError
from thrum.messages import Envelope, Header, Message
from thrum.messages.control import Leave, Ping, Pong
from thrum.packing import HEADER_MARK, pack_body, pack_header, unpack_body, unpack_header

__all__ = [
    "HEADER_MARK",
    "MAX_MESSAGE_BYTES",
    "PING_EVERY_S",
    "Dealer",
    "configure",
    "new_incarnation",
    "pack_body",
    "pack_header",
    "unpack_body",
    "unpack_header",
]

log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""The largest frame that a socket accepts; a peer that sends a larger one is disconnected."""
HIGH_WATER = 1000
"""Messages that ZeroMQ itself may hold for each peer and direction; it counts inexactly."""
PING_EVERY_S = 2.0
CLOSING_S = 0.25
"""How long a closing socket may take to hand on what was sent last."""
_WAITING_MESSAGES = 10_000
_WAITING_BYTES = 64 * 1024 * 1024


def configure(socket: zmq.Socket[bytes], *, max_message_bytes: int = MAX_MESSAGE_BYTES) -> None:
    """Set what every socket of ours must have set before it binds or connects; CURVE keys will go here."""
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.MAXMSGSIZE, max_message_bytes)
    socket.setsockopt(zmq.SNDHWM, HIGH_WATER)
    socket.setsockopt(zmq.RCVHWM, HIGH_WATER)
    socket.setsockopt(zmq.IPV6, 0)
    # These find a cut link, no more: ZeroMQ's thread answers for a process whose own loop hangs. Hence `Ping`.
    socket.setsockopt(zmq.HEARTBEAT_IVL, 5_000)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 15_000)
    socket.setsockopt(zmq.HEARTBEAT_TTL, 15_000)
    socket.setsockopt(zmq.RECONNECT_IVL, 50)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1_000)
    if socket.getsockopt(zmq.TYPE) == zmq.ROUTER:
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        # A routing id belongs to one life of one process, so a second connection under it is that process's own
        # after a cut that we have not noticed yet; without handover it would go unheard.
        socket.setsockopt(zmq.ROUTER_HANDOVER, 1)


def new_incarnation(now: float) -> str:
    """A name for one life of a peer: milliseconds since 1970, by which lives are ordered, and a nonce."""
    return f"{int(now * 1000)}-{secrets.token_hex(4)}"


class Dealer:
    """One peer's connection to the broker. It belongs to the thread that made it; nothing of it blocks.

    `incarnation` must be new for each `Dealer` (`new_incarnation`): ids of messages are made of it. Without a
    `context` it has one of its own. What ZeroMQ does not take waits here in order, bounded, until the next
    `receive` or `flush`; past that bound messages are dropped and counted in `dropped`, as the bus may lose any
    message and whoever needs one asks again.
    """

    def __init__(
        self,
        endpoint: str,
        name: str,
        incarnation: str,
        context: zmq.Context[zmq.Socket[bytes]] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.endpoint = endpoint
        self.name = name
        self.incarnation = incarnation
        self.broker = ""
        """The broker's incarnation, as its last `Pong` told; it changes when the broker was started anew."""
        self.pong = ""
        """Id of the last ping that the broker has answered."""
        self.malformed = 0
        self.dropped = 0
        self._clock = clock
        self._count = 0
        self._pong_id = ""
        self._waiting: deque[tuple[float, list[bytes]]] = deque()
        self._waiting_bytes = 0
        self._own_context = zmq.Context() if context is None else None
        self._socket: zmq.Socket[bytes] = (context or self._own_context or zmq.Context.instance()).socket(zmq.DEALER)
        try:
            configure(self._socket)
            self._socket.setsockopt(zmq.ROUTING_ID, self.address.encode())
            self._socket.connect(endpoint)
        except zmq.ZMQError as error:
            self._close(0.0)
            raise WireError(f"cannot connect {self.address} to {endpoint}: {error}") from error

    @property
    def address(self) -> str:
        """The address that reaches just this peer in this life."""
        return f"{self.name}#{self.incarnation}"

    @property
    def socket(self) -> zmq.Socket[bytes]:
        """The socket, to be polled with `events`; not to be used past this class."""
        return self._socket

    @property
    def events(self) -> int:
        """What to poll the socket for: input, and room for output while something waits to be sent."""
        return int(zmq.POLLIN | zmq.POLLOUT) if self._waiting else int(zmq.POLLIN)

    def fileno(self) -> int:
        """A descriptor for `select`. It is edge-triggered: after each wake-up, and after each send, `receive`
        until it gives nothing, or an arrival goes unnoticed."""
        return int(self._socket.getsockopt(zmq.FD))

    def send(
        self,
        destination: str,
        body: Message,
        *,
        id: str | None = None,
        correlation: str = "",
        cause: str = "",
        fence: int = 0,
        attempt: int = 0,
        ttl_s: float = 0.0,
    ) -> str:
        """Send a message without ever blocking, and return its id.

        Give the `id` to send the same message again. A message that waits here for longer than `ttl_s` is not
        sent at all.

        Raises:
            WireError: the message cannot be packed, or is larger than any peer accepts.
        """
        if id is None:
            self._count += 1
            id = f"{self.address}.{self._count}"
        header = Header(
            kind=type(body).__name__,
            id=id,
            source=self.name,
            incarnation=self.incarnation,
            correlation=correlation,
            cause=cause,
            fence=fence,
            attempt=attempt,
            ttl_s=ttl_s,
        )
        frames = [destination.encode(), pack_header(header), pack_body(body)]
        if max(map(len, frames)) > MAX_MESSAGE_BYTES:
            raise WireError(
                f"{header.kind} of {len(frames[2])} bytes for {destination} is larger than a message may be"
            )
        if self._waiting:
            self.flush()
        if self._waiting or not self._try(frames):
            self._wait(frames, ttl_s)
        return id

    def ping(self, pools: tuple[str, ...] = (), credit: int = 0, topics: tuple[str, ...] = ()) -> str:
        """Tell the broker that we live and what we take; due every `PING_EVERY_S`, and when any of it changes.

        The ping names the broker's last answer, so that the broker knows which jobs `credit` does not count yet.
        """
        body = Ping(pools=pools, credit=credit, topics=topics)
        return self.send("broker", body, correlation=self._pong_id, ttl_s=2 * PING_EVERY_S)

    def receive(self, limit: int = 1000) -> list[Envelope]:
        """What has arrived, at most `limit` messages; an empty list when there is nothing.

        Messages that are none are logged and counted in `malformed`; the broker's `Pong`s end here.
        """
        self.flush()
        received: list[Envelope] = []
        for _ in range(limit):
            try:
                frames = self._socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                break
            try:
                envelope = _envelope(frames)
            except WireError as error:
                self.malformed += 1
                log.warning("dropped a malformed message: %s", error, extra={"peer": self.name, "raw": error.raw[:256]})
                continue
            if isinstance(envelope.body, Pong):
                self.broker, self._pong_id = envelope.body.broker, envelope.header.id
                self.pong = envelope.header.correlation or self.pong
            else:
                received.append(envelope)
        return received

    def wait(self, timeout_s: float) -> None:
        """Return when something has arrived or could be sent that waited, at the latest after `timeout_s`."""
        self._socket.poll(max(0, int(timeout_s * 1000)), self.events)
        self.flush()

    def flush(self) -> bool:
        """Send what waits, as far as it goes; true when nothing waits any more."""
        while self._waiting:
            expires_at, frames = self._waiting[0]
            if expires_at > self._clock() and not self._try(frames):
                return False
            self._waiting.popleft()
            self._waiting_bytes -= _size(frames)
        return True

    def close(self) -> None:
        """Tell the broker that we go, and close; takes `CLOSING_S` at most. Closing twice does no harm."""
        if self._socket.closed:
            return
        self.send("broker", Leave(), ttl_s=CLOSING_S)
        self._close(CLOSING_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _close(self, linger_s: float) -> None:
        self._socket.close(linger=int(linger_s * 1000))
        if self._own_context is not None:
            self._own_context.term()

    def _try(self, frames: list[bytes]) -> bool:
        try:
            self._socket.send_multipart(frames, zmq.DONTWAIT)
        except zmq.Again:
            return False
        return True

    def _wait(self, frames: list[bytes], ttl_s: float) -> None:
        size = _size(frames)
        if len(self._waiting) >= _WAITING_MESSAGES or self._waiting_bytes + size > _WAITING_BYTES:
            self.dropped += 1
            # A flood is told at 1, 2, 4, 8 … messages, or its log would be a flood too.
            if self.dropped & (self.dropped - 1) == 0:
                log.warning(
                    "the broker takes nothing; messages are dropped and will be sent again where it matters",
                    extra={"peer": self.name, "dropped": self.dropped},
                )
            return
        self._waiting.append((self._clock() + ttl_s if ttl_s else float("inf"), frames))
        self._waiting_bytes += size


def _size(frames: list[bytes]) -> int:
    return sum(map(len, frames))


def _envelope(frames: list[bytes]) -> Envelope:
    if len(frames) != 3:
        raise WireError(f"a message has three frames, not {len(frames)}", raw=b"|".join(frames))
    try:
        destination = frames[0].decode()
    except UnicodeDecodeError as error:
        raise WireError("the destination is not UTF-8", raw=frames[0]) from error
    header = unpack_header(frames[1])
    return Envelope(destination=destination, header=header, body=unpack_body(header.kind, frames[2]))
