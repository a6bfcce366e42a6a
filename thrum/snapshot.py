"""Snapshots of a project's configuration: all processes of one `thrum up` read the same one, so that a file edited
meanwhile changes nothing under them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

from thrum.config import Project
from thrum.errors import ConfigError
from thrum.files import write_atomically
from thrum.records import from_plain, to_plain


def save_snapshot(project: Project, folder: Path) -> Path:
    """Write the project to `<digest>.json` in the folder, readable by its owner alone, and return that path."""
    path = folder / f"{project.digest}.json"
    write_atomically(path, _canonical(project).encode(), mode=0o600)
    return path


def load_snapshot(path: Path) -> Project:
    """The project that `save_snapshot` wrote.

    Raises:
        ConfigError: the file cannot be read, or is not what was written.
    """
    try:
        project = from_plain(Project, json.loads(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot be read: {error}", file=str(path), remedy="Start Thrum again.") from error
    if project.digest != digest_of(project):
        raise ConfigError("was changed after it was written", file=str(path), remedy="Start Thrum again.")
    return project


def _canonical(project: Project) -> str:
    return json.dumps(to_plain(project), sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def digest_of(project: Project) -> str:
    """The SHA-256 of a configuration's content."""
    return hashlib.sha256(_canonical(replace(project, digest="")).encode()).hexdigest()
