"""`thrum task log`: what the agent of an attempt said and did. While it does so: `thrum.cli.following`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from thrum.cli import console
from thrum.cli.program import Command, invocation
from thrum.cli.reading import attempt_of
from thrum.cli.session import Session

if TYPE_CHECKING:
    from thrum.desk import Desk
    from thrum.transcript import Entry

View = dict[str, Any]


@click.command(cls=Command)
@click.argument("task", metavar="ID")
@click.option("--attempt", type=click.IntRange(1), default=None, help="Another attempt than the latest.")
@click.option("--follow", "-f", is_flag=True, help="Go on until the task needs a person or has ended.")
@click.option("--raw", is_flag=True, help="As it was printed, also where that is JSON for programs.")
def log(task: str, attempt: int | None, follow: bool, raw: bool) -> None:
    """Show what the agent of a task's attempt said and did; of one that is under way, so far.

    With --follow it goes on with the attempts that come after, unless --attempt names the only one that is wanted.
    """
    session = Session.open()
    with session.connected([session.owner(task)]) as desk:
        if follow:
            from thrum.cli.following import Following

            Following(session, desk, task, attempt, raw=raw).go()
        else:
            _show(desk, task, attempt_of(desk.task(task), attempt), raw=raw)


def _show(desk: Desk, task: str, attempt: View, *, raw: bool) -> None:
    from thrum.records import to_plain
    from thrum.transcript import entries, understood

    text = desk.all_said(task, attempt)
    told = list(entries(text))
    if invocation().json:
        shown = {name: attempt[name] for name in ("ending", "reason", "exit_code", "output_bytes")}
        value = {"task": task, "attempt": attempt["token"], **shown, "text": text, "transcript": to_plain(told)}
        console.emit(value)
        return
    if raw or not understood(told):
        write(text)
    else:
        console.say("\n".join(entry_lines(told)))
    if attempt["ending"] is None:
        printed = "" if text else ", and has printed nothing yet"
        console.note(f"Attempt {attempt['token']} is under way{printed}; `thrum task log {task} -f` follows it.")
    elif not attempt["output_bytes"]:
        console.note(f"The agent of attempt {attempt['token']} printed nothing.")


def entry_lines(told: Iterable[Entry], before: str = "") -> Iterator[str]:
    """The entries as lines; `before` is the kind of the entry that they follow."""
    colours = {"said": "", "did": "cyan", "failed": "red"}
    for entry in told:
        # The agent chose the tool's name too.
        head = console.clean(f"{entry.kind} {entry.tool}".rstrip())
        if not (entry.kind == before == "printed"):
            yield console.paint(f"[{head}]", colours.get(entry.kind, "bright_black"), bold=entry.kind == "said")
        yield console.clean(entry.text.rstrip("\n"))
        before = entry.kind


def write(text: str) -> None:
    """Print a text as it is; to a terminal without what would steer it."""
    # color=True: click would take colours out of what goes to a file.
    click.echo(console.clean(text) if sys.stdout.isatty() else text, nl=False, color=True)
