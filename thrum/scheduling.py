"""Who may start and who may land, over all repositories: the scheduler's decisions, pure.

The view is put together from what the repo actors announce and can be thrown away at any time. A grant counts
as used from the moment it is given until the repository announces the task anew, or until it has expired.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from thrum.messages.schedule import Announced, TaskSummary
from thrum.names import owner

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
    costs no more with thousands of tasks queued: each repository's startable tasks in their order, and behind
    each dependency those that it holds back.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.repos: dict[str, RepoView] = {}
        self.spent_usd = 0.0
        self._queues: dict[str, list[_Turn]] = {}
        self._held: dict[str, tuple[str, str]] = {}
        """Tasks that a dependency holds back: which, and why."""
        self._behind: dict[str, dict[str, None]] = {}
        self._landable: dict[str, TaskSummary] = {}
        self._busy: dict[str, TaskSummary] = {}
        """Those that hold a slot or their integration set."""
        self._granted: dict[str, tuple[str, float]] = {}
        self._served: Counter[str] = Counter()

    def hear(self, announced: Announced) -> bool:
        """Take an announcement in; False if something before it was missed, and a snapshot is needed."""
        view = self.repos.get(announced.repo)
        if view is not None and view.epoch == announced.epoch and announced.seq <= view.seq:
            return True  # doubled or late
        if announced.snapshot:
            for gone in list(view.tasks.values()) if view else []:
                self._forget(gone)
            view = RepoView(epoch=announced.epoch, seq=announced.seq, concurrency=announced.concurrency)
            self.repos[announced.repo] = view
        elif view is None or view.epoch != announced.epoch or announced.seq > view.seq + 1:
            return False
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
            self._queue(task)
        if task.ready == "land":
            self._landable[task.id] = task
        if task.slot or task.landing:
            self._busy[task.id] = task
        self._look_behind(task.id)

    def _forget(self, task: TaskSummary) -> None:
        self.spent_usd -= task.cost_usd
        self._granted.pop(task.id, None)
        for kept in (self._landable, self._busy):
            kept.pop(task.id, None)
        if task.ready == "start":
            self._unqueue(task)

    def _queue(self, task: TaskSummary) -> None:
        """Put a startable task in its turn, or behind the first dependency that holds it back."""
        unmet = self._unmet(task)
        if unmet is None:
            insort(self._queues.setdefault(owner(task.id), []), _turn(task))
        else:
            self._held[task.id] = unmet
            self._behind.setdefault(unmet[0], {})[task.id] = None

    def _unqueue(self, task: TaskSummary) -> None:
        held = self._held.pop(task.id, None)
        if held is not None:
            del self._behind[held[0]][task.id]
            return
        queue = self._queues[owner(task.id)]
        del queue[bisect_left(queue, _turn(task))]

    def _look_behind(self, dependency: str) -> None:
        """Something is new about a task: look again at those that it holds back."""
        for name in self._behind.pop(dependency, {}):
            del self._held[name]
            task = self.find(name)
            assert task is not None
            self._queue(task)

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
        heads = [queue[0] for queue in self._queues.values() if queue]
        first = min(heads, key=lambda turn: (turn[0], self._served[owner(turn[2])], *turn[1:]), default=None)
        return first[2] if first else None

    def waiting(self) -> dict[str, tuple[str, str]]:
        """Why tasks that could start will not, even were a slot free: `{task: (waiting_for, reason)}`."""
        found = {task: ("dependency", reason) for task, (_, reason) in self._held.items()}
        over = self._over_budget()
        for repo, queue in self._queues.items():
            why = ("operator", fault) if (fault := self.repos[repo].fault) else ("budget", over)
            found.update((task, why) for _, _, task in queue if why[1])
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
        open_repos = {repo for repo in self._queues if not self.repos[repo].fault}
        if chosen is not None:
            open_repos &= {owner(task) for task in chosen}
        granted: list[str] = []
        while free > 0 and open_repos:
            repo = min(open_repos, key=lambda name: (used[name], self._served[name], name))
            task = self._next_of(repo, chosen, granted) if used[repo] < self.repos[repo].concurrency else None
            if task is None:
                open_repos.discard(repo)
                continue
            used[repo] += 1
            self._served[repo] += 1
            granted.append(task)
            free -= 1
        return tuple(granted)

    def _next_of(self, repo: str, chosen: frozenset[str] | None, granted: list[str]) -> str | None:
        """The repository's next task in turn that was not granted yet."""
        for _, _, task in self._queues[repo]:
            if task not in self._granted and task not in granted and (chosen is None or task in chosen):
                return task
        return None

    def _unmet(self, task: TaskSummary) -> tuple[str, str] | None:
        """The first dependency that holds the task back, and why; None if all of them merged."""
        for dependency in task.depends_on:
            other = self.find(dependency)
            if other is None:
                return dependency, f"{dependency} is not known here: its repository is away"
            if other.state != "merged":
                return dependency, f"{dependency} is {other.state}"
        return None

    def _over_budget(self) -> str:
        ceiling = self.limits.ceiling_usd
        over = ceiling is not None and self.spent_usd >= ceiling
        return f"${self.spent_usd:.2f} of ${ceiling:.2f} is spent" if over else ""


_Turn = tuple[int, float, str]
"""What a repository's tasks start in the order of; the last of it is the task's id."""


def _turn(task: TaskSummary) -> _Turn:
    return (-task.priority, task.created_at, task.id)


def _by_change(task: TaskSummary) -> tuple[int, float, str]:
    return (-task.priority, task.changed_at, task.id)
