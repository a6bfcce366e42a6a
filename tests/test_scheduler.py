"""The scheduler's machine: what it grants, asks and tells, over real announcements."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.announcements import announced, running, task
from thrum import messages as m
from thrum.actors.scheduler import HEARING_S, SchedulerMachine
from thrum.scheduling import Limits


class Bus:
    """What a machine sends."""

    def __init__(self, *, work: bool = True, repos: tuple[str, ...] = ("a", "b")) -> None:
        self.sent: list[tuple[str, m.Message]] = []
        self.machine = SchedulerMachine(Limits(agents=2), repos, work=work, send=self.send)

    def send(self, destination: str, body: m.Message, **more: Any) -> str:
        self.sent.append((destination, body))
        return f"id-{len(self.sent)}"

    def give(self, body: m.Message, now: float = 0.0, *, correlation: str = "") -> None:
        header = m.Header(kind=type(body).__name__, id="x", source="y", incarnation="z", correlation=correlation)
        self.machine.receive(m.Envelope(destination="scheduler", header=header, body=body), now)
        self.machine.tick(now)

    def take(self, kind: type[m.Message]) -> list[tuple[str, Any]]:
        found = [sent for sent in self.sent if isinstance(sent[1], kind)]
        self.sent = [sent for sent in self.sent if not isinstance(sent[1], kind)]
        return found


def test_a_scheduler_grants_nothing_until_it_has_heard_of_every_repository() -> None:
    bus = Bus()
    bus.give(announced("a", task("a-1"), concurrency=2))
    assert bus.take(m.GrantStart) == []
    bus.give(announced("b", running("b-1"), running("b-2"), concurrency=2), 1.0)
    assert bus.take(m.GrantStart) == [], "the cap is used up by what runs already"


def test_a_repository_that_stays_away_does_not_hold_up_the_others_for_long() -> None:
    bus = Bus()
    bus.give(announced("a", task("a-1")))
    bus.machine.tick(HEARING_S + 0.1)
    assert bus.take(m.GrantStart) == [("repo.a", m.GrantStart(task="a-1"))]


def test_a_gap_is_answered_with_a_question() -> None:
    bus = Bus(repos=("a",))
    bus.give(announced("a", seq=7, snapshot=False))
    assert bus.take(m.AnnounceAgain) == [("repo.a", m.AnnounceAgain())]


def test_a_grant_that_came_back_is_given_again() -> None:
    bus = Bus(repos=("a",))
    bus.give(announced("a", task("a-1")))
    assert len(bus.take(m.GrantStart)) == 1
    bus.give(m.Undeliverable(destination="repo.a", reason="gone"), 0.1, correlation="id-1")
    bus.machine.tick(1.2)
    assert len(bus.take(m.GrantStart)) == 1


def test_what_tasks_wait_for_is_told_again_to_a_repository_that_was_started_anew() -> None:
    bus = Bus(repos=("a",))
    held = task("a-1", depends_on=("a-0",))
    note = ("repo.a", m.NoteWaiting(waiting={"a-1": "dependency"}, reasons={"a-1": "a-0 is failed"}))
    failed = task("a-0", state="failed", ready="")
    bus.give(announced("a", failed, held))
    assert bus.take(m.NoteWaiting) == [note]
    bus.give(announced("a", replace(held, priority=2), seq=2), 1.0)
    assert bus.take(m.NoteWaiting) == [], "nothing is new"
    bus.give(announced("a", failed, held, epoch="2-b"), 2.0)
    assert bus.take(m.NoteWaiting) == [note]
    bus.give(announced("a", seq=2, epoch="2-b"), 7.0)
    assert bus.take(m.NoteWaiting) == [note], "a word that it lives is answered too: the last may have been lost"


def test_an_idle_scheduler_moves_only_what_run_once_named() -> None:
    bus = Bus(work=False, repos=("a",))
    bus.give(announced("a", task("a-1"), task("a-2"), concurrency=2))
    assert bus.take(m.GrantStart) == []
    bus.give(m.RunOnce(), 1.0)
    assert bus.take(m.Reply)[0][1].value == {"task": "a-1"}
    assert bus.take(m.GrantStart) == [("repo.a", m.GrantStart(task="a-1"))]
