"""Thrum with one of its safeguards taken out: the simulator must notice. Used by the tests of the simulator alone."""

from __future__ import annotations

from dataclasses import replace

from thrum.actors.ledger import Ledger
from thrum.actors.setup import Setup
from thrum.batch import Batch, Loaded
from thrum.messages import kinds as m
from thrum.store import MemoryRows, Store


class WithoutDedup(Ledger):
    """A ledger that remembers neither which commands it answered nor how far it is in a stream."""

    def _command(self, header: m.Header, body: m.Command, now: float) -> None:
        self._answer(header, lambda: self._obey(header, body, now), keep_at=now)

    def receive(self, envelope: m.Envelope, now: float) -> None:
        body = envelope.body
        if isinstance(body, m.Durable):
            self._landings.streams.marks[f"{envelope.header.source}/{body.stream}"] = body.seq - 1
        super().receive(envelope, now)


class WithoutFence(Ledger):
    """A ledger that takes each report of a task for one of its present attempt."""

    def _attempt_reported(self, header: m.Header, body: m.AttemptReported) -> None:
        task = self.tasks.get(body.task)
        if task is not None and task.attempt is not None:
            body = replace(body, token=task.attempt.token)
        super()._attempt_reported(header, body)


class WithoutSync(Store):
    """A store that leaves it to the machine when to write."""

    def write(self, *batches: Batch, sync: bool = True) -> None:
        super().write(*batches, sync=False)


def ledger_without_dedup(setup: Setup, loaded: Loaded, epoch: str) -> Ledger:
    return WithoutDedup(setup, loaded, epoch=epoch)


def ledger_without_fence(setup: Setup, loaded: Loaded, epoch: str) -> Ledger:
    return WithoutFence(setup, loaded, epoch=epoch)


def store_without_sync(rows: MemoryRows, repo: str) -> Store:
    return WithoutSync(rows, repo=repo, epoch=f"store-{repo}")
