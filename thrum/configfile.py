"""Reads a project's configuration files, finds the project directory, and keeps snapshots of what was read.

All processes of one `thrum up` read the same snapshot, so that a file edited meanwhile changes nothing under
them. What the values must be stands in `thrum.config` and `thrum.configrules`.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from thrum.config import (
    PIPELINE,
    REPOS,
    BackendConfig,
    PipelineConfig,
    Project,
    RepoConfig,
    ReposConfig,
    RoleConfig,
    RolesConfig,
    find_backend,
)
from thrum.configrules import pipeline_faults, repo_faults
from thrum.errors import ConfigError
from thrum.files import write_atomically
from thrum.records import Path as KeyPath
from thrum.records import RecordError, from_plain, key_path, to_plain

T = TypeVar("T")


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


def load(directory: Path) -> Project:
    """The configuration that the files of a project directory hold, checked, all its paths absolute.

    Whether those paths, the programs and the repositories exist is not asked; `thrum check` does.

    Raises:
        ConfigError: a file is missing or malformed, or a value makes no sense: names the file (relative to
            `directory`), the key, and the nearest valid name where there is one.
    """
    directory = directory.resolve()
    repos = _read(directory, REPOS, ReposConfig)
    repos = replace(repos, repo=tuple(_repo_at(directory, repo) for repo in repos.repo))
    _raise_first(REPOS, repo_faults(repos))
    pipeline = _read(directory, PIPELINE, PipelineConfig)
    _raise_first(PIPELINE, pipeline_faults(pipeline, repos.repo))
    pipeline = _spelled_out(_pipeline_at(directory, pipeline), repos.repo)
    project = Project(directory=str(directory), repos=repos.repo, pipeline=pipeline)
    return replace(project, digest=_digest(project))


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
    if project.digest != _digest(project):
        raise ConfigError("was changed after it was written", file=str(path), remedy="Start Thrum again.")
    return project


def _canonical(project: Project) -> str:
    return json.dumps(to_plain(project), sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _digest(project: Project) -> str:
    return hashlib.sha256(_canonical(replace(project, digest="")).encode()).hexdigest()


# --- From a file to a record ----------------------------------------------------------------------------------


def _read(directory: Path, file: str, cls: type[T]) -> T:
    # Imported here: the actors, which start often, read snapshots.
    import tomllib

    try:
        # A mark at the beginning is what some editors leave; TOML has no place for it.
        plain = tomllib.loads((directory / file).read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(
            f"is missing in {directory}", file=file, remedy="Run `thrum init`, which writes it."
        ) from None
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=file) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"is not UTF-8 text (byte {error.start})", file=file) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"is not TOML: {error}", file=file, remedy=_syntax_remedy(str(error))) from None
    try:
        return from_plain(cls, _settled(plain, ()))
    except RecordError as error:
        raise _config_error(file, error) from None


def _syntax_remedy(problem: str) -> str:
    if problem.startswith("Invalid value"):
        return "Text needs quotation marks."
    return ""


def _settled(plain: Any, path: KeyPath) -> Any:
    """The parsed file with what JSON cannot hold (dates, and in [release] odd numbers) as text.

    Raises:
        RecordError: a text with a NUL in it, which no program can be given.
    """
    if isinstance(plain, dict):
        return {key: _settled(item, (*path, key)) for key, item in plain.items()}
    if isinstance(plain, list):
        return [_settled(item, (*path, i)) for i, item in enumerate(plain)]
    if isinstance(plain, str) and "\0" in plain:
        raise RecordError("holds a NUL character", path=path)
    if path[:1] == ("release",):
        if isinstance(plain, (datetime.date, datetime.time)):
            return plain.isoformat()
        if isinstance(plain, float) and not math.isfinite(plain):
            return str(plain)
    return plain


def _raise_first(file: str, faults: Iterator[RecordError]) -> None:
    for fault in faults:
        raise _config_error(file, fault)


def _config_error(file: str, error: RecordError) -> ConfigError:
    return ConfigError(error.problem, file=file, key=key_path(error.path), remedy=_remedy(error))


def _remedy(error: RecordError) -> str:
    """What to write instead: the nearest valid name, else all of them."""
    if error.problem == "must be a list, not a table" and error.path:
        return f"Write its heading with two brackets: [[{error.path[-1]}]]."
    # Imported here: it is of use to nobody but the writer of a mistake.
    import difflib

    folded = {name.casefold(): name for name in reversed(error.valid)}
    near = difflib.get_close_matches(error.name.casefold(), folded, n=1)
    if near:
        return f"Did you mean {folded[near[0]]!r}?"
    if error.valid:
        return f"Known here: {', '.join(error.valid)}."
    return ""


# --- Paths and names, spelled out -----------------------------------------------------------------------------


def _absolute(directory: Path, path: str) -> str:
    return os.path.normpath(directory / os.path.expanduser(path)) if path else ""


def _at_home(value: str) -> str:
    return os.path.expanduser(value) if value.startswith("~/") else value


def _repo_at(directory: Path, repo: RepoConfig) -> RepoConfig:
    return replace(
        repo,
        # Two ways to one repository are one repository.
        path=os.path.realpath(_absolute(directory, repo.path)) if repo.path else "",
        claude_md=_absolute(directory, repo.claude_md),
        mount_paths=_all_absolute(directory, repo.mount_paths),
    )


def _all_absolute(directory: Path, paths: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_absolute(directory, path) for path in paths)


def _pipeline_at(directory: Path, pipeline: PipelineConfig) -> PipelineConfig:
    engine, sandbox, integration = pipeline.engine, pipeline.sandbox, pipeline.gates.integration
    return replace(
        pipeline,
        engine=replace(engine, worktrees_dir=_absolute(directory, engine.worktrees_dir)),
        gates=replace(
            pipeline.gates, integration=replace(integration, fixture=_absolute(directory, integration.fixture))
        ),
        backends=tuple(_backend_at(directory, backend) for backend in pipeline.backends),
        roles=_each_role(
            pipeline.roles, lambda role: replace(role, prompt_template=_absolute(directory, role.prompt_template))
        ),
        sandbox=replace(
            sandbox,
            mount_paths=_all_absolute(directory, sandbox.mount_paths),
            env={name: _at_home(value) for name, value in sandbox.env.items()},
        ),
    )


def _backend_at(directory: Path, backend: BackendConfig) -> BackendConfig:
    # A bare name is looked for on the PATH, as in a shell.
    command = _absolute(directory, backend.command) if "/" in backend.command else backend.command
    return replace(backend, command=command, mount_paths=_all_absolute(directory, backend.mount_paths))


def _spelled_out(pipeline: PipelineConfig, repos: tuple[RepoConfig, ...]) -> PipelineConfig:
    """The same, with the repositories of steps and the backends of roles under their own names."""
    names = {repo.name.casefold(): repo.name for repo in repos}
    integration = pipeline.gates.integration
    steps = tuple(replace(step, repo=names[step.repo.casefold()]) for step in integration.steps)

    def named(role: RoleConfig) -> RoleConfig:
        backend = find_backend(pipeline.backends, role.backend)
        return replace(role, backend=backend.name) if backend else role

    return replace(
        pipeline,
        gates=replace(pipeline.gates, integration=replace(integration, steps=steps)),
        roles=_each_role(pipeline.roles, named),
    )


def _each_role(roles: RolesConfig, change: Callable[[RoleConfig], RoleConfig]) -> RolesConfig:
    return RolesConfig(
        implementer=roles.implementer and change(roles.implementer),
        reviewer=roles.reviewer and change(roles.reviewer),
        planner=roles.planner and change(roles.planner),
    )
