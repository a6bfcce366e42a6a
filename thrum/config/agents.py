"""Who does the work, and what it may cost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from typing import Literal

from thrum.config.ranges import Dollars, Limit, LimitOrZero
from thrum.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendConfig:
    """`[[backends]]`: a program (`agent`) or an API (`chat`) that does the work of a role."""

    name: str
    type: Literal["agent", "chat"] = "agent"
    preset: str = ""
    """A program that Thrum knows how to run and to read: `claude-code`, `codex`, `opencode`, `aider`,
    `mini-swe-agent` or `gemini`. Every key that is set beside it wins over what it says."""
    command: str = ""
    """A program by name, or by its path; a preset has one."""
    prompt_args: tuple[str, ...] = ()
    """Arguments, in the place of a preset's; `{prompt}`, `{prompt_file}`, `{workdir}`, `{model}`, `{session}`,
    `{budget_usd}` are replaced."""
    prompt_stdin: bool = False
    """True: the prompt goes to standard input. It also does when it is too long for an argument."""
    model: str = ""
    """The model that `{model}` passes on, and that a role may name it by."""
    provider: str = ""
    """Of a chat: whose API it is."""
    base_url: str = ""
    """Where the API is, where it is not the provider's own, without its `/v1`; of an agent with a preset, or a chat."""
    api_key_env: str = ""
    """Name of the variable that holds the key; it is passed to the agent under the same name, or under that which
    its preset knows. Absent: the variables that the preset knows."""
    env: dict[str, str] = field(default_factory=dict)
    """Variables set for the agent."""
    pass_env: tuple[str, ...] = ()
    """Names of variables of `thrum up` that the agent may see."""
    timeout_secs: Limit | None = None
    silence_secs: LimitOrZero = 0.0
    """An agent that prints nothing for so long is ended; 0 means no limit."""
    network: bool | None = None
    """Whether the agent reaches the network; where neither this nor `allow` is there, as `[sandbox]` says."""
    allow: tuple[str, ...] | None = None
    """What the agent reaches without `network`, as in `[sandbox]`; an empty list: nothing."""
    mount_paths: tuple[str, ...] = ()
    enabled: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleConfig:
    """`[roles.NAME]`"""

    backend: str
    """A backend by name, or by a part of its model's name that no other enabled one has."""
    fallback: tuple[str, ...] = ()
    """Of the implementer: backends to go on with, in order, where one has no quota, no key, or refuses."""
    prompt_template: str = ""
    """A file with the role's instructions."""
    budget_usd: Dollars | None = None
    """What one attempt may spend: told to the backend where its prompt_args have `{budget_usd}`."""
    timeout_secs: Limit | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RolesConfig:
    """`[roles]`"""

    implementer: RoleConfig | None = None
    """Absent: the first enabled backend of type `agent`."""
    reviewer: RoleConfig | None = None
    planner: RoleConfig | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetConfig:
    """`[budget]`: what may be spent, in US dollars. Absent means no limit."""

    ceiling_usd: Dollars | None = None
    per_session_timeout_secs: Limit | None = None
    """The wall-clock limit of an attempt, where role and backend have none."""
    allocation: dict[str, Dollars] = field(default_factory=dict)
    """Shares of the ceiling. Keys that begin with `implement` bound what implementers may spend together."""


def fitting_backends(backends: Iterable[BackendConfig], wanted: str) -> tuple[BackendConfig, ...]:
    """The backend of that name, else every enabled one with `wanted` in its model's name, case aside."""
    backends = tuple(backends)
    named = tuple(one for one in backends if one.name == wanted)
    return named or tuple(
        one for one in backends if one.enabled and wanted and wanted.casefold() in one.model.casefold()
    )
