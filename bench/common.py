"""What the benches share: a project to measure on, a tree that is up for a while, and the CPU time of a family."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

from thrum.files import secret
from thrum.places import Places

AGENT = """\
#!/bin/sh
echo "done by $THRUM_TASK" >"$THRUM_TASK.txt"
"""
"""An agent that does nothing but write a line."""
READY_S = 120.0

# Without bytecode every start would compile what changed last; what is installed has it.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def git(repo: Path, *arguments: str) -> str:
    """What git prints in the repository."""
    identity = ["-c", "user.name=Bench", "-c", "user.email=bench@example.invalid"]
    return subprocess.check_output(["git", "-C", str(repo), *identity, *arguments], text=True).strip()


def make_project(
    directory: Path, repos: tuple[str, ...], *, sandbox: str = "none", gates: bool = False, agents: int = 4
) -> None:
    """A project with repositories of one commit, whose work trees are on a branch of their user's; with `gates`,
    each has three checks, which run `true`."""
    (directory / "configs").mkdir(parents=True)
    (directory / "agent.sh").write_text(AGENT)
    for name in repos:
        (directory / name).mkdir()
        git(directory / name, "init", "-q", "-b", "main")
        (directory / name / "README").write_text(f"{name}\n")
        git(directory / name, "add", "-A")
        git(directory / name, "commit", "-q", "-m", "Begin")
        git(directory / name, "checkout", "-q", "-b", "mine")
    keys = 'fmt_cmd = "true"\nlint_cmd = "true"\ntest_cmd = "true"\nexpect_tests = false\n' if gates else ""
    tables = [f'[[repo]]\nname = "{name}"\npath = "{name}"\n{keys}' for name in repos]
    (directory / "configs/repos.toml").write_text("\n".join(tables))
    (directory / "configs/pipeline.toml").write_text(
        f"[api]\nenabled = false\n[engine]\nagents = {agents}\n"
        f'[sandbox]\nbackend = "{sandbox}"\nmount_paths = ["{directory}/agent.sh"]\n'
        f'[[backends]]\nname = "scripted"\ntype = "agent"\ncommand = "sh"\nprompt_args = ["{directory}/agent.sh"]\n'
    )


@contextlib.contextmanager
def up(directory: Path) -> Iterator[int]:
    """The project's tree, from when it is ready to its end; the pid of its supervisor."""
    reading, writing = os.pipe()
    command = [sys.executable, "-P", "-m", "thrum", "--dir", str(directory), "up", "--ready-fd", str(writing)]
    with open(reading, "rb") as ready, (directory / "up.log").open("ab") as log:
        tree = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[writing])
        os.close(writing)
        try:
            if not ready.read(1):
                raise SystemExit(f"the tree did not come up: {(directory / 'up.log').read_text()}")
            yield tree.pid
        finally:
            tree.send_signal(signal.SIGTERM)
            tree.wait(READY_S)


def token(directory: Path) -> str:
    """The secret that commands carry."""
    return secret(Places(directory).token)


def adopt_orphans() -> None:
    """Have what is left of a descendant's children come to this process: else nobody counts their CPU time.

    Bubblewrap does not wait for the first process of its namespace, and with that goes all that ran inside.
    """
    ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER, see prctl(2)


def family_cpu_s(tree: int | None = None) -> float:
    """The CPU time that this process, those that it waited for or adopted, and a tree that is up have used so far.

    Not to be called while another thread waits for a child: it would be taken away.
    """
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    members = [psutil.Process(tree), *psutil.Process(tree).children(recursive=True)] if tree is not None else []
    return sum(one.ru_utime + one.ru_stime for one in used) + sum(sum(one.cpu_times()[:4]) for one in members)
