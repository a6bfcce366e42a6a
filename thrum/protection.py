"""Which changed paths are protected: those that patterns name, and kinds that no pattern of names could. Pure."""

from __future__ import annotations

import posixpath
import re
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import PurePosixPath

from thrum.checks import BUILT_IN, gate_config, simple_commands
from thrum.config import Project, RepoConfig
from thrum.fence import COMMANDS, LINKS, MODULES, OBLIGATIONS, Fence
from thrum.gate import Command, Gate
from thrum.globs import matched
from thrum.task import Attempt
from thrum.values import dataclass

_RUNNERS = """
    _distutils_hack _pytest astroid attr autopep8 bandit basedpyright behave black blib2to3 click codespell_lib coverage
    exceptiongroup execnet flake8 grimp hypothesis importlinter iniconfig isort jsonschema mccabe mypy mypy_extensions
    mypyc nose nose2 nox packaging pathspec pip pkg_resources platformdirs pluggy py pycodestyle pydocstyle pyflakes
    pygments pylint pyright pytest robot ruff setuptools sortedcontainers testtools tomli tomlkit tox twisted
    typing_extensions unittest2 wheel xdist yapf yaml z3
"""
RUNNERS = frozenset(_RUNNERS.split())
"""What `python -m pytest` and its like import beside the standard library, its plugins (`pytest_*`) aside."""
_PATHS = (("src",), ("lib",), ("test",), ("tests",))
"""Folders that test runs put on Python's path, beside the root."""
_MODULE_FILES = ("{}.py", "{}.pyc", "{}.*so", "{}/__init__.py", "{}/__init__.pyc", "{}/__init__.*so")
"""What Python imports as a module."""


def protected(change: Attempt, fence: Fence) -> tuple[str, ...]:
    """Those of the files that an attempt changed that are protected, in their order."""
    added = frozenset(change.added)
    found = {*matched(change.files, fence.always)}
    found.update(matched([file for file in change.files if file not in added], fence.standing))
    found.update(matched(change.added, fence.new))
    found.update(change.links if fence.links else ())
    found.update(file for file in change.files if fence.modules and _shadows(file))
    return tuple(file for file in change.files if file in found)


def fence_of(project: Project, repo: RepoConfig) -> Fence:
    """What is protected in the repository: what its `protect` lists, and what its entries mean that are no patterns."""
    told = set(repo.protect)
    named = tuple(_named(project, repo))
    scripts = dict.fromkeys(path for one in named for path in one.paths) if COMMANDS in told else ()
    return Fence(
        always=(*repo.protect, *scripts),
        standing=_obligations(repo) if OBLIGATIONS in told else (),
        new=tuple(dict.fromkeys(file for one in named for file in one.stand_ins)) if MODULES in told else (),
        links=LINKS in told,
        modules=MODULES in told,
    )


def _obligations(repo: RepoConfig) -> tuple[str, ...]:
    """Patterns of what says in the repository what is to be proven."""
    proof = repo.proof
    # Which files a project names is for its text to say; that it names another one is nothing to bet on.
    listed = ("**/*.v",) if proof.rocq_project and not proof.rocq else ()
    return (*proof.smt, *proof.python, *proof.rocq, *listed, *filter(None, (proof.rocq_project,)))


def _shadows(file: str) -> bool:
    """True for a file that Python would import in place of one of its own modules, or of a runner's."""
    parts = PurePosixPath(file).parts
    inner = parts[1:] if parts[:1] in _PATHS and len(parts) > 1 else parts
    name = inner[0].partition(".")[0]
    own = name in sys.stdlib_module_names or name in RUNNERS or name.startswith("pytest_")
    return own and file.endswith((".py", ".pyc", ".so"))


# --- What commands name -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Named:
    """A script or settings by its path, or a module of Python that a command runs in a folder."""

    path: str = ""
    module: str = ""
    folder: str = ""

    @property
    def paths(self) -> tuple[str, ...]:
        """The files that are run, or read as settings."""
        if self.path:
            return (self.path,)
        inner = posixpath.join(self.folder, *self.module.split("."))
        return (f"{inner}.py", f"{inner}/__main__.py")

    @property
    def stand_ins(self) -> tuple[str, ...]:
        """Patterns of what Python would import in the place of the module, or of a package that holds it."""
        top = self.module.partition(".")[0]
        places = (self.folder, *(posixpath.join(self.folder, *path) for path in _PATHS)) if top else ()
        return tuple(posixpath.join(place, file.format(top)) for place in places for file in _MODULE_FILES)


def _named(project: Project, repo: RepoConfig) -> Iterator[_Named]:
    """What the repository's checks, setup and steps run there or are told of, from the words of their commands alone.

    That is what is run with a slash in its name (`./run`), what a shell or an interpreter is given first (`sh ci/t`,
    `python3 ci/run.py`, `python3 -m ci.run`), any word that ends as a shell script does, and settings that an option
    names (`--config lint.toml`). Of Gate 3's steps no argument of an interpreter counts: that is most often the work
    itself. Of the commands that compare artifacts each path does.
    """
    gates = project.pipeline.gates
    names = {name for gate in (Gate.QUALITY, Gate.PROOF, Gate.INTEGRATION) for name in _checks_of(project, gate)}
    for key in (*dict.fromkeys(BUILT_IN.values()), "setup_cmd"):
        yield from _run(getattr(repo, key), interpreted=True)
    for name, check in project.pipeline.checks.items():
        if name in names:
            yield from _run(check.command, interpreted=True, folder=check.folder)
    prefix = f"{{repo:{repo.name}}}/"
    for step in gates.integration.steps:
        at_home = step.repo.casefold() == repo.name.casefold()
        if at_home:
            yield from _run(step.command or repo.run_cmd, interpreted=False)
        for artifact in step.artifacts:
            words = [word for simple in simple_commands(artifact.compare) for word in simple]
            there = [word.removeprefix(prefix) for word in words if word.startswith(prefix)]
            here = [word for word in words if "/" in word] if at_home else []
            yield from (_Named(path=path) for path in filter(None, map(_path, (*there, *here))))
            if at_home:
                yield from _run(artifact.compare, interpreted=True)


def _checks_of(project: Project, gate: Gate) -> tuple[str, ...]:
    config = gate_config(project, gate)
    return config.checks if config else ()


_SHELLS = re.compile(r"(?:ba|da|z|k|fi)?sh|source|\.")
_PYTHON = re.compile(r"python[0-9.]*")
_INTERPRETERS = re.compile(r"python[0-9.]*|node|perl|ruby|php|lua|tclsh|Rscript|ocaml")
_INLINE = re.compile(r"-[A-Za-z]*[cem]|--(?:test|eval)(?:=.*)?")
"""An option after which no script is run: a text, a module, the tests that follow."""
_MODULE = re.compile(r"-[A-Za-z]*m")
_SCRIPT = re.compile(r".*\.(?:sh|bash|zsh|ksh|fish)")
_SETTINGS = re.compile(r".*\.(?:toml|ini|cfg|conf|ya?ml|json5?|rc)|(?:.*/)?\.?\w+rc")
_BEFORE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=.*|env|exec|time|nice|nohup|command|!|if|then|else|do|while|until|\{")


def _run(command: Command, *, interpreted: bool, folder: str = "") -> Iterator[_Named]:
    """What the words of a command that begins in the folder name."""
    for words in simple_commands(command):
        while words and _BEFORE.fullmatch(words[0]):
            words = words[1:]
        if words[:1] == ["cd"] and len(words) > 1:
            folder = posixpath.join(folder, words[1])
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
                    yield from _run(rest[first], interpreted=interpreted, folder=folder)
                elif first is not None:
                    run.append(rest[first])
            elif interpreted and _INTERPRETERS.fullmatch(program):
                run += _given(words[place + 1 :])
                if _PYTHON.fullmatch(program):
                    yield from _modules(words[place + 1 :], folder)
            paths = (_path(posixpath.join(folder, one)) for one in run)
            yield from (_Named(path=path) for path in paths if path)


def _given(words: Sequence[str]) -> list[str]:
    """The script that an interpreter with these arguments runs, if it runs one."""
    for word in words:
        if _INLINE.fullmatch(word):
            return []
        if not word.startswith("-") and ("/" in word or "." in word):
            return [word]
    return []


def _modules(words: Sequence[str], folder: str) -> Iterator[_Named]:
    """The modules that Python runs with these arguments: `coverage run` and `cProfile` are given one in their turn."""
    place = _path(folder)
    for option, word in pairwise(words):
        if _MODULE.fullmatch(option) and re.fullmatch(r"\w+(?:\.\w+)*", word):
            yield _Named(module=word, folder=place)


def _path(word: str) -> str:
    """The word as a path of the repository; empty where it is none, or not to be told without a shell."""
    if not word or word.startswith(("/", "~", "-")) or re.search(r"[$`*?\[\]{}\\\s\0]", word):
        return ""
    path = posixpath.normpath(word)
    return "" if path in (".", "..") or path.startswith("../") else path
