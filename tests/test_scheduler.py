"""The scheduler's machine: what it grants, asks and tells, over real announcements."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.announcements import announced, running, task
from thrum.actors.scheduler import HEARING_S, PLAN_EVERY_S, SchedulerMachine, limits_of
from thrum.config import BudgetConfig, PipelineConfig, Project
from thrum.messages import Envelope, Header, Message, Reply
from thrum.messages.control import Undeliverable
from thrum.messages.schedule import AnnounceAgain, GrantStart, NoteWaiting, RunOnce
from thrum.scheduling import Limits


@pytest.mark.parametrize(
    ("budget", "ceiling"),
    [
        (BudgetConfig(), None),
        (BudgetConfig(ceiling_usd=10), 10),
        (BudgetConfig(ceiling_usd=10, allocation={"implementer": 6, "review": 4}), 6),
        (BudgetConfig(allocation={"implementation_one": 2, "implementation_two": 3}), 5),
    ],
)
def test_the_narrowest_budget_that_is_set_bounds_what_is_spent(budget: BudgetConfig, ceiling: float | None) -> None:
    project = Project(directory="/p", repos=(), pipeline=PipelineConfig(budget=budget))
    assert limits_of(project, 0).ceiling_usd == ceiling


class Bus:
    """What a machine sends."""

    def __init__(self, *, work: bool = True, repos: tuple[str, ...] = ("a", "b")) -> None:
        self.sent: list[tuple[str, Message]] = []
        self.machine = SchedulerMachine(Limits(agents=2), repos, work=work, send=self.send)

    def send(self, destination: str, body: Message, **more: Any) -> str:
        self.sent.append((destination, body))
        return f"id-{len(self.sent)}"

    def give(self, body: Message, now: float = 0.0, *, correlation: str = "") -> None:
        header = Header(kind=type(body).__name__, id="x", source="y", incarnation="z", correlation=correlation)
        self.machine.receive(Envelope(destination="scheduler", header=header, body=body), now)
        self.machine.tick(now)

    def take(self, kind: type[Message]) -> list[tuple[str, Any]]:
        found = [sent for sent in self.sent if isinstance(sent[1], kind)]
        self.sent = [sent for sent in self.sent if not isinstance(sent[1], kind)]
        return found


def test_a_scheduler_grants_nothing_until_it_has_heard_of_every_repository() -> None:
    bus = Bus()
    bus.give(announced("a", task("a-1"), concurrency=2))
    assert bus.take(GrantStart) == []
    bus.give(announced("b", running("b-1"), running("b-2"), concurrency=2), 1.0)
    assert bus.take(GrantStart) == [], "the cap is used up by what runs already"


def test_a_repository_that_stays_away_does_not_hold_up_the_others_for_long() -> None:
    bus = Bus()
    bus.give(announced("a", task("a-1")))
    bus.machine.tick(HEARING_S + 0.1)
    assert bus.take(GrantStart) == [("repo.a", GrantStart(task="a-1"))]


def test_a_gap_is_answered_with_a_question() -> None:
    bus = Bus(repos=("a",))
    bus.give(announced("a"))
    assert bus.take(AnnounceAgain) == []
    bus.give(announced("a", seq=7, snapshot=False))
    assert bus.take(AnnounceAgain) == [("repo.a", AnnounceAgain())]


def test_a_repository_that_was_not_heard_of_is_asked_until_it_answers_or_the_time_is_up() -> None:
    bus = Bus()
    bus.give(announced("a"))
    bus.machine.tick(PLAN_EVERY_S)
    assert bus.take(AnnounceAgain) == [("repo.b", AnnounceAgain())] * 2
    bus.machine.tick(HEARING_S + 0.1)
    assert bus.take(AnnounceAgain) == []


def test_a_grant_that_came_back_is_given_again() -> None:
    bus = Bus(repos=("a",))
    bus.give(announced("a", task("a-1")))
    assert len(bus.take(GrantStart)) == 1
    bus.give(Undeliverable(destination="repo.a", reason="gone"), 0.1, correlation="id-1")
    bus.machine.tick(1.2)
    assert len(bus.take(GrantStart)) == 1


def test_what_tasks_wait_for_is_told_again_to_a_repository_that_was_started_anew() -> None:
    bus = Bus(repos=("a",))
    held = task("a-1", depends_on=("a-0",))
    note = ("repo.a", NoteWaiting(waiting={"a-1": "dependency"}, reasons={"a-1": "a-0 is failed"}))
    failed = task("a-0", state="failed", ready="")
    bus.give(announced("a", failed, held))
    assert bus.take(NoteWaiting) == [note]
    bus.give(announced("a", replace(held, priority=2), seq=2), 1.0)
    assert bus.take(NoteWaiting) == [], "nothing is new"
    bus.give(announced("a", failed, held, epoch="2-b"), 2.0)
    assert bus.take(NoteWaiting) == [note]
    bus.give(announced("a", seq=2, epoch="2-b"), 7.0)
    assert bus.take(NoteWaiting) == [note], "a word that it lives is answered too: the last may have been lost"


def test_an_idle_scheduler_moves_only_what_run_once_named() -> None:
    bus = Bus(work=False, repos=("a",))
    bus.give(announced("a", task("a-1"), task("a-2"), concurrency=2))
    assert bus.take(GrantStart) == []
    bus.give(RunOnce(), 1.0)
    assert bus.take(Reply)[0][1].value == {"task": "a-1"}
    assert bus.take(GrantStart) == [("repo.a", GrantStart(task="a-1"))]
