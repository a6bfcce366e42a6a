"""Private directories of sandboxes on the host: made, found again after a crash, removed whatever a job left there."""

from __future__ import annotations

import contextlib
import glob
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator

log = logging.getLogger(__name__)

_CONTAINERS = "containers-of"
"""The file in a home by which a later life knows that its owner had containers: asking an engine takes time."""


def make(name: str) -> str:
    """A new directory for the sandbox of that name."""
    return tempfile.mkdtemp(prefix=f"{_prefix(name)}-")


@contextlib.contextmanager
def private(name: str) -> Iterator[str]:
    """One that is gone after the block."""
    home = make(name)
    try:
        yield home
    finally:
        remove(home)


def left(prefix: str) -> list[str]:
    """The directories of ours whose sandbox's name begins with `prefix`, sorted."""
    found = glob.glob(os.path.join(tempfile.gettempdir(), f"{_prefix(prefix)}*"))
    return sorted(home for home in found if os.lstat(home).st_uid == os.getuid())


def note_containers(home: str, name: str) -> None:
    """Note that the sandbox of that name, whose home this is, has containers."""
    with open(os.path.join(home, _CONTAINERS), "x", encoding="utf-8") as file:
        file.write(name)


def owner_of_containers(home: str) -> str:
    """The name that was noted there; empty for none."""
    try:
        with open(os.path.join(home, _CONTAINERS), encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""


def remove(root: str) -> None:
    """Remove what a job left, directories without write permission included (some package caches are)."""
    shutil.rmtree(root, ignore_errors=True)
    if not os.path.exists(root):
        return
    os.chmod(root, 0o700)
    for parent, directories, _ in os.walk(root):
        for name in directories:
            path = os.path.join(parent, name)
            if not os.path.islink(path):
                os.chmod(path, 0o700)
    shutil.rmtree(root, ignore_errors=True)
    if os.path.exists(root):
        log.warning("a private home could not be removed", extra={"path": root})


def _prefix(name: str) -> str:
    return f"thrum-home-{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}"
