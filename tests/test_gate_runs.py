"""The gate runs under way in a repository: asked for until answered, and put together from their parts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from thrum import inputs as i
from thrum.actors.gate_runs import ASK_AGAIN_S, GatePlan, GateRuns
from thrum.actors.setup import plan_of
from thrum.config import (
    GatesConfig,
    IntegrationConfig,
    PipelineConfig,
    Project,
    RepoConfig,
    SandboxConfig,
    StepConfig,
)
from thrum.gate import Check, CheckResult, Gate, Obligations, Tally, Verdict
from thrum.messages.gates import GateReported, RunGate

CHECKS = tuple(Check(name=name, command=name, repo="a") for name in ("fmt", "lint", "test"))
PASSED, FAILED, COULD_NOT = Verdict.PASSED, Verdict.FAILED, Verdict.COULD_NOT_RUN


def runs(**plan: Any) -> GateRuns:
    made = GatePlan(**{"checks": CHECKS, "definition": "d", **plan})
    return GateRuns(dict.fromkeys((Gate.QUALITY, Gate.PROOF, Gate.INTEGRATION), made))


def wanted(gate: Gate = Gate.QUALITY, attempt: int = 1) -> i.RunChecks:
    return i.RunChecks(
        task="a-1", run=f"a-1/1/{gate}", gate=gate, attempt=attempt, commit="c", tree="t", vector={"a": "c"}
    )


def report(part: RunGate, *verdicts: Verdict) -> GateReported:
    """A report with these verdicts on the first of the part's checks."""
    results = (CheckResult(name=c.name, verdict=v) for c, v in zip(part.checks, verdicts, strict=False))
    return GateReported(run=part.run, checks=tuple(results))


def test_each_check_is_a_part_of_its_own_and_the_last_answer_completes_the_run() -> None:
    gate_runs = runs(unconfigured=("build",))
    assert gate_runs.begin(wanted(), 0.0) is None
    parts = gate_runs.due(0.0)
    assert [part.checks for part in parts] == [(check,) for check in CHECKS]
    assert len({part.run for part in parts}) == 3
    assert gate_runs.report(report(parts[2], PASSED), 1.0) is None
    assert gate_runs.report(report(parts[0], PASSED), 2.0) is None
    finished = gate_runs.report(report(parts[1], FAILED), 3.0)
    assert finished is not None
    task, ended = finished
    assert (task, ended.run, ended.result.verdict) == ("a-1", "a-1/1/quality", FAILED)
    assert [check.name for check in ended.result.checks] == ["fmt", "lint", "test", "build"]
    assert (ended.result.commit, ended.result.tree, ended.result.definition) == ("c", "t", "d")
    assert gate_runs.report(report(parts[1], FAILED), 4.0) is None


def test_the_steps_of_a_pipeline_stay_together_and_tell_what_they_ran_on() -> None:
    gate_runs = runs()
    gate_runs.begin(wanted(Gate.INTEGRATION, attempt=0), 0.0)
    [part] = gate_runs.due(0.0)
    assert part.checks == CHECKS
    finished = gate_runs.report(report(part, PASSED, PASSED, PASSED), 1.0)
    assert finished is not None
    assert (finished[1].result.verdict, finished[1].result.vector) == (PASSED, {"a": "c"})


@pytest.mark.parametrize("verdict", [FAILED, COULD_NOT])
def test_a_pipeline_is_whole_once_a_step_has_not_passed(verdict: Verdict) -> None:
    gate_runs = runs()
    gate_runs.begin(wanted(Gate.INTEGRATION, attempt=0), 0.0)
    [part] = gate_runs.due(0.0)
    finished = gate_runs.report(report(part, PASSED, verdict), 1.0)
    assert finished is not None
    assert finished[1].result.verdict is verdict


@pytest.mark.parametrize("gate", [Gate.QUALITY, Gate.INTEGRATION])
@pytest.mark.parametrize("told", [(), (PASSED,), (PASSED, PASSED)])
def test_a_report_that_leaves_checks_out_opens_no_gate_and_is_asked_for_again(
    gate: Gate, told: tuple[Verdict, ...]
) -> None:
    gate_runs = runs(checks=CHECKS[:1] if gate is Gate.QUALITY else CHECKS)
    gate_runs.begin(wanted(gate), 0.0)
    [part] = gate_runs.due(0.0)
    short = report(part, *(told if gate is Gate.INTEGRATION else ()))
    assert gate_runs.report(short, 1.0) is None
    assert gate_runs.due(1.4) == []
    assert gate_runs.due(1.5) == [part]


def test_a_report_on_other_checks_counts_for_nothing() -> None:
    gate_runs = runs(checks=CHECKS[:1])
    gate_runs.begin(wanted(), 0.0)
    [part] = gate_runs.due(0.0)
    others = (CheckResult(name="another", verdict=PASSED),)
    assert gate_runs.report(GateReported(run=part.run, checks=others), 1.0) is None


def test_a_part_is_asked_for_again_when_nothing_is_heard_of_it() -> None:
    gate_runs = runs(checks=CHECKS[:1])
    gate_runs.begin(wanted(), 0.0)
    [part] = gate_runs.due(0.0)
    assert gate_runs.next_at() == ASK_AGAIN_S
    gate_runs.heard(part.run, "gate.1", 15.0)
    assert gate_runs.due(ASK_AGAIN_S) == []
    assert gate_runs.due(15.0 + ASK_AGAIN_S) == [part]
    gate_runs.ask_soon(part.run, 36.0)
    assert gate_runs.due(36.0) == [part]
    gate_runs.ask_soon("unknown/1", 0.0)


def test_to_begin_a_run_again_changes_nothing() -> None:
    gate_runs = runs()
    gate_runs.begin(wanted(), 0.0)
    assert len(gate_runs.due(0.0)) == 3
    gate_runs.begin(wanted(), 1.0)
    assert gate_runs.due(1.0) == []


def test_a_run_that_is_dropped_tells_who_is_at_it_and_takes_no_report() -> None:
    gate_runs = runs()
    gate_runs.begin(wanted(), 0.0)
    parts = gate_runs.due(0.0)
    for part in parts[:2]:
        gate_runs.heard(part.run, f"gate of {part.run}", 1.0)
    gate_runs.report(report(parts[0], PASSED), 2.0)
    assert gate_runs.drop("a-1/1/quality") == {parts[1].run: f"gate of {parts[1].run}"}
    assert gate_runs.drop("a-1/1/quality") == {}
    assert gate_runs.report(report(parts[2], PASSED), 3.0) is None
    assert gate_runs.next_at() == float("inf")


def test_a_gate_with_nothing_to_run_is_not_configured_and_where_that_is_forbidden_could_not_run() -> None:
    open_gate = runs(checks=(), unconfigured=("fmt",)).begin(wanted(), 0.0)
    assert open_gate is not None
    assert open_gate.result.verdict is Verdict.NOT_CONFIGURED
    shut = runs(checks=(), forbidden="the target demands it").begin(wanted(), 0.0)
    assert shut is not None
    assert (shut.result.verdict, shut.result.reason) == (COULD_NOT, "the target demands it")


def test_a_share_of_the_checks_runs_before_approval_and_all_of_them_on_a_candidate() -> None:
    gate_runs = runs(ratio=0.5)
    gate_runs.begin(wanted(), 0.0)
    parts = gate_runs.due(0.0)
    assert len(parts) == 2
    finished = [gate_runs.report(report(part, PASSED), 1.0) for part in parts][-1]
    assert finished is not None
    assert finished[1].result.share == pytest.approx(2 / 3)
    gate_runs.begin(wanted(attempt=0), 2.0)
    assert len(gate_runs.due(2.0)) == 3


@pytest.mark.parametrize(("told", "share"), [(0.3, 0.65), (1.0, 1.0)])
def test_the_share_is_what_ran_and_a_sample_never_counts_as_all(told: float, share: float) -> None:
    checks = tuple(Check(name=name, command=name, repo="a") for name in ("lint", "pytest"))
    gate_runs = GateRuns({Gate.QUALITY: GatePlan(checks=checks, ratio=0.9)})
    gate_runs.begin(wanted(), 0.0)
    for part in gate_runs.due(0.0):
        check = part.checks[0]
        result = CheckResult(name=check.name, verdict=PASSED, share=told if check.sample else 1.0)
        finished = gate_runs.report(GateReported(run=part.run, checks=(result,)), 1.0)
    assert finished is not None
    assert finished[1].result.share == pytest.approx(share)
    assert finished[1].result.share < 1.0


# --- Whose failure it is --------------------------------------------------------------------------------------------


def on(base: str, run: str = "a-1/1/quality") -> i.RunChecks:
    return i.RunChecks(
        task="a-1", run=run, gate=Gate.QUALITY, attempt=1, commit="c", tree="t", vector={"a": "c"}, base=base
    )


def failing(part: RunGate, *names: str) -> GateReported:
    tests = Tally(run=9, failed=len(names), failing=names)
    result = CheckResult(name=part.checks[0].name, verdict=FAILED, tests=tests)
    return GateReported(run=part.run, checks=(result,))


def first_answers(gate_runs: GateRuns, effect: i.RunChecks) -> list[RunGate]:
    """Have `test` fail, and the others pass; what is asked for then."""
    gate_runs.begin(effect, 0.0)
    for part in gate_runs.due(0.0):
        answer = failing(part, "t::a", "t::b") if part.checks[0].name == "test" else report(part, PASSED)
        assert gate_runs.report(answer, 1.0) is None
    return gate_runs.due(1.0)


def test_what_failed_is_run_on_the_base_too_and_its_tests_are_told_apart() -> None:
    gate_runs = runs()
    [control] = first_answers(gate_runs, on("base"))
    assert [check.name for check in control.checks] == ["test"]
    assert control.vector == {"a": "base"}
    finished = gate_runs.report(failing(control, "t::b", "t::c"), 2.0)
    assert finished is not None
    result = finished[1].result
    assert result.verdict is FAILED, "it must pass all the same"
    assert [(check.name, check.on_base) for check in result.checks] == [("fmt", None), ("lint", None), ("test", FAILED)]
    assert result.checks[-1].failing_on_base == ("t::b",)
    assert gate_runs.bases.red == {"test": "base"}


def test_the_base_is_asked_once_and_again_where_it_is_another_one() -> None:
    gate_runs = runs()
    [control] = first_answers(gate_runs, on("base"))
    gate_runs.report(report(control, PASSED), 2.0)
    assert gate_runs.bases.red == {}
    gate_runs.begin(on("base", "a-1/2/quality"), 3.0)
    answers = [gate_runs.report(report(part, FAILED), 4.0) for part in gate_runs.due(3.0)]
    assert answers[:2] == [None, None], "of fmt and lint nothing is known yet"
    others = gate_runs.due(4.0)
    assert [part.checks[0].name for part in others] == ["fmt", "lint"]
    finished = [gate_runs.report(report(part, COULD_NOT), 5.0) for part in others][-1]
    assert finished is not None
    assert [check.on_base for check in finished[1].result.checks] == [None, None, PASSED]


def test_a_landing_makes_the_branch_green() -> None:
    gate_runs = runs()
    [control] = first_answers(gate_runs, on("base"))
    gate_runs.report(report(control, FAILED), 2.0)
    assert gate_runs.bases.red == {"test": "base"}
    gate_runs.bases.landed()
    assert gate_runs.bases.red == {}


def test_a_share_that_fails_on_the_base_makes_nothing_red() -> None:
    plan = GatePlan(checks=(Check(name="test", command="pytest -q", repo="a"),), ratio=0.5)
    gate_runs = GateRuns({Gate.QUALITY: plan})
    gate_runs.begin(on("base"), 0.0)
    [part] = gate_runs.due(0.0)
    assert part.checks[0].sample is not None
    gate_runs.report(failing(part, "t::a"), 1.0)
    [control] = gate_runs.due(1.0)
    finished = gate_runs.report(failing(control, "t::a"), 2.0)
    assert finished is not None
    assert finished[1].result.checks[0].on_base is FAILED
    assert gate_runs.bases.red == {}


# --- Before any agent begins ----------------------------------------------------------------------------------------


def test_the_checks_of_gates_1_and_2_run_once_on_the_base_and_of_the_others_the_programs_are_looked_for() -> None:
    proven = Check(name="verify", command="", repo="a", prover="z3", obligations=Obligations(smt=("*.smt2",)))
    plans = {
        Gate.QUALITY: GatePlan(checks=CHECKS),
        Gate.PROOF: GatePlan(checks=(Check(name="proofs", command="make", repo="a"), proven)),
        Gate.INTEGRATION: GatePlan(checks=(Check(name="step", command="x", repo="a"),)),
    }
    gate_runs = GateRuns(plans)
    assert gate_runs.look_over("a", "base", 0.0)
    parts = gate_runs.due(0.0)
    assert all(part.probe and part.vector == {"a": "base"} for part in parts)
    assert {tuple(check.name for check in part.checks): part.rehearsal for part in parts} == {
        ("verify", "step"): False,
        ("fmt",): True,
        ("lint",): True,
        ("test",): True,
        ("proofs",): True,
    }
    answers = [
        gate_runs.report(failing(part, "t::b") if part.checks[0].name == "test" else report(part, *[PASSED] * 2), 1.0)
        for part in parts
    ]
    finished = answers[-1]
    assert finished is not None
    assert (finished[0], finished[1].result.verdict) == ("", FAILED)
    assert gate_runs.bases.red == {"test": "base"}, "as told by the base itself"


def test_what_they_said_is_not_asked_of_the_base_again() -> None:
    gate_runs = runs(checks=CHECKS[2:])
    gate_runs.look_over("a", "base", 0.0)
    [part] = gate_runs.due(0.0)
    gate_runs.report(failing(part, "t::b"), 1.0)
    gate_runs.begin(on("base"), 2.0)
    [own] = gate_runs.due(2.0)
    finished = gate_runs.report(failing(own, "t::a", "t::b"), 3.0)
    assert finished is not None
    assert finished[1].result.checks[0].failing_on_base == ("t::b",)
    gate_runs.look_over("a", "base", 4.0)
    assert [(part.probe, part.rehearsal) for part in gate_runs.due(4.0)] == [(True, False)], "looked at, not run"


# --- Order ----------------------------------------------------------------------------------------------------------


def test_a_gate_that_fails_fast_asks_for_one_check_after_the_other_and_for_none_after_a_failure() -> None:
    gate_runs = runs(fail_fast=True)
    gate_runs.begin(wanted(), 0.0)
    [fmt] = gate_runs.due(0.0)
    assert gate_runs.report(report(fmt, PASSED), 1.0) is None
    [lint] = gate_runs.due(1.0)
    assert [part.checks[0].name for part in (fmt, lint)] == ["fmt", "lint"]
    finished = gate_runs.report(report(lint, FAILED), 2.0)
    assert finished is not None
    assert [(check.name, check.verdict) for check in finished[1].result.checks] == [("fmt", PASSED), ("lint", FAILED)]


def test_a_gate_that_fails_fast_passes_only_once_all_have_passed() -> None:
    gate_runs = runs(fail_fast=True)
    gate_runs.begin(wanted(), 0.0)
    finished = [gate_runs.report(report(gate_runs.due(9.0)[0], PASSED), 9.0) for _ in CHECKS]
    assert finished[:2] == [None, None]
    assert finished[2] is not None
    assert finished[2][1].result.verdict is PASSED
    assert len(finished[2][1].result.checks) == 3


def test_cheap_checks_go_first_where_it_is_known_what_they_cost() -> None:
    gate_runs = runs(cheap_first=True)
    gate_runs.begin(wanted(), 0.0)
    costs = {"fmt": 5.0, "lint": 1.0, "test": 3.0}
    for part in gate_runs.due(0.0):
        name = part.checks[0].name
        result = CheckResult(name=name, verdict=PASSED, duration_s=costs[name])
        gate_runs.report(GateReported(run=part.run, checks=(result,)), 1.0)
    gate_runs.begin(replace(wanted(), run="a-1/2/quality"), 2.0)
    parts = gate_runs.due(2.0)
    assert [part.checks[0].name for part in parts] == ["lint", "test", "fmt"]
    finished = [gate_runs.report(report(part, PASSED), 3.0) for part in parts][-1]
    assert finished is not None
    assert [check.name for check in finished[1].result.checks] == ["fmt", "lint", "test"], "told as configured"


# --- Flaky tests ----------------------------------------------------------------------------------------------------


def flaky_runs(*on_base: tuple[str, ...], reruns: int = 1, **plan: Any) -> tuple[GateRuns, list[RunGate]]:
    """A gate whose `test` failed by `t::a`, and then on the base by these in each run; and what is asked next."""
    gate_runs = runs(flaky_reruns=reruns, checks=CHECKS[-1:], **plan)
    gate_runs.begin(on("base"), 0.0)
    [part] = gate_runs.due(0.0)
    assert gate_runs.report(failing(part, "t::a"), 1.0) is None
    controls = gate_runs.due(1.0)
    assert [control.vector for control in controls] == [{"a": "base"}] * (1 + reruns)
    for control, tests in zip(controls[:-1], on_base, strict=False):
        assert gate_runs.report(told(control, *tests), 2.0) is None
    gate_runs.report(told(controls[-1], *on_base[-1]), 2.0)
    return gate_runs, gate_runs.due(3.0)


def told(part: RunGate, *names: str) -> GateReported:
    """What a runner says of five tests of which these fail."""
    tests = Tally(run=5, failed=len(names), failing=names)
    verdict = FAILED if names else PASSED
    result = CheckResult(name=part.checks[0].name, verdict=verdict, tests=tests, fingerprint="" if names else "f")
    return GateReported(run=part.run, checks=(result,))


def test_a_check_that_failed_by_tests_known_to_be_flaky_on_the_base_is_run_again_and_told_apart_from_a_pass() -> None:
    gate_runs, [again] = flaky_runs(("t::a",), ())
    assert (again.checks, again.vector) == (CHECKS[-1:], {"a": "c"})
    finished = gate_runs.report(told(again), 4.0)
    assert finished is not None
    [check] = finished[1].result.checks
    assert (check.verdict, check.flaky, check.fingerprint) == (PASSED, ("t::a",), "")
    assert gate_runs.bases.red == {}, "now and then is not red"


def test_a_flaky_test_that_fails_again_has_failed() -> None:
    gate_runs, [again] = flaky_runs(("t::a",), ())
    finished = gate_runs.report(told(again, "t::a"), 4.0)
    assert finished is not None
    [check] = finished[1].result.checks
    assert (check.verdict, check.flaky, check.failing_on_base) == (FAILED, (), ("t::a",))


@pytest.mark.parametrize(
    "on_base",
    [((), ()), (("t::a",), ("t::a",)), (("t::b",), ())],
    ids=["never fails there", "always fails there", "another test is flaky"],
)
def test_no_other_failure_is_run_again(on_base: tuple[tuple[str, ...], ...]) -> None:
    gate_runs, again = flaky_runs(*on_base)
    assert again == []
    assert gate_runs.next_at() == float("inf"), "the run is over"


def test_a_new_failure_beside_a_flaky_one_is_final() -> None:
    gate_runs, [again] = flaky_runs(("t::a",), (), (), reruns=2)
    assert gate_runs.report(told(again, "t::a", "t::new"), 4.0) is not None
    assert gate_runs.due(4.0) == []


def test_reruns_come_to_an_end_and_the_last_may_pass() -> None:
    gate_runs, [again] = flaky_runs(("t::a",), (), (), reruns=2)
    assert gate_runs.report(told(again, "t::a"), 4.0) is None
    [last] = gate_runs.due(4.0)
    assert last.run != again.run
    finished = gate_runs.report(told(last), 5.0)
    assert finished is not None
    assert finished[1].result.checks[0].flaky == ("t::a",)


def test_what_names_not_all_of_its_failing_tests_is_not_run_again() -> None:
    gate_runs, _ = flaky_runs(("t::a",), ())
    gate_runs.begin(on("base", "a-1/2/quality"), 5.0)
    part = gate_runs.due(5.0)[-1]
    tests = Tally(run=5, failed=2, failing=("t::a",))
    result = CheckResult(name="test", verdict=FAILED, tests=tests)
    assert gate_runs.report(GateReported(run=part.run, checks=(result,)), 6.0) is not None


def test_a_flaky_test_of_one_base_is_known_on_the_next_one_too() -> None:
    gate_runs, [again] = flaky_runs(("t::a",), ())
    gate_runs.report(told(again), 4.0)
    gate_runs.begin(on("later base", "a-2/1/quality"), 5.0)
    [part] = gate_runs.due(5.0)
    gate_runs.report(told(part, "t::a"), 6.0)
    for control in gate_runs.due(6.0):
        gate_runs.report(told(control), 7.0)
    [again] = gate_runs.due(7.0)
    assert again.vector == {"a": "c"}


def test_a_gate_that_fails_fast_goes_on_after_a_flaky_failure_that_passed_again() -> None:
    gate_runs = runs(fail_fast=True, flaky_reruns=1, checks=(CHECKS[-1], CHECKS[0]))
    gate_runs.begin(on("base"), 0.0)
    [test] = gate_runs.due(0.0)
    gate_runs.report(told(test, "t::a"), 1.0)
    for control, names in zip(gate_runs.due(1.0), (("t::a",), ()), strict=True):
        gate_runs.report(told(control, *names), 2.0)
    [again] = gate_runs.due(2.0)
    assert gate_runs.report(told(again), 3.0) is None
    [fmt] = gate_runs.due(3.0)
    assert fmt.checks[0].name == "fmt"
    finished = gate_runs.report(report(fmt, PASSED), 4.0)
    assert finished is not None
    assert finished[1].result.verdict is PASSED


def test_without_reruns_the_base_is_asked_once_and_a_flaky_failure_is_a_failure() -> None:
    _, again = flaky_runs((), reruns=0)
    assert again == []


# --- What a result depends on ---------------------------------------------------------------------------------------


def test_whatever_a_result_depends_on_beside_the_commit_is_a_part_of_its_gates_definition() -> None:
    repo = RepoConfig(name="a", path="/a", setup_cmd="install", test_cmd="test")
    step = StepConfig(repo="a", label="fuse", command="fuse {fixture}")

    def definition(gate: Gate, *, fixture: str = "/f", sandbox: dict[str, Any] | None = None, **of_repo: Any) -> str:
        gates = GatesConfig(integration=IntegrationConfig(fixture=fixture, steps=(step,)))
        pipeline = PipelineConfig(gates=gates, sandbox=SandboxConfig(**(sandbox or {})))
        changed = replace(repo, **of_repo)
        return plan_of(Project(directory="/p", repos=(changed,), pipeline=pipeline), changed, gate).definition

    told = [
        definition(Gate.QUALITY),
        definition(Gate.QUALITY, setup_files=("deps.lst",)),
        definition(Gate.QUALITY, setup_cmd="install more"),
        definition(Gate.QUALITY, sandbox={"setup_network": False}),
        definition(Gate.QUALITY, mount_paths=("/opt/x",)),
        definition(Gate.INTEGRATION),
        definition(Gate.INTEGRATION, fixture="/g"),
    ]
    assert len(set(told)) == len(told)
    assert definition(Gate.QUALITY, fixture="/g") == told[0], "the fixture is of no concern to the other gates"
