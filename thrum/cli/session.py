"""The project that a command is about, and the way from a command to the repo actor that answers it."""

from __future__ import annotations

import contextlib
import difflib
import os
import pwd
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thrum.cli.program import invocation
from thrum.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from thrum.client import Client
    from thrum.config import Project
    from thrum.messages import Command

ANSWER_S = 30.0
"""How long a command waits for the answer of an actor, which may be starting anew."""


def project_directory() -> Path:
    """The project directory that the invocation is about.

    Raises:
        ConfigError: there is none.
    """
    from thrum.configfile import find_project

    return find_project(Path.cwd(), invocation().directory, os.environ)


@dataclass(frozen=True)
class Session:
    """A loaded project, and who asks."""

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

    @cached_property
    def repos(self) -> tuple[str, ...]:
        """The names of all repositories, in configured order."""
        return tuple(repo.name for repo in self.project.repos)

    @cached_property
    def token(self) -> str:
        """The project's token, which is made if this is the first command of all."""
        from thrum.files import secret
        from thrum.places import Places

        places = Places(self.directory)
        places.state.mkdir(mode=0o700, exist_ok=True)
        return secret(places.token)

    def repo(self, name: str | None) -> str:
        """The repository of that name, as it is spelled; without a name the only one there is.

        Raises:
            NotFoundError: there is none of that name.
            UsageError: there are several, and none is named.
        """
        if name is None:
            if len(self.repos) == 1:
                return self.repos[0]
            raise UsageError("which repository? The project has several", remedy=f"--repo {'|'.join(self.repos)}")
        found = self.project.repo(name)
        if found is None:
            raise NotFoundError(f"there is no repository {name!r}", remedy=self._nearest(name))
        return found.name

    def owner(self, task: str) -> str:
        """The repository that a task's id names.

        Raises:
            NotFoundError: no repository could have a task of that id.
        """
        from thrum.scheduling import owner

        name = owner(task)
        if name not in self.repos:
            raise NotFoundError(
                f"there is no task {task!r}: no repository of this project is called {name!r}"
                if name
                else f"there is no task {task!r}: an id is made of a repository's name, `-` and a number",
                remedy="`thrum task list` names them all",
            )
        return name

    def path_of(self, repo: str) -> str:
        """Where the repository lies."""
        found = self.project.repo(repo)
        return found.path if found else ""

    @contextlib.contextmanager
    def connected(self, repos: Iterable[str]) -> Iterator[Client]:
        """A connection to the actors of the named repositories, which are brought up if no system is."""
        from thrum import tree

        with tree.attached(self.directory, self.project, tuple(dict.fromkeys(repos))) as client:
            yield client

    def ask(self, client: Client, repo: str, body: Any, *, id: str | None = None) -> Any:
        """What the repository's actor answers."""
        return client.request(f"repo.{repo}", body, timeout_s=ANSWER_S, id=id)

    def tell(
        self, client: Client, repo: str, kind: type[Command], *, by: str, id: str | None = None, **told: Any
    ) -> Any:
        """What the repository's actor answers to a command that changes something."""
        return self.ask(client, repo, kind(auth=self.token, by=by, **told), id=id)

    def _nearest(self, name: str) -> str:
        near = difflib.get_close_matches(name.casefold(), [repo.casefold() for repo in self.repos], n=1)
        if near:
            return f"did you mean {next(repo for repo in self.repos if repo.casefold() == near[0])!r}?"
        return f"the project has: {', '.join(self.repos)}"


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
