"""The generic backend: any program, run as its own keys say, and of its output the agreed forms alone.

A JSON object that is the whole output or its last line may hold `result`, `session_id` and `total_cost_usd`. Words are
not searched for causes: in plain text nobody knows who speaks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from thrum.backends.preset import Preset, Reading, Trouble
from thrum.backends.wording import END_CHARS, INTERRUPTED, last_line, moment, money, string, table
from thrum.config import BackendConfig
from thrum.errors import ConfigError
from thrum.failures import Failure
from thrum.places import PIPELINE
from thrum.values import dataclass

ARGUMENT_LIMIT_BYTES = 100 * 1024
"""A longer prompt is no argument; the kernel's limit for one is 128 KiB."""

_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_KNOWN = ("prompt", "prompt_file", "workdir", "model", "session", "budget_usd")


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """How to run an agent: its arguments, and whether the prompt file is its standard input (else nothing is)."""

    argv: tuple[str, ...]
    stdin: bool = False


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


def read(output: str, exit_code: int | None, files: Mapping[str, str]) -> Reading:
    """What the end of its output says in the agreed forms."""
    end = output[-END_CHARS:]
    said = _object(end)
    text = string(said.get("result")) or end
    return Reading(
        cost_usd=money(said.get("total_cost_usd")),
        session=string(said.get("session_id")),
        text=text,
        trouble=_trouble(end, text, exit_code),
    )


def _trouble(end: str, text: str, exit_code: int | None) -> Trouble | None:
    if exit_code == 0:
        return None
    last = last_line(text)
    if "usage limit reached|" in last and (at := moment(last)) is not None:
        return Trouble(failure=Failure.QUOTA, detail=last, retry_at=at)
    if exit_code is None or exit_code in INTERRUPTED:
        return Trouble(failure=Failure.INTERRUPTED, detail=last)
    return Trouble(failure=Failure.NOT_FOUND if exit_code == 127 else Failure.CRASHED, detail=last_line(end))


def _object(end: str) -> dict[str, Any]:
    lines = end.strip().splitlines()
    for candidate in (end, lines[-1] if lines else ""):
        try:
            value = json.loads(candidate)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            return table(value)
    return {}


def _fault(backend: BackendConfig, key: str, problem: str, remedy: str = "") -> ConfigError:
    return ConfigError(problem, file=PIPELINE, key=f"backends.{backend.name}.{key}", remedy=remedy)


PRESET = Preset(
    name="generic",
    program="",
    tried_with="",
    # All of this stands in the backend's own keys.
    args=(),
    prompt_stdin=False,
    keys={},
    read=read,
)
