"""The generic backend: from a backend's configuration to a command line, and from what an agent printed to facts.

Pure: no process is started here and no file read. What is particular to one agent's program does not belong here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from thrum.config import BackendConfig, Project, RoleConfig, fitting_backends
from thrum.errors import ConfigError
from thrum.places import PIPELINE
from thrum.prompt import NO_CHANGE_MARK, plain_text
from thrum.values import dataclass

ARGUMENT_LIMIT_BYTES = 100 * 1024
"""A longer prompt is no argument; the kernel's limit for one is 128 KiB."""
DEFAULT_WALL_S = 3600.0

_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_KNOWN = ("prompt", "prompt_file", "workdir", "model", "session", "budget_usd")
_NO_CHANGE = re.compile(rf"^{re.escape(NO_CHANGE_MARK)}[ \t]*(\S.*?)[ \t]*$", re.MULTILINE)
_LIMITED = re.compile(r"^Claude AI usage limit reached\|(\d{10})\b", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """How to run an agent: its arguments, and whether the prompt file is its standard input (else nothing is)."""

    argv: tuple[str, ...]
    stdin: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What an agent said of its own run; a hint, never a verdict."""

    cost_usd: float = 0.0
    session: str = ""
    no_change: str = ""
    """Why no change is needed, in its words; empty unless it said so in the agreed form."""
    rate_limited_until: float | None = None
    """Unix seconds, where the output named a time."""


def command(
    backend: BackendConfig,
    *,
    prompt: str,
    prompt_file: str,
    workdir: str,
    model: str = "",
    session: str = "",
    budget_usd: float | None = None,
) -> Invocation:
    """The command line of one attempt.

    Each placeholder is replaced once, and what is put in is not looked at again; no shell is involved. A prompt
    that is too long for an argument goes by `{prompt_file}` where the arguments have it, else by standard input;
    the arguments that hold `{prompt}` are then left out (so a flag before one must be good without it). It goes
    by standard input also where no argument would carry it. A prompt that begins with a dash and stands at the
    head of an argument gets a space before it, so that it is no flag.

    Raises:
        ConfigError: the backend is no program, or an argument has a placeholder that is unknown or has no value.
    """
    if backend.type != "agent" or not backend.command:
        raise _fault(backend, "type", f"{backend.name!r} is a {backend.type} backend without a program to run")
    used = {name for argument in backend.prompt_args for name in _PLACEHOLDER.findall(argument)}
    for name in sorted(used - set(_KNOWN)):
        known = ", ".join(f"{{{one}}}" for one in _KNOWN)
        raise _fault(backend, "prompt_args", f"{{{name}}} is not a placeholder", f"Known here: {known}.")
    if "model" in used and not model:
        raise _fault(backend, "model", "is missing, and prompt_args has {model}", "Set it, or leave the argument out.")
    if "budget_usd" in used and budget_usd is None:
        remedy = "Set budget_usd of [roles.implementer], or leave the argument out."
        raise _fault(backend, "prompt_args", "has {budget_usd}, and no budget is set", remedy)
    by_stdin, by_argument = _ways(backend, prompt, used)
    values = {
        # An argument ends at a NUL, which the kernel would refuse.
        "prompt": prompt.replace("\0", ""),
        "prompt_file": prompt_file,
        "workdir": workdir,
        "model": model,
        "session": session,
        "budget_usd": f"{budget_usd or 0.0:.2f}",
    }
    kept = (argument for argument in backend.prompt_args if by_argument or "{prompt}" not in argument)
    return Invocation(argv=(backend.command, *(_filled(argument, values) for argument in kept)), stdin=by_stdin)


def _ways(backend: BackendConfig, prompt: str, used: set[str]) -> tuple[bool, bool]:
    """Whether the prompt goes by standard input, and whether by an argument."""
    if backend.prompt_stdin:
        return True, False
    by_argument = "prompt" in used and len(prompt.encode(errors="surrogateescape")) <= ARGUMENT_LIMIT_BYTES
    return not by_argument and "prompt_file" not in used, by_argument


def _filled(argument: str, values: Mapping[str, str]) -> str:
    filled = _PLACEHOLDER.sub(lambda match: values[match[1]], argument)
    return f" {filled}" if argument.startswith("{prompt}") and filled.startswith("-") else filled


def resolve(project: Project, role: str) -> tuple[BackendConfig, RoleConfig | None]:
    """The backend of a role (`implementer`, `reviewer`, `planner`), with the role's settings if it has any.

    A backend is named by its name, else by a part of its model's name, case aside; disabled ones do not count.
    Without settings, the implementer is the first enabled agent.

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
    wanted = setting.backend
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


def wall_s(project: Project, role: RoleConfig | None, backend: BackendConfig) -> float:
    """The wall-clock limit of an attempt: the role's, else the backend's, else the budget's, else an hour."""
    own = role.timeout_secs if role else None
    limits = (own, backend.timeout_secs, project.pipeline.budget.per_session_timeout_secs)
    return next((limit for limit in limits if limit is not None), DEFAULT_WALL_S)


def read_result(backend: BackendConfig, text: str) -> Result:
    """What the agent's output says; `text` is its end, which should hold the last line whole.

    The last line that begins with the agreed mark counts, in the output itself or in the `result` of a JSON object
    that the output ends with; cost and session are read from that object. An agent that repeats its prompt says
    nothing by it: there the mark does not begin a line. Nothing that the text holds makes this fail.
    """
    said = _json_object(text)
    spoken = [text]
    if isinstance(said.get("result"), str):
        spoken.append(said["result"])
    reasons = [reason for part in spoken for reason in _NO_CHANGE.findall(plain_text(part))]
    limits = [float(at) for part in spoken for at in _LIMITED.findall(part)]
    session = said.get("session_id")
    return Result(
        cost_usd=_amount(said.get("total_cost_usd")),
        session=session if isinstance(session, str) else "",
        no_change=reasons[-1] if reasons else "",
        rate_limited_until=limits[-1] if limits else None,
    )


def _json_object(text: str) -> dict[str, Any]:
    """The JSON object that is the whole text or its last line; empty if neither is one."""
    lines = text.strip().splitlines()
    for candidate in (text, lines[-1] if lines else ""):
        try:
            value = json.loads(candidate)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            return value
    return {}


def _amount(value: object) -> float:
    """A sum of money, or 0 for whatever is none: a NaN would spoil every total it is added to."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e6:
        return 0.0
    return float(value)


def _fault(backend: BackendConfig, key: str, problem: str, remedy: str = "") -> ConfigError:
    return ConfigError(problem, file=PIPELINE, key=f"backends.{backend.name}.{key}", remedy=remedy)
