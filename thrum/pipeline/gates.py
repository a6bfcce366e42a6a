"""What a gate's result leads to. Only `passed`, and a `not-configured` that is allowed, open a gate."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from thrum import inputs as i
from thrum.errors import TransitionError
from thrum.gate import Gate, GateResult, Verdict
from thrum.pipeline.draft import Draft, latest
from thrum.pipeline.moves import gate_under_way, move_branch, pause_after, run_gate, send_back
from thrum.pipeline.table import Step
from thrum.prompt import gate_setback
from thrum.task import State, WaitingFor


def gate_finished(draft: Draft, given: i.GateFinished) -> None:
    task, result = draft.task, given.result
    if not task.run or given.run != task.run:
        return  # a run that was given up, or one that reported twice
    data = {
        "gate": result.gate.value,
        "verdict": result.verdict.value,
        "commit": result.commit,
        "duration_s": round(max(0.0, result.ended_at - result.started_at), 3),
        "checks": [
            {
                "name": c.name,
                "verdict": c.verdict.value,
                "duration_s": round(c.duration_s, 3),
                "reason": c.reason,
            }
            for c in result.checks
        ],
        "reason": result.reason,
    }
    result = replace(result, configuration=draft.rules.configuration)
    kept = tuple(old for old in task.gates if (old.gate, old.commit) != (result.gate, result.commit))
    stalls = task.stalls if result.verdict is Verdict.COULD_NOT_RUN else 0
    draft.record("gate-finished", data, gates=(*kept, result), run="", stalls=stalls)
    match result.verdict:
        case Verdict.PASSED | Verdict.NOT_CONFIGURED:
            go_on(draft)
        case Verdict.FAILED:
            send_back(draft, "gate", gate_setback(result))
        case Verdict.COULD_NOT_RUN:
            _stall_gate(draft, result)
        case _:
            assert_never(result.verdict)


def _stall_gate(draft: Draft, result: GateResult) -> None:
    """Stay in the gate, without a slot, until an operator mends what is missing; look again after a pause."""
    task = draft.task
    wait_s = pause_after(task.stalls)
    reasons = [f"{c.name}: {c.reason}" for c in result.checks if c.verdict is Verdict.COULD_NOT_RUN]
    reason = f"gate {result.gate} could not run: {'; '.join(reasons) or result.reason}"
    draft.record(
        "gate-blocked",
        {"gate": result.gate.value, "reason": reason, "look_again_s": wait_s},
        slot=False,
        waiting_for=WaitingFor.OPERATOR,
        reason=reason,
        stalls=task.stalls + 1,
        wake_at=draft.now + wait_s,
    )


def go_on(draft: Draft) -> None:
    """A gate opened: the next one, the person, or the branch."""
    task = draft.task
    match task.state:
        case State.GATE1:
            draft.step(Step.PASS, "passed", {"to": State.REVIEWING.value})
            # No reviewer role exists yet: the review is not configured, and says so in the task's gates.
            review = GateResult(
                gate=Gate.REVIEW,
                verdict=Verdict.NOT_CONFIGURED,
                commit=latest(task).head,
                tree=latest(task).tree,
                reason="no reviewer is configured",
                started_at=draft.now,
                ended_at=draft.now,
                configuration=draft.rules.configuration,
            )
            draft.record(
                "gate-finished",
                {"gate": "review", "verdict": review.verdict.value, "reason": review.reason},
                gates=(*draft.task.gates, review),
            )
            draft.step(Step.PASS, "passed", {"to": State.GATE2.value})
            run_gate(draft, Gate.PROOF)
        case State.GATE2:
            draft.step(
                Step.PASS,
                "passed",
                {"to": State.AWAITING_APPROVAL.value},
                slot=False,
                waiting_for=WaitingFor.APPROVAL,
            )
        case State.GATE3:
            gate = gate_under_way(draft)
            if gate is not None:
                run_gate(draft, gate)
            else:
                move_branch(draft)
        case _:
            raise TransitionError(f"a gate opened for {task.id}, which is {task.state}")
