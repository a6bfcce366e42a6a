"""Who of an integration set lands: its members ask for the set's lock, which the first of them keeps. Pure.

What is asked and answered goes through durable streams; what must be kept goes into the step's `Gathered`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thrum import inputs as i
from thrum.batch import Loaded
from thrum.errors import UsageError
from thrum.messages import Header
from thrum.messages.landing import Durable, DurableAcknowledged, LandingGranted, ReleaseLanding, RequestLanding
from thrum.task import State, Task, WaitingFor

from .landing_lock import LandingLock
from .setup import Setup
from .streams import Streams
from .turn import Gathered, Send

SEND_AGAIN_S = 3.0
PATIENCE_S = 15.0
"""A keeper that has not acknowledged a request for this long is said to be absent."""


class Landings:
    """One repository's side of it. Where a method returns tasks, these are its own that hold the lock now."""

    def __init__(self, setup: Setup, loaded: Loaded) -> None:
        self._repo = setup.repo
        self._members = setup.integration_set or (setup.repo,)
        self._keeper = f"repo.{self._members[0]}"
        self._keeps = self._members[0] == setup.repo
        self.streams = Streams(loaded)
        self._lock = LandingLock(loaded.records.get("landing"))
        self._send_again_at = 0.0
        self._silent = {task.id for task in loaded.tasks.values() if _is_told(task)}
        """Tasks that were told that the keeper does not answer."""
        self._asked_at = dict.fromkeys(self._silent, float("-inf"))
        """Since when the request for each task is unanswered; of an earlier life only that it was long."""
        self._fence: list[Any] = loaded.records.get("fence") or ["", 0]
        """The stream and the fence of the last landing that the keeper granted."""

    def ask(self, task: str, gathered: Gathered) -> tuple[str, ...]:
        """One of our tasks wants to land."""
        if self._keeps:
            return self._asked(self._repo, task, gathered)
        if task in self._unanswered():
            return ()  # it is sent until it is acknowledged
        self._post(self._keeper, RequestLanding(repo=self._repo, task=task, members=self._members), gathered)
        return ()

    def release(self, task: str, gathered: Gathered) -> None:
        """One of our tasks has landed, or will not."""
        if self._keeps:
            self._released(self._repo, task, gathered)
        else:
            self._post(self._keeper, ReleaseLanding(repo=self._repo, task=task), gathered)

    def receive(self, header: Header, body: Durable, gathered: Gathered) -> tuple[str, ...]:
        """Another member asks, answers or gives back; it is told how far we are, once that is written."""
        granted: tuple[str, ...] = ()
        if self.streams.take(header.source, body, gathered):
            match body:
                case RequestLanding():
                    granted = self._asked(body.repo, body.task, gathered)
                case LandingGranted():
                    granted = self._granted(body, gathered)
                case ReleaseLanding():
                    self._released(body.repo, body.task, gathered)
                case _:
                    raise UsageError(f"a repo actor does not know {type(body).__name__}")
        answer = self.streams.acknowledgement(header.source, body)
        gathered.sends.append(Send(destination=header.source, body=answer))
        return granted

    def acknowledged(self, header: Header, body: DurableAcknowledged, gathered: Gathered) -> None:
        """Another member has what we sent."""
        self.streams.acknowledged(header.source, body, gathered)

    def due(self, now: float) -> list[tuple[str, Durable]]:
        """What to send again, and to whom, as nobody has said yet that it arrived."""
        if self._send_again_at > now or not self.streams.waiting:
            return []
        self._send_again_at = now + SEND_AGAIN_S
        return self.streams.unanswered()

    def next_at(self) -> float:
        """When `due` has something next; infinite if everything has arrived."""
        return self._send_again_at if self.streams.waiting else float("inf")

    def silences(self, tasks: Mapping[str, Task], now: float) -> dict[str, i.Input]:
        """What is new about the lock's keeper for tasks that wait for it: that it does not answer, or does again."""
        self._asked_at = {task: self._asked_at.get(task, now) for task in self._unanswered()}
        silent = {task for task, at in self._asked_at.items() if now - at >= PATIENCE_S}
        reason = f"{self._keeper}, which keeps the landing lock of {', '.join(self._members)}, does not answer"
        heard, self._silent = self._silent - silent, silent
        return {
            **{task: i.KeeperSilent(reason=reason) for task in silent if task in tasks and not _is_told(tasks[task])},
            **{task: i.KeeperHeard() for task in heard if task in tasks},
        }

    def _unanswered(self) -> set[str]:
        return {out.message.task for out in self.streams.waiting.values() if isinstance(out.message, RequestLanding)}

    def _asked(self, repo: str, task: str, gathered: Gathered) -> tuple[str, ...]:
        if not self._lock.take(repo, task):
            return ()
        gathered.records["landing"] = self._lock.plain()
        if repo == self._repo:
            return (task,)
        self._post(f"repo.{repo}", LandingGranted(task=task, fence=self._lock.fence), gathered)
        return ()

    def _granted(self, body: LandingGranted, gathered: Gathered) -> tuple[str, ...]:
        """A fence is good for one landing: a request that was repeated has its second grant come late, perhaps when
        the lock was given back already."""
        stream, fence = self._fence
        if body.stream == stream and body.fence <= fence:
            return ()
        self._fence = gathered.records["fence"] = [body.stream, body.fence]
        return (body.task,)

    def _released(self, repo: str, task: str, gathered: Gathered) -> None:
        if self._lock.release(repo, task):
            gathered.records["landing"] = self._lock.plain()

    def _post(self, destination: str, body: Durable, gathered: Gathered) -> None:
        gathered.sends.append(Send(destination=destination, body=self.streams.post(destination, body, gathered)))


def _is_told(task: Task) -> bool:
    return task.state is State.APPROVED and task.waiting_for is WaitingFor.HOST
