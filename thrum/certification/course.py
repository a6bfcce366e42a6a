"""Takes a backend through situations: each is one or two attempts in a slot, as they are in a project that is up."""

from __future__ import annotations

import secrets
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from enum import StrEnum
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from thrum.certification.ground import KEY, Ground, end_what_is_left
from thrum.certification.seen import Seen, always
from thrum.certification.situations import HELD, Asking, Situation
from thrum.certification.workers import Order, Workers
from thrum.config import BackendConfig, Project
from thrum.errors import ThrumError, words
from thrum.messages.attempts import AttemptReported, RunAttempt
from thrum.prompt import assemble
from thrum.scripted import Asked, ModelServer, Step, is_beside, plan
from thrum.task import Task
from thrum.values import dataclass

LIMIT_S = 240.0
SILENCE_S = 25.0
TAIL_LINES = 20


class Verdict(StrEnum):
    """Whether what a situation promises held."""

    HELD = "held"
    DID_NOT_HOLD = "did-not-hold"
    NOT_APPLICABLE = "not-applicable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of one situation."""

    situation: Situation
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    """What did not hold, or why it does not apply."""
    duration_s: float = 0.0
    tail: str = ""
    """The end of what the last run said, where something did not hold."""


class Course:
    """A backend, the ground for it and its scripted model. To be used in a `with`, which ends all of it.

    `limit_s` bounds the runs of one situation together, `silence_s` is the limit on silence where there is one.
    """

    def __init__(
        self, project: Project, backend: BackendConfig, *, limit_s: float = LIMIT_S, silence_s: float = SILENCE_S
    ) -> None:
        # A whole number would be another one in the snapshot that a worker reads.
        self._limit_s, self._silence_s = limit_s, float(silence_s)
        self._ended = threading.Event()
        self._slots = count(1)
        with ExitStack() as stack:
            place = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="thrum-certify-", ignore_cleanup_errors=True)
            )
            self._model = stack.enter_context(ModelServer())
            self._ground = Ground(Path(place).resolve(), project, backend, self._model.url)
            self._workers = stack.enter_context(Workers(Path(place).resolve(), self._ended))
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def version(self) -> str:
        """What the program says its version is; empty where that is not known.

        Raises:
            SandboxError: there is no sandbox, or it does not see the program.
        """
        return self._ground.version()

    def end(self) -> None:
        """End the run under way, and begin no other; from any thread or a signal's handler."""
        self._ended.set()

    def result(self, situation: Situation) -> Result:
        """Put the backend into the situation.

        Raises:
            KeyboardInterrupt: `end` was called.
        """
        if situation.needs_script and self._ground.preset is None:
            reason = "what the model of a backend without a preset answers cannot be scripted"
            return Result(situation=situation, verdict=Verdict.NOT_APPLICABLE, reasons=(reason,))
        began = time.monotonic()
        nonce = secrets.token_hex(6)
        try:
            seen = self._seen(situation, nonce, began + self._limit_s)
        except (ThrumError, OSError) as error:
            # What a run left may be beyond reading: that is a finding, and the others are tried all the same.
            failed = (words(error),)
            return Result(situation=situation, verdict=Verdict.DID_NOT_HOLD, reasons=failed, duration_s=_since(began))
        finally:
            end_what_is_left(nonce)
            self._ground.written_outside(nonce)
        if self._ended.is_set():
            raise KeyboardInterrupt
        reasons = tuple(reason for holds in (always, *situation.holds) for reason in holds(seen))
        tail = "\n".join(seen.last.tail.splitlines()[-TAIL_LINES:]) if reasons else ""
        verdict = Verdict.DID_NOT_HOLD if reasons else Verdict.HELD
        return Result(situation=situation, verdict=verdict, reasons=reasons, duration_s=_since(began), tail=tail)

    def _seen(self, situation: Situation, nonce: str, deadline: float) -> Seen:
        ground = self._ground
        reports: list[AttemptReported] = []
        asked: list[tuple[Asked, ...]] = []
        left: list[str] = []
        head, stopped_s, slot = ground.tip, None, next(self._slots)

        def take_in(report: AttemptReported) -> None:
            nonlocal head
            head = ground.take_in(report, attempt.task) if report.bundle else head

        for number, asking in enumerate(situation.asks):
            before = len(self._model.asked)
            attempt = RunAttempt(
                task=f"trial-{nonce}",
                token=number + 1,
                base=ground.tip,
                start=head,
                prompt=self._prompt(asking, nonce),
                backend=ground.backend,
                session=reports[-1].session if reports else "",
            )
            report, ended_s = self._run(situation, attempt, slot, deadline, take_in)
            reports.append(report)
            asked.append(tuple(one for one in self._model.asked[before:] if not is_beside(one)))
            left += end_what_is_left(nonce)
            stopped_s = ended_s if number == 0 else stopped_s
            if self._ended.is_set() or (situation.stops and stopped_s is None):
                break
        return Seen(
            reports=tuple(reports),
            files=ground.changes(head),
            subjects=ground.subjects(head),
            asked=tuple(asked),
            left=tuple(left),
            outside=ground.written_outside(nonce),
            stopped_s=stopped_s,
            nonce=nonce,
            key=KEY,
            preset=ground.preset,
        )

    def _run(
        self,
        situation: Situation,
        attempt: RunAttempt,
        number: int,
        deadline: float,
        take_in: Callable[[AttemptReported], None],
    ) -> tuple[AttemptReported, float | None]:
        """Run one attempt; its report, and how long it took from its end by us on, if it came to the point of that."""
        first = attempt.token == 1
        commands = self._ground.preset is not None and self._ground.preset.runs_commands
        around = situation.around if first and (situation.around_always or not commands) else ""
        nonce = attempt.task.removeprefix("trial-")
        told = self._ground.worker(
            number,
            nonce,
            around=self._ground.fill_in(around, nonce),
            wall_s=max(1.0, deadline - time.monotonic()),
            silence_s=self._silence_s if situation.silence else 0.0,
            endpoint=self._workers.endpoint,
        )
        sign = self._ground.tree(number) / HELD if first and situation.stops else None
        order = Order(asked=attempt, deadline=deadline, sign=sign, kills=situation.kills)
        return self._workers.report(told, order, take_in)

    def _prompt(self, asking: Asking, nonce: str) -> str:
        ground = self._ground
        task = ground.fill_in(asking.task, nonce)
        if ground.preset is not None:
            steps = asking.steps if ground.preset.runs_commands or not asking.words else asking.words
            task = f"{task}\n\n{plan(*(self._filled(step, nonce) for step in steps))}"
        return assemble(Task(id=f"trial-{nonce}", repo="scratch", title="A trial", description=task))

    def _filled(self, step: Step, nonce: str) -> Step:
        filled: dict[str, Any] = {}
        for name, value in step.items():
            filled[name] = self._ground.fill_in(value, nonce) if isinstance(value, str) else value
        return filled


def _since(began: float) -> float:
    return time.monotonic() - began
