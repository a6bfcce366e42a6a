"""What `setup_cmd` installs: made once for each state of the lock files, then read-only for agents and checks.

The command runs in a sandbox, in a clean work tree, with the network if the configuration allows, and puts what
it makes into the folder that `$THRUM_SETUP` names. The folder keeps its path, as virtual environments hold theirs.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from collections.abc import Mapping
from pathlib import Path

from thrum.checks import first_program
from thrum.config import RepoConfig, SandboxConfig
from thrum.errors import SetupError, ToolError
from thrum.files import Lock, remove_tree, write_atomically
from thrum.gate import Command
from thrum.git.repository import Repository
from thrum.job import Ending, Job
from thrum.records import to_plain
from thrum.sandbox import Sandbox
from thrum.values import dataclass
from thrum.workspace import Workspace

log = logging.getLogger(__name__)

LOCK_FILES = (
    "pyproject.toml",
    "setup.py",
    "setup.cfg",
    "requirements.txt",
    "requirements-dev.txt",
    "requirements-test.txt",
    "poetry.lock",
    "uv.lock",
    "Pipfile.lock",
    "package.json",
    "package-lock.json",
    "yarn.lock",
    "pnpm-lock.yaml",
    "Cargo.toml",
    "Cargo.lock",
    "go.mod",
    "go.sum",
)
"""What decides about dependencies where a repository does not name its `setup_files`."""


def shell(command: Command) -> tuple[str, ...]:
    """The arguments that run a command: a string through bash, where a failure inside a pipeline counts."""
    return ("bash", "-o", "pipefail", "-c", command) if isinstance(command, str) else tuple(command)


@dataclass(frozen=True, slots=True, kw_only=True)
class Provision:
    """What a run needs to use a setup: paths to bind read-only and variables to set; both empty without one."""

    readable: tuple[str, ...] = ()
    env: Mapping[str, str]


class Setups:
    """The setups of one repository for one purpose, below `directory`.

    Agents and gates have setups apart (`directory` tells them apart), so that nothing an agent's install did is
    what the checks run with.
    """

    def __init__(
        self,
        directory: Path,
        repo: RepoConfig,
        sandbox: Sandbox,
        config: SandboxConfig,
        *,
        kept_in: Repository | None = None,
    ) -> None:
        """`kept_in` is another repository that commits of this one were brought into, from its branch alone."""
        self._directory = directory
        self._repo = repo
        self._sandbox = sandbox
        self._config = config
        self._brought_in = kept_in is not None
        self._git = kept_in or Repository(repo.path, repo.branch)

    def provide(self, commit: str, workspace: Workspace, *, stop: threading.Event | None = None) -> Provision:
        """The setup that fits the commit, made now if it is not there; leaves the workspace clean at the commit.

        `stop` ends the command when it is set.

        Raises:
            SetupError: the command failed; its output is in the error. Nothing half-made is ever used.
            ToolError: it could not be run, or was stopped.
        """
        if not self._repo.setup_cmd:
            return Provision(env={})
        source, key = self._source(commit)
        place, done = self._directory / key, self._directory / f"{key}.done"
        self._directory.mkdir(parents=True, exist_ok=True)
        with Lock(self._directory / f"{key}.lock", kind="setup").acquire(deadline_s=self._repo.setup_timeout_s):
            if not done.exists():
                workspace.prepare(source)
                try:
                    self._make(place, source, workspace, stop)
                finally:
                    workspace.prepare(commit)
                write_atomically(done, source.encode())
        return Provision(readable=(str(place),), env={"THRUM_SETUP": str(place)})

    def works_on(self, commit: str, workspace: Workspace, *, stop: threading.Event | None = None) -> bool:
        """Whether the command succeeds on the commit as things are now, whatever was made before: what it makes is
        thrown away. Leaves the workspace clean at the commit.

        Raises:
            ToolError: it could not be run, or was stopped.
        """
        name = f"{self._key(commit)}.control"
        place = self._directory / name
        self._directory.mkdir(parents=True, exist_ok=True)
        with Lock(self._directory / f"{name}.lock", kind="setup").acquire(deadline_s=self._repo.setup_timeout_s):
            workspace.prepare(commit)
            try:
                self._make(place, commit, workspace, stop)
            except SetupError:
                return False
            finally:
                remove_tree(place)
                workspace.prepare(commit)
        return True

    def _make(self, place: Path, commit: str, workspace: Workspace, stop: threading.Event | None) -> None:
        remove_tree(place)
        place.mkdir(mode=0o755)
        if self._sandbox.uid is not None:
            os.chown(place, self._sandbox.uid, self._sandbox.uid)
        log.info("setting up dependencies", extra={"repo": self._repo.name, "commit": commit, "place": str(place)})
        job = Job(
            argv=shell(self._repo.setup_cmd),
            cwd=str(workspace.tree),
            env={**self._config.variables(os.environ), "THRUM_SETUP": str(place)},
            writable=(str(workspace.tree), str(place)),
            readable=workspace.readable,
            network=self._config.setup_network and not self._config.setup_allow,
            allow=self._config.setup_allow,
            wall_s=self._repo.setup_timeout_s,
        )
        outcome = self._sandbox.run(job, stop=stop)
        if not outcome.ok:
            failed = outcome.ending not in (Ending.NOT_FOUND, Ending.NOT_STARTED, Ending.STOPPED)
            raise (SetupError if failed else ToolError)(
                f"setup_cmd of {self._repo.name} failed: {outcome.reason}\n{outcome.tail[-2000:]}",
                command=job.argv,
                exit_code_seen=outcome.exit_code,
                output=outcome.tail,
                remedy="run it by hand in a clean checkout; it must put what it installs into $THRUM_SETUP",
            )

    def _source(self, commit: str) -> tuple[str, str]:
        """The commit whose code a setup is made from, and its key.

        What an agent wrote must not make a setup that other work is checked with: while the lock files are those
        of the protected branch, the setup is made from the branch's tip. Otherwise it is for that one tree alone.
        """
        key = self._key(commit)
        if self._brought_in:
            return commit, key
        tip = self._git.tip()
        # One that is there under the bare key was made from the branch, when these were its lock files.
        if key == self._key(tip) or (self._directory / f"{key}.done").exists():
            return tip, key
        return commit, f"{key}-{self._git.tree_of(commit)[:16]}"

    def _key(self, commit: str) -> str:
        """Names what the setup depends on: the command, the lock files, the program that runs, this system."""
        command = self._repo.setup_cmd
        program = self._sandbox.which(first_program(command) or "sh")
        parts = {
            "command": to_plain(command),
            "files": self._git.blobs(commit, self._repo.setup_files or LOCK_FILES),
            "program": self._state_of(program) if program else None,
            "system": [os.uname().sysname, os.uname().machine],
            "sandbox": self._sandbox.name,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]

    def _state_of(self, program: str) -> list[str | int]:
        """What tells one state of a program from another."""
        if self._sandbox.image:
            return [program, self._sandbox.image]
        return [os.path.realpath(program), os.stat(program).st_mtime_ns]
