"""What one attempt met and every other one would meet too: it holds them back, and one of them tries it out."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.desks import NOTHING, Desk
from thrum import inputs as i
from thrum.actors.gate_runs import GatePlan
from thrum.actors.holds import FIRST_S, MOST_S, TRIAL_S, Hold, Holds
from thrum.actors.readiness import LOOK_EVERY_S
from thrum.actors.turn import ImportAttempt, LookAtBranch
from thrum.failures import Failure
from thrum.gate import Check, CheckResult, Gate, Verdict
from thrum.messages import kinds as m
from thrum.pipeline.draft import Rules
from thrum.task import AttemptEnding, State, WaitingFor

REFUSED = i.AttemptEnded(token=1, ending=AttemptEnding.FINISHED, failure=Failure.AUTH, reason="401")
WELL = i.AttemptEnded(token=1, ending=AttemptEnding.FINISHED)

# --- A hold -------------------------------------------------------------------------------------------------------


def test_a_hold_opens_to_one_task_which_tries_it_out_and_to_all_once_that_went_well() -> None:
    hold = Hold()
    hold.met("no key", 0.0)
    assert hold.closed_to("a")
    hold.tick(FIRST_S)
    assert not hold.closed_to("a")
    hold.passes("a", FIRST_S)
    assert (hold.closed_to("a"), hold.closed_to("b")) == (False, True)
    assert hold.told == "no key (a tries it out)"
    hold.passed("b")  # it began before the hold did
    assert hold.closed_to("b")
    hold.passed("a")
    assert not hold.closed
    hold.passes("b", FIRST_S)
    assert not hold.closed_to("a"), "there is nothing to try out any more"


def test_each_time_that_it_is_met_again_it_holds_for_longer_up_to_a_limit() -> None:
    hold, now, lasted = Hold(), 0.0, []
    for _ in range(20):
        hold.met("no key", now)
        hold.met("no key", now + 1.0)  # another one that was under way
        lasted.append(hold.until - now)
        now = hold.until
        hold.tick(now)
        hold.passes("a", now)
    assert lasted == sorted(lasted)
    assert (lasted[0], lasted[1], lasted[-1]) == (FIRST_S, 2 * FIRST_S, MOST_S)


def test_a_task_that_tries_it_out_for_long_lets_the_others_in_and_its_late_failure_is_the_second_one() -> None:
    hold = Hold()
    hold.met("no key", 0.0)
    hold.tick(FIRST_S)
    hold.passes("a", FIRST_S)
    hold.tick(FIRST_S + TRIAL_S)
    hold.passes("b", FIRST_S + TRIAL_S)
    assert not hold.closed
    hold.met("no key", 1000.0)
    assert hold.until == 1000.0 + 2 * FIRST_S


def test_a_task_that_ended_before_it_could_tell_leaves_it_to_another_one() -> None:
    hold = Hold()
    hold.met("no key", 0.0)
    hold.tick(FIRST_S)
    hold.passes("a", FIRST_S)
    hold.untried("b")
    assert hold.closed_to("b")
    hold.untried("a")
    hold.passes("b", FIRST_S)
    assert (hold.closed_to("a"), hold.closed_to("b")) == (True, False)


@given(st.lists(st.tuples(st.sampled_from(["met", "passes", "passed", "untried", "over"]), st.sampled_from("ab"))))
def test_whatever_happens_a_hold_opens_again_by_itself(steps: list[tuple[str, str]]) -> None:
    hold, now = Hold(), 0.0
    for what, task in steps:
        now += 1.0
        hold.tick(now)
        match what:
            case "met":
                hold.met("no key", now)
            case "passes":
                hold.passes(task, now)
            case "passed":
                hold.passed(task)
            case "untried":
                hold.untried(task)
            case _:
                hold.over()
        assert hold.closed == (hold.until < math.inf)
        assert hold.until in (math.inf,) or hold.until <= now + MOST_S
    hold.tick(now + MOST_S)
    assert not hold.closed


# --- The holds of a repository ------------------------------------------------------------------------------------


def test_a_backend_that_is_held_is_passed_over_for_the_next_one_and_nothing_begins_only_once_all_are() -> None:
    holds = Holds(("claude", "codex"))
    holds.ended("a", "claude", REFUSED, 0.0, began=True)
    assert holds.reason == ""
    assert holds.passed_over == {
        "claude": "backend 'claude': auth: 401. " + Failure.AUTH.treatment.advice,
    }
    assert holds.choose("b", 0, 1.0) == 1
    holds.ended("b", "codex", REFUSED, 2.0, began=True)
    assert "'claude'" in holds.reason
    assert "'codex'" in holds.reason
    holds.tick(FIRST_S)
    assert (holds.choose("c", 0, FIRST_S), holds.choose("d", 0, FIRST_S)) == (0, 0)
    assert holds.closed_to("c", "claude") == ""
    assert "c tries it out" in holds.closed_to("d", "claude")


def test_a_task_that_came_to_a_later_backend_goes_back_only_where_all_behind_it_are_held() -> None:
    holds = Holds(("one", "two", "three"))
    assert holds.choose("a", 1, 0.0) == 1
    holds.ended("b", "two", REFUSED, 0.0, began=True)
    assert holds.choose("a", 1, 1.0) == 2
    holds.ended("b", "three", REFUSED, 1.0, began=True)
    assert holds.choose("a", 1, 2.0) == 0


@pytest.mark.parametrize("failure", [failure for failure in Failure if failure.treatment.holds])
def test_a_program_that_is_not_there_holds_its_backend_and_not_the_repository(failure: Failure) -> None:
    holds = Holds(("claude", "codex"))
    ended = i.AttemptEnded(token=1, ending=AttemptEnding.COULD_NOT_RUN, failure=failure)
    holds.ended("a", "claude", ended, 0.0, began=False)
    assert holds.reason == ""
    assert list(holds.passed_over) == ["claude"]


def test_what_no_agent_can_run_without_holds_the_whole_repository() -> None:
    holds = Holds(("claude", "codex"))
    ended = i.AttemptEnded(token=1, ending=AttemptEnding.COULD_NOT_RUN, reason="no bubblewrap")
    holds.ended("a", "claude", ended, 0.0, began=False)
    assert (holds.reason, holds.passed_over) == ("no bubblewrap", {})
    assert holds.closed_to("b", "codex") == "no bubblewrap"
    holds.over()
    assert holds.reason == ""


@pytest.mark.parametrize("ending", [AttemptEnding.LOST, AttemptEnding.STOPPED])
def test_an_attempt_that_was_cut_off_says_nothing_of_the_key(ending: AttemptEnding) -> None:
    holds = Holds(("claude",))
    holds.ended("a", "claude", REFUSED, 0.0, began=True)
    holds.tick(FIRST_S)
    holds.choose("b", 0, FIRST_S)
    holds.ended("b", "claude", i.AttemptEnded(token=1, ending=ending), FIRST_S, began=True)
    assert holds.choose("c", 0, FIRST_S) == 0
    assert "c tries it out" in holds.reason


# --- Through the ledger -------------------------------------------------------------------------------------------


def prepared(desk: Desk, id: str, backend: str) -> None:
    """Have the attempt prepared that the task was granted."""
    [effect] = [effect for effect in desk.take(i.PrepareAttempt) if effect.task == id]
    names = desk.setup.backends
    assert names[effect.fallbacks] == backend
    given = i.AttemptPrepared(
        token=effect.token,
        base="b",
        start="b",
        backend=backend,
        model="",
        prompt_digest="",
        fallbacks=effect.fallbacks,
    )
    desk.complete(id, given)


def begin(desk: Desk, id: str, backend: str) -> None:
    desk.give(m.GrantStart(task=id))
    prepared(desk, id, backend)


def end(desk: Desk, id: str, failure: Failure | None, ending: AttemptEnding = AttemptEnding.FINISHED) -> None:
    """Have the attempt's report taken over."""
    token = desk.ledger.tasks[id].token
    report = m.AttemptReported(task=id, token=token, ending=ending.value, failure=failure.value if failure else "")
    desk.give(report, source="worker.a.1")
    [effect] = desk.take(ImportAttempt)
    head = "" if failure else f"h{token}"
    ended = i.AttemptEnded(token=token, ending=ending, failure=failure, reason="so it says", head=head, tree=head)
    desk.ledger.reported(effect, ended, desk.now)
    desk.turn()


def test_a_refused_key_is_tried_out_by_one_task_at_a_time_however_many_stand_in_line() -> None:
    desk = Desk(backends=("claude",), concurrency=3)
    ids = [desk.add() for _ in range(20)]
    begin(desk, ids[0], "claude")
    end(desk, ids[0], Failure.AUTH)
    refused = desk.task(ids[0])
    assert (refused.state, refused.waiting_for) == (State.PENDING, WaitingFor.OPERATOR)
    for time in range(1, 5):
        assert "auth: so it says" in desk.take(m.Announced)[-1].fault
        for id in ids[1:]:
            desk.give(m.GrantStart(task=id))
        assert not any(desk.task(id).slot for id in ids)
        desk.after(FIRST_S * 2.0 ** (time - 1))
        assert desk.take(m.Announced)[-1].fault == ""
        for id in ids[1:]:
            desk.give(m.GrantStart(task=id))
        [trying] = [id for id in ids if desk.task(id).slot]
        assert f"{trying} tries it out" in desk.take(m.Announced)[-1].fault
        prepared(desk, trying, "claude")
        end(desk, trying, Failure.AUTH)
    tasks = [desk.task(id) for id in ids]
    assert sum(len(task.attempts) for task in tasks) == 5
    assert {(task.retries, task.interruptions) for task in tasks} == {(0, 0)}


def test_a_key_that_is_accepted_again_lets_all_of_them_begin() -> None:
    desk = Desk(backends=("claude",), concurrency=2)
    first, second = desk.add(), desk.add()
    begin(desk, first, "claude")
    end(desk, first, Failure.AUTH)
    desk.after(FIRST_S)
    begin(desk, second, "claude")
    end(desk, second, None)
    assert desk.take(m.Announced)[-1].fault == ""
    begin(desk, first, "claude")
    assert desk.task(first).state is State.IMPLEMENTING


def test_a_person_who_says_retry_of_any_task_in_line_has_it_looked_at_again_at_once() -> None:
    desk = Desk(backends=("claude",))
    first, second = desk.add(), desk.add()
    begin(desk, first, "claude")
    end(desk, first, Failure.AUTH)
    assert desk.give(m.RetryTask(by="ann", task=second), id="mended").ok
    assert desk.take(m.Announced)[-1].fault == ""
    begin(desk, second, "claude")
    assert desk.task(second).state is State.IMPLEMENTING
    assert desk.give(m.RetryTask(by="ann", task=second), id="again").code == "refused"


def test_where_there_is_a_backend_to_fall_back_to_the_others_go_there_without_trying_the_first() -> None:
    desk = Desk(backends=("claude", "codex"), concurrency=3, rules=Rules(fallbacks=1))
    first, second, third = desk.add(), desk.add(), desk.add()
    begin(desk, first, "claude")
    end(desk, first, Failure.NOT_FOUND, AttemptEnding.COULD_NOT_RUN)
    assert desk.take(m.Announced)[-1].fault == ""
    for id in (first, second, third):
        begin(desk, id, "codex")
    assert {desk.task(id).fallbacks for id in (first, second, third)} == {1}
    assert [attempt.backend for attempt in desk.task(first).attempts] == ["claude", "codex"]
    status = desk.give(m.GetRepoStatus(), id="status").value
    assert list(status["passed_over"]) == ["claude"]
    assert desk.give(m.RetryTask(by="ann", task=desk.add()), id="it is installed").ok
    assert desk.give(m.GetRepoStatus(), id="status again").value["passed_over"] == {}


def test_a_task_that_passed_a_backend_over_falls_back_to_the_one_behind_the_one_that_it_had() -> None:
    desk = Desk(backends=("one", "two", "three"), rules=Rules(fallbacks=2))
    first, second = desk.add(), desk.add()
    begin(desk, first, "one")
    end(desk, first, Failure.AUTH)
    desk.give(m.CancelTask(by="ann", task=first), id="no")
    begin(desk, second, "two")
    end(desk, second, Failure.CONTEXT_OVERFLOW)
    begin(desk, second, "three")


def test_an_attempt_that_begins_in_the_same_slot_is_put_back_where_its_backend_is_held_by_now() -> None:
    desk = Desk(backends=("claude",), concurrency=2)
    first, second = desk.add(), desk.add()
    begin(desk, first, "claude")
    begin(desk, second, "claude")
    end(desk, second, Failure.AUTH)
    end(desk, first, Failure.CRASHED)
    prepared(desk, first, "claude")
    task = desk.task(first)
    assert (task.state, task.waiting_for, task.slot, task.retries) == (State.PENDING, WaitingFor.SLOT, False, 1)
    assert task.attempts[-1].ending is AttemptEnding.COULD_NOT_RUN
    desk.after(FIRST_S)
    begin(desk, first, "claude")
    assert desk.task(first).state is State.IMPLEMENTING


def test_what_could_not_be_prepared_is_tried_by_one_task_for_each_hold() -> None:
    desk = Desk(concurrency=3)
    ids = [desk.add() for _ in range(20)]
    for _ in range(4):
        for id in ids:
            desk.give(m.GrantStart(task=id))
        for effect in desk.take(i.PrepareAttempt):
            desk.complete(effect.task, i.AttemptBlocked(token=effect.token, reason="it is gone"))
        desk.after(60.0)
    claimed = sum(len(desk.task(id).attempts) for id in ids)
    assert claimed == 3 + 3, "as many as there are slots, before anybody knew; then one after the other"


# --- A red branch -------------------------------------------------------------------------------------------------


def red(*, pause: bool) -> tuple[Desk, list[str]]:
    """Two tasks that are claimed while their checks are tried out on the base, which turns out to be red."""
    test = Check(name="test", command="make", repo="a")
    plans = {**NOTHING, Gate.QUALITY: GatePlan(checks=(test,))}
    desk = Desk(plans=plans, concurrency=2, pause_when_red=pause, backends=("claude",))
    ids = [desk.add(), desk.add()]
    for id in ids:
        begin(desk, id, "claude")
    desk.after(0.0)
    [asked] = desk.take(m.RunGate)
    assert asked.rehearsal
    desk.give(m.GateReported(run=asked.run, checks=(CheckResult(name="test", verdict=Verdict.FAILED),)))
    return desk, ids


def test_a_red_branch_holds_back_what_is_claimed_but_has_not_begun_and_lets_it_go_on_once_it_is_green() -> None:
    desk, ids = red(pause=True)
    desk.after(0.0)
    assert desk.take(i.BeginAttempt) == []
    assert [(desk.task(id).state, desk.task(id).slot) for id in ids] == [(State.PENDING, False)] * 2
    assert "the branch itself fails in test" in desk.give(m.GetTask(task=ids[0]), id="look").value["reason"]
    desk.give(m.GrantStart(task=ids[0]))
    assert not desk.task(ids[0]).slot
    assert desk.give(m.RetryTask(by="ann", task=ids[0]), id="it is green now").ok
    assert desk.take(m.Announced)[-1].fault == ""
    for id in ids:
        begin(desk, id, "claude")
        assert desk.task(id).state is State.IMPLEMENTING


def looked_at(desk: Desk, tip: str) -> list[m.RunGate]:
    """What is asked of the gates once it was seen that a red branch stands there."""
    desk.after(LOOK_EVERY_S)
    assert desk.take(LookAtBranch)
    desk.ledger.branch_at(tip, desk.now)
    desk.after(0.0)
    asked: list[m.RunGate] = desk.take(m.RunGate)
    return asked


def test_a_red_branch_that_has_moved_is_looked_over_and_lets_them_go_on_where_it_is_green_there() -> None:
    desk, ids = red(pause=True)
    desk.after(0.0)
    assert looked_at(desk, "b") == [], "it has not moved"
    for tip, verdict in (("still red", Verdict.FAILED), ("green", Verdict.PASSED)):
        [asked] = looked_at(desk, tip)
        assert (asked.rehearsal, asked.vector) == (True, {"a": tip})
        assert looked_at(desk, tip) == [], "that is under way"
        assert "fails in test" in desk.give(m.GetTask(task=ids[0]), id=f"look at {tip}").value["reason"]
        desk.give(m.GateReported(run=asked.run, checks=(CheckResult(name="test", verdict=verdict),)))
    assert desk.take(m.Announced)[-1].fault == ""
    desk.after(LOOK_EVERY_S)
    assert desk.take(LookAtBranch) == []
    begin(desk, ids[0], "claude")
    assert desk.task(ids[0]).state is State.IMPLEMENTING


def test_without_the_pause_a_red_branch_holds_nothing_back() -> None:
    desk, ids = red(pause=False)
    assert [desk.task(id).state for id in ids] == [State.IMPLEMENTING] * 2


def test_a_task_that_has_begun_goes_on_though_the_branch_is_red() -> None:
    desk, ids = red(pause=True)
    desk.give(m.RetryTask(by="ann", task=ids[0]), id="it is green now")
    desk.give(m.GrantStart(task=ids[0]))
    [effect] = desk.take(i.PrepareAttempt)
    desk.complete(
        ids[0],
        i.AttemptPrepared(
            token=effect.token, base="later", start="later", backend="claude", model="", prompt_digest=""
        ),
    )
    end(desk, ids[0], None)
    desk.after(0.0)
    [asked] = desk.take(m.RunGate)
    desk.give(m.GateReported(run=asked.run, checks=(CheckResult(name="test", verdict=Verdict.FAILED),)))
    desk.after(0.0)
    [on_base] = desk.take(m.RunGate)
    desk.give(m.GateReported(run=on_base.run, checks=(CheckResult(name="test", verdict=Verdict.FAILED),)))
    assert "fails in test" in desk.give(m.GetTask(task=ids[1]), id="look").value["reason"]
    prepared(desk, ids[0], "claude")
    task = desk.task(ids[0])
    assert (task.state, task.slot, task.retries, task.attempts[-1].ending) == (State.IMPLEMENTING, True, 1, None)
