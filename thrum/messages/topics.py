"""Streams of what happens, lossy under pressure; destination `topic:NAME`."""

from __future__ import annotations

from thrum.messages import Message
from thrum.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskChanged(Message):
    """repo → topic `task.REPO`: a task moved."""

    task: str
    state: str
    kind: str
    at: float
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOutput(Message):
    """worker → topic `output.TASK`: what the agent printed."""

    task: str
    token: int
    offset: int
    text: str
