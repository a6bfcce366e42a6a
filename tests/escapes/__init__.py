"""Attempts to get out of a sandbox, as values: what an agent would run, and by what it would show that it worked.

Whether one got out is judged from outside (`tests.escapes.world`, `tests.escapes.planted`), the same way for all: a
secret of the host in the output, anything changed, heard or signalled outside of the work tree, a ref that moved, a
canary that sang. Only where the kernel alone would know, the script itself says so, with a word that it is given.
`python -m tests.escapes` prints the table of docs/security.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

In = Literal["gets out", "gets out as root", "held", "not tried"]
"""What becomes of an attempt in the sandbox `none`. Not tried is what would hurt the machine that tests run on."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One attempt. Its script finds the world's facts in its environment; `python` says which language it is in."""

    name: str
    script: str
    python: bool = False
    none: In = "gets out"
    allow: bool = False
    """Whether its allow list names the port LISTED on loopback."""
    env: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Filling(Attempt):
    """An attempt to use up the machine: held if the run ends, for this reason, and leaves no more than it may."""

    none: In = "not tried"
    ends: str = ""
    """A pattern of the outcome's reason; empty for a program that ends by itself with code 0."""
    wall_s: float = 120.0


@dataclass(frozen=True, kw_only=True)
class Planting(Attempt):
    """Something left in a clone for git to trip over outside. `naive`: it sings if git is simply run on the tree."""

    none: In = "held"
    naive: bool = True


@dataclass(frozen=True, kw_only=True)
class Telling(Attempt):
    """Something that is to be shown to a person: held if no control character reaches the terminal."""

    none: In = "held"
    commands: tuple[tuple[str, ...], ...] = ()
    """Commands of `thrum`, to be followed by the task's id."""
