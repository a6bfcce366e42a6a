"""One slot of a repository on disk: its journal, its warm clone, and how an attempt is run in it.

What the slot is doing stands in its journal, synced, before it begins, and is cleared only when the repo actor has
the outcome: whatever is killed, the next worker in the slot finds it. No bus is known here.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from thrum.agents import Invocation, command, read_result, resolve, wall_s
from thrum.allowlist import reach
from thrum.config import BackendConfig, RepoConfig
from thrum.errors import GitError, ThrumError, words
from thrum.files import OutputStore, remove_tree, write_atomically
from thrum.job import Ending, Job, Outcome
from thrum.masking import secrets
from thrum.messages.attempts import AttemptReported, RunAttempt
from thrum.records import from_plain, to_plain
from thrum.sandbox import Sandbox, open_sandbox
from thrum.setups import Setups
from thrum.task import AttemptEnding
from thrum.values import dataclass
from thrum.workspace import Harvest, Workspace

from . import base

log = logging.getLogger(__name__)

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


def directory_of(told: base.Situation, repo: RepoConfig, number: str) -> Path:
    """Where the slot lies."""
    return Path(told.project.pipeline.engine.worktrees_dir) / repo.name / f"slot-{number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """What the slot is doing: the attempt it was given and, once that is over, its report."""

    asked: RunAttempt
    started_at: float
    report: AttemptReported | None = None


class Slot:
    """The slot on disk: its journal, its clone, and how an attempt is run in it. For one thread."""

    def __init__(self, told: base.Situation, repo: RepoConfig, number: str) -> None:
        project = told.project
        work = Path(project.pipeline.engine.worktrees_dir)
        self.directory = directory_of(told, repo, number)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.repo = repo
        self._project = project
        self._told = told
        self._work = work
        self._journal = self.directory / "attempt.json"
        self._out = self.directory / "out"
        self._clone = self.directory / "clone"
        self._outputs = OutputStore(told.places.outputs)
        self._room: tuple[Sandbox, Workspace] | None = None

    def close(self) -> None:
        """Let go of the sandbox."""
        if self._room is not None:
            self._room[0].close()
            self._room = None

    def journal(self) -> Journal | None:
        """What the slot was doing when it was last written to."""
        try:
            return from_plain(Journal, json.loads(self._journal.read_text()))
        except FileNotFoundError:
            return None

    def note(self, journal: Journal) -> None:
        """Put on disk what the slot is doing, synced."""
        write_atomically(self._journal, json.dumps(to_plain(journal)).encode())

    def clear(self) -> None:
        """Forget the attempt: its work is safe elsewhere."""
        remove_tree(self._out)
        self._journal.unlink(missing_ok=True)

    def run(self, asked: RunAttempt, stop: threading.Event, on_output: Callable[[bytes], None]) -> AttemptReported:
        """Run an attempt from a clean clone to its harvest; whatever went wrong is in the report."""
        started_at = time.time()
        try:
            self.note(Journal(asked=asked, started_at=started_at))
            remove_tree(self._out)
            self._out.mkdir(parents=True)
            report = self._attempt(asked, stop, on_output)
        except (ThrumError, OSError) as error:
            ending = AttemptEnding.STOPPED if stop.is_set() else AttemptEnding.COULD_NOT_RUN
            report = AttemptReported(task=asked.task, token=asked.token, ending=ending.value, reason=words(error))
        if report.ending == AttemptEnding.COULD_NOT_RUN:
            self.close()  # it may be the sandbox that is broken: the next attempt tries it out anew
        return self._finished(asked, report, started_at)

    def salvage(self, journal: Journal) -> AttemptReported:
        """The report of an attempt whose worker was lost: what its clone holds, harvested now."""
        asked = journal.asked
        lost = AttemptEnding.LOST.value
        report = AttemptReported(task=asked.task, token=asked.token, ending=lost, reason="its worker was lost")
        try:
            backend, _ = resolve(self._project, "implementer")
            harvest = self._harvest(asked, self._opened(backend)[1])
            report = replace(report, bundle=harvest.bundle, head=harvest.head if harvest.bundle else "")
        except (ThrumError, OSError) as error:
            report = replace(report, reason=f"{report.reason}; {words(error)}")
        return self._finished(asked, report, journal.started_at)

    def _finished(self, asked: RunAttempt, report: AttemptReported, started_at: float) -> AttemptReported:
        report = replace(report, started_at=started_at, ended_at=time.time())
        try:
            self.note(Journal(asked=asked, started_at=started_at, report=report))
        except OSError as error:
            # Without work in it a report may be lost; the bundle of another is made again by the next worker.
            if report.bundle:
                raise
            log.warning("the report could not be noted", extra={"task": asked.task, "reason": str(error)})
        return report

    def _harvest(self, asked: RunAttempt, workspace: Workspace) -> Harvest:
        """What the agent left; a clone that cannot be harvested is set aside, as the next attempt would clear it."""
        try:
            return workspace.harvest(asked.base, self._out, start=asked.start, message=_subject(asked))
        except (ThrumError, OSError) as error:
            kept = self.directory / f"kept-{asked.task}-{asked.token}"
            os.replace(self._clone, kept)
            raise GitError(f"the attempt's work is in {kept / 'tree'}: {words(error)}") from error

    def _attempt(self, asked: RunAttempt, stop: threading.Event, on_output: Callable[[bytes], None]) -> AttemptReported:
        backend, role = resolve(self._project, "implementer")
        sandbox, workspace = self._opened(backend)
        workspace.prepare(asked.start)
        place = self._work / self.repo.name / "setup-agents"
        setups = Setups(place, self.repo, sandbox, self._project.pipeline.sandbox)
        provision = setups.provide(asked.start, workspace, stop=stop)
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
            budget_usd=role.budget_usd if role else None,
        )
        network, allow = reach(self._project.pipeline.sandbox, backend)
        job = Job(
            argv=invocation.argv,
            cwd=str(workspace.tree),
            env={**self._environment(backend), **provision.env, "THRUM_TASK": asked.task},
            writable=(str(workspace.tree),),
            readable=(*workspace.readable, *provision.readable, str(prompt_file)),
            stdin_path=str(prompt_file) if invocation.stdin else "",
            network=network,
            allow=allow,
            wall_s=wall_s(self._project, role, backend),
            silence_s=backend.silence_secs,
            output_path=str(self._out / "output.log"),
            output_limit_bytes=OUTPUT_BYTES,
            output_limit_ends=False,
            tail_bytes=64 * 1024,
        )
        outcome = sandbox.run(job, on_output=on_output, stop=stop)
        harvest = self._harvest(asked, workspace)
        report = self._report(asked, invocation, backend, outcome)
        reason = "; ".join(filter(None, (report.reason, harvest.reason)))
        return replace(report, reason=reason, bundle=harvest.bundle, head=harvest.head if harvest.bundle else "")

    def _report(
        self, asked: RunAttempt, invocation: Invocation, backend: BackendConfig, outcome: Outcome
    ) -> AttemptReported:
        result = read_result(backend, outcome.tail)
        output = self._out / "output.log"
        digest, size = self._outputs.adopt(output) if outcome.output_bytes else ("", 0)
        ending, pause_s = _ENDINGS[outcome.ending], 0.0
        if result.rate_limited_until is not None and not outcome.ok:
            ending, pause_s = AttemptEnding.RATE_LIMITED, max(1.0, result.rate_limited_until - time.time())
        return AttemptReported(
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

    def _opened(self, backend: BackendConfig) -> tuple[Sandbox, Workspace]:
        """The sandbox and the clone, kept from attempt to attempt: to try a sandbox out costs as much as a check."""
        if self._room is None:
            config = self._project.pipeline.sandbox
            paths = (*config.mount_paths, *self.repo.mount_paths, *backend.mount_paths)
            sandbox = open_sandbox(
                replace(config, mount_paths=paths, allow=reach(config, backend)[1]),
                name=f"{self._told.places.mark}.{self._told.name}",
                private=(str(self._told.places.state),),
                mask=secrets(self._project, os.environ),
            )
            self._room = sandbox, Workspace(self._clone, self.repo.path, sandbox)
        return self._room

    def _environment(self, backend: BackendConfig) -> dict[str, str]:
        """What the agent sees of our environment: the named variables, its key, and what its table sets."""
        config = self._project.pipeline.sandbox
        names = (*backend.pass_env, *filter(None, (backend.api_key_env,)))
        passed = {name: os.environ[name] for name in names if name in os.environ}
        return {**config.variables(os.environ), **passed, **backend.env}


def _subject(asked: RunAttempt) -> str:
    return f"Work on {asked.task}, attempt {asked.token}"
