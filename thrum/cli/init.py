"""`thrum init`: the first configuration of a project, proposed from what lies there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from thrum.cli import console
from thrum.cli.program import Command, invocation
from thrum.errors import RefusedError, ThrumError, UsageError

_NOT_LOOKED_INTO = ("node_modules", "target", "vendor", "build", "dist", "venv")


@click.command(cls=Command)
@click.argument("directory", required=False, type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--repo",
    "repos",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="A repository to manage; repeatable. [default: what lies in and around the directory]",
)
def init(directory: Path | None, repos: tuple[Path, ...]) -> None:
    """Write a first configuration.

    It is for the repositories in, around or beside DIRECTORY (default: here), and proposes what it finds there.
    """
    from thrum.configfile import load
    from thrum.detection.detect import detect, draft, find_agents
    from thrum.files import write_atomically

    target = _target(directory)
    paths = _given(repos) if repos else list(_found(target))
    if not paths:
        raise UsageError(
            f"there is no git repository in {target}, nor is it in one",
            remedy="name the repositories: thrum init --repo PATH",
        )
    _refuse_overwriting(target)
    excluded = _exclude_state(target)
    sandbox, limits_bind, doubts = _sandbox()
    files = draft(paths, project_directory=target, sandbox=sandbox, limits_bind=limits_bind)
    for name, text in files.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode(), mode=0o644)
    load(target)
    found = [detect(path) for path in paths]
    agents = [agent.program for agent in find_agents()]
    view = {
        "directory": str(target),
        "files": [str(target / name) for name in files],
        "repos": [_repo_view(one) for one in found],
        "agents": agents,
        "sandbox": sandbox,
        "excluded_in": excluded,
        "notes": doubts,
    }
    if invocation().json:
        console.emit(view)
    else:
        console.say("\n".join(_lines(view)))


def _target(directory: Path | None) -> Path:
    named = invocation().directory
    if directory is not None and named:
        raise UsageError("--dir and DIRECTORY both name where to write", remedy="give one of them")
    target = (directory or Path(named or ".")).expanduser().resolve()
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target} is no directory")
    target.mkdir(parents=True, exist_ok=True)
    return target


def _refuse_overwriting(target: Path) -> None:
    from thrum.places import PIPELINE, REPOS

    there = [name for name in (REPOS, PIPELINE) if (target / name).exists()]
    if there:
        raise RefusedError(
            f"{target} has {' and '.join(there)} already, and nothing is overwritten",
            remedy="edit it, or move it away first; `thrum check` looks it over",
        )


def _given(repos: tuple[Path, ...]) -> list[Path]:
    for path in repos:
        if not _is_repository(path.expanduser()):
            raise UsageError(f"{path} is no git repository", remedy="give the folder that holds its .git")
    return list(dict.fromkeys(path.expanduser().resolve() for path in repos))


def _found(target: Path) -> Iterator[Path]:
    """The repository that the directory is or lies in, and those that lie in it; without any, those beside it."""
    around = next((path for path in (target, *target.parents) if _is_repository(path)), None)
    within = [*([around] if around else []), *_repositories_in(target)]
    yield from within or _repositories_in(target.parent)


def _repositories_in(folder: Path) -> list[Path]:
    children = [path for path in sorted(folder.iterdir()) if path.name[:1] != "." and path.name not in _NOT_LOOKED_INTO]
    return [path for path in children if path.is_dir() and _is_repository(path)]


def _is_repository(path: Path) -> bool:
    """Whether the folder is a work tree or a bare repository, told from its files as git does."""
    git = path / ".git"
    if git.is_file():
        # A linked work tree or a submodule belongs to a repository that lies elsewhere.
        return True
    at = git if git.is_dir() else path
    return (at / "HEAD").is_file() and (at / "objects").is_dir() and (at / "refs").is_dir()


def _sandbox() -> tuple[str, bool, list[str]]:
    """The best sandbox of this machine, whether its limits bind, and what is to be said of that."""
    from thrum.config import SandboxConfig
    from thrum.sandbox import open_sandbox

    doubts: list[str] = []
    for limits in ("enforced", "best-effort"):
        try:
            with open_sandbox(SandboxConfig(limits=limits), name="thrum-init"):
                return "os-native", limits == "enforced", doubts
        except ThrumError as error:
            doubts = [f"{error.message}" + (f" ({error.remedy})" if error.remedy else "")]
    return "none", False, doubts


def _exclude_state(target: Path) -> str:
    """Keep `.thrum/` out of the repository that the directory lies in; the file that now says so, empty without one."""
    from thrum.git import program as gitprogram

    around = next((path for path in (target, *target.parents) if (path / ".git").exists()), None)
    if around is None:
        return ""
    asked = gitprogram.run(["rev-parse", "--git-path", "info/exclude"], cwd=around)
    file = around / asked.text
    line = "/" + (target.relative_to(around) / ".thrum").as_posix() + "/"
    text = file.read_text() if file.exists() else ""
    if line not in text.splitlines():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + ("" if text.endswith("\n") or not text else "\n") + line + "\n")
    return str(file)


def _repo_view(found: Any) -> dict[str, Any]:
    commands = {key: getattr(found, key) for key in ("fmt_cmd", "lint_cmd", "test_cmd", "build_cmd", "setup_cmd")}
    return {
        "name": found.name,
        "path": found.path,
        "branch": found.branch,
        "languages": list(found.languages),
        **commands,
        "notes": list(found.notes),
    }


def _lines(view: dict[str, Any]) -> Iterator[str]:
    for repo in view["repos"]:
        languages = ", ".join(repo["languages"]) or "no known language"
        yield f"{repo['name']}  {repo['path']} ({languages}, branch {repo['branch']})"
        for key in ("fmt_cmd", "lint_cmd", "test_cmd", "setup_cmd"):
            if repo[key]:
                yield f"  {key:<10} {console.clean(repo[key])}"
        for text in repo["notes"]:
            yield f"  note: {console.clean(text)}"
    yield f"agent: {view['agents'][0]}" if view["agents"] else "agent: none was found; [[backends]] has one to fill in"
    yield f"sandbox: {view['sandbox']}"
    for text in view["notes"]:
        yield f"  note: {console.clean(text)}"
    yield ""
    for path in view["files"]:
        yield f"wrote {path}"
    if view["excluded_in"]:
        yield f"excluded .thrum/ in {view['excluded_in']}"
    first = view["repos"][0]["name"]
    yield ""
    yield "Next: look these two files over, then"
    yield "  thrum check"
    yield f'  thrum task add --repo {first} --title "..." --description "..."'
    yield "  thrum run --once"
