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
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from thrum.agents import (
    Run,
    command,
    environment,
    failure,
    network,
    no_change,
    preset_of,
    provider_refused,
    read,
    resolve,
    wall_s,
)
from thrum.backends import Reading, Trouble
from thrum.config import BackendConfig, RepoConfig, RoleConfig
from thrum.errors import GitError, ThrumError, words
from thrum.files import OutputStore, remove_tree, write_atomically
from thrum.job import Ending, Job, Outcome
from thrum.masking import concealed, secrets
from thrum.messages.attempts import AttemptReported, RunAttempt
from thrum.records import from_plain, to_plain
from thrum.sandbox import Sandbox, open_sandbox
from thrum.sessions import Sessions, prune
from thrum.setups import Setups
from thrum.task import AttemptEnding
from thrum.values import dataclass
from thrum.workspace import Harvest, Workspace

from . import base

log = logging.getLogger(__name__)

OUTPUT_BYTES = 64 * 1024 * 1024
BEGINNING_BYTES, END_BYTES = 16 * 1024, 512 * 1024
"""How much of an output is looked at for what it says."""

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
        self._secrets = secrets(project, os.environ)
        self._told = told
        self._work = work
        self._journal = self.directory / "attempt.json"
        self._out = self.directory / "out"
        self._clone = self.directory / "clone"
        self._outputs = OutputStore(told.places.outputs)
        self._room: tuple[Sandbox, Workspace] | None = None
        self._room_of = ""

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
            harvest = self._harvest(asked, self._opened(self._backend(asked)[0])[1])
            report = replace(report, bundle=harvest.bundle, head=harvest.head if harvest.bundle else "")
        except (ThrumError, OSError) as error:
            report = replace(report, reason=f"{report.reason}; {words(error)}")
        return self._finished(asked, report, journal.started_at)

    def _finished(self, asked: RunAttempt, report: AttemptReported, started_at: float) -> AttemptReported:
        report = concealed(replace(report, started_at=started_at, ended_at=time.time()), self._secrets)
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
            known = preset_of(self._backend(asked)[0])
            leaves = known.leaves if known else ()
            return workspace.harvest(asked.base, self._out, start=asked.start, message=_subject(asked), leaves=leaves)
        except (ThrumError, OSError) as error:
            kept = self.directory / f"kept-{asked.task}-{asked.token}"
            os.replace(self._clone, kept)
            raise GitError(f"the attempt's work is in {kept / 'tree'}: {words(error)}") from error

    def _attempt(self, asked: RunAttempt, stop: threading.Event, on_output: Callable[[bytes], None]) -> AttemptReported:
        backend, role = self._backend(asked)
        sandbox, workspace = self._opened(backend)
        workspace.prepare(asked.start)
        place = self._work / self.repo.name / "setup-agents"
        setups = Setups(place, self.repo, sandbox, self._project.pipeline.sandbox)
        provision = setups.provide(asked.start, workspace, stop=stop)
        prompt_file = self._out / "prompt.md"
        prompt_file.write_text(asked.prompt)
        prompt_file.chmod(0o644)
        sessions = self._sessions(asked, backend, sandbox)
        run = Run(
            prompt=asked.prompt,
            prompt_file=str(prompt_file),
            workdir=str(workspace.tree),
            state=str(sessions.folder) if sessions else "",
            session=sessions.begin(asked.session, str(workspace.tree)) if sessions else asked.session,
            new_session=str(uuid.uuid4()),
            budget_usd=role.budget_usd if role else None,
        )
        invocation = command(backend, run)
        open_to_all, allow = network(self._project, backend, os.environ)
        variables = {**self._project.pipeline.sandbox.variables(os.environ), **environment(backend, run, os.environ)}
        job = Job(
            argv=invocation.argv,
            cwd=str(workspace.tree),
            env={**variables, **provision.env, "THRUM_TASK": asked.task},
            writable=(str(workspace.tree), *filter(None, (run.state,))),
            readable=(*workspace.readable, *provision.readable, str(prompt_file)),
            stdin_path=str(prompt_file) if invocation.stdin else "",
            network=open_to_all,
            allow=allow,
            wall_s=wall_s(self._project, role, backend),
            silence_s=backend.silence_secs,
            output_path=str(self._output),
            output_limit_bytes=OUTPUT_BYTES,
            output_limit_ends=False,
            tail_bytes=64 * 1024,
        )
        outcome = sandbox.run(job, on_output=on_output, stop=stop)
        harvest = self._harvest(asked, workspace)
        # The files of its state are not masked.
        files = sessions.files() if sessions else {}
        reading = concealed(read(backend, self._said(), outcome.exit_code, files), self._secrets)
        known = preset_of(backend)
        if known is not None and known.chooses_session and not reading.session:
            reading = replace(reading, session=run.session or run.new_session)
        reading = sessions.end(reading) if sessions else reading
        report = self._report(asked, outcome, reading, last_words=reading.text.strip() if known else "")
        reason = "; ".join(filter(None, (report.reason, harvest.reason)))
        return replace(report, reason=reason, bundle=harvest.bundle, head=harvest.head if harvest.bundle else "")

    def _backend(self, asked: RunAttempt) -> tuple[BackendConfig, RoleConfig | None]:
        """The backend that the attempt was prepared for; the configuration's first one, should that be gone."""
        first, role = resolve(self._project, "implementer")
        backends = self._project.pipeline.backends
        return next((one for one in backends if one.name == asked.backend), first), role

    def _sessions(self, asked: RunAttempt, backend: BackendConfig, sandbox: Sandbox) -> Sessions | None:
        known = preset_of(backend)
        if known is None or not known.state_env:
            return None
        sessions = self._work / self.repo.name / "sessions"
        prune(sessions, now=time.time())
        place = sessions / asked.task / backend.name
        place.mkdir(parents=True, exist_ok=True)
        return Sessions(place, known, sandbox.uid)

    @property
    def _output(self) -> Path:
        return self._out / "output.log"

    def _said(self) -> str:
        """The beginning and the end of what the agent printed, where that is more than its reader looks at."""
        try:
            with self._output.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size <= BEGINNING_BYTES + END_BYTES:
                    return file.read().decode(errors="replace")
                beginning = file.read(BEGINNING_BYTES)
                file.seek(size - END_BYTES)
                return (beginning + b"\n" + file.read()).decode(errors="replace")
        except FileNotFoundError:
            return ""

    def _report(self, asked: RunAttempt, outcome: Outcome, reading: Reading, last_words: str) -> AttemptReported:
        output, trouble = self._output, reading.trouble
        digest, size = self._outputs.adopt(output) if outcome.output_bytes else ("", 0)
        closed = provider_refused(self._backend(asked)[0], outcome.refused)
        failed = failure(outcome.ending, trouble, refused=closed)
        refused = ", ".join(f"{target} ({count} times)" for target, count in outcome.refused.items())
        reasons = (
            trouble.detail if trouble else "",
            outcome.reason,
            f"the network was closed to it at {refused}" if refused and refused not in outcome.reason else "",
        )
        return AttemptReported(
            task=asked.task,
            token=asked.token,
            ending=_ENDINGS[outcome.ending].value,
            failure=failed.value if failed else "",
            retry_after_s=_pause_s(trouble),
            reason="; ".join(filter(None, reasons)),
            exit_code=outcome.exit_code,
            session=reading.session,
            cost_usd=reading.cost_usd or 0.0,
            input_tokens=reading.input_tokens or 0,
            cached_tokens=reading.cached_tokens or 0,
            output_tokens=reading.output_tokens or 0,
            output_digest=digest,
            output_bytes=size,
            tail=(last_words or outcome.tail)[-8000:],
            no_change=no_change(reading),
        )

    def _opened(self, backend: BackendConfig) -> tuple[Sandbox, Workspace]:
        """The sandbox and the clone, kept from attempt to attempt: to try a sandbox out costs as much as a check."""
        if self._room is not None and self._room_of != backend.name:
            self.close()
        if self._room is None:
            config = self._project.pipeline.sandbox
            paths = (*config.mount_paths, *self.repo.mount_paths, *backend.mount_paths)
            sandbox = open_sandbox(
                replace(config, mount_paths=paths, allow=network(self._project, backend, os.environ)[1]),
                name=f"{self._told.places.mark}.{self._told.name}",
                private=(str(self._told.places.state),),
                mask=self._secrets,
            )
            self._room, self._room_of = (sandbox, Workspace(self._clone, self.repo.path, sandbox)), backend.name
        return self._room


def _pause_s(trouble: Trouble | None) -> float:
    """How long to wait before the next try, as far as the agent's program told; 0 where it did not."""
    if trouble is None:
        return 0.0
    until_s = trouble.retry_at - time.time() if trouble.retry_at is not None else trouble.retry_after_s or 0.0
    return max(1.0, until_s) if until_s or trouble.retry_at is not None else 0.0


def _subject(asked: RunAttempt) -> str:
    return f"Work on {asked.task}, attempt {asked.token}"
