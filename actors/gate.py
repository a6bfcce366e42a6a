"""A gate actor's process: takes gate runs from its pool one at a time and runs their checks in a sandbox.

It keeps no state that matters: a report that got lost is asked for again, and is given from memory or made anew.
Every check has a clean checkout of the exact commit; its definition comes with the run, never from the checkout.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

from thrum.checking import CheckRunner
from thrum.files import OutputStore
from thrum.messages import Envelope
from thrum.messages.gates import GateHeartbeat, GateReported, RunGate, StopGate, pool_of
from thrum.sandbox.process import StopEvent
from thrum.wire import Dealer

from . import base
from .background import Background

log = logging.getLogger(__name__)

HEARTBEAT_S = 5.0
REMEMBERED = 200


class GateActor:
    """A gate actor as a process."""

    done = False

    def __init__(self, told: base.Situation, dealer: Dealer, *, host: str = "") -> None:
        self._dealer = dealer
        self._pool = pool_of(host)
        directory = Path(told.project.pipeline.engine.worktrees_dir) / told.name
        outputs = OutputStore(told.places.outputs)
        self._runner = CheckRunner(told.project, outputs, directory, f"{told.places.mark}.{told.name}")
        self._thread = Background[GateReported]()
        self._current: tuple[RunGate, set[str], threading.Event] | None = None
        self._answers: OrderedDict[str, GateReported] = OrderedDict()
        self._heartbeat_at = float("inf")

    def start(self, now: float) -> None:
        """Nothing to take up."""

    def step(self, envelopes: list[Envelope], now: float) -> None:
        for reported in self._thread.outcomes():
            self._report(reported)
        for envelope in envelopes:
            self._receive(envelope, now)
        if now >= self._heartbeat_at and self._current is not None:
            self._beat(now)

    def next_at(self) -> float:
        return self._heartbeat_at

    def wake_fds(self) -> tuple[int, ...]:
        return (self._thread.fd,)

    def standing(self) -> tuple[tuple[str, ...], int, tuple[str, ...]]:
        return (self._pool,), 0 if self._current is not None or self.done else 1, ()

    def stop(self, now: float) -> None:
        if self._current is not None:
            self._current[2].set()
        self.done = True

    def close(self) -> None:
        self._thread.close(deadline_s=15.0)
        self._runner.close()

    def _receive(self, envelope: Envelope, now: float) -> None:
        header, body = envelope.header, envelope.body
        match body:
            case RunGate() if body.run in self._answers:
                self._dealer.send(header.sender, self._answers[body.run], correlation=header.id)
            case RunGate() if self._current is not None:
                if self._current[0].run == body.run:
                    self._current[1].add(header.sender)
                # Any other was sent on an outdated credit: it is asked for again.
            case RunGate():
                stop = StopEvent()
                self._current = (body, {header.sender}, stop)
                self._thread.submit(lambda: self._runner.run(body, stop))
                self._beat(now)
            case StopGate():
                if self._current is not None and self._current[0].run == body.run:
                    self._current[2].set()
            case _:
                pass

    def _beat(self, now: float) -> None:
        assert self._current is not None
        for asker in self._current[1]:
            self._dealer.send(asker, GateHeartbeat(run=self._current[0].run))
        self._heartbeat_at = now + HEARTBEAT_S

    def _report(self, reported: GateReported) -> None:
        assert self._current is not None
        asked, askers, stop = self._current
        self._current, self._heartbeat_at = None, float("inf")
        if stop.is_set():
            reported = replace(reported, checks=())  # what was cut short says nothing: it is asked for again
        for asker in askers:
            # The id of a question is its run: the broker knows by it that this actor is free again.
            self._dealer.send(asker, reported, correlation=asked.run)
        if not stop.is_set():
            self._answers[asked.run] = reported
            while len(self._answers) > REMEMBERED:
                self._answers.popitem(last=False)


def main(argv: list[str] | None = None) -> int:
    """The process `python -m thrum.actors.gate`."""
    parser = base.parser("An actor that runs gates")
    parser.add_argument("--host", default="", help="the host whose repositories it serves, if not that of `thrum up`")
    args = parser.parse_args(argv)
    return base.main(args, lambda told, dealer: GateActor(told, dealer, host=args.host))


if __name__ == "__main__":
    sys.exit(main())
