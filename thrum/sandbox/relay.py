"""Bytes between two sockets, both ways, as they come: nothing is held back, and each end is passed on.

A relay ends in one of two ways, and its peers can tell which: gracefully, when all was passed on, or by a reset of
both, so that what was cut off is not mistaken for the whole.
"""

from __future__ import annotations

import contextlib
import math
import select
import socket
import struct
import time

from thrum.sandbox.request import Body

_CHUNK_BYTES = 64 * 1024
_RESET = struct.pack("ii", 1, 0)
"""For SO_LINGER: a close that resets."""


class Ended(Exception):
    """The proxy is being closed."""


class Patience:
    """How long to wait for sockets: until something is ready, a time is over, or the stop descriptor is readable."""

    def __init__(self, stop: int) -> None:
        self._stop = stop

    def wait(self, wanted: dict[int, int], until: float) -> dict[int, int]:
        """The events of poll that came, by descriptor.

        Raises:
            Ended: the stop descriptor became readable.
            TimeoutError: nothing came before `until`, a time of the monotonic clock.
        """
        poll = select.poll()
        poll.register(self._stop, select.POLLIN)
        for fd, events in wanted.items():
            poll.register(fd, events)
        ready = dict(poll.poll(math.ceil(max(0.0, until - time.monotonic()) * 1000)))
        if self._stop in ready:
            raise Ended
        if not ready:
            raise TimeoutError("nothing came in time")
        return ready


class _Flow:
    """One direction. Reads only when all that it read is written: a slow reader slows its writer down."""

    def __init__(self, source: socket.socket, sink: socket.socket, pending: bytes = b"") -> None:
        self.source = source
        self.sink = sink
        self.pending = memoryview(pending)
        self.open = True
        """Whether more is wanted from the source."""
        self.lost = False
        """Whether the sink takes nothing any more."""

    @property
    def through(self) -> bool:
        return not self.open and not self.pending

    def read(self) -> bytes:
        """What came, empty for its end; nothing of it is passed on yet."""
        data = self.source.recv(_CHUNK_BYTES)
        self.open = bool(data)
        return data

    def write(self) -> None:
        try:
            while self.pending:
                self.pending = self.pending[self.sink.send(self.pending) :]
        except BlockingIOError:
            pass
        except OSError:
            # The other direction may still have something: a server that refuses a body says why.
            self.open, self.lost, self.pending = False, True, memoryview(b"")


def tunnel(
    client: socket.socket, server: socket.socket, patience: Patience, *, first: bytes = b"", idle_s: float
) -> None:
    """Pass everything on, both ways, until both have ended; `first` goes to the server before all else.

    The end of what one side sends is told to the other, which may go on sending. The sockets do not block.

    Raises:
        Ended, TimeoutError: see `Patience.wait`; there was silence for `idle_s`.
        OSError: a side was reset.
    """
    _relay(_Flow(client, server, first), _Flow(server, client), None, patience, idle_s)


def exchange(
    client: socket.socket,
    server: socket.socket,
    patience: Patience,
    *,
    head: bytes,
    rest: bytes,
    body: Body,
    idle_s: float,
) -> None:
    """Pass one request on, whose body begins with `rest`, and all that is answered until the server's end.

    Of what the client sends after its request nothing is passed on.

    Raises:
        BadRequest: the body is malformed.
        Ended, TimeoutError, OSError: as of `tunnel`; the body was cut off.
    """
    up = _Flow(client, server, head + body.pass_on(rest))
    up.open = not body.over
    _relay(up, _Flow(server, client), body, patience, idle_s)


def _relay(up: _Flow, down: _Flow, body: Body | None, patience: Patience, idle_s: float) -> None:
    shut: set[_Flow] = set()
    while True:
        for flow in (up, down):
            flow.write()
            # The end of a request whose length is known needs no telling, and some servers would take it for a loss.
            if flow.through and flow not in shut:
                shut.add(flow)
                if not flow.lost and (body is None or flow is down):
                    _shut(flow.sink)
        if down.lost or (down.through and (up.through or body is not None)):
            return
        ready = patience.wait(_wanted(up, down, shut), time.monotonic() + idle_s)
        if ready.get(up.source.fileno(), 0) & select.POLLERR:
            raise ConnectionResetError("the client is gone")
        for flow in (up, down):
            if flow.open and not flow.pending and ready.get(flow.source.fileno(), 0) & ~select.POLLOUT:
                data = flow.read()
                if flow is up and body is not None:
                    if not data:
                        raise ConnectionResetError("the client ended before its request did")
                    data = body.pass_on(data)
                    flow.open = not body.over
                flow.pending = memoryview(data)


def _wanted(up: _Flow, down: _Flow, shut: set[_Flow]) -> dict[int, int]:
    wanted: dict[int, int] = {}
    for flow in (up, down):
        if flow.pending:
            wanted[flow.sink.fileno()] = wanted.get(flow.sink.fileno(), 0) | select.POLLOUT
        elif flow.open:
            wanted[flow.source.fileno()] = wanted.get(flow.source.fileno(), 0) | select.POLLIN
    if down not in shut:
        # Without an event that is wanted, poll still tells of a reset: a client that gave up on a silent server.
        wanted.setdefault(up.source.fileno(), 0)
    return wanted


def finish(sock: socket.socket, patience: Patience, *, linger_s: float) -> None:
    """Say goodbye: what was sent arrives, though the peer may still be sending what nobody reads.

    A close with unread data would be a reset, which can overtake the answer.
    """
    _shut(sock)
    until = time.monotonic() + linger_s
    with contextlib.suppress(OSError, Ended):
        while True:
            patience.wait({sock.fileno(): select.POLLIN}, until)
            if not sock.recv(_CHUNK_BYTES):
                return


def reset(sock: socket.socket) -> None:
    """Let the peer know, when the socket is closed, that this was not the proper end."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def _shut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_WR)
