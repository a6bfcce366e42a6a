"""What time and restarts lead to: whatever waited or was under way is taken up again."""

from __future__ import annotations

from thrum import inputs as i
from thrum.errors import TransitionError
from thrum.pipeline.draft import Draft, latest
from thrum.pipeline.moves import build_candidate, gate_under_way, move_branch, no_more_waiting, run_gate, want_checks
from thrum.task import State, WaitingFor


def woke(draft: Draft) -> None:
    task = draft.task
    if task.wake_at and draft.now >= task.wake_at:
        look_again(draft)


def look_again(draft: Draft) -> None:
    """Take up what was waiting: the reason why it waited may be gone."""
    task = draft.task
    match task.state:
        case State.PENDING:
            waiting = WaitingFor.DEPENDENCY if task.depends_on else WaitingFor.SLOT
            draft.record("looked-again", waiting_for=waiting, reason="", wake_at=0.0)
        case State.INTEGRATING:
            draft.record("looked-again", wake_at=0.0, **no_more_waiting(task))
            build_candidate(draft)
        case State.GATE1 | State.REVIEWING | State.GATE2 | State.GATE3:
            gate = gate_under_way(draft)
            if gate is not None:
                run_gate(draft, gate)
            else:
                move_branch(draft)
        case _:
            raise TransitionError(f"{task.id} is {task.state} and was to be looked at again")


def recovered(draft: Draft) -> None:
    """After a restart: whatever was under way is asked for again; each effect looks at the world first."""
    task = draft.task
    if task.landing and task.candidate is not None:
        candidate = task.candidate
        draft.want(i.MoveBranch(task=task.id, old=candidate.base, new=candidate.commit, vector=candidate.vector))
        return
    if task.waiting_for is WaitingFor.OPERATOR and task.wake_at:
        # Whoever mended what it waits for may well have started us anew for that.
        look_again(draft)
        return
    match task.state:
        case State.CLAIMED | State.IMPLEMENTING if task.slot:
            attempt = latest(task)
            if attempt.backend:
                draft.want(i.BeginAttempt(task=task.id, token=task.token))
            else:
                base, start = attempt.base, attempt.start
                draft.want(
                    i.PrepareAttempt(task=task.id, token=task.token, base=base, start=start, fallbacks=task.fallbacks)
                )
        case State.CANCELLED if task.slot:
            attempt = latest(task)
            draft.want(i.EndAttempt(task=task.id, token=attempt.token, worker=attempt.worker))
        case State.GATE1 | State.GATE2 | State.GATE3 if task.run:
            gate = gate_under_way(draft)
            assert gate is not None
            want_checks(draft, gate)
        case State.INTEGRATING if not task.wake_at:
            build_candidate(draft)
        case _:
            pass
