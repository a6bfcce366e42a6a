"""What people may ask of a repo actor, and how it shows what it has. Pure."""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

from thrum import inputs as i
from thrum.errors import AuthError, UsageError
from thrum.messages.people import AddTask, ApproveTask, CancelTask, Command, GetTasks, RejectTask, RetryTask
from thrum.messages.schedule import TaskSummary
from thrum.names import id_of
from thrum.pipeline.attempts import wants_slot
from thrum.records import to_plain
from thrum.task import ENDS, Event, State, Task, WaitingFor

from .setup import Setup


def admit(body: Command, token: str) -> None:
    """Refuse a command that does not carry the project's token, or does not say who asks; no token admits all.

    Raises:
        AuthError, UsageError: as said.
    """
    if token and not hmac.compare_digest(body.auth.encode(), token.encode()):
        raise AuthError("the call carries no valid token", remedy="use the token of .thrum/token")
    if not body.by.strip():
        raise UsageError("it is not said who asks", remedy="give --by NAME")


def input_of(body: Command) -> tuple[str, i.Input]:
    """The task that a command is about, and what it means for it.

    Raises:
        UsageError: it lacks what it needs, or is no command about a task.
    """
    match body:
        case ApproveTask():
            return body.task, i.Approved(by=body.by, commit=body.commit, protected=body.protected)
        case RejectTask():
            if not body.feedback.strip():
                raise UsageError("a rejection needs feedback: the agent works from it", remedy="give --feedback TEXT")
            return body.task, i.Rejected(by=body.by, feedback=body.feedback)
        case RetryTask():
            return body.task, i.RetryAsked(by=body.by, feedback=body.feedback)
        case CancelTask():
            return body.task, i.CancelAsked(by=body.by, why=body.why)
        case _:
            raise UsageError(f"a repo actor does not know the command {type(body).__name__}")


def new_task(setup: Setup, number: int, body: AddTask, now: float, cause: str) -> tuple[Task, Event]:
    """A task as it is added, and the event that says so, which has no place in the log yet."""
    task = Task(
        id=id_of(setup.repo, number),
        repo=setup.repo,
        title=body.title.strip(),
        description=body.description,
        depends_on=tuple(dict.fromkeys(body.depends_on)),
        priority=body.priority,
        created_at=now,
        created_by=body.by,
        changed_at=now,
        waiting_for=WaitingFor.DEPENDENCY if body.depends_on else WaitingFor.SLOT,
    )
    added = Event(seq=0, task=task.id, at=now, kind="added", cause=cause, data={"by": body.by}, changes=to_plain(task))
    return task, added


def page_of(tasks: Mapping[str, Task], asked: GetTasks) -> list[Task]:
    """Those of the tasks that are asked for."""
    ids = list(tasks)
    left = ids[ids.index(asked.after) + 1 :] if asked.after in tasks else ids
    wanted = (tasks[id] for id in left if not asked.states or tasks[id].state in asked.states)
    return list(islice(wanted, asked.limit))


def status_of(
    setup: Setup,
    tasks: Iterable[Task],
    *,
    slots_used: int,
    events: int,
    red: dict[str, str],
    passed_over: dict[str, str],
) -> dict[str, Any]:
    """The repository at a glance, as plain data. `red` are the checks that the branch itself fails, with the commit;
    `passed_over` the backends that get no work now, with the reason."""
    tasks = list(tasks)
    waiting = Counter(task.waiting_for.value for task in tasks if task.state not in ENDS)
    return {
        "repo": setup.repo,
        "states": dict(Counter(task.state.value for task in tasks)),
        "waiting": {what: count for what, count in waiting.items() if what != WaitingFor.NONE},
        "slots": {"used": slots_used, "limit": setup.concurrency},
        "red": red,
        "passed_over": passed_over,
        "spent_usd": round(sum(cost_usd(task) for task in tasks), 6),
        "events": events,
        "gates": {gate.value: [check.name for check in plan.checks] for gate, plan in setup.plans.items()},
    }


def as_seen(task: Task, fault: str, note: tuple[str, str]) -> Task:
    """The task as people see it: with what holds its repository back, or what the scheduler noted that it waits for."""
    what, reason = note
    if what in ("", WaitingFor.OPERATOR):  # the scheduler has that from us, and later
        what, reason = (WaitingFor.OPERATOR, fault) if fault else ("", "")
    return replace(task, waiting_for=WaitingFor(what), reason=reason) if what and wants_slot(task) else task


def summary(task: Task) -> TaskSummary:
    """What the scheduler needs to know of a task."""
    ready = "start" if wants_slot(task) else "land" if task.state is State.APPROVED else ""
    return TaskSummary(
        id=task.id,
        state=task.state.value,
        ready=ready,
        slot=task.slot,
        landing=task.state in (State.INTEGRATING, State.GATE3),
        waiting_for=task.waiting_for.value,
        depends_on=task.depends_on,
        priority=task.priority,
        created_at=task.created_at,
        changed_at=task.changed_at,
        cost_usd=cost_usd(task),
    )


def cost_usd(task: Task) -> float:
    """What all attempts at the task have cost together."""
    return sum(attempt.cost_usd for attempt in task.attempts)
