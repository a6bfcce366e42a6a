"""What the keys of a configuration must agree on, beyond the type and range of each (those stand in
`thrum.config`). Pure: whether a path or a program exists is not asked here, but in `thrum.findings`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from thrum.allowlist import host_of, parse_entry
from thrum.checks import BUILT_IN, PLACEHOLDERS
from thrum.config import (
    BackendConfig,
    GateConfig,
    IntegrationConfig,
    PipelineConfig,
    RepoConfig,
    ReposConfig,
    RoleConfig,
    fitting_backends,
)
from thrum.gate import SETUP_PREFIX, Artifact, Command
from thrum.records import Path, RecordError

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BRANCH = re.compile(r"(?![-/.])(?!.*(?:\.\.|@\{|//|/\.|\.lock(?:/|$)))[^\s\x00-\x1f\x7f~^:?*\[\\]+(?<![/.])")
"""Near enough to git-check-ref-format(1)."""
_BRACED = re.compile(r"(?<!\$)\{([A-Za-z_][\w.:-]*)\}")
"""What may be meant for a placeholder; `${x}` is the shell's."""
_NAME_LIMIT = 64
"""A name is a part of file names, git refs and addresses, all of which have limits."""


def repo_faults(config: ReposConfig) -> Iterator[RecordError]:
    """Everything wrong with `configs/repos.toml`, whose paths are absolute already; paths begin at its root."""
    if not config.repo:
        yield RecordError("no repository is configured", path=("repo",))
    names: dict[str, int] = {}
    places: dict[str, int] = {}
    for i, repo in enumerate(config.repo):
        at: Path = ("repo", i)
        yield from _name_faults(repo.name, (*at, "name"))
        if repo.name.endswith("-"):
            yield RecordError("may not end in `-`, which parts it from a task's number", path=(*at, "name"))
        if (first := names.setdefault(repo.name.casefold(), i)) != i:
            other = config.repo[first].name
            yield RecordError(f"is taken: there is a repository {other!r} already", path=(*at, "name"))
        if not repo.path:
            yield RecordError("is empty", path=(*at, "path"))
        elif (first := places.setdefault(repo.path, i)) != i:
            yield RecordError(f"is the path of {config.repo[first].name!r} too", path=(*at, "path"))
        if not _BRANCH.fullmatch(repo.branch) or repo.branch.startswith("refs/heads/"):
            problem = f"{repo.branch!r} is no name of a branch (which goes without refs/heads/)"
            yield RecordError(problem, path=(*at, "branch"))
        if repo.host:
            yield from _name_faults(repo.host, (*at, "host"))
            if repo.host == "local":
                yield RecordError("is what the host of `thrum up` is called: leave it empty", path=(*at, "host"))
        yield from _repo_command_faults(repo, at)
        known = _placeholders(config.repo)
        for key in (*dict.fromkeys(BUILT_IN.values()), "run_cmd"):
            yield from _placeholder_faults(getattr(repo, key), (*at, key), known)


def pipeline_faults(config: PipelineConfig, repos: Sequence[RepoConfig]) -> Iterator[RecordError]:
    """Everything wrong with `configs/pipeline.toml` for these repositories; paths begin at its root."""
    yield from _check_faults(config)
    for name, check in config.checks.items():
        yield from _placeholder_faults(check.command, ("checks", name, "command"), _placeholders(repos))
    gates: tuple[tuple[str, GateConfig], ...] = (
        ("quality", config.gates.quality),
        ("proof", config.gates.proof),
        ("integration", config.gates.integration),
    )
    for name, gate in gates:
        yield from _gate_faults(name, gate, config)
    yield from _step_faults(config.gates.integration, repos)
    yield from _budget_faults(config)
    for i, backend in enumerate(config.backends):
        yield from _backend_faults(backend, config.backends[:i], ("backends", i))
    for role in ("implementer", "reviewer", "planner"):
        setting: RoleConfig | None = getattr(config.roles, role)
        if setting is not None:
            yield from _role_faults(role, setting, config.backends)
    if config.sandbox.backend == "docker" and not config.sandbox.image:
        problem = 'is empty, and backend = "docker" needs the name of a local image with bash, git and your tools'
        yield RecordError(problem, path=("sandbox", "image"))
    yield from _variable_faults(config.sandbox.pass_env, ("sandbox", "pass_env"))
    yield from _variable_faults(tuple(config.sandbox.env), ("sandbox", "env"))
    yield from _allow_faults(config.sandbox.allow, config.sandbox.network, ("sandbox", "allow"))
    yield from _allow_faults(config.sandbox.setup_allow, False, ("sandbox", "setup_allow"))
    if config.sandbox.setup_allow and not config.sandbox.setup_network:
        problem = "has no meaning beside setup_network = false, which closes the network to it; remove one of them"
        yield RecordError(problem, path=("sandbox", "setup_allow"))


def _name_faults(name: str, at: Path) -> Iterator[RecordError]:
    """A name must be a file name, a component of a git ref and a part of an address, everywhere and safely."""
    if not name:
        yield RecordError("is empty", path=at)
    elif not _NAME.fullmatch(name) or ".." in name:
        yield RecordError(
            f"{name!r} may hold only letters, digits, `.`, `_` and `-`, may not begin with `-` or `.`, "
            "and may not hold `..`",
            path=at,
        )
    elif len(name) > _NAME_LIMIT:
        yield RecordError(f"is longer than {_NAME_LIMIT} characters", path=at)


def _command_faults(command: Command, at: Path) -> Iterator[RecordError]:
    """An empty command means none; one that is there must name a program."""
    if isinstance(command, str):
        if command and not command.strip():
            yield RecordError("is blank", path=at)
    elif command and not command[0]:
        yield RecordError("has an empty program", path=(*at, 0))


def _repo_command_faults(repo: RepoConfig, at: Path) -> Iterator[RecordError]:
    for key in (*dict.fromkeys(BUILT_IN.values()), "run_cmd", "setup_cmd"):
        yield from _command_faults(getattr(repo, key), (*at, key))
    proof = repo.proof
    for key, patterns, command in (
        ("smt", (*proof.smt, *proof.python), repo.verify_cmd),
        ("rocq", proof.of_rocq, repo.proofs_cmd),
    ):
        if command and any(patterns):
            other = "verify_cmd" if key == "smt" else "proofs_cmd"
            yield RecordError(f"there is a {other} too; which one is to prove it?", path=(*at, "proof", key))
    for key, patterns in (("smt", proof.smt), ("python", proof.python), ("rocq", proof.rocq)):
        yield from _pattern_faults(patterns, (*at, "proof", key))
    for key, tool in (("interpreter", proof.interpreter), ("solver", proof.solver)):
        # A relative one would be looked up from where nothing runs; one of the checkout would judge its own work.
        if not tool or ("/" in tool and not tool.startswith(("/", SETUP_PREFIX))):
            problem = f"{tool!r} is neither a name on the PATH, nor a path from / on, nor one below {SETUP_PREFIX}"
            yield RecordError(problem, path=(*at, "proof", key))
    if repo.test_junit:
        yield from _pattern_faults((repo.test_junit,), (*at, "test_junit"))
    yield from _pattern_faults(repo.protect, (*at, "protect"))


def _pattern_faults(patterns: Sequence[str], at: Path) -> Iterator[RecordError]:
    for i, pattern in enumerate(patterns):
        yield from _path_faults(pattern, (*at, i))


def _path_faults(path: str, at: Path) -> Iterator[RecordError]:
    if not path or path.startswith("/") or ".." in path.split("/"):
        yield RecordError(f"{path!r} is no path below the repository's root", path=at)


def _variable_faults(names: Sequence[str], at: Path) -> Iterator[RecordError]:
    for name in names:
        if not _VARIABLE.fullmatch(name):
            yield RecordError(f"{name!r} is no name of a variable", path=at)


def _allow_faults(entries: Sequence[str], network: bool, at: Path) -> Iterator[RecordError]:
    if entries and network:
        yield RecordError("has no meaning beside network = true, which allows everything; remove one of them", path=at)
    for i, entry in enumerate(entries):
        try:
            parse_entry(entry)
        except ValueError as error:
            yield RecordError(f"{entry!r} {error}", path=(*at, i))


def _check_faults(config: PipelineConfig) -> Iterator[RecordError]:
    for name, check in config.checks.items():
        at: Path = ("checks", name)
        yield from _name_faults(name, at)
        if name in BUILT_IN:
            yield RecordError(f"is built in: it runs {BUILT_IN[name]} of each repository; choose another name", path=at)
        if not check.command:
            yield RecordError("is empty", path=(*at, "command"))
        yield from _command_faults(check.command, (*at, "command"))
        yield from _variable_faults(tuple(check.env), (*at, "env"))
        if check.folder:
            yield from _path_faults(check.folder, (*at, "folder"))
        if check.junit:
            yield from _path_faults(check.junit, (*at, "junit"))


def _gate_faults(name: str, gate: GateConfig, config: PipelineConfig) -> Iterator[RecordError]:
    seen: dict[str, int] = {}
    for i, check in enumerate(gate.checks):
        at: Path = ("gates", name, "checks", i)
        if check not in BUILT_IN and check not in config.checks:
            yield RecordError(
                f"{check!r} is neither built in nor a [checks.NAME]",
                path=at,
                valid=(*config.checks, *BUILT_IN),
                name=check,
            )
        if (first := seen.setdefault(BUILT_IN.get(check, check), i)) != i:
            yield RecordError(f"{check!r} is what {gate.checks[first]!r} runs already", path=at)


def _step_faults(gate: IntegrationConfig, repos: Sequence[RepoConfig]) -> Iterator[RecordError]:
    labels = set(gate.checks)
    known = {repo.name.casefold() for repo in repos}
    for i, step in enumerate(gate.steps):
        at: Path = ("gates", "integration", "steps", i)
        if step.repo.casefold() not in known:
            yield RecordError(
                f"{step.repo!r} is no configured repository",
                path=(*at, "repo"),
                valid=tuple(repo.name for repo in repos),
                name=step.repo,
            )
        if not step.label.strip() or not step.label.isprintable():
            yield RecordError("must be some printable text", path=(*at, "label"))
        if step.label in labels:
            yield RecordError(f"{step.label!r} is the name of another check of this gate", path=(*at, "label"))
        for need in step.needs or ():
            if need not in labels or need == step.label:
                yield RecordError(
                    f"{need!r} is no earlier step or check of this gate",
                    path=(*at, "needs"),
                    valid=tuple(labels),
                    name=need,
                )
        labels.add(step.label)
        if step.args and step.command:
            yield RecordError("has both args and command; which one is to run?", path=at)
        if not step.args and not step.command:
            yield RecordError("has neither args nor command: nothing to run", path=at)
        yield from _command_faults(step.command, (*at, "command"))
        commands = (step.args, step.command, *(artifact.compare for artifact in step.artifacts))
        if not gate.fixture and any("{fixture}" in word for command in commands for word in _words(command)):
            yield RecordError("mentions {fixture}, but gates.integration.fixture is not set", path=at)
        placeholders = _placeholders(repos)
        in_step = tuple(name for name in placeholders if name != "artifact")
        yield from _placeholder_faults(step.args, (*at, "args"), in_step)
        yield from _placeholder_faults(step.command, (*at, "command"), in_step)
        for j, artifact in enumerate(step.artifacts):
            yield from _artifact_faults(artifact, (*at, "artifacts", j))
            yield from _placeholder_faults(artifact.compare, (*at, "artifacts", j, "compare"), placeholders)


def _artifact_faults(artifact: Artifact, at: Path) -> Iterator[RecordError]:
    if not artifact.path or artifact.path.startswith("/") or ".." in artifact.path.split("/"):
        yield RecordError(f"{artifact.path!r} is no path below {{output_dir}}", path=(*at, "path"))
    if artifact.sha256 and not re.fullmatch("[0-9a-fA-F]{64}", artifact.sha256):
        yield RecordError("is no SHA-256: 64 hexadecimal digits", path=(*at, "sha256"))
    yield from _command_faults(artifact.compare, (*at, "compare"))


def _placeholders(repos: Sequence[RepoConfig]) -> tuple[str, ...]:
    return (*PLACEHOLDERS, *(f"repo:{repo.name}" for repo in repos))


def _placeholder_faults(command: Command, at: Path, known: Sequence[str]) -> Iterator[RecordError]:
    """What stands in braces and is meant for a placeholder, but is none; a shell, and many a program, has others."""
    for i, word in enumerate(_words(command)):
        for name in _BRACED.findall(word):
            if name in known:
                continue
            of_a_repo = name.partition(":")[0] in ("repo", "repos")
            if of_a_repo or _is_near(name, PLACEHOLDERS):
                why = "there is no such repository" if name.startswith("repo:") else "nothing takes its place here"
                valid = tuple(f"{{{one}}}" for one in known)
                here = at if isinstance(command, str) else (*at, i)
                yield RecordError(f"mentions {{{name}}}, and {why}", path=here, valid=valid, name=f"{{{name}}}")


def _is_near(name: str, known: Sequence[str]) -> bool:
    # Imported here: it is of use to nobody but the writer of a mistake.
    import difflib

    return bool(difflib.get_close_matches(name.casefold(), known, cutoff=0.7))


def _words(command: Command) -> tuple[str, ...]:
    return (command,) if isinstance(command, str) else command


def _budget_faults(config: PipelineConfig) -> Iterator[RecordError]:
    budget = config.budget
    total = sum(budget.allocation.values())
    if budget.ceiling_usd is not None and total > budget.ceiling_usd + 0.005:
        yield RecordError(
            f"adds up to {total:.2f} dollars, more than the ceiling of {budget.ceiling_usd:.2f}",
            path=("budget", "allocation"),
        )


def _backend_faults(backend: BackendConfig, earlier: Sequence[BackendConfig], at: Path) -> Iterator[RecordError]:
    yield from _name_faults(backend.name, (*at, "name"))
    if backend.name.casefold() in {one.name.casefold() for one in earlier}:
        yield RecordError(f"is taken: there is a backend {backend.name!r} already", path=(*at, "name"))
    if backend.preset:
        yield from _preset_faults(backend, (*at, "preset"))
    if backend.type == "agent" and not backend.command and backend.preset in ("", "generic"):
        yield RecordError("is missing: an agent is a program, or has a preset", path=(*at, "command"))
    if backend.base_url and backend.type == "agent":
        try:
            host_of(backend.base_url)
        except ValueError as error:
            yield RecordError(str(error), path=(*at, "base_url"))
    if backend.type == "chat" and not (backend.provider or backend.base_url):
        yield RecordError("is missing: a chat needs a provider or a base_url", path=(*at, "provider"))
    yield from _variable_faults(tuple(backend.env), (*at, "env"))
    yield from _variable_faults(backend.pass_env, (*at, "pass_env"))
    yield from _allow_faults(backend.allow or (), bool(backend.network), (*at, "allow"))
    if backend.api_key_env:
        yield from _variable_faults((backend.api_key_env,), (*at, "api_key_env"))


def _preset_faults(backend: BackendConfig, at: Path) -> Iterator[RecordError]:
    # Imported here: most commands read a configuration, and few have to do with the programs.
    from thrum.backends import PRESETS

    if backend.preset not in PRESETS:
        yield RecordError(f"{backend.preset!r} is no preset", path=at, valid=tuple(PRESETS), name=backend.preset)
    if backend.type == "chat":
        yield RecordError("is that of a program, and a chat is none", path=at)


def _role_faults(role: str, setting: RoleConfig, backends: Sequence[BackendConfig]) -> Iterator[RecordError]:
    yield from _backend_of_role(role, setting.backend, backends, ("roles", role, "backend"))
    if setting.fallback and role != "implementer":
        yield RecordError("is for the implementer", path=("roles", role, "fallback"))
    for i, wanted in enumerate(setting.fallback):
        yield from _backend_of_role(role, wanted, backends, ("roles", role, "fallback", i))


def _backend_of_role(role: str, wanted: str, backends: Sequence[BackendConfig], at: Path) -> Iterator[RecordError]:
    found = fitting_backends(backends, wanted)
    if not found:
        off = [one.name for one in backends if wanted and wanted.casefold() in one.model.casefold()]
        yield RecordError(
            f"{wanted!r} is neither the name of a backend nor a part of the model of an enabled one"
            + (f" ({off[0]!r} would match, but is not enabled)" if off else ""),
            path=at,
            valid=(*(one.name for one in backends), *(one.model for one in backends if one.model)),
            name=wanted,
        )
    elif len(found) > 1:
        names = ", ".join(one.name for one in found)
        yield RecordError(f"{wanted!r} is a part of the model of several: {names}; name one of them", path=at)
    elif not found[0].enabled:
        yield RecordError(f"backend {found[0].name!r} is not enabled", path=at)
    elif role == "implementer" and found[0].type != "agent":
        problem = f"backend {found[0].name!r} is of type {found[0].type}; only an agent can implement"
        yield RecordError(problem, path=at)
