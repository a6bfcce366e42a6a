"""Whether a repository is ready for attempts: what one of them ran into every other one would too. Pure, volatile."""

from __future__ import annotations

import math

from thrum import inputs as i
from thrum.gate import GateResult, Verdict
from thrum.task import State, Task

from .gate_runs import GateRuns
from .holds import Holds
from .setup import Setup

LOOK_EVERY_S = 15.0
"""How often it is looked whether a red branch that holds attempts back has moved."""


class Preflight:
    """Keeps prepared attempts back until the gates were looked over once; what is missing blocks them, at no cost."""

    def __init__(self) -> None:
        self.passed = False
        self._waiting: dict[str, i.AttemptPrepared] = {}

    def keep(self, task: str, given: i.AttemptPrepared) -> bool:
        """Keep the attempt back; True if it is the first one, and the gates are to be looked over on its base."""
        first = not self._waiting
        self._waiting[task] = given
        return first

    def over(self, result: GateResult) -> dict[str, i.AttemptPrepared | i.AttemptBlocked]:
        """What becomes of the attempts that were kept back."""
        waiting, self._waiting = self._waiting, {}
        self.passed = result.verdict is not Verdict.COULD_NOT_RUN
        if self.passed:
            return dict(waiting)
        missing = [check for check in result.checks if check.verdict is Verdict.COULD_NOT_RUN]
        reasons = "; ".join(dict.fromkeys(check.reason for check in missing))
        reason = f"before any agent begins: {', '.join(check.name for check in missing)} could not run: {reasons}"
        return {task: i.AttemptBlocked(token=given.token, reason=reason) for task, given in waiting.items()}


class Readiness:
    """Looks at what comes in for a task before it is decided, and says why nothing begins now."""

    def __init__(self, setup: Setup, runs: GateRuns) -> None:
        self._setup = setup
        self._runs = runs
        self._preflight = Preflight()
        self.holds = Holds(setup.backends)
        self._look_at = math.inf
        self._tip = ""
        """Where the branch was last looked over because it had moved."""

    @property
    def fault(self) -> str:
        """Why nothing begins now; empty where nothing is held back."""
        return self.holds.reason or self._red

    @property
    def doubted(self) -> bool:
        """Whether a person may ask for another look at what holds, or held, attempts back."""
        return self.holds.suspected or bool(self._red)

    @property
    def _red(self) -> str:
        red = self._runs.bases.red if self._setup.pause_when_red else {}
        return f"the branch itself fails in {', '.join(red)}" if red else ""

    def look_again(self) -> None:
        """A person says that it was seen to."""
        self.holds.over()
        self._runs.bases.landed()
        self._tip = ""

    @property
    def next_at(self) -> float:
        """When `tick` is wanted."""
        return min(self.holds.next_at, self._look_at)

    def tick(self, now: float) -> bool:
        """Do what has come due; True if it is to be found out where the branch stands, see `branch_at`."""
        self.holds.tick(now)
        due = bool(self._red) and now >= self._look_at
        if not self._red:
            self._look_at = math.inf
        elif due or self._look_at == math.inf:
            self._look_at = now + LOOK_EVERY_S
        return due

    def branch_at(self, tip: str, now: float) -> None:
        """A branch that was red stands there; where it has moved, it is looked over anew."""
        if tip not in (self._tip, *self._runs.bases.red.values()):
            self._tip = tip
            if not self._runs.look_over(self._setup.repo, tip, now):
                self._runs.looked_over(tip)

    def admitted(self, task: Task, given: i.Input, now: float) -> i.Input | None:
        """What is to be decided about: the input or, for an attempt that may not begin now, that it was held back.

        None for a prepared attempt that has to wait until the gates were looked over.
        """
        match given:
            case i.AttemptPrepared():
                if not self._looked_over(task.id, given, now):
                    return None
                self.holds.prepared()
                # A task that has begun goes on while the branch is red: it may be there to mend it.
                red = self._red if task.state is State.CLAIMED else ""
                if why := red or self.holds.closed_to(task.id, given.backend):
                    return i.AttemptBlocked(token=given.token, reason=why, held=True)
            case i.AttemptBlocked():
                self.holds.blocked(task.id, given.reason, now)
            case i.RetryAsked():
                self.look_again()
            case i.BranchLanded():
                self._runs.bases.landed()
            case _:
                pass
        return given

    def _looked_over(self, task: str, given: i.AttemptPrepared, now: float) -> bool:
        if not self._preflight.passed:
            first = self._preflight.keep(task, given)
            if not first or self._runs.look_over(self._setup.repo, given.base, now):
                return False
            self._preflight.passed = True  # there is nothing to look for
        return True

    def ended(self, task: Task, given: i.AttemptEnded, now: float, *, began: bool) -> None:
        """Take note of how an attempt ended; `began`: whether its agent could be run at all."""
        backend = next((attempt.backend for attempt in task.attempts if attempt.token == given.token), "")
        self.holds.ended(task.id, backend, given, now, began=began)

    def looked_over(self, result: GateResult) -> dict[str, i.AttemptPrepared | i.AttemptBlocked]:
        """What becomes of the attempts that waited for it."""
        if result.verdict is Verdict.COULD_NOT_RUN:
            self._tip = ""
        else:
            self._runs.looked_over(result.commit)
        return self._preflight.over(result)
