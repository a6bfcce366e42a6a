"""Before the first agent of a repository begins: is there all that its checks need? Pure, volatile."""

from __future__ import annotations

from thrum import inputs as i
from thrum.gate import GateResult, Verdict


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
