"""A pytest plugin that runs a share of the tests. It is put into the sandbox as it is: standard library only.

`THRUM_SAMPLE` holds `START RATIO`, both from 0 to 1. Each test has its place on a circle by the hash of its id; those
from START on, RATIO of the way around, are run, and at least the nearest one.
"""

from __future__ import annotations

import hashlib
import os
from typing import Any


def place(test: str) -> float:
    """Where on the circle a test has its place, from 0 up to 1."""
    return int.from_bytes(hashlib.sha256(test.encode()).digest()[:6], "big") / 2**48


def chosen(tests: list[str], start: float, ratio: float) -> set[str]:
    """Those that are to run."""
    distances = {test: (place(test) - start) % 1.0 for test in tests}
    near = {test for test, distance in distances.items() if distance < ratio}
    return near or set(sorted(distances, key=lambda test: distances[test])[:1])


def pytest_collection_modifyitems(config: Any, items: list[Any]) -> None:
    """Deselect the others, as pytest calls it."""
    start, ratio = map(float, os.environ["THRUM_SAMPLE"].split())
    run = chosen([item.nodeid for item in items], start, ratio)
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in run])
    items[:] = [item for item in items if item.nodeid in run]
