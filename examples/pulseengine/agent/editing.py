"""Editing files of the work tree. What is not as it was known is told, and ends the agent."""

import sys
from pathlib import Path


def edit(name: str, *pairs: tuple[str, str]) -> None:
    """Replace, one after the other, texts that each stand in the file once."""
    text = Path(name).read_text()
    for old, new in pairs:
        if text.count(old) != 1:
            sys.exit(f"I do not know this {name}: {text.count(old)} times {old!r}")
        text = text.replace(old, new)
    Path(name).write_text(text)
    say(f"edited {name}")


def write(name: str, text: str) -> None:
    """Write a whole file."""
    Path(name).write_text(text)
    say(f"wrote {name}")


def say(text: str) -> None:
    """Print for `thrum task log`."""
    print(text, flush=True)
