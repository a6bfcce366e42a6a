"""Looks at a repository and at this machine for `thrum init`: commands, branch, agents, paths to mount."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from thrum.backends import Preset
from thrum.checks import first_program
from thrum.detection.languages import propose
from thrum.detection.proposal import AGENTS, Detection, render_pipeline, render_repos
from thrum.detection.toolchain import mounts_for, outermost, sight, tool_variables
from thrum.errors import GitError
from thrum.git import program as gitprogram
from thrum.places import PIPELINE, REPOS

__all__ = ["AGENTS", "Detection", "detect", "draft", "render_pipeline", "render_repos"]

_ASK_S = 20.0


def detect(repo_path: Path, *, project_directory: Path | None = None) -> Detection:
    """What the repository's files, its git directory and the programs on this machine propose for it.

    A path that is no repository, or not there, is described all the same, with a note that says so.
    """
    path = repo_path.resolve()
    proposals = propose(path, _has_distributions)
    branch, notes = _branch(path)
    if project_directory is not None and project_directory.resolve().is_relative_to(path):
        notes += ("the project directory lies in this repository: add .thrum/ to its .gitignore",)
    if not proposals:
        notes += ("no language was recognised: fill in the commands that check a change",)
        return Detection(name=_name(path), path=str(path), branch=branch, notes=notes)
    main = proposals[0]
    if len(proposals) > 1:
        others = ", ".join(one.language for one in proposals[1:])
        notes += (f"the commands are those for {main.language}; there is {others} too",)
    if not main.test:
        notes += ("no tests were found: Gate 1 will say so little that approval is all on you",)
    mounts = _mounts([first_program(one) for one in (main.fmt, main.lint, main.test, main.build, main.setup)])
    if " -m venv " in main.setup:
        more_mounts, more_notes = _for_environments()
        mounts, notes = outermost((*mounts, *more_mounts)), notes + more_notes
    return Detection(
        name=_name(path),
        path=str(path),
        branch=branch,
        languages=tuple(one.language for one in proposals),
        fmt_cmd=main.fmt,
        lint_cmd=main.lint,
        test_cmd=main.test,
        expect_tests=main.expect_tests,
        build_cmd=main.build,
        setup_cmd=main.setup,
        mount_paths=mounts,
        notes=(*notes, *main.notes),
    )


def draft(
    repo_paths: Sequence[Path], *, project_directory: Path, sandbox: str = "os-native", limits_bind: bool = True
) -> dict[str, str]:
    """The text of each file that `thrum init` writes, by its path in the project directory.

    `sandbox` is the best backend that this machine has, `limits_bind` whether all its limits can be enforced.
    """
    found = [detect(path, project_directory=project_directory) for path in repo_paths]
    mounts = outermost(path for one in found for path in one.mount_paths)
    agents = find_agents()
    pipeline = render_pipeline(
        agents=agents,
        mount_paths=mounts,
        agent_mounts={agent.name: agent_mounts(agent) for agent in agents},
        variables=tool_variables(mounts),
        sandbox=sandbox,
        limits_bind=limits_bind,
    )
    return {REPOS: render_repos(found), PIPELINE: pipeline}


def find_agents(*, environ: Mapping[str, str] | None = None) -> tuple[Preset, ...]:
    """The agents that we know and that are on the PATH, in our order of preference."""
    path = None if environ is None else environ.get("PATH", "")
    return tuple(agent for agent in AGENTS if shutil.which(agent.program, path=path))


def agent_mounts(agent: Preset) -> tuple[str, ...]:
    """The paths that a sandbox must show for the agent to run; none where it is not installed, or in the system."""
    return sight(agent.program, ()).mounts


def _name(path: Path) -> str:
    """A name that the configuration takes, made from the folder's."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.name.removesuffix(".git"))
    return re.sub(r"\.\.+", ".", name).strip("-.")[:64].strip("-.") or "repository"


def _mounts(programs: Sequence[str]) -> tuple[str, ...]:
    """The mounts of those programs that the sandbox would not find by itself."""
    found: list[str] = []
    for program in dict.fromkeys(program for program in programs if program):
        sighting = sight(program, ())
        if not sighting.inside and sighting.host:
            found += mounts_for(sighting.host)
    return outermost(found)


def _has_distributions(requirements: Sequence[str]) -> bool:
    """Whether the Python that a sandbox finds has them all, whatever the version."""
    names = [re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0] for requirement in requirements]
    script = "import sys, importlib.metadata as m; [m.version(name) for name in sys.argv[1:]]"
    return _python_does(sight("python3", ()).inside, script, *names)


def _for_environments() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What the sandbox must see so that `python3 -m venv` works in it, and what is to be said of that."""
    sighting = sight("python3", ())
    if _python_does(sighting.inside, "import ensurepip, venv"):
        return (), ()
    if _python_does(sighting.host, "import ensurepip, venv"):
        return sighting.mounts, ()
    return (), ("setup_cmd makes a virtual environment, for which this machine lacks a part (on Debian python3-venv)",)


def _python_does(python: str, script: str, *args: str) -> bool:
    if not python:
        return False
    try:
        # -I: what lies in the current folder or in this user's home is not there in a sandbox.
        asked = subprocess.run([python, "-I", "-c", script, *args], capture_output=True, timeout=_ASK_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return asked.returncode == 0


def _branch(path: Path) -> tuple[str, tuple[str, ...]]:
    """The branch that work most likely lands on, and what is to be said of that."""
    try:
        listed = _git(path, "for-each-ref", "--format=%(refname)", "refs/heads")
        head = _git(path, "symbolic-ref", "--short", "-q", "HEAD")
        origin = _git(path, "symbolic-ref", "--short", "-q", "refs/remotes/origin/HEAD")
    except GitError as error:
        return "main", (f"{path} is no repository that git can read: {error}",)
    branches = [ref.removeprefix("refs/heads/") for ref in listed.split("\n") if ref]
    if not branches:
        return head or "main", ("there is no commit yet: Thrum needs one to start from",)
    wanted = (origin.removeprefix("origin/"), "main", "master", head)
    branch = next((name for name in wanted if name in branches), branches[0])
    if head and head != branch:
        return branch, (f"{head} is checked out; approved work will land on {branch}",)
    return branch, ()


def _git(path: Path, *args: str) -> str:
    # A folder inside of some other repository is not meant to be that one.
    ceiling = {"GIT_CEILING_DIRECTORIES": str(path.parent)}
    return gitprogram.run(args, cwd=path, variables=ceiling, accept=(0, 1), wall_s=_ASK_S).text
