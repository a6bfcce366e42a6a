"""The broker as a real process over real sockets, and its loop turn by turn; clients of it."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from thrum.broker.routing import Router
from thrum.broker.server import Server
from thrum.client import Client, error_from
from thrum.errors import BusyError, ConfigError, GitError, NotFoundError, RefusedError, ThrumError, WireError
from thrum.messages import Envelope, Header, Message, Reply
from thrum.messages.control import Dropped, GetBrokerStatus, Ping, Undeliverable
from thrum.messages.gates import StopGate
from thrum.messages.people import AddTask, GetTask, GetTasks
from thrum.messages.schedule import Announced
from thrum.messages.topics import AgentOutput, TaskChanged
from thrum.wire import MAX_MESSAGE_BYTES, Dealer, configure, pack_body, pack_header

DEADLINE_S = 20.0


class Broker:
    """The broker's process, which can be killed and started again at the same place."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "run" / "bus"
        self.endpoint = f"ipc://{self.path}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *args: str, endpoint: str = "") -> None:
        ready, written = os.pipe()
        command = [sys.executable, "-m", "thrum.broker.server", endpoint or self.endpoint, "--ready-fd", str(written)]
        self.process = subprocess.Popen(
            [*command, *args], pass_fds=[written], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        os.close(written)
        try:
            if not os.read(ready, 1):
                raise AssertionError(f"the broker did not start: {self.stop()!r}")
        finally:
            os.close(ready)

    def stop(self, how: int = signal.SIGKILL) -> tuple[int, bytes, bytes]:
        """Its exit code and what it wrote to stdout and stderr."""
        assert self.process is not None
        process, self.process = self.process, None
        process.send_signal(how)
        out, err = process.communicate(timeout=DEADLINE_S)
        return process.returncode, out, err


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path)
    broker.start()
    yield broker
    if broker.process is not None:
        broker.stop()


class Peer(Dealer):
    """A peer that remembers all it got."""

    def __init__(self, broker: Broker, name: str, incarnation: str = "1-0", **ping: object) -> None:
        super().__init__(broker.endpoint, name, incarnation)
        self.got: list[Envelope] = []
        self.join(**ping)

    def join(self, **ping: object) -> None:
        """Ping, and wait for the broker's answer."""
        id = self.ping(**ping)  # type: ignore[arg-type]
        self.until(lambda: self.pong == id)

    def until(self, reached: Callable[[], bool]) -> None:
        """Receive until it is so; fails after the deadline."""
        deadline = time.monotonic() + DEADLINE_S
        while not reached():
            assert time.monotonic() < deadline, self.got[-3:]
            self.wait(0.1)
            self.got += self.receive()

    def bodies(self, kind: type[Message] = Message) -> list[Message]:
        return [envelope.body for envelope in self.got if isinstance(envelope.body, kind)]

    def expect(self, body: Message) -> None:
        self.until(lambda: body in self.bodies())

    def expect_back(self, id: str) -> None:
        """Wait until the message comes back as undeliverable."""
        self.until(lambda: any(e.header.correlation == id and isinstance(e.body, Undeliverable) for e in self.got))


@contextlib.contextmanager
def peers(broker: Broker, *names: str) -> Iterator[list[Peer]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Peer(broker, *name.split("#"))) for name in names]


def status(broker: Broker) -> dict[str, dict[str, object]]:
    with Client(broker.endpoint) as client:
        return {
            f"{peer['name']}#{peer['incarnation']}": peer
            for peer in client.request("broker", GetBrokerStatus())["peers"]
        }


def job(run: int) -> StopGate:
    return StopGate(run=str(run))


# --- the process ----------------------------------------------------------------------------------------------


def test_it_prints_nothing_makes_its_directory_for_us_alone_and_ends_on_sigterm(broker: Broker) -> None:
    assert broker.path.parent.stat().st_mode & 0o777 == 0o700
    assert broker.path.stat().st_mode & 0o077 == 0
    code, out, err = broker.stop(signal.SIGTERM)
    assert (code, out) == (0, b"")
    assert b"listening" in err


def test_it_ends_when_the_process_that_it_watches_ends(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as parent:
        broker.start("--watch", str(parent.pid))
        assert broker.process is not None
        # Ctrl-C on a terminal reaches it too, but it is the watched process that says when to end.
        broker.process.send_signal(signal.SIGINT)
        with Client(broker.endpoint) as client:
            client.request("broker", GetBrokerStatus())
        parent.kill()
    _, err = broker.process.communicate(timeout=DEADLINE_S)
    assert (broker.process.returncode, b"Traceback" in err) == (0, False)


def run_refused(*args: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "thrum.broker.server", *args]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def test_a_path_that_is_too_long_is_refused_with_its_length_and_the_limit(tmp_path: Path) -> None:
    code, said = run_refused(f"ipc://{tmp_path}/{'x' * 107}")
    assert code == 2
    assert "107" in said


def test_a_directory_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    code, said = run_refused(f"ipc://{tmp_path}/bus")
    assert code == 1
    assert "open to other users" in said


def test_a_second_broker_does_not_take_the_path_from_the_first(broker: Broker) -> None:
    code, said = run_refused(broker.endpoint)
    assert code == 75
    assert "another broker" in said
    assert status(broker)


@pytest.mark.parametrize(
    ("args", "code"), [(("tcp://0.0.0.0:0",), 1), (("nonsense",), 2), (("inproc://x", "--watch", "99999999"), 2)]
)
def test_what_cannot_or_must_not_be_listened_on_is_refused(args: tuple[str, ...], code: int) -> None:
    assert run_refused(*args)[0] == code


def test_it_listens_on_loopback_tcp_as_well(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    with zmq.Context() as context, context.socket(zmq.ROUTER) as probe:
        probe.setsockopt(zmq.LINGER, 0)
        port = probe.bind_to_random_port("tcp://127.0.0.1")
    broker.endpoint = f"tcp://127.0.0.1:{port}"
    broker.start()
    with peers(broker, "a", "b") as (a, b):
        a.send("b", job(1))
        b.expect(job(1))
    broker.stop()


# --- peers --------------------------------------------------------------------------------------------------------


def test_a_restarted_peer_under_the_same_name_is_heard_and_the_old_one_gets_nothing(broker: Broker) -> None:
    with peers(broker, "a", "b#9-x", "b#10-a") as (a, old, new):
        a.send("b", job(1))
        new.expect(job(1))
        new.send("a", job(2))
        a.expect(job(2))
        old.expect_back(old.send("a", job(3)))
        assert old.bodies(StopGate) == []
        assert a.bodies(StopGate) == [job(2)]


PEER = """
import sys
from thrum.wire import Dealer
dealer = Dealer(sys.argv[1], sys.argv[2], "1-0")
ping = dealer.ping(pools=("p",), credit=5)
while dealer.pong != ping:
    dealer.wait(1.0)
    dealer.receive()
print("ready", flush=True)
while True:
    dealer.wait(1.0)
    if dealer.receive():
        print("got", flush=True)
"""


@contextlib.contextmanager
def other_process(broker: Broker, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """A peer in a process of its own, member of pool `p`; it says on stdout what happens to it."""
    command = [sys.executable, "-c", PEER, broker.endpoint, name]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"ready\n"
            yield process
        finally:
            process.kill()


def test_a_dead_peers_messages_come_back(broker: Broker) -> None:
    with peers(broker, "a") as (a,), other_process(broker, "b") as b:
        b.kill()
        b.wait(DEADLINE_S)
        a.expect_back(a.send("b", job(1)))


def test_a_pool_member_that_is_killed_hands_back_long_before_it_would_be_missed(broker: Broker) -> None:
    with peers(broker, "a") as (a,), other_process(broker, "g") as g:
        id = a.send("pool:p", job(1))
        assert g.stdout is not None
        assert g.stdout.readline() == b"got\n"
        g.kill()
        g.wait(DEADLINE_S)
        started = time.monotonic()
        a.expect_back(id)
        assert time.monotonic() - started < 8


def test_a_pool_shares_jobs_among_those_with_credit(broker: Broker) -> None:
    with peers(broker, "a", "g1", "g2") as (a, g1, g2):
        g1.join(pools=("p",), credit=2)
        g2.join(pools=("p",), credit=3)
        for run in range(6):
            a.send("pool:p", job(run))
        a.join()
        g1.until(lambda: len(g1.bodies()) == 2)
        g2.until(lambda: len(g2.bodies()) == 3)
        assert g1.bodies() == [job(0), job(2)]
        for envelope in g1.got:
            g1.send("a", Reply(), correlation=envelope.header.id)
        g1.join(pools=("p",), credit=1)
        g1.expect(job(5))


def test_a_peer_that_stops_reading_slows_nobody_and_is_told_how_much_it_missed(broker: Broker) -> None:
    total, text = 20_000, "x" * 100
    with peers(broker, "pub", "a", "b") as (pub, a, b), Peer(broker, "slow", topics=("output.",)) as slow:
        worst_s = 0.0
        for offset in range(total):
            pub.send("topic:output.a-1", AgentOutput(task="a-1", token=1, offset=offset, text=text))
            if offset % 500 == 499:
                pub.join()
                started = time.monotonic()
                a.send("b", job(offset))
                b.expect(job(offset))
                worst_s = max(worst_s, time.monotonic() - started)
        assert pub.dropped == 0
        assert worst_s < 2.0
        peer = status(broker)["slow#1-0"]
        assert isinstance(peer["held"], int)
        assert isinstance(peer["dropped"], int)
        assert 4_000 <= peer["held"] <= 10_000
        assert peer["dropped"] > 1_000

        def accounted() -> int:
            missed = sum(body.count for body in slow.bodies(Dropped) if isinstance(body, Dropped))
            return missed + len(slow.bodies(AgentOutput))

        slow.until(lambda: accounted() == total)
        assert slow.bodies(Dropped)
        offsets = [body.offset for body in slow.bodies(AgentOutput) if isinstance(body, AgentOutput)]
        assert offsets == sorted(set(offsets))


def test_what_a_peer_that_stops_reading_has_no_room_for_comes_back(broker: Broker) -> None:
    with peers(broker, "a", "slow") as (a, slow):
        ids = []
        for run in range(14_000):
            ids.append(a.send("slow", job(run)))
            if run % 500 == 499:
                a.join()
        a.expect_back(ids[-1])
        back = {envelope.header.correlation for envelope in a.got}
        slow.until(lambda: len(slow.got) + len(back) == len(ids))
        assert [e.header.id for e in slow.got] == [id for id in ids if id not in back]


def test_peers_are_reachable_again_after_the_broker_was_killed_and_they_pinged(broker: Broker) -> None:
    with peers(broker, "a", "b") as (a, b):
        first = a.broker
        broker.stop(signal.SIGKILL)
        broker.start()
        a.join()
        b.join()
        assert a.broker == b.broker != first
        a.send("b", job(1))
        b.expect(job(1))


def test_a_message_that_is_too_large_ends_its_senders_connection_and_nothing_else(broker: Broker) -> None:
    with peers(broker, "a", "b") as (a, b), Peer(broker, "big") as big:
        header = pack_header(Header(kind="GetTasks", id="1", source="big", incarnation="1-0"))
        big.socket.send_multipart([b"b", header, b"x" * (MAX_MESSAGE_BYTES + 1)])
        a.send("b", job(1))
        b.expect(job(1))
        big.join()
        big.send("b", job(2))
        b.expect(job(2))
        assert (b.bodies(), b.malformed) == ([job(1), job(2)], 0)


# --- frames that are no message -----------------------------------------------------------------------------------


def foreign(context: zmq.Context[zmq.Socket[bytes]], endpoint: str, id: bytes = b"") -> zmq.Socket[bytes]:
    socket = context.socket(zmq.DEALER)
    configure(socket)
    if id:
        socket.setsockopt(zmq.ROUTING_ID, id)
    socket.connect(endpoint)
    return socket


def test_malformed_messages_of_any_number_of_frames_disturb_nobody(broker: Broker) -> None:
    dice = random.Random(4)
    header = pack_header(Header(kind="StopGate", id="1", source="a", incarnation="1-0"))
    pieces = [b"", b"b", b"broker", b"a#1-0", b"\x9a", header, pack_body(job(-1)), b"topic:x", b"pool:p"]
    total = 3_000
    with peers(broker, "a", "b", "c") as (a, b, c), zmq.Context() as context:
        strangers = [foreign(context, broker.endpoint, id) for id in (b"", b"\x9a" * 9, b"x", b"x#1-0", b"broker#1-0")]
        for run in range(total):
            for stranger in strangers:
                frames = [dice.choice([*pieces, dice.randbytes(9)]) for _ in range(dice.randint(0, 6))]
                with contextlib.suppress(zmq.Again):
                    stranger.send_multipart(frames or [b""], zmq.DONTWAIT)
            for peer in (a, c):
                peer.send("b", job(run))
            if run % 100 == 99:
                a.join()
                c.join()
        b.until(lambda: len(b.bodies()) >= 2 * total)
        for name in "ac":
            assert [e.body for e in b.got if e.header.source == name] == [job(run) for run in range(total)]
        assert len(b.got) == 2 * total
        assert b.malformed == 0
        for stranger in strangers:
            stranger.close()


class Bench:
    """The server's loop in this process, turn by turn, so that what arrives next to what is known."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str) -> None:
        self.context = context
        self.endpoint = endpoint
        self.socket = context.socket(zmq.ROUTER)
        configure(self.socket)
        self.socket.bind(endpoint)
        self.router = Router("9-b")
        self.server = Server(self.socket, self.router)
        self.others: list[zmq.Socket[bytes]] = []

    def peer(self, name: str) -> zmq.Socket[bytes]:
        socket = foreign(self.context, self.endpoint, f"{name}#1-0".encode())
        self.others.append(socket)
        socket.setsockopt(zmq.RCVTIMEO, int(DEADLINE_S * 1000))
        socket.send_multipart([b"broker", header_of(name, "Ping"), pack_body(Ping())])
        self.turn()
        socket.recv_multipart()
        return socket

    def turn(self) -> None:
        """Wait until something has arrived, and let the loop handle all of it."""
        assert self.socket.poll(int(DEADLINE_S * 1000))
        while self.server.turn(0.0):
            pass


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with zmq.Context() as context:
        bench = Bench(context, "inproc://bus")  # over inproc, what was sent has arrived
        yield bench
        for socket in (bench.socket, *bench.others):
            socket.close()


def header_of(name: str, kind: str = "GetTasks") -> bytes:
    return pack_header(Header(kind=kind, id="1", source=name, incarnation="1-0"))


def left_in(socket: zmq.Socket[bytes]) -> list[list[bytes]]:
    found = []
    with contextlib.suppress(zmq.Again):
        while True:
            found.append(socket.recv_multipart(zmq.DONTWAIT))
    return found


@pytest.mark.parametrize("count", [1, 2, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("times", [1, 2, 3, 4])
def test_a_known_peer_that_sends_other_than_three_frames_gets_nothing_through(
    bench: Bench, count: int, times: int
) -> None:
    bad, target = bench.peer("bad"), bench.peer("b")
    whole = [b"b", header_of("bad"), pack_body(GetTasks())]
    for _ in range(times):
        bad.send_multipart((whole * 3)[:count])
    bench.turn()
    assert left_in(target) == []
    assert bench.router.counts.malformed >= 1
    bad.send_multipart(whole)
    bench.turn()
    assert left_in(target) == [whole]


@pytest.mark.parametrize("count", [1, 2, 4, 5, 6, 7, 8])
def test_a_known_peer_that_turns_bad_costs_others_one_message_at_most_and_never_mixes(bench: Bench, count: int) -> None:
    bad, good, target = bench.peer("bad"), bench.peer("good"), bench.peer("b")
    whole = [b"b", header_of("bad"), b"bad"]
    for i in range(50):
        bad.send_multipart((whole * 3)[:count])
        good.send_multipart([b"b", header_of("good"), b"%d" % i])
    bench.turn()
    arrived = left_in(target)
    assert all(frames[:2] == [b"b", header_of("good")] for frames in arrived)
    numbers = [int(frames[2]) for frames in arrived]
    assert numbers == sorted(set(numbers))
    assert len(numbers) >= 49


def test_two_one_frame_messages_cannot_be_read_as_one(bench: Bench) -> None:
    one, other, target = bench.peer("one"), bench.peer("other"), bench.peer("b")
    one.send(b"b")
    other.send(pack_body(GetTasks()))
    bench.turn()
    assert left_in(target) == []
    assert 1 <= bench.router.counts.malformed <= 2


def test_a_message_to_a_peer_that_went_without_a_word_comes_back(bench: Bench) -> None:
    one, target = bench.peer("one"), bench.peer("b")
    target.close()
    deadline = time.monotonic() + DEADLINE_S
    while not (back := left_in(one)):  # what is sent while ZeroMQ still closes the pipe is lost without a word
        assert time.monotonic() < deadline
        one.send_multipart([b"b", header_of("one"), pack_body(GetTasks())])
        bench.turn()
    assert b"is gone" in back[0][2]


def test_what_follows_a_held_message_waits_behind_it(bench: Bench) -> None:
    one, slow = bench.peer("one"), bench.peer("slow")
    for i in range(2_500):
        one.send_multipart([b"slow", header_of("one"), b"%d" % i])
        bench.turn()
    assert bench.router.waiting
    # An answer of the broker's own comes while there is room again that the loop has not used yet.
    read = [slow.recv_multipart() for _ in range(1_500)]
    slow.send_multipart([b"broker", header_of("slow", "Ping"), pack_body(Ping())])
    while bench.router.waiting:
        bench.server.turn(0.0)
        read += left_in(slow)
    read += left_in(slow)
    assert [frames[2] for frames in read[:2_500]] == [b"%d" % i for i in range(2_500)]
    assert len(read) == 2_501


# --- clients ------------------------------------------------------------------------------------------------------


class Echo(threading.Thread):
    """An actor that answers with what `answer` makes of the request; stops at the end of the block."""

    def __init__(self, broker: Broker, name: str, answer: Callable[[Envelope], Reply | None]) -> None:
        super().__init__()
        self.args = (broker, name, answer)
        self.over = threading.Event()

    def run(self) -> None:
        broker, name, answer = self.args
        with Peer(broker, name) as peer:
            while not self.over.is_set():
                peer.wait(0.05)
                for envelope in peer.receive():
                    reply = answer(envelope)
                    if reply is not None:
                        peer.send(envelope.header.sender, reply, correlation=envelope.header.id)

    def __enter__(self) -> Echo:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.join(DEADLINE_S)


def test_a_request_is_answered_with_a_value(broker: Broker) -> None:
    with Echo(broker, "repo.a", lambda e: Reply(value=[type(e.body).__name__])), Client(broker.endpoint) as client:
        assert client.request("repo.a", GetTasks()) == ["GetTasks"]
        assert client.request("repo.a", GetTask(task="a-1")) == ["GetTask"]


def test_a_request_is_sent_again_under_one_id_until_it_is_answered(broker: Broker) -> None:
    ids: list[str] = []

    def answer(envelope: Envelope) -> Reply | None:
        ids.append(envelope.header.id)
        return Reply(value="at last") if len(ids) == 3 else None

    with Echo(broker, "repo.a", answer), Client(broker.endpoint) as client:
        assert client.request("repo.a", AddTask(title="x"), retry_every_s=0.05) == "at last"
    assert len(set(ids)) == 1


def test_a_request_to_an_actor_that_comes_later_is_answered(broker: Broker) -> None:
    with Client(broker.endpoint) as client:
        client.request("broker", GetBrokerStatus())
        with Echo(broker, "repo.a", lambda _: Reply(value=1)):
            assert client.request("repo.a", GetTasks(), retry_every_s=0.05) == 1


def test_a_request_that_nobody_takes_ends_at_its_deadline_and_says_to_whom_and_what_to_do(broker: Broker) -> None:
    with Client(broker.endpoint) as client:
        with pytest.raises(BusyError, match=r"repo\.a .*not connected") as error:
            client.request("repo.a", GetTasks(), timeout_s=0.3, retry_every_s=0.1)
        assert error.value.remedy
        assert error.value.exit_code == 75


def test_without_a_broker_the_error_says_so(tmp_path: Path) -> None:
    with Client(f"ipc://{tmp_path}/bus") as client, pytest.raises(BusyError, match="no broker") as error:
        client.request("repo.a", GetTasks(), timeout_s=0.2)
    assert "thrum up" in error.value.remedy


def test_an_error_in_a_reply_is_raised_as_what_it_is(broker: Broker) -> None:
    reply = Reply(ok=False, code="not-found", message="no task a-9", remedy="see `thrum task list`")
    with Echo(broker, "repo.a", lambda _: reply), Client(broker.endpoint) as client:
        with pytest.raises(NotFoundError, match="no task a-9") as error:
            client.request("repo.a", GetTask(task="a-9"))
        assert error.value.remedy == "see `thrum task list`"


@pytest.mark.parametrize(
    ("error", "cls"),
    [
        (RefusedError("no", remedy="do"), RefusedError),
        (ConfigError("bad", file="f.toml", key="k", remedy="mend"), ConfigError),
        (GitError("git died", command=("git",), exit_code_seen=128), GitError),
        (WireError("junk", raw=b"x"), WireError),
    ],
)
def test_every_error_keeps_its_class_message_remedy_and_exit_code(error: ThrumError, cls: type[ThrumError]) -> None:
    seen = error_from(Reply(ok=False, code=error.code, message=error.message, remedy=error.remedy))
    assert type(seen) is cls
    assert (str(seen), seen.message, seen.remedy) == (str(error), error.message, error.remedy)
    assert (seen.code, seen.exit_code) == (error.code, error.exit_code)


def test_an_error_of_a_code_that_we_do_not_know_keeps_the_code() -> None:
    seen = error_from(Reply(ok=False, code="brand-new", message="m"))
    assert type(seen) is ThrumError
    assert seen.code == "brand-new"


def test_a_subscription_yields_what_was_said_since_it_was_asked_for_and_ends_at_its_deadline(broker: Broker) -> None:
    with peers(broker, "a") as (a,), Client(broker.endpoint) as client:
        events = client.events(("task.",), timeout_s=1.0)
        a.send("topic:task.a", TaskChanged(task="a-1", state="s", kind="k", at=1.0))
        a.send("topic:output.a-1", AgentOutput(task="a-1", token=1, offset=0, text=""))
        assert client.request("broker", GetBrokerStatus())
        assert [type(event.body) for event in events] == [TaskChanged]


def test_what_arrives_together_with_an_answer_is_not_lost_to_the_subscription(broker: Broker) -> None:
    with peers(broker, "a") as (a,), Client(broker.endpoint, name="edge.x") as client:
        events = client.events(("task.",), timeout_s=0.5)
        a.send("edge.x", Reply(value=1), correlation="asked")
        a.send("topic:task.a", TaskChanged(task="a-1", state="s", kind="k", at=1.0))
        status(broker)  # The broker has handed both on: they are there when the question is asked.
        client.request("broker", GetBrokerStatus(), id="asked")  # either answer will do
        assert [type(event.body) for event in events] == [TaskChanged]


def test_a_subscription_without_a_broker_ends_with_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thrum.client.SILENCE_S", 0.2)
    monkeypatch.setattr("thrum.client.PING_EVERY_S", 0.1)
    with Client(f"ipc://{tmp_path}/bus") as client, pytest.raises(BusyError, match="nothing answers"):
        client.events(("task.",))


def test_a_client_that_waits_for_long_goes_on_pinging(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thrum.client.PING_EVERY_S", 0.2)
    with Client(broker.endpoint, name="edge.x") as client:
        for _ in client.events(("task.",), timeout_s=3.0):
            pytest.fail("nothing was said")
        [peer] = [peer for address, peer in status(broker).items() if address.startswith("edge.x#")]
        assert isinstance(peer["silent_s"], float)
        assert peer["silent_s"] < 2.0


def test_many_messages_both_ways_all_arrive_in_order(broker: Broker) -> None:
    announced = Announced(repo="a", epoch="e", seq=0, snapshot=False, tasks=(), concurrency=1)
    with peers(broker, "a", "b") as (a, b):
        for _ in range(10):
            ids = [a.send("b", announced) for _ in range(500)]
            back = [b.send("a#1-0", job(run)) for run in range(500)]
            b.until(lambda ids=ids: [e.header.id for e in b.got[-500:]] == ids)  # type: ignore[misc]
            a.until(lambda back=back: [e.header.id for e in a.got[-500:]] == back)  # type: ignore[misc]
        assert len(a.got) == len(b.got) == 5_000
