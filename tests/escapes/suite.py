"""All attempts, by what they are about."""

from __future__ import annotations

from tests.escapes import Attempt
from tests.escapes.filling import FILLING
from tests.escapes.kernel import KERNEL
from tests.escapes.planting import PLANTING
from tests.escapes.processes import PROCESSES
from tests.escapes.reaching import REACHING
from tests.escapes.reading import READING
from tests.escapes.telling import TELLING
from tests.escapes.writing import WRITING

GROUPS: dict[str, tuple[Attempt, ...]] = {
    "reading": READING,
    "writing": WRITING,
    "network and sockets": REACHING,
    "processes": PROCESSES,
    "kernel and privileges": KERNEL,
    "using up the machine": FILLING,
    "git": PLANTING,
    "terminals": TELLING,
}
DIRECT: tuple[Attempt, ...] = (*READING, *WRITING, *REACHING, *PROCESSES, *KERNEL)


def table() -> str:
    """All of them in Markdown, each with what becomes of it."""
    lines = ["| about | attempt | `os-native` | `docker` | `none` |", "|---|---|---|---|---|"]
    for group, attempts in GROUPS.items():
        lines += [f"| {group} | {one.name} | held | held | {one.none} |" for one in attempts]
    return "\n".join(lines) + "\n"
