"""Virtual time, chance, and the trace of what happened. Nothing here knows what runs in it."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable

FAR = float("inf")


class Killed(Exception):
    """The process that was at work is dead; `power`: its machine with all that is on it."""

    def __init__(self, point: str, *, power: bool = False) -> None:
        super().__init__(point)
        self.point = point
        self.power = power


class World:
    """The clock, the queue of what happens next, and the dice. `faulty` says whether things go wrong."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.now = 1_000_000.0
        self.faulty = True
        self.trace: list[str] = []
        self.counts: Counter[str] = Counter()
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def at(self, when: float, action: Callable[[], None]) -> None:
        """Have it happen then; of two at the same time the one asked for first comes first."""
        self._count += 1
        heapq.heappush(self._queue, (max(when, self.now), self._count, action))

    def after(self, delay_s: float, action: Callable[[], None]) -> None:
        """Have it happen after a while."""
        self.at(self.now + delay_s, action)

    def run(self, until: float) -> None:
        """Let everything happen that is due by then."""
        while self._queue and self._queue[0][0] <= until:
            self.now, _, action = heapq.heappop(self._queue)
            action()
        self.now = until

    def unlucky(self, probability: float) -> bool:
        """Whether a misfortune of that probability strikes now; never once the faults have stopped."""
        return self.faulty and self.rng.random() < probability

    def between(self, low_s: float, high_s: float) -> float:
        """A duration."""
        return self.rng.uniform(low_s, high_s)

    def note(self, text: str) -> None:
        """Put a step on the trace."""
        self.trace.append(f"{self.now - 1_000_000.0:9.3f} {text}")

    def happened(self, what: str) -> None:
        """Count a misfortune."""
        self.counts[what] += 1
