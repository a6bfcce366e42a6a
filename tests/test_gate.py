"""Checks as a gate actor runs them: real commands on real checkouts, in both sandboxes."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.repositories import commit, git, make_repository, write
from tests.requirements import needs
from thrum.checking import CheckRunner, tellable
from thrum.config import EngineConfig, PipelineConfig, Project, RepoConfig, SandboxConfig
from thrum.files import OutputStore
from thrum.gate import Artifact, Check, CheckResult, Gate, Verdict
from thrum.gate import Tally as Said  # pytest takes any other name that begins so for tests of ours
from thrum.messages.gates import GateReported, RunGate
from thrum.packing import fits

PASSED, FAILED, COULD_NOT_RUN = Verdict.PASSED, Verdict.FAILED, Verdict.COULD_NOT_RUN
EVERY_SANDBOX_SETS = {"PATH", "HOME", "TMPDIR", "LANG", "USER"}
SHELLS_OWN = {"PWD", "SHLVL", "OLDPWD", "_", "THRUM_MARK"}


class House:
    """Two repositories, `one` and `two`, and a runner for their checks."""

    def __init__(self, directory: Path, backend: str) -> None:
        self.directory = directory
        self.one, self.two = directory / "one", directory / "two"
        sandbox = SandboxConfig(
            backend=backend, memory_limit_mb=0, pids_limit=0, pass_env=("GIVEN",), env={"SAID": "by the configuration"}
        )
        repos = (
            RepoConfig(name="one", path=str(self.one), mount_paths=(str(directory / "shown"),)),
            RepoConfig(name="two", path=str(self.two)),
        )
        engine = EngineConfig(worktrees_dir=str(directory / ".thrum/work"))
        project = Project(
            directory=str(directory), repos=repos, pipeline=PipelineConfig(engine=engine, sandbox=sandbox)
        )
        (directory / "shown").mkdir()
        self.rooms = directory / ".thrum/work/gate"
        self.outputs = OutputStore(directory / ".thrum/outputs")
        self.runner = CheckRunner(project, self.outputs, self.rooms, f"gate-{os.getpid()}-{secrets.token_hex(4)}")
        self.stop = threading.Event()

    def report(
        self, *checks: Check, gate: Gate = Gate.QUALITY, vector: dict[str, str] | None = None, fixture: str = ""
    ) -> GateReported:
        vector = vector or {"one": git(self.one, "rev-parse", "main"), "two": git(self.two, "rev-parse", "main")}
        asked = RunGate(run="one-1/1/quality/1", gate=gate, checks=checks, vector=vector, fixture=fixture)
        return self.runner.run(asked, self.stop)

    def check(self, command: str | tuple[str, ...], **settings: Any) -> CheckResult:
        (result,) = self.report(a_check(command, **settings)).checks
        return result


def a_check(command: str | tuple[str, ...], *, name: str = "it", repo: str = "one", **settings: Any) -> Check:
    return Check(**{"name": name, "command": command, "repo": repo, "timeout_s": 60.0, **settings})


def steps(*commands: tuple[str, str]) -> tuple[Check, ...]:
    """Steps that need the one before each."""
    return tuple(
        a_check(command, name=f"step {n}", repo=repo, needs=(f"step {n - 1}",) if n > 1 else ())
        for n, (repo, command) in enumerate(commands, start=1)
    )


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two of them lie; to be copied, as that is faster than making them."""
    directory = tmp_path_factory.mktemp("repositories")
    make_repository(directory / "one", {"README": "hello\n", ".gitignore": "*.cache\n"})
    make_repository(directory / "two", {"data": "first\n"})
    return directory


@pytest.fixture(params=["none", pytest.param("os-native", marks=needs("bwrap"))])
def house(
    request: pytest.FixtureRequest, tmp_path: Path, repositories: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[House]:
    shutil.copytree(repositories, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("GIVEN", "by name")
    monkeypatch.setenv("A_SECRET", "of the operator")
    house = House(tmp_path, request.param)
    yield house
    house.runner.close()


# --- Verdicts -----------------------------------------------------------------------------------------------------


def test_a_command_that_exits_0_passes_and_any_other_code_fails(house: House) -> None:
    passed, failed = house.report(a_check("grep -q hello README"), a_check(("sh", "-c", "echo no; exit 4"))).checks
    assert (passed.verdict, passed.exit_code, passed.reason) == (PASSED, 0, "")
    assert (failed.verdict, failed.exit_code, failed.tail) == (FAILED, 4, "no\n")
    assert "4" in failed.reason


@pytest.mark.parametrize("command", ["no-such-program --flag", ("no-such-program", "--flag"), "A=1 no-such-program"])
def test_a_missing_program_could_not_run(house: House, command: str | tuple[str, ...]) -> None:
    result = house.check(command)
    assert (result.verdict, result.exit_code) == (COULD_NOT_RUN, None)
    assert "no-such-program" in result.reason


NOT_RUN = {
    "deleted": "chmod +x bin/other",
    "not executable": "chmod -x bin/lint",
    "a folder": "rm bin/lint; mkdir bin/lint; touch bin/lint/x",
    "a link to nothing": "ln -sf /no/such bin/lint",
    "no such interpreter": "echo '#!/no/such/program' > bin/lint",
}


@pytest.mark.parametrize("change", NOT_RUN.values(), ids=NOT_RUN)
def test_a_program_of_the_checkout_that_cannot_be_run_has_failed(house: House, change: str) -> None:
    files = {"bin/lint": "#!/bin/sh\nexit 0\n"} if "other" not in change else {"bin/other": "x"}
    write(house.one, files)
    for path in (house.one / "bin").iterdir():
        path.chmod(0o755)
    commit(house.one, {})
    if "other" not in change:
        assert house.check(("./bin/lint",)).verdict is PASSED
    subprocess.run(["sh", "-c", change], cwd=house.one, check=True)
    commit(house.one, {})
    for command in (("./bin/lint", "x"), ("bin/lint",), "./bin/lint"):
        result = house.check(command)
        assert (result.verdict, result.exit_code in (126, 127)) == (FAILED, True), result
    (made,) = house.report(
        a_check("echo > {output_dir}/a", artifacts=(Artifact(path="a", compare=("./bin/lint", "{artifact}")),)),
        gate=Gate.INTEGRATION,
    ).checks
    assert made.verdict is FAILED, made
    assert "as expected" in made.reason


def test_what_an_earlier_step_made_a_later_one_has_not_made(house: House) -> None:
    made = (Artifact(path="a"),)
    first = a_check("echo > {output_dir}/a", name="first", artifacts=made)
    for command, verdict in (("true", FAILED), ("echo x > {output_dir}/a", PASSED)):
        later = a_check(command, name="later", needs=("first",), artifacts=made)
        report = house.report(first, later, gate=Gate.INTEGRATION)
        assert [result.verdict for result in report.checks] == [PASSED, verdict], report


JUDGED = {"judge": '#!/bin/sh\nexec cmp "$1" expected/a\n', "expected/a": "right\n"}


@pytest.mark.parametrize(
    "rewrites",
    [
        "echo wrong > expected/a",
        "printf '#!/bin/sh\n' > judge",
        "rm -r .git expected; mkdir expected; echo wrong > expected/a",
    ],
)
def test_a_step_does_not_rewrite_what_judges_it(house: House, rewrites: str) -> None:
    write(house.one, JUDGED)
    (house.one / "judge").chmod(0o755)
    commit(house.one, {})
    for compare in (("./judge", "{artifact}"), "cmp {artifact} {repo:one}/expected/a"):
        made = (Artifact(path="a", compare=compare),)
        for said, verdict in (("right", PASSED), ("wrong", FAILED)):
            step = a_check(f"{rewrites}; echo {said} > {{output_dir}}/a", artifacts=made)
            (result,) = house.report(step, gate=Gate.INTEGRATION).checks
            assert result.verdict is verdict, result
            assert ("is not as expected" in result.reason) is (verdict is FAILED)


def test_a_comparison_sees_earlier_artifacts_as_they_were_when_their_step_had_ended(house: House) -> None:
    compare = "cmp {artifact} {output_dir}/in/first"
    first = a_check("mkdir {output_dir}/in; echo right > {output_dir}/in/first", artifacts=(Artifact(path="in/first"),))
    lie = "echo wrong | tee {output_dir}/in/first > {output_dir}/second"
    for command, verdict in (("cp {output_dir}/in/first {output_dir}/second", PASSED), (lie, FAILED)):
        artifacts = (Artifact(path="second", compare=compare),)
        second = a_check(command, name="second", needs=("it",), artifacts=artifacts)
        report = house.report(first, second, gate=Gate.INTEGRATION)
        assert [result.verdict for result in report.checks] == [PASSED, verdict], report


@needs("bwrap")
@pytest.mark.parametrize("house", ["os-native"], indirect=True)
def test_a_comparison_cannot_write_to_the_artifact_and_may_run_it(house: House) -> None:
    compare = "! (echo >> {artifact}) && ! (touch {output_dir}/new) && {artifact}"
    step = a_check(
        "printf '#!/bin/sh\n' > {output_dir}/a; chmod +x {output_dir}/a",
        artifacts=(Artifact(path="a", compare=compare),),
    )
    (result,) = house.report(step, gate=Gate.INTEGRATION).checks
    assert result.verdict is PASSED, result


def test_a_program_that_an_earlier_step_should_have_made_has_failed(house: House) -> None:
    asked = steps(("one", "true"))[0], a_check(("{output_dir}/program",), name="step 2", needs=("step 1",))
    assert [result.verdict for result in house.report(*asked, gate=Gate.INTEGRATION).checks] == [PASSED, FAILED]


def test_a_program_that_is_missing_later_in_the_command_is_a_failure(house: House) -> None:
    result = house.check("true; no-such-program")
    assert (result.verdict, result.exit_code) == (FAILED, 127)


def test_a_failure_inside_a_pipeline_counts(house: House) -> None:
    assert house.check("false | cat").verdict is FAILED
    assert house.check("false | cat || exit 0").verdict is PASSED


def test_a_check_that_outlives_its_time_fails(house: House) -> None:
    result = house.check("echo begun; sleep 60", timeout_s=0.5)
    assert (result.verdict, result.exit_code, result.tail) == (FAILED, None, "begun\n")
    assert "time limit" in result.reason


def test_a_flood_of_output_fails(house: House) -> None:
    result = house.check("exec yes", timeout_s=60)
    assert (result.verdict, result.exit_code) == (FAILED, None)
    assert "bytes of output" in result.reason


def test_a_check_that_a_signal_ends_fails_and_says_which(house: House) -> None:
    result = house.check("kill -SEGV $$")
    assert (result.verdict, result.exit_code) == (FAILED, None)
    assert "SIGSEGV" in result.reason


def test_a_runner_that_ran_no_test_fails_where_tests_are_expected(house: House) -> None:
    ran_none = "echo 'Ran 0 tests in 0.000s'"
    assert house.check(ran_none).verdict is PASSED
    result = house.check(ran_none, expect_tests=True)
    assert (result.verdict, result.exit_code, result.reason) == (FAILED, 0, "unittest ran no test")


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("true", "no known test runner says how many tests it ran"),
        ("echo all good", "no known test runner"),
        ("printf 'running 2 tests\\ntest a ... '", "cargo test was ended before it said"),
        ("printf 'Ran 1 test in 0.000s\\n\\nOK\\ntest_a (t.T.test_a) ... '", "unittest was ended before it said"),
    ],
)
def test_a_run_that_tells_of_no_test_fails_where_tests_are_expected(house: House, command: str, why: str) -> None:
    assert house.check(command).verdict is PASSED
    result = house.check(command, expect_tests=True)
    assert (result.verdict, result.exit_code) == (FAILED, 0)
    assert why in result.reason


def test_half_of_a_character_in_the_name_of_a_test_is_told_as_a_question_mark(house: House) -> None:
    event = '{"Action":"fail","Package":"p","Test":"B\\ud800"}'
    result = house.check(f"printf '%s\\n' '{event}'; exit 1")
    assert result.verdict is FAILED
    assert result.tests is not None
    assert result.tests.failing == ("B?",)


def test_no_result_leaves_that_cannot_be_sent(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thrum.runners.tally.well_formed", lambda name: name)
    event = '{"Action":"fail","Package":"p","Test":"B\\ud800"}'
    report = house.report(a_check(f"printf '%s\\n' '{event}'"), a_check("true", name="other"))
    assert fits(report)
    told, other = report.checks
    assert (told.name, told.verdict, told.tests) == ("it", FAILED, None)
    assert "cannot be told" in told.reason
    assert (other.name, other.verdict) == ("other", PASSED)


@pytest.mark.parametrize(
    ("before", "after"), [(PASSED, FAILED), (FAILED, FAILED), (COULD_NOT_RUN, COULD_NOT_RUN)], ids=str
)
def test_what_cannot_be_told_did_not_pass_and_is_not_the_operators(before: Verdict, after: Verdict) -> None:
    for words in ({"details": "\ud800"}, {"tests": Said(run=2**64)}, {"artifacts": {"\udcff": ""}}):
        assert tellable(CheckResult(name="it", verdict=before, **words)).verdict is after
    whole = CheckResult(name="it", verdict=before)
    assert tellable(whole) is whole


def test_silence_comes_with_what_to_do_about_it(house: House) -> None:
    mine, built_in = house.report(*(a_check("true", name=name, expect_tests=True) for name in ("mine", "test"))).checks
    assert "(junit in [checks.mine]), or say there expect_tests = false" in mine.reason
    assert "(test_junit in [[repo]]), or say there expect_tests = false" in built_in.reason


# --- Checkouts ----------------------------------------------------------------------------------------------------


def test_what_one_check_left_in_its_checkout_the_next_does_not_see(house: House) -> None:
    spoil = "echo bad > README; rm .gitignore; mkdir d; touch new d/x; touch ignored.cache; git commit -qam spoilt"
    look = "grep -q hello README && test -e .gitignore && test ! -e new && test ! -e d && test ! -e ignored.cache"
    results = house.report(a_check(spoil, name="spoil"), a_check(f"{look} && test -z $(git status -s)", name="look"))
    assert [result.verdict for result in results.checks] == [PASSED, PASSED], results


def test_a_check_sees_the_commit_that_it_is_asked_about_not_the_branch(house: House) -> None:
    first = git(house.one, "rev-parse", "main")
    second = commit(house.one, {"README": "changed\n"})
    for vector, word in (({"one": second}, "changed"), ({"one": first}, "hello")):
        (result,) = house.report(a_check(f"grep -q {word} README"), vector=vector).checks
        assert result.verdict is PASSED


@needs("bwrap")
@pytest.mark.parametrize("house", ["os-native"], indirect=True)
def test_a_check_writes_nowhere_but_in_its_checkout(house: House) -> None:
    before = git(house.one, "rev-parse", "main")
    targets = (
        house.one / "README",
        house.one / "evil",
        house.directory / ".thrum/evil",
        house.directory / "shown/evil",
    )
    attacks = "; ".join(f"echo evil > '{target}'" for target in targets)
    house.check(f"{attacks}; git push -q '{house.one}' +HEAD~0:refs/heads/main; git update-ref refs/heads/main HEAD")
    assert (house.one / "README").read_text() == "hello\n"
    assert not any(target.exists() for target in targets[1:])
    assert git(house.one, "status", "--porcelain") == ""
    assert git(house.one, "rev-parse", "main") == before


def test_a_check_sees_of_the_environment_only_what_is_configured(house: House) -> None:
    result = house.check("env -0 | cut -z -d= -f1 | tr '\\0' '\\n'", env={"OWN": "the check's"})
    names = set(result.tail.split())
    assert names - SHELLS_OWN == EVERY_SANDBOX_SETS | {"GIVEN", "SAID", "OWN"}
    values = house.check('echo "$GIVEN, $SAID, $OWN"', env={"OWN": "the check's"}).tail
    assert values == "by name, by the configuration, the check's\n"


# --- Integration ----------------------------------------------------------------------------------------------------


def test_steps_share_a_folder_and_run_in_the_checkout_of_their_own_repository_at_the_vectors_commit(
    house: House, tmp_path: Path
) -> None:
    vector = {"one": git(house.one, "rev-parse", "main"), "two": git(house.two, "rev-parse", "main")}
    commit(house.two, {"data": "second\n"})
    (tmp_path / "a fixture").write_text("given\n")
    commands = (
        ("one", "cat README {fixture} > {output_dir}/made"),
        ("two", "cat data >> {output_dir}/made && test ! -e README"),
        ("one", "cat {output_dir}/made"),
    )
    asked = steps(*commands)
    report = house.report(*asked, gate=Gate.INTEGRATION, vector=vector, fixture=str(tmp_path / "a fixture"))
    assert [result.verdict for result in report.checks] == [PASSED] * 3, report
    assert report.checks[-1].tail == "hello\ngiven\nfirst\n"
    again = house.report(*steps(("one", "ls {output_dir}")), gate=Gate.INTEGRATION)
    assert again.checks[0].tail == ""


def test_the_first_step_that_does_not_pass_is_the_last_that_runs(house: House) -> None:
    for broken, verdict in (("exit 3", FAILED), ("no-such-program", COULD_NOT_RUN)):
        report = house.report(*steps(("one", "true"), ("two", broken), ("one", "true")), gate=Gate.INTEGRATION)
        assert [result.verdict for result in report.checks] == [PASSED, verdict]


def test_steps_that_do_not_need_each_other_run_at_once_and_one_that_needs_both_after_them(house: House) -> None:
    asked = (
        a_check("mkfifo {output_dir}/a {output_dir}/b", name="pipes"),
        # Each waits for the other, in the same repository.
        a_check("echo left > {output_dir}/a; cat {output_dir}/b > {output_dir}/l", name="left", needs=("pipes",)),
        a_check("cat {output_dir}/a > {output_dir}/r; echo right > {output_dir}/b", name="right", needs=("pipes",)),
        a_check("cat {output_dir}/l {output_dir}/r", name="both", needs=("left", "right")),
    )
    report = house.report(*asked, gate=Gate.INTEGRATION)
    assert [(result.name, result.verdict) for result in report.checks] == [(check.name, PASSED) for check in asked]
    assert report.checks[-1].tail == "right\nleft\n"


def test_what_runs_beside_a_step_that_fails_is_told_to_its_end_and_nothing_begins_after_it(house: House) -> None:
    asked = (
        a_check("mkfifo {output_dir}/a", name="pipe"),
        a_check("echo failing > {output_dir}/a; exit 3", name="fails", needs=("pipe",)),
        a_check("cat {output_dir}/a", name="beside", needs=("pipe",)),
        a_check("true", name="after", needs=("beside", "fails")),
    )
    report = house.report(*asked, gate=Gate.INTEGRATION)
    told = {result.name: result.verdict for result in report.checks}
    assert told == {"pipe": PASSED, "fails": FAILED, "beside": PASSED}


# --- Output, and what is left ---------------------------------------------------------------------------------------


def test_a_check_runs_in_its_folder_and_fails_where_the_commit_has_none(house: House) -> None:
    commit(house.one, {"web/app/index": "the page\n"})
    assert house.check("cat index", folder="web/app").tail == "the page\n"
    os.symlink("app", house.one / "web/link")
    os.symlink("/etc", house.one / "web/out")
    commit(house.one, {"x": "x"})
    for folder in ("web/none", "web/app/index", "web/link", "web/out"):
        result = house.check("true", folder=folder)
        assert (result.verdict, result.reason) == (FAILED, f"there is no folder {folder} in this commit")


def test_of_a_long_output_the_beginning_is_told_too(house: House) -> None:
    result = house.check("echo 'error: the cause'; seq 1 60000; exit 1")
    assert result.head.startswith("error: the cause\n1\n")
    assert len(result.head) < 5000
    assert house.check("echo short").head == ""


def test_the_whole_output_is_kept_by_its_digest(house: House) -> None:
    result = house.check("seq 1 60000; echo the end >&2")
    whole = "".join(f"{n}\n" for n in range(1, 60001)).encode() + b"the end\n"
    assert result.output_bytes == len(whole)
    assert result.output_digest == hashlib.sha256(whole).hexdigest()
    assert house.outputs.read(result.output_digest, limit=len(whole) + 1) == (whole, len(whole))
    assert len(result.tail) < len(whole)
    assert result.tail.endswith("59999\n60000\nthe end\n")


def test_nothing_that_a_check_started_is_left_running(house: House) -> None:
    mark = f"3600.{secrets.randbelow(10**9)}"
    result = house.check(f"trap '' TERM HUP; sleep {mark} & setsid sleep {mark} & (setsid sleep {mark} &) ; echo done")
    assert result.verdict is PASSED
    assert not [p for p in psutil.process_iter(["cmdline"]) if mark in " ".join(p.info["cmdline"] or ())]


def test_a_run_that_is_not_wanted_any_more_ends_at_once_and_says_nothing_of_what_it_broke_off(house: House) -> None:
    fifo = house.directory / "shown/started"
    os.mkfifo(fifo, 0o666)
    os.chmod(fifo, 0o666)
    timer = threading.Thread(target=lambda: (fifo.read_text(), house.stop.set()), daemon=True)
    timer.start()
    # The folder is mounted read-only: a pipe in it can be written to all the same.
    report = house.report(a_check("true"), a_check(f"echo > '{fifo}'; sleep 60"), a_check("true"))
    timer.join(30)
    assert [result.verdict for result in report.checks] == [PASSED]
    assert report.ended_at - report.started_at < 50


# --- What is not the work's fault -----------------------------------------------------------------------------------


def test_a_repository_that_vanished_could_not_run_and_does_so_once_it_is_back(house: House) -> None:
    vector = {"one": git(house.one, "rev-parse", "main")}
    moved = house.one.rename(house.directory / "elsewhere")
    for _ in range(2):
        (result,) = house.report(a_check("true"), vector=vector).checks
        assert result.verdict is COULD_NOT_RUN
        assert str(house.one) in result.reason
    moved.rename(house.one)
    assert house.check("true").verdict is PASSED
    house.one.rename(moved)
    (result,) = house.report(a_check("true"), vector=vector).checks
    assert result.verdict is COULD_NOT_RUN
    moved.rename(house.one)
    assert house.check("true").verdict is PASSED


def test_a_check_that_trips_over_a_fault_of_ours_could_not_run_and_takes_nobody_down(house: House) -> None:
    result = house.check("", prover="z3", obligations=None)
    assert result.verdict is COULD_NOT_RUN
    assert "this is a fault in Thrum" in result.reason
    assert house.check("true").verdict is PASSED


def rehearsed(house: House, command: str | tuple[str, ...]) -> CheckResult:
    """What a check says before any agent begins."""
    vector = {"one": git(house.one, "rev-parse", "main")}
    asked = RunGate(run="r/1", gate=Gate.QUALITY, checks=(a_check(command),), vector=vector, probe=True, rehearsal=True)
    (result,) = house.runner.run(asked, house.stop).checks
    return result


@pytest.mark.parametrize("command", ["python3 -m nose2", "true && no-such-program", "env no-such-program"])
def test_what_fails_on_the_base_for_want_of_a_tool_could_not_run(house: House, command: str) -> None:
    result = rehearsed(house, command)
    assert result.verdict is COULD_NOT_RUN, result
    assert "nose2" in result.reason or "no-such-program" in result.reason
    assert house.check(command).verdict is not PASSED


@pytest.mark.parametrize(
    "command", ["exit 3", "python3 -m to_be_made", "./no-such-program", ("./no-such-program",), "sh no-such-script"]
)
def test_what_simply_fails_on_the_base_has_failed(house: House, command: str | tuple[str, ...]) -> None:
    assert rehearsed(house, command).verdict is FAILED
    assert rehearsed(house, "true").verdict is PASSED


def test_a_commit_or_a_repository_that_is_not_there_could_not_run(house: House) -> None:
    (result,) = house.report(a_check("true"), vector={"one": "1" * 40}).checks
    assert result.verdict is COULD_NOT_RUN
    result = house.check("true", repo="three")
    assert result.verdict is COULD_NOT_RUN
    assert "three" in result.reason


def test_a_place_for_checkouts_that_cannot_be_written_could_not_run(house: House) -> None:
    house.rooms.parent.mkdir(parents=True)
    house.rooms.write_text("a file where a directory should be")
    results = house.report(a_check("true", name="a"), a_check("true", name="b")).checks
    assert [(result.name, result.verdict) for result in results] == [("a", COULD_NOT_RUN), ("b", COULD_NOT_RUN)]
    assert str(house.rooms) in results[0].reason
    house.rooms.unlink()
    assert house.check("true").verdict is PASSED
