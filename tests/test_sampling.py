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
from thrum.checking import CheckRunner
from thrum.checks import sampled, samples_tests
from thrum.config import EngineConfig, PipelineConfig, Project, RepoConfig, SandboxConfig
from thrum.files import OutputStore
from thrum.gate import Check, Gate, Verdict
from thrum.messages.gates import RunGate
from thrum.sampling import chosen, place

TESTS = [f"tests/test_a.py::test_{number}" for number in range(200)]
PYTEST = Check(name="test", command="python3 -m pytest -q", expect_tests=True)
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
    found, share = sampled((*LINTS, PYTEST), 0.5, "task-id", "a-1", 1)
    assert [check.name for check in found if check.sample is None] != [check.name for check in LINTS]
    assert len(found) == 3
    assert found[-1].sample is not None
    assert share == (2 + 0.5) / 4
    starts = {sampled((PYTEST,), 0.5, "task-id", "a-1", attempt)[0][0].sample for attempt in (1, 2, 3)}
    assert len(starts) == 2, "each attempt turns it by its ratio"
    assert sampled((*LINTS, PYTEST), 1.0, "task-id", "a-1", 1) == ((*LINTS, PYTEST), 1.0)


@pytest.mark.parametrize(
    ("command", "can"),
    [
        ("pytest", True),
        ("cd a && python -m pytest -q | tee log", True),
        (("python", "-m", "pytest"), True),
        ("PYTHONPATH=src python -m pytest", False),
        ("make test", False),
        ("./run_pytests", False),
    ],
)
def test_only_where_the_plugin_can_be_given_are_tests_sampled(command: str, can: bool) -> None:
    assert samples_tests(Check(name="test", command=command)) is can


def test_pytest_runs_just_the_chosen_tests(tmp_path: Path) -> None:
    make_repository(tmp_path / "a", {"test_it.py": "".join(f"def test_{n}(): pass\n" for n in range(40))})
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
        command=f"{sys.executable} -m pytest -v -p no:cacheprovider",
        repo="a",
        timeout_s=60.0,
        expect_tests=True,
        sample=(0.25, 0.5),
    )
    vector = {"a": git(tmp_path / "a", "rev-parse", "main")}
    part = RunGate(run="r/1", gate=Gate.QUALITY, checks=(check,), vector=vector)
    (result,) = runner.run(part, threading.Event()).checks
    runner.close()
    expected = chosen([f"test_it.py::test_{n}" for n in range(40)], 0.25, 0.5)
    assert result.verdict is Verdict.PASSED, result.tail
    assert result.tests is not None
    assert result.tests.run == len(expected) < 40
    assert {line.split()[0] for line in result.tail.splitlines() if " PASSED" in line} == expected
    assert result.fingerprint == "", "a share is never taken over"
