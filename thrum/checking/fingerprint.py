"""What the result of a check depends on beside the commit and its definition, as far as this machine can tell."""

from __future__ import annotations

import glob
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
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
PACKAGES = tuple(
    f"{prefix}/{folder}"
    for prefix in ("/usr", "/usr/local")
    for folder in ("lib/python3*/*-packages", "lib64/python3*/*-packages", "lib/node_modules", "share/*/site_ruby")
)
"""Where installers put what a check loads, each package with an entry of its own: these are looked at one by one."""


def fingerprint(
    settings: Any,
    variables: Mapping[str, str],
    programs: Iterable[str],
    setups: Iterable[str],
    packages: Iterable[str] = PACKAGES,
) -> str:
    """A digest of the sandbox's settings (plain data), the variables, the programs (paths) and the setups (paths).

    A program or a setup that was changed, replaced or removed gives another one, as does another kernel, and whatever
    was installed on the machine by its package manager, or below `packages` (patterns) by that of a language.
    """
    parts = {
        "settings": settings,
        "variables": dict(variables),
        "programs": [_facts(os.path.realpath(path)) for path in programs],
        "setups": [_facts(path) for path in setups],
        "packages": [_facts(path) for path in _entries(packages)],
        "system": [_facts(path) for path in SYSTEM],
        "kernel": [os.uname().release, os.uname().machine],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _entries(patterns: Iterable[str]) -> Iterator[str]:
    for pattern in patterns:
        for folder in sorted(glob.glob(pattern)):
            yield folder
            yield from sorted(glob.glob(f"{glob.escape(folder)}/*"))


def _facts(path: str) -> list[Any]:
    try:
        found = os.stat(path)
    except OSError:
        return [path, "is not there"]
    return [path, found.st_size, found.st_mtime_ns, found.st_ino]
