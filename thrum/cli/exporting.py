"""`thrum task export`: the whole story of one task in one file, to be kept or shown to somebody else."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from thrum.cli import console
from thrum.cli.console import moment
from thrum.cli.program import Command
from thrum.cli.session import Session
from thrum.cli.telling import write
from thrum.cli.timeline import sentence

if TYPE_CHECKING:
    from thrum.desk import Desk
    from thrum.transcript import Entry

View = dict[str, Any]

_TITLES = {
    "said": "said",
    "thought": "thought",
    "did": "did",
    "got": "got",
    "told": "was told",
    "failed": "failed",
    "printed": "printed",
}
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "pre{background:#f4f4f4;padding:.6rem;overflow-x:auto;white-space:pre-wrap;overflow-wrap:anywhere}"
    "h2{border-bottom:1px solid #ccc;margin-top:2rem}dt{font-weight:600;margin-top:.6rem}dd{margin:0}"
    "@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}pre{background:#262626}}"
)


@click.command(cls=Command)
@click.argument("task", metavar="ID")
@click.option(
    "--format",
    "form",
    type=click.Choice(["md", "html", "json", "jsonl"]),
    default="md",
    show_default=True,
    help="The file's form.",
)
@click.option("--output", "-o", type=click.Path(dir_okay=False, writable=True), help="Write it there, not to stdout.")
def export(task: str, form: str, output: str | None) -> None:
    """Tell the whole story of a task: what was asked, each attempt, what the gates said, who approved.

    As `jsonl` it is the transcripts alone, one thing that an agent said or did a line. Values of keys and secrets are
    masked, as everywhere.
    """
    session = Session.open()
    with session.connected([session.owner(task)]) as desk:
        story = _story(desk, task)
    text = {"md": _markdown, "html": _html, "json": _json, "jsonl": _json_lines}[form](story)
    if output is None:
        write(text)
    else:
        with open(output, "w", encoding="utf-8") as file:
            file.write(text)
        console.note(f"Wrote {output}")


def _story(desk: Desk, task: str) -> View:
    """Everything that is known: the task as `task show --json` gives it, and the attempts with all that was said."""
    from thrum.transcript import entries

    view, history = desk.task(task), desk.history(task)
    attempts = []
    for attempt in view["attempts"]:
        attempts.append(
            {
                **attempt,
                "system_prompt": desk.text(task, attempt["system_prompt_digest"]),
                "prompt": desk.text(task, attempt["prompt_digest"]),
                "transcript": list(entries(desk.all_said(task, attempt))),
            }
        )
    changed = any(attempt["head"] for attempt in attempts)
    diff = desk.diff(task, 0) if changed else None
    return {**view, "attempts": attempts, "history": history, "diff": diff}


def _json(story: View) -> str:
    from thrum.records import to_plain

    attempts = [{**one, "transcript": to_plain(one["transcript"])} for one in story["attempts"]]
    return console.as_json({**story, "attempts": attempts}, indent=2) + "\n"


def _json_lines(story: View) -> str:
    from thrum.transcript import json_lines

    return "".join(json_lines(story["id"], one["token"], one["transcript"]) for one in story["attempts"])


# --- One outline, written in two ways ---------------------------------------------------------------------------------

_Piece = tuple[str, str]
"""What a piece is (`title`, `part`, `attempt`, `line`, `text`, `code`, `diff`), and its content."""


def _outline(story: View) -> Iterator[_Piece]:
    yield "title", f"{story['id']}: {story['title']}"
    state = f"{story['state']}: {story['reason']}" if story["reason"] else story["state"]
    yield "line", f"State: {state}"
    yield "line", f"Added {moment(story['created_at'])} by {story['created_by']}"
    commits = story["commits"]
    for name in ("base", "head", "landed"):
        if commits[name]:
            yield "line", f"{name.capitalize()}: {commits[name]}"
    if story["cost_usd"]:
        yield "line", f"Cost: ${story['cost_usd']:.2f}"
    if story["description"].strip():
        yield "part", "Description"
        yield "text", story["description"].strip()
    for attempt in story["attempts"]:
        yield from _attempt(attempt)
    if story["gates"]:
        yield "part", "Gates of the work that stands"
        for gate in story["gates"]:
            yield "line", f"{gate['gate']}: {gate['verdict']}"
            for check in gate["checks"]:
                because = f" ({check['reason']})" if check["reason"] else ""
                yield "line", f"{gate['gate']}, {check['name']}: {check['verdict']}{because}"
    if story["approvals"]:
        yield "part", "Approvals"
        for given in story["approvals"]:
            yield "line", f"{given['by']}, {moment(given['at'])}, {given['commit']}"
    if story["diff"] is not None:
        yield "part", "The change"
        yield "diff", story["diff"]["diff"]
    yield "part", "History"
    for event in story["history"]:
        yield "line", f"{moment(event['at'])}  {sentence(event)}"


def _attempt(attempt: View) -> Iterator[_Piece]:
    by = " ".join(filter(None, (attempt["backend"], attempt["model"])))
    yield "part", f"Attempt {attempt['token']}" + (f" by {by}" if by else "")
    ended = attempt["ending"] or "under way"
    because = f": {attempt['reason']}" if attempt["reason"] else ""
    yield "line", f"{ended}{because}"
    if attempt["failure"]:
        yield "line", f"{attempt['failure']}: {attempt['advice']}"
    if attempt["system_prompt"]:
        yield "attempt", "Its system prompt"
        yield "code", attempt["system_prompt"].rstrip("\n")
    if attempt["prompt"]:
        yield "attempt", "Its prompt"
        yield "code", attempt["prompt"].rstrip("\n")
    if attempt["transcript"]:
        yield "attempt", "What happened"
        for entry in attempt["transcript"]:
            yield "line", _head(entry)
            yield "code", entry.text


def _head(entry: Entry) -> str:
    return f"{_TITLES[entry.kind]} {entry.tool}".strip()


def _markdown(story: View) -> str:
    marks = {"title": "# ", "part": "## ", "attempt": "### ", "line": "- "}
    lines: list[str] = []
    for kind, text in _outline(story):
        match kind:
            case "code" | "diff" | "text":
                fence = "`" * (1 + max([2, *map(len, re.findall(r"`{3,}", text))]))
                lines += ["", f"{fence}{'diff' if kind == 'diff' else ''}", text, fence, ""]
            case "line":
                lines.append(f"- {_escaped(text)}")
            case _:
                lines += ["", f"{marks[kind]}{_escaped(text)}", ""]
    return "\n".join(lines).strip("\n") + "\n"


def _escaped(text: str) -> str:
    """On one line, and without what Markdown or HTML would take for its own."""
    return re.sub(r"([\\`*_\[\]<>#|])", r"\\\1", " ".join(text.split()))


def _html(story: View) -> str:
    tags = {"title": "h1", "part": "h2", "attempt": "h3", "line": "p", "text": "pre", "code": "pre", "diff": "pre"}
    body = "\n".join(f"<{tags[kind]}>{html.escape(text)}</{tags[kind]}>" for kind, text in _outline(story))
    title = html.escape(f"{story['id']}: {story['title']}")
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{title}</title>\n'
        f'<meta name="viewport" content="width=device-width">\n<style>{_STYLE}</style>\n{body}\n</html>\n'
    )
