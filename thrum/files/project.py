"""Which directory is the project's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from thrum.errors import ConfigError
from thrum.places import PIPELINE


def find_project(start: Path, override: str | None = None, env: Mapping[str, str] | None = None) -> Path:
    """The project directory: `override` (`--dir`), else `THRUM_DIR` of `env`, else the nearest one from `start`
    upwards that holds configs/pipeline.toml. Absolute, symbolic links resolved.

    Raises:
        ConfigError: there is none, or the directory that was named is none.
    """
    named, by = (override, "--dir") if override else ((env or {}).get("THRUM_DIR", ""), "THRUM_DIR")
    if named:
        directory = (start / Path(named).expanduser()).resolve()
        if (directory / PIPELINE).is_file():
            return directory
        raise ConfigError(
            f"is missing, and {by} names {directory} as the project directory",
            file=str(directory / PIPELINE),
            remedy=f"Correct {by}, or run `thrum init` in {directory}.",
        )
    start = start.resolve()
    for directory in (start, *start.parents):
        if (directory / PIPELINE).is_file():
            return directory
    raise ConfigError(
        f"is neither in {start} nor in a directory above it",
        file=PIPELINE,
        remedy="Run `thrum init` here, or name the project directory with --dir or THRUM_DIR.",
    )
