"""The broker's process: one ROUTER socket, moved by hand; where messages go is `broker.routing`'s to say.

How a message is read decides the broker's speed. ZeroMQ delivers whole messages, each as its sender's routing id
and the frames that were sent, at least one; nothing in a plain `recv` says where one ends. So:
- From a peer that `Router.express` does not list, each frame is asked whether more follow. A stranger can send what it
  likes, and harms nobody.
- From a listed one, four parts are taken and only the last is asked, which costs a fifth as much. If it ends a
  message, the four are one message, or two of a single frame each; then the third part is a routing id where
  a header must be, and fails as such. If it does not, everything up to the next end is dropped, and the peer is listed
  no more. Thus no message is ever made of two good ones, and a peer that turns bad can cost others one message, once.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Sequence

import zmq
from zmq.backend import Socket as BareSocket

from thrum import wire
from thrum.errors import ThrumError, UsageError, WireError

from .endpoints import bind
from .peers import Send
from .routing import Router

log = logging.getLogger("thrum.broker.server")  # `__name__` is `__main__` here

MESSAGES_A_TURN = 2_000
HELD_A_TURN = 1_000
_RETRY_S = 0.002
"""How soon a peer whose pipe was full is tried again; ZeroMQ does not tell when one of a ROUTER's pipes has room."""
_MARK = wire.HEADER_MARK
_NOW = int(zmq.DONTWAIT)
_MORE = int(zmq.DONTWAIT | zmq.SNDMORE)


class Server:
    """Moves frames between a bound ROUTER socket and the router, one bounded turn after the other."""

    def __init__(self, socket: zmq.Socket[bytes], router: Router) -> None:
        self._router = router
        # The methods under pyzmq's conveniences: a message costs 2.5 µs this way, 9 µs through them.
        bare: BareSocket = super(type(socket), socket)  # type: ignore[assignment]
        self._recv = bare.recv
        self._send_frame = bare.send

    def turn(self, now: float) -> bool:
        """Hand on what has arrived and what was held; false if there is nothing left to read."""
        more = self._read(now)
        for address in tuple(self._router.waiting):
            self._offer(address, now)
        return more

    def tick(self, now: float) -> None:
        """Let time pass for the router."""
        self._perform(self._router.tick(now), now)

    def _read(self, now: float) -> bool:
        recv, send = self._recv, self._send_frame
        express, routes = self._router.express, self._router.routes
        for _ in range(MESSAGES_A_TURN):
            try:
                source = recv(_NOW)
            except zmq.Again:
                return False
            peer = express.get(source)
            if peer is None:
                self._read_with_care(source, now)
                continue
            try:
                destination = recv(_NOW)
                header = recv(_NOW)
                body = recv(_NOW, False)
            except zmq.Again:
                self._router.malformed(source, WireError("a message of less than three frames"))
                continue
            if body.more or not header.startswith(_MARK):
                self._skip(source, header, body.more)
                continue
            peer.heard = True
            target = routes.get(destination)
            if target is None:
                self._perform(self._router.receive(source, destination, header, body.bytes, now), now)
                continue
            try:
                send(target, _MORE)
            except zmq.ZMQError as error:
                refused = Send(target, destination, header, body.bytes, source)
                self._perform(self._refused(refused, error, now), now)
                continue
            send(destination, _MORE)
            send(header, _MORE)
            send(body, _NOW)
        return True

    def _read_with_care(self, source: bytes, now: float) -> None:
        frames: list[bytes] = []
        more = True
        while more:
            frame = self._recv(_NOW, False)
            more = frame.more
            # What a message may be is bounded by frame, not by their number; that we do by not keeping them.
            if len(frames) <= 3:
                frames.append(frame.bytes)
        if len(frames) != 3:
            self._router.malformed(source, WireError("a message has three frames", raw=b"|".join(frames)))
            return
        destination, header, body = frames
        self._perform(self._router.receive(source, destination, header, body, now), now)

    def _skip(self, source: bytes, header: bytes, more: bool) -> None:
        while more:
            more = self._recv(_NOW, False).more
        self._router.malformed(
            source, WireError("a message has three frames, of which the second is a header", raw=header)
        )

    def _perform(self, sends: list[Send], now: float) -> None:
        todo = deque(sends)
        while todo:
            send = todo.popleft()
            if send.to in self._router.waiting:
                # What was sent before it waits already, and must arrive before it.
                todo += self._router.full(send, now)
                continue
            try:
                self._send(send)
            except zmq.ZMQError as error:
                todo += self._refused(send, error, now)

    def _refused(self, send: Send, error: zmq.ZMQError, now: float) -> list[Send]:
        if error.errno == zmq.EAGAIN:
            return self._router.full(send, now)
        if error.errno == zmq.EHOSTUNREACH:
            return self._router.gone(send.to, now, send)
        raise error

    def _offer(self, address: bytes, now: float) -> None:
        """Send what is held for the peer, as far as its pipe takes it."""
        for _ in range(HELD_A_TURN):
            send = self._router.next_held(address, now)
            if send is None:
                return
            try:
                self._send(send)
            except zmq.Again:
                return
            except zmq.ZMQError as error:
                if error.errno != zmq.EHOSTUNREACH:
                    raise
                self._perform(self._router.gone(address, now), now)
                return
            self._router.sent(address)

    def _send(self, send: Send) -> None:
        # Only the first part can be refused; a pipe that took it takes the rest, or is gone with all of it.
        self._send_frame(send.to, _MORE)
        self._send_frame(send.destination, _MORE)
        self._send_frame(send.header, _MORE)
        self._send_frame(send.body, _NOW)


def serve(socket: zmq.Socket[bytes], router: Router, stops: Sequence[int]) -> None:
    """Move messages until one of the descriptors `stops` can be read."""
    server = Server(socket, router)
    poller = zmq.Poller()
    poller.register(socket, zmq.POLLIN)
    for stop in stops:
        poller.register(stop, zmq.POLLIN)
    tick_at = time.monotonic()
    busy = False
    while True:
        now = time.monotonic()
        timeout_s = 0.0 if busy else _RETRY_S if router.waiting else max(0.0, tick_at - now)
        ready = dict(poller.poll(int(timeout_s * 1000 + 0.999)))
        if any(stop in ready for stop in stops):
            return
        now = time.monotonic()
        busy = server.turn(now)
        if now >= tick_at:
            server.tick(now)
            tick_at = now + router.limits.tick_s


def main(argv: Sequence[str] | None = None) -> int:
    """Run the broker until SIGTERM, or until the process given by `--watch` ends; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m thrum.broker.server", description="Routes messages between actors."
    )
    parser.add_argument("endpoints", nargs="+", metavar="ENDPOINT", help="where to listen, such as ipc:///path/to/bus")
    parser.add_argument("--watch", type=int, metavar="PID", help="end when this process ends")
    parser.add_argument("--ready-fd", type=int, metavar="FD", help="write a byte to this descriptor when listening")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        _run(options.endpoints, options.watch, options.ready_fd)
    except ThrumError as error:
        log.error("%s%s", error, f"; {error.remedy}" if error.remedy else "")
        return int(error.exit_code)
    return 0


def _run(endpoints: Sequence[str], watch: int | None, ready_fd: int | None) -> None:
    wake, woken = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    # A handler must not raise: in the middle of a message that would leave half of it behind.
    signal.signal(signal.SIGTERM, lambda *_: os.write(woken, b"."))
    # On a terminal Ctrl-C reaches the whole group; with somebody to watch, it is theirs to say when to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN if watch is not None else signal.getsignal(signal.SIGTERM))
    stops = [wake]
    if watch is not None:
        try:
            stops.append(os.pidfd_open(watch))
        except ProcessLookupError:
            raise UsageError(f"there is no process {watch} to watch") from None
    router = Router(wire.new_incarnation(time.time()))
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.ROUTER)
    try:
        wire.configure(socket)
        bind(socket, endpoints)
        log.info("listening", extra={"endpoints": list(endpoints), "incarnation": router.incarnation})
        if ready_fd is not None:
            os.write(ready_fd, b"\n")
            os.close(ready_fd)
        serve(socket, router, stops)
    finally:
        socket.close()
        context.term()
        for stop in (*stops, woken):
            os.close(stop)


if __name__ == "__main__":
    sys.exit(main())
