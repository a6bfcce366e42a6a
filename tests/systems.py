"""A whole Thrum for tests: a project with real repositories and a scripted agent, driven as its user would."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from thrum import tree
from thrum.client import Client
from thrum.tree.spawning import endpoint_of

DEADLINE_S = 120.0

AGENT = """\
#!/bin/sh
# Writes one file named after its task, with a content that depends on the task alone; slowly enough to be killed.
echo "working on $THRUM_TASK"
sleep 0.2
echo "made by $THRUM_TASK" > "$THRUM_TASK.txt"
"""


def git(repo: Path, *arguments: str) -> str:
    """What git prints in the repository."""
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.invalid"]
    return subprocess.check_output(["git", "-C", str(repo), *identity, *arguments], text=True).strip()


class System:
    """A project below `directory`; every process that it brings up is gone after `close`."""

    def __init__(
        self,
        directory: Path,
        *,
        repos: tuple[str, ...] = ("one",),
        sandbox: str = "none",
        agent: str = AGENT,
        repo_keys: str = 'test_cmd = "true"\nexpect_tests = false',
        pipeline: str = "",
    ) -> None:
        self.directory = directory
        self._up: subprocess.Popen[bytes] | None = None
        (directory / "configs").mkdir(parents=True)
        (directory / "agent.sh").write_text(agent)
        for name in repos:
            self.repo(name).mkdir()
            git(self.repo(name), "init", "-q", "-b", "main")
            (self.repo(name) / "README").write_text(f"{name}\n")
            git(self.repo(name), "add", "-A")
            git(self.repo(name), "commit", "-q", "-m", "Begin")
        tables = [f'[[repo]]\nname = "{name}"\npath = "{name}"\n{repo_keys}\n' for name in repos]
        (directory / "configs/repos.toml").write_text("\n".join(tables))
        (directory / "configs/pipeline.toml").write_text(
            f'[sandbox]\nbackend = "{sandbox}"\nmount_paths = ["{directory}/agent.sh"]\n'
            f'[[backends]]\nname = "scripted"\ntype = "agent"\ncommand = "sh"\n'
            f'prompt_args = ["{directory}/agent.sh", "{{prompt_file}}"]\n'
            f"[api]\nenabled = false\n{pipeline}\n"
        )

    def repo(self, name: str = "one") -> Path:
        """Where a repository lies."""
        return self.directory / name

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `thrum` in the project; with `check`, a failure is an error that shows what it printed."""
        command = [sys.executable, "-P", "-m", "thrum", "--dir", str(self.directory), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
        if check and done.returncode:
            raise AssertionError(f"thrum {' '.join(arguments)} exited {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def json(self, *arguments: str) -> Any:
        """What `thrum --json …` prints."""
        return json.loads(self.run("--json", *arguments).stdout)

    def add(self, title: str, *arguments: str, repo: str = "one") -> str:
        """Queue a task; its id."""
        return str(self.json("task", "add", "--repo", repo, "--title", title, *arguments)["id"])

    def up(self, *, cwd: Path | None = None) -> None:
        """Bring the tree up in the background, begun in the folder `cwd`, and return when it is ready."""
        log = (self.directory / "up.log").open("ab")
        command = [sys.executable, "-P", "-m", "thrum", "--dir", str(self.directory), "up"]
        self._up = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=cwd
        )
        log.close()
        self.until(lambda: tree.state(self.directory) is not None, "the tree to be up")

    def down(self) -> None:
        """Bring down in good order what `up` brought up."""
        self.run("down")
        assert self._up is not None
        self._up.wait(DEADLINE_S)
        self._up = None

    def client(self) -> Client:
        """A client of the tree that is up."""
        state = tree.state(self.directory)
        assert state is not None
        return Client(state["endpoint"])

    def token(self) -> str:
        """The secret that commands carry."""
        return (self.directory / ".thrum/token").read_text().strip()

    def until(self, holds: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> Any:
        """Return the first true value of `holds`, or fail at the deadline, naming what was waited for."""
        deadline = time.monotonic() + deadline_s
        while time.monotonic() < deadline:
            value = holds()
            if value:
                return value
            time.sleep(0.05)
        raise AssertionError(f"waited in vain for {what}\n{self.logs()}")

    def processes(self, part: str = "") -> list[psutil.Process]:
        """Every live process of this project whose command line holds `part`."""
        found = []
        for process in psutil.process_iter(["pid", "cmdline", "status"]):
            line = " ".join(process.info["cmdline"] or ())
            ours = str(self.directory) in line or endpoint_of(self.directory) in line
            if ours and part in line and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process)
        return [process for process in found if process.pid != os.getpid()]

    def kill(self, part: str) -> int:
        """SIGKILL every process of this project whose command line holds `part`; how many those were."""
        victims = self.processes(part)
        for victim in victims:
            victim.kill()
        if self._up is not None and any(victim.pid == self._up.pid for victim in victims):
            self._up.wait()
        return len(victims)

    def logs(self) -> str:
        """The ends of all logs, for a failure's message."""
        ends = [f"== {path.name}\n{path.read_text()[-1500:]}" for path in sorted(self.directory.glob(".thrum/log/*"))]
        return "\n".join(ends)

    def close(self) -> None:
        """End whatever is up."""
        if self._up is not None and self._up.poll() is None:
            self._up.send_signal(signal.SIGTERM)
            try:
                self._up.wait(DEADLINE_S)
            except subprocess.TimeoutExpired:
                self._up.kill()
                self._up.wait()
                raise


def landings(repo: Path) -> list[str]:
    """The first-parent commits of `main`, newest first, without the one it began with."""
    return git(repo, "rev-list", "--first-parent", "main").split()[:-1]


def systems(directory: Path, **options: Any) -> Iterator[System]:
    """For a fixture: a system that is closed whatever happens, and must leave no process behind."""
    system = System(directory, **options)
    try:
        yield system
    finally:
        system.close()
        system.until(lambda: not system.processes(), "every process to be gone")
