"""What test runners say of their tests, as they really print it: `runner_outputs/` was printed by them.

Programs and versions: pytest 9.2, unittest of Python 3.11, cargo 1.95, go 1.19, node 20, jest 30, vitest 4, mocha 12.
Those of nextest are put together after its documentation and its source.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from thrum.gate import MOST_NAMES, CheckResult, Verdict
from thrum.gate import Tally as Said  # pytest takes any other name that begins so for tests of ours
from thrum.messages.gates import GateReported
from thrum.packing import fits
from thrum.runners import cut_short, ran_nothing, read_tests
from thrum.runners.tally import LONGEST_NAME

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


CUT_SHORT = {
    "pytest": f"{PYTEST}collected 3 items\n\ntest_a.py .",
    "pytest, a second run": f"{PYTEST}collected 1 item\n\n=== 1 passed in 0.01s ===\n{PYTEST}collected 3 items\n",
    "pytest, told to": f"{PYTEST}!!!!! _pytest.outcomes.Exit: done !!!!!\n=== 1 passed in 0.01s ===\n",
    "unittest -v": "test_a (t.T.test_a) ... ok\ntest_b (t.T.test_b) ... ",
    "unittest -v, with a text": "test_a (t.T.test_a)\nIt adds. ... ok\ntest_b (t.T.test_b) ... \x1b[0m",
    "cargo": "     Running unittests src/lib.rs\n\nrunning 2 tests\n",
    "cargo, then doc tests": "running 2 tests\n   Doc-tests a\n\nrunning 0 tests\n\ntest result: ok. 0 passed; 0 failed;\n",
    "nextest": "    Starting 3 tests across 1 binary\n        PASS [   0.003s] a tests::b\n",
    "go -v": "ok  \texample.com/a\t0.002s\n=== RUN   TestB\n",
    "node, tap": "TAP version 13\nok 1 - a\n",
    "node, spec": "ℹ tests 1\nℹ pass 1\n✔ b (0.5ms)\n",
    "vitest": " RUN  v4.0.1 /src\n\n",
}


@pytest.mark.parametrize("output", CUT_SHORT.values(), ids=CUT_SHORT)
def test_a_run_that_began_and_did_not_end_is_seen(output: str) -> None:
    assert cut_short(output)


@pytest.mark.parametrize("name", [path.stem for path in (Path(__file__).parent / "runner_outputs").iterdir()])
def test_a_run_that_came_to_its_end_is_not_held_for_cut_short(name: str) -> None:
    assert cut_short(printed(name)) == ""
    assert cut_short(printed(name) * 2) == ""


@pytest.mark.parametrize("number", [100, 2000])
@pytest.mark.parametrize("name", [path.stem for path in (Path(__file__).parent / "runner_outputs").iterdir()])
def test_nor_is_one_whose_beginning_is_lost(name: str, number: int) -> None:
    assert cut_short(printed(name)[number:].partition("\n")[2]) == ""


OUTPUTS = Path(__file__).parent / "runner_outputs"
PYTEST_NAMES = (
    "test_a.py::test_bad",
    "test_a.py::test_p[x - y]",
    "test_a.py::test_p[c[d]]",
    "test_a.py::TestC::test_m",
    "test_a.py::test_e",
    "test_a.py::test_t",
)
CARGO_NAMES = ("tests::bad", "tests::panics", "also_bad", "src/lib.rs - add (line 5)")
NODE_NAMES = ("bad one", "inner bad", "deepest", "/src/nd/b.test.mjs")
GO_NAMES = ("TestBad", "TestTable", "TestTable/two_words", "example.com/m/d", "TestE")
SAID = {
    "pytest": Said(run=10, failed=6, skipped=1, failing=PYTEST_NAMES),
    "pytest-colour": Said(run=10, failed=6, skipped=1, failing=PYTEST_NAMES),
    "pytest-xdist": Said(run=10, failed=6, skipped=1, failing=PYTEST_NAMES),
    "pytest-collection": Said(run=1, failed=1, failing=("test_b.py",)),
    "pytest-subtests": Said(run=5, failed=4, failing=("test_sub.py::test_subs", "test_sub.py::T::test_u")),
    "pytest-log": Said(run=1, failed=1, failing=("test_log.py::test_l",)),
    "unittest": Said(
        run=7,
        failed=7,
        skipped=1,
        failing=(
            "setUpClass (test_u.D)",
            "test_err (test_u.T.test_err)",
            "test_imp (unittest.loader._FailedTest.test_imp)",
            "test_bad (test_u.T.test_bad)",
            "test_sub (test_u.T.test_sub) [m] (i=0)",
            "test_sub (test_u.T.test_sub) [m] (i=2)",
            "test_ux (test_u.T.test_ux)",
        ),
    ),
    "cargo": Said(run=7, failed=4, skipped=1, failing=CARGO_NAMES),
    "cargo-quiet": Said(run=7, failed=4, skipped=1, failing=CARGO_NAMES),
    "nextest": Said(run=5, failed=3, skipped=2, failing=("demo tests::bad", "demo::it aborts", "demo::it hangs")),
    "nextest-old": Said(run=2, failed=1, failing=("workspace_crate2::workspace_integration test_fail",)),
    "go": Said(run=6, failed=5, failing=GO_NAMES),
    "go-v": Said(run=10, failed=5, skipped=1, failing=GO_NAMES),
    "go-json": Said(run=10, failed=5, skipped=1, failing=GO_NAMES),
    "node-spec": Said(run=6, failed=4, skipped=2, failing=NODE_NAMES),
    "node-tap": Said(run=6, failed=4, skipped=2, failing=NODE_NAMES),
    "jest": Said(run=5, failed=3, skipped=2, failing=("bad one", "group › deep › deepest › odd", "jt/b.test.js")),
    "vitest": Said(
        run=7,
        failed=4,
        skipped=2,
        failing=(
            "vt/b.test.js",
            "vt/a.test.js > bad one",
            "vt/a.test.js > group > deep > deepest › odd",
            "vt/c.test.js > c",
        ),
    ),
    "mocha": Said(
        run=5,
        failed=4,
        skipped=2,
        failing=("top bad", "group bad one", "group deep deepest", 'hooked "before all" hook for "never"'),
    ),
}


def printed(name: str) -> str:
    return (OUTPUTS / f"{name}.txt").read_text(encoding="utf-8")


def _with_sorted_names(tests: Said | None) -> Said | None:
    return tests and Said(
        run=tests.run, failed=tests.failed, skipped=tests.skipped, failing=tuple(sorted(tests.failing))
    )


@pytest.mark.parametrize("name", SAID)
def test_what_a_runner_says_of_its_tests_is_read(name: str) -> None:
    # In which order failures are listed is the runner's affair.
    assert _with_sorted_names(read_tests(printed(name))) == _with_sorted_names(SAID[name])
    assert ran_nothing(printed(name)) == ""


def test_every_output_at_hand_is_read() -> None:
    assert {path.stem for path in OUTPUTS.iterdir()} == set(SAID)


@pytest.mark.parametrize("name", SAID)
def test_of_an_output_of_which_only_the_end_is_left_nothing_is_made_up(name: str) -> None:
    text, whole = printed(name), SAID[name]
    for start in range(0, len(text), 23):
        left = read_tests(text[start:]) or Said()
        assert left.run <= whole.run
        assert left.failed <= whole.failed
        # Of a package whose tests are cut off, go's last word is that the package failed.
        assert {each for each in left.failing if not each.startswith("example.com/")} <= set(whole.failing)


@pytest.mark.parametrize("name", SAID)
def test_two_runs_in_one_output_add_up(name: str) -> None:
    twice, once = read_tests(printed(name) + "\n" + printed(name)), SAID[name]
    if name != "go-json":  # Its events name their package, so a second run of one package cannot be told apart.
        assert twice is not None
        assert (twice.run, twice.failed, twice.skipped) == (2 * once.run, 2 * once.failed, 2 * once.skipped)
        assert set(twice.failing) == set(once.failing)


def test_different_runners_in_one_output_add_up() -> None:
    both = read_tests(printed("pytest") + printed("cargo"))
    assert both is not None
    assert (both.run, both.failed, both.skipped) == (17, 10, 2)
    assert set(both.failing) == {*PYTEST_NAMES, *CARGO_NAMES}


def test_doc_tests_count_beside_nextest() -> None:
    documented = "   Doc-tests demo\n\nrunning 2 tests\n\ntest result: ok. 2 passed; 0 failed; 0 ignored\n"
    for name in ("nextest", "nextest-old"):
        for output in (printed(name) + documented, documented + printed(name)):
            both = read_tests(output)
            assert both is not None
            assert both.run == SAID[name].run + 2


@pytest.mark.parametrize("output", NOTHING.values(), ids=NOTHING)
def test_a_run_without_a_test_has_run_none(output: str) -> None:
    tests = read_tests(output)
    assert tests is not None
    assert (tests.run, tests.failed, tests.failing) == (0, 0, ())


@pytest.mark.parametrize("output", ["", "all good\n", "3 tests, all passed in a minute\n", "ok\nFAILED a.py::t\n"])
def test_of_a_runner_that_is_not_known_nothing_is_said(output: str) -> None:
    assert read_tests(output) is None


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("FAILED a.py::t - why", "a.py::t"),
        ("FAILED a.py::t", "a.py::t"),
        ("FAILED a.py::t - a - b [c] - d", "a.py::t"),
        ("FAILED a.py::t[x - y] - why [z] - more", "a.py::t[x - y]"),
        ("FAILED a.py::t[x - y]", "a.py::t[x - y]"),
        ("FAILED a.py::t[a] b] - why", "a.py::t[a] b]"),
        ("ERROR tests/a b.py - ImportError: no", "tests/a b.py"),
        ("ERROR a.py::t - RuntimeError: [1] - [2]", "a.py::t"),
        ("SUBFAILED[a b] (i=1) a.py::t - why", "a.py::t"),
        ("SUBFAIL a.py::t - why", "a.py::t"),
    ],
)
def test_a_node_id_is_read_without_the_reason_behind_it(line: str, name: str) -> None:
    tests = read_tests(f"=== short test summary info ===\n{line}\n=== 1 failed in 0.01s ===\n")
    assert tests is not None
    assert tests.failing == (name,)


def test_a_summary_of_pytest_whose_heading_is_cut_off_is_still_read() -> None:
    tests = read_tests(
        "FAILED a.py::t - why\nERROR    root:a.py:3 said\nERROR in here\n1 failed, 41 passed in 61.20s (0:01:01)\n"
    )
    assert tests == Said(run=42, failed=1, failing=("a.py::t",))


def test_a_node_list_of_failures_whose_totals_are_cut_off_is_still_read() -> None:
    output = printed("node-spec")
    tests = read_tests(output[output.index("✖ failing tests:") :])
    assert tests == Said(run=4, failed=4, failing=NODE_NAMES)


def test_a_test_of_go_that_prints_no_line_end_is_counted() -> None:
    tests = read_tests("=== RUN   TestA\nsaid--- PASS: TestA (0.00s)\nPASS\nok  \texample.com/a\t0.01s\n")
    assert tests == Said(run=1)


@pytest.mark.parametrize(
    "line", ['{"Action":"fail","Package":["a"],"Test":{}}', '{"Action":7,"Package":"a"}', '{"Action"']
)
def test_json_of_another_form_is_no_event_of_go(line: str) -> None:
    assert read_tests(f"{line}\n") is None


def test_a_package_of_go_whose_tests_are_all_skipped_ran_none() -> None:
    output = "=== RUN   TestA\n--- SKIP: TestA (0.00s)\nPASS\nok  \texample.com/a\t0.01s\n"
    assert read_tests(output) == Said(skipped=1)
    assert ran_nothing(output) == "go test ran no test"


def test_what_jest_shows_of_a_tests_own_output_is_no_name() -> None:
    output = (
        "PASS a.test.js\n  ● Console\n\n    console.log\n\n  ● not a test\n"
        "FAIL b.test.js (5.1 s)\n  ● Console\n\n  ● bad\n\nTests:       1 failed, 1 passed, 2 total\n"
    )
    assert read_tests(output) == Said(run=2, failed=1, failing=("bad",))


def test_a_file_that_broke_in_one_run_is_not_counted_in_the_next() -> None:
    clean = {"jest": "Tests:       1 passed, 1 total\n", "vitest": "      Tests  1 passed (1)\n"}
    for runner, output in clean.items():
        tests, once = read_tests(printed(runner) + output), SAID[runner]
        assert tests is not None
        assert (tests.run, tests.failed) == (once.run + 1, once.failed)


@pytest.mark.parametrize(
    "output",
    [
        "======\nERROR: lost it\n----\nRan 1 test in 0.001s\n\nOK\n",
        "  1) first step\n\n  1 passing (1ms)\n",
        "test at a.js:1:1\n# tests 1\n# pass 1\n✖ done (1.0ms)\n",
        "failures:\n    none of ours\n\ntest result: FAILED. 1 passed; 0 failed;\n".replace("failures:", "failures: 0"),
    ],
)
def test_what_a_test_prints_is_no_name(output: str) -> None:
    assert read_tests(output) == Said(run=1)


def test_the_last_list_before_a_result_of_cargo_has_its_names() -> None:
    output = "failures:\n    of the program\n\nfailures:\n    tests::a\n\ntest result: FAILED. 0 passed; 1 failed;\n"
    assert read_tests(output) == Said(run=1, failed=1, failing=("tests::a",))


def test_a_run_of_nextest_that_was_cut_short_says_nothing() -> None:
    for name in ("nextest", "nextest-old"):
        output = printed(name)
        assert read_tests(output[: output.index("     Summary")]) is None


def test_names_are_bounded_in_number_and_length_and_kept_once() -> None:
    lines = [f"FAILED a.py::t{number}" for number in range(3 * MOST_NAMES)]
    long = f"FAILED a.py::{'t' * 5000}"
    output = "\n".join(["== short test summary info ==", long, *lines, *lines, "600 failed in 1.00s"])
    tests = read_tests(output)
    assert tests is not None
    assert len(tests.failing) == len(set(tests.failing)) == MOST_NAMES
    assert tests.failed == 600
    assert max(len(name) for name in tests.failing) == LONGEST_NAME


@pytest.mark.parametrize("event", ['"Test": "B\\ud800"', '"Output": "x"'])
def test_a_name_with_half_of_a_character_can_be_sent(event: str) -> None:
    tests = read_tests(f'{{"Action": "fail", "Package": "p\\udfff", {event}}}\n')
    assert tests is not None
    assert tests.failing in (("B?",), ("p?",))
    assert fits(GateReported(run="", checks=(CheckResult(name="test", verdict=Verdict.FAILED, tests=tests),)))


@pytest.mark.parametrize(
    "line",
    [
        f"{'9' * 5000} passed in 0.01s",
        f"test result: ok. {'9' * 5000} passed; 0 failed",
        f"# tests {'9' * 5000}",
        f'{{"Action":{"[" * 50_000}',
        "1 " + "a" * 65_000,
        f"Ran 1 test in 0.01s\nOK ({'a' * 65_000})",
        "FAILED " + "[] - " * 13_000,
        "--- PASS: " * 6_500,
        "test at " + ":1" * 32_000,
        "  Summary [" + " (" * 32_000,
    ],
    ids=lambda line: line[:20],
)
def test_hostile_output_is_read_in_peace(line: str) -> None:
    tests = read_tests(f"{line}\n")
    assert tests is None or (tests.run <= 1 and tests.failed == 0)


def run(directory: Path, *command: str) -> str:
    """What the command really prints; its exit code is not looked at."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST", "NODE_", "FORCE_"))}
    done = subprocess.run(
        command, cwd=directory, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return done.stdout


def test_the_pytest_of_this_machine_is_read(tmp_path: Path) -> None:
    tmp_path.joinpath("test_it.py").write_text("def test_a(): pass\ndef test_b(): assert 0\n")
    for options in ([], ["-q", "--color=yes"]):
        tests = read_tests(run(tmp_path, sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options))
        assert tests == Said(run=2, failed=1, failing=("test_it.py::test_b",))


def test_the_unittest_of_this_machine_is_read(tmp_path: Path) -> None:
    tmp_path.joinpath("test_it.py").write_text(
        "import unittest\nclass T(unittest.TestCase):\n"
        "    def test_a(self): pass\n    def test_b(self): self.fail()\n"
        "    @unittest.skip('later')\n    def test_c(self): pass\n"
    )
    tests = read_tests(run(tmp_path, sys.executable, "-m", "unittest", "test_it"))
    assert tests == Said(run=2, failed=1, skipped=1, failing=("test_b (test_it.T.test_b)",))


@pytest.mark.parametrize(
    ("output", "left_out"),
    [
        ("== 3 passed, 1 skipped, 7 deselected in 0.01s ==\n", 7),
        ("== 3 passed in 0.01s ==\n2 passed, 4 deselected in 0.01s\n", 4),
        ("test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 5 filtered out; finished in 0.00s\n" * 2, 10),
        ("Ran 3 tests in 0.001s\n\nOK\n", 0),
    ],
)
def test_what_a_choice_left_out_is_told(output: str, left_out: int) -> None:
    tests = read_tests(output)
    assert tests is not None
    assert tests.left_out == left_out
