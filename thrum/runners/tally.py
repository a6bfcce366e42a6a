"""How what a runner said becomes `Tally`: counts added up, names bounded. What it printed is untrusted."""

from __future__ import annotations

import re
from collections.abc import Iterable

from thrum.gate import MOST_NAMES, Tally
from thrum.records import well_formed

LONGEST_NAME = 500
"""Characters of a name that are kept; names travel and are stored, and whoever wrote the tests chose them."""

_COUNT = re.compile(r"([0-9]{1,9}) ([A-Za-z][A-Za-z ]*)")


def told(*, run: int, failed: int = 0, skipped: int = 0, left_out: int = 0, failing: Iterable[str] = ()) -> Tally:
    """What one run said, made consistent.

    What failed counts as run, also where it failed before its first line (an import, a fixture, a build): `failed` is
    never above `run`. Names are made well formed and cut at `LONGEST_NAME`, each kept once, at most `MOST_NAMES` of
    them.
    """
    names = dict.fromkeys(_bounded(name) for name in failing if name)
    failing = tuple(names)[:MOST_NAMES]
    return Tally(run=max(run, failed), failed=failed, skipped=skipped, left_out=left_out, failing=failing)


def together(parts: Iterable[Tally]) -> Tally:
    """Several runs as one."""
    runs = list(parts)
    return told(
        run=sum(part.run for part in runs),
        failed=sum(part.failed for part in runs),
        skipped=sum(part.skipped for part in runs),
        left_out=sum(part.left_out for part in runs),
        failing=[name for part in runs for name in part.failing],
    )


def together_if_any(parts: Iterable[Tally]) -> Tally | None:
    """Several runs as one, None where there is none: silence is not a run without tests."""
    runs = list(parts)
    return together(runs) if runs else None


def counted(text: str, separator: str = ", ") -> dict[str, int]:
    """The numbers of a list such as `1 failed, 2 passed` by their words; parts of any other form are left out."""
    found = (_COUNT.fullmatch(part.strip()) for part in text.split(separator))
    return {match[2]: int(match[1]) for match in found if match}


def _bounded(name: str) -> str:
    name = well_formed(name)
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
