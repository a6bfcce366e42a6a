"""From the scheduler's permission to land to the commit on the branch."""

from __future__ import annotations

from typing import Any

from thrum import inputs as i
from thrum.pipeline.draft import Draft, latest
from thrum.pipeline.gates import go_on
from thrum.pipeline.moves import build_candidate, park, pause_after, send_back
from thrum.pipeline.table import Step
from thrum.task import Candidate, State, Task, WaitingFor


def landing_granted(draft: Draft) -> None:
    task = draft.task
    if task.state is not State.APPROVED:
        return
    draft.step(Step.INTEGRATE, "integrating", {"head": latest(task).head})
    build_candidate(draft)


def keeper_silent(draft: Draft, given: i.KeeperSilent) -> None:
    task = draft.task
    if task.state is State.APPROVED and task.waiting_for is not WaitingFor.HOST:
        draft.record("landing-delayed", {"reason": given.reason}, waiting_for=WaitingFor.HOST, reason=given.reason)


def keeper_heard(draft: Draft) -> None:
    task = draft.task
    if task.state is State.APPROVED and task.waiting_for is WaitingFor.HOST:
        draft.record("landing-awaited", waiting_for=WaitingFor.LANDING, reason="")


def candidate_built(draft: Draft, given: i.CandidateBuilt) -> None:
    task = draft.task
    if task.state is not State.INTEGRATING:
        return
    candidate = Candidate(base=given.base, commit=given.commit, tree=given.tree, vector=given.vector)
    if draft.rules.void_on_overlap and given.overlap:
        files = ", ".join(given.overlap[:5])
        park(draft, f"what landed meanwhile touched the same files ({files}): approve it anew")
        return
    attempt_results = tuple(result for result in task.gates if result.commit == latest(task).head)
    draft.step(
        Step.BUILD,
        "candidate-built",
        {"base": given.base, "commit": given.commit, "tree": given.tree, "vector": given.vector},
        candidate=candidate,
        gates=attempt_results,
    )
    go_on(draft)


def candidate_conflicted(draft: Draft, given: i.CandidateConflicted) -> None:
    task = draft.task
    if task.state is not State.INTEGRATING:
        return
    paths = ", ".join(given.paths[:20])
    text = (
        "The branch has moved, and the work so far no longer merges onto it. The work tree holds the new base with"
        f" the work so far merged into it; resolve the conflict markers in: {paths}."
        " A file without markers got what the work changes in one that was renamed meanwhile: see if it belongs there."
    )
    # What the next attempt starts from: the conflicted merge, measured against the new base.
    conflicted = Candidate(base=given.base, commit=given.start, tree="")
    send_back(draft, "conflict", text, candidate=conflicted)


def branch_landed(draft: Draft, given: i.BranchLanded) -> None:
    task = draft.task
    if not task.landing or task.candidate is None or given.commit != task.candidate.commit:
        return
    data = {**receipt(task, draft.rules.configuration), "checkouts_behind": list(given.behind)}
    draft.step(Step.MERGE, "merged", data, reason="; ".join(given.behind), landing=False, landed=given.commit)
    draft.want(i.ReleaseLandingLock(task=task.id))


def receipt(task: Task, configuration: str) -> dict[str, Any]:
    """What a landing leaves on record: what landed, which gates passed on it, who made and who approved it."""
    attempt, candidate = latest(task), task.candidate
    assert candidate is not None
    return {
        "commit": candidate.commit,
        "tree": candidate.tree,
        "base": candidate.base,
        "vector": candidate.vector,
        "head": attempt.head,
        "configuration": configuration,
        "head_tree": attempt.tree,
        "backend": attempt.backend,
        "model": attempt.model,
        "approvals": [{"by": a.by, "at": a.at, "commit": a.commit, "base": a.base} for a in task.approvals],
        "gates": [
            {
                "gate": result.gate.value,
                "verdict": result.verdict.value,
                "commit": result.commit,
                "tree": result.tree,
                "definition": result.definition,
                "checks": {c.name: {"verdict": c.verdict.value, "output": c.output_digest} for c in result.checks},
            }
            for result in task.gates
        ],
        "cost_usd": round(sum(attempt.cost_usd for attempt in task.attempts), 6),
    }


def branch_moved(draft: Draft, given: i.BranchMoved) -> None:
    task = draft.task
    if not task.landing:
        return
    rebuilds = task.rebuilds + 1
    draft.record(
        "landing-missed", {"tip": given.tip, "repo": given.repo, "rebuilds": rebuilds}, landing=False, rebuilds=rebuilds
    )
    if rebuilds > draft.rules.max_rebuilds:
        park(draft, f"the branch moved {rebuilds} times while it was being integrated")
        return
    pause_s = min(60.0, 0.5 * 2.0 ** (rebuilds - 2)) if rebuilds > 1 else 0.0
    draft.step(
        Step.REBUILD,
        "rebuilding",
        {"pause_s": pause_s},
        candidate=None,
        waiting_for=WaitingFor.LANDING if pause_s else WaitingFor.NONE,
        wake_at=draft.now + pause_s if pause_s else 0.0,
    )
    if not pause_s:
        build_candidate(draft)


def candidate_blocked(draft: Draft, given: i.CandidateBlocked) -> None:
    task = draft.task
    if task.state is State.INTEGRATING and not task.wake_at:
        _landing_blocked(draft, WaitingFor.HOST if given.host else WaitingFor.OPERATOR, given.reason)


def branch_blocked(draft: Draft, given: i.BranchBlocked) -> None:
    if draft.task.landing:
        elsewhere = WaitingFor.HOST if given.host else WaitingFor.OPERATOR
        _landing_blocked(draft, WaitingFor.CLEAN_CHECKOUT if given.checkout else elsewhere, given.reason)


def _landing_blocked(draft: Draft, waiting_for: WaitingFor, reason: str) -> None:
    task = draft.task
    wait_s = pause_after(task.stalls, first_s=5.0, most_s=60.0)
    draft.record(
        "landing-blocked",
        {"reason": reason, "look_again_s": wait_s},
        landing=False,
        waiting_for=waiting_for,
        reason=reason,
        stalls=task.stalls + 1,
        wake_at=draft.now + wait_s,
    )
