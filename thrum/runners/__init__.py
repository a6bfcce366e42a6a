"""What test runners say of their tests in what they print: one module for each family, one reader for each runner.

A reader is given lines without terminal escapes, perhaps only the last of a long output. It reads what is there and
guesses nothing: a run that was cut off before it gave its counts says nothing, and whatever a test may print in its
runner's own words cannot be told from the runner.
"""

from __future__ import annotations

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


def _by_runner(output: str) -> dict[str, Tally]:
    lines = [line.rstrip() for line in plain_text(output).split("\n")]
    said = {runner: read(lines) for runner, read in _READERS.items()}
    return {runner: tests for runner, tests in said.items() if tests is not None}
