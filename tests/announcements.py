"""What repo actors announce, in short, for the tests of scheduling."""

from __future__ import annotations

from typing import Any

from thrum.messages.schedule import Announced, TaskSummary


def task(id: str, **more: Any) -> TaskSummary:
    return TaskSummary(**{"id": id, "state": "pending", "ready": "start", "created_at": 1.0, **more})


def running(id: str, **more: Any) -> TaskSummary:
    return task(id, state="implementing", ready="", slot=True, **more)


def announced(repo: str, *tasks: TaskSummary, seq: int = 1, **more: Any) -> Announced:
    values = {"epoch": "1-a", "snapshot": seq == 1, "concurrency": 1, **more}
    return Announced(repo=repo, seq=seq, tasks=tasks, **values)
