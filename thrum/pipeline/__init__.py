"""The life of one task: every transition in one table, and `decide`, which holds the whole order of things.

The rules, in words:

1. A task moves only along `TRANSITIONS`; a pair that is not there raises.
2. An attempt is judged by its commits. Its exit code is a hint for people, never a verdict.
3. Every way back is counted and has an end (`Rules`). A limit that only delays never fails a task.
4. A slot is held from `claimed` to the end of Gate 2. Whatever waits for a person, for an operator or for its
   landing holds none.
5. A report of an attempt counts only under the task's present token.
6. Nothing lands but a candidate whose every gate passed on that very tree, after a person's approval.

`decide` is pure: it never reads a clock, a file or a random number. Doing what it asks for is the repo actor's
part (`thrum.actors.repo`), knowing what its inputs and effects mean is `thrum.inputs`'.
"""

from __future__ import annotations

from typing import assert_never

from thrum import inputs as i
from thrum.pipeline.attempts import attempt_blocked, attempt_ended, attempt_prepared, start_granted
from thrum.pipeline.draft import Decision, Draft, Rules
from thrum.pipeline.gates import gate_finished
from thrum.pipeline.landing import (
    branch_blocked,
    branch_landed,
    branch_moved,
    candidate_blocked,
    candidate_built,
    candidate_conflicted,
    keeper_heard,
    keeper_silent,
    landing_granted,
)
from thrum.pipeline.people import approved, cancel_asked, rejected, retry_asked
from thrum.pipeline.resumption import recovered, woke
from thrum.task import Task


def decide(task: Task, given: i.Input, rules: Rules, now: float, cause: str = "") -> Decision:
    """What the input leads to, from the task as it stands; an input of the past leads to nothing.

    Raises:
        RefusedError: a person asked for what the present state forbids.
        TransitionError: our own fault, a way that the table does not have.
    """
    draft = Draft(task, rules, now, cause)
    match given:
        case i.StartGranted():
            start_granted(draft, given)
        case i.AttemptPrepared():
            attempt_prepared(draft, given)
        case i.AttemptBlocked():
            attempt_blocked(draft, given)
        case i.AttemptEnded():
            attempt_ended(draft, given)
        case i.GateFinished():
            gate_finished(draft, given)
        case i.LandingGranted():
            landing_granted(draft)
        case i.KeeperSilent():
            keeper_silent(draft, given)
        case i.KeeperHeard():
            keeper_heard(draft)
        case i.CandidateBuilt():
            candidate_built(draft, given)
        case i.CandidateConflicted():
            candidate_conflicted(draft, given)
        case i.CandidateBlocked():
            candidate_blocked(draft, given)
        case i.BranchLanded():
            branch_landed(draft, given)
        case i.BranchMoved():
            branch_moved(draft, given)
        case i.BranchBlocked():
            branch_blocked(draft, given)
        case i.Approved():
            approved(draft, given)
        case i.Rejected():
            rejected(draft, given)
        case i.RetryAsked():
            retry_asked(draft, given)
        case i.CancelAsked():
            cancel_asked(draft, given)
        case i.Woke():
            woke(draft)
        case i.Recovered():
            recovered(draft)
        case _:
            assert_never(given)
    return Decision(task=draft.task, events=tuple(draft.events), effects=tuple(draft.effects))
