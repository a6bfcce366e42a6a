"""Makes the project that the demo runs, in a folder that is new or empty.

The folder gets `tally`, a git repository with one commit for each folder of `history`; the agent; and `configs`, with
two settings put to what this machine has: the sandbox, and the paths that show it where pytest and ruff are.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from thrum.config import SandboxConfig
from thrum.detection.toolchain import mounts_for, outermost
from thrum.errors import SandboxError
from thrum.sandbox import open_sandbox

HERE = Path(__file__).resolve().parent
BACKEND = 'backend = "os-native"\n'
MOUNTS = '["/path/to/.venv"]'
TOOLS = ("pytest", "ruff")
UNSAFE = """none, as this machine offers no other: {problem}.
  The agent and the checks may do here whatever you may do. Those of the demo are harmless; for real agents install
  bubblewrap, or have Thrum run on a machine where it works."""


def make(directory: Path) -> str:
    """Make the project; what its sandbox is, for a person.

    Raises:
        SystemExit: the folder holds something already, or a tool of the checks is missing.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
        sys.exit(f"{directory} is not empty; name a new folder")
    settings, told = sandbox()
    make_repository(directory / "tally")
    shutil.copy(HERE / "agent.py", directory)
    shutil.copytree(HERE / "configs", directory / "configs")
    pipeline = directory / "configs" / "pipeline.toml"
    text = pipeline.read_text()
    pipeline.write_text(text.replace(BACKEND, settings).replace(MOUNTS, json.dumps(tool_paths())))
    return told


def make_repository(path: Path) -> None:
    """A repository with a commit for each step of the history."""
    git(path.parent, "init", "--quiet", "--initial-branch=main", str(path))
    git(path, "config", "user.name", "Sample Author")
    git(path, "config", "user.email", "author@example.invalid")
    steps = sorted((HERE / "history").iterdir())
    for number, step in enumerate(steps):
        shutil.copytree(
            step, path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("MESSAGE", "__pycache__", ".*_cache")
        )
        git(path, "add", "--all")
        days_ago = len(steps) - number
        at = f"@{int(time.time()) - days_ago * 24 * 3600} +0000"
        git(path, "commit", "--quiet", "--file", str(step / "MESSAGE"), GIT_AUTHOR_DATE=at, GIT_COMMITTER_DATE=at)


def git(path: Path, *args: str, **variables: str) -> None:
    """Run git, with nothing of this user's configuration."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    clean = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
    subprocess.run(["git", *args], cwd=path, env={**kept, **clean, **variables}, check=True)


def sandbox() -> tuple[str, str]:
    """The lines for the best sandbox of this machine, and what a person should know of it."""
    for limits in ("enforced", "best-effort"):
        try:
            with open_sandbox(SandboxConfig(limits=limits), name=f"thrum-demo-{os.getpid()}"):
                weaker = "" if limits == "enforced" else "; not every limit on memory and processes can bind here"
                return f'{BACKEND}limits = "{limits}"\n', f"os-native (bubblewrap){weaker}"
        except SandboxError as error:
            problem = error.message
    return 'backend = "none"\n', UNSAFE.format(problem=problem)


def tool_paths() -> list[str]:
    """The paths that a sandbox must show for the checks' programs to run."""
    found = {tool: shutil.which(tool) for tool in TOOLS}
    missing = [tool for tool, path in found.items() if path is None]
    if missing:
        sys.exit(f"{' and '.join(missing)} must be on the PATH: pip install {' '.join(missing)}")
    return list(outermost(mount for path in found.values() if path for mount in mounts_for(path)))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: make.py FOLDER")
    print(make(Path(sys.argv[1]).absolute()))
