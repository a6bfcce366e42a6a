"""What test runners print when they ran no test, as they really print it."""

from __future__ import annotations

import pytest

from thrum.runners import ran_nothing

PYTEST = "============================= test session starts ==============================\n"
NOTHING = {
    "pytest, no file": f"{PYTEST}collected 0 items\n\n============================ no tests ran in 0.01s =====\n",
    "pytest -q": "\nno tests ran in 0.00s\n",
    "pytest, all deselected": f"{PYTEST}collected 3 items / 3 deselected / 0 selected\n\n== 3 deselected in 0.01s ==\n",
    "pytest, all skipped": f"{PYTEST}collected 2 items\n\ntest_a.py ss   [100%]\n\n===== 2 skipped in 0.01s =====\n",
    "pytest -q, all skipped": "ss                       [100%]\n2 skipped, 1 warning in 0.01s\n",
    "pytest, in colour": "\x1b[33m========== \x1b[33mno tests ran\x1b[0m\x1b[33m in 0.01s\x1b[0m\x1b[33m ==========\x1b[0m\n",
    "unittest": "\n----------------------------------------------------------------------\nRan 0 tests in 0.000s\n\nOK\n",
    "unittest, all skipped": "ss\n-----\nRan 2 tests in 0.000s\n\nOK (skipped=2)\n",
    "unittest 3.12": "Ran 0 tests in 0.000s\n\nNO TESTS RAN\n",
    "cargo": "\nrunning 0 tests\n\ntest result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n",
    "cargo, doc tests too": "test result: ok. 0 passed; 0 failed;\n   Doc-tests a\n\ntest result: ok. 0 passed; 0 failed;\n",
    "cargo, all ignored": (
        "running 2 tests\ntest a ... ignored\ntest b ... ignored\n\n"
        "test result: ok. 0 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.00s\n"
    ),
    "nextest": "error: no tests to run\n",
    "go, no files": "?   \texample.com/a\t[no test files]\n",
    "go, filtered": "testing: warning: no tests to run\nPASS\nok  \texample.com/a\t0.002s [no tests to run]\n",
    "node, tap": "TAP version 13\n1..0\n# tests 0\n# suites 0\n# pass 0\n",
    "node, spec": "ℹ tests 0\nℹ suites 0\nℹ pass 0\n",
    "jest": "No tests found, exiting with code 0\n",
    "jest, all skipped": "Test Suites: 1 skipped, 0 of 1 total\nTests:       2 skipped, 2 total\n",
    "vitest": "No test files found, exiting with code 0\n",
    "mocha": "\n\n  0 passing (1ms)\n\n",
}
SOMETHING = {
    "pytest": f"{PYTEST}collected 3 items\n\ntest_a.py .s.  [100%]\n\n=== 2 passed, 1 skipped in 0.01s ===\n",
    "pytest -q": "...                       [100%]\n3 passed in 0.00s\n",
    "pytest, expected to fail": "x       [100%]\n1 skipped, 1 xfailed in 0.01s\n",
    "pytest, a test that prints it": "collected 1 item\ntest_a.py it found 2 skipped in 3 files\n1 passed in 0.01s\n",
    "unittest": "..\n-----\nRan 2 tests in 0.000s\n\nOK (skipped=1)\n",
    "unittest, ten of eleven": "Ran 11 tests in 0.000s\n\nOK (skipped=10)\n",
    "cargo": "running 2 tests\n\ntest result: ok. 2 passed; 0 failed; 0 ignored\n   Doc-tests a\n\nrunning 0 tests\n",
    "cargo, one ignored": "running 2 tests\n\ntest result: ok. 1 passed; 0 failed; 1 ignored\n\nrunning 0 tests\n",
    "go": "?   \texample.com/a\t[no test files]\nok  \texample.com/b\t0.002s\n",
    "go, cached": "ok  \texample.com/b\t(cached)\n",
    "node": "# tests 10\n# pass 10\n",
    "jest": "Tests:       2 skipped, 1 passed, 3 total\n",
    "mocha": "  10 passing (5ms)\n",
    "an unknown runner": "all good\n",
    "silence": "",
}


@pytest.mark.parametrize("output", NOTHING.values(), ids=NOTHING)
def test_a_run_without_a_test_is_seen(output: str) -> None:
    assert ran_nothing(output)


@pytest.mark.parametrize("output", NOTHING.values(), ids=NOTHING)
def test_it_is_seen_between_other_output_and_with_other_line_ends(output: str) -> None:
    assert ran_nothing(f"> make test\n{output}\nmake: done\n")
    assert ran_nothing(output.replace("\n", "\r\n"))


@pytest.mark.parametrize("output", SOMETHING.values(), ids=SOMETHING)
def test_a_run_with_a_test_is_not_held_for_empty(output: str) -> None:
    assert ran_nothing(output) == ""


def test_the_runner_is_named() -> None:
    assert ran_nothing(NOTHING["go, filtered"]) == "go test ran no test"
    assert ran_nothing(NOTHING["pytest, all skipped"]) == "pytest ran no test"
