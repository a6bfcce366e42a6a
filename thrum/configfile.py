"""Reads a project's configuration files. What the values must be stands in `thrum.config` and `thrum.configrules`."""

from __future__ import annotations

import datetime
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from thrum.config import (
    BackendConfig,
    PipelineConfig,
    Project,
    RepoConfig,
    ReposConfig,
    RoleConfig,
    RolesConfig,
    fitting_backends,
)
from thrum.configrules import pipeline_faults, repo_faults
from thrum.errors import ConfigError
from thrum.places import PIPELINE, REPOS
from thrum.records import Path as KeyPath
from thrum.records import RecordError, from_plain, key_path
from thrum.snapshot import digest_of

T = TypeVar("T")


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
    return replace(project, digest=digest_of(project))


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
    command = backend.command or _program_of(backend.preset)
    command = _absolute(directory, command) if "/" in command else command
    return replace(backend, command=command, mount_paths=_all_absolute(directory, backend.mount_paths))


def _program_of(name: str) -> str:
    if not name:
        return ""
    # Imported here: most commands read a configuration, and few have to do with the programs.
    from thrum.backends import preset

    return preset(name).program


def _spelled_out(pipeline: PipelineConfig, repos: tuple[RepoConfig, ...]) -> PipelineConfig:
    """The same, with the repositories of steps and the backends of roles under their own names."""
    names = {repo.name.casefold(): repo.name for repo in repos}
    integration = pipeline.gates.integration
    steps = tuple(replace(step, repo=names[step.repo.casefold()]) for step in integration.steps)

    def named(role: RoleConfig) -> RoleConfig:
        (backend,) = fitting_backends(pipeline.backends, role.backend)
        behind = tuple(fitting_backends(pipeline.backends, name)[0].name for name in role.fallback)
        return replace(role, backend=backend.name, fallback=behind)

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
