"""The process tree as a whole: brought up, watched, ended in every way, with nothing left behind."""

from __future__ import annotations

import os
import pty
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.office import Office
from tests.systems import System, landings, systems
from thrum import tree
from thrum.errors import NotFoundError
from thrum.files import Lock, holder_of
from thrum.messages.people import CancelTask, GetRepoStatus
from thrum.messages.topics import AgentOutput
from thrum.storage import open_store
from thrum.tree.spawning import endpoint_of

MARK = f"3600.{secrets.randbelow(10**9)}"
"""An argument of `sleep` by which the tests know what their agents left."""

AGENT = f"""\
#!/bin/sh
ask() {{ grep -q "$1" "$prompt"; }}
prompt=$1
if ask PATIENT; then echo begun > "$THRUM_TASK.txt"; echo ready; sleep {MARK}
elif ask STUBBORN; then
    trap '' TERM HUP INT
    echo begun > "$THRUM_TASK.txt"
    setsid sh -c "trap '' TERM HUP INT; exec sleep {MARK}" &
    echo ready
    while true; do sleep {MARK}; done
else echo done > "$THRUM_TASK.txt"; fi
"""
"""A patient one works for an hour. A stubborn one ends for nobody, and no more does its grandchild, which left its
session."""

TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    yield from systems(tmp_path / "project", agent=AGENT, pipeline="[engine]\ngate_actors = 1\n")


def sleepers() -> list[psutil.Process]:
    """What the agents started and is still alive."""
    found = psutil.process_iter(["cmdline", "status"])
    alive = [p for p in found if p.info["status"] != psutil.STATUS_ZOMBIE]
    return [p for p in alive if MARK in (p.info["cmdline"] or ())]


def agent_at_work(system: System, kind: str) -> str:
    """Have an agent of that kind at work; its task."""
    with Office(system) as office, system.client() as listening:
        events = listening.events(("output.",), timeout_s=40)
        task = office.add(kind)
        heard = (event for event in events if isinstance(event.body, AgentOutput) and "ready" in event.body.text)
        assert next(heard, None), system.logs()
    system.until(sleepers, "the agent to be at work", 20)
    return task


def kinds(system: System, task: str) -> list[str]:
    """What the store of a system that is down holds of a task."""
    with open_store(system.directory / ".thrum/store/one", repo="one", create=False) as store:
        return [event.kind for event in store.events(task)]


def assert_nothing_is_left(system: System) -> None:
    state = system.directory / ".thrum"
    assert not system.processes()
    assert not sleepers()
    assert holder_of(state / "lock") is None
    Lock(state / "lock", kind="test").acquire().release()
    assert not (state / "tree.json").exists()
    assert not Path(endpoint_of(system.directory).removeprefix("ipc://")).exists()
    for lock in state.glob("work/one/slot-*/lock"):
        assert holder_of(lock) is None


# --- One tree in a directory, and its configuration ----------------------------------------------------------------


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system with two repositories that stays up over several tests."""
    directory = tmp_path_factory.mktemp("tree") / "project"
    pipeline = "[engine]\ngate_actors = 1\n"
    for system in systems(directory, repos=("one", "two"), agent=AGENT, pipeline=pipeline):
        system.up()
        yield system


def state_of(system: System) -> dict[str, Any]:
    found = tree.state(system.directory)
    assert found is not None
    return found


def configure(system: System, old: str, new: str) -> None:
    path = system.directory / "configs/pipeline.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_second_tree_in_the_same_directory_is_refused(standing: System) -> None:
    pid = state_of(standing)["pid"]
    for arguments in (("up",), ("up", "--detach")):
        refused = standing.run(*arguments, check=False)
        assert refused.returncode == 75
        assert f"Thrum is already up in {standing.directory} (process {pid})" in refused.stderr
        assert "thrum down" in refused.stderr
    assert state_of(standing)["pid"] == pid
    with Office(standing, "one", "two") as office:
        assert office.client.request("repo.one", GetRepoStatus())["repo"] == "one"


def test_a_tree_that_cannot_come_up_says_why_in_the_background_too(system: System) -> None:
    place = Path(endpoint_of(system.directory).removeprefix("ipc://"))
    (place / "in the way").mkdir(parents=True)
    try:
        for arguments in (("up",), ("up", "--detach")):
            refused = system.run(*arguments, check=False)
            assert refused.returncode != 0
            assert f"{place} is in use" in refused.stderr
            assert tree.state(system.directory) is None
    finally:
        shutil.rmtree(place.parent)


def test_an_edited_configuration_holds_from_its_reload_on(standing: System) -> None:
    digest = state_of(standing)["digest"]

    def gates() -> list[str]:
        with standing.client() as client:
            found: list[str] = client.request("repo.one", GetRepoStatus())["gates"]["quality"]
            return found

    assert gates() == ["test"]
    repos = standing.directory / "configs/repos.toml"
    repos.write_text(repos.read_text().replace('test_cmd = "true"', 'test_cmd = "true"\nlint_cmd = "false"', 1))
    # A process that is started anew goes by the old one, too.
    assert standing.kill("thrum.actors.repo") == 2
    assert gates() == ["test"]
    assert standing.json("status")["flags"][0]["text"] == "the configuration was edited since it was loaded"
    assert state_of(standing)["digest"] == digest
    standing.run("reload")
    assert state_of(standing)["digest"] != digest
    assert gates() == ["lint", "test"]
    assert standing.json("status")["flags"] == []
    repos.write_text(repos.read_text().replace('lint_cmd = "false"', ""))
    standing.run("reload")
    assert state_of(standing)["digest"] == digest
    assert gates() == ["test"]


def test_a_broken_configuration_is_refused_and_the_old_one_stays(standing: System) -> None:
    before = state_of(standing)
    configure(standing, "gate_actors = 1", "gate_actors = 1\ngate_actor = 2")
    refused = standing.run("reload", check=False)
    assert refused.returncode == 2
    assert "gate_actor" in refused.stderr
    log = standing.directory / "up.log"
    said = log.stat().st_size
    tree.reload(standing.directory)  # as a second `thrum` would that read the file before it was spoilt
    standing.until(lambda: "left as it was" in log.read_text()[said:], "the supervisor to refuse it")
    assert state_of(standing) == before
    configure(standing, "\ngate_actor = 2", "")


def test_an_actor_that_keeps_failing_is_given_up_and_the_others_go_on(standing: System) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        configure(standing, "enabled = false", f"enabled = true\nport = {taken.getsockname()[1]}")
        tree.reload(standing.directory)

        def given_up() -> dict[str, Any] | None:
            rows = state_of(standing)["actors"]
            return next((row for row in rows if (row["name"], row["state"]) == ("api", "failed")), None)

        row = standing.until(given_up, "the API's actor to be given up", 60)
    assert (row["restarts"], row["pid"]) == (5, None)
    status = standing.json("status")
    assert [flag["text"] for flag in status["flags"]] == [f"api was given up: {row['reason']}"]
    with Office(standing, "one", "two") as office:
        task = office.add("Goes on")
        assert office.land(task)["state"] == "merged"
    configure(standing, "enabled = true", "enabled = false")
    standing.run("reload")
    assert standing.json("status")["flags"] == []


# --- Its end --------------------------------------------------------------------------------------------------------


def test_down_ends_everything_in_good_order_and_leaves_nothing(system: System) -> None:
    assert not tree.down(system.directory)
    with pytest.raises(NotFoundError, match="nothing is up"):
        tree.reload(system.directory)
    system.up()
    task = agent_at_work(system, "PATIENT")
    assert tree.down(system.directory)
    assert_nothing_is_left(system)
    system.close()
    assert kinds(system, task)[-2:] == ["attempt-ended", "interrupted"]
    # A worker that outlived its repo actor goes, too.
    system.up()
    system.until(sleepers, "the agent to be at it again", 30)
    assert system.kill("thrum.actors.repo") == 1
    with Office(system) as office:
        assert office.desk.task(task)["state"] == "implementing"
    system.close()
    assert_nothing_is_left(system)


def test_a_closed_terminal_ends_everything(system: System) -> None:
    master, slave = pty.openpty()
    command = [sys.executable, "-P", "-c", TAKE_TERMINAL, sys.executable, "-P", "-m", "thrum"]
    up = subprocess.Popen(
        [*command, "--dir", str(system.directory), "up"],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        close_fds=True,
    )
    os.close(slave)
    try:
        system.until(lambda: tree.state(system.directory) is not None, "the tree to be up")
        task = agent_at_work(system, "PATIENT")
        os.close(master)
        assert up.wait(40) in (0, 1)
        assert_nothing_is_left(system)
        assert kinds(system, task)[-2:] == ["attempt-ended", "interrupted"]
    finally:
        up.kill()
        up.wait()


def test_whoever_cannot_wait_ends_it_at_once_while_an_agent_is_at_work(system: System) -> None:
    system.up()
    task = agent_at_work(system, "STUBBORN")
    assert tree.down(system.directory, now=True)
    assert_nothing_is_left(system)
    system.close()
    before = kinds(system, task)
    assert before[-1] == "attempt-started"

    system.up()
    system.until(lambda: len(sleepers()) > 1, "the agent to be at it again", 30)
    (supervisor,) = system.processes("thrum --dir")
    supervisor.send_signal(signal.SIGINT)
    system.until(lambda: not system.processes("thrum.actors.scheduler"), "the end to have begun", 20)
    supervisor.send_signal(signal.SIGINT)
    system.until(lambda: not system.processes("thrum --dir"), "the supervisor's end", 30)
    system.close()
    assert_nothing_is_left(system)
    # What the first attempt left was harvested when the system was up again; of the second nothing is told yet.
    assert kinds(system, task)[len(before) :] == ["attempt-ended", "interrupted", "claimed", "attempt-started"]


def test_when_the_supervisor_is_killed_nothing_outlives_it_for_long(system: System) -> None:
    system.up()
    task = agent_at_work(system, "STUBBORN")
    assert system.kill("thrum --dir") == 1
    system.until(lambda: not system.processes() and not sleepers(), "everything to be gone", 40)

    # Without a sandbox, what an agent started is swept by the next `up` if the worker was killed as well.
    system.up()
    system.until(lambda: len(sleepers()) > 1, "the agent to be at it again", 40)
    left = {process.pid for process in sleepers()}
    system.kill("")
    assert {process.pid for process in sleepers()} & left
    system.up()
    assert not {process.pid for process in sleepers()} & left
    with Office(system) as office:
        office.decide(CancelTask, task)
        office.system.until(lambda: office.events(task, "attempt-stopped"), "the attempt to be stopped", 40)


# --- Damage ---------------------------------------------------------------------------------------------------------


def test_a_damaged_store_takes_its_repository_out_and_no_other(tmp_path: Path) -> None:
    for system in systems(tmp_path / "project", repos=("one", "two"), pipeline="[engine]\ngate_actors = 1\n"):
        added = {repo: system.add("Before", repo=repo) for repo in ("one", "two")}
        (log,) = (system.directory / ".thrum/store/one").glob("*.log")
        data = bytearray(log.read_bytes())
        middle = len(data) // 2
        data[middle : middle + 8] = bytes(byte ^ 0xFF for byte in data[middle : middle + 8])
        log.write_bytes(data)

        system.up()
        with Office(system, "one", "two") as office:
            assert office.land(added["two"])["state"] == "merged"
        assert len(landings(system.repo("two"))) == 1
        status = system.json("status")
        assert [row["state"] for row in status["actors"] if row["name"] == "repo.one"] == ["failed"]
        (flag,) = status["flags"]
        assert flag["text"].startswith("repo.one was given up: ")
        assert "store/one is damaged" in flag["text"]
        answer = system.run("task", "list", "--repo", "one", check=False)
        assert (answer.returncode, "store/one is damaged" in answer.stderr) == (1, True), answer
        ran = system.run("run", check=False)
        assert (ran.returncode, "one" in ran.stdout) == (1, True)
        assert bytes(data) == log.read_bytes(), "a damaged store must be left as it is"
        system.close()
        assert system.run("check", check=False).returncode == 1
