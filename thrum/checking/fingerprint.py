"""What the result of a check depends on beside the commit and its definition, as far as this machine can tell."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from typing import Any

SYSTEM = (
    "/var/lib/dpkg/status",
    "/var/lib/rpm",
    "/var/lib/pacman/local",
    "/lib/apk/db/installed",
    "/usr/bin",
    "/usr/lib",
    "/usr/local/bin",
    "/usr/local/lib",
)
"""What changes when something is installed for the whole machine."""


def fingerprint(settings: Any, variables: Mapping[str, str], programs: Iterable[str], setups: Iterable[str]) -> str:
    """A digest of the sandbox's settings (plain data), the variables, the programs (paths) and the setups (paths).

    A program or a setup that was changed, replaced or removed gives another one, as does another kernel, and whatever
    was installed on the machine by its package manager.
    """
    parts = {
        "settings": settings,
        "variables": dict(variables),
        "programs": [_facts(os.path.realpath(path)) for path in programs],
        "setups": [_facts(path) for path in setups],
        "system": [_facts(path) for path in SYSTEM],
        "kernel": [os.uname().release, os.uname().machine],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _facts(path: str) -> list[Any]:
    try:
        found = os.stat(path)
    except OSError:
        return [path, "is not there"]
    return [path, found.st_size, found.st_mtime_ns, found.st_ino]
