"""`thrum task add`."""

from __future__ import annotations

import hashlib
import sys
from typing import IO

import click

from thrum.cli import console
from thrum.cli.program import Command, invocation
from thrum.cli.session import Session, who
from thrum.errors import UsageError


@click.command(cls=Command)
@click.option("--repo", metavar="NAME", help="The repository; may be left out when there is just one.")
@click.option("--title", required=True, metavar="TEXT", help="What is to be done, in a few words.")
@click.option("--description", metavar="TEXT", help="All that the agent should know.")
@click.option("--description-file", type=click.File("rb"), metavar="FILE", help="The same from a file; - is stdin.")
@click.option("--depends-on", multiple=True, metavar="ID", help="A task that must have merged before; repeatable.")
@click.option("--priority", type=click.IntRange(-1_000_000, 1_000_000), default=0, help="Higher goes first.")
@click.option("--by", metavar="NAME", help="Who asks. [default: THRUM_USER, else the login name]")
@click.option("--key", metavar="TEXT", help="Makes it safe to call again: the same key adds the task only once a day.")
def add(
    repo: str | None,
    title: str,
    description: str | None,
    description_file: IO[bytes] | None,
    depends_on: tuple[str, ...],
    priority: int,
    by: str | None,
    key: str | None,
) -> None:
    """Queue a task and print its id.

    The id is printed once the task is on disk.
    """
    from thrum.intake import check_new_task
    from thrum.messages.people import AddTask

    session, asks = Session.open(), who(by)
    name = session.repo(repo)
    text = _description(description, description_file)
    asked = AddTask(title=_text("title", title), description=text, depends_on=depends_on, priority=priority)
    # Looked at here too, so that a typing error needs no actor to be told.
    check_new_task(asked, repo=name, known=depends_on)
    with session.connected([name, *map(session.owner, depends_on)]) as desk:
        view = desk.add(
            name,
            by=asks,
            title=asked.title,
            description=text,
            depends_on=depends_on,
            priority=priority,
            id=_message_id(key),
        )
    if invocation().json:
        console.emit(view)
    else:
        console.say(view["id"])


def _description(text: str | None, file: IO[bytes] | None) -> str:
    if file is None:
        return _text("description", text or "")
    if text is not None:
        raise UsageError("--description and --description-file exclude each other")
    if file is sys.stdin.buffer and sys.stdin.isatty():
        console.note("Reading the description from the terminal; end it with Ctrl-D.")
    try:
        # A mark at the beginning is what some editors leave.
        return file.read().decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise UsageError(f"the description in {file.name} is not UTF-8 text (byte {error.start})") from None


def _text(name: str, text: str) -> str:
    """The text of an argument; one that was no UTF-8 cannot be sent."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"the {name} is not UTF-8 text") from None
    return text


def _message_id(key: str | None) -> str | None:
    # Not the key itself: it must not meet the id of any other message.
    return None if key is None else "add." + hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()
