"""What `thrum check` has to say of a loaded configuration. Pure: what is on this machine is looked up by functions
that are passed in, and nothing is printed."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePath
from typing import Literal

from thrum.allowlist import reach
from thrum.checks import BUILT_IN, gate_checks, programs, requirement, simple_commands
from thrum.config import BackendConfig, Project, RepoConfig
from thrum.errors import ThrumError
from thrum.gate import Check, Gate, Verdict
from thrum.places import PIPELINE, REPOS
from thrum.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that a person should know. With an `error`, some task cannot get through as things stand."""

    level: Literal["error", "warning", "note"]
    where: str
    """The file and the key, or the repository."""
    text: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """Where a program is: `host` its path outside and `inside` that in a sandbox, empty for nowhere; `mounts` are
    the paths that would make the sandbox see the one outside."""

    host: str = ""
    inside: str = ""
    mounts: tuple[str, ...] = ()


Which = Callable[[str, tuple[str, ...]], Sighting]
"""Looks for a program, given the mount_paths of its sandbox (`thrum.detection.toolchain.sight`)."""


def problems(
    project: Project,
    *,
    which: Which,
    repository_problem: Callable[[RepoConfig], ThrumError | None],
    exists: Callable[[str], bool] = os.path.exists,
    environ: Mapping[str, str] | None = None,
) -> list[Finding]:
    """All findings, in the order of the files.

    Of a command only its first program is looked for: not what follows a `&&` or a pipe, nor what it calls itself,
    nor a module that `python -m` names. With `environ`, variables that hold keys are looked for too.
    """
    found: list[Finding] = []
    for repo in project.here:
        found += _repository(repo, repository_problem, exists)
        found += _gates(project, repo)
        found += _tests(repo)
        found += _setup(repo)
        found += _programs(project, repo, which)
    found += _implementer(project, which, exists, environ)
    found += _other_roles(project)
    found += _budget(project)
    found += _sandbox(project, exists)
    found += _without_effect(project)
    return found


# --- Repositories ---------------------------------------------------------------------------------------------


def _repository(
    repo: RepoConfig, problem_of: Callable[[RepoConfig], ThrumError | None], exists: Callable[[str], bool]
) -> Iterator[Finding]:
    problem = problem_of(repo)
    if problem is not None:
        yield Finding(level="error", where=f"{REPOS}: {repo.name}", text=problem.message, remedy=problem.remedy)
    if repo.claude_md and not exists(repo.claude_md):
        yield _no_such_file(REPOS, f"{repo.name}: claude_md", repo.claude_md)


def _gates(project: Project, repo: RepoConfig) -> Iterator[Finding]:
    for gate in (Gate.QUALITY, Gate.PROOF, Gate.INTEGRATION):
        checks, empty = gate_checks(project, repo, gate)
        where = f"{REPOS}: {repo.name}"
        keys = ", ".join(BUILT_IN[name] for name in empty)
        keys += ", or [repo.proof]" if keys and gate is Gate.PROOF else ""
        if checks and empty:
            text = f"gate {gate} goes without {', '.join(empty)}, for which there is no command"
            yield Finding(level="note", where=where, text=text, remedy=f"Set {keys}, if there is something to run.")
        elif not checks:
            kind = "steps with this repository" if gate is Gate.INTEGRATION else "checks"
            why = requirement(project, repo, gate, Verdict.NOT_CONFIGURED)
            yield Finding(
                level="error" if why else "note",
                where=where,
                text=why or f"gate {gate} is not configured: it has nothing to run",
                remedy=f"Set {keys}." if keys else f"Name {kind} in [gates.{gate}].",
            )


def _tests(repo: RepoConfig) -> Iterator[Finding]:
    if repo.test_cmd and not repo.expect_tests and not repo.test_junit:
        yield Finding(
            level="note",
            where=f"{REPOS}: {repo.name}",
            text="expect_tests = false: test_cmd passes with its exit code alone, also where it ran no test",
            remedy="Have it leave a JUnit report (test_junit), and take the key out.",
        )


_INSTALLS_ITSELF = re.compile(
    r"""(?x)
      pip[0-9.]*\ install\b.*(?<!-[rctf])(?<!requirement)(?<!constraint)(?<!target)(?<!links)\ (?:-e\ ?|--editable[ =])?
        \.{1,2}(?:/\S*)?(?:\[\S*\])?(?<!\.whl)(?<!\.gz)(?<!\.zip)(?:\ |$)
    | (?:uv\ sync|poetry\ install|pdm\ (?:install|sync))\b(?!.*\ --no-(?:root|self|install-project|install-workspace))
    | (?:npm|pnpm|yarn)\ (?:link\b|(?:install|i|add)\b(?=.*\ (?:-g|--global)\b).*\ \.(?:\ |$))
    | make\ (?:\S+\ )*install\b
    | cargo\ install\b.*\ --path\b
    | setup\.py\ (?:.*\ )?(?:install|develop)\b
    """
)
"""A simple command that installs what lies in the checkout, by its words with a space in between."""


def _setup(repo: RepoConfig) -> Iterator[Finding]:
    commands = map(" ".join, simple_commands(repo.setup_cmd))
    found = next((command for command in commands if _INSTALLS_ITSELF.search(command)), "")
    if found:
        yield Finding(
            level="warning",
            where=f"{REPOS}: {repo.name}: setup_cmd",
            text=f"{found!r} seems to install the repository itself; a setup is made once and kept, and checks that "
            "run what it installed run the code of the branch, not of the change",
            remedy="Install what the repository depends on, and have the checks take the rest from their checkout.",
        )


def _programs(project: Project, repo: RepoConfig, which: Which) -> Iterator[Finding]:
    """One finding for each program of the repository that a sandbox would not find, with all that need it."""
    wanted: dict[tuple[str, ...], list[str]] = {("git",): ["every attempt"]}
    for gate in (Gate.QUALITY, Gate.PROOF, Gate.INTEGRATION):
        for check in gate_checks(project, repo, gate)[0]:
            for names in programs(check) if check.repo == repo.name else ():
                wanted.setdefault(names, []).append(check.name)
    for names in programs(Check(name="setup_cmd", command=repo.setup_cmd)) if repo.setup_cmd else ():
        wanted.setdefault(names, []).append("setup_cmd")
    mounts = (*project.pipeline.sandbox.mount_paths, *repo.mount_paths)
    for names, users in wanted.items():
        sightings = [which(name, mounts) for name in names]
        sighting = next((one for one in sightings if _seen(project, one)), sightings[0])
        either, whose = " or ".join(map(repr, names)), ", ".join(dict.fromkeys(users))
        needed = f"{either}, which {whose} need{'s' * (len(users) == 1)},"
        where = f"{REPOS}: {repo.name}"
        if _seen(project, sighting):
            yield from _another(project, sighting, needed, where)
        elif repo.setup_cmd and "setup_cmd" not in users:
            text = f"{needed} is not there before setup_cmd has run; whether it is afterwards, the first check tells"
            yield Finding(level="note", where=where, text=text)
        else:
            yield _unseen(project, needed, sighting, where, f"mount_paths of {repo.name}, or of [sandbox]")


def _another(project: Project, sighting: Sighting, needed: str, where: str) -> Iterator[Finding]:
    """The sandbox finds a program of that name, but not the one that its user runs."""
    if project.pipeline.sandbox.backend != "none" and sighting.mounts:
        paths = ", ".join(f'"{path}"' for path in sighting.mounts)
        yield Finding(
            level="note",
            where=where,
            text=f"{needed} is {sighting.inside} in the sandbox, but {sighting.host} for you",
            remedy=f"If it must be yours, add {paths} to mount_paths.",
        )


def _seen(project: Project, sighting: Sighting) -> bool:
    return bool(sighting.host if project.pipeline.sandbox.backend == "none" else sighting.inside)


def _unseen(project: Project, needed: str, sighting: Sighting, where: str, key: str) -> Finding:
    if project.pipeline.sandbox.backend == "docker":
        text = f"{needed} is not on the PATH of the image {project.pipeline.sandbox.image!r}"
        return Finding(level="error", where=where, text=text, remedy="Add it to the image.")
    if not sighting.host:
        return Finding(level="error", where=where, text=f"{needed} is not on the PATH", remedy="Install it.")
    paths = ", ".join(f'"{path}"' for path in sighting.mounts)
    return Finding(
        level="error",
        where=where,
        text=f"{needed} is at {sighting.host}, where the sandbox does not see it",
        remedy=f"Add {paths} to {key}." if paths else "Install it below /usr.",
    )


def _no_such_file(file: str, key: str, path: str) -> Finding:
    return Finding(
        level="error",
        where=f"{file}: {key}",
        text=f"there is no {path}",
        remedy="Correct the path (a relative one starts at the project directory), or take the key out.",
    )


# --- The rest of the pipeline -----------------------------------------------------------------------------------


def _implementer(
    project: Project, which: Which, exists: Callable[[str], bool], environ: Mapping[str, str] | None
) -> Iterator[Finding]:
    backend, role = project.implementer(), project.pipeline.roles.implementer
    if backend is None:
        yield Finding(
            level="error",
            where=f"{PIPELINE}: backends",
            text="no agent is enabled, so nobody can implement a task",
            remedy='Add a [[backends]] with type = "agent", or set enabled = true on one.',
        )
        return
    where = f"{PIPELINE}: backends {backend.name}"
    sighting = which(backend.command, (*project.pipeline.sandbox.mount_paths, *backend.mount_paths))
    if not _seen(project, sighting):
        yield _unseen(project, f"{backend.command!r}, the agent,", sighting, where, f"mount_paths of {backend.name}")
    if role is not None and role.prompt_template and not exists(role.prompt_template):
        yield _no_such_file(PIPELINE, "roles.implementer.prompt_template", role.prompt_template)
    if backend.api_key_env:
        yield from _key(project, backend, environ, where)


def _key(project: Project, backend: BackendConfig, environ: Mapping[str, str] | None, where: str) -> Iterator[Finding]:
    if environ is not None and not environ.get(backend.api_key_env):
        yield Finding(
            level="warning",
            where=where,
            text=f"the variable {backend.api_key_env}, named by api_key_env, is not set here",
            remedy="Set it for `thrum up`; without it the agent must know another way to log in.",
        )
    sandbox = project.pipeline.sandbox
    network, allow = reach(sandbox, backend)
    if sandbox.backend != "none" and not network and not allow:
        yield Finding(
            level="warning",
            where=where,
            text="the agent has a key to an API, but no network to reach it",
            remedy=f'Set allow = ["HOST:PORT"] for {backend.name}, with what it needs, or network = true.',
        )


def _other_roles(project: Project) -> Iterator[Finding]:
    roles = project.pipeline.roles
    for name, role in (("reviewer", roles.reviewer), ("planner", roles.planner)):
        if role is not None:
            yield Finding(level="note", where=f"{PIPELINE}: roles.{name}", text="has no effect yet")


def _budget(project: Project) -> Iterator[Finding]:
    budget, role, backend = project.pipeline.budget, project.pipeline.roles.implementer, project.implementer()
    limited = budget.ceiling_usd is not None or (role is not None and role.budget_usd is not None)
    if limited and backend is not None and not any("json" in arg for arg in backend.prompt_args):
        yield Finding(
            level="warning",
            where=f"{PIPELINE}: budget",
            text=f"what {backend.name} spends counts only if it prints its cost as JSON, for which its prompt_args "
            "do not seem to ask",
            remedy="Have it print JSON, if it can; a budget cannot bind what is not told.",
        )
    passed_on = backend is None or any("{budget_usd}" in argument for argument in backend.prompt_args)
    if role is not None and role.budget_usd is not None and backend is not None and not passed_on:
        text = f"has no effect: the prompt_args of {backend.name} do not pass on {{budget_usd}}"
        yield Finding(level="note", where=f"{PIPELINE}: roles.implementer.budget_usd", text=text)
    if budget.allocation and budget.ceiling_usd is None:
        yield Finding(
            level="note", where=f"{PIPELINE}: budget.allocation", text="is a share of a ceiling that is not set"
        )


def _sandbox(project: Project, exists: Callable[[str], bool]) -> Iterator[Finding]:
    sandbox = project.pipeline.sandbox
    where = f"{PIPELINE}: sandbox"
    if sandbox.backend == "none":
        yield Finding(
            level="warning",
            where=where,
            text='backend = "none": agents, and the code they write, may do whatever you may do on this machine',
            remedy='Set backend = "os-native".',
        )
        lists = [(sandbox.allow, f"{where}: allow"), (sandbox.setup_allow, f"{where}: setup_allow")]
        lists += [(one.allow or (), f"{PIPELINE}: backends {one.name}: allow") for one in project.pipeline.backends]
        for allow, key in lists:
            if allow:
                yield Finding(
                    level="warning",
                    where=key,
                    text="does not bind: without a sandbox the whole network is reached",
                    remedy='Set [sandbox] backend = "os-native".',
                )
    if sandbox.limits == "best-effort":
        text = 'limits = "best-effort": a limit on memory, processors or processes may not bind'
        yield Finding(level="note", where=where, text=text)
    if sandbox.image and sandbox.backend != "docker":
        text = f'has no effect with backend = "{sandbox.backend}": only docker uses an image'
        yield Finding(level="note", where=f"{where}.image", text=text)
    mounts = [(path, where) for path in sandbox.mount_paths]
    mounts += [(path, f"{REPOS}: {repo.name}") for repo in project.repos for path in repo.mount_paths]
    for backend in project.pipeline.backends:
        mounts += [(path, f"{PIPELINE}: backends {backend.name}") for path in backend.mount_paths]
    for path, holder in mounts:
        if not exists(path):
            yield Finding(level="warning", where=f"{holder}: mount_paths", text=f"there is no {path}")
        elif PurePath(project.directory).is_relative_to(path):
            yield Finding(
                level="warning",
                where=f"{holder}: mount_paths",
                text=f"{path} shows agents the project directory and all that lies around it",
                remedy="Name the tool's own folder.",
            )


def _without_effect(project: Project) -> Iterator[Finding]:
    pipeline = project.pipeline
    for repo in project.repos:
        if repo.host:
            text = f"host = {repo.host!r}: its actors run there, and no command brings them up there yet"
            yield Finding(level="warning", where=f"{REPOS}: {repo.name}", text=text)
    if pipeline.subsample.enabled:
        yield Finding(
            level="note",
            where=f"{PIPELINE}: subsample",
            text="before approval only a share of the checks runs; what lands has always passed all of them",
        )
        if pipeline.subsample.gate3_ratio < 1:
            yield Finding(
                level="note",
                where=f"{PIPELINE}: subsample.gate3_ratio",
                text="has no effect: Gate 3 runs on what would land, and that is never sampled",
            )
    if pipeline.release:
        yield Finding(level="note", where=f"{PIPELINE}: release", text="has no effect: Thrum releases nothing")
