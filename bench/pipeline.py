"""Thrum's whole way of a task beside a plain script that does the same: `python bench/pipeline.py [--quick]`.

Tasks over four repositories, an agent that writes a line, three checks that run `true`; the bench approves each
task as it comes up for approval. Beside it two floors, as threads of one process with as many agents and gate
actors, on the same workspaces, sandboxes and git, without store, bus, broker, leases, logs or recovery:

- `same checks` lands what it checked: where the branch moved under an attempt, the merge is checked again
  before it lands, as the system does. What that costs is a promise, not an overhead.
- `checks once` checks what the agent left, merges it, and hopes.

All have run one task in each repository before the clock starts: clones are warm, workers are up.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import common

from thrum.client import Client
from thrum.configfile import load
from thrum.git.program import run as run_git
from thrum.git.repository import Conflict, Repository
from thrum.job import Job
from thrum.messages.control import Dropped
from thrum.messages.people import AddTask, ApproveTask, GetTasks
from thrum.messages.topics import TaskChanged
from thrum.sandbox import Sandbox, open_sandbox
from thrum.tree import state
from thrum.workspace import Workspace

REPOS = ("one", "two", "three", "four")
AGENTS = 4
CHECKS = 3
GOAL = 1.3
LIMIT_BYTES = 1 << 29
DEADLINE_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a task took, on average: seconds of wall and of CPU, and check runs."""

    wall_s: float
    cpu_s: float
    checks: float


# --- the floor: a plain script --------------------------------------------------------------------------------------


class Room:
    """A warm clone and the sandbox around it."""

    def __init__(self, project: Path, name: str, repo: Path, backend: str) -> None:
        config = load(project).pipeline.sandbox
        assert config.backend == backend
        self.sandbox: Sandbox = open_sandbox(config, name=f"bench-{os.getpid()}-{name}")
        self.workspace = Workspace(project / "floor" / name, repo, self.sandbox)
        self.workspace.prepare(Repository(repo, "main").tip())

    def run(self, *argv: str, task: str = "") -> None:
        job = Job(
            argv=argv,
            cwd=str(self.workspace.tree),
            env={"THRUM_TASK": task},
            writable=(str(self.workspace.tree),),
            readable=self.workspace.readable,
            wall_s=60.0,
        )
        outcome = self.sandbox.run(job)
        if not outcome.ok:
            raise SystemExit(f"{argv} failed: {outcome.reason} {outcome.tail}")


class Gates:
    """As many gate actors as processors, each with a checkout of its own for each repository."""

    def __init__(self, project: Path, backend: str) -> None:
        count = os.cpu_count() or 1
        self.runs = 0
        self._pool = ThreadPoolExecutor(count)
        self._idle: queue.SimpleQueue[dict[str, Room]] = queue.SimpleQueue()
        for number in range(count):
            self._idle.put({repo: Room(project, f"gate{number}-{repo}", project / repo, backend) for repo in REPOS})

    def check(self, repo: str, commit: str) -> None:
        """All checks on the commit, each on a clean checkout, side by side."""
        self.runs += CHECKS
        for done in [self._pool.submit(self._one, repo, commit) for _ in range(CHECKS)]:
            done.result()

    def _one(self, repo: str, commit: str) -> None:
        actor = self._idle.get()
        actor[repo].workspace.prepare(commit)
        actor[repo].run("bash", "-o", "pipefail", "-c", "true")
        self._idle.put(actor)


def work_off(project: Path, name: str, tasks: int, gates: Gates, room: Room, again: bool) -> None:
    """One repository's tasks: one slot for attempts, and a second thread that lands what they left."""
    repo = Repository(project / name, "main")
    done: queue.SimpleQueue[tuple[str, str] | None] = queue.SimpleQueue()

    def land_all() -> None:
        while (finished := done.get()) is not None:
            land(repo, name, *finished, gates, again)

    lander = threading.Thread(target=land_all)
    lander.start()
    for number in range(tasks):
        task = f"{name}-{number}"
        base = repo.tip()
        room.workspace.prepare(base)
        room.run("sh", str(project / "agent.sh"), task=task)
        out = project / "floor" / f"out-{name}"
        harvest = room.workspace.harvest(base, out, start=base, message=f"Work on {task}")
        head = repo.import_bundle(harvest.bundle, ref=f"refs/thrum/attempts/{task}/1", limit_bytes=LIMIT_BYTES)
        gates.check(name, head)
        done.put((task, head))
    done.put(None)
    lander.join()


def land(repo: Repository, name: str, task: str, head: str, gates: Gates, again: bool) -> None:
    tip = repo.tip()
    merged = repo.merge(tip, head, message=f"Land {task}")
    assert not isinstance(merged, Conflict)
    if again and merged.tree != repo.tree_of(head):
        gates.check(name, merged.commit)
    run_git(["update-ref", repo.ref, merged.commit, tip], cwd=repo.common_dir)


def run_floor(project: Path, backend: str, tasks: int, again: bool) -> None:
    """The plain script, as a process of its own; prints its figures."""
    gates = Gates(project, backend)
    rooms = {name: Room(project, f"slot-{name}", project / name, backend) for name in REPOS}
    cpu_s, began = common.family_cpu_s(), time.monotonic()
    threads = [
        threading.Thread(target=work_off, args=(project, name, tasks // len(REPOS), gates, rooms[name], again))
        for name in REPOS
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps([time.monotonic() - began, common.family_cpu_s() - cpu_s, gates.runs]), flush=True)


# --- the system -----------------------------------------------------------------------------------------------------


def work(client: Client, token: str, tasks: int, title: str) -> None:
    """Queue the tasks, approve each when it is up for it, and return when all have merged."""
    events = client.events(("task.",), timeout_s=DEADLINE_S)
    for number in range(tasks):
        body = AddTask(auth=token, by="bench", title=f"{title} {number}")
        client.request(f"repo.{REPOS[number % len(REPOS)]}", body, timeout_s=60.0)
    merged = 0
    for envelope in events:
        body = envelope.body
        if isinstance(body, Dropped):
            raise SystemExit("the bench was too slow for the events")
        assert isinstance(body, TaskChanged)
        if body.state == "awaiting-approval" and body.kind != "approved":
            approve = ApproveTask(auth=token, by="bench", task=body.task)
            client.request(f"repo.{body.task.rpartition('-')[0]}", approve, timeout_s=60.0)
        elif body.state == "merged":
            merged += 1
            if merged == tasks:
                return
        elif body.state == "failed":
            raise SystemExit(f"{body.task} failed: {body.text}")
    raise SystemExit("not all tasks merged in time")


def check_runs(client: Client) -> int:
    tasks = [task for repo in REPOS for task in client.request(f"repo.{repo}", GetTasks(), timeout_s=60.0)]
    return sum(len(result["checks"]) for task in tasks for result in task["gates"] if result["gate"] == "quality")


def system(backend: str, tasks: int) -> Figures:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        common.make_project(directory, REPOS, sandbox=backend, gates=True, agents=AGENTS)
        with common.up(directory) as tree:
            found = state(directory)
            assert found is not None
            token = common.token(directory)
            with Client(found["endpoint"]) as client:
                work(client, token, len(REPOS), "Warm up")
                runs, cpu_s, began = check_runs(client), common.family_cpu_s(tree), time.monotonic()
                work(client, token, tasks, "Write a line")
                wall_s = time.monotonic() - began
                cpu_s = common.family_cpu_s(tree) - cpu_s
                runs = check_runs(client) - runs
        return Figures(wall_s=wall_s / tasks, cpu_s=cpu_s / tasks, checks=runs / tasks)


def floor(backend: str, tasks: int, again: bool) -> Figures:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        common.make_project(directory, REPOS, sandbox=backend, gates=True, agents=AGENTS)
        command = [sys.executable, __file__, "--floor", name, backend, str(tasks), str(int(again))]
        wall_s, cpu_s, runs = json.loads(subprocess.check_output(command))
        return Figures(wall_s=wall_s / tasks, cpu_s=cpu_s / tasks, checks=runs / tasks)


def measure(quick: bool, backends: tuple[str, ...]) -> None:
    repeats, tasks = (1, 24) if quick else (3, 200)
    print(f"{tasks} tasks, {AGENTS} agents; ms a task: wall, CPU; checks a task; ratios: median, best; goal {GOAL}")
    for backend in backends:
        # Next to each other and repeated: the machine's own mood changes from minute to minute.
        runs = [
            (system(backend, tasks), floor(backend, tasks, True), floor(backend, tasks, False)) for _ in range(repeats)
        ]
        for place, title in enumerate(("Thrum", "same checks", "checks once")):
            best = min((run[place] for run in runs), key=lambda figures: figures.wall_s)
            line = f"{backend:10} {title:12} {best.wall_s * 1e3:7.1f} {best.cpu_s * 1e3:7.1f} {best.checks:5.1f}"
            if place:
                wall = [run[0].wall_s / run[place].wall_s for run in runs]
                cpu = [run[0].cpu_s / run[place].cpu_s for run in runs]
                line += f"   wall {statistics.median(wall):.2f}, {min(wall):.2f}"
                line += f"   CPU {statistics.median(cpu):.2f}, {min(cpu):.2f}"
            print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="24 tasks, once")
    parser.add_argument("--sandbox", choices=("none", "os-native"), help="only this one")
    parser.add_argument("--floor", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.floor:
        directory, backend, tasks, again = options.floor
        run_floor(Path(directory), backend, int(tasks), again == "1")
    else:
        measure(options.quick, (options.sandbox,) if options.sandbox else ("none", "os-native"))


if __name__ == "__main__":
    main()
