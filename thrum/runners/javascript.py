"""jest and vitest."""

from __future__ import annotations

import re

from thrum.gate import Tally
from thrum.runners.tally import counted, together_if_any, told

_JEST_TOTAL = re.compile(r"Tests: +(.+)")
_JEST_NONE = re.compile(r"No tests found, exiting with code [0-9]+")
_JEST_FILE = re.compile(r"(PASS|FAIL) (\S.*?)(?: \([0-9.]+ m?s\))?")
_JEST_BULLET = re.compile(r"  ● (.+)")
_BROKEN_FILE = "Test suite failed to run"

_VITEST_TOTAL = re.compile(r" *Tests  (no tests|[0-9]+ [a-z][0-9a-z |]*\([0-9]+\))")
_VITEST_NONE = re.compile(r"No test files found, exiting with code [0-9]+")
_VITEST_SUITES = re.compile(r"⎯+ Failed Suites ([0-9]{1,9}) ⎯+")
_VITEST_FAIL = re.compile(r" FAIL  (\S.*)")


def read_jest(lines: list[str]) -> Tally | None:
    """jest: counts from its totals, names from the headings of the reports.

    A file that could not be run is in no total: it counts as one that failed, by its name.
    """
    runs: list[Tally] = []
    names: list[str] = []
    broken: dict[str, None] = {}
    file, passed = "", False
    for line in lines:
        if heading := _JEST_FILE.fullmatch(line):
            passed, file = heading[1] == "PASS", heading[2]
        elif _JEST_NONE.fullmatch(line):
            runs.append(told(run=0))
        elif (total := _JEST_TOTAL.fullmatch(line)) and (counts := counted(total[1])).get("total") is not None:
            runs.append(_run(counts, names, list(broken)))
            names, broken, file, passed = [], {}, "", False
        elif not passed and (bullet := _JEST_BULLET.fullmatch(line)):
            # What a file's tests print is shown under a bullet, too.
            if bullet[1] == _BROKEN_FILE:
                broken[file] = None
            elif bullet[1] != "Console":
                names.append(bullet[1])
    return together_if_any(runs)


def read_vitest(lines: list[str]) -> Tally | None:
    """vitest: counts from its totals, names, with their files, from the headings of the reports.

    A file or suite that could not be run is in no total: it counts as one that failed.
    """
    runs: list[Tally] = []
    names: list[str] = []
    suites = 0
    for line in lines:
        if _VITEST_NONE.fullmatch(line):
            runs.append(told(run=0))
        elif failed := _VITEST_SUITES.fullmatch(line):
            suites = int(failed[1])
        elif heading := _VITEST_FAIL.fullmatch(line):
            names.append(re.sub(r" \[ [^\[\]]+ \]$", "", heading[1]))
        elif total := _VITEST_TOTAL.fullmatch(line):
            counts = counted(re.sub(r" *\([0-9]+\)$", "", total[1]), " | ")
            run = _run(counts, names, [])
            runs.append(
                told(run=run.run + suites, failed=run.failed + suites, skipped=run.skipped, failing=run.failing)
            )
            names, suites = [], 0
    return together_if_any(runs)


def _run(counts: dict[str, int], names: list[str], broken: list[str]) -> Tally:
    failed = counts.get("failed", 0) + len(broken)
    skipped = sum(counts.get(word, 0) for word in ("skipped", "pending", "todo"))
    executed = counts.get("passed", 0) + counts.get("expected fail", 0)
    return told(run=executed + failed, failed=failed, skipped=skipped, failing=[*names, *broken])
