"""cargo test (libtest, doc tests) and cargo-nextest."""

from __future__ import annotations

import re

from thrum.gate import Tally
from thrum.runners.tally import counted, together_if_any, told

CARGO_ENDED = re.compile(r"test result: (?:ok|FAILED)\. (.*)")
_LISTED = re.compile(r"    (\S.*)")

NEXTEST_BEGUN = re.compile(r" *Starting [0-9]+ (?:tests?|benchmarks?) across .*")
_SUMMARY = re.compile(r" *Summary \[ *[0-9.]+s\] [0-9]+(?:/[0-9]+)? (?:tests?|benchmarks?) run: (.*)")
_NO_TESTS = re.compile(r"(?:error: |warning: )?no tests to run")
NEXTEST_ENDED = re.compile(rf"{_SUMMARY.pattern}|{_NO_TESTS.pattern}")
# `FAIL [   0.007s] (3/5) crate::binary name`; a try of several counts where it is listed at the end only.
_STATUS = re.compile(
    r" *(TRY [0-9]+ )?"
    r"(?:FAIL(?: \+ LEAK)?|LEAK-FAIL|TIMEOUT|TMT|XFAIL|SIG[A-Z0-9]+|ABORT(?: SIG [0-9]+)?|FL\+LK|LKFAIL)"
    r" \[ *[0-9.]+s\] (?:\[[0-9/]+\] )?(?:\([ 0-9/─]+\) )?(\S+ \S.*)"
)


def read_cargo(lines: list[str]) -> Tally | None:
    """cargo test: each `test result:` is one binary, or the doc tests; names from the list just before it.

    nextest shows what a failing binary printed, which has a result of its own. What lies between its start, or that
    of the output where it is cut off, and its summary is therefore left to nextest.
    """
    runs: list[Tally] = []
    names: list[str] = []
    collecting = nextest = False
    theirs = 0
    for line in lines:
        if collecting and (listed := _LISTED.fullmatch(line)):
            names.append(listed[1])
            continue
        collecting = line == "failures:"
        if collecting:
            names = []
        elif result := CARGO_ENDED.fullmatch(line):
            runs.append(_cargo_run(result[1], names))
            names = []
        elif NEXTEST_BEGUN.fullmatch(line):
            nextest, theirs = True, len(runs)
        elif _SUMMARY.fullmatch(line):
            del runs[theirs:]
            nextest, theirs = False, len(runs)
    if nextest:
        del runs[theirs:]
    return together_if_any(runs)


def _cargo_run(text: str, names: list[str]) -> Tally:
    counts = counted(text.replace(".", ";").rstrip(";"), "; ")
    failed = counts.get("failed", 0)
    executed = counts.get("passed", 0) + counts.get("measured", 0)
    return told(
        run=executed + failed,
        failed=failed,
        skipped=counts.get("ignored", 0),
        left_out=counts.get("filtered out", 0),
        failing=names,
    )


def read_nextest(lines: list[str]) -> Tally | None:
    """cargo-nextest: counts from its summary; names, binary and test, from its lines of status."""
    runs: list[Tally] = []
    names: list[str] = []
    ended = False
    for line in lines:
        if NEXTEST_BEGUN.fullmatch(line):
            ended = False
        elif summary := _SUMMARY.fullmatch(line):
            ended = True
            runs.append(_nextest_run(re.sub(r" \([^()]*\)", "", summary[1])))
        elif _NO_TESTS.fullmatch(line):
            runs.append(told(run=0))
        elif (status := _STATUS.fullmatch(line)) and (ended or not status[1]):
            names.append(status[2])
    return together_if_any([*runs, told(run=0, failing=names)] if runs else [])


def _nextest_run(text: str) -> Tally:
    counts = counted(text)
    failed = sum(counts.get(word, 0) for word in ("failed", "exec failed", "timed out"))
    return told(run=counts.get("passed", 0) + failed, failed=failed, skipped=counts.get("skipped", 0))
