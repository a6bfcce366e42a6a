"""What is up in a project, as its supervisor last wrote it. Only reads; `thrum.tree` brings up and ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from thrum.files.lock import holder_of
from thrum.places import Places

KINDS = ("up", "run")
"""Who has a whole tree up, by what they wrote into the lock; a single command has only what it needs."""


def state(directory: Path) -> dict[str, Any] | None:
    """`{kind, pid, endpoint, digest, api, actors: [{name, pid, restarts, state, reason}]}`; None if nothing is up."""
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
