"""The gate runs under way in one repository: what was asked of the pool, what is still missing. Pure, volatile.

A run is split into parts that gate actors take one each: every check of quality and proof is a part of its own,
so that a pool runs them in parallel; the steps of an integration pipeline pass data along and stay together.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from thrum import inputs as i
from thrum.checks import sample
from thrum.gate import Check, CheckResult, Gate, GateResult, Verdict, overall
from thrum.messages.gates import GateReported, RunGate

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
    ratio: float = 1.0
    """The share of the checks that runs before approval."""
    strategy: str = "task-id"


@dataclass(slots=True, kw_only=True)
class _Run:
    effect: i.RunChecks
    plan: GatePlan
    parts: dict[str, RunGate]
    results: dict[str, GateReported] = field(default_factory=dict)
    ask_at: dict[str, float] = field(default_factory=dict)
    runners: dict[str, str] = field(default_factory=dict)
    started_at: float = 0.0
    share: float = 1.0


class GateRuns:
    """Keeps every part asked for until it is answered, and puts the answers of a run together."""

    def __init__(self, plans: dict[Gate, GatePlan]) -> None:
        self._plans = plans
        self._runs: dict[str, _Run] = {}

    def begin(self, effect: i.RunChecks, now: float) -> i.GateFinished | None:
        """Take up a run; a gate with nothing to run is answered at once. Beginning it again changes nothing."""
        plan = self._plans[effect.gate]
        if not plan.checks:
            verdict = Verdict.COULD_NOT_RUN if plan.forbidden else Verdict.NOT_CONFIGURED
            return _finished(effect, plan, verdict, _unconfigured(plan), plan.forbidden, now, now)
        if effect.run not in self._runs:
            checks = plan.checks
            if effect.attempt and plan.ratio < 1.0:
                checks = sample(checks, plan.ratio, plan.strategy, effect.task, effect.attempt)
            parts = {part.run: part for part in _parts(effect, plan, checks)}
            self._runs[effect.run] = _Run(
                share=len(checks) / len(plan.checks),
                effect=effect,
                plan=plan,
                parts=parts,
                ask_at=dict.fromkeys(parts, now),
                started_at=now,
            )
        return None

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
                    asked.append(run.parts[part])
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
        if run.ask_at:
            return None
        del self._runs[run.effect.run]
        checks = tuple(check for part in run.parts for check in run.results[part].checks) + _unconfigured(run.plan)
        ran = [check.verdict for check in checks if check.verdict is not Verdict.NOT_CONFIGURED]
        finished = _finished(run.effect, run.plan, overall(ran), checks, "", run.started_at, now)
        return run.effect.task, replace(finished, result=replace(finished.result, share=run.share))

    def _owner(self, part: str) -> _Run | None:
        return self._runs.get(part.rpartition("/")[0])


def _parts(effect: i.RunChecks, plan: GatePlan, chosen: tuple[Check, ...]) -> list[RunGate]:
    groups = [chosen] if effect.gate is Gate.INTEGRATION else [(check,) for check in chosen]
    return [
        RunGate(
            run=f"{effect.run}/{number}", gate=effect.gate, checks=checks, vector=effect.vector, fixture=plan.fixture
        )
        for number, checks in enumerate(groups, start=1)
    ]


def _whole(asked: RunGate, reported: GateReported) -> bool:
    """True if every check has its result; of a pipeline, every step up to the first that did not pass."""
    names, told = ([check.name for check in checks] for checks in (asked.checks, reported.checks))
    ended_early = asked.gate is Gate.INTEGRATION and told and reported.checks[-1].verdict is not Verdict.PASSED
    return told == (names[: len(told)] if ended_early else names)


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
