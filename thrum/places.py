"""Where a project keeps what is its own: every path below `.thrum/`, named once. Nothing is created here."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

REPOS = "configs/repos.toml"
PIPELINE = "configs/pipeline.toml"
"""The two files of a configuration, as paths in the project directory."""


@dataclass(frozen=True, slots=True)
class Places:
    """The paths of the project in `directory` (absolute)."""

    directory: Path

    @property
    def mark(self) -> str:
        """A short name of this project, unique on the host: what its sandboxes and processes are marked with."""
        return hashlib.sha256(str(self.directory).encode()).hexdigest()[:10]

    @property
    def state(self) -> Path:
        """Everything of ours; mode 0700, never bound into a sandbox."""
        return self.directory / ".thrum"

    @property
    def lock(self) -> Path:
        """Held by the process tree that is up; its content says who that is and where its broker listens."""
        return self.state / "lock"

    @property
    def token(self) -> Path:
        """The secret that every call that changes state must carry; mode 0600."""
        return self.state / "token"

    @property
    def tree(self) -> Path:
        """What the supervisor last wrote of its processes."""
        return self.state / "tree.json"

    @property
    def api(self) -> Path:
        """The address that the HTTP API listens on."""
        return self.state / "api"

    @property
    def snapshots(self) -> Path:
        """The configurations that were loaded, by digest."""
        return self.state / "config"

    @property
    def outputs(self) -> Path:
        """Content-addressed outputs and prompts."""
        return self.state / "outputs"

    @property
    def logs(self) -> Path:
        """One log file for each process."""
        return self.state / "log"

    @property
    def schedule(self) -> Path:
        """What the scheduler last heard of each repository."""
        return self.state / "schedule"

    @property
    def stores(self) -> Path:
        """The LevelDB stores, one for each repository."""
        return self.state / "store"

    def store(self, repo: str) -> Path:
        """The LevelDB store of a repository."""
        return self.stores / repo
