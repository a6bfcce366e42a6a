"""What reaches the terminal: results on stdout, all else on stderr; JSON alone, or text for a person.

Nothing here knows what a task is. Text that comes from agents, checks or repositories goes through `clean`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

import click

# C0 and C1 controls but for newline and tab, and the characters that turn the direction of writing: what an
# agent printed must neither steer the terminal nor show a person other code than what is there.
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_UNPRINTABLE = re.compile(f"{_STEERING.pattern}|[\ud800-\udfff]")


def emit(value: Any) -> None:
    """Print one JSON document to stdout."""
    click.echo(as_json(value, indent=2))


def emit_line(value: Any) -> None:
    """Print one JSON object as a line of its own, for what goes on and on."""
    click.echo(as_json(value))


def as_json(value: Any, *, indent: int | None = None) -> str:
    """The value as JSON that prints anywhere: what would steer a terminal, or is half a character, is escaped."""
    # All but ASCII stands within strings, where a character may always be written as its code.
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def say(text: str = "") -> None:
    """Print text to stdout: the result, for a person."""
    click.echo(_fitting(text, sys.stdout))


def note(text: str) -> None:
    """Print text to stderr: progress, warnings, hints."""
    click.echo(_fitting(text, sys.stderr), err=True)


def tell_error(message: str, remedy: str) -> None:
    """Print an error and what to do about it to stderr."""
    note(f"{paint('error:', 'red', stream=sys.stderr)} {clean(message)}")
    if remedy:
        note(f"{paint('hint:', 'cyan', stream=sys.stderr)}  {clean(remedy)}")


def tell_warning(message: str, remedy: str = "") -> None:
    """Print a warning to stderr."""
    note(f"{paint('warning:', 'yellow', stream=sys.stderr)} {clean(message)}")
    if remedy:
        note(f"{paint('hint:', 'cyan', stream=sys.stderr)}    {clean(remedy)}")


def clean(text: str) -> str:
    """The text with every character that would steer a terminal made visible instead."""
    return _STEERING.sub(lambda found: f"\\x{ord(found[0]):02x}", text.replace("\r\n", "\n"))


def colours(stream: TextIO | None = None) -> bool:
    """Whether the stream is a terminal that is to be shown colours (see https://no-color.org)."""
    stream = stream or sys.stdout
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(text: str, colour: str, *, bold: bool = False, stream: TextIO | None = None) -> str:
    """The text in a colour, where the stream shows any."""
    return click.style(text, fg=colour or None, bold=bold or None) if colours(stream) else text


def table(rows: Sequence[Sequence[str]], heads: Sequence[str]) -> list[str]:
    """The rows as aligned lines under their heads; on a terminal the last column is cut to its width."""
    cells = [list(heads), *(list(map(clean, row)) for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(heads) - 1)]
    lines = ["  ".join([*(row[i].ljust(width) for i, width in enumerate(widths)), row[-1]]).rstrip() for row in cells]
    if not sys.stdout.isatty():
        return lines
    columns = shutil.get_terminal_size().columns
    return [line if len(line) <= columns else line[: columns - 1] + "…" for line in lines]


def page(text: str) -> None:
    """Show a long text: through the user's pager on a terminal, as it is elsewhere."""
    if not sys.stdout.isatty() or not sys.stdin.isatty():
        say(text)
        return
    os.environ.setdefault("LESS", "-FRX")
    click.echo_via_pager(text + "\n", color=colours() or None)


def indented(text: str, by: str = "    ") -> str:
    """The text with each line moved to the right."""
    return "\n".join(by + line for line in text.splitlines())


def moment(at: float) -> str:
    """A time of day with its date, where the user is."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def duration(seconds: float) -> str:
    """A duration in the two largest units that it fills."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def counted(number: int, one: str, many: str = "") -> str:
    """`1 task`, `2 tasks`; `many` where an `s` is not enough."""
    return f"{number} {one}" if number == 1 else f"{number} {many or one + 's'}"


def listed(items: Iterable[str], most: int = 5) -> str:
    """The items with commas between them, cut after `most`."""
    names = list(items)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def by_number(task: str) -> tuple[str, int]:
    """A sorting key for ids: `a-2` comes before `a-10`."""
    name, _, number = task.rpartition("-")
    return name, int(number) if number.isdecimal() else 0


def _fitting(text: str, stream: TextIO) -> str:
    """The text with what the stream's encoding lacks replaced, surrogates of undecodable names included."""
    encoding = stream.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
