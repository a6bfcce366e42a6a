"""What becomes of tasks when things go wrong around their agents, through real processes."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.office import Office
from tests.repositories import commit
from tests.requirements import needs
from tests.systems import System, git, systems
from thrum.messages.people import RetryTask

RECORDED = Path(__file__).parent / "agents/claude-code"

# --- A key that is refused ----------------------------------------------------------------------------------------

CLAUDE = f"""\
#!/bin/sh
# What Claude Code printed when its key was refused, and when all went well.
here=$(dirname "$0")
echo "$THRUM_TASK" >> "$here/called"
if test -e "$here/accepted"; then
    echo done > "$THRUM_TASK.txt"
    cat {shlex.quote(str(RECORDED / "success.out"))}
    exit 0
fi
cat {shlex.quote(str(RECORDED / "error-401.out"))}
exit 1
"""


def with_claude(directory: Path, fallback: str = "", **options: Any) -> Iterator[System]:
    pipeline = f"""
[engine]
gate_actors = 1
per_repo_limit = 1
[roles.implementer]
backend = "claude"
fallback = [{fallback}]
[[backends]]
name = "claude"
preset = "claude-code"
command = "{directory}/agent.sh"
"""
    for system in systems(directory, agent=CLAUDE, pipeline=pipeline, **options):
        (directory / "agent.sh").chmod(0o755)
        system.up()
        yield system


def test_a_refused_key_is_tried_by_one_task_and_the_others_go_on_once_a_person_says_that_it_is_mended(
    tmp_path: Path,
) -> None:
    directory = tmp_path / "project"
    for system in with_claude(directory):
        with Office(system) as office:
            tasks = [office.add(f"Number {number}") for number in range(5)]
            first = office.until(tasks[0], "pending", waiting_for="operator")
            assert first["reason"].startswith("auth: ")
            assert "no key is set (ANTHROPIC_API_KEY" in first["reason"]
            last = office.until(tasks[-1], "pending", waiting_for="operator")
            assert "start `thrum up` anew with it" in last["reason"]
            flag = system.until(partial(told, system, "nothing begins in one: backend 'claude': auth: "), "a flag")
            assert "thrum task retry" in flag["remedy"]
            assert set((directory / "called").read_text().split()) == {tasks[0]}, "the others need not try"
            (directory / "accepted").touch()
            office.decide(RetryTask, tasks[-1])
            for task in tasks[1:]:
                view = office.until(task, "awaiting-approval", deadline_s=90)
                assert (view["retries"], view["interruptions"], len(view["attempts"])) == (0, 0, 1)
            view = office.until(tasks[0], "awaiting-approval", deadline_s=90)  # it looks again by itself
            assert (view["retries"], view["interruptions"]) == (0, 0)
            assert system.json("status")["flags"] == []


def told(system: System, text: str) -> Any:
    """The flag of `thrum status` that begins so; none if there is none now."""
    return next((flag for flag in system.json("status")["flags"] if flag["text"].startswith(text)), None)


@pytest.mark.parametrize("missing", [False, True], ids=["its key is refused", "its program is missing"])
def test_where_there_is_another_backend_tasks_go_on_with_it_and_none_is_held(tmp_path: Path, missing: bool) -> None:
    directory = tmp_path / "project"
    for system in with_claude(directory, fallback='"scripted"'):
        (directory / "agent.sh").rename(directory / "claude.sh")
        (directory / "agent.sh").write_text('echo done > "$THRUM_TASK.txt"\n')
        settings = directory / "configs/pipeline.toml"
        command = "no-such-program" if missing else f"{directory}/claude.sh"
        settings.write_text(settings.read_text().replace(f'command = "{directory}/agent.sh"', f'command = "{command}"'))
        system.run("reload")
        with Office(system) as office:
            tasks = [office.add(f"Number {number}") for number in range(3)]
            flag = system.until(partial(told, system, "one passes over backend 'claude': "), "a flag")
            assert ("not-found: " if missing else "auth: ") in flag["text"]
            views = [office.until(task, "awaiting-approval", deadline_s=90) for task in tasks]
            used = [[attempt["backend"] for attempt in view["attempts"]] for view in views]
            assert used[0] == ["claude", "scripted"]
            assert {names[-1] for names in used} == {"scripted"}
            assert {(view["retries"], view["interruptions"]) for view in views} == {(0, 0)}
            held = [office.events(task, kind) for task in tasks for kind in ("held-back", "attempt-blocked")]
            assert not any(held)


# --- What a retry is told -----------------------------------------------------------------------------------------

HALTING = """\
#!/bin/sh
# First it does what a gate finds; then it comes to nothing in one way after the other; then it does what the gate says.
prompt=$(cat "$1") here=$(dirname "$0")
echo >> "$here/tries"
case $(wc -l < "$here/tries") in
    1) echo red > colour.txt ;;
    2) echo half > half.txt; exec sleep 3600 ;;
    3) while echo tick; do sleep 0.2; done ;;
    4) echo "Claude AI usage limit reached|$(($(date +%s) + 1))"; exit 1 ;;
    *) case "$prompt" in *"it is red"*"+red"*) echo green > colour.txt ;; *) exit 1 ;; esac ;;
esac
"""


def begun(tries: Path, number: int) -> bool:
    """Whether that attempt has begun."""
    return tries.exists() and len(tries.read_text()) == number


def test_what_a_gate_found_reaches_the_attempt_that_mends_it_whatever_comes_between(tmp_path: Path) -> None:
    directory = tmp_path / "project"
    pipeline = f"""
[engine]
gate_actors = 1
max_retries = 2
[roles.implementer]
backend = "halting"
[[backends]]
name = "halting"
command = "{directory}/agent.sh"
prompt_args = ["{{prompt_file}}"]
silence_secs = 6
"""
    lint = "! grep -qs red colour.txt || { echo 'it is red'; exit 1; }"
    keys = f'lint_cmd = "{lint}"'
    for system in systems(directory, agent=HALTING, pipeline=pipeline, repo_keys=keys):
        (directory / "agent.sh").chmod(0o755)
        system.up()
        tries = directory / "tries"
        with Office(system) as office:
            task = office.add("Choose a colour")
            system.until(partial(begun, tries, 3), "its third attempt")
            assert system.kill("thrum.actors.worker")
            view = office.until(task, "awaiting-approval")
            endings = [attempt["ending"] for attempt in view["attempts"]]
            assert endings == ["finished", "silent", "lost", "finished", "finished"]
            assert [attempt["failure"] for attempt in view["attempts"]][3] == "quota"
            assert (view["retries"], view["interruptions"]) == (2, 1)
            prompt = system.json("task", "prompt", task)["prompt"]
            assert "An earlier attempt did not pass a gate. Mend what it found:\n\nGate `quality` failed" in prompt
            assert "ended after 6 s without output" in prompt
            assert "+half" in prompt


# --- A red branch -------------------------------------------------------------------------------------------------


def test_while_the_branch_is_red_no_task_begins_and_they_go_on_once_somebody_has_mended_it(tmp_path: Path) -> None:
    directory = tmp_path / "project"
    pipeline = "[engine]\ngate_actors = 1\nper_repo_limit = 2\npause_when_red = true"
    keys = 'lint_cmd = "test ! -e broken"'
    for system in systems(directory, pipeline=pipeline, repo_keys=keys):
        commit(system.repo(), {"broken": ""})
        system.up()
        with Office(system) as office:
            tasks = [office.add(f"Number {number}") for number in range(3)]
            for task in tasks:
                view = office.until(task, "pending", waiting_for="operator")
                assert view["reason"] == "the branch itself fails in lint"
                assert not office.events(task, "attempt-started")
            git(system.repo(), "rm", "-q", "broken")
            git(system.repo(), "commit", "-q", "-m", "Mend it")
            for task in tasks:
                view = office.until(task, "awaiting-approval", deadline_s=90)
                assert (view["retries"], view["interruptions"]) == (0, 0)


# --- Limits of the sandbox ----------------------------------------------------------------------------------------

GREEDY = """\
case "$(cat "$1")" in
    *"used more of the machine than it may"*) echo done > done.txt ;;
    *MEMORY*) echo half > half.txt; exec python3 -c "x = b'x' * (1 << 30)" ;;
    *DISK*) echo half > half.txt; head -c 100M /dev/zero > big; exec sleep 60 ;;
esac
"""


@needs("bwrap", "cgroup-writable")
def test_an_agent_that_is_ended_at_a_limit_of_the_sandbox_is_told_and_so_is_the_person(tmp_path: Path) -> None:
    directory = tmp_path / "project"
    pipeline = "[engine]\ngate_actors = 1\nmax_retries = 1\nper_repo_limit = 2"
    for system in systems(directory, agent=GREEDY, pipeline=pipeline, sandbox="os-native"):
        settings = directory / "configs/pipeline.toml"
        limits = "[sandbox]\nmemory_limit_mb = 256\ndisk_limit_mb = 64\n"
        settings.write_text(settings.read_text().replace("[sandbox]\n", limits))
        system.up()
        with Office(system) as office:
            told = {"MEMORY": ("memory limit of 256 MiB", "memory_limit_mb"), "DISK": ("64 MiB", "disk_limit_mb")}
            tasks = {title: office.add(title) for title in told}
            for title, (limit, key) in told.items():
                view = office.until(tasks[title], "awaiting-approval", deadline_s=90)
                assert (view["retries"], view["interruptions"]) == (1, 0)
                first, second = view["attempts"]
                assert (first["failure"], second["failure"]) == ("resource-limit", None)
                assert limit in first["reason"]
                assert f"that is {key} of [sandbox]" in first["reason"]
                assert "Raise the limit that its reason names" in first["advice"]
                assert office.events(tasks[title], "retried") == [{"cause": "resource-limit", "retry": 1}]
                assert "half.txt" in second["files"], "the work so far is kept"
