"""The bus: the broker's real router, real frames, and a wire that drops, doubles, delays and reorders them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from tests.simulation.world import FAR, Killed, World
from thrum.broker.peers import Send
from thrum.broker.routing import Router
from thrum.messages import kinds as m
from thrum.packing import pack_body, pack_header, unpack_body, unpack_header


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """How often a message meets which fate on each of its two hops."""

    drop: float = 0.02
    double: float = 0.02
    late: float = 0.03
    late_s: float = 8.0
    very_late_s: float = 40.0


WIRES = (Wire(), Wire(), Wire(drop=0.2), Wire(late=0.25), Wire(double=0.3, late=0.1))


class Process:
    """One life of one process: an inbox, a step that is taken when something arrived or has come due."""

    def __init__(self, world: World, bus: Bus, name: str) -> None:
        self.world = world
        self.bus = bus
        self.name = name
        bus.births += 1
        self.incarnation = f"{int(world.now * 1000)}-{bus.births}"
        self.address = f"{name}#{self.incarnation}"
        self.alive = True
        self.listening = False
        self.inbox: deque[m.Envelope] = deque()
        self.killed: Callable[[Process, Killed], None] = lambda process, killed: None
        self._sent = 0
        self._due = FAR

    def send(
        self, destination: str, body: m.Message, *, id: str | None = None, correlation: str = "", attempt: int = 0
    ) -> str:
        """Send a message as `thrum.wire.Dealer` does; its id."""
        if id is None:
            self._sent += 1
            id = f"{self.address}.{self._sent}"
        header = m.Header(
            kind=type(body).__name__,
            id=id,
            source=self.name,
            incarnation=self.incarnation,
            correlation=correlation,
            attempt=attempt,
        )
        self.bus.take(self, (destination.encode(), pack_header(header), pack_body(body)))
        return id

    def open(self) -> None:
        """Listen to the bus from now on, and do what a new life does first."""
        self.listening = True
        self.guarded(self.start)
        self.poke(self.next_at())

    def deliver(self, envelope: m.Envelope) -> None:
        """A message has arrived."""
        self.inbox.append(envelope)
        self.poke(self.world.now + self.world.between(0.0, 0.01))

    def poke(self, when: float) -> None:
        """Have a step taken then at the latest."""
        if when < self._due and self.alive:
            self._due = when
            self.world.at(when, lambda: self._step_if(when))

    def guarded(self, action: Callable[[], None]) -> None:
        """Do it unless dead; a death on the way is reported."""
        if not self.alive:
            return
        try:
            action()
        except Killed as killed:
            self.killed(self, killed)

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        """Do it after a while, if this life lasts that long."""
        self.world.after(delay_s, lambda: self.guarded(action))

    def _step_if(self, due: float) -> None:
        if self.alive and self._due == due:
            self._due = FAR
            self.guarded(self.step)
            if self.alive:
                self.poke(max(self.next_at(), self.world.now + 0.001))

    def start(self) -> None:
        """What a new life does first."""

    def step(self) -> None:
        """Take in what arrived, and do what has come due."""

    def next_at(self) -> float:
        """When a step is wanted even if nothing arrives."""
        return FAR


class Bus:
    """The broker and the wires to it."""

    def __init__(self, world: World, wire: Wire) -> None:
        self.world = world
        self.wire = wire
        self.births = 0
        self.up = True
        self.peers: dict[bytes, Process] = {}
        self.cuts: dict[str, float] = {}
        """Names that no message goes to or comes from until then."""
        self.router = self._new_router()
        self._tick()

    def join(self, process: Process) -> None:
        """The process can be reached from now on."""
        self.peers[process.address.encode()] = process

    def leave(self, process: Process) -> None:
        """The process is gone; ZeroMQ finds out when it sends to it."""
        self.peers.pop(process.address.encode(), None)

    def crash(self, down_s: float) -> None:
        """The broker dies with all it knew, and comes back."""
        self.up = False
        self.world.after(down_s, self._restart)

    def take(self, process: Process, frames: tuple[bytes, bytes, bytes]) -> None:
        """Carry a message to the broker."""
        source = process.address.encode()
        if not self._cut(process.name):
            self._carry(lambda: self._at_broker(source, frames))

    def _cut(self, name: str) -> bool:
        return self.world.faulty and self.cuts.get(name, 0.0) > self.world.now

    def _restart(self) -> None:
        if not self.up:
            self.router, self.up = self._new_router(), True
            self.world.note("broker is up again")

    def _new_router(self) -> Router:
        self.births += 1
        return Router(f"{int(self.world.now * 1000)}-{self.births}")

    def _carry(self, arrive: Callable[[], None]) -> None:
        world, wire = self.world, self.wire
        if not world.faulty:
            world.after(0.001, arrive)
            return
        if world.unlucky(wire.drop):
            world.happened("dropped")
            return
        copies = 1
        if world.unlucky(wire.double):
            world.happened("doubled")
            copies = 2
        for _ in range(copies):
            delay_s = world.between(0.0005, 0.005)
            if world.unlucky(wire.late):
                world.happened("late")
                delay_s = world.between(0.0, wire.very_late_s if world.unlucky(0.2) else wire.late_s)
            world.after(delay_s, arrive)

    def _at_broker(self, source: bytes, frames: tuple[bytes, bytes, bytes]) -> None:
        if not self.up:
            # ZeroMQ keeps it for the peer it will connect to again.
            self.world.after(0.2, lambda: self._at_broker(source, frames))
            return
        self._forward(self.router.receive(source, *frames, self.world.now))

    def _forward(self, sends: list[Send]) -> None:
        router = self.router
        for send in sends:
            self._carry(lambda send=send: self._at_peer(send, router))  # type: ignore[misc]

    def _at_peer(self, send: Send, router: Router) -> None:
        peer = self.peers.get(send.to)
        if peer is None:
            if router is self.router:
                self._forward(router.gone(send.to, self.world.now, send))
            return
        if self._cut(peer.name):
            return
        header = unpack_header(send.header)
        envelope = m.Envelope(
            destination=send.destination.decode(), header=header, body=unpack_body(header.kind, send.body)
        )
        self.world.note(f"{header.source or 'broker'} → {peer.name}: {header.kind} {_subject(envelope)}")
        peer.deliver(envelope)

    def _tick(self) -> None:
        if self.up:
            self._forward(self.router.tick(self.world.now))
        self.world.after(0.5, self._tick)


def _subject(envelope: m.Envelope) -> str:
    body = envelope.body
    named = getattr(body, "task", "") or getattr(body, "run", "") or getattr(body, "repo", "")
    token = getattr(body, "token", "")
    return f"{named} {token}".strip() or envelope.header.correlation
