"""Results that are taken over: which are kept, which are offered, and when a gate actor runs a check all the same."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.desks import NOTHING, Desk
from tests.repositories import commit, git, make_repository
from tests.requirements import needs
from thrum import inputs as i
from thrum.actors.gate_runs import GatePlan
from thrum.actors.results import MOST, Results
from thrum.actors.turn import Gathered
from thrum.checking import CheckRunner
from thrum.checking.fingerprint import fingerprint
from thrum.config import EngineConfig, PipelineConfig, Project, RepoConfig, SandboxConfig
from thrum.files import OutputStore
from thrum.gate import Check, CheckResult, Gate, Verdict
from thrum.messages.gates import GateReported, RunGate
from thrum.messages.people import RejectTask
from thrum.messages.schedule import GrantStart
from thrum.store import MemoryRows, Store

CHECK = Check(name="test", command="make test", repo="a")
PART = RunGate(run="a-1/1/quality/1", gate=Gate.QUALITY, checks=(CHECK,), vector={"a": "commit"}, tree="tree")
PASSED = CheckResult(name="test", verdict=Verdict.PASSED, fingerprint="f", tail="." * 5000)


@pytest.fixture
def results() -> Results:
    return Results(Store(MemoryRows(), repo="a").load(), enabled=True)


def told(*checks: CheckResult) -> GateReported:
    return GateReported(run=PART.run, checks=checks)


# --- What is kept ---------------------------------------------------------------------------------------------------


def test_what_passed_is_offered_for_the_same_tree_and_definition_alone(results: Results) -> None:
    results.take(PART, told(PASSED), Gathered())
    kept = results.beside(replace(PART, run="a-2/1/quality/1", vector={"a": "another commit"})).known["test"]
    assert (kept.verdict, kept.fingerprint, len(kept.tail)) == (Verdict.PASSED, "f", 1000)
    assert results.beside(replace(PART, tree="another")).known == {}
    assert results.beside(replace(PART, checks=(replace(CHECK, command="make tests"),))).known == {}
    assert results.beside(replace(PART, checks=(replace(CHECK, timeout_s=1.0),))).known == {}
    assert results.beside(replace(PART, tree="", vector={"a": "commit"})).known == {}, "a commit is no tree"


@pytest.mark.parametrize(
    "result",
    [
        replace(PASSED, fingerprint=""),
        replace(PASSED, verdict=Verdict.FAILED),
        replace(PASSED, verdict=Verdict.COULD_NOT_RUN),
        replace(PASSED, name="another"),
    ],
    ids=["without a fingerprint", "failed", "could not run", "of another check"],
)
def test_nothing_else_is_kept(results: Results, result: CheckResult) -> None:
    gathered = Gathered()
    results.take(PART, told(result), gathered)
    assert gathered.results == {}
    assert results.beside(PART).known == {}


def test_pipelines_and_look_overs_are_never_taken_over(results: Results) -> None:
    for part in (replace(PART, gate=Gate.INTEGRATION), replace(PART, probe=True)):
        results.take(part, told(PASSED), Gathered())
    assert results.beside(PART).known == {}
    results.take(PART, told(PASSED), Gathered())
    assert results.beside(replace(PART, gate=Gate.INTEGRATION)).known == {}


def test_a_cache_that_is_off_keeps_and_offers_nothing(results: Results) -> None:
    off = Results(Store(MemoryRows(), repo="a").load(), enabled=False)
    off.take(PART, told(PASSED), Gathered())
    assert off.beside(PART) == PART


def test_the_oldest_go_when_there_are_too_many(results: Results) -> None:
    gathered = Gathered()
    for number in range(MOST + 3):
        results.take(replace(PART, tree=str(number)), told(PASSED), gathered)
    assert len(gathered.results) == MOST
    assert len(gathered.dropped_results) == 3
    assert results.beside(replace(PART, tree="2")).known == {}
    assert results.beside(replace(PART, tree="3")).known


def test_they_outlive_the_actor() -> None:
    desk = Desk(plans={**NOTHING, Gate.QUALITY: GatePlan(checks=(CHECK,))})
    id = desk.add()
    for life in (1, 2):
        desk.give(GrantStart(task=id))
        prepared = i.AttemptPrepared(token=life, base="b", start="b", backend="x", model="", prompt_digest="")
        desk.complete(id, prepared)
        desk.after(0.0)
        [probe] = desk.take(RunGate)
        desk.give(replace(told(CheckResult(name="test", verdict=Verdict.PASSED)), run=probe.run))
        desk.finish(id)
        desk.after(0.0)
        [asked] = desk.take(RunGate)
        assert list(asked.known) == ([] if life == 1 else ["test"])
        desk.give(replace(told(PASSED), run=asked.run))
        if life == 1:
            desk.give(RejectTask(by="ann", task=id, feedback="again"), id="no")
            desk.restart()


# --- What is taken over ---------------------------------------------------------------------------------------------


class Room:
    """A runner for the checks of one repository; each run of `one` prints another word."""

    def __init__(self, directory: Path, **sandbox: Any) -> None:
        self.repo = directory / "a"
        if not self.repo.exists():
            make_repository(self.repo, {"README": "hello\n"})
        config = SandboxConfig(**{"backend": "os-native", "memory_limit_mb": 0, "pids_limit": 0, **sandbox})
        engine = EngineConfig(worktrees_dir=str(directory / "work"))
        self.project = Project(
            directory=str(directory),
            repos=(RepoConfig(name="a", path=str(self.repo)),),
            pipeline=PipelineConfig(engine=engine, sandbox=config),
        )
        self.runner = CheckRunner(
            self.project, OutputStore(directory / "outputs"), directory / "room", f"r{os.getpid()}"
        )

    def ask(self, known: CheckResult | None = None, **check: Any) -> CheckResult:
        command = "cat /proc/sys/kernel/random/uuid"
        wanted = Check(**{"name": "one", "command": command, "repo": "a", "timeout_s": 30.0, **check})
        part = RunGate(
            run="r/1",
            gate=Gate.QUALITY,
            checks=(wanted,),
            vector={"a": git(self.repo, "rev-parse", "main")},
            known={"one": known} if known else {},
        )
        (result,) = self.runner.run(part, threading.Event()).checks
        return result


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    made = Room(tmp_path)
    yield made
    made.runner.close()


@needs("bwrap")
def test_a_check_with_the_same_fingerprint_does_not_run_again(room: Room) -> None:
    first = room.ask()
    assert (first.verdict, first.cached, len(first.tail)) == (Verdict.PASSED, False, 37)
    again = room.ask(first)
    assert (again.verdict, again.cached, again.tail) == (Verdict.PASSED, True, first.tail)
    assert room.ask().tail != first.tail


@needs("bwrap")
def test_a_check_runs_again_where_anything_it_depends_on_is_another(room: Room, tmp_path: Path) -> None:
    first = room.ask()
    assert not room.ask(replace(first, fingerprint="another")).cached
    other = Room(tmp_path, env={"A": "b"})
    assert not other.ask(first).cached
    other.runner.close()
    assert room.ask(first).cached


@needs("bwrap")
def test_with_the_network_or_unknown_mounts_there_is_no_fingerprint(room: Room, tmp_path: Path) -> None:
    assert room.ask(network=True).fingerprint == ""
    mounted = Room(tmp_path, mount_paths=("/opt",))
    assert mounted.ask().fingerprint == ""
    mounted.runner.close()


def test_without_a_sandbox_nothing_is_taken_over(tmp_path: Path) -> None:
    open_room = Room(tmp_path, backend="none")
    assert open_room.ask().fingerprint == ""
    open_room.runner.close()


@needs("bwrap")
def test_each_program_that_a_command_names_counts_not_the_first_alone(room: Room) -> None:
    plain = room.ask(command="true; true")
    assert plain.fingerprint == room.ask(command="true").fingerprint != ""
    assert plain.fingerprint != room.ask(command="true; cat README | sort").fingerprint
    assert plain.fingerprint != room.ask(command=("/usr/bin/env", "true")).fingerprint


@needs("bwrap")
def test_a_failure_has_no_fingerprint(room: Room) -> None:
    assert room.ask(command="false").fingerprint == ""


def test_a_fingerprint_tells_a_program_that_was_replaced_or_a_setup_made_anew(tmp_path: Path) -> None:
    program, setup = tmp_path / "program", tmp_path / "setup"
    program.write_text("one")
    setup.mkdir()

    def now(**variables: str) -> str:
        return fingerprint({"a": 1}, variables, [str(program)], [str(setup)])

    before = now()
    assert now() == before
    assert now(LANG="C") != before
    program.write_text("two!")
    changed = now()
    assert changed != before
    (setup / "installed").write_text("")
    assert now() != changed
    setup_only = now()
    program.unlink()
    assert now() != setup_only


def test_a_fingerprint_tells_a_package_that_was_brought_up_to_date(tmp_path: Path) -> None:
    packages = tmp_path / "lib/python3.11/site-packages"
    (packages / "tool").mkdir(parents=True)

    def now() -> str:
        return fingerprint({}, {}, [], [], [f"{tmp_path}/lib/python3*/*-packages"])

    before = now()
    assert now() == before
    (packages / "tool-2.dist-info").mkdir()
    installed = now()
    assert installed != before
    (packages / "tool/more.py").write_text("")
    assert now() != installed


@needs("bwrap")
def test_another_commit_is_another_result(room: Room) -> None:
    first = room.ask()
    commit(room.repo, {"README": "changed\n"})
    assert room.ask().cached is False
    assert room.ask(first).cached, "whoever offers a result says that it is of this tree"
