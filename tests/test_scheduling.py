"""thrum.scheduling: who may start and land, whatever is announced."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.announcements import announced, running, task
from thrum.messages.schedule import Announced, TaskSummary
from thrum.names import owner
from thrum.scheduling import GRANT_EXPIRES_S, Limits, Schedule


def schedule(*announcements: Announced, **limits: Any) -> Schedule:
    made = Schedule(Limits(**{"agents": 4, **limits}))
    for one in announcements:
        assert made.hear(one)
    return made


# --- Starts -------------------------------------------------------------------------------------------------------


def test_a_repository_starts_no_more_than_its_concurrency() -> None:
    queued = [task(f"a-{n}") for n in range(5)]
    assert len(schedule(announced("a", *queued, concurrency=2), agents=9).plan(0.0).start) == 2
    assert len(schedule(announced("a", running("a-9"), *queued, concurrency=2), agents=9).plan(0.0).start) == 1


def test_all_repositories_together_start_no_more_than_the_global_cap() -> None:
    plan = schedule(*(announced(repo, task(f"{repo}-1"), running(f"{repo}-2"), concurrency=2) for repo in "abc"))
    assert len(plan.plan(0.0).start) == 1


def test_a_busy_repository_at_the_head_of_the_queue_holds_up_no_other() -> None:
    busy = announced("a", running("a-1"), *(task(f"a-{n}", priority=9) for n in range(2, 50)))
    assert schedule(busy, announced("b", task("b-1"))).plan(0.0).start == ("b-1",)


def test_the_repository_that_was_served_least_is_next() -> None:
    repos = [announced(repo, *(task(f"{repo}-{n}") for n in range(4)), concurrency=4) for repo in ("a", "b")]
    started = schedule(*repos, agents=4).plan(0.0).start
    assert sorted(map(owner, started)) == ["a", "a", "b", "b"]


def test_a_repository_that_had_its_turn_lets_the_next_one_have_the_slot_that_it_freed() -> None:
    plan = schedule(*(announced(repo, *(task(f"{repo}-{n}") for n in range(4))) for repo in ("a", "b")), agents=1)
    assert plan.plan(0.0).start == ("a-0",)
    plan.hear(announced("a", task("a-0", state="merged", ready=""), seq=2))
    assert plan.plan(1.0).start == ("b-0",)


def test_a_higher_priority_goes_first_and_among_equals_the_older_task() -> None:
    queued = [task("a-1", created_at=5.0), task("a-2", created_at=3.0), task("a-3", created_at=9.0, priority=1)]
    plan = schedule(announced("a", *queued, concurrency=3))
    assert plan.plan(0.0).start == ("a-3", "a-2", "a-1")


def test_only_the_named_tasks_start_where_a_plan_is_limited_to_them() -> None:
    plan = schedule(announced("a", *(task(f"a-{n}") for n in range(4)), concurrency=4))
    assert plan.plan(0.0, only=["a-2"]).start == ("a-2",)
    assert plan.plan(0.0, only=[]).start == ()


# --- Dependencies and the budget ------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["pending", "implementing", "approved", "failed", "cancelled"])
def test_a_dependency_that_has_not_merged_holds_its_task_back_and_says_so(state: str) -> None:
    plan = schedule(announced("a", task("a-1", state=state, ready=""), task("a-2", depends_on=("a-1",))))
    assert plan.plan(0.0).start == ()
    assert plan.waiting() == {"a-2": ("dependency", f"a-1 is {state}")}


def test_a_task_starts_once_the_last_of_its_dependencies_has_merged() -> None:
    needs = ("a-1", "b-1")
    plan = schedule(
        announced("a", task("a-1", state="merged", ready=""), task("a-2", depends_on=needs)),
        announced("b", running("b-1")),
    )
    assert plan.waiting() == {"a-2": ("dependency", "b-1 is implementing")}
    plan.hear(announced("b", task("b-1", state="merged", ready=""), seq=2))
    assert plan.waiting() == {}
    assert plan.plan(0.0).start == ("a-2",)


def test_a_dependency_in_a_repository_that_is_away_is_not_known_until_it_announces() -> None:
    plan = schedule(announced("a", task("a-1", depends_on=("b-1",))))
    assert plan.waiting()["a-1"] == ("dependency", "b-1 is not known here: its repository is away")
    plan.hear(announced("b", task("b-1", state="merged", ready="")))
    assert plan.plan(0.0).start == ("a-1",)


def test_a_dependency_that_was_reopened_is_told_as_it_is_now() -> None:
    plan = schedule(announced("a", task("a-1", state="failed", ready=""), task("a-2", depends_on=("a-1",))))
    plan.hear(announced("a", task("a-1"), seq=2))
    assert plan.waiting()["a-2"] == ("dependency", "a-1 is pending")
    assert plan.plan(0.0).start == ("a-1",)


def test_what_was_spent_holds_every_start_back_and_no_landing() -> None:
    spent = announced("a", task("a-1", cost_usd=3.0), task("a-2"), task("a-3", state="approved", ready="land"))
    plan = schedule(spent, ceiling_usd=3.0)
    grants = plan.plan(0.0)
    assert (grants.start, grants.land) == ((), ("a-3",))
    assert plan.waiting() == dict.fromkeys(("a-1", "a-2"), ("budget", "$3.00 of $3.00 is spent"))


def test_a_task_that_is_announced_again_counts_its_cost_once() -> None:
    plan = schedule(announced("a", task("a-1", cost_usd=2.0)), ceiling_usd=3.0)
    for seq in (2, 3, 4):
        plan.hear(announced("a", task("a-1", cost_usd=2.5), seq=seq))
    assert plan.spent_usd == pytest.approx(2.5)
    plan.hear(announced("a", task("a-1", cost_usd=2.5), seq=5, snapshot=True))
    assert plan.spent_usd == pytest.approx(2.5)


# --- Grants and announcements -----------------------------------------------------------------------------------------


def test_a_repository_with_a_fault_starts_nothing_and_its_tasks_wait_for_the_operator() -> None:
    away = announced("a", task("a-1"), task("a-2", depends_on=("a-1",)), fault="it is gone")
    made = schedule(away, announced("b", task("b-1")))
    assert made.plan(0.0).start == ("b-1",)
    assert made.waiting() == {"a-1": ("operator", "it is gone"), "a-2": ("dependency", "a-1 is pending")}
    made.hear(announced("a", seq=2))
    assert made.plan(0.0).start == ("a-1",)


def test_a_grant_counts_until_its_repository_announces_the_task_or_it_expires() -> None:
    plan = schedule(announced("a", task("a-1"), task("a-2")))
    assert plan.plan(0.0).start == ("a-1",)
    assert plan.plan(GRANT_EXPIRES_S - 0.1).start == ()
    assert plan.plan(GRANT_EXPIRES_S + 0.1).start == ("a-1",)
    plan.hear(announced("a", running("a-1"), seq=2))
    assert plan.plan(GRANT_EXPIRES_S + 0.2).start == ()


def test_a_grant_that_did_not_arrive_is_free_at_once() -> None:
    plan = schedule(announced("a", task("a-1")))
    plan.plan(0.0)
    plan.withdraw("a-1")
    assert plan.plan(0.1).start == ("a-1",)


def test_a_gap_asks_for_a_snapshot_and_changes_nothing() -> None:
    plan = schedule(announced("a", task("a-1")))
    assert not plan.hear(announced("a", running("a-1"), seq=3))
    assert not plan.hear(announced("a", running("a-1"), seq=2, epoch="2-b"))
    assert not plan.hear(announced("b", task("b-1"), seq=2))
    assert [known.slot for known in plan.tasks()] == [False]


def test_a_doubled_announcement_changes_nothing() -> None:
    plan = schedule(announced("a", task("a-1")))
    assert plan.hear(announced("a", running("a-1"), seq=2))
    assert plan.hear(announced("a", task("a-1"), seq=2))
    assert [known.slot for known in plan.tasks()] == [True]


def test_a_late_snapshot_does_not_bring_the_past_back() -> None:
    plan = schedule(announced("a", task("a-1")), announced("a", running("a-1"), seq=2))
    assert plan.hear(announced("a", task("a-1"), seq=1))
    assert [known.slot for known in plan.tasks()] == [True]
    assert plan.hear(announced("a", running("a-1"), task("a-2"), seq=3))


def test_a_snapshot_replaces_all_that_was_known_of_its_repository() -> None:
    plan = schedule(announced("a", running("a-1", cost_usd=1.0), task("a-2")))
    plan.hear(announced("a", task("a-3"), epoch="2-b"))
    assert [known.id for known in plan.tasks()] == ["a-3"]
    assert plan.spent_usd == 0.0
    assert plan.plan(0.0).start == ("a-3",)


# --- Landings -----------------------------------------------------------------------------------------------------


def approved(id: str, **more: Any) -> TaskSummary:
    return task(id, state="approved", ready="land", **more)


def test_one_task_of_an_integration_set_lands_at_a_time_and_other_repositories_land_beside_it() -> None:
    plan = schedule(
        announced("a", approved("a-1", changed_at=2.0), approved("a-2", changed_at=3.0)),
        announced("b", approved("b-1", changed_at=1.0)),
        announced("c", approved("c-1")),
        integration_sets=(("a", "b"),),
    )
    assert set(plan.plan(0.0).land) == {"b-1", "c-1"}
    plan.hear(announced("b", task("b-1", state="gate3", ready="", landing=True), seq=2))
    assert plan.plan(10.0).land == ("c-1",)
    plan.hear(announced("b", task("b-1", state="merged", ready=""), seq=3))
    assert "a-1" in plan.plan(20.0).land


def test_run_once_takes_what_can_land_before_what_can_start() -> None:
    plan = schedule(announced("a", task("a-1", priority=5), task("a-2", priority=1)))
    assert plan.next_task() == "a-1"
    plan.hear(announced("a", approved("a-3"), seq=2))
    assert plan.next_task() == "a-3"
    assert schedule(announced("a", running("a-1"))).next_task() is None


# --- Whatever is announced ------------------------------------------------------------------------------------------

summaries = st.sampled_from(
    [
        {"state": "pending", "ready": "start"},
        {"state": "pending", "ready": ""},
        {"state": "implementing", "ready": "", "slot": True},
        {"state": "gate2", "ready": "", "slot": True},
        {"state": "awaiting-approval", "ready": ""},
        {"state": "approved", "ready": "land"},
        {"state": "gate3", "ready": "", "landing": True},
        {"state": "merged", "ready": ""},
        {"state": "failed", "ready": ""},
    ]
)
ids = st.sampled_from([f"{repo}-{n}" for repo in "abc" for n in range(4)])
depends = st.lists(ids, max_size=2).map(tuple)
news = st.tuples(ids, summaries, depends, st.integers(0, 2), st.booleans())


@settings(deadline=None, max_examples=150)
@given(st.lists(news, max_size=40), st.integers(1, 3), st.integers(1, 2))
def test_no_plan_passes_a_limit_whatever_was_announced(all_news: list[Any], agents: int, concurrency: int) -> None:
    plan = Schedule(Limits(agents=agents, ceiling_usd=None, integration_sets=(("a", "b"),)))
    seqs = dict.fromkeys("abc", 0)
    merged: dict[str, TaskSummary] = {}
    for now, (id, known, depends_on, priority, snapshot) in enumerate(all_news):
        repo = owner(id)
        seqs[repo] += 1
        # What has merged stays merged, and is in every snapshot.
        news = merged.get(id) or replace(task(id, depends_on=depends_on, priority=priority), **known)
        if news.state == "merged":
            merged[id] = news
        whole = snapshot or seqs[repo] == 1
        kept = [one for one in merged.values() if whole and owner(one.id) == repo and one.id != id]
        said = announced(repo, *kept, news, seq=seqs[repo], snapshot=whole, concurrency=concurrency)
        assert plan.hear(said)
        before = {known.id: known for known in plan.tasks()}
        grants = plan.plan(now * 2.0)
        check_plan(plan, before, grants.start, agents, concurrency)
        landing = [one for one in before.values() if one.landing] + [before[id] for id in grants.land]
        if grants.land:
            sets = [("a", "b") if owner(one.id) in "ab" else ("c",) for one in landing if one.id in grants.land]
            assert len(set(sets)) == len(sets)
        held = {one.id for one in before.values() if one.ready == "start" and not met(before, one)}
        assert set(plan.waiting()) == held


def met(known: dict[str, TaskSummary], one: TaskSummary) -> bool:
    return all(need in known and known[need].state == "merged" for need in one.depends_on)


def check_plan(
    plan: Schedule, known: dict[str, TaskSummary], started: tuple[str, ...], agents: int, concurrency: int
) -> None:
    busy = [one.id for one in known.values() if one.slot]
    out = {id for id, (kind, _) in plan._granted.items() if kind == "start"}
    assert not started or len(busy) + len(out) <= agents
    for id in started:
        assert known[id].ready == "start"
        assert met(known, known[id])
        here = [one for one in [*busy, *out] if owner(one) == owner(id)]
        assert len(here) <= concurrency
    waiting = [one for one in known.values() if one.ready == "start" and met(known, one) and one.id not in out]
    if len(busy) + len(out) < agents:
        for one in waiting:
            here = [other for other in [*busy, *out] if owner(other) == owner(one.id)]
            assert len(here) >= concurrency, f"{one.id} could start, and does not"


# --- How much work it is ----------------------------------------------------------------------------------------------


def calls(action: Callable[[], Any]) -> int:
    """How many functions the action calls: its work, whatever the machine."""
    count = 0

    def profile(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        action()
    finally:
        sys.setprofile(before)
    return count


def test_a_decision_costs_no_more_with_thousands_of_tasks_queued() -> None:
    def work(queued: int) -> int:
        plan = schedule(
            *(announced(repo, *(task(f"{repo}-{n}") for n in range(queued)), concurrency=2) for repo in "abcd")
        )
        return calls(lambda: (plan.plan(0.0), plan.waiting(), plan.next_task(), plan.plan(9.0)))

    assert work(1000) <= work(10) + 10


def test_a_change_costs_little_more_with_thousands_of_tasks_queued() -> None:
    def work(queued: int) -> int:
        chain = [task(f"a-{n}", depends_on=(f"a-{n - 1}",) if n else ()) for n in range(queued)]
        plan = schedule(announced("a", *chain))
        return calls(lambda: plan.hear(announced("a", task("a-0", state="merged", ready=""), seq=2)))

    assert work(4000) <= work(40) + 20


def test_four_thousand_queued_tasks_are_four_thousand_started_tasks() -> None:
    plan = schedule(*(announced(repo, *(task(f"{repo}-{n}") for n in range(1000)), concurrency=2) for repo in "abcd"))
    seqs, done, now = dict.fromkeys("abcd", 1), 0, 0.0
    while started := plan.plan(now).start:
        for id in started:
            seqs[owner(id)] += 1
            merged = task(id, state="merged", ready="")
            plan.hear(announced(owner(id), merged, seq=seqs[owner(id)], concurrency=2))
        done, now = done + len(started), now + 1.0
    assert done == 4000
