"""What test runners say of their tests in what they print: one module for each family, one reader for each runner.

A reader is given lines without terminal escapes, perhaps only the last of a long output. It reads what is there and
guesses nothing: a run that was cut off before it gave its counts says nothing, and whatever a test may print in its
runner's own words cannot be told from the runner.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from thrum.gate import Tally
from thrum.prompt import plain_text
from thrum.runners import golang, javascript, mocha, node, python, rust
from thrum.runners.tally import together_if_any
from thrum.values import dataclass

_READERS: dict[str, Callable[[list[str]], Tally | None]] = {
    "pytest": python.read_pytest,
    "unittest": python.read_unittest,
    "cargo test": rust.read_cargo,
    "cargo-nextest": rust.read_nextest,
    "go test": golang.read_go,
    "node": node.read_node,
    "jest": javascript.read_jest,
    "vitest": javascript.read_vitest,
    "mocha": mocha.read_mocha,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Course:
    """The lines that begin and end a run, in whole."""

    runner: str
    begun: re.Pattern[str]
    ended: re.Pattern[str]
    each: bool = False
    """True: each of its tests has such a line, and none its run."""


_COURSES = (
    _Course(runner="pytest", begun=re.compile(r"=+ test session starts =+"), ended=python.PYTEST_ENDED),
    _Course(
        runner="unittest",
        begun=re.compile(r"test\w* \([\w.]+\).* \.\.\.(?: .*)?"),
        ended=python.UNITTEST_ENDED,
        each=True,
    ),
    _Course(runner="cargo test", begun=re.compile(r"running [0-9]+ tests?"), ended=rust.CARGO_ENDED),
    _Course(runner="cargo-nextest", begun=rust.NEXTEST_BEGUN, ended=rust.NEXTEST_ENDED),
    _Course(
        runner="go test",
        begun=re.compile(r"=== RUN   \S+"),
        ended=re.compile(r"PASS|FAIL|(?:ok  |FAIL)\s*\S.*"),
        each=True,
    ),
    _Course(
        runner="node",
        begun=re.compile(r"TAP version 13|✔ .+ \([0-9.]+ms\)"),
        ended=re.compile(r"[#ℹ] pass [0-9]{1,9}"),
        each=True,
    ),
    _Course(
        runner="vitest", begun=re.compile(r" *RUN  v[0-9]\S* .*"), ended=re.compile(r" *Tests  .*|No test files .*")
    ),
)
"""Of the others the counts are the last that they print: nothing else tells of a run before them."""
_TOLD_TO_EXIT = re.compile(r"^!+ _pytest\.outcomes\.Exit: ", re.MULTILINE)


def read_tests(output: str) -> Tally | None:
    """What the runners in this output say of their tests, all runs added up; None where no known runner speaks.

    Known are pytest, unittest, cargo test and nextest, go test, node's runner (spec and tap), jest, vitest and mocha.
    Expected failures count as run, todo as skipped, what a filter left out as neither, but for nextest, which calls it
    skipped. `go test` without `-v` or `-json` counts no passing test: each package it calls `ok` is taken for one.
    """
    return together_if_any(_by_runner(output).values())


def ran_nothing(output: str) -> str:
    """Why the output of a test run shows that no test was executed; empty if it shows no such thing.

    Skipped tests were not executed. Each runner must have run one, however many of its runs had none. Of silence see
    `read_tests`: it is no such thing.
    """
    empty = next((runner for runner, tests in _by_runner(output).items() if tests.run == 0), "")
    return f"{empty} ran no test" if empty else ""


def cut_short(output: str) -> str:
    """Why a run that exited 0 did not come to its end: one of its runners began, and did not say how it went.

    Empty where nothing says so, which is also what a run looks like that was ended before its runner spoke.
    """
    plain = plain_text(output)
    if _TOLD_TO_EXIT.search(plain):
        return "pytest was told to exit before its last test"
    lines = [line.rstrip() for line in plain.split("\n")]
    return next(
        (f"{one.runner} was ended before it said how its tests went" for one in _COURSES if _open(one, lines)), ""
    )


def _open(course: _Course, lines: list[str]) -> bool:
    """Whether more runs began than ended: of several at once, as of one after the other."""
    if course.runner == "cargo test" and any(map(rust.NEXTEST_BEGUN.fullmatch, lines)):
        return False  # nextest shows what the single tests printed, of which it ended some
    begun = 0
    for line in lines:
        if course.ended.fullmatch(line):
            begun = 0 if course.each else max(0, begun - 1)  # the beginning may be cut off
        elif course.begun.fullmatch(line):
            begun += 1
    return begun > 0


def _by_runner(output: str) -> dict[str, Tally]:
    lines = [line.rstrip() for line in plain_text(output).split("\n")]
    said = {runner: read(lines) for runner, read in _READERS.items()}
    return {runner: tests for runner, tests in said.items() if tests is not None}
