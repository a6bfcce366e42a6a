"""A share of the tests: which are chosen, and that pytest runs just these."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.repositories import git, make_repository
from tests.requirements import needs
from thrum.checking import CheckRunner
from thrum.checks import sampled, samples_tests
from thrum.config import EngineConfig, PipelineConfig, Project, RepoConfig, SandboxConfig
from thrum.files import OutputStore
from thrum.gate import Check, CheckResult, Gate, Verdict
from thrum.messages.gates import RunGate
from thrum.runners.cargo import just_these, listing, read_listing
from thrum.sampling import chosen, place

TESTS = [f"tests/test_a.py::test_{number}" for number in range(200)]
PYTEST = Check(name="test", command="python3 -m pytest -q", expect_tests=True)
SHARE = (0.25, 0.5)
LINTS = tuple(Check(name=name, command=name) for name in ("fmt", "lint", "types"))


@given(start=st.floats(0, 1, exclude_max=True), ratio=st.floats(0.01, 1))
def test_about_that_share_is_chosen_and_never_nothing(start: float, ratio: float) -> None:
    found = chosen(TESTS, start, ratio)
    assert found <= set(TESTS)
    assert found
    assert abs(len(found) / len(TESTS) - ratio) < 0.2


def test_shares_that_are_turned_further_cover_all_tests() -> None:
    assert set().union(*(chosen(TESTS, 0.3 + number * 0.25, 0.25) for number in range(4))) == set(TESTS)
    assert chosen([], 0.5, 0.5) == set()
    assert chosen(["only"], (place("only") + 0.5) % 1.0, 0.01) == {"only"}


def test_of_a_pytest_run_its_tests_are_sampled_and_of_other_checks_some_of_them() -> None:
    found = sampled((*LINTS, PYTEST), 0.5, "task-id", "a-1", 1)
    assert [check.name for check in found if check.sample is None] != [check.name for check in LINTS]
    assert len(found) == 3
    assert found[-1].sample is not None
    starts = {sampled((PYTEST,), 0.5, "task-id", "a-1", attempt)[0].sample for attempt in (1, 2, 3)}
    assert len(starts) == 2, "each attempt turns it by its ratio"
    assert sampled((*LINTS, PYTEST), 1.0, "task-id", "a-1", 1) == (*LINTS, PYTEST)


@pytest.mark.parametrize(
    ("command", "can"),
    [
        ("pytest", True),
        ("cd a && python -m pytest -q | tee log", True),
        (("python", "-m", "pytest"), True),
        ("PYTHONPATH=src python -m pytest", False),
        ("export PYTEST_PLUGINS=mine; pytest", False),
        ("make test", False),
        ("./run_pytests", False),
        ("cargo test --workspace", True),
        (("cargo", "+nightly", "t", "--", "--test-threads=1"), True),
        ("cargo test | tee log", False),
        ("cargo build", False),
        ("cargo nextest run", False),
    ],
)
def test_only_where_some_tests_can_be_asked_for_are_they_sampled(command: str, can: bool) -> None:
    assert samples_tests(Check(name="test", command=command)) is can


def test_cargos_tests_are_listed_and_named_behind_its_separator() -> None:
    assert listing("cargo test -p 'a b'") == ("cargo", "test", "-p", "a b", "--", "--list")
    with_arguments = ("cargo", "test", "--", "--nocapture")
    assert listing(with_arguments) == (*with_arguments, "--list")
    assert just_these(with_arguments, {"b::two", "a::one"}) == (*with_arguments, "--exact", "a::one", "b::two")
    assert just_these("cargo test", ["x" * 99] * 20_000) is None, "more than a command line takes"
    assert just_these("make test", ["a"]) is None
    assert listing("cargo test 'unclosed") is None


def test_a_listing_gives_each_name_once_and_leaves_out_what_rustdoc_would_take_apart() -> None:
    output = (
        "     Running unittests src/lib.rs (target/debug/deps/it-0)\ntests::one: test\ntests::two: test\n"
        "fast: benchmark\n\n2 tests, 1 benchmark\n\n"
        "     Running tests/other.rs\ntests::one: test\n\n1 test, 0 benchmarks\n"
        "   Doc-tests it\nsrc/lib.rs - add (line 3): test\n\n1 test, 0 benchmarks\n"
    )
    assert read_listing(output) == ["tests::one", "tests::two"]


@needs("cargo")
def test_cargo_runs_just_the_chosen_tests(tmp_path: Path) -> None:
    tests = "".join(f"#[test]\nfn t{n}() {{}}\n" for n in range(20))
    manifest = '[package]\nname = "it"\nversion = "0.1.0"\nedition = "2021"\n'
    result = ran(tmp_path, {"Cargo.toml": manifest, "src/lib.rs": tests}, "cargo test --offline -- --nocapture")
    expected = chosen([f"t{n}" for n in range(20)], *SHARE)
    assert result.verdict is Verdict.PASSED, result.tail
    assert result.tests is not None
    assert result.tests.run == len(expected) < 20
    assert {line.split()[1] for line in result.tail.splitlines() if line.startswith("test t")} == expected
    assert result.share == len(expected) / 20


@needs("cargo")
def test_what_cargo_cannot_list_is_run_and_fails_by_itself(tmp_path: Path) -> None:
    manifest = '[package]\nname = "it"\nversion = "0.1.0"\nedition = "2021"\n'
    result = ran(tmp_path, {"Cargo.toml": manifest, "src/lib.rs": "fn broken( {}"}, "cargo test --offline")
    assert result.verdict is Verdict.FAILED
    assert "error" in result.tail


def test_pytest_runs_just_the_chosen_tests(tmp_path: Path) -> None:
    files = {"test_it.py": "".join(f"def test_{n}(): pass\n" for n in range(40))}
    result = ran(tmp_path, files, f"{sys.executable} -m pytest -v -p no:cacheprovider")
    expected = chosen([f"test_it.py::test_{n}" for n in range(40)], *SHARE)
    assert result.verdict is Verdict.PASSED, result.tail
    assert result.tests is not None
    assert result.tests.run == len(expected) < 40
    assert {line.split()[0] for line in result.tail.splitlines() if " PASSED" in line} == expected
    assert result.fingerprint == "", "a share is never taken over"
    assert result.share == len(expected) / 40 != SHARE[1]


def test_a_share_of_pytest_has_the_path_and_the_plugins_that_its_check_sets(tmp_path: Path) -> None:
    files = {
        "src/tally.py": "",
        "src/tally_plugin.py": "import pytest\n\n\n@pytest.fixture\ndef made():\n    return 1\n",
        "test_it.py": "import tally\n" + "".join(f"def test_{n}(made): pass\n" for n in range(40)),
    }
    env = {"PYTHONPATH": "src", "PYTEST_PLUGINS": "tally_plugin"}
    result = ran(tmp_path, files, f"{sys.executable} -m pytest -v -p no:cacheprovider", env=env)
    assert result.verdict is Verdict.PASSED, result.tail
    assert result.tests is not None
    assert 0 < result.tests.run < 40


def test_a_share_whose_tests_are_all_skipped_is_run_as_a_whole(tmp_path: Path) -> None:
    names = [f"test_it.py::test_{n}" for n in range(40)]
    out = chosen(names, *SHARE)
    skipped = "".join(f"{'@pytest.mark.skip' * (name in out)}\ndef test_{n}(): pass\n" for n, name in enumerate(names))
    result = ran(
        tmp_path, {"test_it.py": f"import pytest\n{skipped}"}, f"{sys.executable} -m pytest -q -p no:cacheprovider"
    )
    assert result.verdict is Verdict.PASSED, result.tail
    assert result.tests is not None
    assert (result.tests.run, result.tests.skipped, result.share) == (40 - len(out), len(out), 1.0)


def test_a_suite_whose_tests_are_all_skipped_fails_as_a_share_too(tmp_path: Path) -> None:
    text = "import pytest\npytestmark = pytest.mark.skip\ndef test_a(): pass\ndef test_b(): pass\n"
    result = ran(tmp_path, {"test_it.py": text}, f"{sys.executable} -m pytest -q -p no:cacheprovider")
    assert (result.verdict, result.reason) == (Verdict.FAILED, "pytest ran no test")


def ran(tmp_path: Path, files: dict[str, str], command: str, env: dict[str, str] | None = None) -> CheckResult:
    """What a share of the tests of these files says."""
    make_repository(tmp_path / "a", files)
    project = Project(
        directory=str(tmp_path),
        repos=(RepoConfig(name="a", path=str(tmp_path / "a")),),
        pipeline=PipelineConfig(
            engine=EngineConfig(worktrees_dir=str(tmp_path / "work")),
            sandbox=SandboxConfig(backend="none", memory_limit_mb=0, pids_limit=0),
        ),
    )
    runner = CheckRunner(project, OutputStore(tmp_path / "outputs"), tmp_path / "room", f"test-sampling-{os.getpid()}")
    check = Check(
        name="test",
        command=command,
        # A cargo that is rustup's looks there for the real one.
        env={"RUSTUP_HOME": os.environ.get("RUSTUP_HOME", str(Path.home() / ".rustup")), **(env or {})},
        repo="a",
        timeout_s=60.0,
        expect_tests=True,
        sample=SHARE,
    )
    vector = {"a": git(tmp_path / "a", "rev-parse", "main")}
    part = RunGate(run="r/1", gate=Gate.QUALITY, checks=(check,), vector=vector)
    (result,) = runner.run(part, threading.Event()).checks
    runner.close()
    return result
