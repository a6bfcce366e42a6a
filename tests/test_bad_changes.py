"""Seeded changes by a scripted agent, all at once: bad ones are stopped where they should be, good ones land."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import pytest

from tests.changes import Change
from tests.changes.bad import BAD
from tests.changes.bad_proofs import BAD_PROOFS
from tests.changes.course import Course, course
from tests.changes.example import EXAMPLE_BAD, EXAMPLE_GOOD, GROUND
from tests.changes.good import good_changes
from tests.requirements import missing, needs

pytestmark = [needs("bwrap", "z3", "rocq"), pytest.mark.timeout(900)]

ALL_BAD = (*BAD, *BAD_PROOFS)
SEEDED = tuple(change for change in ALL_BAD if not change.needs or not missing(change.needs))
"""Those that this machine survives; the tests of the others are skipped with the reason, or fail where all must run."""
GOOD = good_changes(2)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Course]:
    with course(tmp_path_factory.mktemp("changes") / "project", (*GOOD, *SEEDED)) as ran:
        yield ran


@pytest.mark.parametrize(
    "change",
    [pytest.param(one, id=one.name, marks=[needs(one.needs)] if one.needs else []) for one in ALL_BAD],
)
def test_a_bad_change_is_stopped(ran: Course, change: Change) -> None:
    end = ran.ends[change.name]
    assert not ran.on_the_branch(change), f"it is on the branch: {end.told}"
    assert end.stopped == change.stopped, end.told
    assert change.said in end.said, end.told


@pytest.mark.parametrize("change", GOOD, ids=lambda change: change.name)
def test_a_good_change_lands(ran: Course, change: Change) -> None:
    end = ran.ends[change.name]
    assert end.state == "merged", end.told
    assert ran.on_the_branch(change)
    assert end.was_held is change.protected


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Course]:
    with course(tmp_path_factory.mktemp("example") / "project", (*EXAMPLE_GOOD, *EXAMPLE_BAD), ground=GROUND) as ran:
        yield ran


@pytest.mark.parametrize("change", EXAMPLE_BAD, ids=lambda change: change.name)
def test_a_bad_change_to_an_example_is_stopped(example: Course, change: Change) -> None:
    test_a_bad_change_is_stopped(example, change)


@pytest.mark.parametrize("change", EXAMPLE_GOOD, ids=lambda change: change.name)
def test_a_good_change_to_an_example_lands(example: Course, change: Change) -> None:
    test_a_good_change_lands(example, change)


def test_there_are_enough_bad_changes() -> None:
    assert len({change.name for change in ALL_BAD}) >= 40
    assert len({change.name for change in (*GOOD, *SEEDED)}) == len(GOOD) + len(SEEDED)
    assert len(good_changes(6)) == 40


def test_nothing_but_what_landed_is_on_the_branches(ran: Course) -> None:
    for repo in ran.repos:
        landed = {end.task["commits"]["landed"] for end in ran.ends.values() if end.repo == repo} - {None}
        assert ran.landings(repo) == landed


def test_no_bad_change_left_anything_behind(ran: Course) -> None:
    assert not ran.planted.exists()
    assert not [p.pid for p in psutil.process_iter(["cmdline"]) if ran.sleep in (p.info["cmdline"] or ())]
    names = ("left-by-a-check", "outside")
    # In its own checkout a check may write; that is cleaned before the next.
    assert not [path for path in ran.directory.rglob("*") if path.name in names and "tree" not in path.parts]
