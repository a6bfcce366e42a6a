"""The speed of a durable command beside a bare append + fdatasync: `python bench/store.py [--quick]`.

Clients, each a process of its own, queue tasks at a repo actor through the broker, one after the other, each
acknowledged after the synced write. The whole tree is up, but told to start no task. The floor is a loop that
appends as many bytes to a file as a command has, and syncs each before the next.
Absolute figures depend on the machine, and on its mood: floor and system take turns, and the ratios are judged.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import common
import zmq

from thrum.client import Client
from thrum.configfile import load
from thrum.messages import Header
from thrum.messages.people import AddTask
from thrum.packing import pack_body, pack_header
from thrum.tree import running, state
from thrum.wire import configure

ROWS = (("bare", 1, "0.6"), ("library", 1, ""), ("bare", 100, "3.0"))
"""Kind of client, how many of them, goal."""
ANSWER_S = 60.0


def command(token: str) -> AddTask:
    return AddTask(auth=token, by="bench", title="A task", description="Change a line in a file, and test it.")


def run_client(endpoint: str, token: str, commands: int) -> None:
    """Queue that many tasks, each after the answer to the one before; print when that began and ended.

    Past `thrum.client`, so that a hundred clients leave the machine to what is measured: as a message only the
    id differs, and of an answer only that it is the one, and good, is looked at.
    """
    who, life = f"client{os.getpid()}", "1-0"
    socket = zmq.Context.instance().socket(zmq.DEALER)
    configure(socket)
    socket.setsockopt(zmq.ROUTING_ID, f"{who}#{life}".encode())
    socket.setsockopt(zmq.RCVTIMEO, int(ANSWER_S * 1000))
    socket.connect(endpoint)
    header = pack_header(Header(kind="AddTask", id="0123456789", source=who, incarnation=life))
    front, back = header.split(b"0123456789")
    body = pack_body(command(token))

    def ask(number: int) -> None:
        id = b"%010d" % number
        socket.send_multipart([b"repo.one", front + id + back, body])
        frames = socket.recv_multipart()
        if id not in frames[1] or b"\xa2ok\xc3" not in frames[2]:
            raise SystemExit(f"not acknowledged: {frames}")

    ask(0)
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.monotonic()
    for number in range(1, commands + 1):
        ask(number)
    print(began, time.monotonic(), flush=True)
    socket.close(linger=1000)


def run_library_client(endpoint: str, token: str, commands: int) -> None:
    """The same with what the command line and the API use."""
    with Client(endpoint) as client:
        client.request("repo.one", command(token), timeout_s=ANSWER_S)
        print("ready", flush=True)
        sys.stdin.readline()
        began = time.monotonic()
        for _ in range(commands):
            client.request("repo.one", command(token), timeout_s=ANSWER_S)
        print(began, time.monotonic(), flush=True)


def appended_per_s(directory: Path, writes: int) -> float:
    """The floor: synced appends a second."""
    record = pack_body(command("t" * 43))
    file = os.open(directory / "floor", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        began = time.monotonic()
        for _ in range(writes):
            os.write(file, record)
            os.fdatasync(file)
        return writes / (time.monotonic() - began)
    finally:
        os.close(file)


def acknowledged_per_s(kind: str, endpoint: str, token: str, clients: int, commands: int) -> float:
    """Durable commands a second over all clients, from the first one's begin to the last one's end."""
    own = [sys.executable, __file__, "--client", kind, endpoint, token, str(commands // clients)]
    processes = [
        subprocess.Popen(own, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(clients)
    ]
    for process in processes:
        if process.stdout.readline() != "ready\n":
            raise SystemExit("a client did not start")
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    times = [tuple(map(float, process.communicate(timeout=300.0)[0].split())) for process in processes]
    if any(process.returncode for process in processes):
        raise SystemExit("a client's commands were not acknowledged")
    return commands // clients * clients / (max(end for _, end in times) - min(begin for begin, _ in times))


def measure(quick: bool) -> None:
    repeats, commands = (2, 1_000) if quick else (5, 4_000)
    print(f"{'':24} {'commands/s':>10} {'appends/s':>10}   ratio: median, best  goal")
    for kind, clients, goal in ROWS:
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            directory = Path(name)
            common.make_project(directory, ("one",))
            with running(directory, load(directory), work=False):
                found = state(directory)
                assert found is not None
                token, count = common.token(directory), commands * (5 if clients > 1 else 1)
                runs = []
                for _ in range(repeats):
                    floor = appended_per_s(directory, commands)
                    ours = acknowledged_per_s(kind, found["endpoint"], token, clients, count)
                    runs.append((ours, (floor + appended_per_s(directory, commands)) / 2))
        ratios = [ours / floor for ours, floor in runs]
        ours, floor = (statistics.median(run[side] for run in runs) for side in (0, 1))
        title = f"{clients:3} {'client' if clients == 1 else 'clients'}{', thrum.client' if kind == 'library' else ''}"
        print(
            f"{title:24} {ours:10,.0f} {floor:10,.0f} {statistics.median(ratios):15.2f}, {max(ratios):4.2f}  {goal}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two short runs of each")
    parser.add_argument("--client", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        kind, endpoint, token, commands = options.client
        (run_client if kind == "bare" else run_library_client)(endpoint, token, int(commands))
    else:
        measure(options.quick)


if __name__ == "__main__":
    main()
