"""A service pool: jobs that wait, members that take them, and who is next. Values and one decision, no time of its own.

Which member has which job is the router's to remember; a pool knows only what was not given out yet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(slots=True)
class Job:
    """A message to a pool. `given` is the router's count of its own messages when the job was handed on."""

    id: str
    pool: str
    requester: bytes
    destination: bytes
    header: bytes
    body: bytes
    expires_at: float
    given: int = 0


@dataclass(slots=True)
class Member:
    """`credit` is how many more jobs it would take now, `used` the turn at which it last took one, 0 for never."""

    credit: int = 0
    used: int = 0


@dataclass(slots=True)
class Pool:
    """Jobs in the order they came, given to the least recently used member that has credit."""

    jobs: dict[str, Job] = field(default_factory=dict)
    members: dict[bytes, Member] = field(default_factory=dict)
    turn: int = 0

    def credit(self, member: bytes, credit: int) -> None:
        """The member takes this many more jobs, whatever it said before."""
        self.members.setdefault(member, Member()).credit = max(0, credit)

    def deal(self) -> Iterator[tuple[Job, bytes]]:
        """Take jobs out, each with the member that is to have it, until either runs out."""
        while self.jobs:
            able = [address for address, member in self.members.items() if member.credit > 0]
            if not able:
                return
            address = min(able, key=lambda able: self.members[able].used)
            member = self.members[address]
            self.turn += 1
            member.credit, member.used = member.credit - 1, self.turn
            yield self.jobs.pop(next(iter(self.jobs))), address

    def withdraw(self, requester: bytes) -> None:
        """Forget the jobs of a requester that is gone."""
        self.jobs = {id: job for id, job in self.jobs.items() if job.requester != requester}

    def expire(self, now: float) -> int:
        """Drop the jobs whose ttl is over; how many there were."""
        over = [id for id, job in self.jobs.items() if job.expires_at <= now]
        for id in over:
            del self.jobs[id]
        return len(over)
