"""What people ask of repo actors, through the CLI or the HTTP API: each question once, answered with views.

A desk finds out which repository a question is for, sends it there and waits. It keeps nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from thrum.client import Client
from thrum.errors import BusyError, NotFoundError, UsageError
from thrum.files.printed import missing
from thrum.messages import Message, people
from thrum.messages.attempts import GetPrinted
from thrum.names import owner
from thrum.views import Plain, event_view, task_view

ANSWER_S = 30.0
"""How long an answer is waited for: the actor may be starting anew."""
WORKER_S = 3.0
"""The same of a worker, which may be gone for good."""


def repo_named(names: Sequence[str], name: str | None) -> str:
    """The one of the repositories that is meant, as it is spelled; without a name the only one there is.

    Raises:
        NotFoundError: there is none of that name.
        UsageError: there are several, and none is named.
    """
    if name is None:
        if len(names) == 1:
            return names[0]
        raise UsageError("which repository? The project has several", remedy=f"name one of: {', '.join(names)}")
    if name in names:
        return name
    folded = {one.casefold(): one for one in names}
    if name.casefold() in folded:
        return folded[name.casefold()]
    import difflib

    near = difflib.get_close_matches(name.casefold(), folded, n=1)
    remedy = f"did you mean {folded[near[0]]!r}?" if near else f"the project has: {', '.join(names)}"
    raise NotFoundError(f"there is no repository {name!r}", remedy=remedy)


def owner_of(names: Sequence[str], task: str) -> str:
    """The one of the repositories that a task's id names.

    Raises:
        NotFoundError: no repository could have a task of that id.
    """
    name = owner(task)
    if name in names:
        return name
    if name:
        message = f"there is no task {task!r}: no repository of this project is called {name!r}"
    else:
        message = f"there is no task {task!r}: an id is a repository's name, `-` and a number"
    raise NotFoundError(message, remedy="`thrum task list` names them all")


def _pieces(ask: Callable[[int], Plain], offset: int) -> Iterator[Plain]:
    total = offset + 1
    while offset < total:
        piece = ask(offset)
        if not piece["bytes"]:
            return
        skipped = piece["offset"] - offset
        yield {**piece, "text": missing(skipped) + piece["text"]} if skipped else piece
        offset, total = piece["offset"] + piece["bytes"], piece["total_bytes"]


class Desk:
    """One thread's way to the repo actors. Every method raises what the actor answers with (`thrum.errors`), and
    BusyError where none answers."""

    def __init__(self, client: Client, repos: Sequence[str], token: str, *, answer_s: float = ANSWER_S) -> None:
        """`repos` are the names of all repositories, `token` the project's own, which every command carries."""
        self.client = client
        self.repos = tuple(repos)
        self._token = token
        self._answer_s = answer_s

    def ask(self, repo: str, body: Message, *, id: str | None = None) -> Any:
        """What the actor of the repository answers."""
        return self.client.request(f"repo.{repo}", body, timeout_s=self._answer_s, id=id)

    def tasks(self, repo: str, states: Iterable[str] = ()) -> list[Plain]:
        """The tasks of a repository, oldest first; only those in `states`, if any are given."""
        views: list[Plain] = []
        asked = people.GetTasks(states=tuple(states))
        while page := self.ask(repo, asked):
            views += map(task_view, page)
            if len(page) < asked.limit:
                break
            asked = replace(asked, after=page[-1]["id"])
        return views

    def task(self, task: str) -> Plain:
        """One task."""
        return task_view(self._ask_owner(task, people.GetTask(task=task)))

    def history(self, task: str) -> list[Plain]:
        """What happened to a task, oldest first."""
        return [event_view(event) for event in self._ask_owner(task, people.GetHistory(task=task))]

    def diff(self, task: str, attempt: int = 0) -> Plain:
        """What an attempt changed, 0 meaning the latest: `{task, attempt, base, head, files, diff, truncated}`."""
        return dict(self._ask_owner(task, people.GetDiff(task=task, token=attempt)))

    def output(self, task: str, digest: str, offset: int) -> Plain:
        """A piece of what an agent printed: `{text, offset, bytes, total_bytes}`."""
        return dict(self._ask_owner(task, people.GetOutput(digest=digest, offset=offset)))

    def said(self, task: str, attempt: Plain, offset: int = 0) -> Iterator[Plain]:
        """The pieces of what an attempt's agent printed, from `offset` on, each as `output` gives it; of one that is
        under way all so far. Where some is missing, a line in the text says how much.

        Raises:
            BusyError, NotFoundError: the worker that has it is just coming up, or going.
        """
        if attempt["ending"] is not None:
            return self._kept(task, attempt["output_digest"], offset)

        def ask(at: int) -> Plain:
            body = GetPrinted(task=task, token=attempt["token"], offset=at)
            return dict(self.client.request(attempt["worker"], body, timeout_s=WORKER_S))

        return _pieces(ask, offset)

    def all_said(self, task: str, attempt: Plain) -> str:
        """The same as one text; of an attempt that is under way, as far as its worker can be asked."""
        pieces: list[str] = []
        try:
            pieces += (piece["text"] for piece in self.said(task, attempt))
        except (BusyError, NotFoundError):
            if attempt["ending"] is not None:
                raise
        return "".join(pieces)

    def text(self, task: str, digest: str) -> str:
        """A kept output or prompt, whole; empty without a digest."""
        return "".join(piece["text"] for piece in self._kept(task, digest, 0))

    def _kept(self, task: str, digest: str, offset: int) -> Iterator[Plain]:
        return _pieces(lambda at: self.output(task, digest, at), offset) if digest else iter(())

    def add(
        self,
        repo: str,
        *,
        by: str,
        title: str,
        description: str = "",
        depends_on: tuple[str, ...] = (),
        priority: int = 0,
        id: str | None = None,
    ) -> Plain:
        """Queue a task. A dependency of another repository is looked for there first."""
        for task in depends_on:
            if owner_of(self.repos, task) != repo:
                self._demand(task)
        body = people.AddTask(
            auth=self._token,
            by=by,
            title=title,
            description=description,
            depends_on=depends_on,
            priority=priority,
        )
        return task_view(self.ask(repo, body, id=id))

    def decide(
        self, kind: type[people.Command], task: str, *, by: str, id: str | None = None, **words: str | bool
    ) -> Plain:
        """Tell the actor what a person decided about a task: `kind` is ApproveTask, RejectTask, …"""
        return task_view(self._ask_owner(task, kind(auth=self._token, by=by, task=task, **words), id=id))  # type: ignore[call-arg]

    def _demand(self, task: str) -> None:
        try:
            self.task(task)
        except NotFoundError as error:
            raise NotFoundError(f"there is no task {task!r} to depend on", remedy=error.remedy) from error

    def _ask_owner(self, task: str, body: Message, *, id: str | None = None) -> Any:
        return self.ask(owner_of(self.repos, task), body, id=id)
