"""Which new tasks are accepted: the checks on a title, a description and dependencies. Pure."""

from __future__ import annotations

import re
from collections.abc import Container

from thrum.errors import NotFoundError, UsageError
from thrum.messages.people import AddTask
from thrum.names import owner

TITLE_CHARS = 300
DESCRIPTION_BYTES = 256 * 1024
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def check_new_task(asked: AddTask, *, repo: str, known: Container[str]) -> None:
    """Accept or refuse a new task; `known` holds the ids of the repository's tasks.

    A dependency on another repository's task is checked by whoever asks, with that repository.

    Raises:
        UsageError: the title is empty or too long, or a text holds control characters.
        NotFoundError: a dependency that does not exist.
    """
    title = asked.title.strip()
    if not title:
        raise UsageError("the title is empty", remedy="say in a few words what is to be done: --title TEXT")
    if len(title) > TITLE_CHARS:
        raise UsageError(
            f"the title has {len(title)} characters, more than {TITLE_CHARS}",
            remedy="keep the title short and put the rest into --description",
        )
    _no_control(title, "title", allowed="")
    _no_control(asked.description, "description", allowed="\n\t\r")
    size = len(asked.description.encode())
    if size > DESCRIPTION_BYTES:
        raise UsageError(
            f"the description has {size} bytes, more than {DESCRIPTION_BYTES}",
            remedy="commit long material to the repository and refer to it",
        )
    for dependency in asked.depends_on:
        if owner(dependency) == repo and dependency not in known:
            raise NotFoundError(
                f"there is no task {dependency!r} to depend on", remedy="`thrum task list` names those there are"
            )


def _no_control(text: str, name: str, allowed: str) -> None:
    for found in _CONTROL.finditer(text):
        if found[0] not in allowed:
            told = f"the {name} holds the control character {found[0]!r} at position {found.start()}"
            raise UsageError(told, remedy="remove it")
