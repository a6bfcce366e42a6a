"""The `thrum` command, as a user meets it: real processes, real repositories, a scripted agent."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.projects import SOURCE, ThrumProject, environment
from tests.repositories import commit, git, make_repository
from tests.requirements import needs
from thrum.backends import PRESETS

HEAD_OF_TASK = {
    "id": str, "repo": str, "title": str, "state": str, "retries": int, "waiting_for": str,
    "reason": str, "gates": list, "commits": dict, "created_at": float, "changed_at": float, "depends_on": list,
    "attempts": list, "approvals": list,
}  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> ThrumProject:
    return ThrumProject(tmp_path)


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ThrumProject]:
    """A project that is up, with no task in it, for commands that only look or are refused."""
    project = ThrumProject(tmp_path_factory.mktemp("quiet"))
    with project.up():
        yield project


def python(script: str, *args: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *args], env=environment(variables), capture_output=True, text=True, timeout=60
    )


# --- One task, from its title to the branch ---------------------------------------------------------------------------


def test_a_task_goes_from_add_to_merged(project: ThrumProject) -> None:
    task = project.json("task", "add", "--title", "Write a note", "--description", "Any will do.", "--by", "ada")
    assert {key: type(task[key]) for key in HEAD_OF_TASK} == HEAD_OF_TASK
    assert (task["id"], task["state"], task["waiting_for"], task["retries"]) == ("demo-1", "pending", "slot", 0)
    assert task["commits"] == {"base": None, "head": None, "landed": None}

    ran = project.command("run", code=4)
    assert "1 awaiting-approval" in ran.out
    assert "demo-1" in ran.err

    task = project.json("task", "show", "demo-1")
    assert task["state"] == task["history"][-1]["state"] == "awaiting-approval"
    assert {gate["gate"]: gate["verdict"] for gate in task["gates"]} == {
        "quality": "passed", "review": "not-configured", "proof": "not-configured",
    }  # fmt: skip
    lint = next(check for check in task["gates"][0]["checks"] if check["name"] == "lint")
    assert (lint["verdict"], lint["exit_code"], type(lint["duration_s"]), lint["reason"]) == ("passed", 0, float, "")
    assert task["commits"]["base"] == git(project.repo, "rev-parse", "main")

    diff = project.json("task", "diff", "demo-1")
    assert (diff["files"], diff["head"]) == (["notes.txt"], task["commits"]["head"])
    assert "+line" in project.command("task", "diff", "demo-1").out
    assert project.command("task", "log", "demo-1").out == "working\n"
    assert project.json("task", "log", "demo-1")["text"] == "working\n"

    refused = project.json("task", "approve", "demo-1", "--commit", "1234567", code=1)
    assert "has changed since" in refused[0]["error"]["message"]
    approved = project.json("task", "approve", "demo-1", "--commit", task["commits"]["head"][:12], "--by", "grace")
    assert (approved[0]["state"], approved[0]["approvals"][0]["by"]) == ("approved", "grace")

    landed = project.json("run", "--once")
    assert (landed["exit_code"], landed["task"]["state"]) == (0, "merged")
    assert landed["task"]["commits"]["landed"] == git(project.repo, "rev-parse", "main")
    shown = project.command("task", "show", "demo-1").out
    assert "merged as" in shown
    assert "approved by grace" in shown
    assert project.json("run")["exit_code"] == 0


def test_run_once_takes_one_task_and_what_can_land_first(project: ThrumProject) -> None:
    first, second = project.add("First"), project.add("Second")
    assert project.json("run", "--once", code=4)["task"]["id"] == first
    assert project.json("task", "show", second)["state"] == "pending"
    project.command("task", "approve", first)
    assert project.json("run", "--once")["task"]["id"] == first
    assert project.json("run", "--once", code=4)["task"]["id"] == second
    left = project.json("run", "--once", code=4)
    assert (left["task"], list(left["approval"])) == (None, [second])


def test_a_gate_that_fails_sends_the_task_back_with_its_words(project: ThrumProject) -> None:
    task = project.add("BE-RED until told")
    project.command("run", code=4)
    view = project.json("task", "show", task)
    assert (view["retries"], len(view["attempts"])) == (1, 2)
    kinds = [event["kind"] for event in view["history"]]
    assert kinds.count("retried") == 1
    assert "lint failed" in project.command("task", "show", task).out


def test_a_task_without_a_change_fails_and_blocks_those_that_need_it(project: ThrumProject) -> None:
    failing = project.add("DO-NOTHING")
    blocked = project.add("After it", "--depends-on", failing)
    left = project.json("run", code=1)
    assert list(left["failed_now"]) == [failing]
    assert left["blocked"] == {blocked: f"{failing} is failed"}
    assert left["states"] == {"failed": 1, "pending": 1}
    again = project.json("run", code=1)
    assert (again["failed_now"], list(again["blocked"])) == ({}, [blocked])
    assert project.json("task", "retry", failing, "--feedback", "try harder")["state"] == "pending"
    project.command("task", "cancel", failing)
    project.command("task", "cancel", blocked, "--why", "not wanted")
    assert project.json("run")["exit_code"] == 0


def test_a_module_that_is_missing_is_the_operators_and_uses_up_no_retry(project: ThrumProject) -> None:
    project.configure(repo='test_cmd = "python3 -m behave"')
    task = project.add("Add a line")
    left = project.json("run", code=1)
    assert "there is no module 'behave' for it" in left["operator"][task]
    view = project.json("task", "show", task)
    assert (view["waiting_for"], view["retries"], view["gates"]) == ("operator", 0, [])
    assert not [attempt for attempt in view["attempts"] if attempt["head"]], "no agent began"


def test_a_tool_that_is_missing_is_the_operators_and_exit_code_1(project: ThrumProject) -> None:
    project.configure(lint="no-such-program-here --all")
    task = project.add("Anything")
    left = project.json("run", code=1)
    assert "no-such-program-here" in left["operator"][task]
    again = project.json("run", "--once", code=1)["task"]
    assert (again["id"], again["waiting_for"]) == (task, "operator"), "what was started anew looks again"
    project.configure()
    project.command("task", "retry", task)
    project.command("run", code=4)


def test_rejection_goes_back_to_the_agent_with_the_feedback(project: ThrumProject) -> None:
    task = project.add("Write a note")
    project.command("run", code=4)
    assert project.json("task", "reject", task, "--feedback", "one more line")["rejections"] == 1
    project.command("run", code=4)
    head = project.json("task", "show", task)["commits"]["head"]
    assert git(project.repo, "show", f"{head}:notes.txt") == "line\nline"
    assert "one more line" in project.command("task", "show", task).out


def test_several_approvals_are_each_tried(project: ThrumProject) -> None:
    first, second = project.add("First"), project.add("Second")
    project.command("run", code=4)
    ran = project.command("task", "approve", first, "demo-99", second, code=2)
    assert (ran.out.count("approved"), "demo-99" in ran.err) == (2, True)
    again = project.json("task", "approve", first, code=1)
    assert again[0]["error"]["code"] == "refused"


# --- Bad input --------------------------------------------------------------------------------------------------------

BAD = [
    (["task", "add", "--repo", "dmeo", "--title", "x"], 2, "did you mean 'demo'"),
    (["task", "add", "--title", ""], 2, "title is empty"),
    (["task", "add", "--title", "  "], 2, "title is empty"),
    (["task", "add", "--title", "x" * 10_000], 2, "more than 300"),
    (["task", "add", "--title", "a\x1b[31mb"], 2, "control character"),
    (["task", "add", "--title", "a\nb"], 2, "control character"),
    (["task", "add", "--title", os.fsdecode(b"a\xff")], 2, "not UTF-8"),
    (["task", "add", "--title", "x", "--description", "a\x07"], 2, "control character"),
    (["task", "add", "--title", "x", "--description-file", "no-such-file"], 2, "no-such-file"),
    (["task", "add", "--title", "x", "--description", "y", "--description-file", "-"], 2, "exclude each other"),
    (["task", "add", "--title", "x", "--depends-on", "demo-99"], 2, "demo-99"),
    (["task", "add", "--title", "x", "--depends-on", "other-1"], 2, "no repository of this project is called 'other'"),
    (["task", "add", "--title", "x", "--priority", "high"], 2, "high"),
    (["task", "add", "--title", "x", "--by", ""], 2, "no name"),
    (["task", "add"], 2, "--title"),
    (["task", "show", "demo-99"], 2, "demo-99"),
    (["task", "show", "demo"], 2, "an id is a repository's name"),
    (["task", "diff", "demo-99"], 2, "demo-99"),
    (["task", "log", "demo-99"], 2, "demo-99"),
    (["task", "approve", "demo-99"], 2, "demo-99"),
    (["task", "approve", "demo-1", "--commit", "12"], 2, "too short"),
    (["task", "reject", "demo-1"], 2, "--feedback"),
    (["task", "reject", "demo-1", "--feedback", " "], 2, "needs feedback"),
    (["task", "list", "--repo", "other"], 2, "other"),
    (["task", "list", "--state", "doen"], 2, "doen"),
    (["task", "lst"], 2, "Did you mean 'list'?"),
    (["--dir", "/no/such/place", "status"], 2, "/no/such/place"),
    (["run", "--agents", "-1"], 2, "--agents"),
    (["up", "--detach"], 75, "already up"),
    (["up"], 75, "already up"),
]


@pytest.mark.parametrize(("args", "code", "words"), BAD, ids=[" ".join(args)[:60] for args, _, _ in BAD])
def test_bad_input_is_refused_with_its_name_and_exit_code(
    quiet: ThrumProject, args: list[str], code: int, words: str
) -> None:
    ran = quiet.command(*args, "--json", code=code)
    error = ran.json() if isinstance(ran.json(), list) else [ran.json()]
    assert words in error[0]["error"]["message"] + error[0]["error"]["remedy"]
    assert "error: " in ran.err
    assert "Traceback" not in ran.err


def test_nothing_that_was_refused_left_a_trace(quiet: ThrumProject) -> None:
    assert quiet.json("task", "list") == []


def test_what_does_not_wait_cannot_be_approved(project: ThrumProject) -> None:
    task = project.add("Anything")
    refused = project.command("task", "approve", task, code=1)
    assert "only a task that is awaiting-approval" in refused.err
    assert project.json("task", "show", task)["state"] == "pending"


def test_outside_of_a_project_the_error_names_the_way_in(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "thrum", "task", "list"],
        cwd=tmp_path, env=environment({}), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "thrum init" in ran.stderr


def test_a_malformed_configuration_names_file_and_key(project: ThrumProject) -> None:
    (project.directory / "configs/pipeline.toml").write_text("[engine]\nmax_retrys = 3\n")
    for command in (["task", "list"], ["check"], ["run"], ["up"], ["reload"]):
        ran = project.command(*command, code=2)
        assert "pipeline.toml: engine.max_retrys" in ran.err
        assert "max_retries" in ran.err


# --- Adding -----------------------------------------------------------------------------------------------------------


def test_the_description_comes_from_a_file_or_from_stdin(project: ThrumProject) -> None:
    (project.directory / "text").write_bytes("\ufeffFrom a file\r\n".encode())
    task = project.add("One", "--description-file", "text")
    assert project.json("task", "show", task)["description"] == "From a file\n"
    ran = project.command("task", "add", "--title", "Two", "--description-file", "-", stdin="From stdin\n")
    assert project.json("task", "show", ran.out.strip())["description"] == "From stdin\n"


def test_a_description_that_is_too_long_or_no_text_is_refused(project: ThrumProject) -> None:
    for content, words in ((b"y" * 300_000, "300000 bytes, more than"), (b"a\xff", "is not UTF-8 text")):
        (project.directory / "text").write_bytes(content)
        assert words in project.command("task", "add", "--title", "x", "--description-file", "text", code=2).err


def test_the_same_key_adds_a_task_once(project: ThrumProject) -> None:
    assert project.add("Once", "--key", "k") == project.add("Once", "--key", "k")
    assert len(project.json("task", "list")) == 1


def test_who_asks_is_said_or_taken_from_the_environment(project: ThrumProject) -> None:
    project.command("task", "add", "--title", "One", THRUM_USER="grace")
    project.command("task", "add", "--title", "Two", "--by", "ada", THRUM_USER="grace")
    assert [task["created_by"] for task in project.json("task", "list")] == ["grace", "ada"]


def test_with_several_repositories_one_must_be_named_and_dependencies_reach_across(project: ThrumProject) -> None:
    make_repository(project.directory / "other")
    project.configure(repo='[[repo]]\nname = "other"\npath = "other"\n')
    refused = project.command("task", "add", "--title", "x", code=2)
    assert "demo" in refused.err
    assert "other" in refused.err
    first = project.add("First", "--repo", "demo")
    refused = project.command("task", "add", "--repo", "other", "--title", "x", "--depends-on", "demo-2", code=2)
    assert "'demo-2' to depend on" in refused.err
    second = project.add("Second", "--repo", "other", "--depends-on", first)
    assert [task["id"] for task in project.json("task", "list")] == [first, second]
    assert [task["id"] for task in project.json("task", "list", "--repo", "other")] == [second]
    left = project.json("run", code=4)
    assert (list(left["approval"]), list(left["dependency"])) == ([first], [second])


def test_the_list_can_be_cut_to_states(project: ThrumProject) -> None:
    first, second = project.add("First"), project.add("Second")
    project.command("task", "cancel", first)
    assert [task["id"] for task in project.json("task", "list", "--state", "cancelled")] == [first]
    assert [task["id"] for task in project.json("task", "list", "--state", "open")] == [second]
    listed = project.command("task", "list").out
    assert [line.split()[:2] for line in listed.splitlines()[1:]] == [[first, "cancelled"], [second, "pending"]]


# --- What is up -------------------------------------------------------------------------------------------------------


def test_status_tells_what_is_up_and_what_needs_an_eye(project: ThrumProject) -> None:
    down = project.json("status")
    assert (down["up"], [repo["repo"] for repo in down["repos"]], down["flags"]) == (False, ["demo"], [])
    with project.up() as state:
        names = {actor["name"] for actor in state["actors"]}
        assert {"broker", "scheduler", "repo.demo", "api"} <= names
        view = project.json("status")
        assert (view["up"], view["flags"], view["repos"][0]["states"]) == (True, [], {})
        assert view["api"].startswith("http://127.0.0.1:")
        project.configure(lint="true")
        assert "edited" in project.json("status")["flags"][0]["text"]
        project.command("reload")
        assert project.json("status")["flags"] == []
    assert project.json("down") == {"was_up": False}
    assert project.command("reload", code=2).err.startswith("error: nothing is up")


def test_a_configuration_that_was_broken_meanwhile_stops_nothing_that_is_up(project: ThrumProject) -> None:
    with project.up():
        (project.directory / "configs/repos.toml").write_text("[[repo]\n")
        task = project.add("Anything")
        assert project.json("task", "show", task)["id"] == task
        assert "configs/repos.toml" in project.json("status")["flags"][0]["text"]
        assert "configs/repos.toml" in project.command("reload", code=2).err
        assert project.json("status")["repos"][0]["repo"] == "demo"


def test_tasks_are_worked_off_while_it_is_up_and_run_joins_it(project: ThrumProject) -> None:
    with project.up():
        task = project.add("Anything")
        left = project.json("run", code=4)
        assert list(left["approval"]) == [task]
        assert project.json("status")["up"]


def test_the_log_of_a_running_attempt_is_shown_and_followed_until_a_person_is_needed(project: ThrumProject) -> None:
    pipe = project.pipe()
    with project.up():
        task = project.add("READ-PIPE")
        # Opening it waits for the agent, which has printed its first line by then.
        handle = os.open(pipe, os.O_WRONLY)
        try:
            with project.started("task", "log", task, "-f") as following:
                assert following.stdout is not None
                assert following.stdout.readline() == "before the pipe\n", "what was printed before it was asked for"
                shown = project.command("task", "log", task)
                assert (shown.out, "under way" in shown.err) == ("before the pipe\n", True)
                assert project.json("task", "log", task)["transcript"] == [
                    {"kind": "printed", "text": "before the pipe", "tool": ""}
                ]
                os.write(handle, b"through the pipe\n")
                os.close(handle)
                handle = -1
                out, err = following.communicate(timeout=60)
        finally:
            if handle >= 0:
                os.close(handle)
        assert following.returncode == 0, err
        assert out == "through the pipe\nafter the pipe\n"
        assert "Attempt 1 finished" in err
        assert err.endswith(f"{task} waits for approval\n")
        assert project.command("task", "log", task, "-f").out == "before the pipe\nthrough the pipe\nafter the pipe\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_takes_its_processes_with_it(project: ThrumProject, number: signal.Signals) -> None:
    pipe = project.pipe()
    task = project.add("READ-PIPE")
    running = project.started("run")
    try:
        handle = os.open(pipe, os.O_WRONLY)
        below = psutil.Process(running.pid).children(recursive=True)
        assert len(below) > 4
        running.send_signal(number)
        _, err = running.communicate(timeout=60)
    finally:
        running.kill()
        running.wait()
    os.close(handle)
    assert running.returncode == 130, err
    _, alive = psutil.wait_procs(below, timeout=10)
    assert alive == []
    assert project.json("task", "show", task)["state"] == "pending"


# --- init, check, doctor ----------------------------------------------------------------------------------------------


def init(directory: Path, *args: str, code: int = 0) -> Any:
    ran = subprocess.run(
        [sys.executable, "-m", "thrum", "init", *args, "--json"],
        cwd=directory, env=environment({}), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ran.returncode == code, ran.stderr
    return json.loads(ran.stdout)


def test_init_writes_a_configuration_that_loads_and_never_overwrites(tmp_path: Path) -> None:
    files = {"pyproject.toml": '[project]\nname = "calc"\nversion = "1"\n', "test_calc.py": "def test_it(): pass\n"}
    repo = make_repository(tmp_path / "calc", files)
    view = init(tmp_path)
    assert [one["path"] for one in view["repos"]] == [str(repo)]
    assert view["repos"][0]["languages"] == ["Python"]
    assert {Path(path).name for path in view["files"]} == {"repos.toml", "pipeline.toml"}
    before = (tmp_path / "configs/repos.toml").read_text()
    refused = init(tmp_path, code=1)
    assert "nothing is overwritten" in refused["error"]["message"]
    assert (tmp_path / "configs/repos.toml").read_text() == before


def test_init_inside_a_repository_manages_it_and_keeps_its_state_out(tmp_path: Path) -> None:
    repo = make_repository(tmp_path / "calc")
    inside = repo / "ops"
    inside.mkdir()
    view = init(inside)
    assert [one["path"] for one in view["repos"]] == [str(repo)]
    (inside / ".thrum").mkdir()
    (inside / ".thrum/token").write_text("secret")
    assert ".thrum" not in git(repo, "status", "--porcelain", "--untracked-files=all")


def test_init_beside_repositories_finds_them(tmp_path: Path) -> None:
    one, two = make_repository(tmp_path / "one"), make_repository(tmp_path / "two")
    view = init(tmp_path, str(tmp_path / "thrum"))
    assert [repo["path"] for repo in view["repos"]] == [str(one), str(two)]


def test_init_without_a_repository_says_so(tmp_path: Path) -> None:
    empty = tmp_path / "a/b"
    empty.mkdir(parents=True)
    assert "no git repository" in init(empty, code=2)["error"]["message"]
    assert "no git repository" in init(empty, "--repo", str(tmp_path), code=2)["error"]["message"]
    assert not (empty / "configs").exists()


def test_check_tells_what_must_be_mended(project: ThrumProject) -> None:
    project.add("Anything")
    view = project.json("check")
    assert (view["ok"], view["stores"][0]["ok"], view["stores"][0]["tasks"]) == (True, True, 1)
    project.configure(lint="no-such-program-here", repo='[[repo]]\nname = "gone"\npath = "gone"\n')
    view = project.json("check", code=1)
    texts = " ".join(one["text"] for one in view["findings"] if one["level"] == "error")
    assert "no-such-program-here" in texts
    assert str(project.directory / "gone") in texts


def test_check_finds_a_damaged_store_and_the_others_go_on(project: ThrumProject) -> None:
    make_repository(project.directory / "other")
    project.configure(repo='[[repo]]\nname = "other"\npath = "other"\n')
    project.add("One", "--repo", "demo")
    task = project.add("Two", "--repo", "other")
    log = max((project.directory / ".thrum/store/demo").glob("*.log"), key=lambda path: path.stat().st_size)
    raw = bytearray(log.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    log.write_bytes(raw)
    view = project.json("check", code=1)
    assert {store["repo"]: store["ok"] for store in view["stores"]} == {"demo": False, "other": True}
    assert project.command("task", "list", code=None).code not in (0, 2)
    assert [one["id"] for one in project.json("task", "list", "--repo", "other")] == [task]
    with project.up():
        view = project.json("status")
        assert any("repo.demo" in flag["text"] for flag in view["flags"])
        left = project.json("run", code=1)
        assert (list(left["away"]), list(left["approval"])) == (["demo"], [task])


def test_check_leaves_a_store_that_is_in_use_alone(quiet: ThrumProject) -> None:
    quiet.command("task", "list")
    view = quiet.json("check")
    assert all(store["in_use"] for store in view["stores"])
    assert "in use" in quiet.command("check").out


def seen_by_doctor(project: ThrumProject, path: str, **variables: str) -> dict[str, dict[str, Any]]:
    rows = project.json("doctor", code=None, PATH=path, **variables)["rows"]
    return {row["name"]: row for row in rows if "agent" in row["name"]}


def made_program(path: Path, script: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@needs("bwrap")
def test_doctor_says_which_agents_are_there_in_which_version_and_whether_a_key_is_set(
    tmp_path: Path, project: ThrumProject
) -> None:
    made_program(tmp_path / "bin/codex", "echo codex-cli 0.1.2")
    made_program(tmp_path / "bin/gemini", "echo 9.9 >&2")
    made_program(tmp_path / "bin/opencode", "echo 1.2.3; exit 1")
    project.configure(pipeline='[[backends]]\nname = "absent"\npreset = "aider"\ncommand = "no-such-aider"\n')
    agents = seen_by_doctor(project, f"{tmp_path}/bin:/usr/bin:/bin", GEMINI_API_KEY="k" * 9)
    tried = PRESETS["codex"].tried_with
    told = f"0.1.2, tried with {tried} ({tmp_path}/bin/codex); no key is set (CODEX_API_KEY)"
    assert agents["agent codex"]["text"] == told
    assert agents["agent gemini"]["text"].startswith("9.9, tried with ")
    assert agents["agent gemini"]["text"].endswith("; GEMINI_API_KEY is set")
    assert agents["agent opencode"]["text"].startswith("does not tell its version (")
    assert (agents["agent absent"]["ok"], agents["agent absent"]["text"]) == (False, "no-such-aider is not found")
    assert "agent aider" not in agents, "it is the project's own"
    assert agents["agent script"]["ok"] is False, "its key is not set"
    assert agents["other agents"]["text"] == "not on your PATH: claude-code, mini-swe-agent"
    assert not any(row["needed"] for row in agents.values())


@needs("bwrap")
def test_doctor_asks_a_program_in_the_sandbox_and_tells_it_nothing(tmp_path: Path, project: ThrumProject) -> None:
    # Its version says whether it is root, has our variables, can write where it lies, and sees the project.
    script = f"""
yes() {{ "$@" >/dev/null 2>&1 && printf 1 || printf 0; }}
printf '%s.%s.%s.%s\\n' $(yes [ "$(id -u)" = 0 ]) $(yes [ "$MODEL_KEY" ]) \\
    $(yes touch {tmp_path}/bin/new) $(yes cat {project.directory}/configs/repos.toml)
"""
    path = made_program(tmp_path / "bin/codex", script)
    agents = seen_by_doctor(project, f"{path.parent}:/usr/bin:/bin", MODEL_KEY="7", CODEX_API_KEY="8")
    assert agents["agent codex"]["text"].startswith("0.0.0.0, tried with ")


@needs("bwrap")
def test_doctor_leaves_programs_alone_that_it_does_not_know(tmp_path: Path, project: ThrumProject) -> None:
    mark = tmp_path / "it-ran"
    path = made_program(tmp_path / "bin/own-agent", f"touch {mark}; echo 1.2.3")
    project.configure(pipeline='[[backends]]\nname = "own"\ncommand = "own-agent"\nprompt_args = ["{prompt}"]\n')
    agents = seen_by_doctor(project, f"{path.parent}:/usr/bin:/bin")
    assert agents["agent own"]["text"] == f"found ({path})"
    assert not mark.exists()


def test_doctor_asks_no_version_where_there_is_no_sandbox(tmp_path: Path, project: ThrumProject) -> None:
    mark = tmp_path / "it-ran"
    path = made_program(tmp_path / "bin/codex", f"touch {mark}; echo 1.2.3")
    (tmp_path / "bin/git").symlink_to(str(shutil.which("git")))
    agents = seen_by_doctor(project, str(path.parent))
    assert agents["agent codex"]["text"].startswith("found; without the sandbox os-native it is not asked")
    assert not mark.exists()


def test_doctor_works_anywhere(tmp_path: Path, project: ThrumProject) -> None:
    view = project.json("doctor", code=None)
    assert {"python", "git", "plyvel", "sockets", "sandbox"} <= {row["name"] for row in view["rows"]}
    assert view["sandbox"]["backend"] == "none"


# --- Terminals, shells, pipes ----------------------------------------------------------------------------------------


def on_terminal(project: ThrumProject, *args: str, **variables: str) -> str:
    """What a command prints when all its streams are a terminal."""
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "thrum", *args],
            cwd=project.directory,
            env=environment({"TERM": "xterm", "PAGER": "cat", **variables}),
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        chunks, deadline = [], time.monotonic() + 60
        while time.monotonic() < deadline and select.select([ours], [], [], 60)[0]:
            try:
                chunks.append(os.read(ours, 65536))
            except OSError:
                break
        assert process.wait(60) == 0
        return b"".join(chunks).decode()
    finally:
        os.close(ours)


def test_an_agent_cannot_steer_the_terminal(project: ThrumProject) -> None:
    task = project.add("STEER")
    project.command("run", code=4)
    assert "\x1b" in project.command("task", "log", task).out
    told = on_terminal(project, "task", "log", task)
    assert "\x1b[31m" not in told
    assert "\\x1b[31m \\x85 \\x202e alert" in told
    for words in (["log", task], ["log", task, "-f"], ["export", task, "--format", "json"], ["show", task]):
        shown = on_terminal(project, "--json", "task", *words)
        assert "\\u001b[31m \\u0085 \\u202e alert" in shown
        assert not {"\x1b", "\x85", "\u202e"} & {*shown}, words
    assert json.loads(on_terminal(project, "--json", "task", "log", task))["text"] == "red \x1b[31m \x85 \u202e alert\n"
    for form in ("md", "jsonl"):
        assert not {"\x1b", "\x85", "\u202e"} & {*on_terminal(project, "task", "export", task, "--format", form)}
    coloured = on_terminal(project, "task", "diff", task)
    assert "\x1b[32m+x" in coloured
    assert "\x1b" not in on_terminal(project, "task", "diff", task, NO_COLOR="1")
    assert "\x1b" not in project.command("task", "show", task).out


def test_a_reader_that_has_seen_enough_ends_the_command_quietly(quiet: ThrumProject) -> None:
    with quiet.started("status") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        err = process.stderr.read()
        assert process.wait(30) == 141
    assert err == ""


def test_version_and_completion_import_no_more_than_they_need() -> None:
    look = "import sys; from thrum.cli import main; main(sys.argv[1:]); print(sorted(sys.modules))"
    ran = python(look, "--version")
    assert ran.stdout.startswith("thrum ")
    assert "'click'" not in ran.stdout
    heavy = ("'zmq'", "'falcon'", "'plyvel'", "'thrum.config'", "'thrum.messages'")
    look = (
        "import atexit, sys; from thrum.cli import main; "
        "atexit.register(lambda: print(sorted(sys.modules))); sys.exit(main([]))"
    )
    for words, expected in (("thrum ta", "task"), ("thrum task ap", "approve"), ("thrum run --on", "--once")):
        count = str(len(words.split()) - 1)
        ran = python(look, _THRUM_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=count)
        assert f",{expected}\n" in ran.stdout, ran.stderr
        assert not [name for name in heavy if name in ran.stdout]


def test_adding_a_task_imports_neither_stores_nor_the_api(project: ThrumProject) -> None:
    look = (
        "import sys; from thrum.cli import main; "
        "code = main(['--dir', sys.argv[1], 'task', 'add', '--title', 'x']); print(sorted(sys.modules)); sys.exit(code)"
    )
    ran = python(look, str(project.directory))
    assert ran.returncode == 0, ran.stderr
    heavy = ("'falcon'", "'plyvel'", "'psutil'", "'thrum.detection.detect'", "'thrum.sandbox'", "'waitress'")
    assert not [name for name in heavy if name in ran.stdout]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_there(quiet: ThrumProject, shell: str) -> None:
    assert "_THRUM_COMPLETE" in quiet.command("completion", shell).out


def test_the_source_tree_is_what_is_tested() -> None:
    ran = python("import thrum; print(thrum.__file__)")
    assert ran.stdout.strip().startswith(str(SOURCE))


def test_a_clean_checkout_is_demanded_before_the_branch_moves(project: ThrumProject) -> None:
    task = project.add("Write a note")
    project.command("run", code=4)
    project.command("task", "approve", task)
    (project.repo / "README").write_text("being edited\n")
    stuck = project.json("run", "--once", code=1)
    assert stuck["task"]["waiting_for"] == "clean-checkout"
    left = project.json("run", code=1)
    assert list(left["operator"]) == [task]
    commit(project.repo, {"README": "edited\n"})
    project.command("task", "retry", task)
    assert project.json("run")["states"] == {"merged": 1}
