"""When attempts cannot be begun: what one task ran into, every other one would too."""

from __future__ import annotations

FIRST_S, MOST_S = 5.0, 60.0
"""How long the first hold lasts, and the longest one."""


class Hold:
    """Holds a repository's attempts back for a while after one could not be begun for an operator's reason: a
    repository that vanished, an agent that is missing, a full disk. Pure; times are Unix seconds."""

    def __init__(self) -> None:
        self.reason = ""
        """Why nothing begins now; empty where nothing is held back."""
        self.until = float("inf")
        """When to look again; infinite where nothing is held back."""
        self._in_a_row = 0

    def begin(self, reason: str, now: float) -> None:
        """Another attempt could not be begun."""
        if not self.reason:
            self.until = now + min(MOST_S, FIRST_S * 2.0**self._in_a_row)
            self._in_a_row = min(10, self._in_a_row + 1)
        self.reason = reason

    def over(self) -> None:
        """An attempt could be begun."""
        self.reason, self.until, self._in_a_row = "", float("inf"), 0

    def ended(self, now: float) -> bool:
        """True once, when the hold's time is up: the next attempt tries it out."""
        if now < self.until:
            return False
        self.reason, self.until = "", float("inf")
        return True
