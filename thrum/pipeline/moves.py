"""The moves that several inputs lead to: the next attempt, the ways back, a gate run, the branch."""

from __future__ import annotations

from typing import Any

from thrum import inputs as i
from thrum.errors import TransitionError
from thrum.gate import Gate, GateResult, Verdict
from thrum.pipeline.draft import Draft, flaky_tests, latest, withheld
from thrum.pipeline.table import GATE_OF, Step
from thrum.task import Attempt, Candidate, Setback, State, Task, WaitingFor


def next_attempt(draft: Draft, worker: str, **changes: Any) -> None:
    """Persist a new token, and have the attempt's base and start found; the slot is held from here on."""
    task = draft.task
    token = task.token + 1
    base, start = _origin(task)
    attempt = Attempt(token=token, base=base, start=start, started_at=draft.now, worker=worker)
    changes |= {
        "token": token,
        "slot": True,
        "attempts": (*task.attempts, attempt),
        "gates": (),
        "approvals": (),
        "candidate": None,
        "run": "",
    }
    if task.state is State.PENDING:
        draft.step(Step.CLAIM, "claimed", {"token": token, "worker": worker}, **changes)
    else:
        draft.record("claimed", {"token": token, "worker": worker}, waiting_for=WaitingFor.NONE, reason="", **changes)
    draft.want(i.PrepareAttempt(task=task.id, token=token, base=base, start=start, fallbacks=task.fallbacks))


def _origin(task: Task) -> tuple[str, str]:
    """Base and start of the next attempt: it goes on from the work so far, on the base that it now belongs to.

    An attempt that added nothing hands on what it started from, which may be a candidate that was sent back. Empty
    strings mean the branch's tip, for a task that nothing was done on yet.
    """
    if task.candidate is not None:
        return task.candidate.base, task.candidate.commit
    for attempt in reversed(task.attempts):
        if attempt.head:
            return attempt.base, attempt.head
        if attempt.start != attempt.base:
            return attempt.base, attempt.start
    return "", ""


def send_back(draft: Draft, cause: str, text: str, **changes: Any) -> None:
    """Back to the agent with what is needed to mend it, or to the end once the retries are used up."""
    task = draft.task
    setback = Setback(cause=cause, text=text, token=task.token, at=draft.now)
    changes |= {"setbacks": (*task.setbacks, setback), "run": ""}
    if task.retries >= draft.rules.max_retries:
        first_line = text.strip().splitlines()[0] if text.strip() else cause
        times = f"{task.retries} {'retry' if task.retries == 1 else 'retries'}"
        give_up(draft, f"{cause} after {times}: {first_line.strip()}", **changes)
        return
    changes["retries"] = task.retries + 1
    back_to_agent(draft, Step.RETRY, "retried", {"cause": cause, "retry": task.retries + 1}, **changes)


def back_to_agent(draft: Draft, step: Step, kind: str, data: dict[str, Any], **changes: Any) -> None:
    """To `implementing`: at once where the task still holds its slot, else when it is given one again."""
    held, worker = draft.task.slot, latest(draft.task).worker
    landing = is_landing(draft.task)
    if held:
        draft.step(step, kind, data, **changes)
        next_attempt(draft, worker)
    else:
        draft.step(step, kind, data, waiting_for=WaitingFor.SLOT, **changes)
    if landing:
        draft.want(i.ReleaseLandingLock(task=draft.task.id))


def give_up(draft: Draft, reason: str, **changes: Any) -> None:
    landing = is_landing(draft.task)
    draft.step(Step.GIVE_UP, "failed", {"reason": reason}, slot=False, reason=reason, **changes)
    if landing:
        draft.want(i.ReleaseLandingLock(task=draft.task.id))


def is_landing(task: Task) -> bool:
    """True while the task holds its integration set."""
    return task.state in (State.INTEGRATING, State.GATE3)


def run_gate(draft: Draft, gate: Gate) -> None:
    """Start a gate on the present attempt, or on the candidate where there is one."""
    task = draft.task
    run = f"{task.id}/{task.runs + 1}/{gate}"
    draft.record(
        "gate-started",
        {"gate": gate.value, "run": run},
        run=run,
        runs=task.runs + 1,
        waiting_for=WaitingFor.NONE,
        reason="",
        wake_at=0.0,
    )
    want_checks(draft, gate)


def want_checks(draft: Draft, gate: Gate) -> None:
    """Ask for the gate run that the task has on record."""
    task = draft.task
    attempt, candidate = latest(task), task.candidate
    if candidate is None:
        commit, tree, vector, number = attempt.head, attempt.tree, {task.repo: attempt.head}, attempt.token
        base = attempt.base
    else:
        commit, tree, vector, number = candidate.commit, candidate.tree, candidate.vector, 0
        base = candidate.base
    draft.want(
        i.RunChecks(
            task=task.id,
            run=task.run,
            gate=gate,
            attempt=number,
            commit=commit,
            tree=tree,
            vector=vector,
            base=base,
        )
    )


def gate_under_way(draft: Draft) -> Gate | None:
    """The gate whose result the task needs next, None if it is in no gate or has them all."""
    task = draft.task
    if task.state is not State.GATE3:
        return GATE_OF.get(task.state)
    if task.candidate is None:
        raise TransitionError(f"{task.id} is in gate3 without a candidate")
    again = () if _proven(draft, task.candidate) else (Gate.QUALITY, Gate.PROOF)
    opened = (Verdict.PASSED, Verdict.NOT_CONFIGURED)
    done = {
        r.gate
        for r in task.gates
        if r.commit == task.candidate.commit and r.verdict in opened and _under_present_rules(draft, r)
    }
    return next((gate for gate in (*again, Gate.INTEGRATION) if gate not in done), None)


def _proven(draft: Draft, candidate: Candidate) -> bool:
    """True if gates 1 and 2 spoke of the very tree that would land, of all its checks, under the present rules."""
    attempt = latest(draft.task)
    known = {r.gate: r for r in draft.task.gates if r.commit == attempt.head}
    return candidate.tree == attempt.tree and all(
        gate in known
        and gate not in draft.rules.never_reused
        and known[gate].share == 1.0
        and _under_present_rules(draft, known[gate])
        for gate in (Gate.QUALITY, Gate.PROOF)
    )


def _under_present_rules(draft: Draft, result: GateResult) -> bool:
    return result.definition == draft.rules.definitions.get(result.gate, "")


def build_candidate(draft: Draft) -> None:
    task = draft.task
    attempt = latest(task)
    draft.want(
        i.BuildCandidate(
            task=task.id, head=attempt.head, attempt_base=attempt.base, files=attempt.files, title=task.title
        )
    )


def move_branch(draft: Draft) -> None:
    """Every gate passed on the candidate: put the intent on record, then have the branch moved."""
    task = draft.task
    candidate = task.candidate
    if candidate is None:
        raise TransitionError(f"{task.id} was to land without a candidate")
    if len(task.approvals) < draft.rules.approvers:
        park(draft, f"{len(task.approvals)} of the {draft.rules.approvers} approvals that are now asked for")
        return
    held = withheld(draft)
    may = draft.rules.protected_change != "fail" and all(approval.protected for approval in task.approvals)
    if held and not may:
        park(draft, f"it was approved without that word, or under other rules: it {held}")
        return
    unseen = _unseen_flaky(task, candidate)
    if unseen:
        park(draft, f"on what would land, tests passed only when run again: {', '.join(unseen)}; approve it anew")
        return
    draft.record(
        "landing-intended",
        {"old": candidate.base, "new": candidate.commit},
        landing=True,
        wake_at=0.0,
        **no_more_waiting(task),
    )
    draft.want(i.MoveBranch(task=task.id, old=candidate.base, new=candidate.commit, vector=candidate.vector))


def _unseen_flaky(task: Task, candidate: Candidate) -> list[str]:
    """The tests that passed on the candidate only when run again, and that somebody said yes without knowing of."""
    flaky = flaky_tests(result for result in task.gates if result.commit == candidate.commit)
    return [test for test in flaky if not all(test in approval.flaky for approval in task.approvals)]


def no_more_waiting(task: Task) -> dict[str, Any]:
    """What changes in a task that is looked at again; one that waits for a host does until that was heard of."""
    return {} if task.waiting_for is WaitingFor.HOST else {"waiting_for": WaitingFor.NONE, "reason": ""}


def park(draft: Draft, reason: str) -> None:
    """Back to the person, who must say yes anew, and who sees what passed on the candidate only when run again."""
    head = latest(draft.task).head
    draft.step(
        Step.PARK,
        "parked",
        {"reason": reason},
        approvals=(),
        candidate=None,
        rebuilds=0,
        waiting_for=WaitingFor.APPROVAL,
        reason=reason,
        gates=tuple(result for result in draft.task.gates if result.commit == head or flaky_tests([result])),
    )
    draft.want(i.ReleaseLandingLock(task=draft.task.id))


def pause_after(stalls: int, first_s: float = 15.0, most_s: float = 1800.0) -> float:
    return min(most_s, first_s * 2.0 ** min(stalls, 12))
