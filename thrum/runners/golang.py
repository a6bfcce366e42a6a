"""go test: plain, with `-v`, and with `-json`, whose events may stand between plain lines."""

from __future__ import annotations

import json
import re
from typing import Any

from thrum.gate import Tally
from thrum.runners.tally import together_if_any, told

# A test that prints without a line end has its verdict on the same line.
_TEST = re.compile(r"--- (PASS|FAIL|SKIP): (\S+) \([0-9.]+s\)$")
_OK = re.compile(r"ok  \s*\S+\s+(?:\(cached\)|[0-9.]+m?s)(?:\s.*)?")
_FAIL = re.compile(r"FAIL\s+(\S+)\s+(?:\[(?:build|setup) failed\]|[0-9.]+m?s|\(cached\))")
_NONE = re.compile(r"(?:\?\s+\S+\s+\[no test files\]|testing: warning: no tests to run)")
_ACTIONS = {"pass": "PASS", "fail": "FAIL", "skip": "SKIP"}


class _Package:
    """What is known so far of one package's tests. Subtests count beside their parents, as go reports them."""

    def __init__(self) -> None:
        self.passed = self.skipped = 0
        self.failing: list[str] = []

    def __bool__(self) -> bool:
        return bool(self.passed or self.skipped or self.failing)

    def add(self, verdict: str, name: str) -> None:
        match verdict:
            case "PASS":
                self.passed += 1
            case "SKIP":
                self.skipped += 1
            case _:
                self.failing.append(name)

    def told(self) -> Tally:
        failed = len(self.failing)
        return told(run=self.passed + failed, failed=failed, skipped=self.skipped, failing=self.failing)


def read_go(lines: list[str]) -> Tally | None:
    """go test: what is said of each test, and of a package where its tests are not named.

    A package that failed without a failing test (it did not build, it panicked or ran out of time) counts as one,
    by its name.
    """
    runs: list[Tally] = []
    package = _Package()
    reported: dict[str, _Package] = {}
    for line in lines:
        if event := _event(line):
            _take(event, reported.setdefault(event["Package"], _Package()))
        elif test := _TEST.search(line):
            package.add(test[1], test[2])
        elif failed := _FAIL.fullmatch(line):
            if not package.failing:
                package.add("FAIL", failed[1])
            runs.append(package.told())
            package = _Package()
        elif _OK.fullmatch(line):
            # Without -v go names no test that passed, but it says so where there was none.
            if not package and "[no tests to run]" not in line:
                package.passed = 1
            runs.append(package.told())
            package = _Package()
        elif _NONE.fullmatch(line):
            runs.append(told(run=0))
    if package:
        runs.append(package.told())
    return together_if_any([*runs, *(each.told() for each in reported.values())])


def _event(line: str) -> dict[str, Any] | None:
    """The event of `go test -json` in this line (`go doc test2json`), or None."""
    if not line.startswith("{") or '"Action"' not in line:
        return None
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):  # Something else that a test printed, or nested to be in our way.
        return None
    known = isinstance(event.get("Action"), str) and isinstance(event.get("Package"), str)
    return event if known and isinstance(event.get("Test", ""), str) else None


def _take(event: dict[str, Any], package: _Package) -> None:
    verdict = _ACTIONS.get(event["Action"], "")
    if verdict and event.get("Test"):
        package.add(verdict, event["Test"])
    elif verdict == "FAIL" and not package.failing:
        package.add("FAIL", event["Package"])
