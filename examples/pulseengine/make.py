"""Makes the project that run.sh runs, in a folder that is new or empty: `make.py LANGUAGE FOLDER`.

The folder gets the git repositories `meld`, `loom` and `synth` with their programs in python or rust, the agent, the
fixture of Gate 3 and what compares with it, and `configs`, put to what this machine has.
"""

import json
import os
import runpy
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from thrum.detection.toolchain import mounts_for, outermost, tool_variables

HERE = Path(__file__).resolve().parent
SCRIPTED = runpy.run_path(str(HERE.parent / "scripted" / "make.py"))
REPOSITORIES = ("meld", "loom", "synth")
MOUNTS = '["/path/to/tools"]'
VARIABLES = '{ RUSTUP_HOME = "~/.rustup" }'
LINTER = 'lint_cmd = "ruff check --no-cache"\n'
PROVERS = ("z3", "coqc", "coqchk")
TOOLS = {"python": ("python3", *PROVERS), "rust": ("python3", "cargo", "cargo-clippy", "cargo-fmt", "rustc", *PROVERS)}


def make(language: str, directory: Path) -> str:
    """Make the project; what its sandbox is, for a person.

    Raises:
        SystemExit: the folder holds something already, or a program of the gates is missing.
    """
    paths = tool_paths(language)
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
        sys.exit(f"{directory} is not empty; name a new folder")
    for name in REPOSITORIES:
        make_repository(directory / name, (HERE / "programs" / kind / name for kind in ("shared", language)))
    settings, told = SCRIPTED["sandbox"]()
    copied = shutil.ignore_patterns("__pycache__", ".*_cache")
    shutil.copytree(HERE / "agent", directory / "agent", ignore=copied)
    shutil.copy(HERE / "compare.py", directory)
    for name in ("fixtures", "configs"):
        (directory / name).mkdir()
    shutil.copy(HERE / "fixture.st", directory / "fixtures" / "pipeline.st")
    mounts = json.dumps([*paths, str(directory / "compare.py")])
    variables = ", ".join(f"{name} = {json.dumps(value)}" for name, value in tool_variables(paths).items())
    text = (HERE / "project" / "pipeline.toml").read_text()
    for placeholder, value in (
        (SCRIPTED["BACKEND"], settings),
        (MOUNTS, mounts),
        (VARIABLES, f"{{ {variables} }}"),
        ('"/path/to/compare.py"', json.dumps(str(directory / "compare.py"))),
    ):
        assert placeholder in text
        text = text.replace(placeholder, value)
    (directory / "configs" / "pipeline.toml").write_text(text)
    repos = (HERE / "project" / f"repos-{language}.toml").read_text()
    (directory / "configs" / "repos.toml").write_text(repos if shutil.which("ruff") else repos.replace(LINTER, ""))
    return str(told)


def make_repository(path: Path, sources: Iterable[Path]) -> None:
    """A repository with one commit, of what the sources hold."""
    git = SCRIPTED["git"]
    git(path.parent, "init", "--quiet", "--initial-branch=main", str(path))
    git(path, "config", "user.name", "Sample Author")
    git(path, "config", "user.email", "author@example.invalid")
    skipped = shutil.ignore_patterns("__pycache__", ".*_cache", "target", "*.vo*", "*.glob", ".*.aux")
    for source in sources:
        if source.exists():
            shutil.copytree(source, path, dirs_exist_ok=True, ignore=skipped)
    git(path, "add", "--all")
    git(path, "commit", "--quiet", "--message", f"{path.name} as it was before Thrum")


def tool_paths(language: str) -> list[str]:
    """The paths that a sandbox must show for the gates' programs to run."""
    found = {tool: shutil.which(tool) for tool in TOOLS[language]}
    missing = [tool for tool, path in found.items() if path is None]
    if missing:
        sys.exit(f"missing on the PATH: {', '.join(missing)}; Debian has the provers in the packages z3 and coq")
    if language == "python" and (ruff := shutil.which("ruff")):
        found["ruff"] = ruff
    return list(outermost(mount for path in found.values() if path for mount in mounts_for(path)))


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in TOOLS:
        sys.exit(f"usage: make.py {'|'.join(TOOLS)} FOLDER")
    os.umask(0o022)
    print(make(sys.argv[1], Path(sys.argv[2]).absolute()))
