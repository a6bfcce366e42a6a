"""One slot of a repository on disk: its journal, its warm clone, and how an attempt is run in it.

How far the slot has come stands in its journal, synced before each step that cannot be told from what lies there, and
is cleared only when the repo actor has the outcome: wherever a worker is killed, the next one in the slot goes on from
there, with the work, the output and the session. No bus is known here.
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
    network,
    preset_of,
    read,
    resolve,
    takes_system_prompt,
    wall_s,
)
from thrum.backends import Reading
from thrum.config import BackendConfig, RepoConfig
from thrum.errors import SetupError, ThrumError, words
from thrum.failures import Failure
from thrum.files import OutputStore, Printed, remove_tree, write_atomically
from thrum.job import Job, Outcome
from thrum.masking import concealed, secrets
from thrum.messages.attempts import AttemptReported, RunAttempt
from thrum.records import from_plain, to_plain
from thrum.sandbox import Sandbox, open_sandbox
from thrum.sessions import Sessions, prune
from thrum.setups import Provision, Setups
from thrum.task import AttemptEnding
from thrum.values import dataclass
from thrum.workspace import Harvest, Workspace

from . import base
from .reports import counted, judged, tellable

log = logging.getLogger(__name__)

OUTPUT_BYTES = 64 * 1024 * 1024
BEGINNING_BYTES, END_BYTES = 16 * 1024, 512 * 1024
"""How much of an output is looked at for what it says, unless its program's preset needs more of its end."""
TAIL_BYTES = 32 * 1024
"""At most 8000 characters of an output's end are reported."""


def directory_of(told: base.Situation, repo: RepoConfig, number: str) -> Path:
    """Where the slot lies."""
    return Path(told.project.pipeline.engine.worktrees_dir) / repo.name / f"slot-{number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """What the slot is doing: the attempt that it was given, and how far that has come."""

    asked: RunAttempt
    started_at: float
    begun: bool = False
    """Whether the clone is this attempt's: before, it holds what an earlier one left, perhaps of another task."""
    session: str = ""
    """The session that the agent goes on with or begins, as far as that is known beforehand."""
    outcome: Outcome | None = None
    """How the agent's run ended."""
    report: AttemptReported | None = None
    """What the repo actor is told, until it has it."""


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
        journal = Journal(asked=asked, started_at=time.time())
        reason = ""
        try:
            self.note(journal)
            remove_tree(self._out)
            self._out.mkdir(parents=True)
            sandbox, job, session = self._prepared(asked, stop)
            journal = replace(journal, begun=True, session=session)
            self.note(journal)
            journal = replace(journal, outcome=sandbox.run(job, on_output=on_output, stop=stop))
            self.note(journal)
        except (ThrumError, OSError) as error:
            reason = words(error)
            log.warning("an attempt was cut short", extra={"task": asked.task, "reason": reason})
        ending = AttemptEnding.STOPPED if stop.is_set() else AttemptEnding.COULD_NOT_RUN
        report = self._concluded(journal, ending, reason)
        if report.ending == AttemptEnding.COULD_NOT_RUN:
            self.close()  # it may be the sandbox that is broken: the next attempt tries it out anew
        return report

    def salvage(self, journal: Journal) -> AttemptReported:
        """The report of an attempt whose worker was lost, from what it had noted and what lies there."""
        return self._concluded(journal, AttemptEnding.LOST, "its worker was lost")

    def _concluded(self, journal: Journal, ending: AttemptEnding, reason: str) -> AttemptReported:
        """The report, noted, of an attempt whose agent does not run any more: what it left, printed and said.

        `ending` and `reason` are those of an attempt whose agent's end nobody saw.

        Raises:
            OSError: work is there and cannot be kept; it still lies where it lay.
        """
        asked, outcome = journal.asked, journal.outcome
        session = journal.session if journal.begun else asked.session
        report = AttemptReported(
            task=asked.task, token=asked.token, ending=ending.value, reason=reason, session=session
        )
        if journal.begun:
            if outcome is None and ending is AttemptEnding.LOST:
                report = replace(report, failure=Failure.LOST.value)
            harvest, trouble = self._harvested(asked)
            report = self._with_output(replace(report, bundle=harvest.bundle, head=harvest.head), journal)
            report = replace(report, reason="; ".join(filter(None, (report.reason, harvest.reason, trouble))))
            if trouble:
                report = replace(report, ending=AttemptEnding.COULD_NOT_RUN.value, failure="")
        report = concealed(replace(report, started_at=journal.started_at, ended_at=time.time()), self._secrets)
        report = tellable(report)
        try:
            self.note(replace(journal, report=report))
        except OSError as error:
            # Without work in it a report may be lost; the bundle of another is made again by the next worker.
            if report.bundle:
                raise
            log.warning("the report could not be noted", extra={"task": asked.task, "reason": str(error)})
        return report

    def _harvested(self, asked: RunAttempt) -> tuple[Harvest, str]:
        """What the agent left, and why it could not be taken in: it is then set aside, as the next attempt would
        clear it.

        Raises:
            OSError: it could not be set aside either.
        """
        try:
            backend = self._backend(asked)
            known = preset_of(backend)
            workspace = self._opened(backend)[1]  # which ends what a lost worker left running
            leaves = known.leaves if known else ()
            found = workspace.harvest(asked.base, self._out, start=asked.start, message=_subject(asked), leaves=leaves)
            return (found if found.bundle else replace(found, head="")), ""
        except (ThrumError, OSError) as error:
            kept = self.directory / f"kept-{asked.task}-{asked.token}"
            if self._clone.exists():
                os.replace(self._clone, kept)
            return Harvest(head=""), f"the attempt's work is in {kept}: {words(error)}"

    def _with_output(self, report: AttemptReported, journal: Journal) -> AttemptReported:
        """The report with what the agent printed, and what that says."""
        asked, outcome = journal.asked, journal.outcome
        try:
            printed = self.printed
            digest, _ = self._outputs.gather(printed.since()) if printed.total_bytes else ("", 0)
            tail = b"".join(printed.since(max(0, printed.total_bytes - TAIL_BYTES))).decode(errors="replace")
            report = replace(report, output_digest=digest, output_bytes=printed.total_bytes, tail=tail[-8000:])
            backend = self._backend(asked)
            reading = self._read(backend, journal)
        except (ThrumError, OSError) as error:
            # The work counts for more than what was said about it.
            reason = f"what the agent printed could not be kept: {words(error)}"
            return replace(report, reason="; ".join(filter(None, (report.reason, reason))))
        report = counted(report, reading)
        return report if outcome is None else judged(report, outcome, reading, backend)

    def _read(self, backend: BackendConfig, journal: Journal) -> Reading:
        """What the agent said of its run, as far as it came; its session is noted."""
        known, sessions = preset_of(backend), self._sessions(journal.asked, backend)
        said = self.printed.ends(BEGINNING_BYTES, max(END_BYTES, known.end_chars if known else 0))
        exit_code = journal.outcome.exit_code if journal.outcome else None
        # The files of its state are not masked.
        files = sessions.files() if sessions else {}
        reading = concealed(read(backend, said.decode(errors="replace"), exit_code, files), self._secrets)
        reading = replace(reading, session=reading.session or journal.session)
        return sessions.end(reading) if sessions else reading

    def _prepared(self, asked: RunAttempt, stop: threading.Event) -> tuple[Sandbox, Job, str]:
        """Clone, setup and session made ready; the sandbox, the job to run in it, and the session as it is known."""
        backend, role = self._backend(asked), self._project.pipeline.roles.implementer
        sandbox, workspace = self._opened(backend)
        workspace.prepare(asked.start)
        place = self._work / self.repo.name / "setup-agents"
        setups = Setups(place, self.repo, sandbox, self._project.pipeline.sandbox)
        provision = _provision(setups, asked, workspace, stop)
        prompt_file = self._out / "prompt.md"
        prompt = asked.prompt
        if asked.system_prompt and not takes_system_prompt(backend):
            prompt = f"{asked.system_prompt}\n\n{prompt}"  # prepared for a backend that is gone
        prompt_file.write_text(prompt)
        prompt_file.chmod(0o644)
        sessions, tree = self._sessions(asked, backend), str(workspace.tree)
        run = Run(
            prompt=prompt,
            system_prompt=asked.system_prompt,
            prompt_file=str(prompt_file),
            workdir=tree,
            state=str(sessions.folder) if sessions else "",
            session=sessions.begin(asked.session, tree, sandbox.uid, asked.system_prompt)
            if sessions
            else asked.session,
            new_session=str(uuid.uuid4()),
            budget_usd=role.budget_usd if role else None,
        )
        invocation = command(backend, run)
        open_to_all, allow = network(self._project, backend, os.environ)
        variables = {**self._project.pipeline.sandbox.variables(os.environ), **environment(backend, run, os.environ)}
        job = Job(
            argv=invocation.argv,
            cwd=tree,
            env={**variables, **provision.env, "THRUM_TASK": asked.task},
            writable=(tree, *filter(None, (run.state,))),
            readable=(*workspace.readable, *provision.readable, str(prompt_file)),
            stdin_path=str(prompt_file) if invocation.stdin else "",
            network=open_to_all,
            allow=allow,
            wall_s=wall_s(self._project, role, backend),
            silence_s=backend.silence_secs,
            output_path=str(self._out / "output.log"),
            output_limit_bytes=OUTPUT_BYTES,
            output_limit_ends=False,
            tail_bytes=TAIL_BYTES,
        )
        known = preset_of(backend)
        chosen = run.new_session if known is not None and known.chooses_session else ""
        return sandbox, job, run.session or chosen

    def _backend(self, asked: RunAttempt) -> BackendConfig:
        """The backend that the attempt was prepared for; the configuration's first one, should that be gone."""
        backends = self._project.pipeline.backends
        named = next((one for one in backends if one.name == asked.backend), None)
        return named or resolve(self._project, "implementer")[0]

    def _sessions(self, asked: RunAttempt, backend: BackendConfig) -> Sessions | None:
        known = preset_of(backend)
        if known is None or not known.state_env:
            return None
        sessions = self._work / self.repo.name / "sessions"
        prune(sessions, now=time.time())
        place = sessions / asked.task / backend.name
        place.mkdir(parents=True, exist_ok=True)
        return Sessions(place, known)

    @property
    def printed(self) -> Printed:
        """What the agent printed so far; for any thread."""
        return Printed(self._out / "output.log")

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


def _provision(setups: Setups, asked: RunAttempt, workspace: Workspace, stop: threading.Event) -> Provision:
    """What `setup_cmd` makes for the agent; of the base where the work so far broke it, so that it can be mended."""
    try:
        return setups.provide(asked.start, workspace, stop=stop)
    except SetupError:
        if asked.start == asked.base:
            raise
        log.warning(
            "setup_cmd fails on the work so far; its agent gets what the base needs", extra={"task": asked.task}
        )
        provision = setups.provide(asked.base, workspace, stop=stop)
        workspace.prepare(asked.start)
        return provision


def _subject(asked: RunAttempt) -> str:
    return f"Work on {asked.task}, attempt {asked.token}"
