"""The simulator: all promises hold whatever goes wrong, and without one of its safeguards Thrum breaks one."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.simulation import Broken, Plan, Simulation
from tests.simulation.mutations import ledger_without_dedup, ledger_without_fence, store_without_sync
from thrum.messages.people import AddTask

CHAOS_S = 80.0


@pytest.mark.parametrize("first", range(0, 24, 6))
def test_every_promise_holds_whatever_dies_and_whatever_the_bus_does(first: int) -> None:
    happened: Counter[str] = Counter()
    for seed in range(first, first + 6):
        run = Simulation(Plan(seed=seed, chaos_s=CHAOS_S))
        run.run()
        happened += run.world.counts
        assert run.promises.tasks["a"]
    assert all(happened[what] > 5 for what in ("dropped", "doubled", "late"))
    assert happened["deaths"] > 100


def test_without_chaos_every_task_merges() -> None:
    run = Simulation(Plan(seed=1, chaos_s=0.0))
    for repo in "abaab":
        run.people[0].ask(repo, AddTask(by="ann", title="a task"))
    run.run()
    states = [task.state.value for tasks in run.promises.tasks.values() for task in tasks.values()]
    assert states == ["merged"] * 5
    assert run.world.counts == {}


@pytest.mark.parametrize(
    ("without", "promise"),
    [
        pytest.param({"make_ledger": ledger_without_dedup}, "were added", id="dedup"),
        pytest.param({"make_ledger": ledger_without_fence}, "worker made|its start", id="fence"),
        pytest.param({"open_store": store_without_sync}, "which was acknowledged", id="sync"),
    ],
)
def test_without_a_safeguard_a_promise_breaks(without: dict[str, Any], promise: str) -> None:
    broken = []
    for seed in range(12):
        try:
            # Long enough that rare meetings, as that of a late report with the next attempt, come about.
            Simulation(Plan(seed=seed, chaos_s=4 * CHAOS_S, rest_s=300.0, **without)).run()
        except Broken as error:
            broken.append(str(error))
            if re.search(promise, broken[-1]):
                assert f"seed {seed}:" in broken[-1]
                assert "the last steps:" in broken[-1]
                return
    pytest.fail(f"nobody noticed; what broke was: {[text.splitlines()[0] for text in broken]}")


REPLAY = """
import hashlib, sys
from tests.simulation import Plan, Simulation
run = Simulation(Plan(seed=int(sys.argv[1]), chaos_s=60.0))
run.run()
print(len(run.world.trace), hashlib.sha256("\\n".join(run.world.trace).encode()).hexdigest())
"""


def test_a_seed_replays_exactly_in_another_process_with_other_hashes() -> None:
    run = Simulation(Plan(seed=3, chaos_s=60.0))
    run.run()
    here = f"{len(run.world.trace)} {hashlib.sha256(chr(10).join(run.world.trace).encode()).hexdigest()}"
    path = os.pathsep.join([str(Path(__file__).parent.parent), *filter(None, sys.path)])
    for hash_seed in ("1", "2"):
        there = subprocess.run(
            [sys.executable, "-c", REPLAY, "3"],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert there.stdout.strip() == here
