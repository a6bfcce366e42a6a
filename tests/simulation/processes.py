"""The scheduler around its real machine, and simulated workers and gate actors with the habits of the real ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tests.simulation.bus import Process
from tests.simulation.git import Tree, commit, is_good, tree_id
from tests.simulation.world import FAR, Killed
from thrum.actors.scheduler import SchedulerMachine
from thrum.failures import Failure
from thrum.gate import Check, CheckResult, Gate, Verdict
from thrum.messages import kinds as m
from thrum.names import owner
from thrum.task import AttemptEnding

if TYPE_CHECKING:
    from tests.simulation.house import Simulation

PING_S = 2.0


class SchedulerProcess(Process):
    """One life of the scheduler."""

    def __init__(self, house: Simulation) -> None:
        super().__init__(house.world, house.bus, "scheduler")
        self.house = house
        self.machine = SchedulerMachine(house.limits, tuple(house.gits), work=True, send=self._grant)
        self._ping_at = 0.0
        self._born_at = self.world.now

    def start(self) -> None:
        for repo in self.house.gits:
            self.send(f"repo.{repo}", m.AnnounceAgain())

    def step(self) -> None:
        while self.inbox:
            self.machine.receive(self.inbox.popleft(), self.world.now)
        self.machine.tick(self.world.now)
        if self.world.now >= self._ping_at:
            self._ping_at = self.world.now + PING_S
            self.send("broker", m.Ping())

    def next_at(self) -> float:
        return min(self.machine.next_at(), self._ping_at)

    def _grant(self, destination: str, body: m.Message, **more: str) -> str:
        if isinstance(body, m.GrantStart):
            age_s = self.world.now - self._born_at
            self.house.promises.start_granted(self.machine.schedule, body.task, age_s)
        return self.send(destination, body, correlation=more.get("correlation", ""))


@dataclass
class Slot:
    """What a slot has on disk, synced: the attempt under way and, once that is over, its report."""

    name: str
    asked: m.RunAttempt | None = None
    report: m.AttemptReported | None = None
    started_at: float = 0.0


class WorkerProcess(Process):
    """One life of a worker; see `thrum.actors.worker`."""

    HEARTBEAT_S = 3.0
    REPORT_AGAIN_S = 2.0
    IDLE_S = 120.0
    ALONE_S = 60.0

    def __init__(self, house: Simulation, slot: Slot) -> None:
        super().__init__(house.world, house.bus, slot.name)
        self.house = house
        self.slot = slot
        self.repo = f"repo.{slot.name.split('.')[1]}"
        self.git = house.gits[slot.name.split(".")[1]]
        self.working = False
        self._stop = False
        self._beat_at = self._report_at = 0.0
        self._beat = ""
        self._missed = False
        self._seen_at = self._idle_since = self.world.now

    def start(self) -> None:
        slot = self.slot
        if slot.asked is not None and slot.report is None:
            self.later(self.world.between(0.05, 0.5), self._salvage)

    def step(self) -> None:
        now = self.world.now
        while self.inbox:
            self._receive(self.inbox.popleft())
        if self.slot.report is not None and now >= self._report_at:
            self._send_report()
        if now >= self._beat_at:
            self._send_beat()
        if now - self._seen_at > self.ALONE_S:
            raise Killed("the repo actor stays away")
        if self.slot.asked is None and now - self._idle_since > self.IDLE_S:
            self.send("broker", m.Leave())
            raise Killed("idle")

    def next_at(self) -> float:
        return min(self._beat_at, self._report_at if self.slot.report is not None else FAR)

    def _receive(self, envelope: m.Envelope) -> None:
        slot, body = self.slot, envelope.body
        match body:
            case m.RunAttempt():
                if slot.asked is None:
                    slot.asked, slot.started_at = body, self.world.now
                    self.working, self._stop = True, False
                    duration_s = self.world.between(0.5, 60.0 if self.world.unlucky(0.1) else 15.0)
                    self.later(duration_s, lambda: self._finish(body))
                self._send_beat()
            case m.StopAttempt():
                self._stop_attempt(body)
            case m.AttemptAcknowledged():
                done = slot.report
                if done is not None and (done.task, done.token) == (body.task, body.token):
                    slot.asked = slot.report = None
                    self._idle_since = self.world.now
                    self._send_beat()
            case m.Undeliverable():
                self._missed = self._missed or envelope.header.correlation == self._beat
            case _:
                pass

    def _stop_attempt(self, body: m.StopAttempt) -> None:
        asked = self.slot.asked
        if asked is None:
            stopped = AttemptEnding.STOPPED.value
            self.send(self.repo, m.AttemptReported(task=body.task, token=body.token, ending=stopped))
        elif (asked.task, asked.token) == (body.task, body.token) and self.working and not self._stop:
            self._stop = True
            self.later(self.world.between(0.05, 0.5), lambda: self._finish(asked, stopped=True))
        self._send_beat()

    def _finish(self, asked: m.RunAttempt, *, stopped: bool = False) -> None:
        if not self.working or self.slot.asked is not asked or (self._stop and not stopped):
            return
        self.working = False
        report = m.AttemptReported(task=asked.task, token=asked.token, ending=AttemptEnding.FINISHED.value)
        fate = self.world.rng.random()
        if stopped:
            report = replace(report, ending=AttemptEnding.STOPPED.value)
        elif self.world.unlucky(0.06):
            report = replace(report, ending=AttemptEnding.TIMED_OUT.value)
        elif self.world.unlucky(0.04):
            report = replace(report, failure=self.world.rng.choice(list(Failure)).value, retry_after_s=10.0)
        elif self.world.unlucky(0.03):
            report = replace(report, ending=AttemptEnding.COULD_NOT_RUN.value, reason="no such program")
        elif self.world.unlucky(0.04):
            report = replace(report, no_change="it is there already")
        if not report.no_change and not (self.world.faulty and fate < 0.08):
            report = self._with_work(report, asked)
        self._written(report)

    def _salvage(self) -> None:
        """Report what a life that was lost has left."""
        asked = self.slot.asked
        assert asked is not None
        report = m.AttemptReported(task=asked.task, token=asked.token, ending=AttemptEnding.LOST.value)
        if self.world.rng.random() < 0.5:
            report = self._with_work(report, asked)
        self._written(report)

    def _worked(self, asked: m.RunAttempt) -> Tree:
        """The tree that the agent leaves: its work, at times marred, at times in others' way; a retry mends it."""
        rng, task = self.world.rng, asked.task
        tree = dict(self.git.commits[asked.start].tree)
        base = dict(self.git.commits[asked.base].tree)
        tree[f"work/{task}"] = str(asked.token)
        if not is_good(frozenset(tree.items())):
            tree = {path: base.get(path, task) if text == "<<<" else text for path, text in tree.items()}
            tree.pop(f"bad/{task}", None)
            for colour in ("red", "blue"):
                if colour not in base and {"red", "blue"} <= tree.keys():
                    tree.pop(colour)
        if self.world.faulty:
            if rng.random() < 0.35:
                tree[f"shared/{rng.randrange(3)}"] = f"{task}.{asked.token}"
            if rng.random() < 0.2:
                tree[f"bad/{task}"] = str(asked.token)
            if rng.random() < 0.15:
                tree[rng.choice(("red", "blue"))] = task
        return frozenset(tree.items())

    def _with_work(self, report: m.AttemptReported, asked: m.RunAttempt) -> m.AttemptReported:
        """The report with a bundle of what the agent has done."""
        self.house.births += 1
        made = commit(self._worked(asked), (asked.start,), salt=f"{self.house.births}")
        self.house.bundles[made.id] = made
        self.house.promises.made(asked.task, asked.token, made.id)
        return replace(report, bundle=made.id, head=made.id)

    def _written(self, report: m.AttemptReported) -> None:
        self.slot.report = replace(report, started_at=self.slot.started_at, ended_at=self.world.now)
        if self.world.unlucky(0.05):
            raise Killed("the report is in the journal")
        self._send_report()
        self.poke(self._report_at)

    def _send_report(self) -> None:
        assert self.slot.report is not None
        self._report_at = self.world.now + self.REPORT_AGAIN_S
        self.send(self.repo, self.slot.report, attempt=self.slot.report.token)

    def _send_beat(self) -> None:
        if not self._missed:
            self._seen_at = self.world.now
        self._missed = False
        asked = self.slot.asked
        number = int(self.name.rpartition(".")[2])
        beat = m.AttemptHeartbeat(slot=number, task=asked.task if asked else "", token=asked.token if asked else 0)
        self._beat = self.send(self.repo, beat)
        self._beat_at = self.world.now + self.HEARTBEAT_S


class GateProcess(Process):
    """One life of a gate actor; see `thrum.actors.gate`. Its verdict follows from the tree alone."""

    POOL = "gate@local"
    HEARTBEAT_S = 5.0

    def __init__(self, house: Simulation, name: str) -> None:
        super().__init__(house.world, house.bus, name)
        self.house = house
        self._current: tuple[m.RunGate, dict[str, None]] | None = None
        self._answers: dict[str, m.GateReported] = {}
        self._pong = ""
        self._ping_at = 0.0
        self._beat_at = FAR

    def stop(self) -> None:
        """End in good order in the middle of a run: what it has of the result may still go out."""
        if self._current is not None:
            asked, askers = self._current
            done = asked.checks[: self.world.rng.randrange(len(asked.checks))]
            self._report(asked, askers, tuple(self._check(asked, check) for check in done))
        self.send("broker", m.Leave())
        raise Killed("stopped in good order")

    def step(self) -> None:
        while self.inbox:
            self._receive(self.inbox.popleft())
        if self.world.now >= self._beat_at:
            self._beat()
        if self.world.now >= self._ping_at:
            self._ping()

    def next_at(self) -> float:
        return min(self._ping_at, self._beat_at)

    def _ping(self) -> None:
        self._ping_at = self.world.now + PING_S
        credit = 0 if self._current is not None else 1
        self.send("broker", m.Ping(pools=(self.POOL,), credit=credit), correlation=self._pong)

    def _receive(self, envelope: m.Envelope) -> None:
        header, body = envelope.header, envelope.body
        match body:
            case m.Pong():
                self._pong = header.id
            case m.RunGate() if body.run in self._answers:
                self.send(header.sender, self._answers[body.run], correlation=header.id)
            case m.RunGate() if self._current is not None:
                if self._current[0].run == body.run:
                    self._current[1][header.sender] = None
            case m.RunGate():
                self._current = (body, {header.sender: None})
                self.later(self.world.between(0.1, 8.0), self._finish(body))
                self._beat()
                self._ping()
            case m.StopGate() if self._current is not None and self._current[0].run == body.run:
                asked, askers = self._current
                self._report(asked, askers, ())
            case _:
                pass

    def _finish(self, asked: m.RunGate) -> Callable[[], None]:
        def finish() -> None:
            if self._current is not None and self._current[0] is asked:
                checks = self._checks(asked)
                self._report(asked, self._current[1], checks)
                self._answers[asked.run] = m.GateReported(run=asked.run, checks=checks)

        return finish

    def _report(self, asked: m.RunGate, askers: dict[str, None], checks: tuple[CheckResult, ...]) -> None:
        for asker in askers:
            self.send(asker, m.GateReported(run=asked.run, checks=checks), correlation=asked.run)
        self._current, self._beat_at = None, FAR
        self._ping()

    def _checks(self, asked: m.RunGate) -> tuple[CheckResult, ...]:
        results: list[CheckResult] = []
        for check in asked.checks:
            results.append(self._check(asked, check))
            if asked.gate is Gate.INTEGRATION and results[-1].verdict is not Verdict.PASSED:
                break
        return tuple(results)

    def _check(self, asked: m.RunGate, check: Check) -> CheckResult:
        tree = self.house.gits[check.repo].commits[asked.vector[check.repo]].tree
        if self.world.unlucky(0.03):
            return CheckResult(name=check.name, verdict=Verdict.COULD_NOT_RUN, reason="no such tool")
        if not is_good(tree):
            return CheckResult(name=check.name, verdict=Verdict.FAILED, exit_code=1, tail="bad")
        self.house.promises.passed(asked.gate, check.name, tree_id(tree), asked.vector)
        return CheckResult(name=check.name, verdict=Verdict.PASSED, exit_code=0)

    def _beat(self) -> None:
        assert self._current is not None
        for asker in self._current[1]:
            self.send(asker, m.GateHeartbeat(run=self._current[0].run))
        self._beat_at = self.world.now + self.HEARTBEAT_S


def repo_of(task: str) -> str:
    """The repository that a task belongs to."""
    return owner(task)
