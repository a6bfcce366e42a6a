"""What the checks said of the commits that work is based on: whose failure it is, and which tests fail now and then.

Pure and volatile: what is forgotten is asked of the base again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import replace

from thrum.checks import definition_digest
from thrum.gate import Check, CheckResult, Verdict
from thrum.values import dataclass

REMEMBERED = 500
"""How many results are kept, and of how many checks the flaky tests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnBase:
    """A check, by the digest of its definition, and the commit that it ran on."""

    commit: str
    definition: str


def on_base(commit: str, check: Check) -> OnBase:
    """The place of what this check says of that commit."""
    return OnBase(commit=commit, definition=definition_digest([check]))


class Bases:
    """Remembers what checks said of bases."""

    def __init__(self) -> None:
        self._said: OrderedDict[OnBase, tuple[CheckResult, ...]] = OrderedDict()
        self._flaky: OrderedDict[str, frozenset[str]] = OrderedDict()
        self._red: dict[str, str] = {}

    @property
    def red(self) -> dict[str, str]:
        """The checks that were last seen to fail on a base, each with that commit; empty once something landed."""
        return dict(self._red)

    def landed(self) -> None:
        """The branch stands at a commit that every check passed on."""
        self._red = {}

    def stands_at(self, commit: str, checks: Iterable[Check]) -> None:
        """The branch stands there: what is known of other commits does not make it red."""
        known = ((check.name, self._said.get(on_base(commit, check), ())) for check in checks)
        self._red = {name: commit for name, runs in known if runs and _failed_always(runs)}

    def runs(self, at: OnBase) -> int:
        """How often the check has run there."""
        return len(self._said.get(at, ()))

    def remember(self, at: OnBase, result: CheckResult, *, whole: bool = True) -> None:
        """Take in one run. One that could not run says nothing about the commit: it is tried anew the next time.

        One of a share of the tests, which is not `whole`, does not tell whether the commit is red.
        """
        if result.verdict is Verdict.COULD_NOT_RUN:
            return
        runs = (*self._said.pop(at, ()), result)
        self._said[at] = runs
        self._note_flaky(at.definition, runs)
        if len(self._said) > REMEMBERED:
            self._said.popitem(last=False)
        if not whole:
            return
        self._red.pop(result.name, None)
        if _failed_always(runs):
            self._red[result.name] = at.commit

    def known_flaky(self, at: OnBase, result: CheckResult) -> bool:
        """True if the result failed by tests alone, and each of them is one that was seen both to fail and to pass
        on one and the same base."""
        tests = result.tests
        if result.verdict is not Verdict.FAILED or tests is None or not 0 < tests.failed == len(tests.failing):
            return False
        return set(tests.failing) <= self._flaky.get(at.definition, frozenset())

    def beside(self, at: OnBase, result: CheckResult) -> CheckResult:
        """The result of a check that failed, with what the same check says of its base where that is known."""
        runs = self._said.get(at, ())
        if not runs or result.verdict is not Verdict.FAILED:
            return result
        there = {name for run in runs for name in _failing(run)}
        both = tuple(name for name in _failing(result) if name in there)
        verdict = Verdict.FAILED if _failed_always(runs) else Verdict.PASSED
        return replace(result, on_base=verdict, failing_on_base=both)

    def _note_flaky(self, definition: str, runs: tuple[CheckResult, ...]) -> None:
        told = [set(_failing(run)) for run in runs if run.tests is not None and run.tests.run]
        flaky = set().union(*told) - set(told[0]).intersection(*told) if told else set()
        if flaky:
            self._flaky[definition] = self._flaky.pop(definition, frozenset()) | flaky
            if len(self._flaky) > REMEMBERED:
                self._flaky.popitem(last=False)


def _failed_always(runs: tuple[CheckResult, ...]) -> bool:
    return all(run.verdict is Verdict.FAILED for run in runs)


def _failing(result: CheckResult) -> tuple[str, ...]:
    return result.tests.failing if result.tests else ()
