"""A gate actor's process: takes gate runs from its pool one at a time and runs their checks in a sandbox.

It keeps no state that matters: a report that got lost is asked for again, and is given from memory or made anew.
Every check has a clean checkout of the exact commit; its definition comes with the run, never from the checkout.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

from thrum.checks import fill, first_program
from thrum.config import Project, RepoConfig
from thrum.errors import NotFoundError, ThrumError, words
from thrum.files import OutputStore, remove_tree
from thrum.gate import Check, CheckResult, Gate, Verdict
from thrum.job import Ending, Job, Outcome
from thrum.messages import Envelope
from thrum.messages.gates import GateHeartbeat, GateReported, RunGate, StopGate
from thrum.runners import ran_nothing
from thrum.sandbox import Sandbox, open_sandbox
from thrum.sandbox.process import StopEvent
from thrum.setups import Setups, shell
from thrum.values import dataclass
from thrum.wire import Dealer
from thrum.workspace import Workspace

from . import base
from .background import Background

log = logging.getLogger(__name__)

POOL = "gate@local"
HEARTBEAT_S = 5.0
REMEMBERED = 200
TAIL_CHARS = 12_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rooms:
    """What running checks of one repository needs; kept warm from run to run."""

    repo: RepoConfig
    sandbox: Sandbox
    workspace: Workspace
    setups: Setups


class CheckRunner:
    """Runs checks, each on a clean checkout; for one thread."""

    def __init__(self, project: Project, outputs: OutputStore, directory: Path, owner: str) -> None:
        """`directory` is this runner's own place for checkouts, `owner` its unique name."""
        self._project = project
        self._outputs = outputs
        self._directory = directory
        self._owner = owner
        self._rooms: dict[str, _Rooms] = {}

    def run(self, asked: RunGate, stop: threading.Event) -> GateReported:
        """Run the checks in order. Steps of an integration pipeline build on each other: the first that does not
        pass is the last that runs. Of a run that is stopped the check under way says nothing."""
        started_at = time.time()
        results: list[CheckResult] = []
        for check in asked.checks:
            result = self._check(asked, check, stop, first=not results)
            if stop.is_set():
                break
            results.append(result)
            if asked.gate is Gate.INTEGRATION and result.verdict is not Verdict.PASSED:
                break
        return GateReported(run=asked.run, checks=tuple(results), started_at=started_at, ended_at=time.time())

    def close(self) -> None:
        """Let go of the sandboxes."""
        for rooms in self._rooms.values():
            rooms.sandbox.close()

    def _check(self, asked: RunGate, check: Check, stop: threading.Event, *, first: bool) -> CheckResult:
        command = check.command if isinstance(check.command, str) else " ".join(check.command)
        out = self._directory / "run"
        try:
            if first:
                remove_tree(out)
                out.mkdir(parents=True)
            rooms = self._room(check.repo)
            rooms.workspace.prepare(asked.vector[check.repo])
            return self._run_in(rooms, asked, check, out, stop)
        except (ThrumError, OSError) as error:
            reason = words(error)
            return CheckResult(name=check.name, verdict=Verdict.COULD_NOT_RUN, reason=reason, command=command)

    def _run_in(self, rooms: _Rooms, asked: RunGate, check: Check, out: Path, stop: threading.Event) -> CheckResult:
        commit = asked.vector[check.repo]
        provision = rooms.setups.provide(commit, rooms.workspace, stop=stop)
        shared = out / "output"
        if not shared.exists():
            shared.mkdir()
            if rooms.sandbox.uid is not None:
                os.chown(shared, rooms.sandbox.uid, rooms.sandbox.uid)
        command = fill(check.command, {"fixture": asked.fixture, "output_dir": str(shared)})
        program = first_program(command)
        text = command if isinstance(command, str) else " ".join(command)
        if program and not rooms.sandbox.which(program):
            reason = f"the program {program!r} is not to be found in the sandbox"
            return CheckResult(name=check.name, verdict=Verdict.COULD_NOT_RUN, reason=reason, command=text)
        fixture = (asked.fixture,) if asked.fixture else ()
        output = out / f"{len(list(out.iterdir()))}.log"
        job = Job(
            argv=shell(command),
            cwd=str(rooms.workspace.tree),
            env={**self._project.pipeline.sandbox.variables(os.environ), **provision.env, **check.env},
            writable=(str(rooms.workspace.tree), str(shared)),
            readable=(*rooms.workspace.readable, *provision.readable, *fixture),
            network=check.network,
            wall_s=check.timeout_s,
            output_path=str(output),
            tail_bytes=64 * 1024,
        )
        return self._result(check, text, rooms.sandbox.run(job, stop=stop), output)

    def _result(self, check: Check, command: str, outcome: Outcome, output: Path) -> CheckResult:
        verdict, reason = judge(check, outcome)
        digest = self._outputs.adopt(output)[0] if outcome.output_bytes else ""
        return CheckResult(
            name=check.name,
            verdict=verdict,
            exit_code=outcome.exit_code,
            duration_s=outcome.duration_s,
            reason=reason,
            command=command,
            tail=outcome.tail[-TAIL_CHARS:],
            output_digest=digest,
            output_bytes=outcome.output_bytes,
        )

    def _room(self, name: str) -> _Rooms:
        repo = self._project.repo(name)
        if repo is None:
            raise NotFoundError(f"the configuration has no repository {name!r}")
        if name not in self._rooms:
            config = self._project.pipeline.sandbox
            sandbox = open_sandbox(
                replace(config, mount_paths=(*config.mount_paths, *repo.mount_paths)),
                name=f"{self._owner}.{repo.name}",
                private=(str(Path(self._project.directory, ".thrum")),),
            )
            work = Path(self._project.pipeline.engine.worktrees_dir)
            self._rooms[name] = _Rooms(
                repo=repo,
                sandbox=sandbox,
                workspace=Workspace(self._directory / repo.name, repo.path, sandbox),
                setups=Setups(work / repo.name / "setup-gates", repo, sandbox, config),
            )
        return self._rooms[name]


def judge(check: Check, outcome: Outcome) -> tuple[Verdict, str]:
    """The verdict on a run: passed is only what ran to its end, exited 0 and, where that is asked, ran a test."""
    match outcome.ending:
        case Ending.NOT_FOUND | Ending.NOT_STARTED:
            return Verdict.COULD_NOT_RUN, outcome.reason
        case Ending.EXITED if outcome.exit_code == 0:
            nothing = ran_nothing(outcome.tail) if check.expect_tests else ""
            return (Verdict.FAILED, nothing) if nothing else (Verdict.PASSED, "")
        case _:
            return Verdict.FAILED, outcome.reason or f"exit code {outcome.exit_code}"


class GateActor:
    """A gate actor as a process."""

    done = False

    def __init__(self, told: base.Situation, dealer: Dealer) -> None:
        self._dealer = dealer
        directory = Path(told.project.pipeline.engine.worktrees_dir) / told.name
        outputs = OutputStore(told.places.outputs)
        self._runner = CheckRunner(told.project, outputs, directory, f"{told.places.mark}.{told.name}")
        self._thread = Background[GateReported]()
        self._current: tuple[RunGate, set[str], threading.Event] | None = None
        self._answers: OrderedDict[str, GateReported] = OrderedDict()
        self._heartbeat_at = float("inf")

    def start(self, now: float) -> None:
        """Nothing to take up."""

    def step(self, envelopes: list[Envelope], now: float) -> None:
        for reported in self._thread.outcomes():
            self._report(reported)
        for envelope in envelopes:
            self._receive(envelope, now)
        if now >= self._heartbeat_at and self._current is not None:
            self._beat(now)

    def next_at(self) -> float:
        return self._heartbeat_at

    def wake_fds(self) -> tuple[int, ...]:
        return (self._thread.fd,)

    def standing(self) -> tuple[tuple[str, ...], int, tuple[str, ...]]:
        return (POOL,), 0 if self._current is not None or self.done else 1, ()

    def stop(self, now: float) -> None:
        if self._current is not None:
            self._current[2].set()
        self.done = True

    def close(self) -> None:
        self._thread.close(deadline_s=15.0)
        self._runner.close()

    def _receive(self, envelope: Envelope, now: float) -> None:
        header, body = envelope.header, envelope.body
        match body:
            case RunGate() if body.run in self._answers:
                self._dealer.send(header.sender, self._answers[body.run], correlation=header.id)
            case RunGate() if self._current is not None:
                if self._current[0].run == body.run:
                    self._current[1].add(header.sender)
                # Any other was sent on an outdated credit: it is asked for again.
            case RunGate():
                stop = StopEvent()
                self._current = (body, {header.sender}, stop)
                self._thread.submit(lambda: self._runner.run(body, stop))
                self._beat(now)
            case StopGate():
                if self._current is not None and self._current[0].run == body.run:
                    self._current[2].set()
            case _:
                pass

    def _beat(self, now: float) -> None:
        assert self._current is not None
        for asker in self._current[1]:
            self._dealer.send(asker, GateHeartbeat(run=self._current[0].run))
        self._heartbeat_at = now + HEARTBEAT_S

    def _report(self, reported: GateReported) -> None:
        assert self._current is not None
        asked, askers, stop = self._current
        self._current, self._heartbeat_at = None, float("inf")
        if stop.is_set():
            reported = replace(reported, checks=())  # what was cut short says nothing: it is asked for again
        for asker in askers:
            # The id of a question is its run: the broker knows by it that this actor is free again.
            self._dealer.send(asker, reported, correlation=asked.run)
        if not stop.is_set():
            self._answers[asked.run] = reported
            while len(self._answers) > REMEMBERED:
                self._answers.popitem(last=False)


def main(argv: list[str] | None = None) -> int:
    """The process `python -m thrum.actors.gate`."""
    return base.entry(argv, "An actor that runs gates", GateActor)


if __name__ == "__main__":
    sys.exit(main())
