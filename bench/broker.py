"""The broker's speed beside libzmq's own `zmq.proxy` with the same frames: `python bench/broker.py [--quick]`.

One way: N clients send to one sink, each in its own process, with a window of messages in flight, so that
neither side has to drop any. The sink checks that each client's messages arrive whole, in order and unmixed.
Round trip: one client and one echo, everything pinned to one CPU, as it is bimodal otherwise.
Absolute figures depend on the machine; the ratios are what is judged.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import zmq

from thrum.messages import Header
from thrum.messages.control import Ping
from thrum.wire import configure, pack_body, pack_header

IN_FLIGHT = 1_500
CYCLE = 1_000
TIMEOUT_S = 60.0
Recv = Callable[[], list[bytes]]
GOALS = {200: 0.3, 4096: 0.8}


def name(number: int) -> str:
    return f"client{number:04d}"


def address(who: str) -> bytes:
    return f"{who}#1-0".encode()


def header(who: str, id: str) -> bytes:
    return pack_header(Header(kind="AgentOutput", id=id, source=who, incarnation="1-0"))


def dealer(endpoint: str, who: str) -> zmq.Socket[bytes]:
    socket = zmq.Context.instance().socket(zmq.DEALER)
    configure(socket)
    socket.setsockopt(zmq.ROUTING_ID, address(who))
    socket.setsockopt(zmq.RCVTIMEO, int(TIMEOUT_S * 1000))
    socket.setsockopt(zmq.SNDTIMEO, int(TIMEOUT_S * 1000))
    socket.connect(endpoint)
    return socket


# --- the roles, each a process of its own -----------------------------------------------------------------------


def run_sender(endpoint: str, number: int, messages: int, size: int, window: int) -> None:
    """Send that many messages, no more than `window` of them without word from the sink."""
    print("ready", flush=True)
    sys.stdin.readline()
    who = name(number)
    socket = dealer(endpoint, who)
    send = super(type(socket), socket).send  # as the broker does: the wrappers would be what is measured
    # Of fixed width, so that a header is made by putting two halves together.
    front, back = header(who, "0123456789").split(b"0123456789")
    bodies = [b"%04d%010d" % (number, i % CYCLE) + b"." * (size - 14) for i in range(CYCLE)]
    socket.send_multipart([b"sink", header(who, "hello"), pack_body(Ping())])
    more = int(zmq.SNDMORE)
    allowed = int(socket.recv_multipart()[-1])
    for sent in range(messages):
        while sent >= allowed:
            allowed = int(socket.recv_multipart()[-1])
        send(b"sink", more)
        send(b"%b%010d%b" % (front, sent, back), more)
        send(bodies[sent % CYCLE])
    while allowed < messages + window:
        allowed = int(socket.recv_multipart()[-1])
    socket.close(linger=1000)


def run_sink(endpoint: str, clients: int, messages: int, size: int, window: int, proxied: bool) -> None:
    """Receive everything, checked, and print how long it took."""
    socket = dealer(endpoint, "sink")
    bare = super(type(socket), socket).recv
    greet(socket, "sink", proxied)
    offset = header(name(0), "0123456789").index(b"0123456789")

    def allow(number: int, count: int) -> None:
        frames = [address(name(number)), header("sink", "allow"), b"%d" % count]
        socket.send_multipart([frames[0], *frames] if proxied else frames)

    greeted = 0
    while greeted < clients:
        greeted += b"hello" in socket.recv_multipart()[-2]
    received = [0] * clients
    started = time.perf_counter()
    for number in range(clients):
        allow(number, window)
    left, step = clients * messages, max(1, window // 2)
    more = False
    while left:
        if proxied:
            bare()
        destination, head, frame = bare(), bare(), bare(0, False)
        body, more = frame.bytes, frame.more
        number = int(body[:4])
        seen = received[number]
        if more or destination != b"sink" or len(body) != size or int(body[4:14]) != seen % CYCLE:
            sys.exit(f"message {seen} of client {number} arrived mixed or out of order: {destination!r} {body[:20]!r}")
        if int(head[offset : offset + 10]) != seen:
            sys.exit(f"message {seen} of client {number} has the header of another: {head!r}")
        received[number] = seen = seen + 1
        left -= 1
        if seen % step == 0 or seen == messages:
            allow(number, seen + window)
    print(time.perf_counter() - started, flush=True)
    sys.stdin.readline()
    socket.close(linger=1000)


def run_echo(endpoint: str, proxied: bool) -> None:
    """Send everything back to where it came from, until a message says that it is over."""
    socket = dealer(endpoint, "echo")
    greet(socket, "echo", proxied)
    back = header("echo", "0123456789")
    while True:
        frames = socket.recv_multipart()
        if frames[-1] == b"over":
            break
        reply = [address(name(0)), back, frames[-1]]
        if b"hello" in frames[-2] or frames[-3] == b"echo":
            socket.send_multipart([reply[0], *reply] if proxied else reply)
    socket.close(linger=1000)


def run_caller(endpoint: str, trips: int, size: int) -> None:
    """Print the median of that many round trips, in seconds."""
    socket = dealer(endpoint, name(0))
    head, body = header(name(0), "0123456789"), b"." * size
    took = []
    for _ in range(trips):
        started = time.perf_counter()
        socket.send_multipart([b"echo", head, body])
        if socket.recv_multipart()[-1] != body:
            sys.exit("another message came back")
        took.append(time.perf_counter() - started)
    socket.send_multipart([b"echo", head, b"over"])
    print(statistics.median(took), flush=True)
    socket.close(linger=1000)


def run_proxy(front: str, back: str) -> None:
    """What the broker is measured against: libzmq's own loop, in C."""
    frontend, backend = (zmq.Context.instance().socket(kind) for kind in (zmq.ROUTER, zmq.DEALER))
    for socket, endpoint in ((frontend, front), (backend, back)):
        configure(socket)
        socket.bind(endpoint)
    print("ready", flush=True)
    zmq.proxy(frontend, backend)


def greet(socket: zmq.Socket[bytes], who: str, proxied: bool) -> None:
    """Make the peer known, and say that it is, so that nothing is sent to it before."""
    if not proxied:
        socket.send_multipart(
            [b"broker", pack_header(Header(kind="Ping", id="0", source=who, incarnation="1-0")), pack_body(Ping())]
        )
        socket.recv_multipart()
    print("ready", flush=True)


# --- the measurement ----------------------------------------------------------------------------------------------


def start(*args: object) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "--role", *map(str, args)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    text = process.stdout.readline().strip()
    if not text:
        raise SystemExit(f"{process.args} ended with {process.wait()}")
    return text


def say(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdin is not None
    process.stdin.write(text + "\n")
    process.stdin.flush()


@contextlib.contextmanager
def middle(proxied: bool) -> Iterator[tuple[str, str, subprocess.Popen[str]]]:
    """The thing in the middle, running: where clients connect, where the sink does, and its process."""
    with tempfile.TemporaryDirectory(prefix="bus") as directory:
        front, back = f"ipc://{directory}/front", f"ipc://{directory}/back"
        if proxied:
            process = start("proxy", front, back)
            line(process)
        else:
            back = front
            ready, written = os.pipe()
            command = [sys.executable, "-m", "thrum.broker.server", front, "--ready-fd", str(written)]
            process = subprocess.Popen(
                [*command, "--watch", str(os.getpid())], pass_fds=[written], text=True, stderr=subprocess.DEVNULL
            )
            os.close(written)
            os.read(ready, 1)
            os.close(ready)
        try:
            yield front, back, process
        finally:
            process.kill()
            process.communicate()


def cpu_s(process: subprocess.Popen[str]) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def one_way(proxied: bool, clients: int, messages: int, size: int) -> tuple[float, float]:
    """Messages a second, and CPU seconds of the thing in the middle for each."""
    each, window = messages // clients, max(4, IN_FLIGHT // clients)
    with middle(proxied) as (front, back, process):
        senders = [start("sender", front, number, each, size, window) for number in range(clients)]
        for sender in senders:
            line(sender)
        sink = start("sink", back, clients, each, size, window, int(proxied))
        line(sink)
        for sender in senders:
            say(sender, "go")
        spent = cpu_s(process)
        took_s = float(line(sink))
        spent = cpu_s(process) - spent
        for child in senders:
            child.communicate(timeout=TIMEOUT_S)
        sink.communicate("\n", timeout=TIMEOUT_S)
        if any(child.returncode for child in (*senders, sink)):
            raise SystemExit("a client did not get its messages through")
    return each * clients / took_s, spent / (each * clients)


def round_trip(proxied: bool, trips: int, size: int) -> float:
    with middle(proxied) as (front, back, _):
        echo = start("echo", back, int(proxied))
        line(echo)
        caller = start("caller", front, trips, size)
        took_s = float(line(caller))
        for child in (caller, echo):
            child.communicate(timeout=TIMEOUT_S)
    return took_s


def measure(quick: bool) -> None:
    repeats, messages = (1, 40_000) if quick else (3, 100_000)
    print(f"{'one way':24} {'broker/s':>10} {'proxy/s':>10} {'ratio':>6} {'goal':>5}   CPU µs a message: broker, proxy")
    for size, goal in GOALS.items():
        for clients in (1, 10, 100):
            # Next to each other and repeated: the machine's own mood changes from minute to minute.
            runs = [
                (one_way(False, clients, messages, size), one_way(True, clients, messages, size))
                for _ in range(repeats)
            ]
            ratio = statistics.median(ours[0] / floor[0] for ours, floor in runs)
            ours, floor = max(run[0] for run in runs), max(run[1] for run in runs)
            print(
                f"{size:5} B, {clients:3} clients{'':6} {ours[0]:10,.0f} {floor[0]:10,.0f} {ratio:6.2f} {goal:5.1f}"
                f"   {ours[1] * 1e6:.1f}, {floor[1] * 1e6:.1f}",
                flush=True,
            )
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cpus)})
    print(f"{'round trip, one CPU':24} {'broker µs':>10} {'proxy µs':>10} {'ratio':>6} {'goal':>5}")
    for size in GOALS:
        trips = [
            (round_trip(False, messages // 20, size), round_trip(True, messages // 20, size)) for _ in range(repeats)
        ]
        ratio = statistics.median(ours / floor for ours, floor in trips)
        best = [min(run[i] for run in trips) * 1e6 for i in (0, 1)]
        print(f"{size:5} B{'':17} {best[0]:10.0f} {best[1]:10.0f} {ratio:6.2f} {2.0:5.1f}", flush=True)
    os.sched_setaffinity(0, cpus)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short run of each")
    parser.add_argument("--role", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    match options.role:
        case None:
            measure(options.quick)
        case ["sender", endpoint, *numbers]:
            run_sender(endpoint, *map(int, numbers))
        case ["sink", endpoint, *numbers, proxied]:
            run_sink(endpoint, *map(int, numbers), proxied=proxied == "1")
        case ["echo", endpoint, proxied]:
            run_echo(endpoint, proxied == "1")
        case ["caller", endpoint, trips, size]:
            run_caller(endpoint, int(trips), int(size))
        case ["proxy", front, back]:
            run_proxy(front, back)
        case _:
            parser.error("no such role")


if __name__ == "__main__":
    main()
