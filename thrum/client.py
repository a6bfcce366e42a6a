"""For the edges (CLI, API): ask an actor something and wait for its answer, or listen to topics.

Actors do not wait for each other and do not use this.
"""

from __future__ import annotations

import os
import secrets
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import zmq

from thrum.errors import BusyError, ConfigError, ThrumError, ToolError, WireError
from thrum.messages import Envelope, Header, Message, Reply
from thrum.messages.control import Dropped, Undeliverable
from thrum.wire import PING_EVERY_S, Dealer, new_incarnation

SILENCE_S = 10.0
"""A broker that answers no ping for this long is taken for gone."""
_EVENTS_KEPT = 10_000
_REFUSED_S = 0.1


class Client:
    """One thread's connection to a running Thrum, as a peer whose name nobody needs to know."""

    def __init__(self, endpoint: str, *, name: str = "", context: zmq.Context[zmq.Socket[bytes]] | None = None) -> None:
        name = name or f"edge.{os.getpid()}.{secrets.token_hex(4)}"
        self._dealer = Dealer(endpoint, name, new_incarnation(time.time()), context)
        self._topics: tuple[str, ...] = ()
        self._events: deque[Envelope] = deque()
        self._missed = 0
        self._pinged_at = float("-inf")
        self._answered_at = time.monotonic()
        self._pong = ""
        self._pings: set[str] = set()

    def request(
        self,
        destination: str,
        body: Message,
        *,
        timeout_s: float = 10.0,
        retry_every_s: float = 1.0,
        id: str | None = None,
    ) -> Any:
        """The value that `destination` answers with.

        The request is sent again, under one id, until it is answered: commands are known by it and done once. Give
        the `id` to go on asking after a BusyError.

        Raises:
            BusyError: no answer within `timeout_s`; the command may have been carried out nevertheless.
            ThrumError: the answer was an error; its class is the one with the answer's code.
        """
        deadline = time.monotonic() + timeout_s
        reason = ""
        while True:
            send_again_at = time.monotonic() + retry_every_s
            id = self._dealer.send(destination, body, id=id, ttl_s=max(0.01, deadline - time.monotonic()))
            answer: Reply | None = None
            while answer is None and (now := time.monotonic()) < min(send_again_at, deadline):
                for envelope in self._receive(min(send_again_at, deadline) - now):
                    if envelope.header.correlation != id:
                        self._keep(envelope)
                    elif isinstance(envelope.body, Reply):
                        answer = envelope.body  # what came with it may be events that somebody wants
                    elif isinstance(envelope.body, Undeliverable):
                        reason = envelope.body.reason
                        # It may be starting: ask again soon, yet not as fast as the broker can refuse.
                        send_again_at = min(send_again_at, time.monotonic() + _REFUSED_S)
            if answer is not None:
                return _value(answer)
            if now >= deadline:
                raise self._unanswered(destination, timeout_s, reason)

    def events(self, topics: tuple[str, ...], *, timeout_s: float | None = None) -> Iterator[Envelope]:
        """The messages of all topics that begin with one of `topics`, from the moment this returns.

        Where some were lost, a `Dropped` stands in their place. The iterator ends after `timeout_s`; without it,
        when the broker is gone.

        Raises:
            BusyError: the broker does not answer; also while iterating.
        """
        self._topics = topics
        self._pings.clear()
        self._ping()
        while self._dealer.pong not in self._pings:
            for envelope in self._receive(PING_EVERY_S):
                self._keep(envelope)
            self._check_broker()
        return self._iterate(None if timeout_s is None else time.monotonic() + timeout_s)

    def close(self) -> None:
        """Leave the bus."""
        self._dealer.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _iterate(self, deadline: float | None) -> Iterator[Envelope]:
        while True:
            while self._events:
                yield self._events.popleft()
            if self._missed:
                header = Header(kind="Dropped", id="missed")
                missed, self._missed = self._missed, 0
                yield Envelope(destination=self._dealer.name, header=header, body=Dropped(count=missed))
            left_s = PING_EVERY_S if deadline is None else deadline - time.monotonic()
            if left_s <= 0:
                return
            for envelope in self._receive(left_s):
                self._keep(envelope)
            self._check_broker()

    def _keep(self, envelope: Envelope) -> None:
        if not self._topics or not (envelope.destination.startswith("topic:") or isinstance(envelope.body, Dropped)):
            return
        # Once some are missed, all are until the caller has read what is kept, so that the gap is where it is told.
        if self._missed or len(self._events) >= _EVENTS_KEPT:
            self._missed += envelope.body.count if isinstance(envelope.body, Dropped) else 1
        else:
            self._events.append(envelope)

    def _receive(self, timeout_s: float) -> list[Envelope]:
        """What has arrived, waited for until then at the latest, or until the next ping was due."""
        now = time.monotonic()
        if now >= self._pinged_at + PING_EVERY_S:
            self._ping()
        self._dealer.wait(max(0.0, min(timeout_s, self._pinged_at + PING_EVERY_S - now)))
        received = self._dealer.receive()
        if self._dealer.pong != self._pong:
            self._pong, self._answered_at = self._dealer.pong, time.monotonic()
        return received

    def _ping(self) -> None:
        now = time.monotonic()
        # Between two calls nobody listens: silence counts from when we asked, not from the last call.
        if now > self._pinged_at + 2 * PING_EVERY_S:
            self._answered_at = now
        self._pinged_at = now
        self._pings.add(self._dealer.ping(topics=self._topics))

    def _check_broker(self) -> None:
        if time.monotonic() > self._answered_at + SILENCE_S:
            raise BusyError(
                f"nothing answers at {self._dealer.endpoint} for {SILENCE_S:.0f} s", remedy="is `thrum up` running?"
            )

    def _unanswered(self, destination: str, timeout_s: float, reason: str) -> BusyError:
        if not self._dealer.pong:
            return BusyError(
                f"no broker answers at {self._dealer.endpoint} within {timeout_s:g} s; {destination} was not reached",
                remedy="is `thrum up` running?",
            )
        why = f": {reason}" if reason else ""
        return BusyError(
            f"{destination} did not answer within {timeout_s:g} s{why}",
            remedy="try again; `thrum status` shows what is up",
        )


def _value(reply: Reply) -> Any:
    if reply.ok:
        return reply.value
    raise error_from(reply)


def error_from(reply: Reply) -> ThrumError:
    """The error that a reply tells of: of the class with its code, else a plain ThrumError under that code."""
    classes = _by_code(ThrumError)
    cls = classes.get(reply.code, ThrumError)
    # Constructors compose messages from parts; here the message is whole already.
    error = cls.__new__(cls, reply.message)
    ThrumError.__init__(error, reply.message, remedy=reply.remedy)
    error.code = reply.code or ThrumError.code
    if isinstance(error, ToolError):
        error.command, error.exit_code_seen, error.output = (), None, ""
    elif isinstance(error, ConfigError):
        error.problem, error.file, error.key = reply.message, "", ""
    elif isinstance(error, WireError):
        error.raw = b""
    return error


def _by_code(cls: type[ThrumError]) -> dict[str, type[ThrumError]]:
    found = {cls.code: cls}
    for child in cls.__subclasses__():
        # A class that keeps its parent's code is that parent to whoever reads the code.
        found = _by_code(child) | found
    return found
