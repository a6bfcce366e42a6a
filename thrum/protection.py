"""Which changed paths are protected: those that patterns name, and kinds that no pattern of names could. Pure."""

from __future__ import annotations

import posixpath
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from thrum.checks import BUILT_IN, gate_config, simple_commands
from thrum.config import Project, RepoConfig
from thrum.fence import COMMANDS, LINKS, MODULES
from thrum.gate import Command, Gate
from thrum.globs import matched

RUNNERS = frozenset(
    (
        *(
            "_pytest",
            "black",
            "coverage",
            "exceptiongroup",
            "flake8",
            "hypothesis",
            "iniconfig",
            "isort",
            "mypy",
            "nox",
        ),
        *("packaging", "pip", "pluggy", "py", "pyflakes", "pycodestyle", "pygments", "pylint", "pytest"),
        *("pytest_asyncio", "pytest_cov", "pytest_timeout", "ruff", "setuptools", "tomli", "tox", "xdist", "z3"),
    )
)
"""What `python -m pytest` and its like import beside the standard library."""
_PATHS = (("src",), ("lib",), ("test",), ("tests",))
"""Folders that test runs put on Python's path, beside the root."""


def protected(files: Sequence[str], links: Sequence[str], patterns: Sequence[str]) -> tuple[str, ...]:
    """Those of the changed files that are protected, in their order.

    `links` are the links among them. What `<scripts of commands>` means must be among the patterns (see `patterns_of`).
    """
    found = {*matched(files, patterns)}
    if LINKS in patterns:
        found.update(links)
    if MODULES in patterns:
        found.update(file for file in files if _shadows(file))
    return tuple(file for file in files if file in found)


def patterns_of(project: Project, repo: RepoConfig) -> tuple[str, ...]:
    """The patterns of what is protected in the repository, with the paths that its commands name where these are."""
    return (*repo.protect, *(command_paths(project, repo) if COMMANDS in repo.protect else ()))


def command_paths(project: Project, repo: RepoConfig) -> tuple[str, ...]:
    """The scripts and settings of the repository that its checks, setup and steps run or are told of, each once.

    Told from the words of the commands alone: what is run with a slash in its name (`./run`), what a shell or an
    interpreter is given first (`sh ci/t`, `python3 ci/run.py`), any word that ends as a shell script does, and
    settings that an option names (`--config lint.toml`). Of Gate 3's steps no argument of an interpreter counts:
    that is most often the work itself. Of the commands that compare artifacts each path does.
    """
    gates = project.pipeline.gates
    names = {name for gate in (Gate.QUALITY, Gate.PROOF, Gate.INTEGRATION) for name in _checks_of(project, gate)}
    own: list[Command] = [getattr(repo, key) for key in dict.fromkeys(BUILT_IN.values())]
    own += [repo.setup_cmd, *(check.command for name, check in project.pipeline.checks.items() if name in names)]
    found = [path for command in own for path in _scripts(command, interpreted=True)]
    prefix = f"{{repo:{repo.name}}}/"
    for step in gates.integration.steps:
        at_home = step.repo.casefold() == repo.name.casefold()
        if at_home:
            found += _scripts(step.command or repo.run_cmd, interpreted=False)
        for artifact in step.artifacts:
            words = [word for simple in simple_commands(artifact.compare) for word in simple]
            named = [word.removeprefix(prefix) for word in words if word.startswith(prefix)]
            here = [word for word in words if "/" in word] if at_home else []
            found += filter(None, map(_path, (*named, *here)))
            found += _scripts(artifact.compare, interpreted=True) if at_home else ()
    return tuple(dict.fromkeys(found))


def _shadows(file: str) -> bool:
    """True for a file that Python would import in place of one of its own modules, or of a runner's."""
    parts = PurePosixPath(file).parts
    inner = parts[1:] if parts[:1] in _PATHS and len(parts) > 1 else parts
    name = inner[0].partition(".")[0]
    return file.endswith((".py", ".pyc", ".so")) and (name in sys.stdlib_module_names or name in RUNNERS)


def _checks_of(project: Project, gate: Gate) -> tuple[str, ...]:
    config = gate_config(project, gate)
    return config.checks if config else ()


# --- The words of commands --------------------------------------------------------------------------------------------

_SHELLS = re.compile(r"(?:ba|da|z|k|fi)?sh|source|\.")
_INTERPRETERS = re.compile(r"python[0-9.]*|node|perl|ruby|php|lua|tclsh|Rscript|ocaml")
_INLINE = re.compile(r"-[A-Za-z]*[cem]|--(?:test|eval)(?:=.*)?")
"""An option after which no script is run: a text, a module, the tests that follow."""
_SCRIPT = re.compile(r".*\.(?:sh|bash|zsh|ksh|fish)")
_SETTINGS = re.compile(r".*\.(?:toml|ini|cfg|conf|ya?ml|json5?|rc)|(?:.*/)?\.?\w+rc")
_BEFORE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=.*|env|exec|time|nice|nohup|command|!|if|then|else|do|while|until|\{")


def _scripts(command: Command, *, interpreted: bool) -> Iterator[str]:
    """The paths of scripts and settings in the command, relative to where it begins."""
    folder = ""
    for words in simple_commands(command):
        while words and _BEFORE.fullmatch(words[0]):
            words = words[1:]
        if words[:1] == ["cd"] and len(words) > 1:
            folder = words[1]
            continue
        for place, word in enumerate(words):
            before = words[place - 1] if place else ""
            option, _, value = word.partition("=") if word.startswith("-") else ("", "", "")
            setting = value if option and value else word if before.startswith("-") else ""
            program = posixpath.basename(word)
            run = [word] if (place == 0 and "/" in word) or word.startswith("./") or _SCRIPT.fullmatch(word) else []
            run += [setting] if setting and _SETTINGS.fullmatch(setting) else []
            if _SHELLS.fullmatch(program):
                rest = [one for i, one in enumerate(words) if i > place and words[i - 1] not in ("-o", "+o")]
                first = next((i for i, one in enumerate(rest) if not one.startswith("-")), None)
                if first is not None and any(re.fullmatch(r"-[a-z]*c", one) for one in rest[:first]):
                    yield from _scripts(rest[first], interpreted=interpreted)
                elif first is not None:
                    run.append(rest[first])
            elif interpreted and _INTERPRETERS.fullmatch(program):
                run += _given(words[place + 1 :])
            yield from filter(None, (_path(posixpath.join(folder, one)) for one in run))


def _given(words: Sequence[str]) -> list[str]:
    """The script that an interpreter with these arguments runs, if it runs one."""
    for word in words:
        if _INLINE.fullmatch(word):
            return []
        if not word.startswith("-") and ("/" in word or "." in word):
            return [word]
    return []


def _path(word: str) -> str:
    """The word as a path of the repository; empty where it is none, or not to be told without a shell."""
    if not word or word.startswith(("/", "~", "-")) or re.search(r"[$`*?\[\]{}\\\s\0]", word):
        return ""
    path = posixpath.normpath(word)
    return "" if path in (".", "..") or path.startswith("../") else path
