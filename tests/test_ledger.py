"""The ledger of a repo actor over a store in memory: what it makes of messages, and what survives its end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.desks import NOTHING, Desk
from thrum import inputs as i
from thrum.actors.announcements import ANNOUNCE_S
from thrum.actors.gate_runs import GatePlan
from thrum.actors.holds import PREPARING_FIRST_S
from thrum.actors.landing import PATIENCE_S
from thrum.actors.landing_lock import LandingLock
from thrum.actors.ledger import NUDGE_S, SILENCE_S
from thrum.actors.replies import KEPT_S
from thrum.actors.turn import ImportAttempt
from thrum.gate import Check, CheckResult, Gate, Verdict
from thrum.messages import kinds as m
from thrum.task import AttemptEnding, State, WaitingFor

# --- Commands -----------------------------------------------------------------------------------------------------


def test_a_command_sent_twice_is_done_once_and_answered_alike() -> None:
    desk = Desk()
    first = desk.give(m.AddTask(by="ann", title="a task"), id="key")
    assert first.ok
    assert desk.give(m.AddTask(by="ann", title="a task"), id="key") == first
    desk.restart()
    assert desk.give(m.AddTask(by="ann", title="a task"), id="key") == first
    assert list(desk.store.load().tasks) == ["a-1"]
    assert desk.give(m.AddTask(by="ann", title="a task"), id="another").value["id"] == "a-2"


def test_tasks_are_told_page_by_page_whatever_became_of_the_last_one_told() -> None:
    desk = Desk()
    ids = [desk.add() for _ in range(5)]
    assert [task["id"] for task in desk.give(m.GetTasks(limit=2), id="1").value] == ids[:2]
    desk.give(m.CancelTask(by="ann", task=ids[1]), id="stop")
    wanted = m.GetTasks(limit=2, after=ids[1], states=("pending",))
    assert [task["id"] for task in desk.give(wanted, id="2").value] == ids[2:4]
    assert [task["id"] for task in desk.give(replace(wanted, after=ids[3]), id="3").value] == ids[4:]
    assert desk.give(replace(wanted, after=ids[4]), id="4").value == []


def test_a_refusal_is_not_remembered() -> None:
    desk = Desk()
    id = desk.add()
    assert desk.give(m.ApproveTask(by="ann", task=id), id="key").code == "refused"
    desk.begin(id)
    desk.finish(id)
    assert desk.give(m.ApproveTask(by="ann", task=id), id="key").ok


def test_an_answer_is_kept_for_a_day() -> None:
    desk = Desk()
    desk.give(m.AddTask(by="ann", title="a task"), id="key")
    desk.after(KEPT_S - 1)
    assert list(desk.store.load().replies) == ["key"]
    desk.after(2)
    assert desk.store.load().replies == {}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (m.AddTask(by="ann", title="x", auth="wrong"), "unauthorized"),
        (m.AddTask(by=" ", title="x", auth="secret"), "usage"),
        (m.AddTask(by="ann", title=" ", auth="secret"), "usage"),
        (m.AddTask(by="ann", title="x", depends_on=("a-9",), auth="secret"), "not-found"),
        (m.RejectTask(by="ann", task="a-1", feedback=" ", auth="secret"), "usage"),
        (m.CancelTask(by="ann", task="a-9", auth="secret"), "not-found"),
        (m.GetTask(task="a-9"), "not-found"),
    ],
)
def test_what_cannot_be_done_is_answered_with_its_reason_and_changes_nothing(body: m.Message, code: str) -> None:
    desk = Desk(token="secret")
    reply = desk.give(body)
    assert (reply.ok, reply.code) == (False, code)
    assert desk.store.load().last_seq == 0


# --- Slots and workers ----------------------------------------------------------------------------------------------


def test_as_many_tasks_start_as_there_are_slots_each_with_a_worker_of_its_own() -> None:
    desk = Desk(concurrency=2)
    ids = [desk.add() for _ in range(3)]
    for id in [*ids, *ids]:
        desk.give(m.GrantStart(task=id))
    assert [desk.task(id).slot for id in ids] == [True, True, False]
    assert [desk.task(id).attempts[-1].worker for id in ids[:2]] == ["worker.a.1", "worker.a.2"]
    assert [effect.token for effect in desk.take(i.PrepareAttempt)] == [1, 1]


def test_a_worker_is_told_nothing_before_its_attempt_is_prepared() -> None:
    desk = Desk()
    id = desk.add()
    desk.begin(id)
    desk.finish(id)
    desk.give(m.RejectTask(by="ann", task=id, feedback="differently"), id="no")
    desk.begin(id)
    # It left no change behind: the next attempt begins in the same slot.
    ended = i.AttemptEnded(token=2, ending=AttemptEnding.FINISHED)
    desk.complete(id, ended)
    assert desk.take(i.PrepareAttempt)[-1].token == 3
    desk.after(SILENCE_S)
    assert desk.take(i.BeginAttempt) == []


def test_a_worker_is_told_again_until_its_heartbeat_names_the_attempt() -> None:
    desk = Desk()
    id = desk.add()
    desk.begin(id)
    assert desk.take(i.BeginAttempt) == [i.BeginAttempt(task=id, token=1)]
    desk.after(NUDGE_S)
    assert len(desk.take(i.BeginAttempt)) == 1
    desk.give(m.AttemptHeartbeat(slot=1, task=id, token=1))
    desk.after(SILENCE_S - 1)
    assert desk.take(i.BeginAttempt) == []
    desk.after(1)
    assert len(desk.take(i.BeginAttempt)) == 1


@pytest.mark.parametrize("how", ["its process ended", "it says that it is idle"])
def test_a_worker_that_has_lost_its_attempt_is_told_at_once(how: str) -> None:
    desk = Desk()
    id = desk.add()
    desk.begin(id)
    desk.give(m.AttemptHeartbeat(slot=1, task=id, token=1))
    if how == "its process ended":
        desk.ledger.worker_gone("worker.a.1", desk.now)
    else:
        desk.give(m.AttemptHeartbeat(slot=1))
    desk.after(0.0)
    assert len(desk.take(i.BeginAttempt)) == 1


def test_a_report_is_imported_once_and_acknowledged_when_its_outcome_is_written() -> None:
    desk = Desk()
    id = desk.add()
    desk.begin(id)
    desk.give(desk.report(id), source="worker.a.1")
    desk.give(desk.report(id), source="worker.a.1")
    [effect] = desk.take(ImportAttempt)
    assert desk.take(m.AttemptAcknowledged) == []
    ended = i.AttemptEnded(token=1, ending=AttemptEnding.FINISHED, head="h", tree="t")
    desk.ledger.reported(effect, ended, desk.now)
    desk.turn()
    assert desk.task(id).state is State.AWAITING_APPROVAL
    assert len(desk.take(m.AttemptAcknowledged)) == 1
    desk.give(desk.report(id), source="worker.a.1")
    assert desk.take(ImportAttempt) == []
    assert len(desk.take(m.AttemptAcknowledged)) == 1


def test_a_report_of_a_token_that_was_never_given_is_acknowledged_and_forgotten() -> None:
    desk = Desk()
    id = desk.add()
    desk.begin(id)
    before = desk.task(id)
    desk.give(desk.report(id, token=7), source="worker.a.1")
    assert desk.take(ImportAttempt) == []
    assert len(desk.take(m.AttemptAcknowledged)) == 1
    assert desk.task(id) == before


def test_a_late_outcome_of_an_earlier_token_changes_nothing() -> None:
    desk = Desk()
    id = desk.add()
    desk.begin(id)
    desk.give(m.CancelTask(by="ann", task=id), id="stop")
    desk.complete(id, i.AttemptEnded(token=1, ending=AttemptEnding.STOPPED))
    desk.give(m.RetryTask(by="ann", task=id), id="again")
    desk.begin(id)
    before = desk.task(id)
    desk.complete(id, i.AttemptEnded(token=1, ending=AttemptEnding.FINISHED, head="h", tree="t"))
    assert desk.task(id) == before


def test_an_actor_that_stops_ends_its_attempts_and_starts_no_other() -> None:
    desk = Desk(concurrency=2)
    id, other = desk.add(), desk.add()
    desk.begin(id)
    desk.ledger.stop_attempts(desk.now)
    desk.after(0.0)
    assert desk.take(i.EndAttempt) == [i.EndAttempt(task=id, token=1, worker="worker.a.1")]
    desk.give(m.GrantStart(task=other))
    assert not desk.task(other).slot
    assert desk.ledger.attempts_under_way(["worker.a.1"])
    desk.complete(id, i.AttemptEnded(token=1, ending=AttemptEnding.STOPPED))
    assert not desk.ledger.attempts_under_way(["worker.a.1"])
    assert (desk.task(id).state, desk.task(id).interruptions) == (State.PENDING, 0)


def test_an_attempt_goes_on_after_a_restart() -> None:
    desk = Desk()
    id = desk.add()
    desk.give(m.GrantStart(task=id))
    desk.restart()
    assert [effect.token for effect in desk.take(i.PrepareAttempt)] == [1], "it was not prepared yet"
    desk.begin(id)
    desk.restart()
    desk.after(0.0)
    assert desk.take(i.BeginAttempt) == [i.BeginAttempt(task=id, token=1)]


# --- What the scheduler hears and says ------------------------------------------------------------------------------


def test_announcements_are_numbered_without_a_gap_and_begin_with_a_snapshot() -> None:
    desk = Desk()
    id = desk.add()
    desk.begin(id)
    desk.after(ANNOUNCE_S)
    desk.restart()
    desk.add()
    desk.give(m.AnnounceAgain())
    heard = desk.take(m.Announced)
    assert [one.seq for one in heard] == [1, 2, 3]
    assert [one.snapshot for one in heard] == [True, False, True]
    assert [len(one.tasks) for one in heard] == [1, 1, 2]
    assert {one.epoch for one in heard} == {"life-2"}


def test_a_task_shows_what_the_scheduler_says_that_it_waits_for_until_it_starts() -> None:
    desk = Desk()
    id = desk.add()
    desk.give(m.NoteWaiting(waiting={id: "budget"}, reasons={id: "all is spent"}))
    shown = desk.give(m.GetTask(task=id), id="look").value
    assert (shown["waiting_for"], shown["reason"]) == ("budget", "all is spent")
    desk.begin(id)
    assert desk.give(m.GetTask(task=id), id="look again").value["waiting_for"] == "none"


def test_what_one_attempt_could_not_begin_for_holds_the_others_back_until_it_is_tried_again() -> None:
    desk = Desk(concurrency=3)
    first, second, third = desk.add(), desk.add(), desk.add()
    desk.give(m.GrantStart(task=first))
    desk.complete(first, i.AttemptBlocked(token=1, reason="it is gone"))
    assert desk.take(m.Announced)[-1].fault == "it is gone"
    desk.give(m.GrantStart(task=second))
    assert desk.task(second).token == 0, "it would only run into the same"
    desk.after(PREPARING_FIRST_S)
    assert desk.take(m.Announced)[-1].fault == ""
    desk.give(m.GrantStart(task=second))
    desk.complete(second, i.AttemptBlocked(token=1, reason="still gone"))
    desk.after(PREPARING_FIRST_S)
    assert [announced.fault for announced in desk.take(m.Announced)] == ["still gone"], "it takes longer now"
    desk.give(m.RetryTask(by="ann", task=first), id="mended")
    assert desk.take(m.Announced)[-1].fault == ""
    desk.begin(third)
    assert desk.task(third).state is State.IMPLEMENTING


def looked_over() -> tuple[Desk, str, m.RunGate]:
    """A task whose attempt is prepared in a repository with a check, and what the gates are asked first."""
    desk = Desk(plans={**NOTHING, Gate.QUALITY: GatePlan(checks=(Check(name="test", command="make", repo="a"),))})
    id = desk.add()
    desk.give(m.GrantStart(task=id))
    prepared = i.AttemptPrepared(token=1, base="b", start="b", backend="agent", model="", prompt_digest="")
    desk.complete(id, prepared)
    desk.after(0.0)
    [asked] = desk.take(m.RunGate)
    return desk, id, asked


def answer(asked: m.RunGate, verdict: Verdict, reason: str = "") -> m.GateReported:
    return m.GateReported(run=asked.run, checks=(CheckResult(name="test", verdict=verdict, reason=reason),))


def test_no_agent_begins_before_it_was_seen_that_the_checks_could_run() -> None:
    desk, id, asked = looked_over()
    assert (asked.probe, asked.vector) == (True, {"a": "b"})
    assert desk.take(i.BeginAttempt) == []
    desk.give(answer(asked, Verdict.PASSED))
    desk.after(0.0)
    assert desk.task(id).state is State.IMPLEMENTING
    assert len(desk.take(i.BeginAttempt)) == 1
    desk.finish(id)
    desk.after(0.0)
    assert not any(part.probe for part in desk.take(m.RunGate)), "once is enough"


def test_what_the_checks_lack_is_said_before_an_agent_costs_anything() -> None:
    desk, id, asked = looked_over()
    desk.give(answer(asked, Verdict.COULD_NOT_RUN, "there is no make"))
    task = desk.task(id)
    assert (task.state, task.waiting_for, task.retries) == (State.PENDING, WaitingFor.OPERATOR, 0)
    assert "test could not run: there is no make" in task.reason
    assert desk.take(i.BeginAttempt) == []
    desk.give(m.RetryTask(by="ann", task=id), id="mended")
    desk.give(m.GrantStart(task=id))
    desk.complete(id, i.AttemptPrepared(token=2, base="b", start="b", backend="agent", model="", prompt_digest=""))
    desk.after(0.0)
    assert [part.probe for part in desk.take(m.RunGate)] == [True], "it is looked for again"


def test_each_life_of_the_actor_has_its_checks_looked_over_anew_under_names_of_its_own() -> None:
    desk, id, asked = looked_over()
    desk.restart()
    prepared = i.AttemptPrepared(token=1, base="b", start="b", backend="agent", model="", prompt_digest="")
    desk.complete(id, prepared)
    desk.after(0.0)
    [again] = desk.take(m.RunGate)
    assert (again.probe, again.vector) == (asked.probe, asked.vector)
    assert again.run != asked.run, "a gate actor that lived on would answer from memory"


# --- Landing ------------------------------------------------------------------------------------------------------


def test_a_lock_has_one_holder_at_a_time_and_a_fence_that_grows() -> None:
    lock = LandingLock()
    assert lock.take("a", "a-1")
    assert lock.take("a", "a-1")
    assert not lock.take("b", "b-1")
    assert not lock.release("b", "b-1")
    assert LandingLock(lock.plain()).plain() == {"repo": "a", "task": "a-1", "fence": 1}
    assert lock.release("a", "a-1")
    assert lock.take("b", "b-1")
    assert lock.fence == 2


def test_a_repository_that_lands_alone_needs_nobody_else_for_its_lock() -> None:
    desk = Desk()
    id = desk.add()
    desk.approve(id)
    desk.give(m.GrantLanding(task=id))
    assert desk.task(id).state is State.INTEGRATING
    assert desk.store.load().records["landing"]["task"] == id
    desk.give(m.CancelTask(by="ann", task=id), id="stop")
    assert desk.store.load().records["landing"]["task"] == ""


def pass_on(source: Desk, target: Desk) -> None:
    """Hand over what one actor has in its outbox for the other, and the acknowledgements back."""
    for out in source.store.load().outbox:
        target.give(out.message, source=f"repo.{source.setup.repo}")
    for acknowledged in target.take(m.DurableAcknowledged):
        source.give(acknowledged, source=f"repo.{target.setup.repo}")


def two_desks() -> tuple[Desk, Desk, str]:
    """The keeper of a lock, another member of its set, and an approved task of that."""
    keeper, member = Desk("a", members=("a", "b")), Desk("b", members=("a", "b"))
    id = member.add()
    member.approve(id)
    return keeper, member, id


def test_a_member_lands_once_the_keeper_of_the_lock_has_granted_it() -> None:
    keeper, member, id = two_desks()
    member.give(m.GrantLanding(task=id))
    assert member.task(id).state is State.APPROVED
    pass_on(member, keeper)
    assert keeper.store.load().records["landing"] == {"repo": "b", "task": id, "fence": 1}
    pass_on(keeper, member)
    assert member.task(id).state is State.INTEGRATING
    other = keeper.add()
    keeper.approve(other)
    keeper.give(m.GrantLanding(task=other))
    assert keeper.task(other).state is State.APPROVED, "the set is busy"
    member.give(m.CancelTask(by="ann", task=id), id="stop")
    pass_on(member, keeper)
    keeper.give(m.GrantLanding(task=other))
    assert keeper.task(other).state is State.INTEGRATING
    assert keeper.store.load().outbox == member.store.load().outbox == ()


def test_a_lock_that_comes_too_late_is_given_back() -> None:
    keeper, member, id = two_desks()
    member.give(m.GrantLanding(task=id))
    member.give(m.RejectTask(by="ann", task=id, feedback="wait"), id="no")
    pass_on(member, keeper)
    pass_on(keeper, member)
    pass_on(member, keeper)
    assert member.task(id).state is State.IMPLEMENTING
    assert keeper.store.load().records["landing"]["task"] == ""


def test_messages_go_on_where_they_were_when_their_receiver_has_lost_its_store() -> None:
    keeper, member, id = two_desks()
    member.give(m.GrantLanding(task=id))
    member.give(m.CancelTask(by="ann", task=id), id="stop")
    pass_on(member, keeper)
    pass_on(keeper, member)
    pass_on(member, keeper)
    assert member.store.load().outbox == ()
    anew = Desk("a", members=("a", "b"))
    other = member.add()
    member.approve(other)
    member.take(m.RequestLanding)
    member.give(m.GrantLanding(task=other))
    (sent,) = member.take(m.RequestLanding)
    late = replace(sent, seq=sent.seq + 1)
    anew.give(late, source="repo.b")
    assert "landing" not in anew.store.load().records, "what was sent before it is still on its way"
    anew.give(sent, source="repo.b")
    assert anew.store.load().records["landing"]["task"] == other


@pytest.mark.parametrize("restarted", [False, True])
def test_a_second_grant_under_the_same_fence_counts_for_nothing(restarted: bool) -> None:
    keeper, member, id = two_desks()
    for _ in range(2):
        member.give(m.GrantLanding(task=id))
        pass_on(member, keeper)
    first, second = [out.message for out in keeper.store.load().outbox]
    member.give(first, source="repo.a")
    assert member.task(id).state is State.INTEGRATING
    # It conflicts, is worked on again and approved anew; the lock was given back long ago, and another task has it.
    member.complete(id, i.CandidateConflicted(base="b2", start="c", paths=("x",)))
    pass_on(member, keeper)
    other = keeper.add()
    keeper.approve(other)
    keeper.give(m.GrantLanding(task=other))
    assert keeper.task(other).state is State.INTEGRATING
    member.approve(id)
    if restarted:
        member.restart()
    member.give(second, source="repo.a")
    assert member.task(id).state is State.APPROVED


def test_a_durable_message_is_handled_once_and_one_that_is_too_early_waits() -> None:
    keeper = Desk("a", members=("a", "b"))
    ask = m.RequestLanding(stream="s", seq=1, repo="b", task="b-1", members=("a", "b"))
    release = m.ReleaseLanding(stream="s", seq=2, repo="b", task="b-1")
    keeper.give(release, source="repo.b")
    assert [one.seq for one in keeper.take(m.DurableAcknowledged)] == [0]
    keeper.give(ask, source="repo.b")
    keeper.give(release, source="repo.b")
    keeper.restart()
    keeper.give(ask, source="repo.b")
    assert [one.seq for one in keeper.take(m.DurableAcknowledged)] == [2]
    assert keeper.store.load().records["landing"]["task"] == "", "the request was handled before"


def test_what_is_in_the_outbox_is_sent_until_it_is_acknowledged() -> None:
    _, member, id = two_desks()
    other = member.add()
    member.approve(other)
    member.take(m.RequestLanding)
    member.give(m.GrantLanding(task=id))
    assert len(member.take(m.RequestLanding)) == 1
    member.give(m.GrantLanding(task=other))
    member.restart()
    member.after(NUDGE_S)
    first, request = member.take(m.RequestLanding)
    member.give(m.DurableAcknowledged(stream=first.stream, seq=first.seq), source="repo.a")
    member.give(m.DurableAcknowledged(stream="another", seq=9), source="repo.a")
    member.after(NUDGE_S)
    assert member.take(m.RequestLanding) == [replace(request, first=request.seq)]
    member.give(m.DurableAcknowledged(stream=request.stream, seq=request.seq), source="repo.a")
    member.after(NUDGE_S)
    assert member.take(m.RequestLanding) == []
    assert member.store.load().outbox == ()


def test_a_lock_is_asked_for_once_however_often_the_landing_is_granted_while_its_keeper_is_away() -> None:
    keeper, member, id = two_desks()
    for _ in range(3):
        member.give(m.GrantLanding(task=id))
    assert [out.message.seq for out in member.store.load().outbox] == [1]
    pass_on(member, keeper)
    member.give(m.GrantLanding(task=id))
    assert [out.message.seq for out in member.store.load().outbox] == [2], "it may have been busy"


@pytest.mark.parametrize("restarted", [False, True])
def test_a_task_says_that_the_keeper_of_its_lock_is_away_and_goes_on_when_it_answers(restarted: bool) -> None:
    keeper, member, id = two_desks()
    member.give(m.GrantLanding(task=id))
    member.after(0)
    member.after(PATIENCE_S - 1)
    assert (member.task(id).waiting_for, member.task(id).reason) == (WaitingFor.LANDING, "")
    member.after(1)
    assert member.task(id).waiting_for is WaitingFor.HOST
    assert "repo.a" in member.task(id).reason
    assert "does not answer" in member.task(id).reason
    seq = member.store.load().last_seq
    member.after(PATIENCE_S)
    assert member.store.load().last_seq == seq, "it is said once"
    if restarted:
        member.restart()
        member.after(1)
        assert member.task(id).waiting_for is WaitingFor.HOST
        member.after(PATIENCE_S)
    for out in member.store.load().outbox:
        keeper.give(out.message, source="repo.b")
    for acknowledged in keeper.take(m.DurableAcknowledged):
        member.give(acknowledged, source="repo.a")
    member.after(0)
    assert (member.task(id).waiting_for, member.task(id).reason) == (WaitingFor.LANDING, "")
    pass_on(keeper, member)
    assert member.task(id).state is State.INTEGRATING


def test_a_landing_that_waits_for_a_host_says_so_until_it_is_seen_to_be_back() -> None:
    desk = Desk()
    id = desk.add()
    desk.approve(id)
    desk.give(m.GrantLanding(task=id))
    why = "b on host 'two' does not answer"
    desk.complete(id, i.CandidateBlocked(reason=why, host=True))
    assert (desk.task(id).waiting_for, desk.task(id).reason) == (WaitingFor.HOST, why)
    desk.take(i.BuildCandidate)
    desk.after(60)
    assert len(desk.take(i.BuildCandidate)) == 1
    assert (desk.task(id).waiting_for, desk.task(id).reason) == (WaitingFor.HOST, why)
    desk.complete(id, i.CandidateBlocked(reason=why, host=True))
    assert desk.give(m.RetryTask(by="ann", task=id), id="now").ok, "a person knows that it is back"
    assert len(desk.take(i.BuildCandidate)) == 1
    desk.complete(id, i.CandidateBuilt(base="b", commit="c", tree="t", vector={"a": "c"}))
    assert (desk.task(id).waiting_for, desk.task(id).reason) == (WaitingFor.NONE, "")
    for _ in range(2):
        assert len(desk.take(i.MoveBranch)) == 1
        desk.complete(id, i.BranchBlocked(reason=why, checkout=False, host=True))
        desk.after(60)
        assert (desk.task(id).waiting_for, desk.task(id).reason) == (WaitingFor.HOST, why)
    desk.complete(id, i.BranchLanded(commit="c"))
    assert (desk.task(id).state, desk.task(id).waiting_for) == (State.MERGED, WaitingFor.NONE)
    assert desk.task(id).reason == ""


def test_a_landing_that_was_intended_is_settled_after_a_restart() -> None:
    desk = Desk()
    id = desk.add()
    desk.approve(id)
    desk.give(m.GrantLanding(task=id))
    desk.complete(id, i.CandidateBuilt(base="b", commit="c", tree="t", vector={"a": "c"}))
    [move] = desk.take(i.MoveBranch)
    assert desk.give(m.CancelTask(by="ann", task=id), id="too late").code == "refused"
    desk.restart()
    assert desk.take(i.MoveBranch) == [move]
    desk.complete(id, i.BranchLanded(commit="c"))
    assert desk.task(id).state is State.MERGED
    assert replace(desk.task(id), changed_at=0.0) == replace(desk.ledger.tasks[id], changed_at=0.0)
