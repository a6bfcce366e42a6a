"""What a person decides about a task: approve, reject, retry, cancel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from thrum.cli import console
from thrum.cli.program import Command, error_view, invocation
from thrum.cli.session import Session, who
from thrum.errors import Exit, ThrumError, UsageError

by_option = click.option("--by", metavar="NAME", help="Who decides. [default: THRUM_USER, else the login name]")


@click.command(cls=Command)
@click.argument("tasks", nargs=-1, required=True, metavar="ID...")
@click.option("--commit", default="", metavar="SHA", help="The commit that you looked at: refuse if it is another now.")
@click.option(
    "--including-protected", is_flag=True, help="Say yes to a change of protected paths, or one with a secret, too."
)
@by_option
def approve(tasks: tuple[str, ...], commit: str, including_protected: bool, by: str | None) -> int:
    """Say yes to what the diff shows: it may land.

    With several tasks each is tried; the exit code is that of the first that was refused. With --json the result
    is always an array, with an "error" in the place of each task that was refused.
    """
    from thrum.messages.people import ApproveTask

    if commit and len(tasks) > 1:
        raise UsageError("--commit names the commit of one task, and several are given")
    if commit and len(commit) < 7:
        raise UsageError(f"--commit {commit!r} is too short to name a commit", remedy="give 7 digits or more")
    session, asks = Session.open(), who(by)
    results: list[dict[str, Any]] = []
    code: int = Exit.DONE
    with session.connected(map(session.owner, tasks)) as desk:
        for task in dict.fromkeys(tasks):
            try:
                view = desk.decide(ApproveTask, task, by=asks, commit=commit, protected=including_protected)
            except ThrumError as error:
                console.tell_error(error.message, error.remedy)
                results.append({"id": task, "error": error_view(error.code, error.message, error.remedy)})
                code = code or error.exit_code
            else:
                results.append(view)
                if not invocation().json:
                    console.say(_approved(view))
    if invocation().json:
        console.emit(results)
    return code


def _approved(view: dict[str, Any]) -> str:
    if view["state"] == "cancelled":
        return f"{view['id']}: cancelled, as no change is needed"
    if view["state"] == "awaiting-approval":
        return f"{view['id']}: {console.clean(view['reason'])}"
    return f"{view['id']}: approved {view['commits']['head'][:12]}"


@click.command(cls=Command)
@click.argument("task", metavar="ID")
@click.option("--feedback", required=True, metavar="TEXT", help="What to do better; the agent reads it.")
@by_option
def reject(task: str, feedback: str, by: str | None) -> None:
    """Send a task back to its agent, with what to do better."""
    from thrum.messages.people import RejectTask

    if not feedback.strip():
        raise UsageError("a rejection needs feedback: the agent works from it", remedy="give --feedback TEXT")
    _decide(task, by, RejectTask, lambda view: f"{task}: sent back to the agent", feedback=feedback)


@click.command(cls=Command)
@click.argument("task", metavar="ID")
@click.option("--feedback", default="", metavar="TEXT", help="What to do differently; the agent reads it.")
@by_option
def retry(task: str, feedback: str, by: str | None) -> None:
    """Start a failed or cancelled task anew.

    One that waits for an operator is looked at again at once.
    """
    from thrum.messages.people import RetryTask

    _decide(task, by, RetryTask, lambda view: f"{task}: {view['state']}, round {view['round']}", feedback=feedback)


@click.command(cls=Command)
@click.argument("task", metavar="ID")
@click.option("--why", default="", metavar="TEXT", help="For the record.")
@by_option
def cancel(task: str, why: str, by: str | None) -> None:
    """End a task without landing it.

    Its work so far stays pinned in the repository.
    """
    from thrum.messages.people import CancelTask

    _decide(task, by, CancelTask, lambda view: f"{task}: cancelled", why=why)


def _decide(task: str, by: str | None, kind: type[Any], told: Callable[[dict[str, Any]], str], **words: str) -> None:
    session, asks = Session.open(), who(by)
    with session.connected([session.owner(task)]) as desk:
        view = desk.decide(kind, task, by=asks, **words)
    if invocation().json:
        console.emit(view)
    else:
        console.say(told(view))
