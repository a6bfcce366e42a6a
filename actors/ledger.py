"""The repo actor's pure half: messages and outcomes in, one batch, messages and effects out.

It holds the repository's tasks in memory, has `thrum.pipeline` decide about each, and keeps what makes a change
happen exactly once: idempotency keys, marks of durable streams, the outbox. It touches no disk, socket, clock
or git; `thrum.actors.repo` does, and the simulator in its place. What it changes in memory is true only once
the batch of `turn` is written: whoever cannot write it must throw the ledger away.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import replace
from typing import Any

from thrum import inputs as i
from thrum.batch import Loaded
from thrum.errors import NotFoundError, ThrumError
from thrum.intake import check_new_task
from thrum.messages import kinds as m
from thrum.pipeline import decide
from thrum.pipeline.attempts import wants_slot, with_worker
from thrum.records import to_plain
from thrum.task import ENDS, AttemptEnding, Event, State, Task

from .announcements import Announcements
from .gate_runs import GateRuns
from .landing import Landings
from .people import admit, as_seen, input_of, new_task, page_of, status_of
from .readiness import Readiness
from .replies import Replies
from .results import Results
from .setup import Setup
from .turn import Gathered, ImportAttempt, LookAtBranch, Send, Turn

NUDGE_S = 3.0
"""A worker that was told something and does not answer is told again after this."""
SILENCE_S = 15.0
"""A worker that says nothing for this long is looked after: it sends a heartbeat every 3 s."""


class Ledger:
    """All tasks of one repository, and what is under way for them."""

    def __init__(self, setup: Setup, loaded: Loaded, *, epoch: str) -> None:
        """`epoch` names this life of the actor; `loaded` is what its store holds."""
        self.setup = setup
        self.tasks = dict(loaded.tasks)
        self.epoch = epoch
        self._landings = Landings(setup, loaded)
        self._seq = loaded.last_seq
        self._next_number = loaded.next_number
        self._replies = Replies(loaded)
        self._runs = GateRuns(setup.plans, setup.repo, epoch)
        self._notes: dict[str, tuple[str, str]] = {}
        self._importing: set[tuple[str, int]] = set()
        self._workers: dict[str, str] = {}
        """The worker of each task that holds a slot."""
        self._heard: set[str] = set()
        self._nudges: dict[str, float] = {}
        self._wakes: dict[str, float] = {}
        self._stopping = False
        self._results = Results(loaded, enabled=setup.cache)
        self._readiness = Readiness(setup, self._runs)
        self._announcements = Announcements(setup, epoch)
        self._gathered = Gathered()
        for task in self.tasks.values():
            self._index(task)

    # --- What comes in --------------------------------------------------------------------------------------

    def start(self, now: float) -> None:
        """Take up whatever was under way when the actor ended."""
        for task in list(self.tasks.values()):
            if task.state not in ENDS or task.slot:
                self.complete(task.id, i.Recovered(), now)
        self._announce(now, snapshot=True)

    def receive(self, envelope: m.Envelope, now: float) -> None:
        """Take a message in; one that is not for a repo actor is an error of its sender and is ignored."""
        header, body = envelope.header, envelope.body
        match body:
            case m.Command():
                self._command(header, body, now)
            case m.GetTasks() | m.GetTask() | m.GetRepoStatus():
                self._answer(header, lambda: self._query(body))
            case m.GrantStart():
                self._grant_start(body.task, now)
            case m.GrantLanding():
                self._grant_landing(body.task, now)
            case m.NoteWaiting():
                self._notes = {t: (w, body.reasons.get(t, "")) for t, w in body.waiting.items()}
            case m.AnnounceAgain():
                self._announce(now, snapshot=True)
            case m.AttemptHeartbeat():
                self._heartbeat(body, now)
            case m.AttemptReported():
                self._attempt_reported(header, body)
            case m.GateHeartbeat():
                self._runs.heard(body.run, header.sender, now)
            case m.GateReported():
                self._results.take(self._runs.part(body.run), body, self._gathered)
                if (finished := self._runs.report(body, now)) is not None:
                    self._gate_finished(*finished, now, header.id)
            case m.Undeliverable():
                # The id of a question to the pool is the id of the part that it asks for.
                self._runs.ask_soon(header.correlation, now + 0.5)
            case m.Durable():
                self._granted(self._landings.receive(header, body, self._gathered), now)
            case m.DurableAcknowledged():
                self._landings.acknowledged(header, body, self._gathered)
            case _:
                pass

    def complete(self, task_id: str, given: i.Input, now: float, cause: str = "") -> None:
        """Take in what became of an effect, or any other input for one task."""
        task = self.tasks[task_id]
        admitted = self._readiness.admitted(task, given, now)
        if admitted is not None:
            self._apply(decide(task, admitted, self.setup.rules, now, cause), now)

    def _gate_finished(self, task_id: str, given: i.GateFinished, now: float, cause: str) -> None:
        """Take in a gate's result; one without a task is the answer to what was looked over."""
        outcomes: dict[str, i.Input] = {task_id: given} if task_id else {**self._readiness.looked_over(given.result)}
        for task, outcome in outcomes.items():
            self.complete(task, outcome, now, cause)

    def not_imported(self, effect: ImportAttempt) -> None:
        """The attempt could not be taken over just now; its worker repeats the report, and it is tried again."""
        self._importing.discard((effect.task, effect.report.token))

    def reported(self, effect: ImportAttempt, ended: i.AttemptEnded, now: float) -> None:
        """Take in an imported attempt; its worker may forget it once this is written."""
        self._importing.discard((effect.task, effect.report.token))
        began = effect.report.ending != AttemptEnding.COULD_NOT_RUN
        self._readiness.ended(self.tasks[effect.task], ended, now, began=began)
        self.complete(effect.task, ended, now)
        self._send(effect.worker, m.AttemptAcknowledged(task=effect.task, token=effect.report.token))

    def branch_at(self, tip: str, now: float) -> None:
        """Take in where the branch stands, which was asked for as it was red."""
        self._readiness.branch_at(tip, now)

    def worker_gone(self, worker: str, now: float) -> None:
        """A worker's process ended, or has nothing to do: look after its attempt at once."""
        for task_id in self._nudges:
            attempt = self.tasks[task_id].attempt
            if attempt is not None and attempt.worker == worker:
                self._nudges[task_id] = now

    def worker_failed(self, worker: str, why: str, now: float) -> None:
        """A worker cannot be kept alive: its attempt waits for the operator, and nothing else begins for a while.

        What the attempt may have left is in its slot; it is pinned when a worker gets so far as to report it.
        """
        for task_id in [task_id for task_id, name in self._workers.items() if name == worker]:
            task = self.tasks[task_id]
            if task_id in self._nudges and task.attempt is not None:
                ended = i.AttemptEnded(token=task.attempt.token, ending=AttemptEnding.COULD_NOT_RUN, reason=why)
                self._readiness.ended(task, ended, now, began=False)
                self.complete(task_id, ended, now)

    def attempts_under_way(self, alive: Container[str]) -> bool:
        """True while a worker that is `alive`, or was heard of in this life, has an attempt, or an outcome is being
        taken over."""
        return bool(self._importing) or any(
            self._workers.get(task) in alive or self._workers.get(task) in self._heard for task in self._nudges
        )

    def stop_attempts(self, now: float) -> None:
        """Have every running attempt ended; its work is kept, and its task goes back to the queue."""
        self._stopping = True
        self._nudges = dict.fromkeys(self._nudges, now)

    def tick(self, now: float) -> None:
        """Do what has come due."""
        for task_id in [task_id for task_id, at in self._wakes.items() if at <= now]:
            self.complete(task_id, i.Woke(), now)
        for task_id in [task_id for task_id, at in self._nudges.items() if at <= now]:
            self._nudge(self.tasks[task_id], now)
        for part in self._runs.due(now):
            self._send(self.setup.pool, self._results.beside(part), id=part.run)
        for destination, message in self._landings.due(now):
            self._send(destination, message)
        for task_id, given in self._landings.silences(self.tasks, now).items():
            self.complete(task_id, given, now)
        self._replies.expire(now, self._gathered)
        if self._readiness.tick(now):
            self._gathered.effects.append(LookAtBranch())
        if self._announcements.next_at <= now:
            self._announce(now)

    def next_at(self) -> float:
        """When `tick` has something to do next."""
        due = [
            self._announcements.next_at,
            self._readiness.next_at,
            self._runs.next_at(),
            self._landings.next_at(),
            *self._wakes.values(),
            *self._nudges.values(),
        ]
        return min(due)

    def turn(self, now: float) -> Turn:
        """Everything that came together since the last turn."""
        if self._announcements.due(self._readiness.fault):
            self._announce(now)
        gathered, self._gathered = self._gathered, Gathered()
        return Turn(batch=gathered.batch(), sends=(*gathered.sends, *gathered.news), effects=tuple(gathered.effects))

    # --- Commands and queries -------------------------------------------------------------------------------

    def _command(self, header: m.Header, body: m.Command, now: float) -> None:
        kept = self._replies.get(header.id)
        if kept is not None:
            self._send(header.sender, kept, correlation=header.id)
            return
        self._answer(header, lambda: self._obey(header, body, now), keep_at=now)

    def _answer(self, header: m.Header, work: Callable[[], Any], keep_at: float | None = None) -> None:
        """Send what `work` gives as the reply, or its error; with `keep_at` remember a success for repeats."""
        try:
            reply = m.Reply(value=work())
        except ThrumError as error:
            reply = m.Reply(ok=False, code=error.code, message=error.message, remedy=error.remedy)
        if reply.ok and keep_at is not None:
            self._replies.keep(header.id, reply, keep_at, self._gathered)
        self._send(header.sender, reply, correlation=header.id)

    def _obey(self, header: m.Header, body: m.Command, now: float) -> Any:
        admit(body, self.setup.token)
        if isinstance(body, m.AddTask):
            return self._add(header, body, now)
        task_id, given = input_of(body)
        if isinstance(given, i.RetryAsked):
            given = replace(given, held=self._readiness.doubted)
        self.complete(self._find(task_id).id, given, now, header.id)
        return self._shown(self.tasks[task_id])

    def _add(self, header: m.Header, body: m.AddTask, now: float) -> Any:
        check_new_task(body, repo=self.setup.repo, known=self.tasks)
        task, event = new_task(self.setup, self._next_number, body, now, header.id)
        self._next_number = self._gathered.next_number = self._next_number + 1
        self._keep(task, (event,))
        return dict(event.changes)

    def _find(self, task_id: str) -> Task:
        task = self.tasks.get(task_id)
        if task is None:
            raise NotFoundError(f"{self.setup.repo} has no task {task_id!r}", remedy="`thrum task list` names them all")
        return task

    def _query(self, body: m.Message) -> Any:
        match body:
            case m.GetTasks():
                return [self._shown(task) for task in page_of(self.tasks, body)]
            case m.GetTask():
                return self._shown(self._find(body.task))
            case _:
                shown = [self._seen(task) for task in self.tasks.values()]
                red, held = self._runs.bases.red, self._readiness.holds.passed_over
                used = len(self._workers)
                return status_of(self.setup, shown, slots_used=used, events=self._seq, red=red, passed_over=held)

    def _seen(self, task: Task) -> Task:
        return as_seen(task, self._readiness.fault, self._notes.get(task.id, ("", "")))

    def _shown(self, task: Task) -> Any:
        return to_plain(self._seen(task))

    # --- Scheduling and landing -------------------------------------------------------------------------------

    def _grant_start(self, task_id: str, now: float) -> None:
        task = self.tasks.get(task_id)
        if task is None or self._stopping or self._readiness.fault or not wants_slot(task):
            return
        taken = set(self._workers.values())
        names = (f"worker.{self.setup.repo}.{slot}" for slot in range(1, self.setup.concurrency + 1))
        worker = next((name for name in names if name not in taken), None)
        if worker is not None:
            self._readiness.holds.begins(task_id, now)
            self.complete(task_id, i.StartGranted(worker=worker), now)

    def _grant_landing(self, task_id: str, now: float) -> None:
        task = self.tasks.get(task_id)
        if task is None or task.state is not State.APPROVED:
            return
        self._granted(self._landings.ask(task_id, self._gathered), now)

    def _granted(self, tasks: tuple[str, ...], now: float) -> None:
        """These hold their integration set's lock."""
        for task_id in tasks:
            task = self.tasks.get(task_id)
            if task is not None and task.state is State.APPROVED:
                self.complete(task_id, i.LandingGranted(), now)
            elif task is None or task.state not in (State.INTEGRATING, State.GATE3):
                self._landings.release(task_id, self._gathered)  # rejected or cancelled while it was asked for

    # --- Workers ------------------------------------------------------------------------------------------------

    def _heartbeat(self, body: m.AttemptHeartbeat, now: float) -> None:
        self._heard.add(f"worker.{self.setup.repo}.{body.slot}")
        if not body.task:
            # An idle worker: what it was told before it listened went nowhere.
            self.worker_gone(f"worker.{self.setup.repo}.{body.slot}", now)
            return
        task = self.tasks.get(body.task)
        if task is not None and task.id in self._nudges and body.token == (task.attempt.token if task.attempt else 0):
            ending = task.state in ENDS or self._stopping
            self._nudges[task.id] = min(self._nudges[task.id], now + NUDGE_S) if ending else now + SILENCE_S

    def _attempt_reported(self, header: m.Header, body: m.AttemptReported) -> None:
        task = self.tasks.get(body.task)
        key = (body.task, body.token)
        if task is None or key in self._importing:
            return
        attempt = next((a for a in task.attempts if a.token == body.token), None)
        if attempt is None or (attempt.ending is not None and (attempt.head or not body.bundle)):
            self._send(header.sender, m.AttemptAcknowledged(task=body.task, token=body.token))
            return
        self._importing.add(key)
        effect = ImportAttempt(task=body.task, base=attempt.base, report=body, worker=header.sender)
        self._gathered.effects.append(effect)

    def _nudge(self, task: Task, now: float) -> None:
        """Tell the worker again what it should be doing; whoever carries it out sees that there is a worker."""
        attempt = task.attempt
        assert attempt is not None
        self._nudges[task.id] = now + NUDGE_S
        if (task.id, attempt.token) in self._importing:
            return
        if task.state in ENDS or self._stopping:
            self._gathered.effects.append(i.EndAttempt(task=task.id, token=attempt.token, worker=attempt.worker))
        else:
            self._gathered.effects.append(i.BeginAttempt(task=task.id, token=attempt.token))

    # --- Keeping it together ---------------------------------------------------------------------------------------

    def _apply(self, decision: Any, now: float) -> None:
        if decision.events:
            self._keep(decision.task, decision.events)
        for effect in decision.effects:
            match effect:
                case i.RunChecks():
                    finished = self._runs.begin(effect, now)
                    if finished is not None:
                        self.complete(effect.task, finished, now)
                case i.DropChecks():
                    for part, runner in self._runs.drop(effect.run).items():
                        self._send(runner, m.StopGate(run=part))
                case i.ReleaseLandingLock():
                    self._landings.release(effect.task, self._gathered)
                case i.PrepareAttempt():
                    chosen = self._readiness.holds.choose(effect.task, effect.fallbacks, now)
                    self._gathered.effects.append(replace(effect, fallbacks=chosen))
                case i.BeginAttempt() | i.EndAttempt():
                    self._nudges[effect.task] = now
                case _:
                    self._gathered.effects.append(effect)

    def _keep(self, task: Task, events: tuple[Event, ...]) -> None:
        before = self.tasks.get(task.id)
        state = before.state.value if before is not None else task.state.value
        self.tasks[task.id] = task
        self._gathered.touched[task.id] = task
        self._announcements.note(task)
        self._index(task)
        for event in events:
            self._seq += 1
            self._gathered.events.append(replace(event, seq=self._seq))
            state = str(event.changes.get("state", state))
            changed = m.TaskChanged(task=task.id, state=state, kind=event.kind, at=event.at, text=task.reason)
            self._gathered.news.append(Send(destination=f"topic:task.{self.setup.repo}", body=changed))

    def _index(self, task: Task) -> None:
        if task.slot and task.attempt is not None:
            self._workers[task.id] = task.attempt.worker
        else:
            self._workers.pop(task.id, None)
        if task.wake_at:
            self._wakes[task.id] = task.wake_at
        else:
            self._wakes.pop(task.id, None)
        if not with_worker(task):
            self._nudges.pop(task.id, None)

    def _announce(self, now: float, snapshot: bool = False) -> None:
        every = self.tasks.values() if snapshot else None
        self._send("scheduler", self._announcements.next(self._readiness.fault, now, every))

    def _send(self, destination: str, body: m.Message, id: str = "", correlation: str = "") -> None:
        self._gathered.sends.append(Send(destination=destination, body=body, id=id, correlation=correlation))
