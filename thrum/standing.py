"""What is up in a project, as its supervisor last wrote it. Only reads; `thrum.tree` brings up and ends."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from thrum.errors import BusyError, ThrumError
from thrum.files.lock import holder_of
from thrum.places import Places

KINDS = ("up", "run")
"""Who has a whole tree up, by what they wrote into the lock; a single command has only what it needs."""


def state(directory: Path) -> dict[str, Any] | None:
    """What is up, None if nothing is: `{kind, pid, endpoint, digest, api, actors: [{name, pid, restarts, state, …}]}`.

    An actor's `state` is running, restarting or failed: given up. `reason` is what it ended with, where it is not
    running; one that was given up is tried `again` or not.
    """
    places = Places(directory)
    holder = holder_of(places.lock)
    if holder is None or holder.kind not in KINDS:
        return None
    try:
        found: dict[str, Any] = json.loads(places.tree.read_text())
        found["api"] = places.api.read_text().strip() if places.api.exists() else ""
    except FileNotFoundError:
        return None
    return found


def refuse_given_up(found: dict[str, Any] | None, repos: Iterable[str]) -> None:
    """Raise what a command would wait for in vain to hear: that every actor which it is for was given up, and why.

    Raises:
        BusyError: one of them will be tried again, as the cause lies outside of it.
        ThrumError: none will, until a person mends it.
    """
    names = {f"repo.{repo}" for repo in repos}
    rows = [row for row in (found or {"actors": []})["actors"] if row["name"] in names and row["state"] == "failed"]
    if names and len(rows) == len(names):
        kind = BusyError if any(row["again"] for row in rows) else ThrumError
        reasons = "; ".join(f"{row['name']} was given up: {row['reason']}" for row in rows)
        raise kind(reasons, remedy="`thrum check` looks deeper; once it is mended, `thrum reload` starts it anew")
