"""When `thrum run` is over, and with which exit code: the pure part, over reports of the scheduler."""

from __future__ import annotations

from typing import Any

import pytest

from thrum.cli.remaining import Remaining, moving, remaining
from thrum.errors import Exit


def report(**changed: Any) -> dict[str, Any]:
    empty: dict[str, Any] = {name: [] for name in ("running", "startable", "landable", "open", "missing", "failed")}
    return {**empty, "waiting": {}, "states": {}, "spent_usd": 0.0, **changed}


def task(id: str, state: str, waiting_for: str = "none", **changed: Any) -> dict[str, Any]:
    return {
        "id": id, "state": state, "waiting_for": waiting_for, "reason": "", "depends_on": [], "changed_at": 100.0,
        **changed,
    }  # fmt: skip


def alone(repo: str) -> tuple[str, ...]:
    return (repo,)


def left(found: dict[str, Any], *tasks: dict[str, Any], away: dict[str, str] | None = None) -> Remaining:
    return remaining(found, tasks, since=50.0, away=away or {}, set_of=alone)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (report(), set()),
        (report(running=["a-1"], open=["a-1"]), {"a-1"}),
        (report(startable=["a-1"], open=["a-1"], waiting={"a-1": ["slot", ""]}), {"a-1"}),
        (report(landable=["a-1"], open=["a-1"], waiting={"a-1": ["landing", ""]}), {"a-1"}),
        (report(open=["a-1"], waiting={"a-1": ["quota", ""]}), {"a-1"}),
        # The pause before a candidate is built anew.
        (report(running=["a-1"], open=["a-1"], waiting={"a-1": ["landing", ""]}), {"a-1"}),
        # A gate that runs again without a slot.
        (report(open=["a-1"]), {"a-1"}),
        # A cancelled task whose attempt is still being ended.
        (report(running=["a-1"]), {"a-1"}),
        (report(running=["a-1"], open=["a-1"], waiting={"a-1": ["clean-checkout", ""]}), set()),
        (report(open=["a-1"], waiting={"a-1": ["operator", ""]}), set()),
        # Another host is away: for a candidate, and for the lock that is asked for there.
        (report(running=["a-1"], open=["a-1"], waiting={"a-1": ["host", ""]}), set()),
        (report(landable=["a-1"], open=["a-1"], waiting={"a-1": ["host", ""]}), set()),
        (report(open=["a-1"], waiting={"a-1": ["approval", ""]}), set()),
        (report(open=["a-1"], waiting={"a-1": ["dependency", "a-2 is failed"]}), set()),
        (report(open=["a-1"], waiting={"a-1": ["budget", ""]}), set()),
        (report(running=["gone-1"], open=["gone-1"]), set()),
    ],
)
def test_a_run_goes_on_while_something_moves_without_a_person(found: dict[str, Any], expected: set[str]) -> None:
    assert moving(found, away=["gone"], set_of=alone) == expected


def test_a_landing_that_waits_for_a_person_holds_up_the_others_of_its_set() -> None:
    def pair(_: str) -> tuple[str, ...]:
        return ("a", "b")

    found = report(
        running=["a-1"],
        landable=["b-1"],
        open=["a-1", "b-1"],
        waiting={"a-1": ["clean-checkout", "dirty"], "b-1": ["landing", ""]},
    )
    assert moving(found, away=[], set_of=pair) == set()
    assert moving(found, away=[], set_of=alone) == {"b-1"}
    rest = remaining(found, [task("b-1", "approved", "landing")], since=0, away={}, set_of=pair)
    assert rest.operator == {"b-1": "a-1 has to land first"}


def test_nothing_left_is_done() -> None:
    assert left(report(states={"merged": 3})).exit_code is Exit.DONE
    assert left(report(states={"merged": 3}), task("a-1", "cancelled")).states == {"cancelled": 1, "merged": 3}


def test_only_what_failed_in_this_run_fails_it() -> None:
    assert left(report(), task("a-1", "failed", changed_at=49.0)).exit_code is Exit.DONE
    assert left(report(), task("a-1", "failed", changed_at=51.0)).exit_code is Exit.FAILED


def test_what_waits_for_an_operator_outweighs_approval() -> None:
    waits = {"a-1": ["approval", ""], "a-2": ["operator", ""]}
    stalled = task("a-2", "gate1", "operator", reason="z3")
    rest = left(report(waiting=waits), task("a-1", "awaiting-approval", "approval"), stalled)
    assert (rest.exit_code, rest.approval, rest.operator) == (Exit.FAILED, {"a-1": ""}, {"a-2": "z3"})
    rest = left(report(), task("a-3", "approved", "host", reason="repo.b does not answer"))
    assert (rest.exit_code, rest.operator) == (Exit.FAILED, {"a-3": "repo.b does not answer"})


def test_dependants_of_what_awaits_approval_are_waiting_too() -> None:
    rest = left(
        report(waiting={"a-2": ["dependency", "a-1 is awaiting-approval"]}),
        task("a-1", "awaiting-approval", "approval"),
        task("a-2", "pending", "dependency", depends_on=["a-1"]),
    )
    assert (rest.exit_code, list(rest.dependency)) == (Exit.AWAITING_APPROVAL, ["a-2"])


def test_a_failed_task_blocks_all_that_stand_behind_it() -> None:
    rest = left(
        report(),
        task("a-1", "failed", changed_at=1.0),
        task("a-2", "pending", "dependency", depends_on=["a-1"]),
        task("a-3", "pending", "dependency", depends_on=["a-0", "a-2"]),
    )
    assert rest.blocked == {"a-2": "a-1 is failed", "a-3": "a-1 is failed"}
    assert rest.exit_code is Exit.FAILED


def test_the_budget_has_an_exit_code_of_its_own() -> None:
    waits = {"a-1": ["budget", "$2.00 of $1.00 is spent"], "a-2": ["approval", ""]}
    rest = left(report(waiting=waits), task("a-1", "pending", "slot"), task("a-2", "awaiting-approval", "approval"))
    assert (rest.exit_code, rest.budget) == (Exit.BUDGET, {"a-1": "$2.00 of $1.00 is spent"})


def test_a_repository_that_is_away_is_never_done() -> None:
    assert left(report(), away={"a": "its store is damaged"}).exit_code is Exit.FAILED


def test_what_nobody_expected_is_not_done_either() -> None:
    assert left(report(), task("a-1", "gate1")).exit_code is Exit.TRY_LATER
