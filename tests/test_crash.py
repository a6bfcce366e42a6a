"""Any process may be killed at any instant: nothing acknowledged is lost, nothing is done twice, main stays green."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.systems import System, git, landings, systems
from thrum.messages.people import AddTask, ApproveTask, GetTasks
from thrum.messages.topics import TaskChanged
from thrum.names import owner
from thrum.storage import examine

TASKS = 3


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    yield from systems(tmp_path / "project", repos=("one", "two"))


def add_tasks_and_wait_for(system: System, kind: str) -> list[str]:
    """Queue the tasks, and return their ids at the first event of the kind."""
    with system.client() as listening, system.client() as asking:
        list(listening.events(("task.",), timeout_s=0.1))  # subscribed from here on
        added = []
        for number in range(TASKS):
            for repo in ("one", "two"):
                asked = AddTask(title=f"Task {number}", by="tester", auth=system.token())
                added.append(asking.request(f"repo.{repo}", asked)["id"])
        for envelope in listening.events(("task.",), timeout_s=60):
            if isinstance(envelope.body, TaskChanged) and envelope.body.kind == kind:
                return added
            if (
                isinstance(envelope.body, TaskChanged)
                and envelope.body.kind == "passed"
                and envelope.body.state == "awaiting-approval"
            ):
                approve = ApproveTask(task=envelope.body.task, by="tester", auth=system.token())
                asking.request(f"repo.{owner(envelope.body.task)}", approve)
    raise AssertionError(f"no task came to {kind}\n{system.logs()}")


def approve_all(system: System) -> None:
    """Approve whatever waits for it until every task is merged."""
    tasks: list[dict[str, Any]] = []

    def all_merged() -> bool:
        with system.client() as client:
            tasks[:] = [t for repo in ("one", "two") for t in client.request(f"repo.{repo}", GetTasks(), timeout_s=30)]
            assert not [task for task in tasks if task["state"] in ("failed", "cancelled")], system.logs()
            for task in tasks:
                if task["state"] == "awaiting-approval":
                    approve = ApproveTask(task=task["id"], by="tester", auth=system.token())
                    client.request(f"repo.{task['repo']}", approve, timeout_s=30)
        return all(task["state"] == "merged" for task in tasks)

    system.until(all_merged, f"all to be merged: {[(t['id'], t['state'], t['reason']) for t in tasks]}", 90)


def check_promises(system: System, added: list[str]) -> None:
    """The promises, seen from outside: from git, from the stores, from the process table."""
    for name in ("one", "two"):
        repo = system.repo(name)
        mine = [task for task in added if task.startswith(f"{name}-")]
        # The same tree on main as without any crash, and each task in it exactly once.
        assert sorted(git(repo, "ls-tree", "--name-only", "main").split()) == sorted(
            ["README", *(f"{t}.txt" for t in mine)]
        )
        subjects = [git(repo, "log", "-1", "--format=%(trailers:key=Thrum-Task,valueonly)", c) for c in landings(repo)]
        assert sorted(subjects) == sorted(mine)
        # Each landed tree is one that all gates passed on, by the receipts in the log.
        shown = {task["id"]: task for task in system.json("task", "list", "--repo", name)}
        for commit in landings(repo):
            tree = git(repo, "rev-parse", f"{commit}^{{tree}}")
            task = next(task for task in shown.values() if task["commits"]["landed"] == commit)
            quality = [gate for gate in task["gates"] if gate["gate"] == "quality"]
            assert any(
                gate["verdict"] == "passed" and git(repo, "rev-parse", f"{gate['commit']}^{{tree}}") == tree
                for gate in quality
            )
        assert git(repo, "status", "--porcelain") == ""
        assert git(repo, "fsck", "--connectivity-only") == ""


@pytest.mark.parametrize(
    ("victim", "moment"),
    [
        ("thrum.broker.server", "attempt-started"),
        ("thrum.actors.scheduler", "added"),
        ("thrum.actors.repo", "attempt-started"),
        ("thrum.actors.repo", "gate-started"),
        ("thrum.actors.repo", "landing-intended"),
        ("thrum.actors.worker", "attempt-started"),
        ("thrum.actors.gate", "gate-started"),
        ("thrum --dir", "attempt-started"),
        ("thrum --dir", "candidate-built"),
        ("", "gate-started"),
    ],
    ids=lambda value: value.removeprefix("thrum.").replace("thrum --dir", "supervisor") or "everything",
)
def test_killing_a_process_loses_nothing_and_does_nothing_twice(system: System, victim: str, moment: str) -> None:
    system.up()
    added = add_tasks_and_wait_for(system, moment)
    # A worker's process may still be starting.
    system.until(lambda: system.kill(victim), f"a process {victim!r} to kill", 10)
    if victim in ("thrum --dir", ""):
        system.until(lambda: not system.processes(), "orphans to end by themselves", 30)
        system.up()
    approve_all(system)
    check_promises(system, added)
    system.close()
    for name in ("one", "two"):
        verified = examine(system.directory / ".thrum/store" / name)
        assert verified.ok, verified.problem
