"""When the machine is not as it should be: full disks, what vanished, what others hold or nobody may write."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.office import Office
from tests.requirements import needs
from tests.systems import System, landings, systems
from thrum import tree
from thrum.errors import StoreError
from thrum.messages.people import ApproveTask, GetTasks, RetryTask
from thrum.places import Places
from thrum.storage import examine

HOLD = """
import sys, plyvel
store = plyvel.DB(sys.argv[1], create_if_missing=True)
print("held", flush=True)
sys.stdin.read()
store.close()
"""


@contextmanager
def mounted(path: Path, options: str) -> Iterator[Path]:
    """A file system of its own in memory at the path; skips where none may be mounted."""
    path.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(("mount", "-t", "tmpfs", "-o", options, "tmpfs", path), capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(("umount", "--lazy", path), check=True)


def fill(path: Path) -> Path:
    """Take all the space that is left; the file that holds it."""
    ballast = path / "ballast"
    with ballast.open("ab", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while file.write(b"x" * size) == size:
                    pass
            except OSError:
                continue
    return ballast


# --- A full disk --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cramped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system whose stores lie on a small disk of their own."""
    directory = tmp_path_factory.mktemp("faults") / "project"
    pipeline = "[engine]\ngate_actors = 1\n"
    with mounted(directory / ".thrum/store", "size=2m,mode=700"):
        (directory / ".thrum").chmod(0o700)
        yield from systems(directory, repos=("one", "two"), pipeline=pipeline)


def stores(system: System) -> Path:
    return system.directory / ".thrum/store"


def add_a_long_one(office: Office) -> None:
    """Add a task that does not fit into what is left of the last page of a file."""
    office.desk.add("one", by="tester", title="Long", description="word " * 4000)


@needs("root", "mount")
def test_without_a_system_a_task_that_cannot_be_written_is_refused_and_can_be_added_once_there_is_space(
    cramped: System,
) -> None:
    first = cramped.add("First")
    ballast = fill(stores(cramped))
    refused = cramped.run("task", "add", "--repo", "one", "--title", "Second", check=False)
    assert (refused.returncode, refused.stdout) == (75, "")
    assert "No space left on device" in refused.stderr
    ballast.unlink()
    assert [task["id"] for task in cramped.json("task", "list", "--repo", "one")] == [first]
    third = cramped.add("Third")
    assert third == "one-2"
    assert examine(stores(cramped) / "one").ok


@needs("root", "mount")
def test_a_running_system_refuses_it_too_and_goes_on_by_itself(cramped: System) -> None:
    cramped.up()
    with Office(cramped, "one", "two") as office:
        office.until("one-1", "awaiting-approval")
        office.until("one-2", "awaiting-approval")
        ballast = fill(stores(cramped))
        with pytest.raises(StoreError, match="No space left on device"):
            add_a_long_one(office)
        ballast.unlink()
        assert [task["id"] for task in office.desk.tasks("one")] == ["one-1", "one-2"]
        assert office.add("Accepted") == "one-3"
        assert office.land("one-1")["state"] == "merged"
        fill(stores(cramped))  # for the last test of this file: it takes a while until an actor is given up
        with pytest.raises(StoreError):
            add_a_long_one(office)


# --- What others hold -----------------------------------------------------------------------------------------------


def begun(system: System) -> None:
    log = Places(system.directory).logs / "repo.one.log"
    system.until(lambda: log.exists() and system.processes("thrum.actors.repo"), "its actor to have begun")


def test_a_store_that_another_process_holds_is_waited_for_and_then_refused(tmp_path: Path) -> None:
    for kept in systems(tmp_path / "kept"):
        for released in systems(tmp_path / "released"):
            adding = {}
            for system in (kept, released):
                store = Places(system.directory).store("one")
                store.mkdir(parents=True)
                Places(system.directory).state.chmod(0o700)
                command = [sys.executable, "-c", HOLD, str(store)]
                holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
                assert holder.stdout
                assert holder.stdout.readline() == "held\n"
                arguments = ("--dir", str(system.directory), "task", "add", "--title", "Wait for it")
                command = [sys.executable, "-P", "-m", "thrum", *arguments]
                add = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                adding[system] = (holder, add)
            begun(released)
            adding[released][0].communicate()
            out, err = adding[released][1].communicate(timeout=60)
            assert (adding[released][1].returncode, out) == (0, "one-1\n"), err
            out, err = adding[kept][1].communicate(timeout=60)
            assert (adding[kept][1].returncode, out) == (75, ""), err
            assert "store/one is in use by another process" in err
            adding[kept][0].communicate()
            assert kept.add("Now") == "one-1"


@pytest.mark.parametrize("spoilt", ["a file", "read-only"])
def test_a_state_directory_that_cannot_be_written_is_named(tmp_path: Path, spoilt: str) -> None:
    for system in systems(tmp_path / "project"):
        state = Places(system.directory).state
        arguments = (("task", "add", "--title", "Somewhere"), ("up",))
        if spoilt == "a file":
            state.write_text("")
            refused = [system.run(*command, check=False) for command in arguments]
        elif os.geteuid() == 0:
            with mounted(state, "size=64k,mode=700,ro"):
                refused = [system.run(*command, check=False) for command in arguments]
        else:
            state.mkdir(mode=0o500)
            refused = [system.run(*command, check=False) for command in arguments]
        for answer in refused:
            assert (answer.returncode, answer.stdout) == (1, "")
            assert str(state) in answer.stderr
            assert "Traceback" not in answer.stderr


# --- What vanished --------------------------------------------------------------------------------------------------


def test_a_task_whose_repository_vanished_waits_with_the_reason_and_goes_on_when_it_is_back(tmp_path: Path) -> None:
    for system in systems(tmp_path / "project", pipeline="[engine]\ngate_actors = 1\n"):
        system.up()
        with Office(system) as office:
            landing = office.add("Lands later")
            office.until(landing, "awaiting-approval")
            away = system.repo().rename(tmp_path / "away")
            office.decide(ApproveTask, landing)
            starting = office.add("Starts later")
            line = [office.add(f"Stands in line, number {number}") for number in range(20)]
            for task, state in ((landing, "integrating"), (starting, "pending")):
                view = office.until(task, state, waiting_for="operator")
                assert str(system.repo()) in view["reason"]
                assert view["retries"] == 0
            behind = office.until(line[-1], "pending", waiting_for="operator")
            assert str(system.repo()) in behind["reason"]
            assert not office.events(line[-1], "claimed"), "what one task ran into, the others need not try"
            away.rename(system.repo())
            for task in (landing, starting):
                office.decide(RetryTask, task)
            office.until(landing, "merged")
            assert office.land(starting)["state"] == "merged"
            office.until(line[-1], "awaiting-approval")
        assert len(landings(system.repo())) == 2


def test_a_list_of_tasks_of_any_length_is_told_whole(tmp_path: Path) -> None:
    for system in systems(tmp_path / "project", pipeline="[engine]\ngate_actors = 1\n"):
        system.up()
        system.repo().rename(tmp_path / "away")  # so that none of them begins
        with Office(system) as office:
            added = [office.add(f"Number {number}") for number in range(GetTasks().limit + 5)]
            assert [task["id"] for task in office.desk.tasks("one")] == added


def test_a_store_that_was_lost_gives_no_id_a_second_time(tmp_path: Path) -> None:
    for system in systems(tmp_path / "project", pipeline="[engine]\ngate_actors = 1\n"):
        system.up()
        with Office(system) as office:
            for title in ("First", "Second"):
                office.until(office.add(title), "awaiting-approval")
        system.down()
        shutil.rmtree(system.directory / ".thrum/store")
        system.up()
        with Office(system) as office:
            task = office.add("After the loss")
            assert task == "one-3"
            assert office.land(task)["state"] == "merged"


def test_work_that_cannot_be_harvested_is_set_aside_and_named(tmp_path: Path) -> None:
    """The clones of agents borrow the objects of the repository: without it there is no commit."""
    repo, away = tmp_path / "project/one", tmp_path / "away"
    agent = f'echo "$THRUM_TASK" > done.txt; test -e {away}.was || {{ touch {away}.was; mv {repo} {away}; }}\n'
    for system in systems(tmp_path / "project", agent=agent, pipeline="[engine]\ngate_actors = 1\n"):
        system.up()
        with Office(system) as office:
            task = office.add("Moves it away")
            view = office.until(task, "pending", waiting_for="operator")
            kept = system.directory / f".thrum/work/one/slot-1/kept-{task}-1"
            assert str(kept) in view["reason"]
            assert (kept / "tree/done.txt").read_text() == f"{task}\n"
            away.rename(repo)
            office.decide(RetryTask, task)
            view = office.until(task, "awaiting-approval")
            assert (view["retries"], view["interruptions"]) == (0, 0)


# --- A full disk, told of when it took its time ---------------------------------------------------------------------


@needs("root", "mount")
def test_an_actor_that_was_given_up_for_a_full_disk_comes_back_once_there_is_space(cramped: System) -> None:
    def given_up() -> bool:
        state = tree.state(cramped.directory)
        return state is not None and any(row["state"] == "failed" and row["again"] for row in state["actors"])

    cramped.until(given_up, "the actor to be given up", 60)
    refused = cramped.run("task", "list", "--repo", "one", check=False)
    assert refused.returncode == 75
    assert "repo.one was given up" in refused.stderr
    assert "No space left on device" in refused.stderr
    (stores(cramped) / "ballast").unlink()
    with Office(cramped, "one", "two") as office:
        office.until("one-2", "awaiting-approval", deadline_s=60)
        assert office.land("one-2")["state"] == "merged"
    assert cramped.json("status")["flags"] == []
    cramped.close()
    assert examine(stores(cramped) / "one").ok
