"""The project that a command is about, who asks, and the way to the repo actors."""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from thrum.cli.program import invocation
from thrum.errors import UsageError

if TYPE_CHECKING:
    from thrum.config import Project
    from thrum.desk import Desk


def project_directory() -> Path:
    """The project directory that the invocation is about.

    Raises:
        ConfigError: there is none.
    """
    from thrum.configfile import find_project

    return find_project(Path.cwd(), invocation().directory, os.environ)


@dataclass(frozen=True, slots=True)
class Session:
    """A loaded project."""

    directory: Path
    project: Project

    @classmethod
    def open(cls) -> Session:
        """The session of the command under way.

        Raises:
            ConfigError: there is no project, or its configuration is malformed.
        """
        from thrum.configfile import load

        directory = project_directory()
        return cls(directory, load(directory))

    def repo(self, name: str | None) -> str:
        """The repository of that name; without one the only one there is (`thrum.desk.repo_named`)."""
        from thrum.desk import repo_named

        return repo_named(self.project, name)

    def owner(self, task: str) -> str:
        """The repository that a task's id names (`thrum.desk.owner_of`)."""
        from thrum.desk import owner_of

        return owner_of(self.project, task)

    @contextlib.contextmanager
    def connected(self, repos: Iterable[str]) -> Iterator[Desk]:
        """A desk at the actors of the named repositories, which are brought up for the block if no system is."""
        from thrum import tree
        from thrum.desk import Desk
        from thrum.files import secret
        from thrum.places import Places

        with tree.attached(self.directory, self.project, tuple(dict.fromkeys(repos))) as client:
            yield Desk(client, self.project, secret(Places(self.directory).token))


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
