"""`thrum run`: work the backlog off until nothing is left to do without a person."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from thrum.cli import console
from thrum.cli.program import Command, invocation
from thrum.cli.session import Session
from thrum.errors import BusyError, Exit, ThrumError

if TYPE_CHECKING:
    from thrum.cli.remaining import Remaining
    from thrum.client import Client
    from thrum.messages.topics import TaskChanged

LOOK_EVERY_S = 2.0
"""How often the scheduler is asked how things stand, even if no task moves."""
LOOK_SOON_S = 0.2
"""The least time between two questions, however many tasks move."""
ANSWER_S = 30.0
SHOWN = 20
"""How many tasks of a kind the summary names; with --json all are there."""

_TELLING = (
    *("attempt-blocked", "held-back", "fell-back", "gate-blocked", "landing-blocked", "landing-delayed"),
    *("deferred", "interrupted"),
)
"""Events that are told although the task stays in its state."""


@click.command(cls=Command)
@click.option("--once", is_flag=True, help="Take one task as far as it goes: one that can land first.")
@click.option("--agents", type=click.IntRange(0), default=0, help="Agents at work at once; 0: as configured.")
@click.option("--no-cache", is_flag=True, help="Run every check, also one that passed on the same tree before.")
def run(once: bool, agents: int, no_cache: bool) -> int:
    """Work until nothing is left to do without a person.

    Joins what is up, or brings Thrum up for as long as it lasts. Exit codes: 0 nothing is left; 1 a task failed
    in this run, or waits for an operator; 4 what is left waits for approval; 5 the budget holds it.
    """
    from thrum import tree
    from thrum.snapshot import digest_of

    _end_in_good_order()
    session = Session.open()
    if agents and session.state is not None:
        console.tell_warning("--agents has no effect: Thrum is up already, with its own number")
    if no_cache and session.state is not None:
        console.tell_warning("--no-cache has no effect: Thrum is up already, as it is configured")
    project = session.project
    if no_cache:
        engine = replace(project.pipeline.engine, cache=False)
        project = replace(project, pipeline=replace(project.pipeline, engine=engine))
        project = replace(project, digest=digest_of(project))
    started_at = time.time()
    with tree.running(session.directory, project, agents=agents, work=not once) as client:
        watch = _Watch(session, client, started_at)
        taken = watch.take_one() if once else None
        return watch.follow(taken) if taken else watch.until_nothing_moves()


def _end_in_good_order() -> None:
    """Have a closed terminal and `kill` end the run as Ctrl-C does: what was brought up goes down with it."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)


class _Watch:
    """One run: hears of each move, asks how things stand, and tells both."""

    def __init__(self, session: Session, client: Client, started_at: float) -> None:
        from thrum.checks import integration_set
        from thrum.desk import Desk

        self._session = session
        self._client = client
        # It only asks: no command of a person goes through here, and none carries the token.
        self._desk = Desk(client, session.repos, "", answer_s=ANSWER_S)
        self._started_at = started_at
        self._set_of = partial(integration_set, session.project)
        self._told: dict[str, str] = {}
        # Heard from here on, so that no move between the first question and the first answer is missed.
        self._client.events(("task.",), timeout_s=0)

    def take_one(self) -> str | None:
        """Have the scheduler take the next task; None where there is none that can move."""
        from thrum.messages.schedule import RunOnce

        answer = self._client.request("scheduler", RunOnce(), timeout_s=ANSWER_S)
        return None if answer["task"] is None else str(answer["task"])

    def until_nothing_moves(self) -> int:
        """Watch until only people can bring things on; the exit code."""
        from thrum.cli.remaining import moving

        while True:
            report, away = self._report(), self._away()
            away |= {name: "it has not been heard of" for name in report["missing"] if name not in away}
            if not moving(report, away=away, set_of=self._set_of):
                break
            self._hear(LOOK_EVERY_S)
        self._hear(0)
        left = self._remaining(report, away)
        _tell(left, report)
        return left.exit_code

    def follow(self, task: str) -> int:
        """Watch one task until it ends or needs a person; the exit code."""
        from thrum.cli.remaining import stuck_landings

        while True:
            view = self._desk.task(task)
            behind = stuck_landings(self._report(), self._set_of).get(task)
            code = Exit.FAILED if behind else _standing(view)
            if code is not None:
                break
            self._hear(LOOK_EVERY_S, task)
        self._hear(0)
        if invocation().json:
            console.emit({"exit_code": int(code), "task": view})
        else:
            console.say(_summary_of(view, behind))
        return code

    def _report(self) -> dict[str, Any]:
        from thrum.messages.schedule import GetSchedule

        found: dict[str, Any] = self._client.request("scheduler", GetSchedule(), timeout_s=ANSWER_S)
        return found

    def _away(self) -> dict[str, str]:
        """Repositories whose actor was given up, with the reason."""
        from thrum.standing import state as what_is_up

        state = what_is_up(self._session.directory)
        if state is None:
            raise BusyError("what was up has ended meanwhile", remedy="`thrum run` again goes on where it was")
        return {
            actor["name"].removeprefix("repo."): actor["reason"]
            for actor in state["actors"]
            if actor["state"] == "failed" and actor["name"].startswith("repo.")
        }

    def _hear(self, timeout_s: float, task: str = "") -> None:
        """Tell what moves, until it is time to look again: soon after a move that may have been the last one."""
        from thrum.messages.control import Dropped
        from thrum.messages.topics import TaskChanged

        asked_at = time.monotonic()
        for event in self._client.events(("task.",), timeout_s=timeout_s):
            match event.body:
                case TaskChanged() as changed:
                    self._tell_change(changed)
                    if timeout_s and _may_be_last(changed) and task in ("", changed.task):
                        break
                case Dropped() as lost:
                    console.note(f"({lost.count} moves went by too fast to be shown)")
        if timeout_s:
            time.sleep(max(0.0, LOOK_SOON_S - (time.monotonic() - asked_at)))

    def _tell_change(self, changed: TaskChanged) -> None:
        if self._told.get(changed.task) == changed.state and changed.kind not in _TELLING:
            return
        self._told[changed.task] = changed.state
        text = f": {console.clean(changed.text)}" if changed.text else ""
        at = console.moment(changed.at)[11:]
        console.note(f"{at}  {changed.task:<16} {changed.state:<18} {changed.kind}{text}")

    def _remaining(self, report: dict[str, Any], away: dict[str, str]) -> Remaining:
        from thrum.cli.remaining import remaining

        tasks = [task for name in self._session.repos if name not in away for task in self._unmerged(name, away)]
        return remaining(report, tasks, since=self._started_at, away=away, set_of=self._set_of)

    def _unmerged(self, repo: str, away: dict[str, str]) -> Iterator[dict[str, Any]]:
        from thrum.task import State

        try:
            yield from self._desk.tasks(repo, [state.value for state in State if state is not State.MERGED])
        except ThrumError as error:
            away[repo] = error.message


def _may_be_last(changed: TaskChanged) -> bool:
    return changed.state in ("merged", "failed", "cancelled", "awaiting-approval") or changed.kind in _TELLING


def _standing(view: dict[str, Any]) -> Exit | None:
    """The exit code for a task that was followed; None while it goes on by itself."""
    match view["state"], view["waiting_for"]:
        case (("merged" | "cancelled"), _):
            return Exit.DONE
        case "failed", _:
            return Exit.FAILED
        case _, "approval":
            return Exit.AWAITING_APPROVAL
        case _, ("operator" | "clean-checkout" | "host"):
            return Exit.FAILED
        case _, "budget":
            return Exit.BUDGET
    return None


def _summary_of(view: dict[str, Any], behind: str | None) -> str:
    from thrum.cli.showing import next_step

    because = f"{behind} has to land first" if behind else view["reason"]
    waits = "" if view["waiting_for"] == "none" else f", waits for {view['waiting_for']}"
    text = f"{view['id']}: {view['state']}{waits}" + (f": {console.clean(because)}" if because else "")
    following = next_step(view)
    return f"{text}\nNext: {following}" if following else text


def _tell(left: Remaining, report: dict[str, Any]) -> None:
    from thrum.records import to_plain

    if invocation().json:
        code = int(left.exit_code)
        console.emit({"exit_code": code, "task": None, **to_plain(left), "spent_usd": report["spent_usd"]})
        return
    counts = ", ".join(f"{number} {state}" for state, number in left.states.items())
    nothing = "unknown" if left.away else "none"
    console.say(
        f"Tasks: {counts or nothing}." + (f" Spent: ${report['spent_usd']:.2f}." if report["spent_usd"] else "")
    )
    for title, tasks in (
        ("Failed in this run", left.failed_now),
        ("Waits for an operator (then: thrum task retry ID)", left.operator),
        ("Blocked by a dependency that did not merge (thrum task retry it, or cancel)", left.blocked),
        ("Held by the budget", left.budget),
        ("Waits for approval (thrum task diff ID, thrum task approve ID)", left.approval),
        ("Waits for a dependency", left.dependency),
        ("Not done", left.other),
        ("Repositories that are away", left.away),
    ):
        if tasks:
            console.say(f"{title}:")
            for name in sorted(tasks, key=console.by_number)[:SHOWN]:
                console.say(f"  {name}" + (f": {console.clean(tasks[name])}" if tasks[name] else ""))
            if len(tasks) > SHOWN:
                console.say(f"  and {len(tasks) - SHOWN} more (thrum task list)")
