"""thrum.pipeline: the table of transitions, and what holds of `decide` whatever comes in which order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.lives import Life, answer, called_for, go, next_step, rules, spontaneous, well
from thrum import inputs as i
from thrum.errors import RefusedError, TransitionError
from thrum.failures import Failure
from thrum.fence import Fence
from thrum.gate import CheckResult, Gate, Verdict
from thrum.pipeline import decide
from thrum.pipeline.draft import Rules
from thrum.pipeline.moves import pause_after
from thrum.pipeline.table import TRANSITIONS, Step, after
from thrum.task import ENDS, AttemptEnding, State, WaitingFor

RULES = Rules(max_retries=2, max_interruptions=2, max_rebuilds=2, max_wait_s=100.0)


# --- The table ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("step", Step)
def test_a_pair_that_is_not_in_the_table_raises(state: State, step: Step) -> None:
    if (state, step) in TRANSITIONS:
        assert after(state, step) is TRANSITIONS[state, step]
    else:
        with pytest.raises(TransitionError, match=f"{state} cannot {step}"):
            after(state, step)


def test_only_reopening_leads_out_of_an_end_and_nothing_out_of_merged() -> None:
    assert {(state, step) for state, step in TRANSITIONS if state in ENDS} == {
        (State.FAILED, Step.REOPEN),
        (State.CANCELLED, Step.REOPEN),
    }


def test_merging_leads_from_gate3_alone() -> None:
    assert [state for (state, _), target in TRANSITIONS.items() if target is State.MERGED] == [State.GATE3]


def test_every_state_can_be_reached_and_every_one_but_merged_can_be_left() -> None:
    assert set(TRANSITIONS.values()) == set(State)
    assert {state for state, _ in TRANSITIONS} == set(State) - {State.MERGED}


# --- Whatever comes ---------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_whatever_comes_in_whatever_order_a_task_stays_within_its_rules(data: st.DataObject) -> None:
    life = Life(data.draw(rules))
    for _ in range(data.draw(st.integers(1, 50))):
        match data.draw(st.integers(0, 19)):
            case 0:
                life.take(spontaneous(data.draw, life.task))
            case 1 if life.asked:
                life.take(answer(data.draw, data.draw(st.sampled_from(life.asked))))
            case 2 if life.given:
                life.take(data.draw(st.sampled_from(life.given)))
            case _:
                life.take(called_for(data.draw, life))


def test_a_task_goes_from_the_queue_to_the_branch() -> None:
    life = Life(RULES)
    assert go(life) is State.MERGED
    assert life.task.attempts[-1].head == "head-1"
    assert [result.gate for result in life.task.gates] == list(Gate)


def test_a_gate_that_always_fails_uses_up_the_retries_and_no_more() -> None:
    life = Life(RULES)
    assert go(life, Verdict.FAILED) is State.FAILED
    assert life.task.retries == RULES.max_retries
    assert len(life.task.attempts) == 1 + RULES.max_retries
    assert life.task.reason.startswith("gate after 2 retries")


def test_a_gate_that_cannot_run_uses_up_no_retry_and_gives_the_slot_back() -> None:
    life = Life(RULES)
    assert go(life, Verdict.COULD_NOT_RUN) is State.GATE1
    task = life.task
    assert (task.retries, task.slot, task.waiting_for) == (0, False, WaitingFor.OPERATOR)
    assert task.wake_at > life.now


def test_a_change_beside_the_claim_that_none_is_needed_is_judged_as_a_change() -> None:
    life = begun()
    ended = well(life.asked[-1], Verdict.PASSED)
    assert isinstance(ended, i.AttemptEnded)
    life.take(replace(ended, no_change="it is there already"))
    assert go(life) is State.MERGED


def changing(policy: Any, *files: str, leaks: tuple[str, ...] = ()) -> Life:
    """A task whose attempt has just been handed in with changes to these files, of which `conftest.py` is protected."""
    life = Life(replace(RULES, fence=Fence(always=("**/conftest.py",)), protected_change=policy))
    life.take(i.StartGranted(worker="worker.a.1"))
    life.take(well(life.asked[-1], Verdict.PASSED))
    ended = well(life.asked[-1], Verdict.PASSED)
    assert isinstance(ended, i.AttemptEnded)
    life.take(replace(ended, files=files, leaks=leaks))
    return life


def to_the_person(life: Life) -> None:
    while life.task.state is not State.AWAITING_APPROVAL:
        life.take(next_step(life))


def test_a_change_to_a_protected_path_lands_only_where_a_person_said_yes_to_that_too() -> None:
    life = changing("approve", "a.py", "tests/conftest.py")
    to_the_person(life)
    assert life.task.attempts[-1].protected == ("tests/conftest.py",)
    with pytest.raises(RefusedError, match=r"changes what is protected: tests/conftest\.py") as refused:
        decide(life.task, i.Approved(by="ann"), life.rules, 1000.0)
    assert "--including-protected" in refused.value.remedy
    life.take(i.Approved(by="ann", protected=True))
    assert go(life) is State.MERGED


def test_where_protected_paths_may_not_change_the_attempt_goes_back_with_their_names() -> None:
    life = changing("fail", "tests/conftest.py")
    assert life.task.state is State.IMPLEMENTING
    assert life.task.setbacks[-1].cause == "protected"
    assert "tests/conftest.py" in life.task.setbacks[-1].text
    assert life.task.retries == 1


@pytest.mark.parametrize("policy", ["approve", "fail"])
def test_a_path_that_is_protected_only_after_the_approval_needs_another_one(policy: Any) -> None:
    life = changing("allow", "conftest.py")
    to_the_person(life)
    life.take(i.Approved(by="ann"))
    life.rules = replace(life.rules, protected_change=policy)
    while life.task.state is not State.AWAITING_APPROVAL:
        life.take(next_step(life))
    assert "conftest.py" in life.task.reason
    if policy == "fail":
        with pytest.raises(RefusedError, match="nothing may change"):
            decide(life.task, i.Approved(by="ann", protected=True), life.rules, 1000.0)


LEAKS = ("key.txt", "commit 0123456789ab")


@pytest.mark.parametrize("policy", ["approve", "allow"])
def test_what_holds_a_secret_lands_only_where_a_person_said_yes_to_that_whatever_may_be_changed(policy: Any) -> None:
    life = changing(policy, "a.py", leaks=LEAKS)
    to_the_person(life)
    with pytest.raises(RefusedError, match=r"holds a secret.*: key\.txt, commit 0123456789ab") as refused:
        decide(life.task, i.Approved(by="ann"), life.rules, 1000.0)
    assert "--including-protected" in refused.value.remedy
    life.take(i.Approved(by="ann", protected=True))
    assert go(life) is State.MERGED


def test_where_protected_paths_may_not_change_a_secret_in_any_commit_sends_the_attempt_back() -> None:
    life = changing("fail", "a.py", leaks=LEAKS)
    assert (life.task.state, life.task.setbacks[-1].cause) == (State.IMPLEMENTING, "protected")
    text = life.task.setbacks[-1].text
    assert "key.txt, commit 0123456789ab" in text
    assert f"git reset --soft {life.task.attempts[-1].base}" in text


def test_a_yes_that_was_given_before_secrets_needed_a_word_of_their_own_lands_nothing() -> None:
    life = changing("allow", "a.py", leaks=LEAKS)
    to_the_person(life)
    life.take(i.Approved(by="ann", protected=True))
    life.task = replace(life.task, approvals=tuple(replace(one, protected=False) for one in life.task.approvals))
    while life.task.state is not State.AWAITING_APPROVAL:
        life.take(next_step(life))
    assert "key.txt" in life.task.reason


def test_other_changes_need_no_such_word() -> None:
    life = changing("approve", "a.py", "conftest.pyx")
    to_the_person(life)
    life.take(i.Approved(by="ann"))
    assert go(life) is State.MERGED


def begun() -> Life:
    """A task whose worker was told to begin its first attempt."""
    life = Life(RULES)
    life.take(i.StartGranted(worker="worker.a.1"))
    life.take(well(life.asked[-1], Verdict.PASSED))
    return life


def test_work_that_was_cut_off_is_handed_in_by_an_attempt_that_finds_nothing_left_to_do_but_only_once() -> None:
    life = begun()
    lost = i.AttemptEnded(token=1, ending=AttemptEnding.LOST, head="head-1", tree="tree-1", files=("x",))
    life.take(lost)
    life.take(i.StartGranted(worker="worker.a.1"))
    for token, state in ((2, State.GATE1), (3, State.IMPLEMENTING)):
        life.take(
            i.AttemptPrepared(token=token, base="base-0", start="head-1", backend="b", model="", prompt_digest="")
        )
        life.take(i.AttemptEnded(token=token, ending=AttemptEnding.FINISHED))
        assert life.task.state is state
        if state is State.GATE1:
            assert life.task.attempts[-1].head == "head-1"
            life.take(well(life.asked[-1], Verdict.FAILED))
    assert life.task.setbacks[-1].cause == "no-change"


@pytest.mark.parametrize("ending", [AttemptEnding.LOST, AttemptEnding.TIMED_OUT, AttemptEnding.STOPPED])
def test_an_attempt_that_is_cut_off_hands_on_the_conflict_that_it_was_to_resolve(ending: AttemptEnding) -> None:
    life = Life(RULES)
    while life.task.state is not State.INTEGRATING:
        life.take(next_step(life))
    life.take(i.CandidateConflicted(base="base-1", start="conflict-1", paths=("x",)))
    for token in (2, 3):
        life.take(i.StartGranted(worker="worker.a.1"))
        effect = next(effect for effect in reversed(life.asked) if isinstance(effect, i.PrepareAttempt))
        assert (effect.token, effect.base, effect.start) == (token, "base-1", "conflict-1")
        life.take(
            i.AttemptPrepared(
                token=token, base="base-1", start="conflict-1", backend="agent", model="", prompt_digest=""
            )
        )
        life.take(i.AttemptEnded(token=token, ending=ending))
    assert life.task.setbacks[0].cause == "conflict"


def test_an_attempt_that_could_not_begin_or_was_held_back_has_ended_and_is_taken_up_again() -> None:
    life = Life(RULES)
    life.take(i.StartGranted(worker="worker.a.1"))
    life.take(i.AttemptBlocked(token=1, reason="no disk"))
    assert (life.task.waiting_for, life.task.stalls) == (WaitingFor.OPERATOR, 1)
    life.now = life.task.wake_at
    life.take(i.Woke())
    life.take(i.StartGranted(worker="worker.a.1"))
    life.take(i.AttemptBlocked(token=2, reason="the branch is red", held=True))
    task = life.task
    assert (task.state, task.waiting_for, task.slot, task.wake_at) == (State.PENDING, WaitingFor.SLOT, False, 0.0)
    assert {attempt.ending for attempt in task.attempts} == {AttemptEnding.COULD_NOT_RUN}
    assert (task.retries, task.interruptions, task.stalls) == (0, 0, 1)
    assert go(life) is State.MERGED


def test_no_task_waits_longer_than_it_may_altogether_whatever_reset_is_named() -> None:
    life = Life(RULES)
    for token, (pause_s, waits_s) in enumerate([(30.0, 30.0), (1e12, 70.0), (5.0, None)], start=1):
        life.take(i.StartGranted(worker="worker.a.1"))
        life.take(well(life.asked[-1], Verdict.PASSED) if token == 1 else again(token))
        limited = i.AttemptEnded(
            token=token, ending=AttemptEnding.FINISHED, failure=Failure.RATE_LIMITED, reason="no", retry_after_s=pause_s
        )
        life.take(limited)
        if waits_s is None:
            assert life.task.state is State.FAILED
            assert "put off for 100 s altogether" in life.task.reason
            return
        assert life.task.wake_at - life.now == waits_s
        life.now = life.task.wake_at
        life.take(i.Woke())


def test_a_refused_key_makes_the_task_wait_for_longer_each_time_and_counts_for_nothing() -> None:
    life, waited = Life(RULES), []
    for token in (1, 2, 3):
        life.take(i.StartGranted(worker="worker.a.1"))
        life.take(well(life.asked[-1], Verdict.PASSED) if token == 1 else again(token))
        life.take(i.AttemptEnded(token=token, ending=AttemptEnding.FINISHED, failure=Failure.AUTH, reason="401"))
        assert (life.task.state, life.task.waiting_for) == (State.PENDING, WaitingFor.OPERATOR)
        waited.append(life.task.wake_at - life.now)
        life.now = life.task.wake_at
        life.take(i.Woke())
    assert waited == [15.0, 30.0, 60.0]
    assert (life.task.retries, life.task.interruptions) == (0, 0)
    life.take(i.StartGranted(worker="worker.a.1"))
    life.take(again(4))
    assert life.task.stalls == 3, "to have begun is not to have got on"
    life.take(i.AttemptEnded(token=4, ending=AttemptEnding.LOST))
    assert life.task.stalls == 0


def again(token: int) -> i.AttemptPrepared:
    return i.AttemptPrepared(token=token, base="base-0", start="base-0", backend="agent", model="", prompt_digest="")


def test_a_task_that_is_cancelled_before_its_attempt_was_prepared_holds_no_slot_and_asks_no_worker() -> None:
    life = Life(RULES)
    life.take(i.StartGranted(worker="worker.a.1"))
    life.take(i.CancelAsked(by="ann"))
    assert not life.task.slot
    assert not any(isinstance(effect, i.EndAttempt) for effect in life.asked)


def test_a_running_attempt_that_is_cancelled_keeps_its_slot_until_its_worker_has_reported() -> None:
    life = Life(RULES)
    life.take(i.StartGranted(worker="worker.a.1"))
    life.take(well(life.asked[-1], Verdict.PASSED))
    life.take(i.CancelAsked(by="ann"))
    assert life.task.slot
    assert life.asked[-1] == i.EndAttempt(task="a-1", token=1, worker="worker.a.1")
    assert (life.task.token, life.task.state) == (2, State.CANCELLED)
    life.take(i.AttemptEnded(token=1, ending=AttemptEnding.STOPPED))
    assert not life.task.slot


@pytest.mark.parametrize(
    ("tree", "definition", "share", "again"),
    [
        ("tree-1", "", 1.0, []),
        ("merged", "", 1.0, [Gate.QUALITY, Gate.PROOF]),
        ("tree-1", "of other checks", 1.0, [Gate.QUALITY, Gate.PROOF]),
        ("tree-1", "", 0.5, [Gate.QUALITY, Gate.PROOF]),
    ],
    ids=["nothing new", "another tree", "another definition", "a sample"],
)
def test_a_candidate_runs_the_gates_again_unless_they_passed_whole_on_its_very_tree(
    tree: str, definition: str, share: float, again: list[Gate]
) -> None:
    life = Life(RULES)
    ran: list[Gate] = []
    while life.task.state is not State.MERGED:
        effect = life.asked[-1] if life.asked else None
        given = next_step(life)
        if isinstance(given, i.CandidateBuilt):
            given = replace(given, tree=tree)
        if isinstance(given, i.GateFinished) and isinstance(effect, i.RunChecks):
            if effect.attempt:
                given = replace(given, result=replace(given.result, definition=definition, share=share))
            else:
                ran.append(effect.gate)
        life.take(given)
    assert ran == [*again, Gate.INTEGRATION]


def test_what_passed_on_the_candidate_only_when_run_again_is_seen_by_a_person_before_it_lands() -> None:
    life = Life(RULES)
    parked = []
    for _ in range(60):
        if life.task.state is State.MERGED:
            break
        given = next_step(life)
        if isinstance(given, i.CandidateBuilt):
            given = replace(given, tree="merged")
        if isinstance(given, i.GateFinished) and life.task.candidate and given.result.gate is Gate.QUALITY:
            again = CheckResult(name="test", verdict=Verdict.PASSED, flaky=("t::a",))
            given = replace(given, result=replace(given.result, checks=(again,)))
        life.take(given)
        if life.task.state is State.AWAITING_APPROVAL and life.task.reason:
            parked.append(life.task)
    assert life.task.state is State.MERGED
    [task] = parked
    assert "passed only when run again: t::a" in task.reason
    assert [check.flaky for result in task.gates for check in result.checks] == [("t::a",)], "it is shown"


def landing() -> Life:
    """A task whose intent to land is on record."""
    life = Life(RULES)
    while not life.task.landing:
        life.take(next_step(life))
    return life


@pytest.mark.parametrize(
    "given", [i.CandidateBlocked(reason="late"), i.BranchLanded(commit="another"), i.CancelAsked(by="ann")]
)
def test_a_landing_whose_intent_is_on_record_is_settled_by_nothing_but_its_own_outcome(given: i.Input) -> None:
    life = landing()
    life.take(given)
    assert life.task.landing


def test_pauses_grow_and_have_an_end() -> None:
    pauses = [pause_after(stalls) for stalls in range(40)]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (15.0, 1800.0)
