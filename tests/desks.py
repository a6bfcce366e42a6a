"""The ledger of a repo actor over a store in memory, for the tests of what it makes of messages."""

from __future__ import annotations

from typing import Any

from thrum import inputs as i
from thrum.actors.gate_runs import GatePlan
from thrum.actors.ledger import Ledger
from thrum.actors.setup import Setup
from thrum.actors.turn import ImportAttempt, Send
from thrum.gate import Gate
from thrum.messages import Envelope, Header, Message, Reply
from thrum.messages.attempts import AttemptReported
from thrum.messages.people import AddTask, ApproveTask
from thrum.messages.schedule import GrantStart
from thrum.pipeline.draft import Rules
from thrum.store import MemoryRows, Store
from thrum.task import AttemptEnding, State, Task

NOTHING = {gate: GatePlan(checks=()) for gate in (Gate.QUALITY, Gate.PROOF, Gate.INTEGRATION)}


class Desk:
    """A ledger with its store: gives it messages, writes what it wants written, and keeps what it sends."""

    def __init__(self, repo: str = "a", *, members: tuple[str, ...] = (), **setup: Any) -> None:
        self.setup = Setup(**{"repo": repo, "rules": Rules(), "plans": NOTHING, "integration_set": members, **setup})
        self.rows = MemoryRows()
        self.now = 1000.0
        self.lives = 0
        self.sent: list[Send] = []
        self.effects: list[Any] = []
        self.restart()

    def restart(self) -> None:
        """End the actor and start it anew."""
        self.lives += 1
        self.store = Store(self.rows, repo=self.setup.repo, epoch=f"store-{self.setup.repo}")
        self.ledger = Ledger(self.setup, self.store.load(), epoch=f"life-{self.lives}")
        self.sent, self.effects = [], []
        self.ledger.start(self.now)
        self.turn()

    def turn(self) -> None:
        turn = self.ledger.turn(self.now)
        if turn.batch is not None:
            self.store.write(turn.batch)
        self.sent += turn.sends
        self.effects += turn.effects

    def give(self, body: Message, *, id: str = "x", source: str = "edge.1", correlation: str = "") -> Any:
        """The answer to a message, if it has one."""
        header = Header(kind=type(body).__name__, id=id, source=source, incarnation="1-a", correlation=correlation)
        self.ledger.receive(Envelope(destination=self.setup.repo, header=header, body=body), self.now)
        self.turn()
        replies = [sent.body for sent in self.sent if sent.correlation == id and isinstance(sent.body, Reply)]
        return replies[-1] if replies else None

    def complete(self, task: str, given: i.Input) -> None:
        self.ledger.complete(task, given, self.now)
        self.turn()

    def after(self, seconds: float) -> None:
        """Let time pass, and forget what was sent before."""
        self.now += seconds
        self.sent, self.effects = [], []
        self.ledger.tick(self.now)
        self.turn()

    def take(self, kind: type[Any]) -> list[Any]:
        """What was sent or wanted of that kind, oldest first; it is gone from the desk."""
        found = [*(sent.body for sent in self.sent), *self.effects]
        self.sent = [sent for sent in self.sent if not isinstance(sent.body, kind)]
        self.effects = [effect for effect in self.effects if not isinstance(effect, kind)]
        return [one for one in found if isinstance(one, kind)]

    def add(self, **more: Any) -> str:
        reply = self.give(AddTask(by="ann", title="a task", **more), id=f"add-{len(self.ledger.tasks)}")
        return str(reply.value["id"])

    def task(self, id: str) -> Task:
        """The task as the store has it."""
        return self.store.load().tasks[id]

    def begin(self, id: str) -> None:
        """Have the task's attempt begun."""
        self.give(GrantStart(task=id))
        token = self.ledger.tasks[id].token
        self.complete(
            id,
            i.AttemptPrepared(token=token, base="b", start="b", backend="agent", model="", prompt_digest=""),
        )
        self.after(0.0)

    def report(self, id: str, token: int = 1) -> AttemptReported:
        return AttemptReported(task=id, token=token, ending=AttemptEnding.FINISHED.value, head="h", bundle="h")

    def finish(self, id: str) -> None:
        """Have the attempt reported and taken over."""
        self.give(self.report(id, self.ledger.tasks[id].token), source="worker.a.1")
        [effect] = self.take(ImportAttempt)
        head = f"h{effect.report.token}"
        ended = i.AttemptEnded(token=effect.report.token, ending=AttemptEnding.FINISHED, head=head, tree="t")
        self.ledger.reported(effect, ended, self.now)
        self.turn()

    def approve(self, id: str) -> None:
        """Bring a new task to where it only has to land."""
        self.begin(id)
        self.finish(id)
        assert self.give(ApproveTask(by="ann", task=id), id=f"yes-{id}-{self.task(id).token}").ok
        assert self.task(id).state is State.APPROVED
