"""Which changed paths are protected: those that patterns name, and kinds that no pattern of names could. Pure."""

from __future__ import annotations

import posixpath
import sys
from collections.abc import Iterator
from pathlib import PurePosixPath

from thrum.checks import BUILT_IN, gate_config
from thrum.commands import ELSEWHERE, Named, compared_by, run_by
from thrum.config import Project, RepoConfig
from thrum.fence import COMMANDS, LINKS, MODULES, OBLIGATIONS, Fence
from thrum.gate import Gate
from thrum.globs import matched
from thrum.task import Attempt

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
_ROOTS = ("", "src", "lib")
"""Folders in which a repository has modules of its own."""
_MODULE_FILES = ("{}.py", "{}.pyc", "{}.*so", "{}/__init__.py", "{}/__init__.pyc", "{}/__init__.*so")
"""What Python imports as a module."""


def protected(change: Attempt, fence: Fence) -> tuple[str, ...]:
    """Those of the files that an attempt changed that are protected, in their order."""
    added = frozenset(change.added)
    found = {*matched(change.files, fence.always)}
    found.update(matched([file for file in change.files if file not in added], fence.standing))
    found.update(matched(change.added, fence.new))
    found.update(matched(change.namesakes, fence.beside))
    found.update(change.links if fence.links else ())
    found.update(file for file in change.files if fence.modules and _shadows(file))
    return tuple(file for file in change.files if file in found)


def fence_of(project: Project, repo: RepoConfig) -> Fence:
    """What is protected in the repository: what its `protect` lists, and what its entries mean that are no patterns."""
    told = set(repo.protect)
    named = tuple(_named(project, repo))
    scripts = dict.fromkeys(pattern for one in named for pattern in one.patterns) if COMMANDS in told else ()
    installed = repo.setup_files if COMMANDS in told else ()
    # Python looks first in the folder of what it runs, be it tests or obligations.
    folders = ("**/test", "**/tests", *map(posixpath.dirname, repo.proof.python)) if MODULES in told else ()
    return Fence(
        always=(*repo.protect, *installed, *scripts),
        standing=_obligations(repo) if OBLIGATIONS in told else (),
        new=tuple(dict.fromkeys(file for one in named for file in _stand_ins(one))) if MODULES in told else (),
        beside=tuple(f"{folder}/{file}" for folder in folders for file in ("*.py", "*/__init__.py")),
        links=LINKS in told,
        modules=MODULES in told,
    )


def rivals_of(file: str) -> tuple[str, ...]:
    """The paths of modules, elsewhere in a repository, in whose place Python could import this file."""
    folder, name = posixpath.split(file.removesuffix("/__init__.py"))
    if not file.endswith(".py") or folder in _ROOTS:
        return ()
    module = name.removesuffix(".py")
    return tuple(posixpath.join(root, path) for root in _ROOTS for path in (f"{module}.py", f"{module}/__init__.py"))


def _obligations(repo: RepoConfig) -> tuple[str, ...]:
    """Patterns of what says in the repository what is to be proven."""
    proof = repo.proof
    # Which files a project names is for its text to say; that it names another one is nothing to bet on.
    listed = ("**/*.v",) if proof.of_rocq and not proof.rocq else ()
    return (*proof.smt, *proof.python, *proof.rocq, *listed, *filter(None, (proof.rocq_project,)))


def _shadows(file: str) -> bool:
    """True for a file that Python would import in place of one of its own modules, or of a runner's."""
    parts = PurePosixPath(file).parts
    inner = parts[1:] if parts[:1] in _PATHS and len(parts) > 1 else parts
    name = inner[0].partition(".")[0]
    own = name in sys.stdlib_module_names or name in RUNNERS or name.startswith("pytest_")
    return own and file.endswith((".py", ".pyc", ".so"))


def _stand_ins(named: Named) -> tuple[str, ...]:
    """Patterns of what Python would import in the place of the module, or of a package that holds it."""
    top = named.module.partition(".")[0]
    places = (named.folder, *(posixpath.join(named.folder, *path) for path in _PATHS)) if top else ()
    return tuple(posixpath.join(place, file.format(top)) for place in places for file in _MODULE_FILES)


def _named(project: Project, repo: RepoConfig) -> Iterator[Named]:
    """What the repository's checks, setup and steps run there or are told of, from the words of their commands alone.

    Of Gate 3's steps no argument of an interpreter counts: that is most often the work itself. Of the commands that
    compare artifacts each path does.
    """
    gates = project.pipeline.gates
    names = {name for gate in (Gate.QUALITY, Gate.PROOF, Gate.INTEGRATION) for name in _checks_of(project, gate)}
    for key in (*dict.fromkeys(BUILT_IN.values()), "setup_cmd"):
        yield from run_by(getattr(repo, key), repo.name, interpreted=True)
    for name, check in project.pipeline.checks.items():
        if name in names:
            path = check.env.get("PYTHONPATH", "")
            yield from run_by(check.command, repo.name, interpreted=True, folder=check.folder, path=path)
    for step in gates.integration.steps:
        folder = "" if step.repo.casefold() == repo.name.casefold() else ELSEWHERE
        command = step.command or ("" if folder else repo.run_cmd)
        yield from run_by(command, repo.name, interpreted=False, folder=folder)
        for artifact in step.artifacts:
            yield from compared_by(artifact.compare, repo.name, folder=folder)


def _checks_of(project: Project, gate: Gate) -> tuple[str, ...]:
    config = gate_config(project, gate)
    return config.checks if config else ()
