"""A system with the repositories, every change queued at once, and a person who says yes to all that asks for it."""

from __future__ import annotations

import json
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.changes import HELD, Change
from tests.changes.repositories import ALL, CORE, PROGRAMS, repos_toml, steps_toml
from tests.office import Office
from tests.repositories import make_repository
from tests.systems import System, git, systems
from thrum.errors import RefusedError
from thrum.messages.people import ApproveTask
from thrum.values import dataclass

AGENT = """\
#!/bin/sh
# Does the change that its prompt names.
set -e
change=$(grep -o 'CHANGE [a-z0-9-]*' "$1" | head -n 1 | cut -d ' ' -f 2)
echo "making $change"
CHANGES=@CHANGES@ PLANTED=@PLANTED@
cp -R "$CHANGES/$change/files/." .
. "$CHANGES/$change/script"
"""


AFTER_GATE_2 = ("awaiting-approval", "approved", "integrating", "gate3", "merged", "failed", "cancelled")


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """What became of a change."""

    repo: str
    task: dict[str, Any]
    refusal: str = ""
    """What an approval without `--including-protected` was answered with."""

    @property
    def state(self) -> str:
        return str(self.task["state"])

    @property
    def was_held(self) -> bool:
        """Whether it took an explicit word."""
        return bool(self.refusal)

    @property
    def _failed(self) -> list[tuple[str, list[dict[str, Any]]]]:
        gates = [gate for gate in self.task["gates"] if gate["verdict"] == "failed"]
        return [(gate["gate"], [one for one in gate["checks"] if one["verdict"] == "failed"]) for gate in gates]

    @property
    def stopped(self) -> str:
        """What stopped it, as `Change.stopped` says it; empty if nothing did."""
        if self.state == "awaiting-approval" and self.was_held:
            return HELD
        if self.state != "failed":
            return ""
        gates = [f"{gate}: {', '.join(check['name'] for check in checks)}" for gate, checks in self._failed]
        return "; ".join(gates) or str(self.task["setbacks"][-1]["cause"])

    @property
    def said(self) -> str:
        """All that was said of why."""
        checks = [check for _, failed in self._failed for check in failed]
        return "\n".join([self.refusal, *(f"{one['reason']}\n{one['details']}\n{one['tail']}" for one in checks)])

    @property
    def told(self) -> str:
        """For a failure's message."""
        gates = [f"{gate['gate']} {gate['verdict']}" for gate in self.task["gates"]]
        ended = f"{self.task['id']} is {self.state}: {self.task['reason']} ({', '.join(gates)})"
        return f"{ended}\nstopped by: {self.stopped or 'nothing'}\n{self.said[-3000:]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How it went."""

    system: System
    repos: tuple[str, ...]
    planted: Path
    """Exists if what an agent planted for git ran outside of a sandbox."""
    sleep: str
    """The argument of a `sleep` that checks leave behind."""
    ends: dict[str, End]
    """By the change's name."""
    duration_s: float

    @property
    def directory(self) -> Path:
        return self.system.directory

    def landings(self, repo: str) -> set[str]:
        """The commits of the branch's first line, without the one it began with."""
        return set(git(self.system.repo(repo), "rev-list", "--first-parent", "main").split()[:-1])

    def on_the_branch(self, change: Change) -> bool:
        """Whether the branch holds the commit that the agent made."""
        head = self.ends[change.name].task["commits"]["head"]
        return bool(head) and head in git(self.system.repo(change.repo), "rev-list", "main").split()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """The repositories that changes are made to, and the project that has them."""

    repos: tuple[str, ...]
    lay: Callable[[System, tuple[str, ...]], None]
    """Makes both in the directory of a system, with an agent of this command; the sandbox must show it the paths among
    its words, and the folder `changes`."""


@contextmanager
def course(
    directory: Path, changes: Sequence[Change], *, ground: Ground | None = None, limit_s: float = 800.0
) -> Iterator[Course]:
    """Have all changes made, and wait until each has landed, has failed, or is held; the system stays up meanwhile."""
    ground = ground or SMALL
    sleep = f"3600.{secrets.randbelow(10**9)}"
    for system in systems(directory, repos=()):
        began = time.monotonic()
        planted = directory / "planted"
        _prepare(system, changes, planted, sleep)
        ground.lay(system, ("sh", str(directory / "agent.sh")))
        system.up()
        with Office(system, *ground.repos) as office:
            ends = _Person(office, ground.repos, changes).see_to_it(limit_s)
        duration_s = time.monotonic() - began
        yield Course(system=system, repos=ground.repos, planted=planted, sleep=sleep, ends=ends, duration_s=duration_s)


def _prepare(system: System, changes: Sequence[Change], planted: Path, sleep: str) -> None:
    """The agent, and what it is to do."""
    told = system.directory / "changes"
    for change in changes:
        files = told / change.name / "files"
        files.mkdir(parents=True)
        deleted = [path for path, text in change.files.items() if text is None]
        for path, text in change.files.items():
            if text is not None:
                (files / path).parent.mkdir(parents=True, exist_ok=True)
                (files / path).write_text(text.replace("$SLEEP", sleep))
        removal = "".join(f"rm '{path}'\n" for path in deleted)
        (told / change.name / "script").write_text(f"{removal}{change.script}\n")
    (told / "core.py").write_text(CORE)
    agent = AGENT.replace("@CHANGES@", str(told)).replace("@PLANTED@", str(planted))
    (system.directory / "agent.sh").write_text(agent)


def _lay_small(system: System, agent: tuple[str, ...]) -> None:
    directory = system.directory
    for name, files in ALL.items():
        make_repository(system.repo(name), files, programs=PROGRAMS)
    (directory / "configs/repos.toml").write_text(repos_toml())
    pythons = {sys.prefix, sys.base_prefix} - {"/usr"}
    (directory / "configs/pipeline.toml").write_text(f"""
[sandbox]
backend = "os-native"
limits = "best-effort"
memory_limit_mb = 1024
pids_limit = 256
mount_paths = {json.dumps([*agent[1:], str(directory / "changes"), *sorted(pythons)])}
[engine]
max_retries = 0
per_repo_limit = 3
agents = 6
gate_actors = 3
[gates.quality]
checks = ["fmt", "lint", "test", "build"]
timeout_s = 20
{steps_toml()}
[[backends]]
name = "scripted"
type = "agent"
command = "{agent[0]}"
prompt_args = {json.dumps([*agent[1:], "{prompt_file}"])}
[api]
enabled = false
""")


SMALL = Ground(repos=tuple(ALL), lay=_lay_small)


class _Person:
    """Says yes to whatever asks for it; to what is protected only where the change is good."""

    def __init__(self, office: Office, repos: Sequence[str], changes: Sequence[Change]) -> None:
        self._office = office
        self._repos = repos
        self._changes = {office.add(f"CHANGE {change.name}", change.repo): change for change in changes}
        self._ends: dict[str, End] = {}
        self._refusals: dict[str, str] = {}
        self._yes: set[str] = set()

    def see_to_it(self, limit_s: float) -> dict[str, End]:
        """Go on until each change has its end, by the change's name."""
        self._office.system.until(self._look, "every change to have its end", limit_s)
        return self._ends

    def _look(self) -> bool:
        tasks = [task for repo in self._repos for task in self._office.desk.tasks(repo)]
        for task in tasks:
            change = self._changes[task["id"]]
            if change.name in self._ends:
                continue
            if task["state"] in ("merged", "failed", "cancelled"):
                self._end(task, change)
            elif task["state"] == "awaiting-approval" and self._is_time(tasks, change):
                self._approve(task, change)
        return len(self._ends) == len(self._changes)

    def _is_time(self, tasks: list[dict[str, Any]], change: Change) -> bool:
        """Good changes are approved at once. Bad ones come last: should one land, it is not to spoil what others are
        based on."""
        begun = {self._changes[task["id"]].name for task in tasks if task["state"] in AFTER_GATE_2}
        if not change.stopped:
            return begun.issuperset({one.name for one in self._changes.values()} & set(change.after))
        good = {one.name for one in self._changes.values() if not one.stopped}
        return len(begun) == len(self._changes) and good <= self._ends.keys()

    def _approve(self, task: dict[str, Any], change: Change) -> None:
        try:
            self._office.decide(ApproveTask, task["id"])
        except RefusedError as error:
            self._refusals[change.name] = str(error)
            if change.stopped:
                self._end(task, change)
            else:
                self._office.desk.decide(ApproveTask, task["id"], by="tester", protected=True)

    def _end(self, task: dict[str, Any], change: Change) -> None:
        refusal = self._refusals.get(change.name, "")
        self._ends[change.name] = End(repo=change.repo, task=task, refusal=refusal)
