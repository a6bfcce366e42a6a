"""The gate runs under way in one repository: what was asked of the pool, what is still missing. Pure, volatile.

A run is split into parts that gate actors take one each: every check of quality and proof is a part of its own,
so that a pool runs them in parallel; the steps of an integration pipeline pass data along and stay together. A check
of quality or proof that failed is run on the base too, once for each base: whose failure it is makes a difference.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace

from thrum import inputs as i
from thrum.checks import definition_digest, sampled
from thrum.gate import Check, CheckResult, Gate, GateResult, Verdict, overall
from thrum.messages.gates import GateReported, RunGate

ASK_AGAIN_S = 20.0
"""How long a part may stay unheard of before it is asked for again; gate actors send a heartbeat every 5 s."""
REMEMBERED = 500
"""How many results on bases are kept."""


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


_Key = tuple[str, str]
"""A base commit, and the digest of a check's definition."""


def _key(effect: i.RunChecks, check: Check) -> _Key:
    return effect.base, definition_digest([check])


@dataclass(slots=True, kw_only=True)
class _Run:
    effect: i.RunChecks
    plan: GatePlan
    parts: dict[str, RunGate]
    results: dict[str, GateReported] = field(default_factory=dict)
    ask_at: dict[str, float] = field(default_factory=dict)
    later: list[str] = field(default_factory=list)
    """Parts that are asked for one by one, each once the one before has passed."""
    runners: dict[str, str] = field(default_factory=dict)
    started_at: float = 0.0
    share: float = 1.0
    controls: dict[str, _Key] = field(default_factory=dict)
    """The parts that run on the base, each with the place of its result."""

    @property
    def own(self) -> list[CheckResult]:
        """What was said of the commit itself, in order."""
        return [check for part in self.parts if part not in self.controls for check in self.results[part].checks]

    def go_on(self, *, passed: bool, now: float) -> None:
        """Ask for the next of the later parts, or leave them all out."""
        if not passed:
            for part in self.later:
                del self.parts[part]
            self.later = []
        elif self.later:
            self.ask_at[self.later.pop(0)] = now


class GateRuns:
    """Keeps every part asked for until it is answered, and puts the answers of a run together."""

    def __init__(self, plans: dict[Gate, GatePlan]) -> None:
        self._plans = plans
        self._runs: dict[str, _Run] = {}
        self._on_base: OrderedDict[_Key, CheckResult] = OrderedDict()
        self._red: dict[str, str] = {}
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
            checks, share = sampled(plan.checks, ratio, plan.strategy, effect.task, effect.attempt)
            parts = {part.run: part for part in _parts(effect, plan, checks)}
            order = sorted(parts, key=lambda part: self._took(parts[part])) if plan.cheap_first else list(parts)
            first = order[:1] if plan.fail_fast else order
            self._runs[effect.run] = _Run(
                share=share,
                effect=effect,
                plan=plan,
                parts=parts,
                ask_at=dict.fromkeys(first, now),
                later=order[len(first) :],
                started_at=now,
            )
        return None

    def _took(self, part: RunGate) -> float:
        return sum(self._durations.get(check.name, 0.0) for check in part.checks)

    def look_over(self, repo: str, base: str, now: float) -> bool:
        """Have it looked whether each check of the repository could run; False without any. The answer has no task."""
        plans = self._plans.values()
        checks = {check.name: check for plan in plans for check in plan.checks if check.repo in ("", repo)}
        if checks:
            self._lookings += 1
            run, vector = f"preflight.{repo}/{self._lookings}", {repo: base}
            effect = i.RunChecks(task="", run=run, gate=Gate.QUALITY, attempt=0, commit=base, tree="", vector=vector)
            chosen = tuple(checks.values())
            part = RunGate(run=f"{run}/1", gate=Gate.QUALITY, checks=chosen, vector=vector, probe=True)
            self._runs[run] = _Run(
                effect=effect,
                plan=GatePlan(checks=chosen),
                parts={part.run: part},
                ask_at={part.run: now},
                started_at=now,
            )
        return bool(checks)

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
        if reported.run in run.controls:
            self._remember(run.controls[reported.run], reported.checks[0])
        else:
            self._durations.update((check.name, check.duration_s) for check in reported.checks)
            run.go_on(passed=all(check.verdict is Verdict.PASSED for check in reported.checks), now=now)
        if run.ask_at or self._control(run, now):
            return None
        del self._runs[run.effect.run]
        checks = (*(self._beside_base(run, check) for check in run.own), *_unconfigured(run.plan))
        ran = [check.verdict for check in checks if check.verdict is not Verdict.NOT_CONFIGURED]
        finished = _finished(run.effect, run.plan, overall(ran), checks, "", run.started_at, now)
        return run.effect.task, replace(finished, result=replace(finished.result, share=run.share))

    # --- Whose failure it is ------------------------------------------------------------------------------------

    @property
    def red(self) -> dict[str, str]:
        """The checks that were last seen to fail on a base, each with that commit; empty once something landed."""
        return dict(self._red)

    def landed(self) -> None:
        """The branch stands at a commit that every check passed on."""
        self._red = {}

    def _control(self, run: _Run, now: float) -> bool:
        """Have what failed run on the base, where that is not known yet; True if something is asked for."""
        effect = run.effect
        if effect.gate is Gate.INTEGRATION or not effect.base or run.controls:
            return False
        failed = {check.name for check in run.own if check.verdict is Verdict.FAILED}
        for check in (check for part in list(run.parts.values()) for check in part.checks):
            key = _key(effect, check)
            if check.name in failed and key not in self._on_base:
                vector = {**effect.vector, check.repo: effect.base}
                number = len(run.controls) + 1
                part = RunGate(run=f"{effect.run}/base{number}", gate=effect.gate, checks=(check,), vector=vector)
                run.parts[part.run], run.controls[part.run] = part, key
                run.ask_at[part.run] = now
        return bool(run.controls)

    def _remember(self, key: _Key, result: CheckResult) -> None:
        if result.verdict is Verdict.COULD_NOT_RUN:
            return  # says nothing about the commit; it is tried anew the next time
        self._on_base[key] = result
        if len(self._on_base) > REMEMBERED:
            self._on_base.popitem(last=False)
        self._red.pop(result.name, None)
        if result.verdict is Verdict.FAILED:
            self._red[result.name] = key[0]

    def _beside_base(self, run: _Run, result: CheckResult) -> CheckResult:
        check = next(check for part in run.parts.values() for check in part.checks if check.name == result.name)
        base = self._on_base.get(_key(run.effect, check)) if result.verdict is Verdict.FAILED else None
        if base is None or run.effect.gate is Gate.INTEGRATION:
            return result
        there = set(base.tests.failing) if base.tests else set()
        both = tuple(name for name in (result.tests.failing if result.tests else ()) if name in there)
        return replace(result, on_base=base.verdict, failing_on_base=both)

    # --- Parts --------------------------------------------------------------------------------------------------

    def _owner(self, part: str) -> _Run | None:
        return self._runs.get(part.rpartition("/")[0])


def _parts(effect: i.RunChecks, plan: GatePlan, chosen: tuple[Check, ...]) -> list[RunGate]:
    groups = [chosen] if effect.gate is Gate.INTEGRATION else [(check,) for check in chosen]
    return [
        RunGate(
            run=f"{effect.run}/{number}",
            gate=effect.gate,
            checks=checks,
            vector=effect.vector,
            fixture=plan.fixture,
            tree=effect.tree,
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
