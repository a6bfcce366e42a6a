"""What must hold whatever happens, checked from outside: from git, the stores, and what people were told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tests.simulation.git import Commit, Repository, tree_id
from thrum.actors.scheduler import HEARING_S
from thrum.batch import Batch
from thrum.gate import Gate
from thrum.messages import kinds as m
from thrum.names import owner
from thrum.pipeline.draft import fold
from thrum.records import from_plain
from thrum.scheduling import Schedule
from thrum.store import Store
from thrum.task import ENDS, Attempt, State, Task

if TYPE_CHECKING:
    from tests.simulation.house import Simulation

SETTLED_S = 60.0
"""So long after the last fault the global cap is kept without exception."""


class Broken(AssertionError):
    """A promise does not hold; the message says which, where and for what."""


def hold(promise: bool, text: str) -> None:
    """Raise unless the promise holds."""
    if not promise:
        raise Broken(text)


class Promises:
    """Watches the run from outside; every method raises `Broken` when something is not as it must be."""

    def __init__(self, house: Simulation) -> None:
        self.house = house
        self.tasks: dict[str, dict[str, Task]] = {repo: {} for repo in house.gits}
        """By repository, what its store holds."""
        self.landed: dict[str, str] = {}
        self.calm_since = float("inf")
        self._made: dict[tuple[str, int], set[str]] = {}
        self._passed: set[tuple[Gate, str, str, tuple[tuple[str, str], ...]]] = set()
        self._approvals: set[tuple[str, str, str]] = set()
        self._answers: dict[str, tuple[str, str, str, Any]] = {}
        self._told_seq: dict[str, int] = {}

    # --- As it happens ----------------------------------------------------------------------------------------

    def made(self, task: str, token: int, head: str) -> None:
        """A worker made a commit under the token."""
        self._made.setdefault((task, token), set()).add(head)

    def passed(self, gate: Gate, check: str, tree: str, vector: Mapping[str, str]) -> None:
        """A gate actor saw the check pass."""
        tied = tuple(sorted(vector.items())) if gate is Gate.INTEGRATION else ()
        self._passed.add((gate, check, tree, tied))

    def asked(self, key: str, body: m.Command) -> None:
        """A person asked for something."""
        if isinstance(body, m.ApproveTask):
            self._approvals.add((body.by, body.task, body.commit))

    def answered(self, key: str, repo: str, body: m.Command, reply: m.Reply) -> None:
        """A person was answered: what was acknowledged is in the store, once."""
        if reply.ok:
            self._answers[key] = (repo, reply.value["id"], type(body).__name__, body)
            self._told_seq[repo] = max(self._told_seq.get(repo, 0), self._acknowledged(key))

    def written(self, repo: str, batch: Batch, tasks: Mapping[str, Task]) -> None:
        """A repo actor's store took a batch in."""
        house = self.house
        for task in batch.tasks:
            self.tasks[repo][task.id] = task
            for attempt in task.attempts:
                if attempt.head:
                    self._check_head(repo, task, attempt)
        for event in batch.events:
            if event.kind == "attempt-stopped" and event.data["head"]:
                self._check_made(repo, event.task, event.data["token"], event.data["head"])
        holding = [task.id for task in self.tasks[repo].values() if task.slot]
        limit = house.setups[repo].concurrency
        hold(len(holding) <= limit, f"{repo} has {limit} slots, and they are held by {holding}")
        for members in house.sets:
            landing = [
                task.id
                for member in members
                for task in self.tasks[member].values()
                if task.state in (State.INTEGRATING, State.GATE3)
            ]
            hold(len(landing) <= 1, f"{members} integrate {landing} at once")
        if house.world.now > self.calm_since + SETTLED_S and any(event.kind == "claimed" for event in batch.events):
            running = [task.id for known in self.tasks.values() for task in known.values() if task.slot]
            hold(len(running) <= house.limits.agents, f"{running} run at once, more than {house.limits.agents}")

    def start_granted(self, schedule: Schedule, granted: str, age_s: float) -> None:
        """A scheduler of that age grants a start: what it knows of, and what it has granted, stays below the cap.

        What runs and it was not told yet is excused, unless it has just started and could have waited for it.
        """
        running = {task.id for known in self.tasks.values() for task in known.values() if task.slot}
        seen = {task.id for task in schedule.tasks() if task.slot}
        out = {task for task, (kind, _) in schedule._granted.items() if kind == "start"} | {granted}
        unheard_of = {task for task in running - seen - out if owner(task) in schedule.repos or age_s > HEARING_S}
        hold(
            len(running | out) <= self.house.limits.agents + len(unheard_of),
            f"{sorted(running | out)} would run at once with {granted}, more than {self.house.limits.agents}",
        )

    def moved(self, git: Repository, commit: Commit, by_thrum: bool) -> None:
        """The branch is about to move to the commit."""
        if not by_thrum:
            return
        task = self.tasks[git.name].get(commit.task)
        hold(task is not None, f"{commit.task} lands, which the store does not know")
        assert task is not None
        hold(task.id not in self.landed, f"{task.id} lands a second time")
        self.landed[task.id] = commit.id
        candidate, attempt = task.candidate, task.attempt
        hold(task.landing, f"{task.id} lands without its intent on record")
        hold(candidate is not None and candidate.commit == commit.id, f"{task.id} lands as another commit")
        assert candidate is not None
        assert attempt is not None
        people = {approval.by for approval in task.approvals if approval.commit == attempt.head}
        needed = self.house.setups[git.name].rules.approvers
        hold(len(people) >= needed, f"{task.id} lands approved by {sorted(people)}")
        for by in people:
            given = {(by, task.id, attempt.head), (by, task.id, "")} & self._approvals
            hold(bool(given), f"{by} never approved {attempt.head} of {task.id}")
        self._check_gates(git, commit, candidate.vector)

    def restarted(self, repo: str, store: Store) -> None:
        """A repo actor's store was opened again: nothing that people were told is gone."""
        loaded = store.load()
        self.tasks[repo] = dict(loaded.tasks)
        told = self._told_seq.get(repo, 0)
        hold(loaded.last_seq >= told, f"{repo} lost event {told}, which was acknowledged")

    def _acknowledged(self, key: str) -> int:
        """The event that an acknowledged command led to."""
        repo, task, kind, _ = self._answers[key]
        store = self.house.reopened(repo)
        found = [event for event in store.events(task) if event.cause == key]
        kinds = {
            "AddTask": {"added"},
            "ApproveTask": {"approved", "approval-given", "no-change-confirmed"},
            "RejectTask": {"rejected"},
            "RetryTask": {"retry-asked", "reopened"},
            "CancelTask": {"cancelled"},
        }[kind]
        told = [event for event in found if event.kind in kinds]
        hold(len(told) == 1, f"{kind} of {task} was acknowledged, and the store has it {len(told)} times")
        return told[0].seq

    def _check_head(self, repo: str, task: Task, attempt: Attempt) -> None:
        """An attempt's head is its own, or the start that an earlier one had made, to which it added nothing."""
        token = attempt.token
        if attempt.head == attempt.start:
            token = next((other.token for other in task.attempts if other.head == attempt.head), token)
            nothing = f"refs/thrum/attempts/{task.id}/{attempt.token}" not in self.house.gits[repo].pins
            hold(nothing, f"{task.id}: attempt {attempt.token} made something, and its start is recorded")
        self._check_made(repo, task.id, token, attempt.head)

    def _check_made(self, repo: str, task: str, token: int, head: str) -> None:
        made = self._made.get((task, token), set())
        hold(head in made, f"{task} records {head[:8]} under token {token}, whose worker made {sorted(made)}")
        pinned = self.house.gits[repo].pins.get(f"refs/thrum/attempts/{task}/{token}")
        hold(pinned == head, f"{head[:8]} of {task}, attempt {token}, is not pinned: {pinned}")

    def _check_gates(self, git: Repository, commit: Commit, vector: Mapping[str, str]) -> None:
        for gate, plan in self.house.setups[git.name].plans.items():
            tied = tuple(sorted(vector.items())) if gate is Gate.INTEGRATION else ()
            for check in plan.checks:
                tree = self.house.gits[check.repo].commits[vector[check.repo]].tree
                ran = (gate, check.name, tree_id(tree), tied) in self._passed
                hold(ran, f"{commit.task} lands, but {check.name} of {gate} never passed on its tree")

    # --- At rest ------------------------------------------------------------------------------------------------

    def unrest(self) -> str:
        """What still has to happen before all is at rest; empty if nothing has."""
        waiting = [key for person in self.house.people for key in person.open_questions]
        if waiting:
            return f"people wait for an answer: {waiting}"
        for repo, tasks in self.tasks.items():
            for task in tasks.values():
                if not self._at_rest(task):
                    return (
                        f"{task.id} is {task.state}, waiting for {task.waiting_for}, slot: {task.slot}: {task.reason}"
                    )
            loaded = self.house.reopened(repo).load()
            if loaded.outbox:
                return f"the outbox of {repo} holds {loaded.outbox}"
            if loaded.records.get("landing", {}).get("task"):
                return f"the landing lock is held: {loaded.records['landing']}"
        return ""

    def at_rest(self) -> None:
        """All that must hold once nothing moves any more."""
        self._check_branches()
        for key in self._answers:
            self._acknowledged(key)
        added = [body for _, _, kind, body in self._answers.values() if kind == "AddTask"]
        known = [task for tasks in self.tasks.values() for task in tasks.values()]
        hold(len(known) == len(added), f"{len(added)} tasks were added, and the stores have {len(known)}")
        for repo, tasks in self.tasks.items():
            self._check_store(repo, tasks)

    def _at_rest(self, task: Task) -> bool:
        """A task has ended, or waits in vain for one that a person must take up again, and says so."""
        if task.state in ENDS:
            return not task.slot
        blocked = task.state is State.PENDING and any(self._never(dependency) for dependency in task.depends_on)
        shown = [person.shown.get(task.id, {}).get("waiting_for") for person in self.house.people]
        return blocked and set(shown) == {"dependency"}

    def _never(self, dependency: str) -> bool:
        task = self.tasks[owner(dependency)][dependency]
        if task.state in (State.FAILED, State.CANCELLED):
            return True
        return task.state is State.PENDING and any(self._never(other) for other in task.depends_on)

    def _check_branches(self) -> None:
        for repo, git in self.house.gits.items():
            on_main = [commit.task for commit in git.first_parents() if commit.task]
            merged = [task for task in self.tasks[repo].values() if task.state is State.MERGED]
            hold(sorted(on_main) == sorted(task.id for task in merged), f"{repo} has {on_main} on its branch")
            for task in merged:
                hold(task.landed == self.landed[task.id], f"{task.id} landed as another commit than it says")

    def _check_store(self, repo: str, tasks: Mapping[str, Task]) -> None:
        store = self.house.reopened(repo)
        hold((found := store.verify()).ok, f"the store of {repo} is damaged: {found.problem}")
        for task in tasks.values():
            first, *rest = store.events(task.id)
            hold(fold(from_plain(Task, first.changes), rest) == task, f"{task.id} is not what its events say")
