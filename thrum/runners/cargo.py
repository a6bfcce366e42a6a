"""The command lines by which `cargo test` lists its tests and runs some of them.

libtest's own arguments stand after `--`: `--list` prints `NAME: test` for each, `--exact` takes names as they are.
Names are those of all test programs of the run; one that two of them have runs in both.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection

from thrum.gate import Command

NAMES_BYTES = 1024 * 1024
"""More names than this make no argument list: the kernel takes 2 MiB in all."""

_SHELL = re.compile(r"[$`*?(){}<>|&;~#!\n\\]")
_LISTED = re.compile(r"(\S+): test")


def listing(command: Command) -> tuple[str, ...] | None:
    """The arguments that list the tests of a `cargo test`; None for any other command, or one that needs a shell."""
    words = _words(command)
    return None if words is None else (*_with_separator(words), "--list")


def read_listing(output: str) -> list[str]:
    """The names that a listing holds, each once. Doc tests have spaces in theirs and are left out: rustdoc would
    take such a name apart."""
    found = (_LISTED.fullmatch(line) for line in output.splitlines())
    return list(dict.fromkeys(name[1] for name in found if name))


def just_these(command: Command, names: Collection[str]) -> tuple[str, ...] | None:
    """The arguments that run the tests of these names; None where there are too many for a command line."""
    words = _words(command)
    if words is None or sum(len(name.encode()) + 9 for name in names) > NAMES_BYTES:
        return None
    exact = () if "--exact" in words else ("--exact",)
    return (*_with_separator(words), *exact, *sorted(names))


def _words(command: Command) -> tuple[str, ...] | None:
    if isinstance(command, str):
        if _SHELL.search(command):
            return None
        try:
            words = tuple(shlex.split(command))
        except ValueError:
            return None
    else:
        words = command
    rest = words[1:]
    if rest and rest[0].startswith("+"):  # a toolchain
        rest = rest[1:]
    return words if words[:1] == ("cargo",) and rest[:1] in (("test",), ("t",)) else None


def _with_separator(words: tuple[str, ...]) -> tuple[str, ...]:
    return words if "--" in words else (*words, "--")
