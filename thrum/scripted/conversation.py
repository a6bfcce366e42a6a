"""What is asked of a language model, and what it answers, whatever the API between them."""

from __future__ import annotations

import json
from dataclasses import field
from typing import Any

from thrum.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One piece of a conversation; `role` is user, assistant, tool, or beside: a text that came along with results."""

    role: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a request asked for."""

    api: str
    path: str
    model: str = ""
    stream: bool = False
    system: str = ""
    turns: tuple[Turn, ...] = ()
    tools: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The parameters' JSON schema of each tool that was offered; `{"type": "custom"}` for one that takes a text."""
    schema: dict[str, Any] = field(default_factory=dict)
    """The JSON schema that the answer is to fit, where one was given."""
    key: str = ""
    """What was sent as the key."""

    @property
    def prompt(self) -> str:
        """What the user said, all of it."""
        return "\n".join(turn.text for turn in self.turns if turn.role == "user")

    @property
    def results(self) -> tuple[str, ...]:
        """What the tools gave back."""
        return tuple(turn.text for turn in self.turns if turn.role == "tool")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the model says: a text, a call of a tool beside it, or a text by which it refuses."""

    text: str = ""
    tool: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    refused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An answer that is an error. `kind` is empty, or `overflow`, `quota` or `overloaded`."""

    status: int
    kind: str = ""
    message: str = ""
    retry_after_s: float | None = None
    resets_at: int | None = None


def text_of(content: object) -> str:
    """All the text of a message's content, which may be a text, a part, or a list of parts."""
    match content:
        case str():
            return content
        case list():
            return "\n".join(filter(None, map(text_of, content)))
        case {"text": str(text)}:
            return text
        case {"content": inner} | {"output": inner}:
            return text_of(inner)
        case {"functionResponse": {"response": response}}:
            return json.dumps(response)
    return ""
