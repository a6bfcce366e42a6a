"""A decision in the making: the rules it obeys, and the one way in which a task changes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field, replace
from typing import Any, Literal

from thrum import inputs as i
from thrum.errors import TransitionError
from thrum.fence import Fence
from thrum.gate import Gate, GateResult
from thrum.pipeline.table import Step, after
from thrum.protection import protected
from thrum.records import evolve, to_plain
from thrum.task import Attempt, Event, Task, WaitingFor
from thrum.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the configuration says about the order of things for one repository."""

    max_retries: int = 3
    max_interruptions: int = 5
    max_rebuilds: int = 10
    max_wait_s: float = 86400.0
    fallbacks: int = 0
    """How many backends stand behind the implementer's first one."""
    approvers: int = 1
    fence: Fence = field(default_factory=Fence)
    """What of a change is protected."""
    protected_change: Literal["approve", "fail", "allow"] = "approve"
    void_on_overlap: bool = False
    """An approval is void once a landing touched one of its files."""
    definitions: dict[Gate, str] = field(default_factory=dict)
    """The digest of each gate's present definition: a result under another one does not count for landing."""
    never_reused: frozenset[Gate] = frozenset()
    """Gates whose results hold for the run they came from alone, as a check of theirs has the network."""
    configuration: str = ""
    """The digest of the whole configuration, for the receipts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What became of an input: the task as it is now, the facts to record, the effects to carry out.

    The events come without their place in the log (`seq` is 0). Folding them into the earlier task gives `task`.
    """

    task: Task
    events: tuple[Event, ...] = ()
    effects: tuple[i.Effect, ...] = ()


def fold(task: Task, events: Iterable[Event]) -> Task:
    """The task after the events, in their order."""
    for event in events:
        task = evolve(task, event.changes)
    return task


class Draft:
    """A decision in the making: `record` is the only thing that changes the task."""

    def __init__(self, task: Task, rules: Rules, now: float, cause: str) -> None:
        self.task = task
        self.rules = rules
        self.now = now
        self.cause = cause
        self.events: list[Event] = []
        self.effects: list[i.Effect] = []

    def record(self, kind: str, data: dict[str, Any] | None = None, **changes: Any) -> None:
        task = self.task
        changed = {name: value for name, value in changes.items() if getattr(task, name) != value}
        changed["changed_at"] = self.now
        self.task = replace(task, **changed)
        plain = {name: to_plain(value) for name, value in changed.items()}
        self.events.append(
            Event(seq=0, task=task.id, at=self.now, kind=kind, cause=self.cause, data=data or {}, changes=plain)
        )

    def step(self, step: Step, kind: str, data: dict[str, Any] | None = None, **changes: Any) -> None:
        """Take a transition; unless said otherwise, the task then waits for nothing and wakes for nothing.

        It got on, so that its next stall is a first one; to claim and to start an attempt is to try, not to get on.
        """
        defaults: dict[str, Any] = {"waiting_for": WaitingFor.NONE, "reason": "", "wake_at": 0.0}
        if step not in (Step.CLAIM, Step.START):
            defaults["stalls"] = 0
        self.record(kind, data, **{**defaults, **changes, "state": after(self.task.state, step)})

    def want(self, effect: i.Effect) -> None:
        self.effects.append(effect)


def latest(task: Task) -> Attempt:
    if task.attempt is None:
        raise TransitionError(f"{task.id} is {task.state} without an attempt")
    return task.attempt


def protected_files(draft: Draft) -> tuple[str, ...]:
    """The protected paths that the latest attempt changes, by the present rules."""
    return protected(latest(draft.task), draft.rules.fence)


def withheld(draft: Draft) -> str:
    """What of the latest attempt does not land on an ordinary yes, in words; empty where all of it does.

    Protected paths, unless they may be changed; and secrets, whatever may be changed.
    """
    touched = protected_files(draft) if draft.rules.protected_change != "allow" else ()
    leaks = latest(draft.task).leaks
    words = (
        f"changes what is protected: {', '.join(touched)}" if touched else "",
        f"holds a secret, or what could not be searched for one: {', '.join(leaks)}" if leaks else "",
    )
    return "; ".join(filter(None, words))


def flaky_tests(results: Iterable[GateResult]) -> tuple[str, ...]:
    """The tests that passed only when they were run again, each once."""
    return tuple(dict.fromkeys(test for result in results for check in result.checks for test in check.flaky))


def with_attempt(task: Task, attempt: Attempt) -> tuple[Attempt, ...]:
    return (*task.attempts[:-1], attempt)
