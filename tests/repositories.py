"""Real git repositories for tests, small and made in a moment."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Collection, Mapping
from pathlib import Path

Files = Mapping[str, str | bytes | None]
"""What to write, by path; None deletes."""


def git(
    path: Path, *args: str, check: bool = True, stdin: bytes = b"", variables: Mapping[str, str] | None = None
) -> str:
    """Run git as its user would, yet the same everywhere, and return what it printed."""
    env = {
        "PATH": os.environ["PATH"],
        "HOME": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_AUTHOR_NAME": "Ada",
        "GIT_AUTHOR_EMAIL": "ada@example.invalid",
        "GIT_COMMITTER_NAME": "Ada",
        "GIT_COMMITTER_EMAIL": "ada@example.invalid",
        **(variables or {}),
    }
    ran = subprocess.run(
        ["git", "-c", "safe.directory=*", "-c", "protocol.file.allow=always", *args],
        cwd=path, env=env, input=stdin, capture_output=True, timeout=60,
    )  # fmt: skip
    if check and ran.returncode:
        raise AssertionError(f"git {' '.join(args)}: {ran.returncode}\n{ran.stderr.decode()}")
    return ran.stdout.decode(errors="replace").strip()


def make_repository(
    path: Path, files: Files | None = None, *, branch: str = "main", programs: Collection[str] = ()
) -> Path:
    """A repository with one commit; those of the files that are `programs` can be run."""
    path.mkdir(parents=True)
    git(path, "init", "--quiet", f"--initial-branch={branch}")
    write(path, files or {"README": "hello\n"})
    for name in {*programs} & {*(files or ())}:
        (path / name).chmod(0o755)
    commit(path, {}, "Begin")
    return path


def write(path: Path, files: Files) -> None:
    """Write files into a work tree."""
    for name, content in files.items():
        file = path / name
        if content is None:
            file.unlink()
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)


def commit(path: Path, files: Files, message: str = "Change") -> str:
    """Write files into a work tree and commit them; the commit's name."""
    write(path, files)
    git(path, "add", "--all", "--force")
    git(path, "commit", "--quiet", "--allow-empty", "--message", message)
    return git(path, "rev-parse", "HEAD")


def commit_aside(path: Path, parent: str, files: Files, message: str = "Work") -> str:
    """A commit on top of another that no branch and no work tree knows of."""
    index = {"GIT_INDEX_FILE": str((path / "aside.index").absolute())}
    git(path, "read-tree", parent, variables=index)
    for name, content in files.items():
        if content is None:
            git(path, "update-index", "--force-remove", name, variables=index)
            continue
        oid = git(path, "hash-object", "-w", "--stdin", stdin=content.encode() if isinstance(content, str) else content)
        git(path, "update-index", "--add", "--cacheinfo", f"100644,{oid},{name}", variables=index)
    tree = git(path, "write-tree", variables=index)
    (path / "aside.index").unlink()
    return git(path, "commit-tree", tree, "-p", parent, "-m", message)


def content(path: Path, commit: str, name: str) -> str:
    """A file of a commit."""
    return git(path, "show", f"{commit}:{name}")
