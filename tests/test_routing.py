"""The broker's decisions, in memory: no sockets, and time is a number."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thrum.broker.peers import Limits, Send
from thrum.broker.routing import Router
from thrum.messages import Header, Message, Reply
from thrum.messages.control import Dropped, GetBrokerStatus, Leave, Ping, Pong, Undeliverable
from thrum.messages.gates import GateHeartbeat, GateReported, StopGate
from thrum.messages.people import GetTasks
from thrum.messages.schedule import AnnounceAgain
from thrum.messages.topics import AgentOutput
from thrum.wire import pack_body, pack_header, unpack_body, unpack_header

JOB = StopGate(run="r")
DONE = GateReported(run="r", checks=())
OUTPUT = AgentOutput(task="a-1", token=1, offset=0, text="x")


@dataclass
class House:
    """A router and its peers. `full` names the peers whose pipes take nothing; `now` is the time."""

    router: Router = field(default_factory=lambda: Router("9-b"))
    now: float = 0.0
    full: set[str] = field(default_factory=set)
    inboxes: dict[str, list[tuple[Header, Message]]] = field(default_factory=dict)
    ids: itertools.count[int] = field(default_factory=itertools.count)

    def send(
        self, source: str, destination: str, body: Message, *, id: str = "", correlation: str = "", ttl_s: float = 0.0
    ) -> str:
        """A message from `source`, a whole address, goes through the router; returns its id."""
        name, _, incarnation = source.partition("#")
        id = id or f"{source}.{next(self.ids)}"
        header = Header(
            kind=type(body).__name__, id=id, source=name, incarnation=incarnation, correlation=correlation, ttl_s=ttl_s
        )
        args = (source.encode(), destination.encode(), pack_header(header), pack_body(body))
        self.perform(self.router.receive(*args, self.now))
        return id

    def perform(self, sends: list[Send]) -> None:
        for send in sends:
            if send.to.decode() in self.full or send.to in self.router.waiting:
                self.perform(self.router.full(send, self.now))
            else:
                self.deliver(send)

    def deliver(self, send: Send) -> None:
        header = unpack_header(send.header)
        self.inboxes.setdefault(send.to.decode(), []).append((header, unpack_body(header.kind, send.body)))

    def drain(self, address: str, limit: int = 100_000) -> None:
        """The peer reads again: offer it what was held."""
        self.full.discard(address)
        for _ in range(limit):
            send = self.router.next_held(address.encode(), self.now)
            if send is None:
                break
            self.deliver(send)
            self.router.sent(address.encode())

    def pass_time(self, seconds: float, alive: tuple[str, ...] = ()) -> None:
        """Time passes in ticks, in which the peers `alive` are heard."""
        until = self.now + seconds
        while self.now < until:
            self.now += 0.5
            for peer in alive:
                self.send(peer, "topic:alive", AnnounceAgain())
            self.perform(self.router.tick(self.now))

    def inbox(self, address: str) -> list[Message]:
        """What the peer got since last asked, without pongs."""
        return [body for _, body in self.inboxes.pop(address, []) if not isinstance(body, Pong)]

    def refused(self, address: str) -> dict[str, str]:
        """The ids that came back to the peer since last asked, with the reasons; nothing else may have come."""
        came = [(header, body) for header, body in self.inboxes.pop(address, []) if not isinstance(body, Pong)]
        assert all(isinstance(body, Undeliverable) for _, body in came), came
        return {header.correlation: body.reason for header, body in came if isinstance(body, Undeliverable)}

    def ping(self, address: str, *, pools: tuple[str, ...] = (), credit: int = 0, topics: tuple[str, ...] = ()) -> None:
        self.send(address, "broker", Ping(pools=pools, credit=credit, topics=topics))

    def status(self) -> dict[str, object]:
        self.send("status#1-0", "broker", GetBrokerStatus())
        body = self.inbox("status#1-0")[-1]
        assert isinstance(body, Reply)
        value: dict[str, object] = body.value
        return value


@pytest.fixture
def house() -> House:
    return House()


def small(**limits: int) -> House:
    return House(Router("9-b", Limits(**limits)))


# --- names and lives ----------------------------------------------------------------------------------------


def test_a_message_goes_to_the_peer_of_that_name_unchanged(house: House) -> None:
    house.ping("b#1-0")
    id = house.send("a#1-0", "b", GetTasks(states=("ready",)), correlation="c")
    [(_, _), (header, body)] = house.inboxes["b#1-0"]
    assert (header.id, header.sender, header.correlation, body) == (id, "a#1-0", "c", GetTasks(states=("ready",)))


def test_a_peer_is_known_from_its_first_message_whatever_it_is(house: House) -> None:
    house.send("a#1-0", "nobody", GetTasks())
    house.send("b#1-0", "a", JOB)
    assert JOB in house.inbox("a#1-0")


def test_a_message_to_nobody_comes_back(house: House) -> None:
    id = house.send("a#1-0", "b", GetTasks())
    [(header, body)] = house.inboxes["a#1-0"]
    assert isinstance(body, Undeliverable)
    assert (header.correlation, body.destination, header.source) == (id, "b", "broker")


def test_a_restarted_peer_is_heard_and_the_old_one_gets_nothing(house: House) -> None:
    house.ping("b#9-x")
    house.ping("b#10-a")
    house.inboxes.clear()
    house.send("a#1-0", "b", JOB)
    assert house.inbox("b#10-a") == [JOB]
    assert house.inbox("b#9-x") == []
    id = house.send("a#1-0", "b#9-x", JOB)
    assert id in house.refused("a#1-0")
    house.send("b#10-a", "a", DONE)
    assert house.inbox("a#1-0") == [DONE]


def test_what_an_old_incarnation_sends_comes_back_to_it_and_changes_nothing(house: House) -> None:
    house.ping("a#1-0")
    for old, new in (("b#9-x", "b#10-a"), ("c#5-x", "c#5-a")):  # among equal epochs the later comer wins
        house.ping(old)
        house.ping(new)
        house.inboxes.clear()
        id = house.send(old, "a", DONE)
        assert "newer" in house.refused(old)[id]
        house.ping(old, pools=("p",), credit=1, topics=("",))
        assert len(house.refused(old)) == 1
        house.send("a#1-0", old.partition("#")[0], JOB)
        assert house.inbox(new) == [JOB]
        assert house.inbox("a#1-0") == []


def test_a_lower_epoch_that_comes_later_replaces_nobody(house: House) -> None:
    house.ping("b#10-a")
    house.ping("b#9-x")
    house.inboxes.clear()
    house.send("a#1-0", "b", JOB)
    assert house.inbox("b#10-a") == [JOB]


def test_the_exact_address_reaches_just_that_life(house: House) -> None:
    house.ping("b#1-0")
    house.inboxes.clear()
    house.send("a#1-0", "b#1-0", JOB)
    assert house.inbox("b#1-0") == [JOB]
    id = house.send("a#1-0", "b#2-0", JOB)
    assert id in house.refused("a#1-0")


def test_a_peer_that_leaves_is_forgotten_at_once(house: House) -> None:
    house.ping("b#1-0")
    house.send("b#1-0", "broker", Leave())
    id = house.send("a#1-0", "b", JOB)
    assert id in house.refused("a#1-0")


def test_a_silent_peer_is_dead_after_ten_seconds_and_any_message_keeps_one_alive(house: House) -> None:
    house.ping("a#1-0")
    house.ping("b#1-0")
    house.ping("c#1-0")
    house.pass_time(9.5, alive=("a#1-0", "c#1-0"))
    house.send("a#1-0", "b", JOB)
    assert house.inbox("b#1-0") == [JOB]
    house.pass_time(1.5, alive=("a#1-0", "c#1-0"))
    house.inboxes.clear()
    id = house.send("a#1-0", "b", JOB)
    assert id in house.refused("a#1-0")
    house.send("a#1-0", "c", JOB)
    assert house.inbox("c#1-0") == [JOB]


def test_a_peer_that_was_taken_for_dead_is_back_with_its_next_message(house: House) -> None:
    house.ping("b#1-0")
    house.pass_time(12)
    house.ping("b#1-0")
    house.inboxes.clear()
    house.send("a#1-0", "b", JOB)
    assert house.inbox("b#1-0") == [JOB]


def test_a_broker_that_slept_takes_nobody_for_dead(house: House) -> None:
    house.ping("b#1-0")
    house.pass_time(1)
    house.now += 3600
    house.perform(house.router.tick(house.now))
    house.send("a#1-0", "b", JOB)
    assert JOB in house.inbox("b#1-0")
    house.pass_time(12)
    assert house.send("a#1-0", "b", JOB) in house.refused("a#1-0")


def test_what_zeromq_could_not_deliver_comes_back_and_the_peer_is_gone(house: House) -> None:
    house.ping("a#1-0")
    house.ping("b#1-0")
    house.inboxes.clear()
    header = pack_header(Header(kind="GetTasks", id="a.1", source="a", incarnation="1-0"))
    lost = Send(b"b#1-0", b"b", header, pack_body(GetTasks()), b"a#1-0")
    house.perform(house.router.gone(b"b#1-0", house.now, lost))
    assert "b#1-0 is gone" in house.refused("a#1-0")["a.1"]
    assert house.send("a#1-0", "b", JOB) in house.refused("a#1-0")


# --- malformed ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["", "a", "a#", "#1-0", "broker#1-0", "a#b#1-0", "pool:x#1-0", "a\n#1-0", "a#1-0\0"])
def test_what_is_no_address_is_no_peer(house: House, source: str) -> None:
    house.send(source, "broker", Ping())
    assert house.router.counts.malformed == 1
    assert not house.inboxes
    assert not house.router.routes


def test_nobody_can_say_that_it_is_another(house: House) -> None:
    house.ping("b#1-0")
    house.inboxes.clear()
    header = pack_header(Header(kind="Leave", id="1", source="b", incarnation="1-0"))
    assert house.router.receive(b"a#1-0", b"broker", header, pack_body(Leave()), 0.0) == []
    assert house.router.counts.malformed == 1
    house.send("c#1-0", "b", JOB)
    assert house.inbox("b#1-0") == [JOB]


@given(st.lists(st.tuples(*[st.binary(max_size=20)] * 4), max_size=20))
def test_random_frames_change_nothing(messages: list[tuple[bytes, bytes, bytes, bytes]]) -> None:
    house = House()
    house.ping("b#1-0")
    for frames in messages:
        assert house.router.receive(*frames, 0.0) == []
        house.router.receive(b"b#1-0", b"broker", *frames[2:], 0.0)
    house.inboxes.clear()
    house.send("a#1-0", "b", JOB)
    assert house.inbox("b#1-0") == [JOB]


def test_a_peer_that_sent_nonsense_is_read_with_care_from_then_on(house: House) -> None:
    house.ping("a#1-0")
    assert b"a#1-0" in house.router.express
    house.router.receive(b"a#1-0", b"broker", b"nonsense", b"", 0.0)
    house.ping("a#1-0")
    assert b"a#1-0" not in house.router.express


def test_a_body_for_the_broker_that_is_none_is_counted(house: House) -> None:
    header = pack_header(Header(kind="Ping", id="1", source="a", incarnation="1-0"))
    assert house.router.receive(b"a#1-0", b"broker", header, b"junk", 0.0) == []
    assert house.router.counts.malformed == 1


# --- pools --------------------------------------------------------------------------------------------------


def test_jobs_go_to_the_member_that_had_none_for_longest(house: House) -> None:
    for member in ("g1#1-0", "g2#1-0", "g3#1-0"):
        house.ping(member, pools=("gate@local",), credit=2)
    order = []
    for _ in range(6):
        house.inboxes.clear()
        house.send("a#1-0", "pool:gate@local", JOB)
        order += list(house.inboxes)
    assert order == ["g1#1-0", "g2#1-0", "g3#1-0"] * 2


def test_jobs_wait_for_credit_and_credit_is_an_absolute_number(house: House) -> None:
    first, second, third = (house.send("a#1-0", "pool:p", StopGate(run=run)) for run in "123")
    assert house.inbox("a#1-0") == []
    house.ping("g#1-0", pools=("p",), credit=1)
    assert house.inbox("g#1-0") == [StopGate(run="1")]
    house.send("g#1-0", "a", DONE, correlation=first)
    house.ping("g#1-0", pools=("p",), credit=0)
    assert house.inbox("g#1-0") == []
    house.ping("g#1-0", pools=("p",), credit=1)
    house.ping("g#1-0", pools=("p",), credit=0)
    assert house.inbox("g#1-0") == [StopGate(run="2")]
    house.ping("h#1-0", pools=("p", "q"), credit=5)
    assert house.inbox("h#1-0") == [StopGate(run="3")]
    assert len({first, second, third}) == 3


def test_a_job_on_its_way_when_the_member_counted_its_credit_is_not_given_twice(house: House) -> None:
    house.ping("g#1-0", pools=("p",), credit=1)
    [(pong, _)] = house.inboxes.pop("g#1-0")
    job = house.send("a#1-0", "pool:p", JOB)
    house.send("a#1-0", "pool:p", StopGate(run="2"))
    ping = Ping(pools=("p",), credit=1)
    house.send("g#1-0", "broker", ping, correlation=pong.id)  # written before the job came
    assert house.inbox("g#1-0") == [JOB]
    house.send("g#1-0", "a", DONE, correlation=job)
    house.send("g#1-0", "broker", ping, correlation=pong.id)  # written after the job was done
    assert house.inbox("g#1-0") == [StopGate(run="2")]


def test_a_member_with_room_for_two_gets_the_second_while_it_works_on_the_first(house: House) -> None:
    house.ping("g#1-0", pools=("p",), credit=2)
    house.send("a#1-0", "pool:p", JOB)
    house.send("g#1-0", "broker", Ping(pools=("p",), credit=1))
    [*_, (pong, _)] = house.inboxes.pop("g#1-0")
    house.send("g#1-0", "broker", Ping(pools=("p",), credit=1), correlation=pong.id)
    house.inboxes.clear()
    house.send("a#1-0", "pool:p", StopGate(run="2"))
    assert house.inbox("g#1-0") == [StopGate(run="2")]


@pytest.mark.parametrize("how", ["leaves", "is killed", "falls silent", "restarts", "stops reading"])
def test_a_member_that_goes_hands_back_what_it_took(how: str) -> None:
    house = small(held_messages=1)
    house.ping("g#1-0", pools=("p",), credit=2)
    id = house.send("a#1-0", "pool:p", JOB)
    assert JOB in house.inbox("g#1-0")
    match how:
        case "leaves":
            house.send("g#1-0", "broker", Leave())
        case "is killed":
            house.perform(house.router.gone(b"g#1-0", house.now))
        case "falls silent":
            house.pass_time(11, alive=("a#1-0",))
        case "restarts":
            house.ping("g#2-0", pools=("p",), credit=1)
        case "stops reading":
            house.full.add("g#1-0")
            house.send("a#1-0", "g", AnnounceAgain())
            id = house.send("a#1-0", "pool:p", StopGate(run="2"))
    assert list(house.refused("a#1-0")) == [id]
    house.inboxes.clear()
    house.ping("h#1-0", pools=("p",), credit=1)
    house.send("a#1-0", "pool:p", JOB, id=id)
    assert JOB in house.inbox("h#1-0") + house.inbox("g#2-0")


def test_a_job_that_was_answered_is_not_handed_back(house: House) -> None:
    house.ping("g#1-0", pools=("p",), credit=1)
    id = house.send("a#1-0", "pool:p", JOB)
    house.send("g#1-0", "a", GateHeartbeat(run="r"))
    house.send("g#1-0", "a", DONE, correlation=id)
    house.send("g#1-0", "broker", Leave())
    assert house.inbox("a#1-0") == [GateHeartbeat(run="r"), DONE]


def test_a_job_that_is_sent_again_goes_to_the_member_that_has_it(house: House) -> None:
    house.ping("g#1-0", pools=("p",), credit=1)
    house.ping("h#1-0", pools=("p",), credit=1)
    id = house.send("a#1-0", "pool:p", JOB)
    house.send("a#2-0", "pool:p", JOB, id=id)  # by the requester's next life, which is told from then on
    assert house.inbox("g#1-0") == [JOB, JOB]
    assert house.inbox("h#1-0") == []
    house.send("g#1-0", "broker", Leave())
    assert list(house.refused("a#2-0")) == [id]


def test_a_job_that_is_sent_again_while_it_waits_waits_once(house: House) -> None:
    id = house.send("a#1-0", "pool:p", JOB)
    house.send("a#1-0", "pool:p", JOB, id=id)
    house.ping("g#1-0", pools=("p",), credit=5)
    assert house.inbox("g#1-0") == [JOB]


def test_waiting_jobs_are_bounded_and_the_next_comes_back() -> None:
    house = small(pool_jobs=2)
    for _ in range(2):
        house.send("a#1-0", "pool:p", JOB)
    id = house.send("a#1-0", "pool:p", JOB)
    assert list(house.refused("a#1-0")) == [id]


def test_a_job_whose_ttl_is_over_is_not_given_to_anyone(house: House) -> None:
    house.send("a#1-0", "pool:p", JOB, ttl_s=3.0)
    house.send("a#1-0", "pool:p", StopGate(run="2"), ttl_s=8.0)
    house.pass_time(5, alive=("a#1-0",))
    house.ping("g#1-0", pools=("p",), credit=5)
    assert house.inbox("g#1-0") == [StopGate(run="2")]
    assert house.router.counts.expired == 1


def test_jobs_of_a_requester_that_is_gone_are_not_done(house: House) -> None:
    house.send("a#1-0", "pool:p", JOB)
    house.send("a#1-0", "broker", Leave())
    house.ping("g#1-0", pools=("p",), credit=5)
    assert house.inbox("g#1-0") == []


def test_a_member_with_jobs_is_probed_so_that_its_death_is_found(house: House) -> None:
    house.ping("g#1-0", pools=("p",), credit=1)
    id = house.send("a#1-0", "pool:p", JOB)
    assert [send.to for send in house.router.tick(0.5)] == [b"g#1-0"]
    house.send("g#1-0", "a", DONE, correlation=id)
    assert house.router.tick(1.0) == []


def test_a_member_that_changes_its_pools_gets_jobs_of_the_new_ones_only(house: House) -> None:
    house.ping("g#1-0", pools=("p",), credit=1)
    house.ping("g#1-0", pools=("q",), credit=1)
    house.send("a#1-0", "pool:p", JOB)
    house.send("a#1-0", "pool:q", StopGate(run="2"))
    assert house.inbox("g#1-0") == [StopGate(run="2")]


# --- topics and peers that do not read ----------------------------------------------------------------------


def test_an_event_goes_to_each_subscriber_of_a_prefix(house: House) -> None:
    house.ping("s1#1-0", topics=("task.", "output."))
    house.ping("s2#1-0", topics=("output.a-1",))
    house.ping("s3#1-0", topics=("output.a-2",))
    house.ping("s4#1-0")
    house.send("a#1-0", "topic:output.a-1", OUTPUT)
    assert [house.inbox(f"s{i}#1-0") for i in (1, 2, 3, 4)] == [[OUTPUT], [OUTPUT], [], []]
    house.ping("s2#1-0")
    house.send("a#1-0", "topic:output.a-1", OUTPUT)
    assert house.inbox("s2#1-0") == []
    assert house.inbox("a#1-0") == []


def test_what_a_slow_subscriber_misses_is_counted_and_told_where_the_gap_is() -> None:
    house = small(held_messages=20)
    house.ping("s#1-0", topics=("o",))
    house.inboxes.clear()
    house.full.add("s#1-0")

    def publish(count: int) -> None:
        for _ in range(count):
            house.send("a#1-0", "topic:o", OUTPUT)

    publish(15)
    house.drain("s#1-0", limit=4)
    house.full.add("s#1-0")
    publish(10)
    house.drain("s#1-0")
    bodies = house.inbox("s#1-0")
    assert bodies[:11] == [OUTPUT] * 10 + [Dropped(count=5)]
    assert sum(body.count for body in bodies if isinstance(body, Dropped)) + bodies.count(OUTPUT) == 25
    assert isinstance(bodies[-1], Dropped)
    assert house.router.counts.dropped == 25 - bodies.count(OUTPUT)
    publish(1)
    assert house.inbox("s#1-0") == [OUTPUT]


def test_a_stream_leaves_room_for_what_matters_and_past_that_it_comes_back() -> None:
    house = small(held_messages=10)
    house.ping("b#1-0", topics=("o",))
    house.inboxes.clear()
    house.full.add("b#1-0")
    for _ in range(50):
        house.send("a#1-0", "topic:o", OUTPUT)
    ids = [house.send("a#1-0", "b", JOB) for _ in range(10)]
    back = house.refused("a#1-0")
    assert 4 <= len(ids) - len(back) <= 5
    assert list(back) == ids[-len(back) :]
    assert "does not read" in back[ids[-1]]


def test_held_bytes_are_bounded_too() -> None:
    house = small(held_bytes=10_000)
    house.ping("b#1-0")
    house.full.add("b#1-0")
    for _ in range(50):
        house.send("a#1-0", "b", Reply(value="x" * 1_000))
    assert 40 <= len(house.refused("a#1-0")) <= 42


def test_held_messages_keep_their_order_and_later_ones_do_not_overtake(house: House) -> None:
    house.ping("b#1-0")
    house.inboxes.clear()
    house.full.add("b#1-0")
    house.send("a#1-0", "b", StopGate(run="1"))
    assert b"b" not in house.router.routes
    assert b"b#1-0" not in house.router.routes
    house.full.discard("b#1-0")
    house.send("a#1-0", "b", StopGate(run="2"))
    house.drain("b#1-0")
    house.send("a#1-0", "b", StopGate(run="3"))
    assert house.inbox("b#1-0") == [StopGate(run=run) for run in "123"]
    assert house.router.routes[b"b"] == b"b#1-0"


def test_what_was_held_for_longer_than_its_ttl_is_dropped(house: House) -> None:
    house.ping("b#1-0")
    house.inboxes.clear()
    house.full.add("b#1-0")
    house.send("a#1-0", "b", StopGate(run="1"), ttl_s=2.0)
    house.send("a#1-0", "b", StopGate(run="2"), ttl_s=5.0)
    house.send("a#1-0", "b", StopGate(run="3"))
    house.now += 3.0
    house.drain("b#1-0")
    assert house.inbox("b#1-0") == [StopGate(run="2"), StopGate(run="3")]


def test_what_was_held_for_a_peer_that_goes_comes_back_once(house: House) -> None:
    house.ping("g#1-0", pools=("p",), credit=1)
    house.full.add("g#1-0")
    ids = [house.send("a#1-0", "g", JOB), house.send("a#1-0", "pool:p", JOB)]
    house.send("a#1-0", "topic:t", OUTPUT)
    house.perform(house.router.gone(b"g#1-0", house.now))
    came = house.inboxes["a#1-0"]
    assert len(came) == 2
    assert sorted(house.refused("a#1-0")) == sorted(ids)


# --- the broker's own answers, and all of it at once --------------------------------------------------------


def test_the_status_tells_who_is_there_and_what_waits(house: House) -> None:
    house.ping("b#1-0", topics=("o",))
    house.full.add("b#1-0")
    house.send("a#1-0", "b", JOB)
    house.send("a#1-0", "pool:p", JOB)
    status = house.status()
    assert isinstance(status["peers"], list)
    peers = {peer["name"]: peer for peer in status["peers"]}
    assert set(peers) == {"a", "b", "status"}
    assert (peers["b"]["held"], peers["b"]["topics"]) == (1, ["o"])
    assert status["pools"] == {"p": {"jobs": 1, "credit": 0}}


def test_a_ping_is_answered_with_a_pong_that_names_it(house: House) -> None:
    id = house.send("a#1-0", "broker", Ping())
    [(header, body)] = house.inboxes["a#1-0"]
    assert (header.correlation, body) == (id, Pong(broker="9-b"))


def test_what_the_broker_does_not_understand_comes_back(house: House) -> None:
    id = house.send("a#1-0", "broker", JOB)
    assert "StopGate" in house.refused("a#1-0")[id]


PEERS = ("a#1-0", "a#2-0", "b#1-0", "g#1-0", "g#2-0", "h#1-0")
events = st.one_of(
    st.tuples(st.just("job"), st.sampled_from(PEERS)),
    st.tuples(st.just("ping"), st.sampled_from(PEERS)),
    st.tuples(st.just("leave"), st.sampled_from(PEERS)),
    st.tuples(st.just("gone"), st.sampled_from(PEERS)),
    st.tuples(st.just("full"), st.sampled_from(PEERS)),
    st.tuples(st.just("drain"), st.sampled_from(PEERS)),
    st.tuples(st.just("stream"), st.sampled_from(PEERS)),
    st.tuples(st.just("answer"), st.sampled_from(PEERS)),
    st.tuples(st.just("time"), st.just("")),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(events, max_size=60))
def test_whatever_happens_the_tables_agree_and_no_job_has_two_owners(script: list[tuple[str, str]]) -> None:
    house = small(held_messages=4, pool_jobs=3)
    router = house.router
    for event, peer in script:
        match event:
            case "job":
                house.send(peer, "pool:p", JOB)
                house.send(peer, "b", JOB)
            case "ping":
                house.ping(peer, pools=("p",), credit=2, topics=("o",))
            case "leave":
                house.send(peer, "broker", Leave())
            case "gone":
                house.perform(router.gone(peer.encode(), house.now))
            case "full":
                house.full.add(peer)
            case "drain":
                house.drain(peer)
            case "stream":
                house.send(peer, "topic:o", OUTPUT)
            case "answer":
                took = [header.id for header, body in house.inboxes.get(peer, []) if body == JOB]
                house.send(peer, "a", DONE, correlation=took[-1] if took else "x")
            case "time":
                house.pass_time(4)
        peers = router._peers
        assert all(router._names[p.name] is p for p in peers.values() if not p.replaced)
        assert set(router._takers) == {id for p in peers.values() for id in p.taken}
        assert sum(len(p.taken) for p in peers.values()) == len(router._takers)
        assert not set(router._takers) & {id for pool in router._pools.values() for id in pool.jobs}
        assert set(router.express) == {p.address for p in peers.values() if not p.replaced and not p.taken}
        assert {p.address for p in peers.values() if p.held} <= set(router.waiting) <= set(peers)
        reachable = {p.address for p in peers.values() if not p.replaced} - set(router.waiting)
        assert set(router.routes.values()) == reachable
        assert all(p.held_bytes == sum(held.send.size for held in p.held) for p in peers.values())
        assert all(set(pool.members) <= set(peers) for pool in router._pools.values())
        assert all(len(p.held) <= 6 for p in peers.values())
