"""Who is connected, and where each message goes: every decision of the broker, and none of its sockets or clocks.

Events go in (a message came, a peer's pipe is full or gone, time passed), frames to send come out. A simulator
runs this class as it is, with `receive` alone; `broker.server` adds `express` and `routes`, the way past it for
the common case, a message from one well-behaved peer to another. Only headers are read; bodies only of what is
addressed to the broker itself.

The rules:
- A peer is known from its first well-formed message, and lives until it leaves, ZeroMQ cannot reach it, or it
  was silent for `dead_after_s`. Its routing id is `name#incarnation`, its incarnation `epoch-nonce`.
- A name means its newest incarnation: a higher epoch wins, the later comer among equals. The old one gets
  nothing more, and what it sends comes back to it.
- `pool:NAME` hands each job to the member with credit that had none for longest, and remembers who has it until
  that member sends a message with the job's id as correlation. The same job sent again goes to the same member.
- `topic:NAME` goes to each peer that asked for a prefix of NAME. It is a stream: what does not fit is dropped,
  counted, and told to the subscriber in its place.
- What cannot be handed on, or was taken from a pool by a peer that is gone, comes back as `Undeliverable`.
"""

from __future__ import annotations

import logging
from dataclasses import asdict

from thrum.errors import WireError
from thrum.messages import Header, Message, Reply
from thrum.messages.control import Dropped, GetBrokerStatus, Leave, Ping, Pong, Undeliverable
from thrum.packing import pack_body, pack_header, unpack_body, unpack_header

from .peers import BROKER, POOL, TOPIC, Counts, Held, Limits, Peer, Send, check_sender, epoch, is_over, message_id
from .pools import Job, Pool

log = logging.getLogger(__name__)

_NEVER = float("inf")


class Router:
    """The broker without its socket. Functions that return a list return what is to be sent, in order."""

    def __init__(self, incarnation: str, limits: Limits | None = None) -> None:
        self.incarnation = incarnation
        self.limits = limits or Limits()
        self.express: dict[bytes, Peer] = {}
        """Peers whose messages may go straight to where `routes` says, unread; set their `heard`."""
        self.routes: dict[bytes, bytes] = {}
        """Names and addresses of the peers that nothing is held for, with their routing ids."""
        self.waiting: dict[bytes, Peer] = {}
        """Peers that something is held for: offer it with `next_held` and `sent`, and give what is to be sent to
        them to `full`, as it must not overtake."""
        self.counts = Counts()
        self._peers: dict[bytes, Peer] = {}
        self._names: dict[bytes, Peer] = {}
        self._pools: dict[str, Pool] = {}
        self._subscribers: dict[bytes, Peer] = {}
        self._takers: dict[str, Peer] = {}
        self._count = 0
        self._ticked_at: float | None = None

    # --- events ---------------------------------------------------------------------------------------------

    def receive(self, source: bytes, destination: bytes, header: bytes, body: bytes, now: float) -> list[Send]:
        """A message came from the peer with the routing id `source`."""
        if source in self.express and (target := self._target(destination)) is not None:
            self.express[source].heard = True
            return [Send(target.address, destination, header, body, source)]
        try:
            read = unpack_header(header)
            check_sender(read, source)
        except WireError as error:
            self.malformed(source, error)
            return []
        sends: list[Send] = []
        peer = self._peers.get(source)
        if peer is None:
            peer, sends = self._admit(source, read, now)
        peer.heard = True
        if read.correlation:
            self._settle(peer, read.correlation)
        return sends + self._route(peer, Send(source, destination, header, body, source), read, now)

    def full(self, send: Send, now: float) -> list[Send]:
        """The pipe of `send.to` took nothing: hold the message, or give it up where too much is held."""
        peer = self._peers.get(send.to)
        if peer is None:
            return self._undeliverable(send, "is gone")
        return self._hold(peer, send, now)

    def gone(self, address: bytes, now: float, lost: Send | None = None) -> list[Send]:
        """ZeroMQ knows no peer of that routing id (any more); `lost` could not be sent to it."""
        peer = self._peers.get(address)
        if peer is None:
            return self._undeliverable(lost, "is not connected") if lost is not None else []
        if lost is not None:
            peer.held.appendleft(Held(lost, now))
        return self._forget(peer, "is gone")

    def tick(self, now: float) -> list[Send]:
        """Time has passed; call it every `tick_s`."""
        late_s = now - (self._ticked_at if self._ticked_at is not None else now) - 2 * self.limits.tick_s
        self._ticked_at = now
        sends: list[Send] = []
        for peer in list(self._peers.values()):
            if peer.heard:
                peer.heard, peer.heard_at = False, now
            elif late_s > 0:
                # We slept, not they: a broker that was stopped must not take the whole house for dead.
                peer.heard_at += late_s
            if now - peer.heard_at > self.limits.dead_after_s:
                sends += self._forget(peer, f"was silent for {self.limits.dead_after_s:.0f} s")
            elif peer.taken and peer.address not in self.waiting:
                # Only a send finds a peer that was killed, and others wait for what this one took.
                sends.append(self._own(peer.address, Pong(broker=self.incarnation)))
        for name, pool in list(self._pools.items()):
            self.counts.expired += pool.expire(now)
            if not pool.jobs and not pool.members:
                del self._pools[name]
        return sends

    def malformed(self, source: bytes, error: WireError) -> None:
        """The peer sent frames that are no message of ours; its later ones are read with more care."""
        self.counts.malformed += 1
        peer = self._peers.get(source)
        if peer is not None:
            peer.suspect = True
            self._signpost(peer)
        # A flood is told at 1, 2, 4, 8 … messages, or its log would be a flood too.
        if self.counts.malformed & (self.counts.malformed - 1) == 0:
            log.warning(
                "dropped a malformed message: %s",
                error,
                extra={"source": source, "raw": error.raw[:256], "malformed": self.counts.malformed},
            )

    # --- what waits for a peer that does not read -------------------------------------------------------------

    def next_held(self, address: bytes, now: float) -> Send | None:
        """The oldest message held for the peer, to be followed by `sent` if its pipe took it; none: all is sent."""
        peer = self.waiting.get(address)
        if peer is None:
            return None
        while peer.held and is_over(peer.held[0], now):
            self.counts.expired += 1
            self._settle(peer, message_id(peer.held[0].send))
            self.sent(address)
        if not peer.held and peer.dropped:
            self._tell_dropped(peer, now)
        if peer.held:
            return peer.held[0].send
        del self.waiting[address]
        self._signpost(peer)
        return None

    def sent(self, address: bytes) -> None:
        """The message that `next_held` gave is on its way."""
        peer = self.waiting[address]
        peer.held_bytes -= peer.held.popleft().send.size

    def _hold(self, peer: Peer, send: Send, now: float) -> list[Send]:
        stream = send.destination.startswith(TOPIC)
        share = 2 if stream else 1
        if (
            len(peer.held) >= self.limits.held_messages // share
            or peer.held_bytes + send.size > self.limits.held_bytes // share
        ):
            if stream:
                peer.dropped += 1
                self.counts.dropped += 1
                return []
            self._settle(peer, message_id(send))
            return self._undeliverable(send, "does not read its messages")
        if peer.dropped:
            self._tell_dropped(peer, now)
        self._append(peer, Held(send, now))
        return []

    def _append(self, peer: Peer, held: Held) -> None:
        peer.held.append(held)
        peer.held_bytes += held.send.size
        if peer.address not in self.waiting:
            self.waiting[peer.address] = peer
            self._signpost(peer)

    def _tell_dropped(self, peer: Peer, now: float) -> None:
        told = self._own(peer.address, Dropped(count=peer.dropped))
        peer.dropped = 0
        self._append(peer, Held(told, now))

    # --- routes -----------------------------------------------------------------------------------------------

    def _route(self, peer: Peer, send: Send, read: Header, now: float) -> list[Send]:
        destination = send.destination
        if destination == BROKER:
            return self._control(peer, send, read, now)
        if peer.replaced:
            return self._undeliverable(send, "was not asked: a newer incarnation of the sender is connected")
        if destination.startswith(TOPIC):
            return self._publish(send, destination[len(TOPIC) :])
        if destination.startswith(POOL):
            return self._request(send, read, now)
        target = self._target(destination)
        if target is None:
            return self._undeliverable(send, "is not connected")
        return [_to(target, send)]

    def _target(self, destination: bytes) -> Peer | None:
        """The peer of that name or address, if it is connected and not replaced."""
        peer = self._names.get(destination) or self._peers.get(destination)
        return None if peer is None or peer.replaced else peer

    def _publish(self, send: Send, topic: bytes) -> list[Send]:
        return [_to(peer, send) for peer in self._subscribers.values() if topic.startswith(peer.topics)]

    def _request(self, send: Send, read: Header, now: float) -> list[Send]:
        taker = self._takers.get(read.id)
        if taker is not None:
            # Sent again: whoever has the job may have its answer at hand, and must not race a second member.
            taker.taken[read.id].requester = send.sender
            return [_to(taker, send)]
        name = send.destination[len(POOL) :].decode(errors="replace")
        pool = self._pools.setdefault(name, Pool())
        if read.id not in pool.jobs and len(pool.jobs) >= self.limits.pool_jobs:
            return self._undeliverable(send, "has too many jobs waiting")
        pool.jobs[read.id] = Job(
            id=read.id,
            pool=name,
            requester=send.sender,
            destination=send.destination,
            header=send.header,
            body=send.body,
            expires_at=now + read.ttl_s if read.ttl_s else _NEVER,
        )
        return self._deal(pool, now)

    def _deal(self, pool: Pool, now: float) -> list[Send]:
        sends: list[Send] = []
        self.counts.expired += pool.expire(now)
        for job, address in pool.deal():
            peer = self._peers[address]
            job.given = self._count
            if len(peer.taken) >= self.limits.pool_jobs:
                self._settle(peer, next(iter(peer.taken)))
            peer.taken[job.id] = job
            self._takers[job.id] = peer
            self._signpost(peer)
            sends.append(Send(address, job.destination, job.header, job.body, job.requester))
        return sends

    def _settle(self, peer: Peer, id: str) -> None:
        """The peer does not have the job of that id any more, if it ever had."""
        if peer.taken.pop(id, None) is not None:
            del self._takers[id]
            self._signpost(peer)

    def _undeliverable(self, send: Send, reason: str) -> list[Send]:
        """Tell the message's sender, if it is still there to be told; nobody waits for a stream."""
        sender = self._peers.get(send.sender)
        if sender is None or send.destination.startswith(TOPIC):
            return []
        self.counts.undeliverable += 1
        told = Undeliverable(destination=send.destination.decode(errors="replace"), reason=reason)
        return [self._own(sender.address, told, correlation=message_id(send))]

    def _own(self, to: bytes, body: Message, *, correlation: str = "") -> Send:
        self._count += 1
        header = Header(
            kind=type(body).__name__,
            id=f"{self.incarnation}.{self._count}",
            source=BROKER.decode(),
            incarnation=self.incarnation,
            correlation=correlation,
        )
        return Send(to, to, pack_header(header), pack_body(body))

    # --- peers come and go ------------------------------------------------------------------------------------

    def _admit(self, source: bytes, read: Header, now: float) -> tuple[Peer, list[Send]]:
        name = read.source.encode()
        peer = Peer(address=source, name=name, incarnation=read.incarnation, heard_at=now)
        self._peers[source] = peer
        rival = self._names.get(name)
        sends: list[Send] = []
        if rival is not None and epoch(rival.incarnation) > epoch(peer.incarnation):
            peer.replaced = True
        else:
            self._names[name] = peer
            if rival is not None:
                rival.replaced = True
                sends = self._retire(rival, "was replaced by a newer incarnation")
        self._signpost(peer)
        return peer, sends

    def _forget(self, peer: Peer, reason: str) -> list[Send]:
        del self._peers[peer.address]
        if self._names.get(peer.name) is peer:
            del self._names[peer.name]
        return self._retire(peer, reason)

    def _retire(self, peer: Peer, reason: str) -> list[Send]:
        """The peer takes nothing any more: hand back what it had taken from pools and what was held for it."""
        self._subscribers.pop(peer.address, None)
        for pool in self._pools.values():
            pool.members.pop(peer.address, None)
            pool.withdraw(peer.address)
        taken, held = peer.taken, peer.held
        peer.taken, peer.held, peer.held_bytes, peer.dropped = {}, type(held)(), 0, 0
        self.waiting.pop(peer.address, None)
        self._signpost(peer)
        back = [Send(b"", job.destination, job.header, job.body, job.requester) for job in taken.values()]
        back += [waited.send for waited in held if not taken or message_id(waited.send) not in taken]
        for id in taken:
            del self._takers[id]
        reason = f"{peer.address.decode()} {reason}"
        return [told for send in back for told in self._undeliverable(send, reason)]

    def _signpost(self, peer: Peer) -> None:
        """Bring `express` and `routes` in line with what is known of the peer."""
        current = self._names.get(peer.name) is peer
        if current and peer.address not in self.waiting:
            self.routes[peer.name] = self.routes[peer.address] = peer.address
        else:
            self.routes.pop(peer.address, None)
            if self.routes.get(peer.name) == peer.address:
                del self.routes[peer.name]
        if current and not peer.suspect and not peer.taken:
            self.express[peer.address] = peer
        else:
            self.express.pop(peer.address, None)

    # --- what the broker itself is asked ------------------------------------------------------------------------

    def _control(self, peer: Peer, send: Send, read: Header, now: float) -> list[Send]:
        try:
            body = unpack_body(read.kind, send.body)
        except WireError as error:
            self.malformed(peer.address, error)
            return []
        match body:
            case Leave():
                return self._forget(peer, "has left")
            case GetBrokerStatus():
                return [self._own(peer.address, self._status(now), correlation=read.id)]
            case Ping() if peer.replaced:
                return self._undeliverable(send, "a newer incarnation of the sender is connected")
            case Ping():
                return self._ping(peer, body, read, now)
            case _:
                return self._undeliverable(send, f"the broker has no answer to {read.kind}")

    def _ping(self, peer: Peer, ping: Ping, read: Header, now: float) -> list[Send]:
        for name in set(peer.pools) - set(ping.pools):
            if name in self._pools:
                self._pools[name].members.pop(peer.address, None)
        peer.pools = tuple(dict.fromkeys(ping.pools))
        peer.topics = tuple(topic.encode() for topic in ping.topics)
        if peer.topics:
            self._subscribers[peer.address] = peer
        else:
            self._subscribers.pop(peer.address, None)
        sends = [self._own(peer.address, Pong(broker=self.incarnation), correlation=read.id)]
        for name in peer.pools:
            pool = self._pools.setdefault(name, Pool())
            pool.credit(peer.address, ping.credit - self._unseen(peer, name, read.correlation))
            sends += self._deal(pool, now)
        return sends

    def _unseen(self, peer: Peer, pool: str, pong: str) -> int:
        """Jobs on their way to the peer when it counted its credit: those given after the `Pong` that its ping
        names, as messages to one peer keep their order. A ping that names none is believed as it is."""
        incarnation, _, count = pong.rpartition(".")
        if incarnation != self.incarnation or not count.isdecimal():
            return 0
        return sum(job.pool == pool and job.given >= int(count) for job in peer.taken.values())

    def _status(self, now: float) -> Reply:
        peers = [peer.status(now) for peer in self._peers.values()]
        pools = {
            name: {"jobs": len(pool.jobs), "credit": sum(member.credit for member in pool.members.values())}
            for name, pool in self._pools.items()
        }
        return Reply(value={"broker": self.incarnation, "peers": peers, "pools": pools, "counts": asdict(self.counts)})


def _to(peer: Peer, send: Send) -> Send:
    return send._replace(to=peer.address)
