"""An agent worker's process: one slot of a repository, its warm clone, and one attempt at a time in it.

A worker writes no refs and decides nothing; how an attempt is run is the slot's affair (`slot`). Whatever kills a
worker, the next one in its slot harvests what the attempt left and reports it. It outlives its repo actor, but not
its supervisor.
"""

from __future__ import annotations

import logging
import os
import sys
import time

from thrum.config import RepoConfig
from thrum.errors import NotFoundError
from thrum.files import Lock, text_of
from thrum.messages import Envelope, Reply
from thrum.messages.attempts import (
    AttemptAcknowledged,
    AttemptHeartbeat,
    AttemptReported,
    GetPrinted,
    RunAttempt,
    StopAttempt,
)
from thrum.messages.control import Undeliverable
from thrum.messages.topics import AgentOutput
from thrum.sandbox.process import StopEvent
from thrum.task import AttemptEnding
from thrum.wire import Dealer

from . import base
from .background import Background
from .slot import Slot, directory_of

log = logging.getLogger(__name__)

HEARTBEAT_S = 3.0
REPORT_AGAIN_S = 2.0
IDLE_S = 120.0
ALONE_S = 60.0
"""How long a worker goes on without its repo actor."""
BEHIND_BYTES = 1024 * 1024
"""How far those who listen may be behind what an agent prints."""
PIECES = 8
"""How many pieces of output are passed on before messages are looked at."""


class WorkerActor:
    """A worker as a process."""

    done = False

    def __init__(self, told: base.Situation, dealer: Dealer) -> None:
        repo, self._number = _slot_of(told)
        self._dealer = dealer
        self._repo = f"repo.{repo.name}"
        self._slot = Slot(told, repo, self._number)
        self._thread = Background[AttemptReported]()
        self._stop = StopEvent()
        self._asked: RunAttempt | None = None
        self._report: AttemptReported | None = None
        self._acknowledged = ("", 0)
        self._offset = 0
        self._beat_at = 0.0
        self._report_at = float("inf")
        self._idle_since = time.time()
        self._seen_at = time.time()
        self._pong = ""
        self._beats: set[str] = set()
        self._missed = False
        self._ending = False

    def start(self, now: float) -> None:
        """Finish what the slot was last doing."""
        journal = self._slot.journal()
        if journal is None:
            return
        self._asked = journal.asked
        if journal.report is not None:
            self._send_report(journal.report, now)
        else:
            self._offset = self._slot.printed.total_bytes
            self._thread.submit(lambda: self._slot.salvage(journal))

    def step(self, envelopes: list[Envelope], now: float) -> None:
        reports = self._thread.outcomes()
        self._pass_output_on()
        for report in reports:
            self._send_report(report, now)
        for envelope in envelopes:
            self._receive(envelope, now)
        if self._report is not None and now >= self._report_at:
            self._send_report(self._report, now)
        if now >= self._beat_at:
            self._beat(now)
        self._consider_ending(now)

    def next_at(self) -> float:
        return min(self._beat_at, self._report_at)

    def wake_fds(self) -> tuple[int, ...]:
        return (self._thread.fd,)

    def standing(self) -> tuple[tuple[str, ...], int, tuple[str, ...]]:
        return (), 0, ()

    def stop(self, now: float) -> None:
        """End the attempt; its report waits in the journal if nobody takes it now."""
        self._ending = True
        self._stop.set()

    def close(self) -> None:
        self._stop.set()
        self._thread.close(deadline_s=15.0)
        self._slot.close()

    # --- Messages -----------------------------------------------------------------------------------------------

    def _receive(self, envelope: Envelope, now: float) -> None:
        body = envelope.body
        match body:
            case RunAttempt():
                self._run(body, now)
            case StopAttempt():
                self._stop_attempt(body, now)
            case AttemptAcknowledged():
                if self._report is not None and (self._report.task, self._report.token) == (body.task, body.token):
                    self._slot.clear()
                    self._asked = self._report = None
                    self._acknowledged = (body.task, body.token)
                    self._report_at, self._idle_since = float("inf"), now
                    self._beat(now)
            case GetPrinted():
                self._dealer.send(envelope.header.sender, self._printed(body), correlation=envelope.header.id)
            case Undeliverable():
                self._missed = self._missed or envelope.header.correlation in self._beats
            case _:
                pass

    def _run(self, body: RunAttempt, now: float) -> None:
        # An order that was still on its way when its report was acknowledged would be paid for twice.
        if self._asked is None and not self._stop.is_set() and (body.task, body.token) != self._acknowledged:
            self._asked = body
            self._offset = 0
            self._thread.submit(lambda: self._slot.run(body, self._stop, self._wake))
        if self._report is not None:
            self._send_report(self._report, now)
        self._beat(now)

    def _stop_attempt(self, body: StopAttempt, now: float) -> None:
        if self._asked is None:
            # It never came to us, or is over and forgotten: its slot must be freed all the same.
            stopped = AttemptEnding.STOPPED.value
            self._dealer.send(self._repo, AttemptReported(task=body.task, token=body.token, ending=stopped))
        elif (self._asked.task, self._asked.token) == (body.task, body.token) and self._report is None:
            self._stop.set()
        self._beat(now)

    def _send_report(self, report: AttemptReported, now: float) -> None:
        self._report, self._report_at = report, now + REPORT_AGAIN_S
        if not self._ending:
            self._stop.clear()
        self._dealer.send(self._repo, report, attempt=report.token)

    def _beat(self, now: float) -> None:
        """Say what we do, and take note whether there was somebody to hear the last one."""
        if self._dealer.pong != self._pong and not self._missed:
            self._seen_at = now
        self._pong, self._missed = self._dealer.pong, False
        asked = self._asked
        beat = AttemptHeartbeat(
            slot=int(self._number), task=asked.task if asked else "", token=asked.token if asked else 0
        )
        self._beats = {self._dealer.send(self._repo, beat, ttl_s=HEARTBEAT_S)}
        self._beat_at = now + HEARTBEAT_S

    def _consider_ending(self, now: float) -> None:
        if now - self._seen_at > ALONE_S:
            log.warning("the repo actor stays away; ending")
            self.done = True
        if self._asked is None and now - self._idle_since > IDLE_S:
            self.done = True
        # A report is in the journal before it is here: the next worker in the slot sends it again.
        if self._ending and (self._asked is None or self._report is not None):
            self.done = True

    # --- Output -------------------------------------------------------------------------------------------------

    def _wake(self, _: bytes) -> None:
        """Called in the attempt's thread when there is output, which is on disk by then."""
        os.eventfd_write(self._thread.fd, 1)

    def _pass_output_on(self) -> None:
        """Tell who listens what was printed since the last time; what they cannot keep up with is passed over."""
        asked = self._asked
        if asked is None or self._report is not None:
            return
        for _ in range(PIECES):
            data, begin, total = self._slot.printed.read(self._offset)
            text, size = text_of(data, final=False)
            if not text:
                return
            output = AgentOutput(task=asked.task, token=asked.token, offset=begin, text=text)
            self._dealer.send(f"topic:output.{asked.task}", output, ttl_s=10.0)
            self._offset = begin + size
            if total - self._offset > BEHIND_BYTES:
                self._offset = total
        self._wake(b"")

    def _printed(self, body: GetPrinted) -> Reply:
        """A piece of what the attempt's agent printed; of no other attempt anything is known here any more."""
        asked = self._asked
        if asked is None or (asked.task, asked.token) != (body.task, body.token):
            return Reply(ok=False, code=NotFoundError.code, message=f"attempt {body.token} of {body.task} is not here")
        data, begin, total = self._slot.printed.read(body.offset)
        text, size = text_of(data, final=False)
        return Reply(value={"text": text, "offset": begin, "bytes": size, "total_bytes": total})


def _slot_of(told: base.Situation) -> tuple[RepoConfig, str]:
    """The repository and the number of the slot that the worker's name stands for."""
    repo_name, _, number = told.name.removeprefix("worker.").rpartition(".")
    repo = told.project.repo(repo_name)
    if repo is None:
        raise NotFoundError(f"the configuration has no repository {repo_name!r}")
    return repo, number


def _slot_lock(told: base.Situation) -> Lock:
    """Hold the slot: a worker that outlived its repo actor keeps it, and whoever is sent to replace it ends."""
    repo, number = _slot_of(told)
    place = directory_of(told, repo, number)
    place.mkdir(parents=True, exist_ok=True)
    return Lock(place / "lock", kind="worker")


def main(argv: list[str] | None = None) -> int:
    """The process `python -m thrum.actors.worker`."""
    args = base.parser("A worker: one slot of a repository").parse_args(argv)
    return base.main(args, WorkerActor, guard=_slot_lock)


if __name__ == "__main__":
    sys.exit(main())
