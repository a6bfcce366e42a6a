"""Attempts of real agent programs, from their start by a worker to what becomes of their work."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.office import Office
from tests.systems import System, git, landings, systems
from thrum.messages.people import ApproveTask, CancelTask, GetRepoStatus, RejectTask, RetryTask
from thrum.messages.topics import AgentOutput

MARK = f"3600.{secrets.randbelow(10**9)}"
"""An argument of `sleep` by which the tests know their agents' processes."""

AGENT = f"""\
#!/bin/sh
# What it does follows from its prompt, which is a file.
says() {{ grep -q "$1" "$prompt"; }}
prompt=$1
if says 'TALK'; then printf 'h\\303'; sleep 0.3; printf '\\244llo wörld\\n'; echo done > "$THRUM_TASK.txt"
elif says 'DAWDLE'; then
    if says 'ended before it was done'; then echo done > "$THRUM_TASK.txt"
    else echo half > half.txt; while echo tick; do sleep 0.2; done; fi
elif says 'SULK'; then
    if says 'ended before it was done'; then echo done > "$THRUM_TASK.txt"
    else echo 'not another word'; exec sleep {MARK}; fi
elif says 'WAIT'; then
    trap '' TERM HUP; echo begun > "$THRUM_TASK.txt"; echo ready
    (trap '' TERM HUP; sleep {MARK}) & setsid sleep {MARK} & while true; do sleep {MARK}; done
elif says 'NOTHING-TO-DO'; then echo 'THRUM: no-change-needed: it is all there'
elif says 'LAZY'; then echo 'I would rather not'
elif says 'COMMIT'; then
    echo 1 > "$THRUM_TASK.txt"; git add -A; git commit -qm 'All by myself'
    echo 2 >> "$THRUM_TASK.txt"; git commit -qam 'And once more'; echo 3 >> "$THRUM_TASK.txt"
elif says 'CLASH'; then
    if grep -q '<<<<<<<' shared.txt 2>/dev/null; then
        says 'conflict markers in: shared.txt' || exit 1
        grep -v -e '<<<<<<<' -e '=======' -e '>>>>>>>' shared.txt > new; mv new shared.txt
    else echo "$THRUM_TASK" > shared.txt; fi
else echo done > "$THRUM_TASK.txt"; fi
"""


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    directory = tmp_path_factory.mktemp("worker") / "project"
    pipeline = f"""
[engine]
max_retries = 1
per_repo_limit = 3
gate_actors = 1
[roles.implementer]
backend = "own"
[[backends]]
name = "own"
type = "agent"
command = "{directory}/agent.sh"
prompt_args = ["{{prompt_file}}"]
timeout_secs = 5
silence_secs = 3
"""
    for system in systems(directory, agent=AGENT, pipeline=pipeline):
        (directory / "agent.sh").chmod(0o755)
        system.up()
        with Office(system) as office:
            yield office


def sleepers() -> list[int]:
    return [p.pid for p in psutil.process_iter(["cmdline"]) if MARK in " ".join(p.info["cmdline"] or ())]


def test_what_an_agent_prints_reaches_who_listens_and_is_kept(office: Office) -> None:
    heard = ""
    with office.system.client() as listening:
        events = listening.events(("output.",), timeout_s=30)
        task = office.add("TALK")
        for envelope in events:
            if isinstance(envelope.body, AgentOutput) and envelope.body.task == task:
                assert envelope.destination == f"topic:output.{task}"
                assert envelope.body.offset == len(heard.encode())
                heard += envelope.body.text
                if heard.endswith("\n"):
                    break
    assert heard == "hällo wörld\n"
    (attempt,) = office.until(task, "awaiting-approval")["attempts"]
    assert attempt["tail"] == heard
    assert office.desk.output(task, attempt["output_digest"], 0)["text"] == heard


def test_an_agent_that_passes_a_limit_is_ended_and_the_task_retried_for_that_reason(office: Office) -> None:
    limits = {"DAWDLE": ("timed-out", "time limit"), "SULK": ("silent", "without output")}
    tasks = {title: office.add(title) for title in limits}
    for title, (ending, reason) in limits.items():
        view = office.until(tasks[title], "awaiting-approval")
        assert [attempt["ending"] for attempt in view["attempts"]] == [ending, "finished"]
        assert reason in view["attempts"][0]["reason"]
        assert view["retries"] == 1
        assert office.events(tasks[title], "retried") == [{"cause": ending, "retry": 1}]
    assert not sleepers()
    # The second attempt goes on from what the first one left.
    files = office.desk.task(tasks["DAWDLE"])["attempts"][1]["files"]
    assert set(files) == {"half.txt", f"{tasks['DAWDLE']}.txt"}


def test_a_cancelled_attempt_is_ended_its_work_pinned_and_its_slot_freed(office: Office) -> None:
    with office.system.client() as listening:
        events = listening.events(("output.",), timeout_s=30)
        task = office.add("WAIT")
        next(event for event in events if isinstance(event.body, AgentOutput) and "ready" in event.body.text)
    assert sleepers()
    view = office.decide(CancelTask, task, why="no longer wanted")
    assert (view["state"], view["reason"]) == ("cancelled", "no longer wanted")
    office.system.until(lambda: office.events(task, "attempt-stopped"), "the attempt to be stopped", 30)
    assert not sleepers()
    pinned = git(office.system.repo(), "show", f"refs/thrum/attempts/{task}/1:{task}.txt")
    assert pinned == "begun"
    (attempt,) = office.desk.task(task)["attempts"]
    assert attempt["ending"] == "stopped"
    assert office.desk.all_said(task, attempt) == "ready\n"
    status = office.client.request("repo.one", GetRepoStatus())
    assert status["slots"]["used"] == 0
    office.until(office.add("Next"), "awaiting-approval")


def test_a_task_that_needs_no_change_is_cancelled_once_a_person_says_so_too(office: Office) -> None:
    task = office.add("NOTHING-TO-DO")
    view = office.until(task, "awaiting-approval")
    assert "no change is needed: it is all there" in view["reason"]
    assert office.events(task, "no-change-claimed") == [{"reason": "it is all there"}]
    before = landings(office.system.repo())
    view = office.decide(ApproveTask, task)
    assert view["state"] == "cancelled"
    assert view["reason"] == "no-change, confirmed by tester: it is all there"
    assert landings(office.system.repo()) == before


def test_a_claim_that_no_change_is_needed_can_be_rejected(office: Office) -> None:
    task = office.add("NOTHING-TO-DO")
    office.until(task, "awaiting-approval")
    office.decide(RejectTask, task, feedback="Look again. TALK about it.")
    view = office.until(task, "awaiting-approval", rejections=1)
    assert view["attempts"][-1]["files"] == [f"{task}.txt"]


def test_an_agent_that_changes_nothing_fails_once_its_retries_are_used_up(office: Office) -> None:
    task = office.add("LAZY")
    view = office.until(task, "failed")
    assert (view["retries"], len(view["attempts"])) == (1, 2)
    assert "no-change after 1 retry" in view["reason"]
    assert not office.events(task, "gate-started")


def test_an_agent_may_commit_by_itself_and_what_it_left_uncommitted_comes_along(office: Office) -> None:
    task = office.add("COMMIT")
    office.land(task)
    repo = office.system.repo()
    (attempt,) = office.desk.task(task)["attempts"]
    subjects = git(repo, "log", "--format=%s", f"{attempt['base']}..{attempt['head']}").splitlines()
    assert subjects == [f"Work on {task}, attempt 1", "And once more", "All by myself"]
    assert git(repo, "show", f"main:{task}.txt") == "1\n2\n3"


def test_work_that_clashes_with_what_landed_meanwhile_goes_back_with_the_markers_and_lands_once_they_are_resolved(
    office: Office,
) -> None:
    first, second = office.add("CLASH a"), office.add("CLASH b")
    office.until(second, "awaiting-approval")
    assert office.land(first)["state"] == "merged"
    office.land(second)
    view = office.until(second, "awaiting-approval", retries=1)
    assert office.events(second, "retried") == [{"cause": "conflict", "retry": 1}]
    assert view["attempts"][1]["base"] == git(office.system.repo(), "rev-parse", "main")
    assert office.land(second)["state"] == "merged"
    landed = git(office.system.repo(), "show", "main:shared.txt").splitlines()
    assert sorted(landed) == sorted([first, second])


def test_an_attempt_whose_agent_is_missing_waits_for_the_operator_and_goes_on_once_it_is_there(office: Office) -> None:
    agent = office.system.directory / "agent.sh"
    away = agent.rename(agent.with_name("away.sh"))
    try:
        task = office.add("TALK")
        view = office.until(task, "pending", waiting_for="operator")
    finally:
        away.rename(agent)
    assert str(agent) in view["reason"]
    assert office.client.request("repo.one", GetRepoStatus())["slots"]["used"] == 0
    office.decide(RetryTask, task)
    view = office.until(task, "awaiting-approval")
    assert [attempt["ending"] for attempt in view["attempts"]] == ["could-not-run", "finished"]
    assert (view["retries"], view["interruptions"]) == (0, 0)


def test_a_file_in_the_folder_that_thrum_was_started_in_is_no_module_of_a_worker(tmp_path: Path) -> None:
    here, seen = tmp_path / "here", tmp_path / "seen"
    here.mkdir()
    for name in ("msgpack", "zmq", "thrum"):
        (here / f"{name}.py").write_text(f"open({str(seen)!r}, 'a').write({name!r})\nraise SystemExit(1)\n")
    for system in systems(tmp_path / "project", pipeline="[engine]\ngate_actors = 1\n"):
        system.up(cwd=here)
        with Office(system) as office:
            office.until(office.add("Write a line"), "awaiting-approval")
    assert not seen.exists()


HELD = """\
#!/bin/sh
place=$(dirname "$0")
echo run >>"$place/runs"
until [ -e "$place/go" ]; do sleep 0.1; done
echo done >done.txt
"""


@pytest.fixture
def held(tmp_path: Path) -> Iterator[System]:
    yield from systems(tmp_path / "project", agent=HELD, pipeline="[engine]\ngate_actors = 1\n")


@pytest.mark.parametrize("victims", [("worker",), ("worker", "repo")], ids=" and ".join)
def test_a_report_that_nobody_acknowledged_is_told_by_the_next_worker_and_counts_once(
    held: System, victims: tuple[str, ...]
) -> None:
    held.up()
    with Office(held) as office:
        task = office.add("Write a line")
        held.until((held.directory / "runs").exists, "the agent to have begun")
        (deaf,) = held.processes("thrum.actors.repo")
        deaf.suspend()
        (held.directory / "go").touch()
        journal = held.directory / ".thrum/work/one/slot-1/attempt.json"
        held.until(lambda: json.loads(journal.read_text())["report"], "the report to be noted")
        for victim in victims:
            assert held.kill(f"thrum.actors.{victim}") == 1
        if "repo" not in victims:
            deaf.resume()
        (attempt,) = office.until(task, "awaiting-approval")["attempts"]
        assert (attempt["ending"], attempt["files"]) == ("finished", ["done.txt"])
        # A worker begins in the slot at the latest with the next task, and that one is not held up.
        (attempt,) = office.until(office.add("Next"), "awaiting-approval")["attempts"]
        assert attempt["ending"] == "finished"
        held.until(lambda: not journal.exists(), "the report to be acknowledged")
        assert len(office.desk.task(task)["attempts"]) == 1
    assert (held.directory / "runs").read_text() == "run\n" * 2


def test_a_worker_that_cannot_begin_is_given_up_and_its_task_waits_with_the_reason(tmp_path: Path) -> None:
    for system in systems(tmp_path / "project", pipeline="[engine]\ngate_actors = 1\n"):
        system.up()
        work = system.directory / ".thrum/work"
        work.mkdir(parents=True, exist_ok=True)
        (work / "one").write_text("in the way of its slots\n")
        with Office(system) as office:
            task = office.add("Write a line")
            view = office.until(task, "pending", waiting_for="operator")
            assert "worker.one.1 ended 5 times as soon as it had begun" in view["reason"]
            assert view["retries"] == 0
            (work / "one").unlink()
            office.decide(RetryTask, task)
            office.until(task, "awaiting-approval")


def test_an_attempt_under_way_when_the_system_is_told_to_end_goes_on_later_from_its_work(office: Office) -> None:
    """The last test of this system: it brings it down and up again."""
    task = office.add("DAWDLE")
    system = office.system
    clone = ".thrum/work/one/slot-*/clone/tree/half.txt"
    system.until(lambda: list(system.directory.glob(clone)), "the agent to have begun", 20)
    system.close()
    assert not system.processes()
    assert git(system.repo(), "show", f"refs/thrum/attempts/{task}/1:half.txt") == "half"
    system.up()
    with Office(system) as office_again:
        view = office_again.desk.task(task)
        assert [attempt["ending"] for attempt in view["attempts"]][:1] == ["stopped"]
        assert view["interruptions"] == 0
        office_again.decide(CancelTask, task)
