"""What running checks of one repository needs, and where it lies: a room for each repository, kept warm."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from thrum.config import Project, RepoConfig
from thrum.errors import NotFoundError
from thrum.git.repository import Repository
from thrum.masking import secrets
from thrum.sandbox import Sandbox, open_sandbox
from thrum.setups import Setups
from thrum.values import dataclass
from thrum.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """One repository's checkout with the sandbox that checks run in; for one thread at a time."""

    repo: RepoConfig
    git: Repository
    sandbox: Sandbox
    workspace: Workspace
    setups: Setups

    def give(self, folder: Path) -> None:
        """Let what runs in the sandbox write to the folder."""
        if self.sandbox.uid is not None:
            os.chown(folder, self.sandbox.uid, self.sandbox.uid)


class Rooms:
    """The rooms of one lane, each opened when it is first asked for; steps that run at once have a lane each."""

    def __init__(self, project: Project, directory: Path, owner: str) -> None:
        """`directory` is the lane's own place for checkouts, `owner` its unique name."""
        self._project = project
        self._directory = directory
        self._owner = owner
        self._rooms: dict[str, Room] = {}

    def opened(self, name: str, home: str) -> Room | None:
        """The room that `room` would give, if it was asked for before."""
        return self._rooms.get(self._key(name, home))

    def room(self, name: str, home: str) -> Room:
        """The room of a repository for a gate of `home`, which has its commits where it lies on another host.

        Raises:
            NotFoundError: the configuration has no such repository.
            SandboxError: its sandbox is not available here.
        """
        repo = self._project.repo(name)
        if repo is None:
            raise NotFoundError(f"the configuration has no repository {name!r}")
        key = self._key(name, home)
        if key not in self._rooms:
            config = self._project.pipeline.sandbox
            sandbox = open_sandbox(
                replace(config, mount_paths=(*config.mount_paths, *repo.mount_paths)),
                name=f"{self._owner}.{key}",
                private=(str(Path(self._project.directory, ".thrum")),),
                mask=secrets(self._project, os.environ),
            )
            source = self._project.within_reach(name, home) or repo
            git = Repository(source.path, source.branch)
            setups = Path(self._project.pipeline.engine.worktrees_dir) / repo.name / "setup-gates"
            self._rooms[key] = Room(
                repo=repo,
                git=git,
                sandbox=sandbox,
                workspace=Workspace(self._directory / key, source.path, sandbox),
                setups=Setups(setups, repo, sandbox, config, kept_in=None if source is repo else git),
            )
        return self._rooms[key]

    def _key(self, name: str, home: str) -> str:
        """Names a room; no repository's name holds two dots in a row."""
        source = self._project.within_reach(name, home)
        return name if source is None or source is self._project.repo(name) else f"{name}..{source.name}"

    def close(self) -> None:
        """Let go of the sandboxes."""
        for room in self._rooms.values():
            room.sandbox.close()
