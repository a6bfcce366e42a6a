"""What an agent said and did, in order, from what its program printed: one list of entries, whatever the program. Pure.

Programs that print JSON lines (Claude Code, Codex, OpenCode, Gemini CLI) are understood by the shape of each line; a
line that is none of theirs stands as it was printed. What is left out here is still in the output itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from thrum.records import to_plain, well_formed
from thrum.values import dataclass

ENTRY_CHARS = 4_000
"""A longer entry loses its middle."""
MOST_ENTRIES = 5_000
DEEPEST = 16
"""What is nested deeper is left out of an entry."""
LINE_CHARS = 16 * 1024 * 1024
"""A line that comes in pieces is not waited for any longer."""

Kind = Literal["said", "thought", "did", "got", "told", "failed", "printed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing that happened: the agent `said`, `thought`, `did` (a tool, with its input) or `got` something (what a
    tool gave back); it was `told` something, something `failed`, or its program `printed` a line."""

    kind: Kind
    text: str
    tool: str = ""
    """Its name, in one line."""


class Transcript:
    """The entries of an output that comes in pieces, however they are cut; lines that were printed one after another
    are one, within a piece."""

    def __init__(self) -> None:
        self._rest = ""

    def feed(self, piece: str) -> Iterator[Entry]:
        """The entries that are whole with this piece."""
        # Not `splitlines`: JSON may hold what else counts as the end of a line.
        *lines, self._rest = (self._rest + piece).split("\n")
        if len(self._rest) > LINE_CHARS:
            lines, self._rest = [*lines, self._rest], ""
        return _entries(lines)

    def end(self) -> Iterator[Entry]:
        """The entry that the last line is, where nothing ends it."""
        rest, self._rest = self._rest, ""
        return _entries([rest] if rest else [])


def entries(output: str) -> Iterator[Entry]:
    """The entries of an output, at most `MOST_ENTRIES` of them."""
    for count, entry in enumerate(_entries(output.removesuffix("\n").split("\n"))):
        if count == MOST_ENTRIES:
            yield Entry(kind="printed", text=f"[more than {MOST_ENTRIES} entries: the rest is in the output]")
            return
        yield entry


def _entries(lines: Iterable[str]) -> Iterator[Entry]:
    plain: list[str] = []
    for line in (*lines, None):
        found = None if line is None else _of_line(line)
        if found is None and line is not None:
            plain += line.rstrip("\r").split("\r")
            continue
        if any(text.strip() for text in plain):
            yield Entry(kind="printed", text=_bounded("\n".join(plain)))
        plain = []
        yield from found or ()


def json_lines(task: str, attempt: int, told: Iterable[Entry]) -> str:
    """The entries of a task's attempt as JSON, one a line: `{task, attempt, kind, text, tool}`."""
    # In ASCII alone: whatever an agent printed steers no terminal that this is shown on.
    return "".join(f"{json.dumps({'task': task, 'attempt': attempt, **to_plain(entry)})}\n" for entry in told)


def understood(shown: Iterable[Entry]) -> bool:
    """Whether any of them is more than a printed line."""
    return any(entry.kind != "printed" for entry in shown)


def _of_line(line: str) -> tuple[Entry, ...] | None:
    """What a line of JSON tells, perhaps nothing that matters; None for a line that is none of a known program's."""
    if not (line.startswith("{") and line.rstrip().endswith("}")):
        return None
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return None
    kind = said.get("type")
    if not isinstance(kind, str):
        return None
    if isinstance(said.get("message"), dict):
        return tuple(_of_blocks(said["message"].get("content"), kind))
    if isinstance(said.get("item"), dict):
        return tuple(_of_item(said["item"])) if kind == "item.completed" else ()
    if isinstance(said.get("part"), dict):
        return tuple(_of_part(said["part"], kind))
    if "error" in kind or "fail" in kind:
        error = said.get("error")
        return _one("failed", error.get("message") if isinstance(error, dict) else error or said.get("message"))
    if kind == "message":
        return _one("told" if said.get("role") == "user" else "said", said.get("content"))
    if kind == "tool_use":
        return _one("did", said.get("parameters"), _text(said.get("tool_name")))
    if kind == "tool_result":
        return _one("got", said.get("output"))
    if kind in _QUIET:
        return ()
    return None


_QUIET = frozenset(
    (
        *("system", "result", "init", "thread.started", "turn.started", "turn.completed", "rate_limit_event"),
        *("step_start", "step_finish"),
    )
)
"""Lines that say how a run goes, not what happens in it."""


def _of_blocks(content: Any, speaker: str) -> Iterator[Entry]:
    """Claude Code's messages."""
    if isinstance(content, str):
        yield from _one("said" if speaker == "assistant" else "told", content)
    for block in content if isinstance(content, list) else ():
        match block:
            case {"type": "text", "text": text}:
                yield from _one("said" if speaker == "assistant" else "told", text)
            case {"type": "thinking", "thinking": text}:
                yield from _one("thought", text)
            case {"type": "tool_use", "name": name, "input": given}:
                yield from _one("did", given, _text(name))
            case {"type": "tool_result", "content": got}:
                yield from _one("got", got)


def _of_item(item: dict[str, Any]) -> Iterator[Entry]:
    """Codex's items."""
    match item:
        case {"type": "agent_message", "text": text}:
            yield from _one("said", text)
        case {"type": "reasoning", "text": text}:
            yield from _one("thought", text)
        case {"type": "command_execution", "command": command}:
            yield from _one("did", command, "shell")
            yield from _one("got", item.get("aggregated_output"))
        case {"type": "error", "message": message}:
            yield from _one("failed", message)
        case {"type": str(kind)}:
            yield from _one("did", {name: value for name, value in item.items() if name not in ("id", "type")}, kind)


def _of_part(part: dict[str, Any], kind: str) -> Iterator[Entry]:
    """OpenCode's parts."""
    match part:
        case {"type": "text", "text": text}:
            yield from _one("said", text)
        case {"type": "reasoning", "text": text}:
            yield from _one("thought", text)
        case {"type": "tool", "tool": name, "state": {"input": given, **state}}:
            yield from _one("did", given, _text(name))
            yield from _one("got", state.get("output") or state.get("error"))


def _one(kind: Kind, value: Any, tool: str = "") -> tuple[Entry, ...]:
    text = _text(value)
    return (Entry(kind=kind, text=_bounded(text), tool=" ".join(_bounded(tool).split())),) if text.strip() else ()


def _text(value: Any, depth: int = 0) -> str:
    """A text, or what else a program put in its place, written out."""
    match value:
        case str():
            return value
        case None:
            return ""
        case {"command": str(command)} if len(value) <= 2:
            return command
        case {"type": "text", "text": str(text)}:
            return text
        case list() | dict() if depth == DEEPEST:
            return "[…]"
        case list():
            return "\n".join(filter(None, (_text(one, depth + 1) for one in value)))
        case dict():
            return "\n".join(f"{name}: {_text(one, depth + 1)}" for name, one in value.items())
    return str(value)


def _bounded(text: str) -> str:
    end = ENTRY_CHARS // 4
    left_out = len(text) - ENTRY_CHARS
    if left_out > 0:
        text = f"{text[: ENTRY_CHARS - end]}\n[… {left_out} characters left out …]\n{text[-end:]}"
    return well_formed(text)
