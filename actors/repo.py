"""The repo actor's process: its store, its git thread, its workers; what is decided is the ledger's part.

The order in which a step does things is what makes it safe: take in all that arrived, write one batch, and only
then send and act. A write that fails ends the process; nothing that it did not write was ever said.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from thrum import inputs as i
from thrum.batch import Loaded
from thrum.config import RepoConfig
from thrum.errors import NotFoundError, StoreError, ThrumError
from thrum.files import OutputStore, secret
from thrum.masking import concealed, secrets
from thrum.messages import Envelope
from thrum.messages import kinds as m
from thrum.records import to_plain
from thrum.storage import open_store
from thrum.store import Store
from thrum.task import Task
from thrum.wire import Dealer

from . import base
from .background import Background
from .crew import Crew
from .effects import Outcome, Worldly
from .ledger import Ledger
from .neighbours import Neighbours, hosts_of
from .setup import setup_of
from .turn import ImportAttempt, LookAtBranch, Send
from .vector import needed

log = logging.getLogger(__name__)


class RepoActor:
    """One repository's actor, from its store to its workers."""

    done = False

    def __init__(self, told: base.Situation, dealer: Dealer, repo: RepoConfig, *, serve_only: bool) -> None:
        """`serve_only`: answer people, but take up no work (the transient actor of a single command)."""
        self._told = told
        self._dealer = dealer
        self._serve_only = serve_only
        self._store: Store = open_store(told.places.store(repo.name), repo=repo.name, deadline_s=10.0)
        loaded: Loaded = self._store.load()
        setup = setup_of(told.project, repo, secret(told.places.token))
        self._world = Worldly(told.project, repo, OutputStore(told.places.outputs), setup.integration_set)
        self._world.vector.clear()
        if loaded.next_number == 1:
            # A store that was lost: the repository still has what its tasks did, under their ids.
            loaded = replace(loaded, next_number=self._world.highest_number() + 1)
        self._ledger = Ledger(setup, loaded, epoch=told.incarnation)
        self._thread = Background[Outcome]()
        self._crew = Crew(told)
        self._secrets = secrets(told.project, os.environ)
        self._neighbours = Neighbours(
            hosts_of(told.project, repo, setup.integration_set),
            self._world,
            address=dealer.address,
            send=self._send,
            submit=self._thread.submit,
            needed=lambda: needed(self._ledger.tasks.values()),
            limit_bytes=told.project.pipeline.engine.attempt_limit_mb * 1024 * 1024,
        )
        self._awaited: set[str] = set()
        """Ids of the questions that are being answered."""
        self._stopping = False

    def start(self, now: float) -> None:
        if not self._serve_only:
            self._ledger.start(now)
        self._commit(now)

    def step(self, envelopes: list[Envelope], now: float) -> None:
        for outcome in self._thread.outcomes():
            self._take(outcome, now)
        for envelope in envelopes:
            if not self._neighbours.hear(envelope, now) and not self._read(envelope):
                self._ledger.receive(self._without_secrets(envelope), now)
        for worker, failure in self._crew.ended().items():
            if failure:
                self._ledger.worker_failed(worker, concealed(failure, self._secrets), now)
            else:
                self._ledger.worker_gone(worker, now)
        if not self._serve_only:
            self._ledger.tick(now)
        self._neighbours.step(now)
        self._commit(now)
        if self._stopping and not self._ledger.attempts_under_way(self._crew):
            self.done = True

    def next_at(self) -> float:
        return float("inf") if self._serve_only else min(self._ledger.next_at(), self._neighbours.next_at())

    def wake_fds(self) -> tuple[int, ...]:
        # Not SIGCHLD: every git command of the effects would wake us.
        return (self._thread.fd, *self._crew.fds())

    def standing(self) -> tuple[tuple[str, ...], int, tuple[str, ...]]:
        return (), 0, ()

    def stop(self, now: float) -> None:
        """Have running attempts ended, harvested and pinned before we go."""
        self._stopping = True
        self._ledger.stop_attempts(now)

    def close(self) -> None:
        self._thread.close()
        self._store.close()
        self._crew.close(stop=self._stopping)

    # --- Steps --------------------------------------------------------------------------------------------------

    def _commit(self, now: float) -> None:
        turn = self._ledger.turn(now)
        if turn.batch is not None:
            try:
                self._store.write(turn.batch)
            except StoreError as error:
                self._tell_unwritten(turn.sends, error)
                raise
        for send in turn.sends:
            self._send(send)
        for event in turn.batch.events if turn.batch is not None else ():
            log.info("%s: %s", event.task, event.kind, extra={"seq": event.seq, "data": event.data})
        for effect in turn.effects:
            self._carry_out(effect, now)

    def _tell_unwritten(self, sends: tuple[Send, ...], error: StoreError) -> None:
        """Whoever waits for an answer shall not wait in vain: what could not be written is not done."""
        for send in sends:
            if isinstance(send.body, m.Reply):
                self._dealer.send(send.destination, _refusal(error), correlation=send.correlation)

    def _send(self, send: Send) -> None:
        if isinstance(send.body, m.Reply):
            self._reply(send.destination, send.body, send.correlation)
            return
        ttl_s = 10.0 if send.destination.startswith("topic:") else 0.0
        self._dealer.send(send.destination, send.body, id=send.id or None, correlation=send.correlation, ttl_s=ttl_s)

    def _reply(self, destination: str, reply: m.Message, correlation: str) -> None:
        """Answer, without what is a secret by now and was none when it was recorded."""
        self._dealer.send(destination, concealed(reply, self._secrets), correlation=correlation)

    def _without_secrets(self, envelope: Envelope) -> Envelope:
        """What is recorded and passed on comes in by these, from people and programs."""
        if not isinstance(envelope.body, (m.Command, m.AttemptReported, m.GateReported)):
            return envelope
        return replace(envelope, body=concealed(envelope.body, self._secrets))

    def _read(self, envelope: Envelope) -> bool:
        """Answer what needs the store or git but no decision."""
        header, body = envelope.header, envelope.body
        match body:
            case m.GetHistory():
                self._reply(header.sender, self._history(body.task), header.id)
            case m.GetDiff():
                self._later(header, lambda: self._world.diff(self._task(body.task), body.token))
            case m.GetOutput():
                self._later(header, lambda: self._world.output(body))
            case m.GetTip():
                self._later(header, self._world.vector.tip)
            case m.GetBundle():
                self._later(header, lambda: self._world.vector.piece(body))
            case _:
                return False
        return True

    def _task(self, task_id: str) -> Any:
        task = self._ledger.tasks.get(task_id)
        if task is None:
            raise NotFoundError(f"there is no task {task_id!r}", remedy="`thrum task list` names them all")
        return task

    def _history(self, task_id: str) -> m.Reply:
        try:
            self._task(task_id)
        except NotFoundError as error:
            return _refusal(error)
        return m.Reply(value=[to_plain(event) for event in self._store.events(task_id)])

    def _later(self, header: m.Header, work: Callable[[], m.Message]) -> None:
        if header.id in self._awaited:
            self._dealer.send(header.sender, m.AnswerAwaited(), correlation=header.id)
            return
        self._awaited.add(header.id)

        def answer() -> Outcome:
            try:
                reply = work()
            except ThrumError as error:
                reply = _refusal(error)
            return Outcome(effect=None, reply=reply, header=header)

        self._thread.submit(answer)

    # --- Effects ------------------------------------------------------------------------------------------------

    def _carry_out(self, effect: i.Effect | ImportAttempt | LookAtBranch, now: float) -> None:
        if self._serve_only:
            return  # the actor that takes up the work asks for it again, see `Recovered`
        match effect:
            case i.PrepareAttempt():
                self._submit(effect, partial(self._world.prepare_attempt, effect, self._ledger.tasks[effect.task]))
            case ImportAttempt():
                self._submit(effect, partial(self._world.import_attempt, effect))
            case LookAtBranch():
                self._submit(effect, self._world.look_at_branch)
            case i.BuildCandidate() | i.MoveBranch():
                self._neighbours.carry_out(effect, now)
            case i.BeginAttempt():
                self._begin_attempt(effect)
            case i.EndAttempt():
                self._see(effect.worker)
                self._dealer.send(effect.worker, m.StopAttempt(task=effect.task, token=effect.token))
            case _:
                raise ThrumError(f"an effect that the repo actor does not carry out: {effect}")

    def _submit(self, effect: Any, work: Callable[[], i.Input | None]) -> None:
        self._thread.submit(lambda: Outcome(effect=effect, given=work()))

    def _take(self, outcome: Outcome, now: float) -> None:
        given = concealed(outcome.given, self._secrets)
        if outcome.then is not None:
            outcome.then(now)
        elif outcome.reply is not None and outcome.header is not None:
            self._awaited.discard(outcome.header.id)
            self._reply(outcome.header.sender, outcome.reply, outcome.header.id)
        elif isinstance(outcome.effect, ImportAttempt):
            if isinstance(given, i.AttemptEnded):
                self._ledger.reported(outcome.effect, given, now)
            else:
                self._ledger.not_imported(outcome.effect)
        elif isinstance(outcome.effect, LookAtBranch):
            if isinstance(given, i.BranchMoved):
                self._ledger.branch_at(given.tip, now)
        elif given is not None:
            self._ledger.complete(outcome.effect.task, given, now)

    def _see(self, worker: str) -> None:
        if not self._stopping:
            self._crew.see(worker)

    def _begin_attempt(self, effect: i.BeginAttempt) -> None:
        task = self._ledger.tasks[effect.task]
        attempt = task.attempt
        assert attempt is not None
        self._see(attempt.worker)
        body = m.RunAttempt(
            task=task.id,
            token=attempt.token,
            base=attempt.base,
            start=attempt.start,
            prompt=self._world.prompt(attempt.prompt_digest),
            system_prompt=self._world.prompt(attempt.system_prompt_digest),
            backend=attempt.backend,
            session=_session(task),
        )
        self._dealer.send(attempt.worker, body, attempt=attempt.token, ttl_s=10.0)


def _session(task: Task) -> str:
    """The session that the latest attempt may go on with: that of its backend's last one, unless that failed in a way
    that a new one would not."""
    attempt = task.attempts[-1]
    last = next((one for one in reversed(task.attempts[:-1]) if one.backend == attempt.backend), None)
    if last is None or (last.failure is not None and last.failure.treatment.fresh):
        return ""
    return last.session


def _refusal(error: ThrumError) -> m.Reply:
    return m.Reply(ok=False, code=error.code, message=error.message, remedy=error.remedy)


def main(argv: list[str] | None = None) -> int:
    """The process `python -m thrum.actors.repo`."""
    parser = base.parser("The actor of one of Thrum's repositories")
    parser.add_argument("--repo", required=True)
    parser.add_argument("--serve-only", action="store_true", help="answer people, but take up no work")
    args = parser.parse_args(argv)

    def make(told: base.Situation, dealer: Dealer) -> RepoActor:
        repo = told.project.repo(args.repo)
        if repo is None:
            raise NotFoundError(f"the configuration has no repository {args.repo!r}")
        Path(told.places.logs).mkdir(parents=True, exist_ok=True)
        return RepoActor(told, dealer, repo, serve_only=args.serve_only)

    return base.main(args, make)


if __name__ == "__main__":
    sys.exit(main())
