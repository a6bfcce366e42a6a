"""`thrum task diff`, `log` and `prompt`: what an attempt changed, printed, and was told."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from thrum.cli import console
from thrum.cli.program import Command, invocation
from thrum.cli.session import Session
from thrum.errors import NotFoundError

if TYPE_CHECKING:
    from thrum.desk import Desk
    from thrum.transcript import Entry

LOOK_EVERY_S = 1.0
"""How often a log that is followed asks whether the attempt has ended."""


@click.command(cls=Command)
@click.argument("task", metavar="ID")
@click.option("--attempt", type=click.IntRange(1), default=None, help="Another attempt than the latest.")
def diff(task: str, attempt: int | None) -> None:
    """Show what a task's attempt changed."""
    session = Session.open()
    repo = session.owner(task)
    with session.connected([repo]) as desk:
        found = desk.diff(task, attempt or 0)
    if invocation().json:
        console.emit(found)
        return
    if found["truncated"]:
        git = f"git -C PATH diff {found['base'][:12]} {found['head'][:12]} (PATH: that of {repo})"
        console.tell_warning("the diff is too long to be shown whole", f"see all of it with: {git}")
    console.page(_diff_text(found))


def _diff_text(found: dict[str, Any]) -> str:
    files = "\n".join(_file(name, name in found["protected"]) for name in found["files"])
    if found["leaks"]:
        files += f"\n{console.paint('holds a secret, or may:', 'yellow')} {console.clean(', '.join(found['leaks']))}"
    head = f"{found['task']}, attempt {found['attempt']}: {found['head'][:12]} on {found['base'][:12]}"
    body = "\n".join(map(_coloured, console.clean(found["diff"]).rstrip("\n").split("\n")))
    return f"{head}\n{console.counted(len(found['files']), 'file')}:\n{files}\n\n{body}"


def _file(name: str, protected: bool) -> str:
    mark = console.paint("  protected", "yellow") if protected else ""
    return f"  {console.clean(name)}{mark}"


def _coloured(line: str) -> str:
    if line.startswith(("diff ", "index ", "--- ", "+++ ")):
        return console.paint(line, "", bold=True)
    colour = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])
    return console.paint(line, colour) if colour else line


@click.command(cls=Command)
@click.argument("task", metavar="ID")
@click.option("--attempt", type=click.IntRange(1), default=None, help="Another attempt than the latest.")
@click.option("--follow", "-f", is_flag=True, help="Go on until the attempt ends.")
@click.option("--raw", is_flag=True, help="As it was printed, also where that is JSON for programs.")
def log(task: str, attempt: int | None, follow: bool, raw: bool) -> None:
    """Show what the agent of a task's attempt said and did.

    Of an attempt that is under way only what comes from now on can be shown (--follow); afterwards all of it.
    """
    session = Session.open()
    with session.connected([session.owner(task)]) as desk:
        chosen = _attempt(desk.task(task), attempt)
        if chosen["ending"] is not None:
            _print_kept(desk, task, chosen, raw=raw)
        elif follow:
            _follow(desk, task, chosen["token"])
        else:
            raise NotFoundError(
                f"attempt {chosen['token']} of {task} is still under way", remedy=f"thrum task log {task} --follow"
            )


def _attempt(view: dict[str, Any], wanted: int | None) -> dict[str, Any]:
    attempts = view["attempts"]
    if not attempts:
        raise NotFoundError(f"{view['id']} has had no attempt yet", remedy="`thrum run` or `thrum up` starts one")
    if wanted is None:
        return dict(attempts[-1])
    found = next((one for one in attempts if one["token"] == wanted), None)
    if found is None:
        there = console.listed((str(one["token"]) for one in attempts), most=20)
        raise NotFoundError(f"{view['id']} has no attempt {wanted}", remedy=f"it has: {there}")
    return dict(found)


def _print_kept(desk: Desk, task: str, attempt: dict[str, Any], *, raw: bool) -> None:
    from thrum.records import to_plain
    from thrum.transcript import entries, understood

    text, total = "", 0
    for piece in _kept(desk, task, attempt["output_digest"]):
        text, total = text + piece["text"], piece["total_bytes"]
    told = list(entries(text))
    if invocation().json:
        shown = {name: attempt[name] for name in ("ending", "reason", "exit_code", "output_bytes")}
        value = {"task": task, "attempt": attempt["token"], **shown, "text": text, "transcript": to_plain(told)}
        console.emit(value)
        return
    if raw or not understood(told):
        _write(text)
    else:
        console.say("\n".join(_entry_lines(told)))
    if not attempt["output_bytes"]:
        console.note(f"The agent of attempt {attempt['token']} printed nothing.")
    elif attempt["output_bytes"] > total:
        console.tell_warning(f"{total} of {attempt['output_bytes']} bytes were kept")


def _entry_lines(told: Iterable[Entry]) -> Iterator[str]:
    colours = {"said": "", "did": "cyan", "failed": "red"}
    for entry in told:
        head = f"{entry.kind} {entry.tool}".rstrip()
        yield console.paint(f"[{head}]", colours.get(entry.kind, "bright_black"), bold=entry.kind == "said")
        yield console.clean(entry.text.rstrip("\n"))


def kept_text(desk: Desk, task: str, digest: str) -> str:
    """A kept output, whole."""
    return "".join(piece["text"] for piece in _kept(desk, task, digest))


def _kept(desk: Desk, task: str, digest: str) -> Iterator[dict[str, Any]]:
    """The pieces of a kept output; none where there is no digest."""
    offset, total = 0, 1 if digest else 0
    while offset < total:
        piece = desk.output(task, digest, offset)
        yield piece
        if not piece["bytes"]:
            return
        offset, total = offset + piece["bytes"], piece["total_bytes"]


@click.command(cls=Command)
@click.argument("task", metavar="ID")
@click.option("--attempt", type=click.IntRange(1), default=None, help="Another attempt than the latest.")
def prompt(task: str, attempt: int | None) -> None:
    """Show what the agent of a task's attempt was told."""
    session = Session.open()
    with session.connected([session.owner(task)]) as desk:
        chosen = _attempt(desk.task(task), attempt)
        if not chosen["prompt_digest"]:
            raise NotFoundError(f"attempt {chosen['token']} of {task} has no prompt yet", remedy="it is being prepared")
        text = kept_text(desk, task, chosen["prompt_digest"])
    if invocation().json:
        console.emit({"task": task, "attempt": chosen["token"], "prompt": text})
    else:
        console.page(console.clean(text.rstrip("\n")))


def _follow(desk: Desk, task: str, token: int) -> None:
    """Print what the attempt's agent prints until the attempt has ended."""
    from thrum.desk import owner_of

    # Names are prefixes of others (`a-1` of `a-12`), so each message is looked at.
    topics = (f"output.{task}", f"task.{owner_of(desk.repos, task)}")
    desk.client.events(topics, timeout_s=0)
    ended = False
    while True:
        for event in desk.client.events(topics, timeout_s=0 if ended else LOOK_EVERY_S):
            if _print_piece(event.body, task, token):
                break
        if ended:
            break
        attempt = _attempt(desk.task(task), token)
        # What the agent printed last has arrived before this answer did: it is printed in one more round.
        ended = attempt["ending"] is not None
    reason = f": {console.clean(attempt['reason'])}" if attempt["reason"] else ""
    console.note(f"Attempt {token} {attempt['ending']}{reason}")


def _print_piece(body: Any, task: str, token: int) -> bool:
    """Print a piece of output; true if the message says that the task moved."""
    from thrum.messages.control import Dropped
    from thrum.messages.topics import AgentOutput, TaskChanged

    match body:
        case AgentOutput() if body.task == task and body.token == token:
            if invocation().json:
                console.emit_line({"task": task, "attempt": token, "text": body.text})
            else:
                _write(body.text)
        case Dropped():
            console.tell_warning(f"{body.count} pieces of output did not arrive; all is kept for later")
        case TaskChanged():
            return body.task == task
    return False


def _write(text: str) -> None:
    """Print a piece as it is; to a terminal without what would steer it."""
    # color=True: click would take colours out of what goes to a file.
    click.echo(console.clean(text) if sys.stdout.isatty() else text, nl=False, color=True)
