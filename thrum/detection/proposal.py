"""What `thrum init` proposes: what it found, and the text of the two files it writes of that. Pure."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence

from thrum.backends import PRESETS, Preset
from thrum.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """What could be told of one repository; an empty command is one that nothing there speaks of."""

    name: str
    path: str
    branch: str = "main"
    languages: tuple[str, ...] = ()
    fmt_cmd: str = ""
    lint_cmd: str = ""
    test_cmd: str = ""
    expect_tests: bool = True
    build_cmd: str = ""
    setup_cmd: str = ""
    mount_paths: tuple[str, ...] = ()
    """What the programs of these commands need beyond the system directories."""
    notes: tuple[str, ...] = ()
    """Sentences for the person who is to look the proposal over."""


AGENTS = tuple(one for one in PRESETS.values() if one.program)
"""The agent programs that we know, in our order of preference."""


def render_repos(detections: Sequence[Detection]) -> str:
    """The text of configs/repos.toml; repositories of the same name get a number, and what is only guessed a comment.

    Raises:
        ValueError: there is no repository.
    """
    if not detections:
        raise ValueError("a configuration needs at least one repository")
    names = _distinct([one.name for one in detections])
    return _REPOS_HEAD + "".join(_repo(name, one) for name, one in zip(names, detections, strict=True))


def render_pipeline(
    *,
    agents: Sequence[Preset],
    mount_paths: Sequence[str] = (),
    agent_mounts: Mapping[str, Sequence[str]] | None = None,
    variables: Mapping[str, str] | None = None,
    sandbox: str = "os-native",
    limits_bind: bool = True,
) -> str:
    """The text of configs/pipeline.toml for the agents that were found; the first one implements.

    `mount_paths` and `variables` are what the checks need, `agent_mounts` by agent's name what it needs beside
    them. `limits_bind`: whether memory, processor and process limits can be enforced on this machine.
    """
    found = "".join(_backend(agent, (agent_mounts or {}).get(agent.name, ())) for agent in agents)
    if not found:
        found = _NO_AGENT + _backend(AGENTS[0], ())
    implementer = (agents or AGENTS)[0].name
    return (
        _PIPELINE_HEAD
        + found
        + _ROLES.format(implementer=_text(implementer))
        + _SANDBOX.format(backend=_text(sandbox), unsafe="" if sandbox != "none" else _UNSAFE)
        + ("" if limits_bind else _UNBOUND)
        + _mounts(mount_paths)
        + (f"env = {_inline(variables)}   # HOME is empty inside; this tells where to look\n" if variables else "")
    )


# --- repos.toml -------------------------------------------------------------------------------------------------

_REPOS_HEAD = """\
# The repositories that Thrum looks after. After a change here: `thrum check`, then `thrum reload`.
#
# Commands run in a sandbox, on a clean checkout of one commit, without the network. A string goes to bash, a list
# runs as it is. A key that is left out means that there is no such check, and the gate says so.
"""

_COMMANDS = (
    ("fmt_cmd", "fails if a file is not formatted"),
    ("lint_cmd", "fails if the linter complains"),
    ("test_cmd", "fails if a test does, or if none ran"),
    ("build_cmd", 'runs where a gate names the check "build"'),
    ("setup_cmd", "has the network; what it puts into $THRUM_SETUP is there for agents and checks"),
)


def _repo(name: str, found: Detection) -> str:
    lines = ["", "[[repo]]", f"name = {_text(name)}   # its tasks are called {name}-1, {name}-2, ..."]
    lines += [f"path = {_text(found.path)}", f"branch = {_text(found.branch)}   # approved work lands here"]
    if found.languages:
        lines += ["", f"# Found in the repository: {', '.join(found.languages)}. Look the commands over."]
    lines += [f"# Note: {_comment(note)}" for note in found.notes]
    for key, what in _COMMANDS:
        command = getattr(found, key)
        lines += [f"{key} = {_text(command)}"] if command else [f'# {key} = "..."   # {what}']
        if key == "test_cmd" and command and not found.expect_tests:
            lines += ["expect_tests = false   # only its exit code counts: what it prints is not known"]
    lines += ['# verify_cmd = "..."   # Gate 2: SMT obligations', '# proofs_cmd = "..."   # Gate 2: proofs']
    lines += ['# claude_md = "..."   # a file with what every agent is told']
    return "\n".join(lines) + "\n"


def _distinct(names: Sequence[str]) -> list[str]:
    """The names, those that are taken (upper and lower case do not count) with a number behind them."""
    chosen: list[str] = []
    for name in names:
        taken = {one.casefold() for one in chosen}
        numbered = (f"{name}_{number}" for number in itertools.count(2))
        chosen.append(next(one for one in itertools.chain([name], numbered) if one.casefold() not in taken))
    return chosen


# --- pipeline.toml ------------------------------------------------------------------------------------------------

_PIPELINE_HEAD = """\
# How tasks become commits. After a change here: `thrum check`, then `thrum reload`.
# What is left out has its default; thrum/config/ lists every key.

[engine]
agents = 4           # at work at once, over all repositories
per_repo_limit = 1   # at work at once on one repository
max_retries = 3      # attempts that a gate may send back before the task has failed

# --- Gates: what stands between an agent's commit and your branch

[gates.quality]
description = "Format, lint and tests"
checks = ["fmt", "lint", "test"]   # of each repository those that it has a command for
required = false                   # true: a repository that has none of them is refused

# [gates.proof]                    # Gate 2 runs verify_cmd and proofs_cmd where a repository has them
# required = true

# [[gates.integration.steps]]      # Gate 3 runs on what would land, over several repositories
# repo = "name"
# label = "end to end"
# command = "./scripts/end-to-end {output_dir}"

# [checks.licence]                 # a check of your own; name it in a gate
# command = ["./scripts/check-licence"]

[budget]
# ceiling_usd = 50.0               # no agent is started once so much is spent
per_session_timeout_secs = 1800    # an attempt is ended after half an hour

# --- Agents: the programs that do the work, each called once for an attempt
"""

_NO_AGENT = """
# None of the agents that `thrum init` knows is on your PATH. Install this one, or put your own program here: it is
# started in the work tree, changes files there, and ends. `thrum check` looks for it.
"""

_ROLES = """
[roles.implementer]
backend = {implementer}
# prompt_template = "implementer.md"   # what every implementer should know, beside the task
"""

_SANDBOX = """
# --- The sandbox that holds agents and checks
{unsafe}
[sandbox]
backend = {backend}        # bubblewrap; "none" isolates nothing
memory_limit_mb = 4096
network = false              # agents reach the network only where their backend says so, checks never do
"""

_UNSAFE = "# None is available on this machine: whatever an agent runs may do what you may do. Install bubblewrap.\n"

_UNBOUND = """\
limits = "best-effort"       # on this machine, as this user, not all limits bind; "enforced" refuses to go on then
"""


def _backend(agent: Preset, mounts: Sequence[str]) -> str:
    keys, hosts = " or ".join(agent.keys), ", ".join(agent.allow(()))
    lines = ["", "[[backends]]", f"name = {_text(agent.name)}"]
    lines += [f"preset = {_text(agent.name)}   # how it is run and read: docs/agents.md"]
    lines += ['# model = "..."   # its own choice without it']
    lines += [f"# Its key: {keys}, passed on from where you start Thrum. It reaches {hosts} alone;"]
    lines += ['# more with allow = ["HOST:PORT"], or network = true.']
    return "\n".join(lines) + "\n" + (_mounts(mounts) if mounts else "")


def _mounts(paths: Sequence[str]) -> str:
    if not paths:
        return '# mount_paths = ["/opt/tools"]   # readable inside; /usr and the like always are\n'
    return f"mount_paths = {_list(paths)}   # readable inside; /usr and the like always are\n"


# --- TOML ---------------------------------------------------------------------------------------------------------


def _text(text: str) -> str:
    """A TOML string: literal where quotation marks would need escapes and it may be, else basic."""
    if '"' in text and "'" not in text and text.isprintable():
        return f"'{text}'"
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _list(items: Iterable[str]) -> str:
    return f"[{', '.join(map(_text, items))}]"


def _inline(table: Mapping[str, str]) -> str:
    return "{ " + ", ".join(f"{key} = {_text(value)}" for key, value in table.items()) + " }"


def _comment(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))
