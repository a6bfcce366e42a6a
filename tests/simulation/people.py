"""People at their clients: they ask under one key until they are answered, and decide about what they are shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.simulation.bus import Process
from thrum.messages import kinds as m
from thrum.task import State

if TYPE_CHECKING:
    from tests.simulation.house import Simulation

ASK_AGAIN_S = 1.0
LOOK_S = 5.0
LOOKED_AT = tuple(state.value for state in State if state is not State.MERGED)


@dataclass
class Asked:
    """A command that was not answered yet."""

    repo: str
    body: m.Command
    again_at: float = 0.0


class Person(Process):
    """One person with one client, which nothing ever kills."""

    def __init__(self, house: Simulation, name: str) -> None:
        super().__init__(house.world, house.bus, f"edge.{name}")
        self.house = house
        self.by = name
        self.open_questions: dict[str, Asked] = {}
        self.shown: dict[str, dict[str, Any]] = {}
        self._keys = 0
        self._look_at = 0.0
        self._queries: dict[str, None] = {}

    def start(self) -> None:
        self._look_at = self.world.now + self.world.between(0.0, LOOK_S)

    def ask(self, repo: str, body: m.Command) -> None:
        """Ask for it until it is answered."""
        self._keys += 1
        key = f"{self.address}/{self._keys}"
        self.open_questions[key] = Asked(repo, body)
        self.house.promises.asked(key, body)
        self.poke(self.world.now)

    def step(self) -> None:
        now = self.world.now
        while self.inbox:
            envelope = self.inbox.popleft()
            if isinstance(envelope.body, m.Reply):
                self._answered(envelope.header.correlation, envelope.body)
        if now >= self._look_at:
            self._look_at = now + LOOK_S
            self._queries = {self.send(f"repo.{repo}", m.GetTasks(states=LOOKED_AT)): None for repo in self.house.gits}
            self._have_an_idea()
        for key, asked in self.open_questions.items():
            if asked.again_at <= now:
                asked.again_at = now + ASK_AGAIN_S
                self.send(f"repo.{asked.repo}", asked.body, id=key)

    def next_at(self) -> float:
        return min([self._look_at, *(asked.again_at for asked in self.open_questions.values())])

    def _answered(self, key: str, reply: m.Reply) -> None:
        asked = self.open_questions.pop(key, None)
        if asked is not None:
            self.house.promises.answered(key, asked.repo, asked.body, reply)
        elif key in self._queries and reply.ok:
            for task in reply.value:
                self.shown[task["id"]] = task
                self._consider(task)

    def _have_an_idea(self) -> None:
        rng, house = self.world.rng, self.house
        if self.world.unlucky(0.3) and len(self.shown) < house.plan.tasks:
            known = sorted(self.shown)
            depends_on = (rng.choice(known),) if known and rng.random() < 0.25 else ()
            body = m.AddTask(
                by=self.by, title=f"idea of {self.by}", depends_on=depends_on, priority=rng.choice((0, 0, 1))
            )
            self.ask(rng.choice(list(house.gits)), body)

    def _consider(self, task: dict[str, Any]) -> None:
        rng, repo, id, state = self.world.rng, task["repo"], task["id"], task["state"]
        if any(getattr(asked.body, "task", "") == id for asked in self.open_questions.values()):
            return
        faulty = self.world.faulty
        mood = rng.random()
        if state == State.AWAITING_APPROVAL and (not faulty or mood < 0.5):
            if faulty and mood < 0.08:
                self.ask(repo, m.RejectTask(by=self.by, task=id, feedback="do it differently"))
            elif self.by not in [approval["by"] for approval in task["approvals"]]:
                shown = "" if faulty and mood < 0.12 else task["attempts"][-1]["head"]
                self.ask(repo, m.ApproveTask(by=self.by, task=id, commit=shown))
        elif state == State.APPROVED and faulty and mood < 0.03:
            self.ask(repo, m.RejectTask(by=self.by, task=id, feedback="on second thoughts"))
        elif state in (State.FAILED, State.CANCELLED) and faulty and mood < 0.15:
            self.ask(repo, m.RetryTask(by=self.by, task=id, feedback="once more"))
        elif task["waiting_for"] in ("operator", "clean-checkout", "quota") and mood < 0.3:
            self.ask(repo, m.RetryTask(by=self.by, task=id))
        elif state != State.MERGED and faulty and mood > 0.985:
            self.ask(repo, m.CancelTask(by=self.by, task=id))
