"""An agent worker's process: one slot of a repository, its warm clone, and one attempt at a time in it.

A worker writes no refs and decides nothing. What it is doing stands in the slot's journal before it begins, and
goes only when the repo actor has acknowledged the report: whatever kills a worker, the next one in its slot
harvests what the attempt left and reports it. It outlives its repo actor, but not its supervisor.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from thrum import messages as m
from thrum.agents import Invocation, command, read_result, resolve, wall_s
from thrum.config import BackendConfig, RepoConfig, SandboxConfig
from thrum.errors import NotFoundError, ThrumError
from thrum.files import Lock, OutputStore, remove_tree, write_atomically
from thrum.job import Ending, Job, Outcome
from thrum.messages import Envelope
from thrum.records import from_plain, to_plain
from thrum.sandbox import Sandbox, open_sandbox
from thrum.setups import Setups
from thrum.task import AttemptEnding
from thrum.wire import Dealer
from thrum.workspace import Workspace

from . import base, effects

log = logging.getLogger(__name__)

HEARTBEAT_S = 3.0
REPORT_AGAIN_S = 2.0
IDLE_S = 120.0
ALONE_S = 60.0
"""How long a worker goes on without its repo actor."""
OUTPUT_BYTES = 64 * 1024 * 1024

_ENDINGS = {
    Ending.EXITED: AttemptEnding.FINISHED,
    Ending.TIMED_OUT: AttemptEnding.TIMED_OUT,
    Ending.SILENT: AttemptEnding.SILENT,
    Ending.OUTPUT_LIMIT: AttemptEnding.FINISHED,
    Ending.STOPPED: AttemptEnding.STOPPED,
    Ending.NOT_FOUND: AttemptEnding.COULD_NOT_RUN,
    Ending.NOT_STARTED: AttemptEnding.COULD_NOT_RUN,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Journal:
    """What the slot is doing: the attempt it was given and, once that is over, its report."""

    asked: m.RunAttempt
    started_at: float
    report: m.AttemptReported | None = None


class Slot:
    """The slot on disk: its journal, its clone, and how an attempt is run in it. For one thread."""

    def __init__(self, told: base.Situation, repo: RepoConfig, number: str) -> None:
        project = told.project
        work = Path(project.pipeline.engine.worktrees_dir)
        self.directory = work / repo.name / f"slot-{number}"
        self.directory.mkdir(parents=True, exist_ok=True)
        self.repo = repo
        self._project = project
        self._told = told
        self._work = work
        self._journal = self.directory / "attempt.json"
        self._out = self.directory / "out"
        self._outputs = OutputStore(told.places.outputs)

    def journal(self) -> _Journal | None:
        """What the slot was doing when it was last written to."""
        try:
            return from_plain(_Journal, json.loads(self._journal.read_text()))
        except FileNotFoundError:
            return None

    def note(self, journal: _Journal) -> None:
        """Put on disk what the slot is doing, synced."""
        write_atomically(self._journal, json.dumps(to_plain(journal)).encode())

    def clear(self) -> None:
        """Forget the attempt: its work is safe elsewhere."""
        remove_tree(self._out)
        self._journal.unlink(missing_ok=True)

    def run(self, asked: m.RunAttempt, stop: threading.Event, on_output: Any) -> m.AttemptReported:
        """Run an attempt from a clean clone to its harvest; whatever went wrong is in the report."""
        started_at = time.time()
        self.note(_Journal(asked=asked, started_at=started_at))
        remove_tree(self._out)
        self._out.mkdir(parents=True)
        try:
            report = self._attempt(asked, stop, on_output)
        except ThrumError as error:
            reason = f"{error.message} ({error.remedy})" if error.remedy else error.message
            ending = AttemptEnding.COULD_NOT_RUN.value
            report = m.AttemptReported(
                task=asked.task, token=asked.token, ending=ending, reason=reason, started_at=started_at
            )
        return self._finished(asked, report, started_at)

    def salvage(self, journal: _Journal) -> m.AttemptReported:
        """The report of an attempt whose worker was lost: what its clone holds, harvested now."""
        asked = journal.asked
        lost = AttemptEnding.LOST.value
        report = m.AttemptReported(task=asked.task, token=asked.token, ending=lost, reason="its worker was lost")
        backend, _ = resolve(self._project, "implementer")
        sandbox = self._sandbox(backend)
        try:
            workspace = Workspace(self.directory / "clone", self.repo.path, sandbox)
            harvest = workspace.harvest(asked.base, self._out, start=asked.start, message=_subject(asked))
            report = replace(report, bundle=harvest.bundle, head=harvest.head if harvest.bundle else "")
        except ThrumError as error:
            log.warning("nothing could be harvested", extra={"task": asked.task, "reason": error.message})
        finally:
            sandbox.close()
        return self._finished(asked, report, journal.started_at)

    def _finished(self, asked: m.RunAttempt, report: m.AttemptReported, started_at: float) -> m.AttemptReported:
        report = replace(report, started_at=started_at, ended_at=time.time())
        self.note(_Journal(asked=asked, started_at=started_at, report=report))
        return report

    def _attempt(self, asked: m.RunAttempt, stop: threading.Event, on_output: Any) -> m.AttemptReported:
        backend, role = resolve(self._project, "implementer")
        sandbox = self._sandbox(backend)
        try:
            workspace = Workspace(self.directory / "clone", self.repo.path, sandbox)
            workspace.prepare(asked.start)
            place = self._work / self.repo.name / "setup-agents"
            setups = Setups(place, self.repo, sandbox, self._project.pipeline.sandbox)
            provision = setups.provide(asked.start, workspace)
            prompt_file = self._out / "prompt.md"
            prompt_file.write_text(asked.prompt)
            prompt_file.chmod(0o644)
            invocation = command(
                backend,
                prompt=asked.prompt,
                prompt_file=str(prompt_file),
                workdir=str(workspace.tree),
                model=backend.model,
                session=asked.session,
            )
            job = Job(
                argv=invocation.argv,
                cwd=str(workspace.tree),
                env={**self._environment(backend), **provision.env, "THRUM_TASK": asked.task},
                writable=(str(workspace.tree),),
                readable=(*workspace.readable, *provision.readable, str(prompt_file)),
                stdin_path=str(prompt_file) if invocation.stdin else "",
                network=self._network(backend),
                wall_s=wall_s(self._project, role, backend),
                silence_s=backend.silence_secs,
                output_path=str(self._out / "output.log"),
                output_limit_bytes=OUTPUT_BYTES,
                output_limit_ends=False,
                tail_bytes=64 * 1024,
            )
            outcome = sandbox.run(job, on_output=on_output, stop=stop)
            harvest = workspace.harvest(asked.base, self._out, start=asked.start, message=_subject(asked))
            report = self._report(asked, invocation, backend, outcome)
            reason = "; ".join(filter(None, (report.reason, harvest.reason)))
            return replace(report, reason=reason, bundle=harvest.bundle, head=harvest.head if harvest.bundle else "")
        finally:
            sandbox.close()

    def _report(
        self, asked: m.RunAttempt, invocation: Invocation, backend: BackendConfig, outcome: Outcome
    ) -> m.AttemptReported:
        result = read_result(backend, outcome.tail)
        output = self._out / "output.log"
        digest, size = self._outputs.adopt(output) if output.exists() else ("", 0)
        ending, pause_s = _ENDINGS[outcome.ending], 0.0
        if result.rate_limited_until is not None and not outcome.ok:
            ending, pause_s = AttemptEnding.RATE_LIMITED, max(1.0, result.rate_limited_until - time.time())
        return m.AttemptReported(
            task=asked.task,
            token=asked.token,
            ending=ending.value,
            retry_after_s=pause_s,
            reason=outcome.reason,
            exit_code=outcome.exit_code,
            session=result.session,
            cost_usd=result.cost_usd,
            output_digest=digest,
            output_bytes=size,
            tail=outcome.tail[-8000:],
            no_change=result.no_change,
        )

    def _sandbox(self, backend: BackendConfig) -> Sandbox:
        config = self._project.pipeline.sandbox
        paths = (*config.mount_paths, *self.repo.mount_paths, *backend.mount_paths)
        return open_sandbox(
            replace(config, mount_paths=paths),
            name=f"{self._told.places.mark}.{self._told.name}",
            private=(str(self._told.places.state),),
        )

    def _network(self, backend: BackendConfig) -> bool:
        return self._project.pipeline.sandbox.network if backend.network is None else backend.network

    def _environment(self, backend: BackendConfig) -> dict[str, str]:
        """What the agent sees of our environment: the named variables, its key, and what its table sets."""
        config: SandboxConfig = self._project.pipeline.sandbox
        names = (*backend.pass_env, *filter(None, (backend.api_key_env,)))
        passed = {name: os.environ[name] for name in names if name in os.environ}
        return {**config.variables(os.environ), **passed, **backend.env}


class WorkerActor:
    """A worker as a process."""

    done = False

    def __init__(self, told: base.Situation, dealer: Dealer) -> None:
        repo, self._number = _slot_of(told)
        self._dealer = dealer
        self._repo = f"repo.{repo.name}"
        self._slot = Slot(told, repo, self._number)
        self._thread = effects.EffectThread()
        self._stop = threading.Event()
        self._asked: m.RunAttempt | None = None
        self._report: m.AttemptReported | None = None
        self._printed: deque[tuple[int, bytes]] = deque()
        self._offset = 0
        self._beat_at = 0.0
        self._report_at = float("inf")
        self._idle_since = time.time()
        self._seen_at = time.time()
        self._pong = ""
        self._beats: set[str] = set()
        self._missed = False
        self._ending = False

    def start(self, now: float) -> None:
        """Finish what the slot was last doing."""
        journal = self._slot.journal()
        if journal is None:
            return
        self._asked = journal.asked
        if journal.report is not None:
            self._send_report(journal.report, now)
        else:
            self._thread.submit(lambda: effects.Outcome(effect=self._slot.salvage(journal)))

    def step(self, envelopes: list[Envelope], now: float) -> None:
        for outcome in self._thread.outcomes():
            self._send_report(outcome.effect, now)
        for envelope in envelopes:
            self._receive(envelope, now)
        self._pass_output_on()
        if self._report is not None and now >= self._report_at:
            self._send_report(self._report, now)
        if now >= self._beat_at:
            self._beat(now)
        self._consider_ending(now)

    def next_at(self) -> float:
        return min(self._beat_at, self._report_at)

    def wake_fds(self) -> tuple[int, ...]:
        return (self._thread.fd,)

    def standing(self) -> tuple[tuple[str, ...], int, tuple[str, ...]]:
        return (), 0, ()

    def stop(self, now: float) -> None:
        """End the attempt; its report waits in the journal if nobody takes it now."""
        self._ending = True
        self._stop.set()

    def close(self) -> None:
        self._stop.set()
        self._thread.close(deadline_s=15.0)

    # --- Messages -----------------------------------------------------------------------------------------------

    def _receive(self, envelope: Envelope, now: float) -> None:
        body = envelope.body
        match body:
            case m.RunAttempt():
                self._run(body, now)
            case m.StopAttempt():
                self._stop_attempt(body, now)
            case m.AttemptAcknowledged():
                if self._report is not None and (self._report.task, self._report.token) == (body.task, body.token):
                    self._slot.clear()
                    self._asked = self._report = None
                    self._report_at, self._idle_since = float("inf"), now
                    self._beat(now)
            case m.Undeliverable():
                self._missed = self._missed or envelope.header.correlation in self._beats
            case _:
                pass

    def _run(self, body: m.RunAttempt, now: float) -> None:
        if self._asked is None and not self._stop.is_set():
            self._asked = body
            self._offset = 0
            self._thread.submit(lambda: effects.Outcome(effect=self._slot.run(body, self._stop, self._print)))
        if self._report is not None:
            self._send_report(self._report, now)
        self._beat(now)

    def _stop_attempt(self, body: m.StopAttempt, now: float) -> None:
        if self._asked is None:
            # It never came to us, or is over and forgotten: its slot must be freed all the same.
            stopped = AttemptEnding.STOPPED.value
            self._dealer.send(self._repo, m.AttemptReported(task=body.task, token=body.token, ending=stopped))
        elif (self._asked.task, self._asked.token) == (body.task, body.token):
            self._stop.set()
        self._beat(now)

    def _send_report(self, report: m.AttemptReported, now: float) -> None:
        self._report, self._report_at = report, now + REPORT_AGAIN_S
        if not self._ending:
            self._stop.clear()
        self._dealer.send(self._repo, report, attempt=report.token)

    def _beat(self, now: float) -> None:
        """Say what we do, and take note whether there was somebody to hear the last one."""
        if self._dealer.pong != self._pong and not self._missed:
            self._seen_at = now
        self._pong, self._missed = self._dealer.pong, False
        asked = self._asked
        beat = m.AttemptHeartbeat(
            slot=int(self._number), task=asked.task if asked else "", token=asked.token if asked else 0
        )
        self._beats = {self._dealer.send(self._repo, beat, ttl_s=HEARTBEAT_S)}
        self._beat_at = now + HEARTBEAT_S

    def _consider_ending(self, now: float) -> None:
        if now - self._seen_at > ALONE_S:
            log.warning("the repo actor stays away; ending")
            self.done = True
        if self._asked is None and (self._ending or now - self._idle_since > IDLE_S):
            self.done = True

    # --- Output -------------------------------------------------------------------------------------------------

    def _print(self, data: bytes) -> None:
        """Called in the attempt's thread with each piece of output."""
        self._printed.append((self._offset, data))
        self._offset += len(data)
        os.eventfd_write(self._thread.fd, 1)

    def _pass_output_on(self) -> None:
        asked = self._asked
        while self._printed and asked is not None:
            offset, data = self._printed.popleft()
            text = data.decode(errors="replace")
            output = m.AgentOutput(task=asked.task, token=asked.token, offset=offset, text=text)
            self._dealer.send(f"topic:output.{asked.task}", output, ttl_s=10.0)


def _subject(asked: m.RunAttempt) -> str:
    return f"Work on {asked.task}, attempt {asked.token}"


def _slot_of(told: base.Situation) -> tuple[RepoConfig, str]:
    """The repository and the number of the slot that the worker's name stands for."""
    repo_name, _, number = told.name.removeprefix("worker.").rpartition(".")
    repo = told.project.repo(repo_name)
    if repo is None:
        raise NotFoundError(f"the configuration has no repository {repo_name!r}")
    return repo, number


def _slot_lock(told: base.Situation) -> Lock:
    """Hold the slot: a worker that outlived its repo actor keeps it, and whoever is sent to replace it ends."""
    repo, number = _slot_of(told)
    slot = Path(told.project.pipeline.engine.worktrees_dir) / repo.name / f"slot-{number}"
    slot.mkdir(parents=True, exist_ok=True)
    return Lock(slot / "lock", kind="worker")


def main(argv: list[str] | None = None) -> int:
    """The process `python -m thrum.actors.worker`."""
    args = base.parser("A worker: one slot of a repository").parse_args(argv)
    return base.main(args, WorkerActor, guard=_slot_lock)


if __name__ == "__main__":
    sys.exit(main())
