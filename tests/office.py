"""A person at the desk of a system that is up, for tests that drive it by messages rather than by commands."""

from __future__ import annotations

from typing import Any

from tests.systems import System
from thrum.desk import Desk
from thrum.messages.people import ApproveTask, Command


class Office:
    """One connection to a system that is up; `close` it."""

    def __init__(self, system: System, *repos: str) -> None:
        self.system = system
        self.client = system.client()
        self.desk = Desk(self.client, repos or ("one",), system.token())

    def __enter__(self) -> Office:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def add(self, title: str, repo: str = "one") -> str:
        """Queue a task; its id."""
        return str(self.desk.add(repo, by="tester", title=title)["id"])

    def decide(self, kind: type[Command], task: str, **words: str) -> dict[str, Any]:
        """The task after a person's word."""
        return self.desk.decide(kind, task, by="tester", **words)

    def until(self, task: str, *states: str, deadline_s: float = 40.0, **fields: Any) -> dict[str, Any]:
        """The task once it is in one of the states and has these fields."""
        seen: dict[str, Any] = {}

        def there() -> bool:
            seen.update(self.desk.task(task))
            return seen["state"] in states and all(seen[name] == value for name, value in fields.items())

        try:
            self.system.until(there, f"{task} to be {states} {fields}", deadline_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\nit is {seen}") from None
        return seen

    def events(self, task: str, kind: str) -> list[dict[str, Any]]:
        """What the task's events of that kind recorded."""
        return [event["data"] for event in self.desk.history(task) if event["kind"] == kind]

    def land(self, task: str) -> dict[str, Any]:
        """Approve the task when it waits for that; the task once it landed or was sent back."""
        self.until(task, "awaiting-approval")
        self.decide(ApproveTask, task)
        return self.until(task, "merged", "implementing", "failed")
