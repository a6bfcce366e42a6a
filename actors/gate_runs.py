"""The gate runs under way in one repository: what was asked of the pool, what is still missing. Pure, volatile.

A run is split into parts that gate actors take one each: every check of quality and proof is a part of its own,
so that a pool runs them in parallel; the steps of an integration pipeline pass data along and stay together. A check
of quality or proof that failed is run on the base too, once for each base: whose failure it is makes a difference.
Where the configuration allows it, one that failed by tests known to be flaky there is run again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from thrum import inputs as i
from thrum.checks import sampled
from thrum.gate import Check, CheckResult, Gate, GateResult, Verdict, overall
from thrum.messages.gates import GateReported, RunGate

from .bases import Bases, on_base

ASK_AGAIN_S = 20.0
"""How long a part may stay unheard of before it is asked for again; gate actors send a heartbeat every 5 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatePlan:
    """What a gate consists of for this repository. `forbidden` says why it may not stay unconfigured, if so."""

    checks: tuple[Check, ...]
    unconfigured: tuple[str, ...] = ()
    definition: str = ""
    forbidden: str = ""
    fixture: str = ""
    fail_fast: bool = False
    """One check after the other; the first that does not pass is the last that runs."""
    cheap_first: bool = False
    """Those that took less time the last time go first."""
    ratio: float = 1.0
    """The share of the checks that runs before approval."""
    strategy: str = "task-id"
    flaky_reruns: int = 0
    """How often a check is run again that failed by tests known to be flaky, and how often more on the base."""


@dataclass(slots=True, kw_only=True)
class _Part:
    """A part of the commit's own, with the runs that its failure led to."""

    asked: RunGate
    on_base: list[str] = field(default_factory=list)
    again: list[str] = field(default_factory=list)
    settled: bool = False
    """Nothing more is asked on its account."""

    @property
    def last(self) -> str:
        """The last run again; empty without one."""
        return self.again[-1] if self.again else ""


@dataclass(slots=True, kw_only=True)
class _Run:
    effect: i.RunChecks
    plan: GatePlan
    parts: dict[str, RunGate]
    """All that were asked for, by their names."""
    own: dict[str, _Part]
    """Those of the commit itself, in order."""
    results: dict[str, GateReported] = field(default_factory=dict)
    ask_at: dict[str, float] = field(default_factory=dict)
    later: list[str] = field(default_factory=list)
    """Parts that are asked for one by one, each once the one before has passed."""
    runners: dict[str, str] = field(default_factory=dict)
    started_at: float = 0.0
    sampled: bool = False

    def ask(self, part: RunGate, now: float) -> str:
        """Have one more part run; its name."""
        self.parts[part.run] = part
        self.ask_at[part.run] = now
        return part.run

    def owner(self, part: str) -> tuple[str, _Part]:
        """The part of the commit's own on whose account this one was asked for."""
        return next((n, own) for n, own in self.own.items() if part in (n, *own.on_base, *own.again))

    def settle(self, name: str, *, passed: bool, now: float) -> None:
        """A part is done with: ask for the next of the later ones, or leave them all out."""
        self.own[name].settled = True
        if not passed:
            for part in self.later:
                del self.parts[part], self.own[part]
            self.later = []
        elif self.later:
            self.ask_at[self.later.pop(0)] = now


class GateRuns:
    """Keeps every part asked for until it is answered, and puts the answers of a run together."""

    def __init__(self, plans: dict[Gate, GatePlan], home: str = "", life: str = "") -> None:
        """`home` is the repository whose plans these are; `life` names this life of whoever asks."""
        self._plans = plans
        self._home = home
        self._life = life
        self._runs: dict[str, _Run] = {}
        self.bases = Bases()
        self._lookings = 0
        self._durations: dict[str, float] = {}

    def begin(self, effect: i.RunChecks, now: float) -> i.GateFinished | None:
        """Take up a run; a gate with nothing to run is answered at once. Beginning it again changes nothing."""
        plan = self._plans[effect.gate]
        if not plan.checks:
            verdict = Verdict.COULD_NOT_RUN if plan.forbidden else Verdict.NOT_CONFIGURED
            return _finished(effect, plan, verdict, _unconfigured(plan), plan.forbidden, now, now)
        if effect.run not in self._runs:
            ratio = plan.ratio if effect.attempt else 1.0
            checks = sampled(plan.checks, ratio, plan.strategy, effect.task, effect.attempt)
            parts = {part.run: part for part in _parts(effect, plan, checks)}
            order = sorted(parts, key=lambda part: self._took(parts[part])) if plan.cheap_first else list(parts)
            first = order[:1] if plan.fail_fast else order
            self._runs[effect.run] = _Run(
                sampled=checks != plan.checks,
                effect=effect,
                plan=plan,
                parts=parts,
                own={name: _Part(asked=part) for name, part in parts.items()},
                ask_at=dict.fromkeys(first, now),
                later=order[len(first) :],
                started_at=now,
            )
        return None

    def _took(self, part: RunGate) -> float:
        return sum(self._durations.get(check.name, 0.0) for check in part.checks)

    def look_over(self, repo: str, base: str, now: float) -> bool:
        """Have it looked whether each check of the repository could run; False without any. The answer has no task.

        The commands of gates 1 and 2 are run on the base for that, unless it is known what they say of it.
        """
        looked: dict[str, Check] = {}
        rehearsed: dict[str, Check] = {}
        for gate, plan in self._plans.items():
            for check in plan.checks:
                if check.repo in ("", repo) and check.name not in {**looked, **rehearsed}:
                    known = check.prover or self.bases.runs(on_base(base, check))
                    (looked if known or gate is Gate.INTEGRATION else rehearsed)[check.name] = check
        chosen = (*looked.values(), *rehearsed.values())
        if chosen:
            self._lookings += 1
            # A gate actor that lives on answers a name that it knows from memory.
            run, vector = f"preflight.{repo}/{self._life}/{self._lookings}", {repo: base}
            effect = i.RunChecks(task="", run=run, gate=Gate.QUALITY, attempt=0, commit=base, tree="", vector=vector)
            groups = [*([tuple(looked.values())] if looked else []), *((check,) for check in rehearsed.values())]
            parts = [
                RunGate(
                    run=f"{run}/{number}",
                    gate=Gate.QUALITY,
                    checks=checks,
                    vector=vector,
                    probe=True,
                    rehearsal=checks[0].name in rehearsed,
                )
                for number, checks in enumerate(groups, start=1)
            ]
            self._runs[run] = _Run(
                effect=effect,
                plan=GatePlan(checks=chosen),
                parts={part.run: part for part in parts},
                own={part.run: _Part(asked=part, settled=True) for part in parts},
                ask_at=dict.fromkeys((part.run for part in parts), now),
                started_at=now,
            )
        return bool(chosen)

    def looked_over(self, commit: str) -> None:
        """The branch was looked over where it stands now."""
        plans = (plan for gate, plan in self._plans.items() if gate is not Gate.INTEGRATION)
        self.bases.stands_at(commit, [check for plan in plans for check in plan.checks])

    def drop(self, run: str) -> dict[str, str]:
        """Forget a run; its parts that are under way, each with the address of the gate actor that has it."""
        gone = self._runs.pop(run, None)
        return {part: runner for part, runner in gone.runners.items() if part not in gone.results} if gone else {}

    def due(self, now: float) -> list[RunGate]:
        """The parts to ask for now, each put off until it should have been heard of."""
        asked = []
        for run in self._runs.values():
            for part, at in run.ask_at.items():
                if at <= now:
                    run.ask_at[part] = now + ASK_AGAIN_S
                    asked.append(replace(run.parts[part], home=self._home))
        return asked

    def next_at(self) -> float:
        """When `due` has something next; infinite if nothing is under way."""
        return min((at for run in self._runs.values() for at in run.ask_at.values()), default=float("inf"))

    def heard(self, part: str, runner: str, now: float) -> None:
        """A gate actor has the part under way."""
        run = self._owner(part)
        if run is not None and part in run.ask_at:
            run.runners[part] = runner
            run.ask_at[part] = now + ASK_AGAIN_S

    def ask_soon(self, part: str, at: float) -> None:
        """The part could not be handed on, or whoever ran it is gone: ask again at the given time."""
        run = self._owner(part)
        if run is not None and part in run.ask_at:
            run.ask_at[part] = at

    def part(self, name: str) -> RunGate | None:
        """A part that is under way, by its name."""
        run = self._owner(name)
        return run.parts.get(name) if run is not None else None

    def report(self, reported: GateReported, now: float) -> tuple[str, i.GateFinished] | None:
        """Take a part's answer; the task's id and the whole result once no part is missing. What leaves checks out
        says nothing: it is asked for again."""
        run = self._owner(reported.run)
        if run is None or reported.run not in run.parts:
            return None
        if not _whole(run.parts[reported.run], reported):
            self.ask_soon(reported.run, now + 0.5)
            return None
        run.results[reported.run] = reported
        run.ask_at.pop(reported.run, None)
        self._answered(run, reported, now)
        if run.ask_at:
            return None
        del self._runs[run.effect.run]
        said = tuple(check for name, part in run.own.items() for check in self._said(run, name, part))
        checks = (*said, *_unconfigured(run.plan))
        ran = [check.verdict for check in checks if check.verdict is not Verdict.NOT_CONFIGURED]
        finished = _finished(run.effect, run.plan, overall(ran), checks, "", run.started_at, now)
        return run.effect.task, replace(finished, result=replace(finished.result, share=_share(run, said)))

    # --- Whose failure it is ------------------------------------------------------------------------------------

    def _answered(self, run: _Run, reported: GateReported, now: float) -> None:
        name, part = run.owner(reported.run)
        if reported.run in part.on_base:
            check = part.asked.checks[0]
            self.bases.remember(on_base(run.effect.base, check), reported.checks[0], whole=check.sample is None)
        elif reported.run == name:
            if part.asked.rehearsal:
                self.bases.remember(on_base(run.effect.commit, part.asked.checks[0]), reported.checks[0])
            self._durations.update((check.name, check.duration_s) for check in reported.checks)
        if not part.settled and not run.ask_at.keys() & {*part.on_base, *part.again}:
            self._follow(run, name, part, now)

    def _follow(self, run: _Run, name: str, part: _Part, now: float) -> None:
        """Have run what the part's failure calls for, one thing after the other; settle it where that is nothing."""
        effect, checks = run.effect, run.results[name].checks
        verdict = overall(check.verdict for check in checks)
        if verdict is not Verdict.FAILED or effect.gate is Gate.INTEGRATION or not effect.base:
            run.settle(name, passed=verdict is Verdict.PASSED, now=now)
            return
        (check,), (last,) = part.asked.checks, run.results[part.last or name].checks
        at, reruns = on_base(effect.base, check), run.plan.flaky_reruns if checks[0].tests else 0
        if not part.on_base:
            vector = {**effect.vector, check.repo: effect.base}
            for number in range(self.bases.runs(at), 1 + reruns):
                asked = RunGate(run=f"{name}.base{number}", gate=effect.gate, checks=(check,), vector=vector)
                part.on_base.append(run.ask(asked, now))
            if part.on_base:
                return
        if len(part.again) < reruns and self.bases.known_flaky(at, last):
            part.again.append(run.ask(replace(part.asked, run=f"{name}.again{len(part.again)}"), now))
        else:
            run.settle(name, passed=last.verdict is Verdict.PASSED, now=now)

    def _said(self, run: _Run, name: str, part: _Part) -> tuple[CheckResult, ...]:
        """What a part says in the end."""
        checks, last = run.results[name].checks, run.results[part.last or name].checks
        if run.effect.gate is Gate.INTEGRATION or not run.effect.base:
            return checks
        if part.again and last[0].verdict is Verdict.PASSED:
            failed = (run.results[one].checks[0] for one in (name, *part.again[:-1]))
            flaky = dict.fromkeys(test for one in failed if one.tests for test in one.tests.failing)
            return (replace(last[0], flaky=tuple(flaky), fingerprint=""),)  # not a pass to be taken over
        return (self.bases.beside(on_base(run.effect.base, part.asked.checks[0]), checks[0]),)

    # --- Parts --------------------------------------------------------------------------------------------------

    def _owner(self, part: str) -> _Run | None:
        return self._runs.get(part.rpartition("/")[0])


def _share(run: _Run, said: tuple[CheckResult, ...]) -> float:
    """The share of the gate that ran; never all of it where it was sampled: it is untrusted code that told how much."""
    return (
        1.0
        if not run.sampled
        else min(sum(check.share for check in said) / len(run.plan.checks), math.nextafter(1.0, 0.0))
    )


def _parts(effect: i.RunChecks, plan: GatePlan, chosen: tuple[Check, ...]) -> list[RunGate]:
    groups = [chosen] if effect.gate is Gate.INTEGRATION else [(check,) for check in chosen]
    changed = [repo for repo, commit in effect.vector.items() if commit == effect.commit]
    bases = dict.fromkeys(changed, effect.base) if effect.base else {}
    return [
        RunGate(
            run=f"{effect.run}/{number}",
            gate=effect.gate,
            checks=checks,
            vector=effect.vector,
            fixture=plan.fixture,
            tree=effect.tree,
            bases=bases,
        )
        for number, checks in enumerate(groups, start=1)
    ]


def _whole(asked: RunGate, reported: GateReported) -> bool:
    """True if every check has its result, in order; of a pipeline that failed, those that were begun."""
    names, told = ([check.name for check in checks] for checks in (asked.checks, reported.checks))
    if asked.gate is Gate.INTEGRATION and any(check.verdict is not Verdict.PASSED for check in reported.checks):
        return told == [name for name in names if name in told]
    return told == names


def _unconfigured(plan: GatePlan) -> tuple[CheckResult, ...]:
    return tuple(
        CheckResult(name=name, verdict=Verdict.NOT_CONFIGURED, reason="the repository has no command for it")
        for name in plan.unconfigured
    )


def _finished(
    effect: i.RunChecks,
    plan: GatePlan,
    verdict: Verdict,
    checks: tuple[CheckResult, ...],
    reason: str,
    started_at: float,
    ended_at: float,
) -> i.GateFinished:
    result = GateResult(
        gate=effect.gate,
        verdict=verdict,
        commit=effect.commit,
        tree=effect.tree,
        checks=checks,
        reason=reason,
        started_at=started_at,
        ended_at=ended_at,
        definition=plan.definition,
    )
    if effect.gate is Gate.INTEGRATION:
        result = replace(result, vector=effect.vector)
    return i.GateFinished(run=effect.run, result=result)
