"""What a repo actor tells the scheduler: what changed, numbered, and by and by that it lives. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from thrum.messages.schedule import Announced
from thrum.task import Task

from .people import summary
from .setup import Setup

ANNOUNCE_S = 5.0


class Announcements:
    """Puts the announcements of one life of a repo actor together."""

    def __init__(self, setup: Setup, epoch: str) -> None:
        """`epoch` names that life."""
        self._setup = setup
        self._epoch = epoch
        self._seq = 0
        self._changed: dict[str, Task] = {}
        self._fault = ""
        self.next_at = 0.0
        """When to announce again even if nothing changes."""

    def note(self, task: Task) -> None:
        """A task has changed."""
        self._changed[task.id] = task

    def due(self, fault: str) -> bool:
        """Whether there is something new to tell; `fault` is why nothing begins in the repository now."""
        return bool(self._changed) or fault != self._fault

    def next(self, fault: str, now: float, every: Iterable[Task] | None = None) -> Announced:
        """The next announcement: of what changed since the last one, or of `every` task there is."""
        tasks = self._changed.values() if every is None else every
        self._changed, self._fault = {}, fault
        self._seq += 1
        self.next_at = now + ANNOUNCE_S
        return Announced(
            repo=self._setup.repo,
            epoch=self._epoch,
            seq=self._seq,
            snapshot=every is not None,
            tasks=tuple(summary(task) for task in tasks),
            concurrency=self._setup.concurrency,
            fault=fault,
        )
