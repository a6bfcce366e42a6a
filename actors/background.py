"""Work that takes time, done beside an actor's loop in one thread, one thing after the other."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Broken:
    error: BaseException


class Background(Generic[T]):
    """Runs work in the order given; outcomes are taken with `outcomes` when `fd` is readable."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._todo: queue.SimpleQueue[Callable[[], T] | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[T | _Broken] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="effects", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[], T]) -> None:
        """Have it done after all that was given before."""
        self._todo.put(work)

    def outcomes(self) -> list[T]:
        """What is done since the last call.

        Raises:
            BaseException: whatever the work raised that it should not have.
        """
        try:
            os.eventfd_read(self.fd)
        except BlockingIOError:
            return []
        found: list[T] = []
        while not self._done.empty():
            outcome = self._done.get()
            if isinstance(outcome, _Broken):
                raise outcome.error
            found.append(outcome)
        return found

    def close(self, deadline_s: float = 5.0) -> None:
        """Let the work under way end; what is still queued is dropped."""
        while not self._todo.empty():
            self._todo.get()
        self._todo.put(None)
        self._thread.join(deadline_s)
        if not self._thread.is_alive():
            os.close(self.fd)

    def _work(self) -> None:
        while (work := self._todo.get()) is not None:
            try:
                self._done.put(work())
            except BaseException as error:  # noqa: BLE001 - it is handed to the actor's loop, which ends on it
                self._done.put(_Broken(error))
            os.eventfd_write(self.fd, 1)
