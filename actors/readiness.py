"""Whether a repository is ready for attempts: what one of them ran into every other one would too. Pure, volatile."""

from __future__ import annotations

from thrum import inputs as i
from thrum.gate import GateResult, Verdict

from .gate_runs import GateRuns
from .setup import Setup

FIRST_S, MOST_S = 5.0, 60.0
"""How long the first hold lasts, and the longest one."""


class Hold:
    """Holds a repository's attempts back for a while after one could not be begun for an operator's reason: a
    repository that vanished, an agent that is missing, a full disk. Pure; times are Unix seconds."""

    def __init__(self) -> None:
        self.reason = ""
        """Why nothing begins now; empty where nothing is held back."""
        self.until = float("inf")
        """When to look again; infinite where nothing is held back."""
        self._in_a_row = 0

    def begin(self, reason: str, now: float) -> None:
        """Another attempt could not be begun."""
        if not self.reason:
            self.until = now + min(MOST_S, FIRST_S * 2.0**self._in_a_row)
            self._in_a_row = min(10, self._in_a_row + 1)
        self.reason = reason

    def over(self) -> None:
        """An attempt could be begun."""
        self.reason, self.until, self._in_a_row = "", float("inf"), 0

    def ended(self, now: float) -> bool:
        """True once, when the hold's time is up: the next attempt tries it out."""
        if now < self.until:
            return False
        self.reason, self.until = "", float("inf")
        return True


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
        self.hold = Hold()
        self._preflight = Preflight()

    @property
    def fault(self) -> str:
        """Why nothing begins now; empty where nothing is held back."""
        red = self._runs.bases.red if self._setup.pause_when_red else {}
        return self.hold.reason or (f"the branch itself fails in {', '.join(red)}" if red else "")

    def admits(self, task: str, given: i.Input, now: float) -> bool:
        """Take note of an input; False for a prepared attempt that has to wait until the gates were looked over."""
        match given:
            case i.AttemptPrepared() if not self._preflight.passed:
                first = self._preflight.keep(task, given)
                if not first or self._runs.look_over(self._setup.repo, given.base, now):
                    return False
                self._preflight.passed = True  # there is nothing to look for
                self.hold.over()
            case i.AttemptPrepared():
                self.hold.over()
            case i.AttemptBlocked():
                self.hold.begin(given.reason, now)
            case i.RetryAsked():
                self.hold.over()
                self._runs.bases.landed()  # a person says that it was seen to
            case i.BranchLanded():
                self._runs.bases.landed()
            case _:
                pass
        return True

    def looked_over(self, result: GateResult) -> dict[str, i.AttemptPrepared | i.AttemptBlocked]:
        """What becomes of the attempts that waited for it."""
        return self._preflight.over(result)
