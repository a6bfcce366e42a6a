"""The demo: what its agent decides by, and that the whole of it comes about and leaves nothing running."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.repositories import git
from thrum.gate import CheckResult, Gate, GateResult, Verdict
from thrum.prompt import assemble, gate_setback
from thrum.task import Attempt, Setback, Task

ROOT = Path(__file__).resolve().parent.parent
SCRIPTED = ROOT / "examples" / "scripted"
TOP = "Show only the most frequent words"
CASE = "Count words regardless of case"
REST = "Say how many words were left out"
ORDER_TEST = "test_words_of_equal_count_are_in_alphabetical_order"


# --- The agent, with the prompts that Thrum makes ------------------------------------------------------------------


@pytest.fixture
def tally(tmp_path: Path, shell_env: dict[str, str]) -> Path:
    """The sample repository, as the demo makes it."""
    run(["python", str(SCRIPTED / "make.py"), str(tmp_path / "demo")], shell_env)
    return tmp_path / "demo" / "tally"


def run(command: list[str], env: dict[str, str], cwd: Path = ROOT, expect: int = 0) -> str:
    path = shutil.which(command[0], path=env["PATH"])
    assert path is not None
    ran = subprocess.run([path, *command[1:]], cwd=cwd, env=env, capture_output=True, text=True, timeout=115)
    assert ran.returncode == expect, f"{command}: {ran.returncode}\n{ran.stdout}\n{ran.stderr}"
    return ran.stdout


def prompt_of(title: str, *setbacks: Setback, files: tuple[str, ...] = ()) -> str:
    attempts = [Attempt(token=n + 1, base="b", files=files) for n in range(len(setbacks) + 1)]
    return assemble(Task(id="tally-1", repo="tally", title=title, attempts=tuple(attempts), setbacks=setbacks))


def work(tally: Path, prompt: str) -> tuple[int, str]:
    """Run the agent on the prompt; its exit code, and what it printed."""
    file = tally.parent / "prompt.md"
    file.write_text(prompt)
    ran = subprocess.run(
        [sys.executable, str(SCRIPTED / "agent.py"), str(file)], cwd=tally, capture_output=True, text=True, timeout=30
    )
    return ran.returncode, ran.stdout


def pytest_in(tally: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    env = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=tally, env=env, capture_output=True, text=True, timeout=60)


def gate_failed(output: str) -> Setback:
    check = CheckResult(name="test", verdict=Verdict.FAILED, exit_code=1, command="pytest -q", tail=output)
    result = GateResult(gate=Gate.QUALITY, verdict=Verdict.FAILED, checks=(check,))
    return Setback(cause="gate", text=gate_setback(result), token=1)


def test_the_first_attempt_breaks_a_test_and_the_output_of_the_gate_mends_it(tally: Path) -> None:
    assert work(tally, prompt_of(TOP))[0] == 0
    broken = pytest_in(tally)
    assert broken.returncode == 1
    assert f"::{ORDER_TEST}" in broken.stdout
    code, said = work(tally, prompt_of(TOP, gate_failed(broken.stdout)))
    assert (code, ORDER_TEST in said) == (0, True)
    assert pytest_in(tally).returncode == 0


def test_without_the_output_of_the_gate_the_agent_mends_nothing(tally: Path) -> None:
    work(tally, prompt_of(TOP))
    before = git(tally, "diff")
    assert work(tally, prompt_of(TOP, gate_failed("something failed")))[0] == 1
    assert work(tally, prompt_of(TOP))[0] == 0
    assert git(tally, "diff") == before


def test_the_agent_does_what_the_feedback_says(tally: Path) -> None:
    assert work(tally, prompt_of(CASE))[0] == 0
    changed = ("tally/words.py", "tests/test_words.py")
    feedback = Setback(cause="rejected", text="Use `upper` instead of `lower`.", token=1)
    assert work(tally, prompt_of(CASE, feedback, files=changed))[0] == 0
    assert "text.upper()" in (tally / "tally" / "words.py").read_text()
    feedback = Setback(cause="rejected", text="Add a test that `Tea` and `TEA` are one word.", token=2)
    assert work(tally, prompt_of(CASE, feedback, files=changed))[0] == 0
    assert 'count_words("Tea TEA")' in (tally / "tests" / "test_words.py").read_text()


def test_feedback_that_the_agent_does_not_understand_changes_nothing(tally: Path) -> None:
    feedback = Setback(cause="rejected", text="Make it nicer.", token=1)
    assert work(tally, prompt_of(CASE, feedback)) == (1, "I do not understand the feedback.\n")
    assert git(tally, "status", "--porcelain") == ""


def test_the_third_task_has_nothing_to_build_on_before_the_first_has_landed(tally: Path) -> None:
    assert work(tally, prompt_of(REST))[0] == 0
    assert git(tally, "status", "--porcelain") == ""


# --- The project ----------------------------------------------------------------------------------------------------


def test_the_sample_repository_has_a_history_and_passes_its_own_tests(tally: Path) -> None:
    assert len(git(tally, "log", "--oneline").splitlines()) == 4
    assert git(tally, "status", "--porcelain") == ""
    assert pytest_in(tally).returncode == 0


def test_nothing_is_written_into_a_folder_that_holds_something(tmp_path: Path, shell_env: dict[str, str]) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    run(["python", str(SCRIPTED / "make.py"), str(tmp_path / "full")], shell_env, expect=1)
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine"]


def test_without_bubblewrap_the_demo_says_what_that_means(tmp_path: Path, shell_env: dict[str, str]) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for program in ("git", "pytest", "ruff", "python"):
        found = shutil.which(program, path=shell_env["PATH"])
        assert found is not None
        (bare / program).symlink_to(found)
    env = {**shell_env, "PATH": str(bare)}
    told = run([sys.executable, str(SCRIPTED / "make.py"), str(tmp_path / "demo")], env)
    assert told.startswith("none, as this machine offers no other: ")
    assert 'backend = "none"' in (tmp_path / "demo" / "configs" / "pipeline.toml").read_text()


# --- The whole ------------------------------------------------------------------------------------------------------


def processes_of(directory: Path) -> list[psutil.Process]:
    """All processes whose command line names the project."""
    found = psutil.process_iter(["cmdline"])
    return [process for process in found if any(str(directory) in word for word in process.info["cmdline"] or ())]


def assert_all_down(directory: Path) -> None:
    """What has been told to end may need a moment for its last step."""
    _, alive = psutil.wait_procs(processes_of(directory), timeout=5)
    assert alive == []


def shown(task: str, directory: Path, env: dict[str, str]) -> dict[str, Any]:
    view: dict[str, Any] = json.loads(run(["thrum", "--dir", str(directory), "task", "show", task, "--json"], env))
    return view


def event(view: dict[str, Any], kind: str, **data: Any) -> dict[str, Any]:
    """The first event of the kind with these data."""
    return next(one for one in view["history"] if one["kind"] == kind and data.items() <= one["data"].items())


def test_the_demo_brings_three_tasks_to_main(tmp_path: Path, shell_env: dict[str, str]) -> None:
    directory = tmp_path / "demo"
    told = run(["bash", str(SCRIPTED / "demo.sh"), str(directory)], shell_env)
    assert f"The gate says that {ORDER_TEST} fails." in told
    assert "The feedback asks for casefold instead of lower." in told
    assert_all_down(directory)

    first, second, third = (shown(f"tally-{number}", directory, shell_env) for number in (1, 2, 3))
    assert [task["state"] for task in (first, second, third)] == ["merged"] * 3
    assert [(task["retries"], task["rejections"]) for task in (first, second, third)] == [(1, 0), (0, 1), (0, 0)]
    failed = event(first, "gate-finished", gate="quality", verdict="failed")
    assert {check["name"]: check["verdict"] for check in failed["data"]["checks"]} == {
        "fmt": "passed",
        "lint": "passed",
        "test": "failed",
    }
    assert event(first, "merged")["at"] <= event(third, "attempt-started")["at"]
    check_main(directory / "tally", tmp_path)


def check_main(tally: Path, scratch: Path) -> None:
    """The branch is where its checkout is, and each of its landed commits passes the tests by itself."""
    assert git(tally, "status", "--porcelain") == ""
    landed = git(tally, "rev-list", "--first-parent", "--max-count=3", "main").split()
    for commit in landed:
        assert len(git(tally, "rev-parse", f"{commit}^@").split()) == 2
        checkout = scratch / commit
        git(tally, "worktree", "add", "--quiet", "--detach", str(checkout), commit)
        assert pytest_in(checkout).returncode == 0
    assert "casefold" in (tally / "tally" / "words.py").read_text()


def test_an_interrupted_demo_leaves_no_process(tmp_path: Path, shell_env: dict[str, str]) -> None:
    directory = tmp_path / "demo"
    # Whoever starts the tests in the background has them ignore SIGINT, which bash could not undo.
    command = ["env", "--default-signal=INT", "bash", str(SCRIPTED / "demo.sh"), str(directory)]
    with subprocess.Popen(
        command, env=shell_env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as demo:
        assert demo.stdout is not None
        assert any("$ thrum run" in line for line in demo.stdout)
        assert processes_of(directory)
        os.killpg(demo.pid, signal.SIGINT)
        said = demo.stdout.read()
        assert demo.wait(60) == 130, said
    assert str(directory) in said
    assert_all_down(directory)


# --- The scripts around it --------------------------------------------------------------------------------------------


def test_a_python_that_cannot_run_is_passed_over(tmp_path: Path) -> None:
    shims = tmp_path / "shims"
    shims.mkdir()
    (shims / "python3").write_text("#!/bin/sh\nexit 127\n")
    (shims / "python3").chmod(0o755)
    path = os.pathsep.join((str(shims), str(Path(sys.executable).parent), "/usr/bin", "/bin"))
    script = f'source "{ROOT}/scripts/lib.sh"; pythons'
    ran = subprocess.run(["bash", "-c", script], env={"PATH": path}, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert str(Path(sys.executable).parent / "python3") in ran.stdout.splitlines()
    assert str(shims / "python3") not in ran.stdout


@pytest.mark.parametrize(
    "script", ["demo", "test", "bench", "pre-commit", "install-agents", "test-agents", "../.ci/run"]
)
def test_a_script_can_be_run_and_is_sound_bash(script: str) -> None:
    path = ROOT / "scripts" / script
    assert os.access(path, os.X_OK)
    subprocess.run(["bash", "-n", str(path)], check=True, timeout=10)
