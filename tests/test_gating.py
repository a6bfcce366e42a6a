"""`thrum gate run`, `thrum gate list` and `thrum task prompt`, as a user calls them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.projects import ThrumProject
from tests.repositories import commit, commit_aside, git, make_repository, write
from tests.requirements import needs

CHECK_FIELDS = {"name", "verdict", "exit_code", "duration_s", "tests", "output", "reason"}
LOOK = 'command = "cat colour.txt"'
"""A check that prints a file of the commit."""
JUNIT = (
    """<testsuite><testcase classname="a" name="one"/><testcase classname="a" name="two">{}</testcase></testsuite>"""
)


@pytest.fixture
def project(tmp_path: Path) -> ThrumProject:
    return ThrumProject(tmp_path)


def own_check(text: str, gate: str = "") -> str:
    """The end of pipeline.toml with Gate 1 made of one check of one's own."""
    return f'[gates.quality]\nchecks = ["mine"]\n{gate}\n[checks.mine]\n{text}\n'


def steps(*tables: str) -> str:
    """The end of pipeline.toml with these steps in Gate 3."""
    return "".join(f"[[gates.integration.steps]]\n{table}\n" for table in tables)


def ran(project: ThrumProject, *args: str, code: int) -> dict[str, Any]:
    found = project.json("gate", "run", *args, code=code)
    assert isinstance(found, dict)
    return found


def only(result: dict[str, Any]) -> dict[str, Any]:
    (check,) = result["checks"]
    assert isinstance(check, dict)
    return check


def left_with(word: str) -> list[int]:
    """The processes that have the word in their command line."""
    return [process.pid for process in psutil.process_iter(["cmdline"]) if word in (process.info["cmdline"] or ())]


# --- Verdicts and exit codes ------------------------------------------------------------------------------------------


def test_a_gate_that_passes_ends_with_0_and_its_json_says_what_was_run(project: ThrumProject) -> None:
    project.configure(lint="echo looked at it")
    result = ran(project, "--repo", "demo", code=0)
    head = git(project.repo, "rev-parse", "HEAD")
    assert (result["gate"], result["verdict"]) == ("quality", "passed")
    assert (result["commit"], result["tree"]) == (head, git(project.repo, "rev-parse", "HEAD^{tree}"))
    checks = {check["name"]: check for check in result["checks"]}
    assert {name: check["verdict"] for name, check in checks.items()} == {
        "fmt": "not-configured", "lint": "passed", "test": "not-configured",
    }  # fmt: skip
    lint = checks["lint"]
    assert set(lint) >= CHECK_FIELDS
    assert (lint["exit_code"], type(lint["duration_s"]), lint["tests"], lint["reason"]) == (0, float, None, "")
    assert Path(lint["output"]).read_text() == "looked at it\n"
    assert checks["fmt"]["output"] is None


def test_a_gate_that_fails_ends_with_3_and_shows_a_person_why(project: ThrumProject) -> None:
    project.configure(lint="printf 'it is \\033[31mred\\n'; exit 7")
    lint = next(check for check in ran(project, code=3)["checks"] if check["name"] == "lint")
    assert (lint["verdict"], lint["exit_code"], lint["reason"]) == ("failed", 7, "exit code 7")
    shown = project.command("gate", "run", code=3)
    assert "gate quality on" in shown.out
    assert "lint      failed" in shown.out
    assert "| it is \\x1b[31mred" in shown.out
    assert "lint: failed" in shown.err


@pytest.mark.parametrize("lint", ["no-such-program-here --all", "A=1 no-such-program-here"])
def test_a_missing_program_could_not_run_and_ends_with_1(project: ThrumProject, lint: str) -> None:
    project.configure(lint=lint)
    result = ran(project, code=1)
    assert result["verdict"] == "could-not-run"
    check = next(check for check in result["checks"] if check["name"] == "lint")
    assert (check["verdict"], check["exit_code"], check["output"]) == ("could-not-run", None, None)
    assert "'no-such-program-here'" in check["reason"]
    assert "'no-such-program-here'" in project.command("gate", "run", code=1).out


def test_an_exit_code_of_127_on_purpose_failed(project: ThrumProject) -> None:
    project.configure(lint="exit 127")
    assert ran(project, code=3)["verdict"] == "failed"


def test_a_gate_with_nothing_to_run_is_not_configured_and_ends_with_0(project: ThrumProject) -> None:
    result = ran(project, "--gate", "proof", code=0)
    assert result["verdict"] == "not-configured"
    assert {check["verdict"] for check in result["checks"]} == {"not-configured"}
    assert ran(project, "--gate", "integration", code=0)["checks"] == []
    assert "not-configured" in project.command("gate", "run", "--gate", "proof").out


@pytest.mark.parametrize(
    ("tables", "word"),
    [({"pipeline": "[gates.proof]\nrequired = true"}, "required"), ({"repo": 'safety_target = "AsilD"'}, "AsilD")],
)
def test_a_gate_that_is_demanded_and_not_configured_ends_with_1(
    project: ThrumProject, tables: dict[str, str], word: str
) -> None:
    project.configure(**tables)
    result = ran(project, "--gate", "proof", code=1)
    assert result["verdict"] == "could-not-run"
    assert word in result["reason"]
    row = next(row for row in project.json("gate", "list") if row["check"] is None and row["gate"] == "proof")
    assert row["status"] == "required, and not configured"


def test_all_checks_run_after_a_failure_unless_the_gate_says_fail_fast(project: ThrumProject) -> None:
    tables = '[checks.first]\ncommand = "false"\n[checks.second]\ncommand = "true"\n'
    for fail_fast, verdicts in (("false", ["failed", "passed"]), ("true", ["failed"])):
        project.configure(pipeline=f'[gates.quality]\nchecks = ["first", "second"]\nfail_fast = {fail_fast}\n{tables}')
        assert [check["verdict"] for check in ran(project, code=3)["checks"]] == verdicts


# --- What it runs on --------------------------------------------------------------------------------------------------


def test_it_runs_on_the_commit_that_is_named_and_never_on_what_is_not_committed(project: ThrumProject) -> None:
    project.configure(pipeline=own_check(LOOK))
    old = commit(project.repo, {"colour.txt": "green\n"})
    new = commit(project.repo, {"colour.txt": "blue\n"})
    write(project.repo, {"colour.txt": "red\n", "beside.txt": "not committed\n"})
    result = ran(project, code=0)
    assert (result["commit"], only(result)["tail"]) == (new, "blue\n")
    for name in (old, old[:12], "HEAD~1"):
        result = ran(project, "--commit", name, code=0)
        assert (result["commit"], only(result)["tail"]) == (old, "green\n")
    assert (project.repo / "colour.txt").read_text() == "red\n"


def test_a_commit_that_no_branch_has_is_run_on_too(project: ThrumProject) -> None:
    project.configure(pipeline=own_check(LOOK))
    aside = commit_aside(project.repo, git(project.repo, "rev-parse", "HEAD"), {"colour.txt": "aside\n"})
    assert only(ran(project, "--commit", aside, code=0))["tail"] == "aside\n"


@pytest.mark.parametrize("name", ["no-such-branch", "1234567", "--upload-pack=x", "HEAD^{tree}"])
def test_an_unknown_commit_is_an_error_of_one_sentence(project: ThrumProject, name: str) -> None:
    error = ran(project, f"--commit={name}", code=1)["error"]
    assert error["message"].startswith(f"there is no commit '{name}' in ")


def test_the_repository_may_be_left_out_where_there_is_one_and_must_be_known(project: ThrumProject) -> None:
    error = ran(project, "--repo", "dmeo", code=2)["error"]
    assert (error["message"], error["remedy"]) == ("there is no repository 'dmeo'", "did you mean 'demo'?")
    make_repository(project.directory / "other")
    with (project.directory / "configs/repos.toml").open("a") as repos:
        repos.write('[[repo]]\nname = "other"\npath = "other"\n')
    assert "several" in ran(project, code=2)["error"]["message"]
    assert ran(project, "--repo", "OTHER", code=0)["verdict"] == "not-configured"
    assert {row["repo"] for row in project.json("gate", "list", "--repo", "other")} == {"other"}


# --- Reports of tests -------------------------------------------------------------------------------------------------


def report(xml: str, code: int = 0) -> str:
    return f"command = {json.dumps(f'mkdir out; printf %s {xml!r} > out/r.xml; exit {code}')}\njunit = 'out/r.xml'"


def test_failed_tests_count_even_if_the_command_exits_with_0(project: ThrumProject) -> None:
    said = "command = \"echo 'FAILED a.py::two - no'; echo '1 failed, 1 passed in 0.10s'\"\nexpect_tests = "
    project.configure(pipeline=own_check(f"{said}true"))
    check = only(ran(project, code=3))
    assert (check["exit_code"], check["tests"]["failing"]) == (0, ["a.py::two"])
    assert "1 failed tests" in check["reason"]
    project.configure(pipeline=own_check(f"{said}false"))
    assert only(ran(project, code=0))["tests"]["failed"] == 1


def test_a_junit_report_says_how_many_tests_ran(project: ThrumProject) -> None:
    project.configure(pipeline=own_check(report(JUNIT.format(""))))
    tests = only(ran(project, code=0))["tests"]
    assert tests == {"run": 2, "failed": 0, "skipped": 0, "failing": [], "left_out": 0}


def test_a_junit_report_of_a_failed_test_fails_whatever_the_exit_code(project: ThrumProject) -> None:
    project.configure(pipeline=own_check(report(JUNIT.format("<failure/>"))))
    check = only(ran(project, code=3))
    assert (check["exit_code"], check["tests"]["failing"]) == (0, ["a::two"])
    assert "1 failed" in check["reason"]
    assert "- a::two" in project.command("gate", "run", code=3).out


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("command = 'true'\njunit = 'out/r.xml'", "there is no report out/r.xml"),
        (report("<testsuite/>"), "no test that ran"),
        (report("<testsuite><testcase"), "cannot be read"),
        ("command = 'ln -s /etc/passwd r.xml'\njunit = 'r.xml'", "there is no report r.xml"),
        ("command = 'mkfifo r.xml'\njunit = 'r.xml'", "there is no report r.xml"),
        ("command = 'mkdir r.xml'\njunit = 'r.xml'", "there is no report r.xml"),
    ],
)
def test_without_a_report_that_tells_of_tests_a_check_fails(project: ThrumProject, text: str, why: str) -> None:
    project.configure(pipeline=own_check(text))
    assert why in only(ran(project, code=3))["reason"]


def test_a_report_that_was_committed_says_nothing(project: ThrumProject) -> None:
    project.configure(pipeline=own_check("command = 'true'\njunit = './out/r.xml'"))
    commit(project.repo, {"out/r.xml": JUNIT.format("")})
    check = only(ran(project, code=3))
    assert "is a part of the commit" in check["reason"]
    assert check["tests"] is None


# --- Gate 3 -----------------------------------------------------------------------------------------------------------

MAKE = 'repo = "demo"\nlabel = "make"\ncommand = "cat README > {output_dir}/made"'
HELLO = hashlib.sha256(b"hello\n").hexdigest()


@pytest.fixture
def pair(project: ThrumProject) -> ThrumProject:
    """A project with a second repository, `other`."""
    make_repository(project.directory / "other", {"data": "first\n"})
    two = '[[repo]]\nname = "other"\npath = "other"\n'
    project.configure(repo=two)
    return project


def with_steps(project: ThrumProject, *tables: str, fixture: str = "") -> None:
    head = f"[gates.integration]\nfixture = {json.dumps(fixture)}\n" if fixture else ""
    project.configure(repo='[[repo]]\nname = "other"\npath = "other"\n', pipeline=head + steps(*tables))


def test_steps_over_two_repositories_share_a_folder_and_run_on_the_vector(pair: ThrumProject) -> None:
    (pair.directory / "fix ture").write_text("given\n")
    with_steps(
        pair,
        'repo = "demo"\nlabel = "make"\ncommand = "cat README {fixture} {repo:other}/data > {output_dir}/made"',
        'repo = "other"\nlabel = "look"\ncommand = ["cat", "{output_dir}/made", "data"]',
        fixture="fix ture",
    )
    old = git(pair.repo, "rev-parse", "HEAD")
    commit(pair.repo, {"README": "later\n"})
    tip = commit(pair.directory / "other", {"data": "second\n"})
    write(pair.directory / "other", {"data": "not committed\n"})
    result = ran(pair, "--repo", "demo", "--gate", "integration", "--commit", old, code=0)
    assert result["vector"] == {"demo": old, "other": tip}
    make, look = result["checks"]
    assert (make["name"], look["name"]) == ("make", "look")
    assert look["tail"] == "hello\ngiven\nsecond\nsecond\n"
    shown = pair.command("gate", "run", "--repo", "other", "--gate", "integration")
    assert f"with other at {tip[:12]}" in shown.out
    assert "make: passed" in shown.err
    assert "look: passed" in shown.err


def test_a_fixture_that_is_not_there_could_not_run(pair: ThrumProject) -> None:
    with_steps(pair, 'repo = "demo"\nlabel = "read"\ncommand = "cat {fixture}"', fixture="gone")
    check = only(ran(pair, "--repo", "demo", "--gate", "integration", code=1))
    assert check["reason"] == f"the fixture {pair.directory / 'gone'} is not there"


def test_the_first_step_that_does_not_pass_is_the_last_one(pair: ThrumProject) -> None:
    with_steps(pair, MAKE, 'repo = "other"\nlabel = "break"\ncommand = "exit 4"', MAKE.replace('"make"', '"again"'))
    result = ran(pair, "--repo", "other", "--gate", "integration", code=3)
    assert [(check["name"], check["verdict"]) for check in result["checks"]] == [
        ("make", "passed"),
        ("break", "failed"),
    ]


@pytest.mark.parametrize(
    ("artifact", "code", "why"),
    [
        ("path = 'made'", 0, ""),
        (f"path = 'made'\nsha256 = '{HELLO.upper()}'", 0, ""),
        ("path = 'made'\ncompare = 'grep -q hello {artifact} && test -e README'", 0, ""),
        ("path = 'made'\ncompare = 'diff README {repo:other}/data >/dev/null || cmp {artifact} README'", 0, ""),
        ("path = 'missing'", 3, "the artifact missing was not made"),
        ("path = '.'", 3, "the artifact . was not made"),
        (f"path = 'made'\nsha256 = '{'0' * 64}'", 3, f"has the SHA-256 {HELLO}, and {'0' * 64} was expected"),
        ("path = 'made'\ncompare = ['cmp', '{artifact}', '{repo:other}/data']", 3, "is not as expected: "),
        ("path = 'made'\ncompare = 'echo the reason; false'", 3, "is not as expected: the reason"),
        ("path = 'made'\ncompare = 'no-such-program {artifact}'", 1, "'no-such-program'"),
    ],
)
def test_what_a_step_must_have_made_is_looked_at(pair: ThrumProject, artifact: str, code: int, why: str) -> None:
    with_steps(pair, f"{MAKE}\n[[gates.integration.steps.artifacts]]\n{artifact}")
    check = only(ran(pair, "--repo", "demo", "--gate", "integration", code=code))
    assert check["verdict"] == {0: "passed", 3: "failed", 1: "could-not-run"}[code]
    assert why in check["reason"]
    assert check["artifacts"] == ({"made": HELLO} if "path = 'made'" in artifact and code != 1 else {})


# --- Beside others, and cut short -------------------------------------------------------------------------------------


class Held:
    """A check that says when it has begun and then waits until it is let go, for ever."""

    def __init__(self, project: ThrumProject) -> None:
        self._project = project
        self._running: list[subprocess.Popen[str]] = []
        self.mark = f"36{secrets.randbelow(10**9):09}"
        self._begun, self._go = project.directory / "begun", project.directory / "go-on"
        for pipe in (self._begun, self._go):
            os.mkfifo(pipe)
        held = f"(setsid sleep {self.mark} &); echo > '{self._begun}'; cat '{self._go}'; echo done"
        project.configure(pipeline=own_check(f"command = {json.dumps(held)}"))

    def started(self, *args: str) -> subprocess.Popen[str]:
        """`thrum gate run`, under way."""
        self._running.append(self._project.started("gate", "run", *args))
        return self._running[-1]

    def close(self) -> None:
        for running in self._running:
            if running.poll() is None:
                running.kill()
                running.communicate()
        for pid in left_with(self.mark):
            os.kill(pid, signal.SIGKILL)

    def begun(self) -> None:
        self._begun.read_text()

    def go_on(self) -> None:
        self._go.write_text("go\n")


@pytest.fixture
def held(project: ThrumProject) -> Iterator[Held]:
    held = Held(project)
    yield held
    held.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_ends_it_with_130_and_leaves_no_process(project: ThrumProject, held: Held, number: int) -> None:
    running = held.started("--json")
    held.begun()
    assert left_with(held.mark)
    running.send_signal(number)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert json.loads(out)["error"]["code"] == "interrupted"
    assert left_with(held.mark) == []
    assert not list((project.directory / ".thrum/work").glob("gate.by-hand/*/tree/.git/index.lock"))


def test_two_at_once_take_turns_and_the_second_says_whom_it_waits_for(held: Held) -> None:
    first = held.started("--json")
    held.begun()
    second = held.started("--json")
    assert second.stderr is not None
    assert f"gate run (process {first.pid})" in second.stderr.readline()
    held.go_on()
    out, err = first.communicate(timeout=60)
    assert json.loads(out)["verdict"] == "passed", err
    held.begun()
    held.go_on()
    out, err = second.communicate(timeout=60)
    assert json.loads(out)["verdict"] == "passed", err
    assert left_with(held.mark) == []


def test_one_that_waits_for_another_can_be_interrupted(held: Held) -> None:
    first = held.started()
    held.begun()
    second = held.started()
    assert second.stderr is not None
    second.stderr.readline()
    second.send_signal(signal.SIGINT)
    second.communicate(timeout=60)
    assert second.returncode == 130
    assert left_with(held.mark)
    held.go_on()
    first.communicate(timeout=60)
    assert first.returncode == 0


def test_one_that_was_killed_is_in_nobodys_way(held: Held) -> None:
    first = held.started()
    held.begun()
    first.kill()
    first.communicate(timeout=60)
    left = left_with(held.mark)
    second = held.started()
    held.begun()
    assert not set(left) & set(left_with(held.mark))
    held.go_on()
    second.communicate(timeout=60)
    assert second.returncode == 0


def test_it_runs_beside_a_system_that_is_up_by_what_the_files_say(project: ThrumProject) -> None:
    with project.up():
        task = project.add("Write a note")
        project.configure(lint="test -e notes.txt")
        make_repository(project.directory / "new")
        with (project.directory / "configs/repos.toml").open("a") as repos:
            repos.write('[[repo]]\nname = "new"\npath = "new"\nlint_cmd = "true"\n')
        assert ran(project, "--repo", "demo", code=3)["verdict"] == "failed"
        assert ran(project, "--repo", "new", code=0)["verdict"] == "passed"
        assert {row["repo"] for row in project.json("gate", "list")} == {"demo", "new"}
        project.command("run", code=4)
        view = project.json("task", "show", task)
        assert view["state"] == "awaiting-approval"
        head = view["commits"]["head"]
        assert ran(project, "--repo", "demo", "--commit", head, code=0)["verdict"] == "passed"


@needs("bwrap")
def test_in_a_sandbox_nothing_is_left_either(project: ThrumProject) -> None:
    mark = f"36{secrets.randbelow(10**9):09}"
    project.configure(
        lint=f"(setsid sleep {mark} &); echo out > ../beside 2>/dev/null; test ! -e '{project.directory}'"
    )
    pipeline = project.directory / "configs/pipeline.toml"
    sandbox = 'backend = "os-native"\nmemory_limit_mb = 0\npids_limit = 0'
    pipeline.write_text(pipeline.read_text().replace('backend = "none"', sandbox, 1))
    result = ran(project, code=3)
    assert result["verdict"] == "failed", result
    assert left_with(mark) == []


# --- thrum gate list --------------------------------------------------------------------------------------------------


def test_the_list_tells_what_is_configured_and_what_is_missing_here(pair: ThrumProject) -> None:
    make = f"{MAKE}\n[[gates.integration.steps.artifacts]]\npath = 'made'\ncompare = 'no-such-comparer {{artifact}}'"
    with_steps(pair, make)
    repos = pair.directory / "configs/repos.toml"
    repos.write_text(repos.read_text().replace('name = "demo"', 'name = "demo"\nfmt_cmd = "no-such-formatter ."'))
    rows = {(row["repo"], row["gate"], row["check"]): row for row in pair.json("gate", "list")}
    assert {key: row["status"] for key, row in rows.items()} == {
        ("demo", "quality", "fmt"): "missing: no-such-formatter",
        ("demo", "quality", "lint"): "configured",
        ("demo", "quality", "test"): "not-configured",
        ("demo", "proof", "verify"): "not-configured",
        ("demo", "proof", "proofs"): "not-configured",
        ("demo", "integration", "make"): "missing: no-such-comparer",
        ("other", "quality", "fmt"): "not-configured",
        ("other", "quality", "lint"): "not-configured",
        ("other", "quality", "test"): "not-configured",
        ("other", "proof", "verify"): "not-configured",
        ("other", "proof", "proofs"): "not-configured",
        ("other", "integration", None): "not-configured",
    }
    assert rows["demo", "quality", "fmt"]["missing"] == ["no-such-formatter"]
    text = pair.command("gate", "list", "--repo", "demo").out
    assert "missing: no-such-formatter" in text
    assert "other" not in text
    assert "did you mean 'demo'?" in pair.command("gate", "list", "--repo", "demi", code=2).err


def test_the_list_tells_what_a_setup_lacks_itself_and_what_it_may_yet_install(project: ThrumProject) -> None:
    setup = "setup_cmd = 'no-such-installer --all'\nfmt_cmd = 'no-such-formatter .'\ntest_cmd = ['sh', 'x']"
    project.configure(repo=setup)
    rows = {row["check"]: row for row in project.json("gate", "list") if row["gate"] in ("setup", "quality")}
    assert {name: row["status"] for name, row in rows.items()} == {
        "setup_cmd": "missing: no-such-installer",
        "fmt": "configured; to be seen after setup_cmd: no-such-formatter",
        "lint": "configured",
        "test": "configured",
    }
    assert (rows["fmt"]["missing"], rows["fmt"]["after_setup"]) == ([], ["no-such-formatter"])


def test_the_list_shows_what_would_be_proven(project: ThrumProject) -> None:
    project.configure(repo='[repo.proof]\nsmt = ["proofs/*.smt2"]\nsolver = "no-such-solver"\n')
    row = next(row for row in project.json("gate", "list") if row["check"] == "verify")
    assert (row["status"], row["command"]) == ("missing: no-such-solver", "z3: proofs/*.smt2")


@needs("z3", "z3 for Python")
def test_the_list_tells_where_an_interpreter_has_no_z3(project: ThrumProject, tmp_path: Path) -> None:
    bare = tmp_path / "bare-python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    bare.chmod(0o755)
    for interpreter, setup, missing, after_setup in (
        (sys.executable, "", [], []),
        (str(bare), "", [f"z3 in {bare}"], []),
        (str(bare), "setup_cmd = 'true'\n", [], [f"z3 in {bare}"]),
    ):
        proof = f'[repo.proof]\npython = ["obligations.py"]\ninterpreter = "{interpreter}"\n'
        project.configure(repo=f"{setup}{proof}")
        row = next(row for row in project.json("gate", "list") if row["check"] == "verify")
        assert (row["missing"], row["after_setup"]) == (missing, after_setup), row


# --- thrum task prompt ------------------------------------------------------------------------------------------------


def test_the_prompt_of_each_attempt_is_shown_as_its_agent_was_given_it(project: ThrumProject) -> None:
    task = project.add("BE-RED until told", "--description", "Of two lines,\nthis one too.")
    missing = project.json("task", "prompt", task, code=2)["error"]
    assert "no attempt yet" in missing["message"]
    project.command("run", code=4)
    first = project.json("task", "prompt", task, "--attempt", "1")
    assert (first["task"], first["attempt"]) == (task, 1)
    assert first["prompt"].startswith(f"# Task {task}: BE-RED until told\n")
    assert "Of two lines,\nthis one too.\n" in first["prompt"]
    assert "What happened so far" not in first["prompt"]
    last = project.json("task", "prompt", task)
    assert last["attempt"] == 2
    for told in ("Gate `quality` failed in: lint.", "it is red", "grep -qs red colour.txt", "+red"):
        assert told in last["prompt"]
    shown = project.command("task", "prompt", task, "--attempt", "1").out
    assert shown == first["prompt"]
    assert "it has: 1, 2" in project.command("task", "prompt", task, "--attempt", "3", code=2).err
    assert project.command("task", "prompt", "demo-9", code=2).err
    assert project.command("task", "prompt", task, "--attempt", "0", code=2).err


PARTED = """
[[backends]]
name = "parted"
preset = "claude-code"
command = {command}

[roles.implementer]
backend = "parted"
prompt_template = "role.md"
"""
PROGRAM = r"""#!/bin/sh
cat > /dev/null
while [ "$1" != --append-system-prompt-file ]; do shift; done
cat "$2" > told.txt
echo '{"type": "result", "subtype": "success", "is_error": false, "result": "done"}'
"""
"""Takes instructions as Claude Code does, and keeps what it was given."""


def test_instructions_reach_a_program_that_takes_them_apart_and_are_shown_apart(project: ThrumProject) -> None:
    program = project.directory / "program"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    (project.directory / "role.md").write_text("Be careful with sk-0123456789abcdef.\n")
    (project.directory / "about.md").write_text("Tabs, no spaces.\n")
    parted = PARTED.format(command=json.dumps(str(program)))
    project.configure(repo='claude_md = "about.md"', pipeline=parted)
    task = project.add("A task")
    project.command("run", code=4, ANTHROPIC_API_KEY="sk-0123456789abcdef")
    told = project.json("task", "prompt", task)
    (secret,) = re.findall(r"careful with (.*)\.\n", told["system_prompt"])
    assert told["system_prompt"] == f"Be careful with {secret}.\n\n# About this repository\n\nTabs, no spaces."
    assert secret != "sk-0123456789abcdef"
    assert told["prompt"].startswith(f"# Task {task}: A task\n")
    assert "Tabs, no spaces." not in told["prompt"]
    assert git(project.repo, "show", f"refs/thrum/attempts/{task}/1:told.txt") == told["system_prompt"]
    shown = project.command("task", "prompt", task).out
    assert shown == f"[system prompt]\n{told['system_prompt']}\n\n[prompt]\n{told['prompt']}"
    story = project.command("task", "export", task).out
    assert "Its system prompt" in story
    # Another program is told the same within its prompt.
    project.configure(repo='claude_md = "about.md"')
    project.command("task", "reject", task, "--feedback", "Again.")
    project.command("run", code=4)
    told = project.json("task", "prompt", task)
    assert (told["attempt"], told["system_prompt"]) == (2, "")
    assert "Tabs, no spaces." in told["prompt"]


# --- Provers that `setup_cmd` installs --------------------------------------------------------------------------------


@needs("z3", "z3 for Python")
def test_the_interpreter_of_obligations_may_be_one_that_the_setup_installed(project: ThrumProject) -> None:
    install = 'mkdir "$THRUM_SETUP/bin" && install -m 755 python.sh "$THRUM_SETUP/bin/python"'
    proof = '[repo.proof]\npython = ["obligations.py"]\ninterpreter = "$THRUM_SETUP/bin/python"\n'
    obligations = "import z3\ndef obligations():\n    yield 'one', z3.Int('x') == z3.Int('x')\n"
    wrapper = f'#!/bin/sh\nexec {sys.executable} "$@"\n'
    commit(project.repo, {"obligations.py": obligations, "python.sh": wrapper})
    project.configure(repo=f"setup_cmd = {json.dumps(install)}\n{proof}")
    verify = ran(project, "--gate", "proof", code=0)["checks"][0]
    assert (verify["name"], verify["verdict"], verify["tests"]["run"]) == ("verify", "passed", 1)
    project.configure(repo=f"setup_cmd = 'true'\n{proof}")
    verify = ran(project, "--gate", "proof", code=1)["checks"][0]
    assert verify["verdict"] == "could-not-run"
    assert "$THRUM_SETUP/bin/python" in verify["reason"]
