"""A task that things happen to, for the tests of `thrum.pipeline`: each decision about it is checked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgpack
from hypothesis import strategies as st

from thrum import inputs as i
from thrum.errors import RefusedError
from thrum.failures import Failure
from thrum.fence import Fence
from thrum.gate import CheckResult, Gate, GateResult, Verdict
from thrum.globs import matched
from thrum.pipeline import decide
from thrum.pipeline.attempts import wants_slot
from thrum.pipeline.draft import Decision, Rules, flaky_tests, fold
from thrum.records import from_plain, to_plain
from thrum.task import ENDS, AttemptEnding, Event, State, Task, WaitingFor

NEW = Task(id="a-1", repo="a", title="a task", created_at=1.0, changed_at=1.0)
OPENED = (Verdict.PASSED, Verdict.NOT_CONFIGURED)
PEOPLE = (i.Approved, i.Rejected, i.RetryAsked, i.CancelAsked)
WITHOUT_SLOT = {
    State.PENDING,
    State.AWAITING_APPROVAL,
    State.APPROVED,
    State.INTEGRATING,
    State.GATE3,
    State.MERGED,
    State.FAILED,
}


class Life:
    """A task that things happen to: it keeps what was asked of the world, and checks each decision."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.task = NEW
        self.now = 100.0
        self.asked: list[i.Effect] = []
        self.given: list[i.Input] = []

    def take(self, given: i.Input) -> None:
        """Give an input and check what came of it; then give it again."""
        before, decision = self.task, self._decide(given)
        self.given.append(given)
        if decision is None:
            return
        self._check(before, given, decision)
        self.task = decision.task
        self.asked += decision.effects
        again = self._decide(given)
        if isinstance(given, PEOPLE):
            assert again is None, f"{given} counted twice"
        elif isinstance(given, i.Recovered):
            assert again is not None
            assert again.task == self.task, "to recover a second time is to ask again, and changes nothing"
            assert again.effects == decision.effects
        else:
            assert again == Decision(task=self.task), f"{given} counted twice"

    def _decide(self, given: i.Input) -> Decision | None:
        try:
            return decide(self.task, given, self.rules, self.now, "cause")
        except RefusedError:
            assert isinstance(given, PEOPLE), f"{given} was refused, and no person asked"
            return None

    def _check(self, before: Task, given: i.Input, decision: Decision) -> None:
        task = decision.task
        assert fold(before, [read_back(event) for event in decision.events]) == task
        assert bool(decision.events) == (task != before) or task == replace(before, changed_at=task.changed_at)
        assert task.retries <= self.rules.max_retries
        assert not (task.slot and task.state in WITHOUT_SLOT), f"{task.state} holds a slot"
        assert task.slot or task.state is not State.CLAIMED
        assert task.token >= before.token
        assert task.state is State.GATE3 or not task.landing, f"{task.state} with a landing under way"
        if before.state in ENDS and task.state is not before.state:
            assert isinstance(given, i.RetryAsked)
            assert before.state is not State.MERGED
        if task.landing and not before.landing:
            check_landing(task, self.rules)
        if before.landing and not task.landing:
            assert isinstance(given, (i.BranchLanded, i.BranchMoved, i.BranchBlocked)), f"{given} ended a landing"
        if task.state is State.MERGED and before.state is not State.MERGED:
            assert before.landing
            assert task.candidate is not None
            assert task.landed == task.candidate.commit
        if task.state is State.AWAITING_APPROVAL and before.state is not State.AWAITING_APPROVAL:
            assert task.waiting_for is WaitingFor.APPROVAL
            assert task.approvals == ()
        if isinstance(given, i.Approved) and before.gates:
            assert task.state is not State.CANCELLED, "work that gates passed is no claim that none is needed"
        released = i.ReleaseLandingLock(task=task.id) in decision.effects
        integrating = (State.INTEGRATING, State.GATE3)
        assert released == (before.state in integrating and task.state not in integrating)


def check_landing(task: Task, rules: Rules) -> None:
    """Nothing is put on a branch that was not approved, or that a gate did not open for."""
    attempt, candidate = task.attempt, task.candidate
    assert attempt is not None
    assert candidate is not None
    assert len({approval.by for approval in task.approvals if approval.commit == attempt.head}) >= rules.approvers
    if attempt.leaks:
        assert rules.protected_change != "fail"
        assert all(approval.protected for approval in task.approvals)
    if matched(attempt.files, rules.fence.always):
        assert rules.protected_change != "fail"
        assert rules.protected_change == "allow" or all(approval.protected for approval in task.approvals)
    for gate in (Gate.QUALITY, Gate.PROOF):
        results = [
            result
            for result in task.gates
            if result.gate is gate
            and result.tree == candidate.tree
            and result.share == 1.0
            and result.verdict in OPENED
        ]
        assert results, f"{gate} did not open for {candidate.tree}"
    on_candidate = flaky_tests(result for result in task.gates if result.commit == candidate.commit)
    assert all(set(on_candidate) <= set(approval.flaky) for approval in task.approvals)
    vectors = [result.vector for result in task.gates if result.gate is Gate.INTEGRATION and result.verdict in OPENED]
    assert candidate.vector in vectors


def read_back(event: Event) -> Event:
    """The event as a store gives it back."""
    return from_plain(Event, msgpack.unpackb(msgpack.packb(to_plain(event))))


names = st.sampled_from(["ann", "bob"])
texts = st.sampled_from(["", "as it should be", "two\nlines"])
verdicts = st.sampled_from([Verdict.PASSED] * 6 + [Verdict.NOT_CONFIGURED, Verdict.FAILED, Verdict.COULD_NOT_RUN])
endings = st.sampled_from([AttemptEnding.FINISHED] * 8 + list(AttemptEnding))


def ended(draw: Any, token: int) -> i.AttemptEnded:
    """A report of the attempt: it has changed something, most of the time."""
    changed = draw(st.sampled_from([True, True, True, False]))
    return i.AttemptEnded(
        token=token,
        ending=draw(endings),
        head=f"head-{token}" if changed else "",
        tree=f"tree-{token}" if changed else "",
        base_tree="tree-0",
        files=("x",) if changed else (),
        leaks=draw(st.sampled_from([(), (), ("commit 0",)])) if changed else (),
        reason=draw(texts),
        no_change=draw(texts),
        failure=draw(st.sampled_from([None] * 20 + list(Failure))),
        retry_after_s=draw(st.sampled_from([0.0, 30.0])),
    )


def gate_finished(draw: Any, effect: i.RunChecks) -> i.GateFinished:
    """A result of the run."""
    verdict, flaky = draw(verdicts), draw(st.sampled_from([(), ("t::a",)]))
    result = GateResult(
        gate=effect.gate,
        verdict=verdict,
        commit=effect.commit,
        tree=effect.tree,
        checks=(CheckResult(name="test", verdict=verdict, flaky=flaky if verdict is Verdict.PASSED else ()),),
        definition=draw(st.sampled_from(["now"] * 5 + ["before"])),
        vector=effect.vector if effect.gate is Gate.INTEGRATION else {},
        share=1.0 if not effect.attempt else draw(st.sampled_from([1.0] * 4 + [0.5])),
    )
    return i.GateFinished(run=effect.run, result=result)


def built(draw: Any, effect: i.BuildCandidate) -> i.Input:
    """What becomes of a merge."""
    base = draw(st.sampled_from(["base-1", "base-2"]))
    outcome = draw(st.sampled_from(["clean"] * 4 + ["overlap", "conflict", "blocked"]))
    if outcome == "conflict":
        return i.CandidateConflicted(base=base, start=f"conflict-{base}", paths=("x",))
    if outcome == "blocked":
        return i.CandidateBlocked(reason="the disk is full")
    commit = f"candidate-{effect.head}-{base}"
    same = f"tree-{effect.head.removeprefix('head-')}"
    tree = draw(st.sampled_from([same, f"merged-{commit}"]))
    overlap = ("x",) if outcome == "overlap" else ()
    return i.CandidateBuilt(base=base, commit=commit, tree=tree, vector={"a": commit, "b": base}, overlap=overlap)


def moved(draw: Any, effect: i.MoveBranch) -> i.Input:
    """What becomes of a swap."""
    outcome = draw(st.sampled_from(["landed", "landed", "moved", "blocked"]))
    if outcome == "landed":
        return i.BranchLanded(commit=effect.new)
    if outcome == "moved":
        return i.BranchMoved(tip="elsewhere", repo="a")
    return i.BranchBlocked(reason="dirty", checkout=draw(st.booleans()))


def prepared(draw: Any, effect: i.PrepareAttempt) -> i.Input:
    """What becomes of a preparation."""
    if draw(st.sampled_from([False] * 5 + [True])):
        return i.AttemptBlocked(token=effect.token, reason="no such backend", held=draw(st.booleans()))
    base = effect.base or "base-0"
    return i.AttemptPrepared(
        token=effect.token,
        base=base,
        start=effect.start or base,
        backend="agent",
        model="m",
        prompt_digest="p",
        system_prompt_digest="s",
        fallbacks=draw(st.sampled_from([0, 0, 1])),
    )


def answer(draw: Any, effect: i.Effect) -> i.Input:
    """An input that the effect may lead to."""
    match effect:
        case i.PrepareAttempt():
            return prepared(draw, effect)
        case i.BeginAttempt() | i.EndAttempt():
            return ended(draw, effect.token)
        case i.RunChecks():
            return gate_finished(draw, effect)
        case i.BuildCandidate():
            return built(draw, effect)
        case i.MoveBranch():
            return moved(draw, effect)
        case _:
            return i.Recovered()


def spontaneous(draw: Any, task: Task) -> i.Input:
    """Something that comes without having been asked for."""
    by = draw(names)
    given: i.Input = draw(
        st.sampled_from(
            [
                i.StartGranted(worker="worker.a.1"),
                i.StartGranted(worker="worker.a.2"),
                i.LandingGranted(),
                i.LandingGranted(),
                i.Approved(by=by),
                i.Approved(by=by, protected=True),
                i.Approved(by=by, commit="another-commit"),
                i.Rejected(by=by, feedback="differently"),
                i.RetryAsked(by=by, feedback=draw(texts)),
                i.CancelAsked(by=by, why=draw(texts)),
                i.Woke(),
                i.Recovered(),
                ended(draw, max(0, task.token - 1)),
            ]
        )
    )
    return given


rules = st.builds(
    Rules,
    max_retries=st.just(2),
    max_interruptions=st.just(2),
    max_rebuilds=st.just(2),
    max_wait_s=st.just(100.0),
    approvers=st.sampled_from([1, 1, 2]),
    void_on_overlap=st.booleans(),
    fence=st.sampled_from([Fence(), Fence(always=("x",))]),
    protected_change=st.sampled_from(["approve", "fail", "allow"]),
    definitions=st.just({Gate.QUALITY: "now", Gate.PROOF: "now"}),
)


def called_for(draw: Any, life: Life) -> i.Input:
    """What the task waits for, whichever way it turns out."""
    task = life.task
    if task.wake_at:
        life.now = max(life.now, task.wake_at)
        return i.Woke()
    if wants_slot(task):
        return i.StartGranted(worker="worker.a.1")
    if task.state is State.AWAITING_APPROVAL:
        return i.Approved(by=draw(names), protected=draw(st.booleans()))
    if task.state is State.APPROVED:
        return i.LandingGranted()
    if life.asked and task.state not in ENDS:
        return answer(draw, life.asked[-1])
    return spontaneous(draw, task)


def go(life: Life, verdict: Verdict = Verdict.PASSED) -> State:
    """Let everything that is asked for go well, but for the gates, until nothing changes any more."""
    for _ in range(40):
        before = life.task
        if before.state in ENDS:
            break
        life.take(next_step(life, verdict))
        if life.task == before:
            break
    return life.task.state


def next_step(life: Life, verdict: Verdict = Verdict.PASSED) -> i.Input:
    """What brings the task on."""
    if wants_slot(life.task):
        return i.StartGranted(worker="worker.a.1")
    if life.task.state is State.AWAITING_APPROVAL:
        return i.Approved(by="ann", protected=True)
    if life.task.state is State.APPROVED:
        return i.LandingGranted()
    return well(life.asked[-1], verdict)


def well(effect: i.Effect, verdict: Verdict) -> i.Input:
    """The best that the effect can lead to."""
    match effect:
        case i.PrepareAttempt():
            return i.AttemptPrepared(
                token=effect.token, base="base-0", start="base-0", backend="agent", model="", prompt_digest=""
            )
        case i.BeginAttempt():
            token = effect.token
            return i.AttemptEnded(
                token=token, ending=AttemptEnding.FINISHED, head=f"head-{token}", tree=f"tree-{token}", base_tree="t"
            )
        case i.RunChecks():
            vector = effect.vector if effect.gate is Gate.INTEGRATION else {}
            result = GateResult(
                gate=effect.gate, verdict=verdict, commit=effect.commit, tree=effect.tree, vector=vector
            )
            return i.GateFinished(run=effect.run, result=result)
        case i.BuildCandidate():
            tree = f"tree-{effect.head.removeprefix('head-')}"
            return i.CandidateBuilt(base="base-0", commit="candidate", tree=tree, vector={"a": "candidate"})
        case i.MoveBranch():
            return i.BranchLanded(commit=effect.new)
        case _:
            return i.Recovered()
