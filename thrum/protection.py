"""Which changed paths are protected: those that patterns name, and two kinds that no pattern of names could. Pure."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import PurePosixPath

from thrum.fence import LINKS, MODULES
from thrum.globs import matched

RUNNERS = frozenset(
    (
        *("_pytest", "coverage", "exceptiongroup", "hypothesis", "iniconfig", "mypy", "packaging", "pip", "pluggy"),
        *("py", "pygments", "pytest", "pytest_timeout", "ruff", "setuptools", "tomli", "xdist", "z3"),
    )
)
"""What `python -m pytest` and its like import beside the standard library."""
_PATHS = (("src",), ("lib",), ("test",), ("tests",))
"""Folders that test runs put on Python's path, beside the root."""


def protected(
    files: Sequence[str], links: Sequence[str], patterns: Sequence[str], leaks: Sequence[str] = ()
) -> tuple[str, ...]:
    """Those of the changed files that are protected, in their order.

    `links` are the links among them, and `leaks` those that a secret of ours was written to: these always count.
    """
    found = {*matched(files, patterns), *leaks}
    if LINKS in patterns:
        found.update(links)
    if MODULES in patterns:
        found.update(file for file in files if _shadows(file))
    return tuple(file for file in files if file in found)


def _shadows(file: str) -> bool:
    """True for a file that Python would import in place of one of its own modules, or of a runner's."""
    parts = PurePosixPath(file).parts
    inner = parts[1:] if parts[:1] in _PATHS and len(parts) > 1 else parts
    name = inner[0].partition(".")[0]
    return file.endswith((".py", ".pyc", ".so")) and (name in sys.stdlib_module_names or name in RUNNERS)
