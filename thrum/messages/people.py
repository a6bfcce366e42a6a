"""What people ask of a repo actor, through the CLI or the API.

Commands are durable: repeated with the same id until answered. Queries may be lost, and are asked again.
"""

from __future__ import annotations

from thrum.messages import Message
from thrum.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Command(Message):
    """The base of what changes state for a person. `auth` is the project's token, `by` who asks."""

    auth: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddTask(Command):
    """Queue a task; answered with it after the synced write."""

    title: str
    description: str = ""
    depends_on: tuple[str, ...] = ()
    priority: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ApproveTask(Command):
    """A person's yes. `commit` is the head that was shown; empty means the present one. Without `protected` it does
    not hold for a change to protected paths, nor for one that holds a secret."""

    task: str
    commit: str = ""
    protected: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectTask(Command):
    """A person's no, with what to do better."""

    task: str
    feedback: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryTask(Command):
    """Start a new round of a failed or cancelled task, or look again at one that waits for an operator."""

    task: str
    feedback: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelTask(Command):
    """End a task without landing it; its work stays pinned."""

    task: str
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GetTasks(Message):
    """Tasks of the repository (plain `Task`s, oldest first), optionally of some states only: at most `limit` of those
    that come after the task `after`."""

    states: tuple[str, ...] = ()
    after: str = ""
    limit: int = 200
    """A task with all its attempts has some kilobytes; a page of them must fit into one message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GetTask(Message):
    """One task, whole."""

    task: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GetHistory(Message):
    """The recorded events of one task, oldest first."""

    task: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GetDiff(Message):
    """The diff of the task's latest attempt (or of attempt `token`): `{base, head, files, diff, truncated}`."""

    task: str
    token: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class GetOutput(Message):
    """A piece of the kept output with the given digest: `{text, total_bytes}` from `offset`."""

    digest: str
    offset: int = 0
    limit_bytes: int = 262_144


@dataclass(frozen=True, slots=True, kw_only=True)
class GetRepoStatus(Message):
    """The repository at a glance: counts by state and by what is waited for, slots in use, spend, faults."""
