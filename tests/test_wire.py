"""Messages as bytes and back, and a peer's connection, against real sockets."""

from __future__ import annotations

import logging
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgpack
import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from thrum.errors import WireError
from thrum.gate import Check, CheckResult, Gate, Verdict
from thrum.messages import Header, Message, Reply
from thrum.messages.control import Pong
from thrum.messages.gates import GateReported, RunGate
from thrum.messages.kinds import KINDS
from thrum.messages.people import AddTask, GetTasks
from thrum.messages.schedule import Announced, TaskSummary
from thrum.messages.topics import AgentOutput
from thrum.wire import (
    HEADER_MARK,
    Dealer,
    configure,
    new_incarnation,
    pack_body,
    pack_header,
    unpack_body,
    unpack_header,
)

HEADER = Header(kind="GetTasks", id="a#1-0.1", source="a", incarnation="1-0")
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.integers(0, 2**63 - 1)


@given(
    st.builds(
        Header,
        kind=words.filter(bool),
        id=words.filter(bool),
        source=words,
        incarnation=words,
        correlation=words,
        cause=words,
        fence=numbers,
        attempt=numbers,
        ttl_s=st.floats(0, 1e9),
    )
)
def test_a_header_survives_the_wire(header: Header) -> None:
    packed = pack_header(header)
    assert packed.startswith(HEADER_MARK)
    assert unpack_header(packed) == header


@given(st.binary(max_size=64))
def test_random_bytes_are_a_wire_error_that_carries_them(raw: bytes) -> None:
    with pytest.raises(WireError) as header:
        unpack_header(raw)
    assert header.value.raw == raw
    with pytest.raises(WireError):
        unpack_body("AddTask", raw)


@given(st.recursive(st.none() | st.integers(-9, 9) | words | st.binary(max_size=4), st.lists, max_leaves=20))
def test_plain_data_that_is_no_header_is_a_wire_error(plain: object) -> None:
    with pytest.raises(WireError):
        unpack_header(msgpack.packb(plain))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, ""),
        (0, 7),
        (1, ""),
        (2, None),
        (4, b"id"),
        (6, "1"),
        (6, True),
        (8, 1),
        (8, -1.0),
        (8, math.nan),
        (9, 2),
        (9, "1"),
    ],
)
def test_a_header_with_one_wrong_field_is_refused(place: int, value: object) -> None:
    fields = msgpack.unpackb(pack_header(HEADER))
    fields[place] = value
    raw = msgpack.packb(fields)
    with pytest.raises(WireError) as error:
        unpack_header(raw)
    assert error.value.raw == raw


def test_another_version_is_named_in_the_error() -> None:
    with pytest.raises(WireError, match="version 7"):
        unpack_header(msgpack.packb([*msgpack.unpackb(pack_header(HEADER))[:-1], 7]))


@pytest.mark.parametrize(
    "body",
    [
        AddTask(title="ö", description="x" * 10_000, depends_on=("a-1", "a-2"), priority=-3, auth="t", by="me"),
        Announced(
            repo="a", epoch="e", seq=3, snapshot=True, concurrency=2, tasks=(TaskSummary(id="a-1", state="pending"),)
        ),
        RunGate(
            run="r",
            gate=Gate.QUALITY,
            checks=(Check(name="t", command=("a", "b")), Check(name="s", command="a | b")),
            vector={"a": "0" * 40},
        ),
        GateReported(run="r", checks=(CheckResult(name="t", verdict=Verdict.PASSED),)),
        Reply(value={"deep": [1, 2.5, None, b"raw", {"x": True}]}),
        GetTasks(),
    ],
)
def test_a_body_survives_the_wire(body: Message) -> None:
    assert unpack_body(type(body).__name__, pack_body(body)) == body


def test_every_kind_that_needs_no_argument_survives_the_wire() -> None:
    for kind, cls in KINDS.items():
        try:
            body = cls()
        except TypeError:
            continue
        assert unpack_body(kind, pack_body(body)) == body


@pytest.mark.parametrize(
    ("kind", "plain"),
    [
        ("NoSuchKind", {}),
        ("AddTask", {}),
        ("AddTask", {"title": 1}),
        ("AddTask", {"title": "x", "more": 1}),
        ("AddTask", ["x"]),
        ("Reply", {"value": msgpack.ExtType(5, b"x")}),
    ],
)
def test_a_body_that_does_not_fit_its_kind_is_refused(kind: str, plain: object) -> None:
    raw = msgpack.packb(plain)
    with pytest.raises(WireError) as error:
        unpack_body(kind, raw)
    assert error.value.raw == raw


@pytest.mark.parametrize("value", [object(), 2**70, "\ud800"])
def test_what_has_no_form_on_the_wire_is_a_wire_error(value: object) -> None:
    with pytest.raises(WireError):
        pack_body(Reply(value=value))


def test_incarnations_are_ordered_and_never_the_same() -> None:
    assert new_incarnation(1.5).startswith("1500-")
    assert new_incarnation(1.5) != new_incarnation(1.5)


# --- a Dealer, with a bare ROUTER in the broker's place -------------------------------------------------------------


@pytest.fixture
def endpoint(tmp_path: Path) -> str:
    return f"ipc://{tmp_path}/bus"


@pytest.fixture
def router(endpoint: str) -> Iterator[zmq.Socket[bytes]]:
    with zmq.Context() as context:
        socket = context.socket(zmq.ROUTER)
        configure(socket)
        socket.setsockopt(zmq.RCVTIMEO, 10_000)
        socket.bind(endpoint)
        yield socket
        socket.close()


def received(dealer: Dealer, count: int) -> list[Message]:
    bodies: list[Message] = []
    deadline = time.monotonic() + 10
    while len(bodies) < count and time.monotonic() < deadline:
        dealer.wait(1.0)
        bodies += [envelope.body for envelope in dealer.receive()]
    return bodies


def test_a_dealer_sends_three_frames_under_its_address(endpoint: str, router: zmq.Socket[bytes]) -> None:
    with Dealer(endpoint, "a", "1-0") as dealer:
        id = dealer.send("b", GetTasks(), correlation="c", cause="d", fence=3, attempt=2, ttl_s=1.5)
        source, destination, header, body = router.recv_multipart()
        assert (source, destination) == (b"a#1-0", b"b")
        assert unpack_header(header) == Header(
            kind="GetTasks",
            id=id,
            source="a",
            incarnation="1-0",
            correlation="c",
            cause="d",
            fence=3,
            attempt=2,
            ttl_s=1.5,
        )
        assert unpack_body("GetTasks", body) == GetTasks()


def test_ids_differ_unless_they_are_given(endpoint: str) -> None:
    with Dealer(endpoint, "a", "1-0") as dealer:
        first = dealer.send("b", GetTasks())
        assert dealer.send("b", GetTasks()) != first
        assert dealer.send("b", GetTasks(), id=first) == first


def test_malformed_messages_are_logged_and_counted_and_the_next_one_arrives(
    endpoint: str, router: zmq.Socket[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    with Dealer(endpoint, "a", "1-0") as dealer, caplog.at_level(logging.WARNING):
        dealer.send("b", GetTasks())
        peer = router.recv_multipart()[0]
        header = pack_header(HEADER)
        for frames in (
            [b""],
            [b"a", header],
            [b"a", b"\x9ajunk", b""],
            [b"\xff", header, b"\x80"],
            [b"a", header, b"junk"],
            [b""] * 6,
        ):
            router.send_multipart([peer, *frames])
        router.send_multipart([peer, b"a", header, pack_body(GetTasks())])
        assert received(dealer, 1) == [GetTasks()]
        assert dealer.malformed == 6
    assert sum("malformed" in record.message for record in caplog.records) == 6
    assert any(getattr(record, "raw", b"") == b"\x9ajunk" for record in caplog.records)


def test_a_pong_ends_in_the_dealer_and_is_named_by_the_next_ping(endpoint: str, router: zmq.Socket[bytes]) -> None:
    with Dealer(endpoint, "a", "1-0") as dealer:
        ping = dealer.ping()
        peer, _, header, _ = router.recv_multipart()
        assert unpack_header(header).id == ping
        pong = Header(kind="Pong", id="p.7", source="broker", incarnation="p", correlation=ping)
        router.send_multipart([peer, peer, pack_header(pong), pack_body(Pong(broker="p"))])
        router.send_multipart([peer, b"a", pack_header(HEADER), pack_body(GetTasks())])
        assert received(dealer, 1) == [GetTasks()]
        assert (dealer.broker, dealer.pong) == ("p", ping)
        dealer.ping(credit=1)
        assert unpack_header(router.recv_multipart()[2]).correlation == "p.7"


def test_sending_to_nobody_never_blocks_and_keeps_a_bounded_number(endpoint: str) -> None:
    dealer = Dealer(endpoint, "a", "1-0")
    started = time.monotonic()
    for _ in range(12_000):
        dealer.send("b", GetTasks())
    assert time.monotonic() - started < 30
    assert 500 <= dealer.dropped <= 1_100  # ZeroMQ took about 1,000, the dealer itself 10,000
    dealer.close()
    dealer.close()


def test_what_waited_arrives_in_order_once_there_is_a_broker_and_what_is_too_old_does_not(endpoint: str) -> None:
    now = 0.0
    with Dealer(endpoint, "a", "1-0", clock=lambda: now) as dealer:
        for i in range(3_000):
            dealer.send("b", AgentOutput(task="a-1", token=1, offset=i, text=""), ttl_s=5.0 if i % 2 else 0.0)
        now = 6.0
        with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
            configure(router)
            router.setsockopt(zmq.RCVTIMEO, 10_000)
            router.bind(endpoint)
            offsets: list[int] = []
            while not dealer.flush() or router.poll(1000):
                frames = router.recv_multipart()
                body = unpack_body("AgentOutput", frames[3])
                assert isinstance(body, AgentOutput)
                offsets.append(body.offset)
    assert offsets == sorted(offsets)
    assert [i for i in offsets if not i % 2] == list(range(0, 3_000, 2))
    assert 0 < sum(i % 2 for i in offsets) < 1_000


def test_a_message_that_no_peer_would_accept_is_refused_where_it_is_sent(endpoint: str) -> None:
    with Dealer(endpoint, "a", "1-0") as dealer, pytest.raises(WireError, match="larger than"):
        dealer.send("b", Reply(value=b"x" * (64 * 1024 * 1024)))


def test_an_endpoint_that_is_none_is_a_wire_error() -> None:
    with pytest.raises(WireError, match="nonsense"):
        Dealer("nonsense", "a", "1-0")


def test_a_kind_of_a_conversation_that_is_new_to_a_process_is_understood() -> None:
    look = (
        "from thrum.packing import unpack_body; from thrum.messages import KINDS; "
        "assert 'AgentOutput' not in KINDS; "
        "print(unpack_body('AgentOutput', bytes.fromhex({raw!r})).text)"
    )
    raw = pack_body(AgentOutput(task="a-1", token=1, offset=0, text="hello")).hex()
    ran = subprocess.run([sys.executable, "-c", look.format(raw=raw)], capture_output=True, text=True, check=False)
    assert ran.stdout == "hello\n", ran.stderr
