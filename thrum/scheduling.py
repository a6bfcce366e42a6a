"""Who may start and who may land, over all repositories: the scheduler's decisions, pure.

The view is put together from what the repo actors announce and can be thrown away at any time. A grant counts
as used from the moment it is given until the repository announces the task anew, or until it has expired.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from thrum.messages import Announced, TaskSummary

GRANT_EXPIRES_S = 5.0


@dataclass(slots=True, kw_only=True)
class RepoView:
    """What one repo actor last announced."""

    epoch: str
    seq: int
    concurrency: int
    tasks: dict[str, TaskSummary] = field(default_factory=dict)
    fault: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the configuration allows over all repositories."""

    agents: int
    ceiling_usd: float | None = None
    integration_sets: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Grants:
    """What to permit now."""

    start: tuple[str, ...] = ()
    land: tuple[str, ...] = ()


class Schedule:
    """The whole picture, and what was granted on top of it.

    Beside each repository's view, the few tasks that a decision looks at are kept apart, so that a decision
    costs no more with thousands of tasks queued.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.repos: dict[str, RepoView] = {}
        self.spent_usd = 0.0
        self._startable: dict[str, TaskSummary] = {}
        self._landable: dict[str, TaskSummary] = {}
        self._busy: dict[str, TaskSummary] = {}
        """Those that hold a slot or their integration set."""
        self._granted: dict[str, tuple[str, float]] = {}
        self._served: Counter[str] = Counter()

    def hear(self, announced: Announced) -> bool:
        """Take an announcement in; False if something before it was missed, and a snapshot is needed."""
        view = self.repos.get(announced.repo)
        if announced.snapshot:
            for gone in list(view.tasks.values()) if view else []:
                self._forget(gone)
            view = RepoView(epoch=announced.epoch, seq=announced.seq, concurrency=announced.concurrency)
            self.repos[announced.repo] = view
        elif view is None or view.epoch != announced.epoch or announced.seq > view.seq + 1:
            return False
        elif announced.seq <= view.seq:
            return True  # doubled or late
        view.seq, view.concurrency, view.fault = announced.seq, announced.concurrency, announced.fault
        for summary in announced.tasks:
            if summary.id in view.tasks:
                self._forget(view.tasks[summary.id])
            view.tasks[summary.id] = summary
            self._note(summary)
        return True

    def _note(self, task: TaskSummary) -> None:
        self.spent_usd += task.cost_usd
        self._granted.pop(task.id, None)
        if task.ready == "start":
            self._startable[task.id] = task
        if task.ready == "land":
            self._landable[task.id] = task
        if task.slot or task.landing:
            self._busy[task.id] = task

    def _forget(self, task: TaskSummary) -> None:
        self.spent_usd -= task.cost_usd
        self._granted.pop(task.id, None)
        for kept in (self._startable, self._landable, self._busy):
            kept.pop(task.id, None)

    def find(self, task: str) -> TaskSummary | None:
        """What was last announced of the task."""
        view = self.repos.get(owner(task))
        return view.tasks.get(task) if view else None

    def tasks(self) -> Iterator[TaskSummary]:
        """Every task of every repository."""
        return (task for view in self.repos.values() for task in view.tasks.values())

    def plan(self, now: float, *, only: Iterable[str] | None = None) -> Grants:
        """What may start and land now; each grant is remembered as given. `only` limits it to the named tasks."""
        self._granted = {task: grant for task, grant in self._granted.items() if grant[1] > now}
        chosen = None if only is None else frozenset(only)
        land = self._landings(chosen)
        start = self._starts(chosen)
        for task in land:
            self._granted[task] = ("land", now + GRANT_EXPIRES_S)
        for task in start:
            self._granted[task] = ("start", now + GRANT_EXPIRES_S)
        return Grants(start=start, land=land)

    def withdraw(self, task: str) -> None:
        """A grant did not reach its repository."""
        self._granted.pop(task, None)

    def next_task(self) -> str | None:
        """The task that `run --once` takes: one that can land before one that can start."""
        if self._landable:
            return min(self._landable.values(), key=_by_change).id
        ready = [task for task in self._startable.values() if not self._unmet(task)]
        return min(ready, key=self._by_turn).id if ready else None

    def waiting(self) -> dict[str, tuple[str, str]]:
        """Why each task that could start has not: `{task: (waiting_for, reason)}`."""
        over = self._over_budget()
        found = {}
        for task in self._startable.values():
            unmet = self._unmet(task)
            if unmet:
                found[task.id] = ("dependency", unmet)
            else:
                found[task.id] = ("budget", over) if over else ("slot", "")
        return found

    def _landings(self, chosen: frozenset[str] | None) -> tuple[str, ...]:
        busy = {self._set_of(task.id) for task in self._busy.values() if task.landing}
        busy |= {self._set_of(task) for task, (kind, _) in self._granted.items() if kind == "land"}
        granted = []
        ready = [task for task in self._landable.values() if task.id not in self._granted]
        for task in sorted(ready, key=_by_change):
            members = self._set_of(task.id)
            if members not in busy and (chosen is None or task.id in chosen):
                busy.add(members)
                granted.append(task.id)
        return tuple(granted)

    def _set_of(self, task: str) -> tuple[str, ...]:
        repo = owner(task)
        return next((members for members in self.limits.integration_sets if repo in members), (repo,))

    def _starts(self, chosen: frozenset[str] | None) -> tuple[str, ...]:
        """Grant free slots one at a time, to the repository that was served least; a busy one holds up no other."""
        used = Counter(owner(task.id) for task in self._busy.values() if task.slot)
        used.update(owner(task) for task, (kind, _) in self._granted.items() if kind == "start")
        free = self.limits.agents - used.total()
        if free <= 0 or self._over_budget():
            return ()
        queues: dict[str, list[TaskSummary]] = {}
        for task in self._startable.values():
            if task.id not in self._granted and (chosen is None or task.id in chosen):
                queues.setdefault(owner(task.id), []).append(task)
        granted: list[str] = []
        while free > 0 and queues:
            repo = min(queues, key=lambda name: (used[name], self._served[name], name))
            open_here = used[repo] < self.repos[repo].concurrency
            ready = [task for task in queues[repo] if not self._unmet(task)] if open_here else []
            if not ready:
                del queues[repo]
                continue
            task = min(ready, key=self._by_turn)
            queues[repo] = [other for other in ready if other is not task]
            used[repo] += 1
            self._served[repo] += 1
            granted.append(task.id)
            free -= 1
        return tuple(granted)

    def _unmet(self, task: TaskSummary) -> str:
        """Why the task's dependencies hold it back; empty if all of them merged."""
        for dependency in task.depends_on:
            other = self.find(dependency)
            if other is None:
                return f"{dependency} is not known here: its repository is away"
            if other.state != "merged":
                return f"{dependency} is {other.state}"
        return ""

    def _over_budget(self) -> str:
        ceiling = self.limits.ceiling_usd
        over = ceiling is not None and self.spent_usd >= ceiling
        return f"${self.spent_usd:.2f} of ${ceiling:.2f} is spent" if over else ""

    def _by_turn(self, task: TaskSummary) -> tuple[int, int, float, str]:
        return (-task.priority, self._served[owner(task.id)], task.created_at, task.id)


def owner(task: str) -> str:
    """The repository that a task's id names: everything before its last `-`."""
    return task.rpartition("-")[0]


def _by_change(task: TaskSummary) -> tuple[int, float, str]:
    return (-task.priority, task.changed_at, task.id)
