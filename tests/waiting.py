"""Waiting in tests: for a condition, never for a time."""

from __future__ import annotations

import threading
from collections.abc import Callable

DEADLINE_S = 120.0
"""Long enough for a machine that does much else."""


def until(condition: Callable[[], object], deadline_s: float = DEADLINE_S) -> None:
    """Wait until the condition holds."""
    pause = threading.Event()
    for _ in range(int(deadline_s / 0.02)):
        if condition():
            return
        pause.wait(0.02)
    raise AssertionError("it did not come true in time")
