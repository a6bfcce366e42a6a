"""The project that a command is about, who asks, and the way to the repo actors."""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thrum.cli.program import invocation
from thrum.errors import BusyError, UsageError

if TYPE_CHECKING:
    from thrum.client import Client
    from thrum.config import Project
    from thrum.desk import Desk


def project_directory() -> Path:
    """The project directory that the invocation is about.

    Raises:
        ConfigError: there is none.
    """
    from thrum.files.project import find_project

    return find_project(Path.cwd(), invocation().directory, os.environ)


@dataclass(frozen=True)
class Session:
    """The project of the command under way.

    Where Thrum is up, its repositories are those that it was started with, whatever the files say by now: they
    are not read unless a command is about them.
    """

    directory: Path

    @classmethod
    def open(cls) -> Session:
        """The session of the command under way.

        Raises:
            ConfigError: there is no project.
        """
        return cls(project_directory())

    @cached_property
    def project(self) -> Project:
        """The configuration as it lies there.

        Raises:
            ConfigError: it is malformed.
        """
        from thrum.configfile import load

        return load(self.directory)

    @cached_property
    def state(self) -> dict[str, Any] | None:
        """What was up when the command began; None if nothing was."""
        from thrum.standing import state

        return state(self.directory)

    @cached_property
    def repos(self) -> tuple[str, ...]:
        """The names of all repositories of this host."""
        if self.state is None:
            return tuple(repo.name for repo in self.project.here)
        names = [actor["name"] for actor in self.state["actors"]]
        return tuple(name.removeprefix("repo.") for name in names if name.startswith("repo."))

    def repo(self, name: str | None) -> str:
        """The repository of that name; without one the only one there is (`thrum.desk.repo_named`)."""
        from thrum.desk import repo_named

        return repo_named(self.repos, name)

    def owner(self, task: str) -> str:
        """The repository that a task's id names (`thrum.desk.owner_of`)."""
        from thrum.desk import owner_of

        return owner_of(self.repos, task)

    @contextlib.contextmanager
    def connected(self, repos: Iterable[str]) -> Iterator[Desk]:
        """A desk at the actors of the named repositories, which are brought up for the block if no system is."""
        from thrum.desk import Desk
        from thrum.files.private import secret
        from thrum.places import Places

        with self._client(tuple(dict.fromkeys(repos))) as client:
            try:
                yield Desk(client, self.repos, secret(Places(self.directory).token))
            except BusyError as error:
                raise BusyError(f"{error.message}{self._ended()}", remedy=error.remedy) from error

    def _ended(self) -> str:
        """What those actors ended with that are being started anew."""
        from thrum.standing import state

        rows = (state(self.directory) or {"actors": ()})["actors"]
        return "".join(f"; {row['name']} ended: {row['reason']}" for row in rows if row["state"] == "restarting")

    def _client(self, repos: tuple[str, ...]) -> AbstractContextManager[Client]:
        if self.state is not None:
            from thrum.client import Client
            from thrum.standing import refuse_given_up

            refuse_given_up(self.state, repos)
            return Client(self.state["endpoint"])
        from thrum import tree

        return tree.attached(self.directory, self.project, repos)


def who(by: str | None) -> str:
    """Who asks: as said by --by, else THRUM_USER, else the login name.

    Raises:
        UsageError: the name is empty, or holds control characters.
    """
    name = (os.environ.get("THRUM_USER") or _login()) if by is None else by
    if not name.strip() or not name.isprintable() or len(name) > 100:
        raise UsageError(f"{name!r} is no name for who asks", remedy="give --by NAME")
    return name.strip()


def _login() -> str:
    # Not the environment's USER, which names another user after `su`, or none in a service.
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid-{os.getuid()}"
