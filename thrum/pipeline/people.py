"""What a person's word leads to: approve, reject, retry, cancel."""

from __future__ import annotations

from thrum import inputs as i
from thrum.errors import RefusedError
from thrum.pipeline.attempts import wants_slot, with_worker
from thrum.pipeline.draft import Draft, flaky_tests, latest, protected_files, withheld
from thrum.pipeline.moves import back_to_agent, is_landing
from thrum.pipeline.resumption import look_again
from thrum.pipeline.table import Step
from thrum.task import ENDS, Approval, Setback, State, WaitingFor


def approved(draft: Draft, given: i.Approved) -> None:
    task = draft.task
    if task.state is not State.AWAITING_APPROVAL:
        raise RefusedError(f"{task.id} is {task.state}; only a task that is awaiting-approval can be approved")
    attempt = latest(task)
    if given.commit and not (len(given.commit) >= 7 and attempt.head.startswith(given.commit)):
        raise RefusedError(
            f"{task.id} has changed since: you approve {given.commit[:12]}, its commit is now {attempt.head[:12]}",
            remedy=f"look at it again with `thrum task diff {task.id}`",
        )
    if attempt.no_change:
        draft.step(
            Step.CONFIRM_NO_CHANGE,
            "no-change-confirmed",
            {"by": given.by},
            reason=f"no-change, confirmed by {given.by}: {attempt.no_change}",
        )
        return
    held = withheld(draft)
    if held and draft.rules.protected_change == "fail":
        what = f"{task.id} {held}; nothing may change that here"
        raise RefusedError(what, remedy=f"send it back: `thrum task reject {task.id} --feedback TEXT`")
    if held and not given.protected:
        raise RefusedError(
            f"{task.id} {held}",
            remedy=f"look at that first; `thrum task approve {task.id} --including-protected` says yes to it too",
        )
    if any(approval.by.casefold() == given.by.casefold() for approval in task.approvals):
        raise RefusedError(
            f"{given.by} has approved {task.id} already; it needs {draft.rules.approvers} different people"
        )
    approval = Approval(
        by=given.by,
        at=draft.now,
        commit=attempt.head,
        base=attempt.base,
        protected=given.protected,
        flaky=flaky_tests(task.gates),
    )
    approvals = (*task.approvals, approval)
    data = {
        "by": given.by,
        "commit": attempt.head,
        "base": attempt.base,
        "protected": list(protected_files(draft)),
        "leaks": list(attempt.leaks),
    }
    if len(approvals) < draft.rules.approvers:
        missing = f"{len(approvals)} of {draft.rules.approvers} approvals"
        draft.record("approval-given", data, approvals=approvals, reason=missing)
    else:
        draft.step(Step.APPROVE, "approved", data, approvals=approvals, waiting_for=WaitingFor.LANDING)


def rejected(draft: Draft, given: i.Rejected) -> None:
    task = draft.task
    if task.state not in (State.AWAITING_APPROVAL, State.APPROVED):
        raise RefusedError(f"{task.id} is {task.state}; only a task that awaits approval or landing can be rejected")
    setback = Setback(cause="rejected", text=given.feedback, token=task.token, at=draft.now)
    back_to_agent(
        draft,
        Step.REJECT,
        "rejected",
        {"by": given.by, "feedback": given.feedback},
        rejections=task.rejections + 1,
        setbacks=(*task.setbacks, setback),
        approvals=(),
    )


def retry_asked(draft: Draft, given: i.RetryAsked) -> None:
    task = draft.task
    looked_at = (WaitingFor.OPERATOR, WaitingFor.CLEAN_CHECKOUT, WaitingFor.QUOTA)
    if task.waiting_for in looked_at or (task.waiting_for is WaitingFor.HOST and task.wake_at):
        draft.record("retry-asked", {"by": given.by})
        look_again(draft)
        return
    if given.held and wants_slot(task):
        draft.record("retry-asked", {"by": given.by})
        return
    if task.state not in (State.FAILED, State.CANCELLED):
        raise RefusedError(
            f"{task.id} is {task.state}; only a task that failed, was cancelled or waits for an operator can be retried"
        )
    if task.slot:
        raise RefusedError(f"the last attempt of {task.id} is still being ended", remedy="try again in a moment")
    setbacks = task.setbacks
    if given.feedback:
        setbacks = (*setbacks, Setback(cause="rejected", text=given.feedback, token=task.token, at=draft.now))
    draft.step(
        Step.REOPEN,
        "reopened",
        {"by": given.by, "feedback": given.feedback, "round": task.round + 1},
        waiting_for=WaitingFor.DEPENDENCY if task.depends_on else WaitingFor.SLOT,
        round=task.round + 1,
        retries=0,
        rebuilds=0,
        interruptions=0,
        waited_s=0.0,
        fallbacks=0,
        setbacks=setbacks,
        approvals=(),
    )


def cancel_asked(draft: Draft, given: i.CancelAsked) -> None:
    task = draft.task
    if task.state in ENDS:
        raise RefusedError(f"{task.id} is {task.state} already")
    if task.landing:
        raise RefusedError(
            f"{task.id} is being put on the branch at this moment", remedy="ask again once the landing is settled"
        )
    running = with_worker(task)
    landing = is_landing(task)
    draft.step(
        Step.CANCEL,
        "cancelled",
        {"by": given.by, "why": given.why},
        reason=given.why or f"cancelled by {given.by}",
        token=task.token + 1,
        slot=running,
        run="",
    )
    if running:
        attempt = latest(task)
        draft.want(i.EndAttempt(task=task.id, token=attempt.token, worker=attempt.worker))
    if task.run:
        draft.want(i.DropChecks(run=task.run))
    if landing:
        draft.want(i.ReleaseLandingLock(task=task.id))
