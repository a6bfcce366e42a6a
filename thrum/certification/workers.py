"""Workers' processes, as a project that is up has them, on a bus of their own; we are the repo actor they work for."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from thrum.actors.base import Situation
from thrum.actors.crew import Crew
from thrum.errors import ThrumError
from thrum.messages.attempts import AttemptAcknowledged, AttemptHeartbeat, AttemptReported, RunAttempt, StopAttempt
from thrum.places import Places
from thrum.tree.spawning import await_broker, broker_spec, end, endpoint_of, remove_socket, spawn_broker
from thrum.values import dataclass
from thrum.wire import PING_EVERY_S, Dealer, new_incarnation

REPO = "scratch"
"""The repository that they work on."""
GRACE_S = 5.0
"""How long after its limit an attempt is stopped by us, should the sandbox not have done so."""
UNHEARD_S = 60.0
"""How long a worker that was told to end an attempt may take to report."""
_LOOK_EVERY_S = 0.1
_AGAIN_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One attempt, and what is done about it while it runs."""

    asked: RunAttempt
    deadline: float
    """By the monotonic clock."""
    sign: Path | None = None
    """The file whose appearance says: end it now."""
    kills: bool = False
    """Whether its worker's process is killed then; else the worker is told to end it."""


class Workers:
    """To be used in a `with`, from the thread that made it."""

    def __init__(self, directory: Path, ended: threading.Event) -> None:
        """`directory` is the project's; once `ended` is set, whatever is under way is stopped.

        Raises:
            ThrumError: there can be no bus.
        """
        self._ended = ended
        self._ping_at = 0.0
        self.endpoint, logs = endpoint_of(directory), Places(directory).logs
        with ExitStack() as stack:
            broker, ready = spawn_broker(broker_spec(self.endpoint, os.getpid()), logs)
            stack.callback(remove_socket, self.endpoint)
            stack.callback(end, broker, 2.0)
            await_broker(ready, logs)
            self._dealer = stack.enter_context(Dealer(self.endpoint, f"repo.{REPO}", new_incarnation(time.time())))
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def report(
        self, told: Situation, order: Order, take_in: Callable[[AttemptReported], None]
    ) -> tuple[AttemptReported, float | None]:
        """Have the worker `told` carry the order out; its report, and how long that took from the sign on.

        `take_in` is given the report while its bundle still lies there.

        Raises:
            ThrumError: its process ends again and again as soon as it has begun, or does not report.
        """
        crew, signed_at, report = Crew(told), None, None
        stop_at, give_up_at = order.deadline + GRACE_S, math.inf
        try:
            while report is None:
                now = time.monotonic()
                if signed_at is None and order.sign is not None and order.sign.exists():
                    signed_at = now
                    if order.kills:
                        crew.kill(told.name)
                    else:
                        stop_at = now
                if now >= stop_at or self._ended.is_set():
                    self._dealer.send(told.name, StopAttempt(task=order.asked.task, token=order.asked.token))
                    stop_at, give_up_at = now + _AGAIN_S, min(give_up_at, now + UNHEARD_S)
                if now >= give_up_at:
                    raise ThrumError(f"{told.name} was told to end its attempt, and did not report in {UNHEARD_S:g} s")
                if why := crew.ended().get(told.name):
                    raise ThrumError(why)
                crew.see(told.name)
                report = self._heard(told.name, order.asked)
            take_in(report)
            self._acknowledge(told.name, report)
        finally:
            crew.close(stop=True)
        return report, None if signed_at is None else time.monotonic() - signed_at

    def _acknowledge(self, worker: str, report: AttemptReported) -> None:
        self._dealer.send(worker, AttemptAcknowledged(task=report.task, token=report.token))

    def _heard(self, worker: str, asked: RunAttempt) -> AttemptReported | None:
        """The report, once it has come; until then the worker is given its order if it has none."""
        if time.monotonic() >= self._ping_at:
            self._dealer.ping()
            self._ping_at = time.monotonic() + PING_EVERY_S
        self._dealer.wait(_LOOK_EVERY_S)
        report = None
        for envelope in self._dealer.receive():
            match envelope.body:
                case AttemptHeartbeat(token=0):
                    self._dealer.send(worker, asked, attempt=asked.token, ttl_s=10.0)
                case AttemptReported() as told if (told.task, told.token) == (asked.task, asked.token):
                    report = told
                case AttemptReported() as told:
                    # Of the run before, if its worker ended before it heard that we have it: the slot must be free.
                    self._acknowledge(worker, told)
                case _:
                    pass
        return report
