"""`thrum task diff` and `prompt`: what an attempt changed, and what it was told."""

from __future__ import annotations

from typing import Any

import click

from thrum.cli import console
from thrum.cli.program import Command, invocation
from thrum.cli.session import Session
from thrum.errors import NotFoundError


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
def prompt(task: str, attempt: int | None) -> None:
    """Show what the agent of a task's attempt was told: the prompt, and the system prompt if it has one."""
    session = Session.open()
    with session.connected([session.owner(task)]) as desk:
        chosen = attempt_of(desk.task(task), attempt)
        if not chosen["prompt_digest"]:
            raise NotFoundError(f"attempt {chosen['token']} of {task} has no prompt yet", remedy="it is being prepared")
        text = desk.text(task, chosen["prompt_digest"])
        system = desk.text(task, chosen["system_prompt_digest"])
    if invocation().json:
        console.emit({"task": task, "attempt": chosen["token"], "system_prompt": system, "prompt": text})
    else:
        parts = [f"[system prompt]\n{system}", f"[prompt]\n{text}"] if system else [text]
        console.page(console.clean("\n\n".join(part.rstrip("\n") for part in parts)))


def attempt_of(view: dict[str, Any], wanted: int | None) -> dict[str, Any]:
    """The attempt of the task that is meant, the latest where none is named.

    Raises:
        NotFoundError: there is none, or not that one.
    """
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
