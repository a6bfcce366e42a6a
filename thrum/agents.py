"""The agent of an attempt: which backend, how it is run, what became of it. Pure: nothing is started or read here.

What is particular to one program stands in `thrum.backends`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from thrum.allowlist import host_of, reach
from thrum.backends import Reading, Trouble, generic, preset
from thrum.backends.generic import Invocation
from thrum.backends.preset import Preset
from thrum.config import BackendConfig, Project, RoleConfig, fitting_backends
from thrum.errors import ConfigError
from thrum.failures import Failure
from thrum.job import Ending
from thrum.places import PIPELINE
from thrum.prompt import NO_CHANGE_MARK, plain_text
from thrum.values import dataclass

DEFAULT_WALL_S = 3600.0

_NO_CHANGE = re.compile(rf"^{re.escape(NO_CHANGE_MARK)}[ \t]*(\S.*)$", re.MULTILINE)
_BY_ENDING = {
    Ending.TIMED_OUT: Failure.TIMED_OUT,
    Ending.SILENT: Failure.SILENT,
    Ending.STOPPED: Failure.INTERRUPTED,
    Ending.NOT_FOUND: Failure.NOT_FOUND,
    Ending.NOT_STARTED: Failure.COULD_NOT_RUN,
}
_VAGUE = frozenset({Failure.INTERRUPTED, Failure.CRASHED, Failure.PROTOCOL})
"""What a program's output comes to by itself when it is ended from outside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one run of an agent is given."""

    prompt: str
    prompt_file: str
    workdir: str
    system_prompt: str = ""
    """What stands above the prompt; only for a backend that takes one (`takes_system_prompt`)."""
    state: str = ""
    """The folder of its state, where its preset keeps one."""
    session: str = ""
    """The session that it goes on with."""
    new_session: str = ""
    """The id of the one that it begins, if it may be chosen."""
    budget_usd: float | None = None


def preset_of(backend: BackendConfig) -> Preset | None:
    """The preset that the backend names; None for the generic one."""
    return preset(backend.preset) if backend.preset not in ("", "generic") else None


def takes_system_prompt(backend: BackendConfig) -> bool:
    """Whether instructions reach it apart from the prompt; arguments of one's own say nothing of them."""
    known = preset_of(backend)
    return known is not None and bool(known.system_prompt_path) and not backend.prompt_args


def command(backend: BackendConfig, run: Run) -> Invocation:
    """The command line of a run.

    `prompt_args` of one's own stand in the place of the preset's arguments.

    Raises:
        ConfigError: see `thrum.backends.generic.command`.
    """
    known = preset_of(backend)
    if known is None or backend.prompt_args:
        return generic.command(
            backend,
            prompt=run.prompt,
            prompt_file=run.prompt_file,
            workdir=run.workdir,
            model=backend.model,
            session=run.session,
            budget_usd=run.budget_usd,
        )
    return Invocation(argv=(backend.command, *known.arguments(_values(backend, run))), stdin=known.prompt_stdin)


def environment(backend: BackendConfig, run: Run, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of a run: what its preset needs, its key, what `pass_env` names, and `env`, which wins."""
    known = preset_of(backend)
    variables = known.environment(_values(backend, run)) if known else {}
    variables |= {name: environ[name] for name in backend.pass_env if name in environ}
    return {**variables, **_key(backend, known, environ), **backend.env}


def key_variables(backend: BackendConfig) -> tuple[str, ...]:
    """The variables of ours of which one should hold the backend's key; empty where it names none."""
    if backend.api_key_env:
        return (backend.api_key_env,)
    known = preset_of(backend)
    return tuple(known.keys) if known else ()


def key_told(backend: BackendConfig, environ: Iterable[str]) -> str:
    """Where the backend has its key from, or should have; empty where it names none. `environ` are the names that are
    set."""
    names = key_variables(backend)
    there = [name for name in names if name in {*environ, *backend.env}]
    if there:
        return f"its key is from {' and '.join(there)}"
    return f"no key is set ({' or '.join(names)})" if names else ""


def network(project: Project, backend: BackendConfig, environ: Iterable[str]) -> tuple[bool, tuple[str, ...]]:
    """Whether the agent reaches the whole network, and else what of it; `environ` are the names that are set.

    Where nothing is configured, what a preset's program needs is open: its provider, or its `base_url`.
    """
    sandbox, known = project.pipeline.sandbox, preset_of(backend)
    open_to_all, allow = reach(sandbox, backend)
    silent = backend.network is None and backend.allow is None and not sandbox.allow
    if known is None or open_to_all or not silent:
        return open_to_all, allow
    return False, (host_of(backend.base_url),) if backend.base_url else known.allow({*environ, *backend.env})


def _values(backend: BackendConfig, run: Run) -> dict[str, str]:
    return {
        "prompt": run.prompt,
        "prompt_file": run.prompt_file,
        "workdir": run.workdir,
        "model": backend.model,
        "session": run.session,
        "new_session": run.new_session,
        "budget_usd": "" if run.budget_usd is None else f"{run.budget_usd:.2f}",
        "base_url": backend.base_url.rstrip("/"),
        "state": run.state,
        "system_prompt": run.system_prompt,
    }


def _key(backend: BackendConfig, known: Preset | None, environ: Mapping[str, str]) -> dict[str, str]:
    set_ = {name: environ[name] for name in key_variables(backend) if name in environ}
    if known is not None and backend.api_key_env in set_ and backend.api_key_env not in known.keys:
        # One's own name for the variable that the program calls otherwise.
        return {next(iter(known.keys)): set_[backend.api_key_env]}
    return set_


def resolve(project: Project, role: str, *, fallbacks: int = 0) -> tuple[BackendConfig, RoleConfig | None]:
    """The backend of a role (`implementer`, `reviewer`, `planner`), with the role's settings if it has any.

    A backend is named by its name, else by a part of its model's name, case aside; disabled ones do not count.
    Without settings, the implementer is the first enabled agent. With `fallbacks` above 0 it is that one of the role's
    fallback backends, from 1; the last where there are fewer.

    Raises:
        ConfigError: there is none, more than one fits, or it is an API that cannot implement.
    """
    setting: RoleConfig | None = getattr(project.pipeline.roles, role)
    enabled = [backend for backend in project.pipeline.backends if backend.enabled]
    if setting is None:
        agents = [backend for backend in enabled if backend.type == "agent"]
        if role != "implementer" or not agents:
            what = "there is no enabled backend of type agent" if role == "implementer" else "is not configured"
            raise ConfigError(what, file=PIPELINE, key=f"roles.{role}", remedy=f"Add [roles.{role}] or a [[backends]].")
        return agents[0], None
    chain = (setting.backend, *setting.fallback)
    wanted = chain[min(fallbacks, len(chain) - 1)]
    found = fitting_backends(enabled, wanted)
    if len(found) != 1:
        problem = f"{wanted!r} fits {', '.join(one.name for one in found)}" if found else f"no backend is {wanted!r}"
        names = ", ".join(f"{one.name} ({one.model})" if one.model else one.name for one in enabled)
        remedy = f"Enabled: {names or 'none'}."
        raise ConfigError(problem, file=PIPELINE, key=f"roles.{role}.backend", remedy=remedy)
    if role == "implementer" and found[0].type == "chat":
        raise ConfigError(
            f"{found[0].name!r} is a chat backend, which cannot implement",
            file=PIPELINE,
            key=f"roles.{role}.backend",
            remedy="Name a backend of type agent.",
        )
    return found[0], setting


def implementers(project: Project) -> tuple[str, ...]:
    """The names of the implementer's backends, those to fall back to behind the first; empty where one is not there."""
    setting = project.pipeline.roles.implementer
    behind = len(setting.fallback) if setting else 0
    try:
        return tuple(resolve(project, "implementer", fallbacks=number)[0].name for number in range(1 + behind))
    except ConfigError:
        return ()


def wall_s(project: Project, role: RoleConfig | None, backend: BackendConfig) -> float:
    """The wall-clock limit of an attempt: the role's, else the backend's, else the budget's, else an hour."""
    own = role.timeout_secs if role else None
    limits = (own, backend.timeout_secs, project.pipeline.budget.per_session_timeout_secs)
    return next((limit for limit in limits if limit is not None), DEFAULT_WALL_S)


# --- What became of it ------------------------------------------------------------------------------------------------


def read(backend: BackendConfig, output: str, exit_code: int | None, files: Mapping[str, str]) -> Reading:
    """What the agent said of its own run; `files` are those that its preset reads."""
    return (preset_of(backend) or generic.PRESET).read(output, exit_code, files)


def no_change(reading: Reading) -> str:
    """Why no change is needed, in the agent's words; empty unless it said so in the agreed form.

    The last line that begins with the agreed mark counts. An agent that repeats its prompt says nothing by it: there
    the mark does not begin a line.
    """
    reasons: list[str] = _NO_CHANGE.findall(plain_text(reading.text))
    return reasons[-1].rstrip() if reasons else ""


def provider_refused(backend: BackendConfig, refused: Iterable[str]) -> bool:
    """Whether one of these hosts (`host:port`) is where the backend's model may be.

    Programs reach for more than that, for updates and packages: a closed door there says nothing about a key.
    """
    known = preset_of(backend)
    if known is None:
        return any(True for _ in refused)
    hosts = {host_of(backend.base_url)} if backend.base_url else set(known.keys.values())
    return not hosts.isdisjoint(refused)


def failure(ending: Ending, trouble: Trouble | None, *, refused: bool = False, limited: bool = False) -> Failure | None:
    """Why the run came to nothing, or was cut short: by how it ended, unless its program knows better.

    `refused`: our proxy closed the door to its provider, which programs take for one that does not know their key.
    `limited`: it was killed at a limit of the sandbox.
    """
    if refused and trouble is not None and trouble.failure is Failure.AUTH:
        trouble = replace(trouble, failure=Failure.UNREACHABLE)
    told = _BY_ENDING.get(ending)
    if told is None:
        if limited and trouble is not None and trouble.failure in _VAGUE:
            return Failure.RESOURCE_LIMIT
        return trouble.failure if trouble else None
    if told in (Failure.TIMED_OUT, Failure.SILENT) and trouble is not None and trouble.failure not in _VAGUE:
        return trouble.failure
    return told
