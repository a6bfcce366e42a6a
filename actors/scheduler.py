"""The scheduler's process: hears what repo actors announce, and permits starts and landings.

It remembers nothing that it cannot be told again; the decisions are `thrum.scheduling`'s.
"""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

from thrum.checks import integration_set
from thrum.config import Project
from thrum.messages import Envelope, Reply
from thrum.messages.control import Undeliverable
from thrum.messages.schedule import (
    AnnounceAgain,
    Announced,
    GetSchedule,
    GrantLanding,
    GrantStart,
    NoteWaiting,
    RunOnce,
    TaskSummary,
)
from thrum.names import owner
from thrum.scheduling import Limits, Schedule
from thrum.wire import Dealer

from . import base

log = logging.getLogger(__name__)

PLAN_EVERY_S = 1.0
"""Grants expire and hosts come back: looked at even if nothing is announced."""

HEARING_S = 6.0
"""How long a scheduler that has just started waits to have heard of every repository: what runs there counts."""

Send = Callable[..., Any]


def limits_of(project: Project, agents: int) -> Limits:
    """What the configuration allows; `agents` above 0 overrides its global cap."""
    engine, budget = project.pipeline.engine, project.pipeline.budget
    sets = {members for repo in project.repos if len(members := integration_set(project, repo.name)) > 1}
    # All that is spent today is spent by implementers: their share of the allocation bounds it too.
    shares = [usd for name, usd in budget.allocation.items() if name.startswith("implement")]
    bounds = (budget.ceiling_usd, sum(shares) if shares else None)
    ceilings = [usd for usd in bounds if usd is not None]
    return Limits(
        agents=agents or engine.agents,
        ceiling_usd=min(ceilings, default=None),
        integration_sets=tuple(sorted(sets)),
    )


class SchedulerMachine:
    """The scheduler without its process: messages in, messages out through `send`. The simulator runs it as it is."""

    def __init__(self, limits: Limits, repos: tuple[str, ...], *, work: bool, send: Send) -> None:
        """`work`: whether to work the backlog; without it only tasks named by `RunOnce` move."""
        self.schedule = Schedule(limits)
        self.work = work
        self._repos = repos
        self._send = send
        self._only: set[str] = set()
        self._grants: dict[str, str] = {}
        self._told: dict[str, dict[str, tuple[str, str]]] = {}
        self._dirty = False
        self._plan_at = 0.0
        self._hear_until = 0.0

    def receive(self, envelope: Envelope, now: float) -> None:
        """Take in an announcement or a question."""
        header, body = envelope.header, envelope.body
        match body:
            case Announced():
                if not self.schedule.hear(body):
                    self._send(f"repo.{body.repo}", AnnounceAgain())
                if body.snapshot or not body.tasks:
                    # It was started anew, or says that it lives: what it was told before may have been lost.
                    self._told.pop(body.repo, None)
                self._dirty = True
            case Undeliverable():
                task = self._grants.pop(header.correlation, None)
                if task is not None:
                    self.schedule.withdraw(task)
            case GetSchedule():
                self._send(header.sender, Reply(value=self.report()), correlation=header.id)
            case RunOnce():
                self._send(header.sender, self._run_once(), correlation=header.id)
                self._dirty = True
            case _:
                pass

    def next_at(self) -> float:
        """When `tick` is wanted."""
        return self._plan_at

    def tick(self, now: float) -> None:
        """Grant what may be granted."""
        if not self._dirty and now < self._plan_at:
            return
        self._dirty, self._plan_at = False, now + PLAN_EVERY_S
        self._hear_until = self._hear_until or now + HEARING_S
        missing = self._missing()
        if now < self._hear_until and missing:
            for repo in missing:
                self._send(f"repo.{repo}", AnnounceAgain())  # its announcement may have been lost
            return
        grants = self.schedule.plan(now, only=None if self.work else self._only)
        self._grants = {}
        for task in grants.land:
            self._grants[self._send(f"repo.{owner(task)}", GrantLanding(task=task))] = task
        for task in grants.start:
            self._grants[self._send(f"repo.{owner(task)}", GrantStart(task=task))] = task
        self._tell_waiting()

    def report(self) -> dict[str, Any]:
        """The whole picture as plain data. `missing` names repositories that were not heard of yet."""
        tasks = list(self.schedule.tasks())
        return {
            "missing": self._missing(),
            "faults": {name: view.fault for name, view in self.schedule.repos.items() if view.fault},
            "states": dict(Counter(task.state for task in tasks)),
            "running": sorted(task.id for task in tasks if task.slot or task.landing),
            "ready": sorted(task.id for task in tasks if task.ready),
            "startable": sorted({t.id for t in tasks if t.ready == "start"} - set(self._held())),
            "landable": sorted(task.id for task in tasks if task.ready == "land"),
            "waiting": {**self._waiting_by_task(tasks), **{t: list(why) for t, why in self._held().items()}},
            "open": sorted(task.id for task in tasks if task.state not in ("merged", "failed", "cancelled")),
            "failed": sorted(task.id for task in tasks if task.state == "failed"),
            "agents": self.schedule.limits.agents,
            "spent_usd": round(self.schedule.spent_usd, 6),
            "work": self.work,
        }

    def _missing(self) -> list[str]:
        """Repositories that were not heard of yet."""
        return [repo for repo in self._repos if repo not in self.schedule.repos]

    def _held(self) -> dict[str, tuple[str, str]]:
        """Tasks that could start but for their dependencies or the budget."""
        return self.schedule.waiting()

    def _waiting_by_task(self, tasks: list[TaskSummary]) -> dict[str, list[str]]:
        return {t.id: [t.waiting_for, ""] for t in tasks if t.waiting_for != "none" and t.state != "merged"}

    def _run_once(self) -> Reply:
        task = self.schedule.next_task()
        if task is not None:
            self._only = {task}
        return Reply(value={"task": task})

    def _tell_waiting(self) -> None:
        """Tell each repo actor what only the scheduler knows, when it changed."""
        by_repo: dict[str, dict[str, tuple[str, str]]] = {repo: {} for repo in self.schedule.repos}
        for task, why in self._held().items():
            by_repo[owner(task)][task] = why
        for repo, why_by_task in by_repo.items():
            if self._told.get(repo) != why_by_task:
                self._told[repo] = why_by_task
                waiting = {task: why[0] for task, why in why_by_task.items()}
                reasons = {task: why[1] for task, why in why_by_task.items()}
                self._send(f"repo.{repo}", NoteWaiting(waiting=waiting, reasons=reasons))


class SchedulerActor:
    """The scheduler as a process."""

    done = False

    def __init__(self, told: base.Situation, dealer: Dealer, *, agents: int, work: bool) -> None:
        repos = tuple(repo.name for repo in told.project.repos)
        self._machine = SchedulerMachine(limits_of(told.project, agents), repos, work=work, send=dealer.send)
        self._repos = repos
        self._dealer = dealer

    def start(self, now: float) -> None:
        """Ask every repo actor for all it has."""
        for repo in self._repos:
            self._dealer.send(f"repo.{repo}", AnnounceAgain())

    def step(self, envelopes: list[Envelope], now: float) -> None:
        for envelope in envelopes:
            self._machine.receive(envelope, now)
        self._machine.tick(now)

    def next_at(self) -> float:
        return self._machine.next_at()

    def wake_fds(self) -> tuple[int, ...]:
        return ()

    def standing(self) -> tuple[tuple[str, ...], int, tuple[str, ...]]:
        return (), 0, ()

    def stop(self, now: float) -> None:
        self.done = True

    def close(self) -> None:
        """Nothing is held."""


def main(argv: list[str] | None = None) -> int:
    """The process `python -m thrum.actors.scheduler`."""
    parser = base.parser("Thrum's scheduler")
    parser.add_argument("--agents", type=int, default=0, help="overrides the global cap of the configuration")
    parser.add_argument("--idle", action="store_true", help="start nothing but what `run --once` asks for")
    args = parser.parse_args(argv)
    return base.main(args, lambda told, dealer: SchedulerActor(told, dealer, agents=args.agents, work=not args.idle))


if __name__ == "__main__":
    sys.exit(main())
