"""The landing lock of an integration set: which task may land now. Kept in the store of the set's first member."""

from __future__ import annotations

from typing import Any


class LandingLock:
    """One holder at a time; the fence grows with each, so that two holders can be told apart in the records."""

    def __init__(self, plain: Any = None) -> None:
        """`plain` is what `plain()` gave before, None for a lock that was never taken."""
        kept = plain or {}
        self.repo: str = kept.get("repo", "")
        self.task: str = kept.get("task", "")
        self.fence: int = kept.get("fence", 0)

    def take(self, repo: str, task: str) -> bool:
        """True if the task holds the lock now, be it anew or already."""
        if not self.task:
            self.repo, self.task, self.fence = repo, task, self.fence + 1
        return (self.repo, self.task) == (repo, task)

    def release(self, repo: str, task: str) -> bool:
        """True if the task held the lock; it is free then."""
        if (self.repo, self.task) != (repo, task):
            return False
        self.repo = self.task = ""
        return True

    def plain(self) -> dict[str, Any]:
        """The lock as plain data for the store."""
        return {"repo": self.repo, "task": self.task, "fence": self.fence}
