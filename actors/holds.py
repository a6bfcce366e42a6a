"""What keeps attempts from beginning: a problem that one of them met, and that every other one would meet. Pure.

Volatile: after a restart it is tried out again. Times are Unix seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from thrum.failures import Failure
from thrum.inputs import AttemptEnded
from thrum.task import AttemptEnding

FIRST_S, MOST_S = 15.0, 1800.0
"""How long a hold lasts at first, and at most: as long as a task that met the problem waits before it tries again."""
PREPARING_FIRST_S, PREPARING_MOST_S = 5.0, 60.0
"""The same where an attempt could not be prepared, which costs nothing."""
TRIAL_S = 60.0
"""How long one attempt is waited for that tries it out; after that, all seems well."""
_TELLS_NOTHING = (AttemptEnding.LOST, AttemptEnding.STOPPED)


class Hold:
    """Closed by an attempt that met the problem, each time for longer; then open to one attempt, which tries it out."""

    def __init__(self, first_s: float = FIRST_S, most_s: float = MOST_S, trial_s: float = TRIAL_S) -> None:
        self._first_s, self._most_s, self._trial_s = first_s, most_s, trial_s
        self.over()

    def over(self) -> None:
        """The problem is gone, or a person says so."""
        self._reason = self._trial = ""
        self._in_a_row = 0
        self.until = math.inf
        """When it changes by itself."""

    @property
    def closed(self) -> bool:
        """Nothing but an attempt that tries it out may pass."""
        return self.until < math.inf or bool(self._trial)

    @property
    def suspected(self) -> bool:
        """Whether the problem is thought to be there still, closed or not."""
        return bool(self._reason)

    @property
    def told(self) -> str:
        """What is the matter."""
        return f"{self._reason} ({self._trial} tries it out)" if self._trial else self._reason

    def closed_to(self, task: str) -> bool:
        """Whether this task may not pass."""
        return self.closed and self._trial != task

    def met(self, reason: str, now: float) -> None:
        """An attempt met the problem."""
        if not self.closed or self._trial:
            # Else it is one of several that were under way together.
            self.until = now + min(self._most_s, self._first_s * 2.0**self._in_a_row)
            self._in_a_row = min(20, self._in_a_row + 1)
        self._reason, self._trial = reason, ""

    def passes(self, task: str, now: float) -> None:
        """A task begins: if the problem is still thought to be there, it tries it out."""
        if self.suspected and not self.closed:
            self._trial, self.until = task, now + self._trial_s

    def passed(self, task: str) -> None:
        """The task did not meet the problem. One that began before the hold says nothing of it."""
        if not self.closed_to(task):
            self.over()

    def untried(self, task: str) -> None:
        """The task that was to try it out ended before it could tell."""
        if task == self._trial:
            self._trial, self.until = "", math.inf

    def tick(self, now: float) -> None:
        """Open where the time is up."""
        if now < self.until:
            return
        if self._trial:
            self._reason = ""  # it would have told by now
        self._trial, self.until = "", math.inf


class Holds:
    """All that may hold one repository's attempts back: what their preparation lacks, what no agent can run without,
    and each of the implementer's backends."""

    def __init__(self, backends: tuple[str, ...]) -> None:
        """`backends` are the names of the implementer's, in their order."""
        self._chain = backends
        self._preparing = Hold(PREPARING_FIRST_S, PREPARING_MOST_S, math.inf)
        self._running = Hold()
        self._backends = {name: Hold() for name in backends}

    @property
    def reason(self) -> str:
        """Why nothing begins; empty where something may."""
        for hold in (self._preparing, self._running):
            if hold.closed:
                return hold.told
        passed_over = self.passed_over
        return "; ".join(passed_over.values()) if passed_over and passed_over.keys() == self._backends.keys() else ""

    @property
    def suspected(self) -> bool:
        """Whether there is anything to look at again."""
        return any(hold.suspected for hold in self._each())

    @property
    def passed_over(self) -> dict[str, str]:
        """The backends that get no work now, each with the reason."""
        return {name: f"backend {name!r}: {hold.told}" for name, hold in self._backends.items() if hold.closed}

    @property
    def next_at(self) -> float:
        """When `tick` is wanted."""
        return min(hold.until for hold in self._each())

    def tick(self, now: float) -> None:
        """Do what has come due."""
        for hold in self._each():
            hold.tick(now)

    def over(self) -> None:
        """A person says that it was seen to."""
        for hold in self._each():
            hold.over()

    def begins(self, task: str, now: float) -> None:
        """A task was let in."""
        self._preparing.passes(task, now)
        self._running.passes(task, now)

    def choose(self, task: str, fallbacks: int, now: float) -> int:
        """Which of the backends the task's next attempt gets, from the one that it has come to; counted from 0."""
        order: list[int] = [*range(fallbacks, len(self._chain)), *range(fallbacks)]
        number = next((one for one in order if not self._backend(one).closed_to(task)), None)
        if number is None:
            return fallbacks
        self._backend(number).passes(task, now)
        return number

    def _backend(self, number: int) -> Hold:
        return self._backends[self._chain[number]]

    def closed_to(self, task: str, backend: str) -> str:
        """Why a prepared attempt may not begin; empty where it may."""
        holds = (self._running, self._backends.get(backend, self._running))
        return next((hold.told for hold in holds if hold.closed_to(task)), "")

    def prepared(self) -> None:
        """An attempt could be prepared."""
        self._preparing.over()

    def blocked(self, task: str, reason: str, now: float) -> None:
        """An attempt could not be prepared."""
        self._preparing.met(reason, now)
        for hold in self._each():
            hold.untried(task)

    def ended(self, task: str, backend: str, given: AttemptEnded, now: float, *, began: bool) -> None:
        """An attempt is over; `began`: whether its agent could be run at all."""
        hold = self._backends.get(backend)
        failure = given.failure or (None if began else Failure.COULD_NOT_RUN)
        if failure is not None and failure.treatment.holds and hold is not None:
            hold.met(f"{failure}: {given.reason or failure.value}. {failure.treatment.advice}", now)
            self._running.passed(task)
        elif not began:
            self._running.met(given.reason, now)
            if hold is not None:
                hold.untried(task)
        elif given.ending in _TELLS_NOTHING:
            for one in self._each():
                one.untried(task)
        else:
            self._running.passed(task)
            if hold is not None:
                hold.passed(task)

    def _each(self) -> Iterator[Hold]:
        yield from (self._preparing, self._running, *self._backends.values())
