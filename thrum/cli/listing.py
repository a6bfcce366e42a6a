"""`thrum task list`."""

from __future__ import annotations

from typing import Any

import click

from thrum.cli import console
from thrum.cli.program import Command, error_view, invocation
from thrum.cli.session import Session
from thrum.errors import Exit, ThrumError
from thrum.task import ENDS, State

OPEN = "open"


@click.command("list", cls=Command)
@click.option("--repo", "repos", multiple=True, metavar="NAME", help="Only of this repository; repeatable.")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([OPEN, *(state.value for state in State)], case_sensitive=False),
    help="Only in this state; repeatable. `open`: all that have not ended.",
)
def list_(repos: tuple[str, ...], states: tuple[str, ...]) -> int:
    """List tasks, oldest first."""
    session = Session.open()
    names = [session.repo(name) for name in repos or session.repos]
    wanted = tuple(dict.fromkeys(name for state in states for name in _states(state)))
    views: list[dict[str, Any]] = []
    code: int = Exit.DONE
    with session.connected(names) as desk:
        for name in dict.fromkeys(names):
            try:
                views += desk.tasks(name, wanted)
            except ThrumError as error:
                # One repository that is away must not hide the others; that it is missing is in the exit code.
                console.tell_error(f"{name}: {error.message}", error.remedy)
                code = code or error.exit_code
                missing = error_view(error.code, f"{name}: {error.message}", error.remedy)
    views.sort(key=lambda view: (view["created_at"], view["id"]))
    if invocation().json:
        console.emit(views if views or not code else {"error": missing})
        return code
    if views:
        rows = [[v["id"], v["state"], waits(v), str(v["retries"]), v["title"]] for v in views]
        console.say("\n".join(console.table(rows, ("ID", "STATE", "WAITS FOR", "RETRIES", "TITLE"))))
    elif not code:
        console.note("No tasks." if not (repos or states) else "No such tasks.")
    return code


def waits(view: dict[str, Any]) -> str:
    """What the task waits for, as a word; `-` if it does not."""
    return "-" if view["waiting_for"] == "none" else str(view["waiting_for"])


def _states(name: str) -> tuple[str, ...]:
    return tuple(state.value for state in State if state not in ENDS) if name == OPEN else (name,)
