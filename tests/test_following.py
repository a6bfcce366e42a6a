"""`thrum task log` beside agents at work: what they say is told as it comes, through kills and retries."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.systems import System, systems
from thrum.cli.following import standing_of

AGENT = """\
#!/bin/sh
# Its n-th run, from 0, says so, waits for the file goN, and leaves its number.
place=$(dirname "$0")
number=$(ls "$place" | grep -c '^began')
say() { printf '{"type":"message","role":"assistant","content":"%s"}\\n' "$1"; }
say "begin $number"
touch "$place/began$number"
until [ -e "$place/go$number" ]; do sleep 0.1; done
say "end $number"
echo "$number" >number.txt
"""
LINT = "lint_cmd = '! grep -qs 1 number.txt'"


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    yield from systems(tmp_path / "project", agent=AGENT, repo_keys=LINT, pipeline="[engine]\ngate_actors = 1\n")


def following(system: System, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-P", "-m", "thrum", "--dir", str(system.directory), *words, "-f"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def lines(process: subprocess.Popen[str], count: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline().rstrip("\n") for _ in range(count)]


def go(system: System, number: int) -> None:
    (system.directory / f"go{number}").touch()


def test_a_log_is_followed_through_a_killed_worker_and_a_retry_until_a_person_is_needed(system: System) -> None:
    system.up()
    task = system.add("Write a number")
    with following(system, "task", "log", task) as told, following(system, "task", "log", task) as cut_short:
        assert lines(told, 2) == ["[said]", "begin 0"]
        assert lines(cut_short, 2) == ["[said]", "begin 0"]
        cut_short.send_signal(signal.SIGINT)
        assert cut_short.wait(60) == 130
        assert system.kill("thrum.actors.worker") == 1
        assert lines(told, 2) == ["[said]", "begin 1"]
        go(system, 1)
        assert lines(told, 4) == ["[said]", "end 1", "[said]", "begin 2"]
        go(system, 2)
        out, err = told.communicate(timeout=90)
    assert (told.returncode, out) == (0, "[said]\nend 2\n")
    notes = [line for line in err.splitlines() if line.startswith("Attempt")]
    assert notes == [
        "Attempt 1 lost: its worker was lost",
        *("Attempt 2:", "Attempt 2 finished"),
        *("Attempt 3:", "Attempt 3 finished"),
    ]
    assert err.endswith(f"{task} waits for approval\n")

    assert system.run("task", "log", task, "--attempt", "1").stdout == "[said]\nbegin 0\n"
    found = [json.loads(line) for line in system.run("--json", "task", "log", task, "-f").stdout.splitlines()]
    attempt = {"task": task, "attempt": 3}
    assert found == [
        {**attempt, "kind": "said", "text": "begin 2", "tool": ""},
        {**attempt, "kind": "said", "text": "end 2", "tool": ""},
        {**attempt, "ending": "finished", "reason": ""},
        {"task": task, "state": "awaiting-approval", "waiting_for": "approval", "reason": ""},
    ]
    raw = system.run("task", "log", task, "--raw", "--attempt", "2").stdout
    assert [json.loads(line)["content"] for line in raw.splitlines()] == ["begin 1", "end 1"]
    assert system.run("task", "log", task, "--raw", "--attempt", "2", "-f").stdout == raw


def test_a_log_that_is_followed_ends_when_nothing_is_at_work(system: System) -> None:
    task = system.add("Write a number")
    idle = system.run("task", "log", task, "-f")
    assert (idle.stdout, idle.stderr) == ("", f"Nothing is at work; `thrum up` or `thrum run` goes on with {task}.\n")
    system.up()
    with following(system, "task", "log", task) as told:
        assert lines(told, 2) == ["[said]", "begin 0"]
        system.down()
        out, err = told.communicate(timeout=90)
    assert (told.returncode, out) == (0, "")
    assert f"`thrum up` or `thrum run` goes on with {task}" in err


@pytest.mark.parametrize(
    ("state", "waiting_for", "at_work", "expected"),
    [
        ("merged", "none", False, ("a-1 is merged", True)),
        ("failed", "none", True, ("a-1 is failed", True)),
        ("awaiting-approval", "approval", True, ("a-1 waits for approval", True)),
        ("pending", "operator", True, ("a-1 waits for operator", True)),
        ("pending", "budget", True, ("a-1 waits for budget", True)),
        ("pending", "slot", True, ("a-1 is pending and waits for slot", False)),
        ("gate1", "none", True, ("a-1 is gate1", False)),
        ("gate1", "none", False, ("Nothing is at work; `thrum up` or `thrum run` goes on with a-1.", True)),
    ],
)
def test_where_a_task_stands_is_told_and_whether_more_comes_by_itself(
    state: str, waiting_for: str, at_work: bool, expected: tuple[str, bool]
) -> None:
    view: dict[str, Any] = {"id": "a-1", "state": state, "waiting_for": waiting_for, "reason": ""}
    assert standing_of(view, at_work=at_work) == expected
    told = standing_of({**view, "reason": "of that"}, at_work=at_work)[0]
    assert told.endswith(": of that") == ("Nothing" not in told)
