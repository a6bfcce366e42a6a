"""What an effect asks of repo actors on other hosts: one question after the other of each, until it has said all there
is to say, or is not heard of any more. Pure, volatile: after a restart the effect asks anew.

Each question has an id of its own, so that only what was said since the inquiry began counts, and each answer once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from thrum.messages import Envelope, Message, Reply
from thrum.messages.control import Undeliverable
from thrum.messages.vector import AnswerAwaited, BundlePiece, GetBundle, GetTip, TipTold, names_commit

from .turn import Send

ASK_AGAIN_S = 3.0
REFUSED_S = 1.0
"""A peer that the broker does not know may be starting: it is asked again sooner."""
PATIENCE_S = 10.0
"""Who is not heard of for this long does not answer."""
LONGEST_S = 1800.0
"""Nothing is asked for longer than this, whoever says that its answer is being made."""
REASON_CHARS = 500


@dataclass(slots=True, kw_only=True)
class _Line:
    question: Message
    id: str
    ask_at: float
    heard_at: float


class Inquiry:
    """One question to each of some members at first; it is `over` once all is said, or one of them will not say it."""

    def __init__(self, id: str, questions: Mapping[str, Message], now: float) -> None:
        """`id` is unlike that of any other inquiry of this life or another; `questions` are by the member's name."""
        self.silent: list[str] = []
        """Members that do not answer."""
        self.refused: dict[str, str] = {}
        """Members that cannot say what they were asked, or said what cannot be; each with the reason."""
        self._id = id
        self._count = 0
        self._ends_at = now + LONGEST_S
        self._lines: dict[str, _Line] = {}
        for name, question in questions.items():
            self._ask(name, question, now)

    @property
    def over(self) -> bool:
        """True once nothing more will be asked."""
        return not self._lines or bool(self.silent or self.refused)

    def due(self, now: float) -> list[Send]:
        """What to ask now, for the first time or again."""
        sends = []
        for name, line in list(self._lines.items()):
            if now >= min(line.heard_at + PATIENCE_S, self._ends_at):
                del self._lines[name]
                self.silent.append(name)
            elif line.ask_at <= now:
                line.ask_at = now + ASK_AGAIN_S
                sends.append(Send(destination=f"repo.{name}", body=line.question, id=line.id))
        return sends

    def next_at(self) -> float:
        """When `due` has something next."""
        return min((min(line.ask_at, line.heard_at + PATIENCE_S) for line in self._lines.values()), default=0.0)

    def hear(self, envelope: Envelope, now: float) -> bool:
        """Take an answer in; False if it is none to a question that is open."""
        found = [name for name, line in self._lines.items() if line.id == envelope.header.correlation]
        if not found:
            return False
        name, line = found[0], self._lines[found[0]]
        match envelope.body:
            case Undeliverable():
                line.ask_at = min(line.ask_at, now + REFUSED_S)
            case AnswerAwaited():
                line.heard_at = now
            case Reply() as reply:
                self.refuse(name, reply.message[:REASON_CHARS] or "it has no answer")
            case body:
                question = self._answered(name, line.question, body)
                if question is not None:
                    self._ask(name, question, now)
                else:
                    self._lines.pop(name, None)
        return True

    def refuse(self, name: str, reason: str) -> None:
        """Give the member up."""
        self._lines.pop(name, None)
        self.refused[name] = reason

    def _ask(self, name: str, question: Message, now: float) -> None:
        self._count += 1
        self._lines[name] = _Line(question=question, id=f"{self._id}.{self._count}", ask_at=now, heard_at=now)

    def _answered(self, name: str, question: Message, body: Message) -> Message | None:
        """Take in what the member said; the next question, or None for no more."""
        raise NotImplementedError


class Tips(Inquiry):
    """Where the branches of the members are."""

    def __init__(self, id: str, members: tuple[str, ...], now: float) -> None:
        super().__init__(id, {name: GetTip() for name in members}, now)
        self.tips: dict[str, str] = {}

    def _answered(self, name: str, question: Message, body: Message) -> Message | None:
        if not isinstance(body, TipTold):
            self.refuse(name, f"it answers with {type(body).__name__}")
        elif not names_commit(body.commit):
            self.refuse(name, f"{body.commit[:80]!r} is no commit's name")
        else:
            self.tips[name] = body.commit
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """A piece of a member's bundle, to be written to its place."""

    name: str
    offset: int
    data: bytes


class Bundles(Inquiry):
    """The bundles that bring commits of the members, piece by piece."""

    def __init__(self, id: str, wanted: Mapping[str, GetBundle], now: float, *, limit_bytes: int) -> None:
        super().__init__(id, wanted, now)
        self.arrived: list[Arrived] = []
        """What came since it was last emptied."""
        self._limit_bytes = limit_bytes
        self._bundles: dict[str, str] = {}

    def _answered(self, name: str, question: Message, body: Message) -> Message | None:
        assert isinstance(question, GetBundle)
        if not isinstance(body, BundlePiece):
            self.refuse(name, f"it answers with {type(body).__name__}")
            return None
        if body.bundle != self._bundles.setdefault(name, body.bundle):
            self._bundles[name] = body.bundle
            if question.offset:
                return GetBundle(commit=question.commit, have=question.have)
        end = body.offset + len(body.data)
        if body.total_bytes > self._limit_bytes:
            what = f"its bundle has {body.total_bytes} bytes, more than the limit of {self._limit_bytes}"
            self.refuse(name, f"{what} (engine.attempt_limit_mb)")
        elif body.offset != question.offset or not body.data or end > body.total_bytes:
            self.refuse(name, f"its bundle of {body.total_bytes} bytes breaks off at {question.offset}")
        else:
            self.arrived.append(Arrived(name=name, offset=body.offset, data=body.data))
            if end < body.total_bytes:
                return GetBundle(commit=question.commit, have=question.have, offset=end)
        return None
