"""The example of three repositories: its agent, and the whole of it, with Z3 and Rocq, from tasks to main."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.repositories import git
from tests.requirements import needs
from tests.test_demo import assert_all_down, event, run, shown

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "pulseengine"
REPOSITORIES = ("meld", "loom", "synth")
TASKS = tuple(f"{name}-1" for name in REPOSITORIES)
DIVIDE = "Divide by two with a shift"
HISTORY = "# What happened so far\n\nThe last attempt did not pass a gate. Mend what it found:\n\n"
FOUND = "proofs/div-by-two.smt2:6: answered sat, expected unsat\n  counterexample:\n    x = 3 (0xfffffffd, 32 bits)\n"

RUST = pytest.mark.skipif(shutil.which("cargo") is None, reason="no cargo on PATH: the example then takes Python")

pytestmark = needs("z3", "coqc", "coqchk")


@pytest.fixture
def project(tmp_path: Path, shell_env: dict[str, str]) -> Path:
    """The project as it is before any task, in Python."""
    run(["python", str(EXAMPLE / "make.py"), "python", str(tmp_path / "made")], shell_env)
    return tmp_path / "made"


def work(project: Path, repo: str, title: str, history: str = "") -> subprocess.CompletedProcess[str]:
    """Run the agent in the repository's own checkout."""
    prompt = project / "prompt.md"
    prompt.write_text(f"# Task {repo}-1: {title}\n\n{history}")
    command = [sys.executable, "-B", str(project / "agent" / "agent.py"), str(prompt)]
    return subprocess.run(command, cwd=project / repo, capture_output=True, text=True, timeout=30, check=False)


def commit(repo: Path) -> None:
    git(repo, "add", "--all")
    git(repo, "commit", "--quiet", "--message", "by hand")


# --- By hand ----------------------------------------------------------------------------------------------------------

TESTS = {
    "python": (
        [sys.executable, "-W", "error", "-m", "compileall", "-q", "-f", "."],
        [sys.executable, "-m", "unittest"],
    ),
    "rust": (
        ["cargo", "fmt", "--", "--check"],
        ["cargo", "clippy", "--quiet", "--offline", "--all-targets", "--", "-D", "warnings"],
        ["cargo", "test", "--offline"],
    ),
}


def program(language: str, repo: str) -> list[str]:
    return [sys.executable, f"{repo}.py"] if language == "python" else ["cargo", "run", "--quiet", "--offline", "--"]


def passes(command: list[str], cwd: Path) -> str:
    """What a command that must exit 0 prints, wherever."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "RUSTUP_HOME", "CARGO_HOME") if name in os.environ}
    env = {**kept, "PYTHONDONTWRITEBYTECODE": "1"}
    ran = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=100, check=False)
    assert ran.returncode == 0, f"{command}: {ran.returncode}\n{ran.stdout}\n{ran.stderr}"
    return ran.stdout + ran.stderr


def answer(obligation: Path) -> str:
    """What the solver says; it also exits 1 where that is not what the file expects."""
    ran = subprocess.run(["z3", str(obligation)], capture_output=True, text=True, timeout=60, check=False)
    return ran.stdout.splitlines()[0]


def check_alone(language: str, repo: str, checkout: Path) -> None:
    """Gates 1 and 2 of one repository, as one would run them without Thrum."""
    for command in TESTS[language]:
        passes(command, checkout)
    if repo == "loom":
        obligations = list((checkout / "proofs").glob("*.smt2"))
        assert len(obligations) >= 3
        assert {answer(one) for one in obligations} == {"unsat"}
    if repo == "meld":
        passes(["coqc", "-Q", "proofs", "Meld", "proofs/Fusion.v"], checkout)
        theorems = re.findall(r"^Theorem (\w+)", (checkout / "proofs" / "Fusion.v").read_text(), re.MULTILINE)
        questions = "".join(f"Print Assumptions {name}.\n" for name in theorems)
        (checkout / "questions.v").write_text(f"Require Import Meld.Fusion.\n{questions}")
        told = passes(["coqc", "-Q", "proofs", "Meld", "questions.v"], checkout)
        assert told.count("Closed under the global context") == len(theorems) >= 1


def check_together(language: str, checkouts: dict[str, Path], out: Path) -> list[str]:
    """Gate 3 on one checkout of each repository; the optimised program."""
    out.mkdir()
    fixture, compare = str(EXAMPLE / "fixture.st"), str(EXAMPLE / "compare.py")
    fused, optimised, made = (str(out / name) for name in ("fused", "optimised", "program"))
    passes([*program(language, "meld"), "fuse", fixture, "-o", fused], checkouts["meld"])
    passes([*program(language, "loom"), "optimise", fused, "-o", optimised], checkouts["loom"])
    passes([*program(language, "synth"), "compile", optimised, "-o", made], checkouts["synth"])
    assert "6 runs, 0 wrong" in passes([sys.executable, compare, fixture, made], out)
    return Path(optimised).read_text().splitlines()


# --- The project ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["--basic"], ["--python", "full"]])
def test_run_does_nothing_where_it_cannot(arguments: list[str], tmp_path: Path, shell_env: dict[str, str]) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine").touch()
    script = str(EXAMPLE / "run.sh")
    command = ["bash", script, *arguments]
    ran = subprocess.run(command, cwd=tmp_path, env=shell_env, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, "usage: run.sh" in ran.stderr) == ((2, True) if arguments == ["--basic"] else (1, False))
    assert [path.name for path in full.iterdir()] == ["mine"]


def test_a_prover_that_is_missing_is_named(tmp_path: Path, shell_env: dict[str, str]) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("python", "python3", "git", "z3"):
        found = shutil.which(name, path=shell_env["PATH"])
        assert found is not None
        (bare / name).symlink_to(found)
    command = [sys.executable, str(EXAMPLE / "make.py"), "python", str(tmp_path / "made")]
    env = {**shell_env, "PATH": str(bare)}
    ran = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, "missing on the PATH: coqc, coqchk;" in ran.stderr) == (1, True)
    assert not (tmp_path / "made").exists()


def test_each_repository_passes_its_gates_before_any_task(project: Path) -> None:
    for name in REPOSITORIES:
        assert git(project / name, "status", "--porcelain") == ""
        check_alone("python", name, project / name)
    assert "div" in check_together("python", {name: project / name for name in REPOSITORIES}, project / "out")


# --- The agent, and what stops it -------------------------------------------------------------------------------------


def test_the_rule_of_the_first_attempt_passes_its_tests_and_is_refuted(project: Path) -> None:
    assert work(project, "loom", DIVIDE).returncode == 0
    passes([sys.executable, "-m", "unittest"], project / "loom")
    assert answer(project / "loom" / "proofs" / "div-by-two.smt2") == "sat"


def test_the_agent_keeps_the_counterexample_as_a_test(project: Path) -> None:
    work(project, "loom", DIVIDE)
    assert work(project, "loom", DIVIDE, HISTORY + FOUND).returncode == 0
    assert "2**31 - 1, -3)" in (project / "loom" / "tests" / "test_loom.py").read_text()
    check_alone("python", "loom", project / "loom")


def test_without_a_counterexample_the_agent_mends_nothing(project: Path) -> None:
    work(project, "loom", DIVIDE)
    before = git(project / "loom", "diff")
    assert work(project, "loom", DIVIDE, HISTORY + "Check `z3_verify` failed.").returncode == 1
    assert git(project / "loom", "diff") == before


def test_a_program_that_does_another_thing_is_told(tmp_path: Path) -> None:
    constant = tmp_path / "program"
    constant.write_text("#!/bin/sh\necho 0 50\n")
    constant.chmod(0o755)
    for fixture, last in ((EXAMPLE / "fixture.st", "6 runs, 5 wrong"), (EXAMPLE / "compare.py", "0 runs, 0 wrong")):
        command = [sys.executable, str(EXAMPLE / "compare.py"), str(fixture), str(constant)]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert (ran.returncode, ran.stdout.splitlines()[-1]) == (1, last)


@needs("bwrap")
def test_what_synth_cannot_compile_yet_is_stopped_by_gate_3(project: Path, shell_env: dict[str, str]) -> None:
    work(project, "loom", DIVIDE)
    work(project, "loom", DIVIDE, HISTORY + FOUND)
    commit(project / "loom")
    command = ["thrum", "--dir", str(project), "gate", "run", "--repo", "loom", "--gate", "integration", "--json"]
    told = json.loads(run(command, shell_env, expect=3))
    assert [(check["name"], check["verdict"]) for check in told["checks"]] == [
        ("meld fuse", "passed"),
        ("loom optimise", "passed"),
        ("synth compile", "failed"),
    ]
    assert "shr: no such instruction" in Path(told["checks"][2]["output"]).read_text()
    work(project, "synth", "Compile shr, the shift that brings in zeros")
    commit(project / "synth")
    assert json.loads(run(command, shell_env))["verdict"] == "passed"


@needs("bwrap")
def test_a_proof_that_is_admitted_is_stopped_by_gate_2(project: Path, shell_env: dict[str, str]) -> None:
    proof = project / "meld" / "proofs" / "Fusion.v"
    proof.write_text(proof.read_text() + "\nTheorem more : forall p, run p None = None.\nAdmitted.\n")
    commit(project / "meld")
    told = run(
        ["thrum", "--dir", str(project), "gate", "run", "--repo", "meld", "--gate", "proof"], shell_env, expect=3
    )
    assert "proofs/Fusion.v" in told
    assert "Admitted" in told


# --- The whole --------------------------------------------------------------------------------------------------------


@needs("bwrap")
@pytest.mark.timeout(300)
def test_three_tasks_land_through_three_gates(tmp_path: Path, shell_env: dict[str, str]) -> None:
    check_example("python", tmp_path, shell_env)


@needs("bwrap")
@RUST
@pytest.mark.timeout(600)
def test_the_programs_in_rust_land_through_the_same_gates(tmp_path: Path, shell_env: dict[str, str]) -> None:
    cargo = shutil.which("cargo")
    assert cargo is not None
    check_example("rust", tmp_path, {**shell_env, "PATH": f"{shell_env['PATH']}:{Path(cargo).parent}"})


@RUST
@pytest.mark.timeout(300)
def test_the_programs_in_rust_make_what_those_in_python_make(tmp_path: Path, shell_env: dict[str, str]) -> None:
    made: dict[str, list[str]] = {}
    for language in TESTS:
        source = tmp_path / language
        for kind in ("shared", language):
            shutil.copytree(EXAMPLE / "programs" / kind, source, dirs_exist_ok=True)
        check_together(language, {name: source / name for name in REPOSITORIES}, tmp_path / f"{language}-out")
        made[language] = [path.read_text() for path in sorted((tmp_path / f"{language}-out").iterdir())]
    assert made["python"] == made["rust"]


def check_example(language: str, scratch: Path, env: dict[str, str]) -> None:
    """Run the example, and look at what it left."""
    directory = scratch / "example"
    command = ["bash", str(EXAMPLE / "run.sh"), f"--{language}", str(directory)]
    ran = subprocess.run(command, env=env, capture_output=True, text=True, timeout=280, check=False)
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
    assert_all_down(directory)
    views = {task: shown(task, directory, env) for task in TASKS}
    assert {task: (view["state"], view["retries"]) for task, view in views.items()} == {
        "meld-1": ("merged", 0),
        "loom-1": ("merged", 1),
        "synth-1": ("merged", 0),
    }
    assert event(views["synth-1"], "merged")["at"] <= event(views["loom-1"], "attempt-started")["at"]
    for task, prover in (("meld-1", "rocq_proofs"), ("loom-1", "z3_verify")):
        proven = event(views[task], "gate-finished", gate="proof", verdict="passed")
        assert {check["name"]: check["verdict"] for check in proven["data"]["checks"]}[prover] == "passed"
    for view in views.values():
        assert event(view, "gate-finished", gate="quality", verdict="passed")
        together = event(view, "gate-finished", gate="integration", verdict="passed")
        assert [check["verdict"] for check in together["data"]["checks"]] == ["passed"] * 4

    refuted = event(views["loom-1"], "gate-finished", gate="proof", verdict="failed")
    assert refuted["data"]["checks"][0]["name"] == "z3_verify"
    prompts = [
        run(["thrum", "--dir", str(directory), "task", "prompt", "loom-1", "--attempt", number], env)
        for number in ("1", "2")
    ]
    assert re.findall(r"(proofs/\S+):\d+: answered sat.*\n +counterexample:\n +x = ", prompts[1]) == [
        "proofs/div-by-two.smt2"
    ]
    assert "counterexample" not in prompts[0]
    assert_all_down(directory)
    order = sorted(TASKS, key=lambda task: float(event(views[task], "merged")["at"]))
    check_every_commit(language, directory, [task.partition("-")[0] for task in order], scratch / "by-hand")


def check_every_commit(language: str, directory: Path, order: list[str], scratch: Path) -> None:
    """Each first-parent commit of each main passes gates 1 and 2, and Gate 3 with what the others were by then."""
    commits = {name: git(directory / name, "rev-list", "--first-parent", "main").split() for name in REPOSITORIES}
    assert {name: len(found) for name, found in commits.items()} == dict.fromkeys(REPOSITORIES, 2)
    checkouts: dict[str, dict[str, Path]] = {"landed": {}, "base": {}}
    for name, found in commits.items():
        assert git(directory / name, "status", "--porcelain") == ""
        for which, sha in zip(("landed", "base"), found, strict=True):
            checkouts[which][name] = checkout = scratch / which / name
            git(directory / name, "worktree", "add", "--quiet", "--detach", str(checkout), sha)
            check_alone(language, name, checkout)
    vector = dict(checkouts["base"])
    optimised = check_together(language, vector, scratch / "at-first")
    assert "div" in optimised
    for name in order:
        vector[name] = checkouts["landed"][name]
        optimised = check_together(language, vector, scratch / f"after-{name}")
    assert "div" not in optimised
    assert "shr" in optimised
