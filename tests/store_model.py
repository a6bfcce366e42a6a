"""What a store must hold, built up beside it: for the tests of `thrum.store` and `thrum.storage`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from thrum.batch import Batch, KeptReply, Loaded, Outgoing
from thrum.gate import CheckResult, Gate, GateResult, Verdict
from thrum.messages.landing import LandingGranted
from thrum.records import evolve, to_plain
from thrum.store import Store
from thrum.task import Approval, Attempt, AttemptEnding, Candidate, Event, Setback, State, Task, WaitingFor

REPO = "my-project"


@dataclass
class Model:
    """What a store must hold, built up beside it; each step also gives the batch that says so."""

    loaded: Loaded = field(
        default_factory=lambda: Loaded(
            epoch="first", last_seq=0, next_number=1, tasks={}, marks={}, replies={}, outbox=(), next_out={}, records={}
        )
    )
    events: list[Event] = field(default_factory=list)

    def add(self, title: str = "a task") -> Batch:
        number = self.loaded.next_number
        task = Task(id=f"{REPO}-{number}", repo=REPO, title=title, created_at=1.5, depends_on=("x", "y"))
        default = to_plain(Task(id="", repo="", title=""))
        changes = {"title": title}
        changes |= {name: value for name, value in to_plain(task).items() if value != default[name]}
        self.loaded = replace(self.loaded, next_number=number + 1)
        return replace(self._event(task, "added", changes), next_number=number + 1)

    def change(self, task: str, changes: dict[str, Any]) -> Batch:
        return self._event(evolve(self.loaded.tasks[task], changes), "moved", changes)

    def _event(self, task: Task, kind: str, changes: dict[str, Any]) -> Batch:
        event = Event(seq=len(self.events) + 1, task=task.id, at=2.0, kind=kind, cause="m", changes=changes)
        self.events.append(event)
        self.loaded.tasks[task.id] = task
        self.loaded = replace(self.loaded, last_seq=event.seq)
        return Batch(events=(event,), tasks=(task,))

    def mark(self, stream: str, number: int) -> Batch:
        self.loaded.marks[stream] = number
        return Batch(marks={stream: number})

    def reply(self, key: str, kept: KeptReply) -> Batch:
        self.loaded.replies[key] = kept
        return Batch(replies={key: kept})

    def drop_reply(self, key: str) -> Batch:
        self.loaded.replies.pop(key, None)
        return Batch(dropped_replies=(key,))

    def send(self, destination: str, fence: int) -> Batch:
        seq = self.loaded.next_out.get(destination, 1)
        self.loaded.next_out[destination] = seq + 1
        message = LandingGranted(stream="first", seq=seq, task="t", fence=fence)
        outgoing = Outgoing(destination=destination, message=message)
        outbox = sorted((*self.loaded.outbox, outgoing), key=lambda out: (out.destination.encode(), out.message.seq))
        self.loaded = replace(self.loaded, outbox=tuple(outbox))
        return Batch(outbox=(outgoing,))

    def acknowledge(self, destination: str, seq: int) -> Batch:
        kept = (out for out in self.loaded.outbox if (out.destination, out.message.seq) != (destination, seq))
        self.loaded = replace(self.loaded, outbox=tuple(kept))
        return Batch(dropped_outbox=((destination, seq),))

    def record(self, name: str, value: Any) -> Batch:
        self.loaded.records[name] = value
        if value is None:
            del self.loaded.records[name]
        return Batch(records={name: value})


def filled(store: Store, events: int = 20) -> Model:
    """A store with that many events about three tasks, each in a write of its own."""
    model = Model()
    for _ in range(3):
        store.write(model.add())
    for number in range(3, events):
        store.write(model.change(f"{REPO}-{number % 3 + 1}", {"reason": f"event {number}", "retries": number}))
    return model


def all_fields() -> Task:
    """A task in which each kind of field is used."""
    checks = (CheckResult(name="test", verdict=Verdict.FAILED, exit_code=1, tail="naïve ☂"),)
    return Task(
        id=f"{REPO}-1",
        repo=REPO,
        title="t",
        state=State.GATE3,
        waiting_for=WaitingFor.CLEAN_CHECKOUT,
        slot=True,
        attempts=(Attempt(token=1, base="b", ending=AttemptEnding.LOST, exit_code=None, files=("a", "b")),),
        setbacks=(Setback(cause="gate", text="x"),),
        gates=(GateResult(gate=Gate.PROOF, verdict=Verdict.FAILED, checks=checks, vector={"a": "b"}),),
        approvals=(Approval(by="me", at=1.0, commit="c", base="b"),),
        candidate=Candidate(base="b", commit="c", tree="t", vector={"a": "b"}),
    )
