"""A repo actor's process without its disk and git: the real ledger and store between a simulated world's effects.

It does things in the order of `thrum.actors.repo`, and may die between any two of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.simulation.bus import Process
from tests.simulation.git import tree_id
from tests.simulation.world import Killed
from thrum import inputs as i
from thrum.actors.turn import ImportAttempt
from thrum.failures import Failure
from thrum.messages import kinds as m
from thrum.task import AttemptEnding

if TYPE_CHECKING:
    from tests.simulation.house import Simulation

STOP_S = 20.0


class RepoProcess(Process):
    """One life of a repo actor."""

    def __init__(self, house: Simulation, repo: str) -> None:
        super().__init__(house.world, house.bus, f"repo.{repo}")
        self.house = house
        self.repo = repo
        self.git = house.gits[repo]
        self.store = house.plan.open_store(house.rows[repo], repo)
        self.ledger = house.plan.make_ledger(house.setups[repo], self.store.load(), self.incarnation)
        self.stop_by = 0.0
        self._todo: deque[Any] = deque()
        self._done: deque[tuple[Any, i.Input]] = deque()
        self._children: dict[str, Process] = {}

    def start(self) -> None:
        self.ledger.start(self.world.now)
        self._commit()

    def stop(self) -> None:
        """End in good order: have the attempts ended first."""
        self.stop_by = self.world.now + STOP_S
        self.ledger.stop_attempts(self.world.now)
        self.poke(self.world.now)

    def step(self) -> None:
        now = self.world.now
        while self._done:
            effect, given = self._done.popleft()
            if isinstance(effect, ImportAttempt):
                assert isinstance(given, i.AttemptEnded)
                self.ledger.reported(effect, given, now)
            else:
                self.ledger.complete(effect.task, given, now)
        self._may_die("outcomes taken in")
        while self.inbox:
            self.ledger.receive(self.inbox.popleft(), now)
        for worker in [name for name, process in self._children.items() if not process.alive]:
            del self._children[worker]
            self.ledger.worker_gone(worker, now)
        self.ledger.tick(now)
        self._may_die("messages taken in")
        self._commit()
        if self.stop_by and (now >= self.stop_by or not self.ledger.attempts_under_way(self._children)):
            self.send("broker", m.Leave())
            raise Killed("stopped in good order")

    def next_at(self) -> float:
        return min(self.ledger.next_at(), self.stop_by or self.ledger.next_at())

    def _commit(self) -> None:
        turn = self.ledger.turn(self.world.now)
        if turn.batch is not None:
            self._may_die("before the write")
            self.store.write(turn.batch)
            self.house.promises.written(self.repo, turn.batch, self.ledger.tasks)
            self._may_die("written")
        for send in turn.sends:
            self.send(send.destination, send.body, id=send.id or None, correlation=send.correlation)
            self._may_die("sent")
        for effect in turn.effects:
            self._carry_out(effect)
            self._may_die("effect begun")

    def _may_die(self, point: str) -> None:
        if self.world.unlucky(self.house.plan.crash):
            raise Killed(point, power=self.world.unlucky(0.15))

    # --- Effects --------------------------------------------------------------------------------------------------

    def _carry_out(self, effect: Any) -> None:
        match effect:
            case i.BeginAttempt():
                self._begin_attempt(effect)
            case i.EndAttempt():
                self._see_worker(effect.worker)
                self.send(effect.worker, m.StopAttempt(task=effect.task, token=effect.token))
            case _:
                self._todo.append(effect)
                if len(self._todo) == 1:
                    self.later(self._effect_s(), self._work)

    def _effect_s(self) -> float:
        return self.world.between(0.005, 1.0 if self.world.unlucky(0.1) else 0.1)

    def _begin_attempt(self, effect: i.BeginAttempt) -> None:
        task = self.ledger.tasks[effect.task]
        attempt = task.attempt
        assert attempt is not None
        assert attempt.backend, f"{task.id}: attempt {attempt.token} was begun before it was prepared"
        self._see_worker(attempt.worker)
        body = m.RunAttempt(
            task=task.id,
            token=attempt.token,
            base=attempt.base,
            start=attempt.start,
            prompt=str(len(task.setbacks)),
            backend=attempt.backend,
        )
        self.send(attempt.worker, body, attempt=attempt.token)

    def _see_worker(self, worker: str) -> None:
        if worker in self._children or self.stop_by:
            return
        process = self.house.worker(worker)
        self._children[worker] = process

    def child_died(self, process: Process) -> None:
        """A signal that a worker of ours ended."""
        if process in self._children.values():
            self.poke(self.world.now)

    def _work(self) -> None:
        """The effect thread: one thing after the other."""
        effect = self._todo[0]
        given = self._effect(effect)
        self._may_die("effect done")
        self._todo.popleft()
        self._done.append((effect, given))
        self.poke(self.world.now)
        if self._todo:
            self.later(self._effect_s(), self._work)

    def _effect(self, effect: Any) -> i.Input:
        carry_out: dict[type, Callable[[Any], i.Input]] = {
            i.PrepareAttempt: self._prepare_attempt,
            ImportAttempt: self._import_attempt,
            i.BuildCandidate: self._build_candidate,
            i.MoveBranch: self._move_branch,
        }
        return carry_out[type(effect)](effect)

    def _prepare_attempt(self, effect: i.PrepareAttempt) -> i.Input:
        if self.world.unlucky(0.03):
            return i.AttemptBlocked(token=effect.token, reason="the disk is full")
        ref = f"refs/thrum/bases/{effect.task}/{effect.token}"
        base = self.git.pins.get(ref) or effect.base or self.git.tip
        self.git.pin(ref, base)
        self._may_die("base pinned")
        return i.AttemptPrepared(
            token=effect.token,
            base=base,
            start=effect.start or base,
            backend=self.ledger.setup.backends[effect.fallbacks],
            model="",
            prompt_digest="",
            fallbacks=effect.fallbacks,
        )

    def _import_attempt(self, effect: ImportAttempt) -> i.Input:
        report = effect.report
        head = tree = base_tree = reason = ""
        files: tuple[str, ...] = ()
        if report.bundle:
            ref = f"refs/thrum/attempts/{report.task}/{report.token}"
            if self.git.pins.get(ref, report.bundle) != report.bundle:
                reason = "the ref is taken by another commit"
            else:
                head = report.bundle
                self.git.add(self.house.bundles[head])
                self.git.pin(ref, head)
                self._may_die("attempt pinned")
                tree, base_tree = (tree_id(self.git.commits[one].tree) for one in (head, effect.base))
                files = self.git.changed(effect.base, head)
        return i.AttemptEnded(
            token=report.token,
            ending=AttemptEnding(report.ending),
            reason=reason or report.reason,
            exit_code=report.exit_code,
            head=head,
            tree=tree,
            base_tree=base_tree,
            files=files,
            no_change=report.no_change,
            failure=Failure(report.failure) if report.failure else None,
            retry_after_s=report.retry_after_s,
            started_at=report.started_at,
            ended_at=report.ended_at,
        )

    def _build_candidate(self, effect: i.BuildCandidate) -> i.Input:
        if self.world.unlucky(0.03):
            return i.CandidateBlocked(reason="the disk is full")
        tip = self.git.tip
        made, conflicts = self.git.merge(tip, effect.head, effect.task)
        self.git.add(made)
        self._may_die("candidate made")
        if conflicts:
            self.git.pin(f"refs/thrum/starts/{effect.task}/{made.id}", made.id)
            return i.CandidateConflicted(base=tip, start=made.id, paths=conflicts)
        self.git.pin(f"refs/thrum/candidates/{effect.task}/{made.id}", made.id)
        vector = {name: self.house.gits[name].tip for name in self.ledger.setup.integration_set}
        landed = set(self.git.changed(effect.attempt_base, tip))
        return i.CandidateBuilt(
            base=tip,
            commit=made.id,
            tree=tree_id(made.tree),
            vector={**vector, self.repo: made.id},
            overlap=tuple(sorted(landed.intersection(effect.files))),
        )

    def _move_branch(self, effect: i.MoveBranch) -> i.Input:
        git = self.git
        if git.tip == effect.new or (git.tip != effect.old and effect.new in git.ancestors(git.tip)):
            return i.BranchLanded(commit=effect.new)
        for name in effect.vector:
            if name != self.repo and (tip := self.house.gits[name].tip) != effect.vector[name]:
                return i.BranchMoved(tip=tip, repo=name)
        if self.world.unlucky(0.05):
            return i.BranchBlocked(reason="a checkout of it is dirty", checkout=True)
        if not git.swap(effect.old, effect.new, thrum=True):
            return i.BranchMoved(tip=git.tip, repo=self.repo)
        self._may_die("branch moved")
        return i.BranchLanded(commit=effect.new)
