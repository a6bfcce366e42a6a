"""What an attempt's beginning and end lead to. An attempt is judged by its commits alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, assert_never

from thrum import inputs as i
from thrum.failures import Action, Failure
from thrum.gate import Gate
from thrum.pipeline.draft import Draft, latest, protected_files, with_attempt, withheld
from thrum.pipeline.moves import give_up, next_attempt, pause_after, run_gate, send_back
from thrum.pipeline.table import Step
from thrum.protection import protected
from thrum.task import ENDS, Attempt, AttemptEnding, State, Task, WaitingFor


def wants_slot(task: Task) -> bool:
    """True for a task that could start an attempt now, were it given a slot."""
    return (
        task.state in (State.PENDING, State.IMPLEMENTING)
        and not task.slot
        and task.waiting_for in (WaitingFor.SLOT, WaitingFor.DEPENDENCY)
    )


def with_worker(task: Task) -> bool:
    """True while the task's worker may have its latest attempt: that is prepared, and was not reported yet."""
    running = task.slot and task.state in (State.IMPLEMENTING, *ENDS)
    return running and task.attempt is not None and bool(task.attempt.backend)


def start_granted(draft: Draft, given: i.StartGranted) -> None:
    if not wants_slot(draft.task):
        return  # granted twice, or withdrawn meanwhile
    next_attempt(draft, worker=given.worker)


def _being_prepared(task: Task, token: int) -> bool:
    begun = task.slot and task.state in (State.CLAIMED, State.IMPLEMENTING) and token == task.token
    return begun and not with_worker(task)


def attempt_prepared(draft: Draft, given: i.AttemptPrepared) -> None:
    task = draft.task
    if not _being_prepared(task, given.token):
        return
    attempt = replace(
        latest(task),
        base=given.base,
        start=given.start,
        backend=given.backend,
        model=given.model,
        prompt_digest=given.prompt_digest,
        system_prompt_digest=given.system_prompt_digest,
    )
    data = {"token": given.token, "base": given.base, "start": given.start, "backend": given.backend}
    # Backends that were passed over stay so in this round: the task goes on where it has a session.
    fallbacks = max(task.fallbacks, given.fallbacks)
    draft.step(Step.START, "attempt-started", data, attempts=with_attempt(task, attempt), fallbacks=fallbacks)
    draft.want(i.BeginAttempt(task=task.id, token=given.token))


def attempt_blocked(draft: Draft, given: i.AttemptBlocked) -> None:
    task = draft.task
    if not _being_prepared(task, given.token):
        return
    ending = AttemptEnding.COULD_NOT_RUN
    attempts = with_attempt(task, replace(latest(task), ending=ending, reason=given.reason, ended_at=draft.now))
    if given.held:
        data = {"reason": given.reason}
        draft.step(
            Step.DEFER,
            "held-back",
            data,
            slot=False,
            waiting_for=WaitingFor.SLOT,
            stalls=task.stalls,
            attempts=attempts,
        )
    else:
        _stall_attempt(draft, given.reason, attempts=attempts)


def _stall_attempt(draft: Draft, reason: str, **changes: Any) -> None:
    """The attempt cannot run for a reason that only an operator can mend: no retry is used up."""
    wait_s = pause_after(draft.task.stalls)
    draft.step(
        Step.DEFER,
        "attempt-blocked",
        {"reason": reason, "look_again_s": wait_s},
        slot=False,
        waiting_for=WaitingFor.OPERATOR,
        reason=reason,
        stalls=draft.task.stalls + 1,
        wake_at=draft.now + wait_s,
        **changes,
    )


def attempt_ended(draft: Draft, given: i.AttemptEnded) -> None:
    task = draft.task
    if given.token != task.token or task.state is not State.IMPLEMENTING or latest(task).ending is not None:
        # Fenced: the work is pinned all the same, but says nothing about the task. A cancelled one frees its slot.
        if task.state in ENDS and task.slot and given.token == latest(task).token:
            attempts = with_attempt(task, _ended(draft, given))
            draft.record("attempt-stopped", {"token": given.token, "head": given.head}, slot=False, attempts=attempts)
        return
    given = _with_unjudged_work(task, given)
    changed = bool(given.head) and given.tree != given.base_tree
    attempt = _ended(draft, given, no_change="" if changed else given.no_change)
    data = {
        "token": given.token,
        "ending": given.ending.value,
        "failure": given.failure.value if given.failure else None,
        "reason": given.reason,
        "exit_code": given.exit_code,
        "head": given.head,
        "files": len(given.files),
        "duration_s": round(max(0.0, attempt.ended_at - attempt.started_at), 3),
        "cost_usd": given.cost_usd,
    }
    draft.record("attempt-ended", data, attempts=with_attempt(task, attempt))
    _judge_attempt(draft, given, changed=changed)


def _ended(draft: Draft, given: i.AttemptEnded, *, no_change: str = "") -> Attempt:
    """The latest attempt with what it came to."""
    task = draft.task
    attempt = replace(
        latest(task),
        ended_at=given.ended_at or draft.now,
        ending=given.ending,
        reason=given.reason,
        exit_code=given.exit_code,
        head=given.head or latest(task).head,
        tree=given.tree,
        files=given.files,
        added=given.added,
        links=given.links,
        namesakes=given.namesakes,
        leaks=given.leaks,
        session=given.session,
        failure=given.failure,
        cost_usd=given.cost_usd,
        input_tokens=given.input_tokens,
        cached_tokens=given.cached_tokens,
        output_tokens=given.output_tokens,
        output_digest=given.output_digest,
        output_bytes=given.output_bytes,
        tail=given.tail,
        no_change=no_change,
    )
    return replace(attempt, protected=protected(attempt, draft.rules.fence))


def _with_unjudged_work(task: Task, given: i.AttemptEnded) -> i.AttemptEnded:
    """What an attempt that found nothing left to do stands on, where that must not be passed over.

    Work that was cut off before any gate saw it, or work that the agent says needs no further change: a person's
    yes to that must not drop it.
    """
    start = latest(task).start
    if given.head or given.ending is not AttemptEnding.FINISHED:
        return given
    made_by = next((earlier for earlier in reversed(task.attempts[:-1]) if earlier.head == start), None)
    if made_by is None or not made_by.files:
        return given
    if made_by.ending is AttemptEnding.FINISHED and not given.no_change:
        return given
    said = f"the agent says that no further change is needed: {given.no_change}" if given.no_change else given.reason
    return replace(
        given,
        head=made_by.head,
        tree=made_by.tree,
        files=made_by.files,
        added=made_by.added,
        links=made_by.links,
        namesakes=made_by.namesakes,
        leaks=made_by.leaks,
        no_change="",
        reason=said,
    )


def _judge_attempt(draft: Draft, given: i.AttemptEnded, *, changed: bool) -> None:
    match given.ending:
        case AttemptEnding.STOPPED:
            _put_back(draft, given.reason or "the system was stopped", draft.task.interruptions)
        case AttemptEnding.LOST:
            _interrupt(draft, given.reason or "its worker was lost")
        case AttemptEnding.COULD_NOT_RUN:
            _treat(draft, given, given.failure or Failure.COULD_NOT_RUN)
        case AttemptEnding.TIMED_OUT:
            _treat(draft, given, given.failure or Failure.TIMED_OUT)
        case AttemptEnding.SILENT:
            _treat(draft, given, given.failure or Failure.SILENT)
        case AttemptEnding.FINISHED:
            failure = given.failure
            if failure is None or (changed and failure.treatment.judged):
                _judge_work(draft, given, changed=changed)
            else:
                _treat(draft, given, failure)
        case _:
            assert_never(given.ending)


def _judge_work(draft: Draft, given: i.AttemptEnded, *, changed: bool) -> None:
    """By what an attempt left, whatever its program said of itself."""
    if changed and draft.rules.protected_change == "fail" and withheld(draft):
        send_back(draft, "protected", _withheld(draft))
    elif changed:
        draft.step(Step.SUBMIT, "submitted", {"head": given.head})
        run_gate(draft, Gate.QUALITY)
    elif given.no_change:
        draft.step(
            Step.CLAIM_NO_CHANGE,
            "no-change-claimed",
            {"reason": given.no_change},
            slot=False,
            waiting_for=WaitingFor.APPROVAL,
            reason=f"the agent says that no change is needed: {given.no_change}",
        )
    else:
        send_back(draft, "no-change", "The attempt left no change behind. " + _words(given))


_CUT = "The attempt was ended before it was done."
_TOLD = {
    **dict.fromkeys((Failure.TIMED_OUT, Failure.SILENT, Failure.BUDGET, Failure.CONTEXT_OVERFLOW), _CUT),
    Failure.RESOURCE_LIMIT: f"{_CUT} It, or what it started, used more of the machine than it may. Go about it with "
    "less: run fewer things at once, make and keep less data.",
}
"""What the next attempt is told first of these."""


def _treat(draft: Draft, given: i.AttemptEnded, failure: Failure) -> None:
    """The first thing that can be done about a failure."""
    task, treatment = draft.task, failure.treatment
    reason = given.reason or failure.value
    if failure is not Failure.COULD_NOT_RUN:
        reason = f"{failure}: {reason}"
    for action in treatment.actions:
        match action:
            case Action.FALL_BACK if task.fallbacks < draft.rules.fallbacks:
                _fall_back(draft, reason)
                return
            case Action.WAIT if task.waited_s < draft.rules.max_wait_s:
                _defer(draft, given, reason)
                return
            case Action.ASK:
                _stall_attempt(draft, reason)
                return
            case Action.RETRY if treatment.counts:
                told = _TOLD.get(failure, f"The attempt came to nothing ({failure}).")
                send_back(draft, failure.value, f"{told} {_words(given)}")
                return
            case Action.RETRY:
                _interrupt(draft, reason)
                return
    give_up(draft, f"put off for {task.waited_s:.0f} s altogether: {reason}")


def _fall_back(draft: Draft, reason: str) -> None:
    """To the next backend, from the work so far; costs no retry, and ends with the last of them."""
    step = draft.task.fallbacks + 1
    data = {"reason": reason, "fallbacks": step}
    draft.step(Step.DEFER, "fell-back", data, slot=False, waiting_for=WaitingFor.SLOT, fallbacks=step)


def _withheld(draft: Draft) -> str:
    """What an agent is told to do about what does not land."""
    attempt, files = latest(draft.task), protected_files(draft)
    words = []
    if files:
        words.append(
            f"The change touches paths that are protected here. Put them back as they were: {', '.join(files)}"
        )
    if attempt.leaks:
        words.append(
            f"A secret stands in what you committed, or what is too large to be searched for one: "
            f"{', '.join(attempt.leaks)}. Take it out of every commit, as all of them would land: "
            f"`git reset --soft {attempt.base}`, then commit anew without it."
        )
    return "\n\n".join(words)


def _words(given: i.AttemptEnded) -> str:
    said = given.reason or (f"Its program exited with {given.exit_code}." if given.exit_code else "")
    return f"{said}\n\nThe end of its output:\n{given.tail}" if given.tail else said


def _interrupt(draft: Draft, reason: str) -> None:
    task = draft.task
    count = task.interruptions + 1
    if count > draft.rules.max_interruptions:
        give_up(draft, f"interrupted {count} times, the last time because {reason}", interruptions=count)
        return
    _put_back(draft, reason, count)


def _put_back(draft: Draft, reason: str, count: int) -> None:
    """Back to the queue, to go on from the work so far."""
    draft.step(
        Step.INTERRUPT,
        "interrupted",
        {"reason": reason, "interruptions": count},
        slot=False,
        interruptions=count,
        waiting_for=WaitingFor.SLOT,
    )


def _defer(draft: Draft, given: i.AttemptEnded, reason: str) -> None:
    """Put off for a rate limit or a quota; costs no retry, and ends after `max_wait_s` altogether, whatever time the
    program named."""
    task = draft.task
    left_s = draft.rules.max_wait_s - task.waited_s
    pause_s = min(left_s, given.retry_after_s or min(3600.0, max(60.0, task.waited_s)))
    draft.step(
        Step.DEFER,
        "deferred",
        {"reason": reason, "pause_s": pause_s},
        slot=False,
        waiting_for=WaitingFor.QUOTA,
        reason=reason,
        waited_s=task.waited_s + pause_s,
        wake_at=draft.now + pause_s,
    )
