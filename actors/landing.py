"""Who of an integration set lands: its members ask for the set's lock, which the first of them keeps. Pure.

What is asked and answered goes through durable streams; what must be kept goes into the step's `Gathered`.
"""

from __future__ import annotations

from typing import Any

from thrum.batch import Loaded
from thrum.errors import UsageError
from thrum.messages import Header
from thrum.messages.landing import Durable, DurableAcknowledged, LandingGranted, ReleaseLanding, RequestLanding

from .landing_lock import LandingLock
from .setup import Setup
from .streams import Streams
from .turn import Gathered, Send


class Landings:
    """One repository's side of it. Where a method returns tasks, these are its own that hold the lock now."""

    def __init__(self, setup: Setup, loaded: Loaded) -> None:
        self._repo = setup.repo
        self._members = setup.integration_set or (setup.repo,)
        self._keeper = f"repo.{self._members[0]}"
        self._keeps = self._members[0] == setup.repo
        self.streams = Streams(loaded)
        self._lock = LandingLock(loaded.records.get("landing"))
        self._fence: list[Any] = loaded.records.get("fence") or ["", 0]
        """The stream and the fence of the last landing that the keeper granted."""

    def ask(self, task: str, gathered: Gathered) -> tuple[str, ...]:
        """One of our tasks wants to land."""
        if self._keeps:
            return self._asked(self._repo, task, gathered)
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
