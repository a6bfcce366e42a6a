"""Which checks a gate of a repository consists of, and what follows from that. Pure: nothing here runs one."""

from __future__ import annotations

import hashlib
import json
import math
import random
import re
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from thrum.config import GateConfig, IntegrationConfig, Project, RepoConfig, StepConfig
from thrum.gate import (
    ROCQ_CHECKERS,
    ROCQ_COMPILERS,
    SETUP_PREFIX,
    Check,
    Command,
    Gate,
    Obligations,
    Verdict,
)
from thrum.records import to_plain
from thrum.runners.cargo import listing

BUILT_IN: dict[str, str] = {
    "fmt": "fmt_cmd",
    "lint": "lint_cmd",
    "test": "test_cmd",
    "build": "build_cmd",
    "verify": "verify_cmd",
    "proofs": "proofs_cmd",
    "cargo_fmt": "fmt_cmd",
    "cargo_clippy": "lint_cmd",
    "cargo_test": "test_cmd",
    "cargo_build": "build_cmd",
    "z3_verify": "verify_cmd",
    "rocq_proofs": "proofs_cmd",
}
"""The checks that every repository has by name, with the key of `[[repo]]` that holds their command."""

PLACEHOLDERS = ("fixture", "output_dir", "artifact")
"""What the runner of Gate 3 fills in: the fixture's path, that of a folder which all steps of a run share, and for the
comparison of an artifact the artifact's; beside them `{repo:NAME}`, the path of that repository's checkout."""

OF_THE_CHECKOUT = "of the checkout is not there, or cannot be run"
"""How the reason of a check ends whose program was to be in its checkout."""

_PLACEHOLDER = re.compile("({(?:" + "|".join(PLACEHOLDERS) + "|repo:[A-Za-z0-9_.-]+)})")


def gate_config(project: Project, gate: Gate) -> GateConfig | None:
    """The gate's table in the configuration; None for the review, which has no checks."""
    gates = project.pipeline.gates
    tables = {Gate.QUALITY: gates.quality, Gate.PROOF: gates.proof, Gate.INTEGRATION: gates.integration}
    return tables.get(gate)


def gate_checks(project: Project, repo: RepoConfig, gate: Gate) -> tuple[tuple[Check, ...], tuple[str, ...]]:
    """The checks of the gate for a task of the repository, and the names of those that it leaves empty.

    A check is left empty by a repository that has no command for it: it is `not-configured`. Gate 3's steps
    belong to every repository of their set, each step to run in the checkout of its own repository.
    """
    config = gate_config(project, gate)
    if config is None:
        return (), ()
    checks: list[Check] = []
    empty: list[str] = []
    for name in config.checks:
        check = _named_check(project, repo, name, config.timeout_s)
        if check.command or check.prover:
            checks.append(check)
        else:
            empty.append(name)
    if isinstance(config, IntegrationConfig) and repo.name in _step_repos(project):
        checks += [_step_check(project, step, config.timeout_s) for step in config.steps]
        checks = list(_with_needs(checks, {step.label: step.needs for step in config.steps}))
    return tuple(checks), tuple(empty)


def integration_set(project: Project, repo_name: str) -> tuple[str, ...]:
    """The repositories that must land one at a time with this one, itself among them, in configured order.

    They are those that the steps of Gate 3 name; a repository that no step names is alone.
    """
    tied = _step_repos(project)
    return tied if repo_name in tied else (repo_name,)


def requirement(project: Project, repo: RepoConfig, gate: Gate, verdict: Verdict) -> str:
    """Why the gate may not stay `not-configured` for this repository; empty where it may, or is configured."""
    if verdict is not Verdict.NOT_CONFIGURED:
        return ""
    config = gate_config(project, gate)
    if config is not None and config.required:
        return f"gate {gate} has nothing to run for {repo.name}, and [gates.{gate}] says required = true"
    if str(gate) in project.safety(repo).required_gates:
        return f"gate {gate} has nothing to run for {repo.name}, and safety_target {repo.safety_target} demands it"
    return ""


def definition_digest(checks: Sequence[Check]) -> str:
    """A digest of the definitions; checks that differ in anything, their order included, differ in it."""
    text = json.dumps(to_plain(checks), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def share(project: Project, gate: Gate) -> float:
    """The share of the gate's checks that runs before approval; 1.0 where nothing is sampled.

    Always 1.0 for Gate 3: it runs on candidates alone, and each of its steps needs the one before.
    """
    subsample = project.pipeline.subsample
    ratios = {Gate.QUALITY: subsample.gate1_ratio, Gate.PROOF: subsample.gate2_ratio}
    return ratios.get(gate, 1.0) if subsample.enabled else 1.0


def sampled(checks: Sequence[Check], ratio: float, strategy: str, task_id: str, attempt: int) -> tuple[Check, ...]:
    """What of the checks runs as a share of that ratio, in their order.

    Of a run of pytest or `cargo test` its tests are sampled, by a partition that each attempt turns further (`random`:
    anew); of the other checks each runs or does not.
    """
    if ratio >= 1.0:
        return tuple(checks)
    seed = task_id if strategy == "task-id" else f"{task_id}/{attempt}"
    turned = attempt * ratio if strategy == "task-id" else 0.0
    start = round((random.Random(seed).random() + turned) % 1.0, 6)
    others = [check for check in checks if not samples_tests(check)]
    chosen = {check.name for check in sample(others, ratio, strategy, task_id, attempt)} if others else set()
    return tuple(
        replace(check, sample=(start, ratio)) if samples_tests(check) else check
        for check in checks
        if samples_tests(check) or check.name in chosen
    )


def samples_tests(check: Check) -> bool:
    """True for a check whose tests can be sampled: a pytest run that we can give a plugin, or a plain `cargo test`."""
    if listing(check.command) is not None:
        return True
    text = check.command if isinstance(check.command, str) else " ".join(check.command)
    # What the command sets itself would take the place of what we set.
    return re.search(r"\bpytest\b", text) is not None and not re.search(r"\b(?:PYTHONPATH|PYTEST_PLUGINS)=", text)


def sample(checks: Sequence[Check], ratio: float, strategy: str, task_id: str, attempt: int = 0) -> tuple[Check, ...]:
    """A share of the checks in their order, rounded up, so that a ratio above 0 always leaves one.

    `task-id` chooses the same ones in each attempt of a task, `random` others in each; either choice is the same
    whenever it is made again.
    """
    count = max(1, math.ceil(ratio * len(checks) - 1e-9))
    if count >= len(checks):
        return tuple(checks)
    seed = task_id if strategy == "task-id" else f"{task_id}/{attempt}"
    chosen = set(random.Random(seed).sample(range(len(checks)), max(count, 0)))
    return tuple(check for i, check in enumerate(checks) if i in chosen)


def startable(checks: Sequence[Check], begun: Collection[str], ended: Mapping[str, Verdict]) -> tuple[Check, ...]:
    """The parts of a pipeline that may begin now, in their order: those that need none but passed ones, and none at all
    once one did not pass. `begun` are names, `ended` those of them that are over, each with its verdict."""
    if any(verdict is not Verdict.PASSED for verdict in ended.values()):
        return ()
    return tuple(check for check in checks if check.name not in begun and set(check.needs) <= ended.keys())


def fill(command: Command, values: Mapping[str, str]) -> Command:
    """The command with its placeholders replaced by their values, quoted for the shell where it is a string.

    Other braces, and placeholders that `values` lacks, stay as they are.
    """
    if isinstance(command, str):
        return _replace(command, {name: shlex.quote(value) for name, value in values.items()})
    return tuple(_replace(word, values) for word in command)


def programs(check: Check) -> tuple[tuple[str, ...], ...]:
    """The programs of the machine that the check needs, for all that can be told (see `first_program`), each once; any
    name of one entry will do for it."""
    obligations = check.obligations
    if check.prover == "rocq":
        return tuple(tuple(command[0] for command in known) for known in (ROCQ_COMPILERS, ROCQ_CHECKERS))
    if check.prover and obligations is not None:
        tools = (obligations.solver, *([obligations.interpreter] if obligations.python else []))
        return tuple((tool,) for tool in tools if not tool.startswith(SETUP_PREFIX))
    commands = (check.command, *(artifact.compare for artifact in check.artifacts if artifact.compare))
    firsts = [first_program(command) for command in commands]
    shell = ["bash"] if any(isinstance(command, str) for command in commands) else []
    return tuple((name,) for name in dict.fromkeys(filter(None, (*firsts, *shell))))


def named_repos(command: Command) -> tuple[str, ...]:
    """The repositories that the command names as `{repo:NAME}`, each once."""
    words = (command,) if isinstance(command, str) else command
    found = (piece[6:-1] for word in words for piece in _PLACEHOLDER.findall(word) if piece.startswith("{repo:"))
    return tuple(dict.fromkeys(found))


def _replace(text: str, values: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda found: values.get(found[0][1:-1], found[0]), text)


def _named_check(project: Project, repo: RepoConfig, name: str, timeout_s: float) -> Check:
    key = BUILT_IN.get(name)
    if key is not None:
        command: Command = getattr(repo, key)
        prover = _prover(repo.proof, key) if not command else ""
        if prover:
            limit_s, proof = timeout_s, repo.proof
            return Check(name=name, command="", repo=repo.name, timeout_s=limit_s, prover=prover, obligations=proof)
        plain = Check(name=name, command=command, repo=repo.name, timeout_s=timeout_s)
        tests = key == "test_cmd"
        return replace(plain, expect_tests=repo.expect_tests, junit=repo.test_junit) if tests else plain
    own = project.pipeline.checks[name]
    return Check(
        name=name,
        command=own.command,
        repo=repo.name,
        timeout_s=own.timeout_s or timeout_s,
        folder=own.folder,
        env=own.env,
        network=own.network,
        expect_tests=own.expect_tests,
        junit=own.junit,
    )


def _prover(proof: Obligations, key: str) -> Literal["", "z3", "rocq"]:
    if key == "verify_cmd" and (proof.smt or proof.python):
        return "z3"
    return "rocq" if key == "proofs_cmd" and any(proof.of_rocq) else ""


def _step_repos(project: Project) -> tuple[str, ...]:
    """The repositories that Gate 3's steps name, in configured order."""
    steps = project.pipeline.gates.integration.steps
    named = {step.repo.casefold() for step in steps}
    for step in steps:
        commands = (step.args, step.command, *(artifact.compare for artifact in step.artifacts))
        named |= {name.casefold() for command in commands for name in named_repos(command)}
    return tuple(repo.name for repo in project.repos if repo.name.casefold() in named)


def _with_needs(checks: Sequence[Check], declared: Mapping[str, tuple[str, ...] | None]) -> Iterator[Check]:
    """The parts of a pipeline with what each needs: what it declares, else the one before it."""
    before: tuple[str, ...] = ()
    for check in checks:
        needs = declared.get(check.name)
        yield replace(check, needs=before if needs is None else needs)
        before = (check.name,)


def _step_check(project: Project, step: StepConfig, timeout_s: float) -> Check:
    repo = project.repo(step.repo)
    if repo is None:
        raise LookupError(f"step {step.label!r} names no known repository: {step.repo!r}")
    command = step.command or _appended(repo.run_cmd, step.args)
    return Check(
        name=step.label,
        command=command,
        repo=repo.name,
        timeout_s=step.timeout_s or timeout_s,
        artifacts=step.artifacts,
    )


def _appended(run_cmd: Command, args: tuple[str, ...]) -> Command:
    if isinstance(run_cmd, str):
        return " ".join([run_cmd, *map(_quoted, args)])
    return run_cmd + args


def _quoted(arg: str) -> str:
    # Placeholders stay outside the quotes: `fill` puts in a value that has its own.
    pieces = [piece for piece in _PLACEHOLDER.split(arg) if piece]
    return "".join(piece if _PLACEHOLDER.fullmatch(piece) else shlex.quote(piece) for piece in pieces) or "''"


def first_program(command: Command) -> str:
    """The first program that the command runs, for all that can be told without a shell; empty where it cannot.

    Variables that are set in front, `env`, and a leading `cd FOLDER &&` are passed over; what is built into the
    shell, computed by it, or lies in the checkout (`./run`) is nothing to look for.
    """
    if not isinstance(command, str):
        return "" if not command or in_checkout(command[0]) else command[0]
    try:
        reader = shlex.shlex(command, posix=True, punctuation_chars=True)
        reader.whitespace_split = True
        words = list(reader)
    except ValueError:
        return ""
    while words:
        if words[0] == "cd" and "&&" in words:
            words = words[words.index("&&") + 1 :]
        elif words[0] in ("env", "exec", "time", "!") or _ASSIGNMENT.match(words[0]):
            words = words[1:]
        else:
            break
    return _worth_looking_for(words[0]) if words else ""


def simple_commands(command: Command) -> list[list[str]]:
    """The words of each simple command in it, for all that can be told without a shell."""
    if not isinstance(command, str):
        return [list(command)]
    found: list[list[str]] = [[]]
    for word in shell_words(command):
        if OPERATOR.fullmatch(word):
            found.append([])
        else:
            found[-1].append(word)
    return [words for words in found if words]


def shell_words(command: str) -> Iterator[str]:
    """The words and operators of a command for the shell, in their order; each line ends with an operator."""
    for line in command.splitlines():
        reader = shlex.shlex(line, posix=True, punctuation_chars=True)
        reader.whitespace_split = True
        reader.commenters = ""
        try:
            words = list(reader)
        except ValueError:
            words = line.split()
        yield from (*words, ";")


OPERATOR = re.compile(r"[;&|()<>\n]+")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_BUILT_INTO_BASH = re.compile(
    "alias|case|cd|command|declare|echo|eval|exit|export|false|for|function|if|printf|pwd|read|return|set|shopt|source"
    r"|test|trap|true|type|ulimit|umask|unset|until|wait|while|[.:]|\[\[?"
)
_OF_THE_SHELL = re.compile(r"^-|[$`*?(){}<>|&;~]")


def in_checkout(word: str) -> bool:
    """True for a program that is named by its path in the checkout."""
    return "/" in word and not word.startswith("/")


def _worth_looking_for(word: str) -> str:
    return "" if in_checkout(word) or _BUILT_INTO_BASH.fullmatch(word) or _OF_THE_SHELL.search(word) else word
