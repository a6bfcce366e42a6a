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

_PYTEST = re.compile(r"\bpy\.?test\b")
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

    Skipped tests were not executed. Each runner must have run one, however many of its runs had none. Silence of a
    runner that is not known proves nothing, and is not held against it.
    """
    empty = next((runner for runner, tests in _by_runner(output).items() if tests.run == 0), "")
    return f"{empty} ran no test" if empty else ""


def cut_short(command: str, output: str) -> str:
    """Why a run that exited 0 may not have come to its end, by what pytest tells; empty where nothing says so."""
    if _TOLD_TO_EXIT.search(plain_text(output)):
        return "pytest was told to exit before its last test"
    if _PYTEST.search(command) and read_tests(output) is None:
        return "pytest did not say which tests ran: it was ended before, or its last line is not in the output"
    return ""


def _by_runner(output: str) -> dict[str, Tally]:
    lines = [line.rstrip() for line in plain_text(output).split("\n")]
    said = {runner: read(lines) for runner, read in _READERS.items()}
    return {runner: tests for runner, tests in said.items() if tests is not None}
