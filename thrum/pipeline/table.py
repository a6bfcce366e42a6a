"""Every transition of a task, in one table; a pair that is not here is our own fault and raises."""

from __future__ import annotations

from enum import StrEnum

from thrum.errors import TransitionError
from thrum.gate import Gate
from thrum.task import ENDS, State


class Step(StrEnum):
    """The names of the transitions."""

    CLAIM = "claim"
    START = "start"
    SUBMIT = "submit"
    PASS = "pass"
    RETRY = "retry"
    GIVE_UP = "give-up"
    INTERRUPT = "interrupt"
    DEFER = "defer"
    CLAIM_NO_CHANGE = "claim-no-change"
    APPROVE = "approve"
    CONFIRM_NO_CHANGE = "confirm-no-change"
    REJECT = "reject"
    INTEGRATE = "integrate"
    BUILD = "build"
    REBUILD = "rebuild"
    PARK = "park"
    MERGE = "merge"
    CANCEL = "cancel"
    REOPEN = "reopen"


TRANSITIONS: dict[tuple[State, Step], State] = {
    (State.PENDING, Step.CLAIM): State.CLAIMED,
    (State.CLAIMED, Step.START): State.IMPLEMENTING,
    (State.CLAIMED, Step.INTERRUPT): State.PENDING,
    (State.CLAIMED, Step.DEFER): State.PENDING,
    (State.CLAIMED, Step.GIVE_UP): State.FAILED,
    (State.IMPLEMENTING, Step.START): State.IMPLEMENTING,
    (State.IMPLEMENTING, Step.SUBMIT): State.GATE1,
    (State.IMPLEMENTING, Step.CLAIM_NO_CHANGE): State.AWAITING_APPROVAL,
    (State.IMPLEMENTING, Step.RETRY): State.IMPLEMENTING,
    (State.IMPLEMENTING, Step.INTERRUPT): State.PENDING,
    (State.IMPLEMENTING, Step.DEFER): State.PENDING,
    (State.IMPLEMENTING, Step.GIVE_UP): State.FAILED,
    (State.GATE1, Step.PASS): State.REVIEWING,
    (State.GATE1, Step.RETRY): State.IMPLEMENTING,
    (State.GATE1, Step.GIVE_UP): State.FAILED,
    (State.REVIEWING, Step.PASS): State.GATE2,
    (State.REVIEWING, Step.RETRY): State.IMPLEMENTING,
    (State.REVIEWING, Step.GIVE_UP): State.FAILED,
    (State.GATE2, Step.PASS): State.AWAITING_APPROVAL,
    (State.GATE2, Step.RETRY): State.IMPLEMENTING,
    (State.GATE2, Step.GIVE_UP): State.FAILED,
    (State.AWAITING_APPROVAL, Step.APPROVE): State.APPROVED,
    (State.AWAITING_APPROVAL, Step.CONFIRM_NO_CHANGE): State.CANCELLED,
    (State.AWAITING_APPROVAL, Step.REJECT): State.IMPLEMENTING,
    (State.APPROVED, Step.INTEGRATE): State.INTEGRATING,
    (State.APPROVED, Step.REJECT): State.IMPLEMENTING,
    (State.INTEGRATING, Step.BUILD): State.GATE3,
    (State.INTEGRATING, Step.RETRY): State.IMPLEMENTING,
    (State.INTEGRATING, Step.GIVE_UP): State.FAILED,
    (State.INTEGRATING, Step.PARK): State.AWAITING_APPROVAL,
    (State.GATE3, Step.REBUILD): State.INTEGRATING,
    (State.GATE3, Step.RETRY): State.IMPLEMENTING,
    (State.GATE3, Step.GIVE_UP): State.FAILED,
    (State.GATE3, Step.PARK): State.AWAITING_APPROVAL,
    (State.GATE3, Step.MERGE): State.MERGED,
    (State.FAILED, Step.REOPEN): State.PENDING,
    (State.CANCELLED, Step.REOPEN): State.PENDING,
    **{(state, Step.CANCEL): State.CANCELLED for state in State if state not in ENDS},
}


GATE_OF = {State.GATE1: Gate.QUALITY, State.REVIEWING: Gate.REVIEW, State.GATE2: Gate.PROOF}


def after(state: State, step: Step) -> State:
    """Where the step leads.

    Raises:
        TransitionError: the table has no such pair.
    """
    target = TRANSITIONS.get((state, step))
    if target is None:
        raise TransitionError(f"a task that is {state} cannot {step}")
    return target
