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

from thrum.client import Client
from thrum.configfile import load
from thrum.messages import AddTask
from thrum.packing import pack_body
from thrum.tree import running

GOALS = {1: 0.6, 100: 3.0}
ANSWER_S = 60.0


def command(token: str, number: int) -> AddTask:
    title = f"Task number {number}"
    return AddTask(auth=token, by="bench", title=title, description="Change a line in a file, and test it.")


def run_client(endpoint: str, token: str, commands: int) -> None:
    """Queue that many tasks, each after the answer to the one before; print when that began and ended."""
    with Client(endpoint) as client:
        client.request("repo.one", command(token, 0), timeout_s=ANSWER_S)
        print("ready", flush=True)
        sys.stdin.readline()
        began = time.monotonic()
        for number in range(commands):
            client.request("repo.one", command(token, number), timeout_s=ANSWER_S)
        print(began, time.monotonic(), flush=True)


def appended_per_s(directory: Path, writes: int) -> float:
    """The floor: synced appends a second."""
    record = pack_body(command("t" * 43, 0))
    file = os.open(directory / "floor", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        began = time.monotonic()
        for _ in range(writes):
            os.write(file, record)
            os.fdatasync(file)
        return writes / (time.monotonic() - began)
    finally:
        os.close(file)


def acknowledged_per_s(endpoint: str, token: str, clients: int, commands: int) -> float:
    """Durable commands a second over all clients, from the first one's begin to the last one's end."""
    own = [sys.executable, __file__, "--client", endpoint, token, str(commands // clients)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    processes = [subprocess.Popen(own, text=True, **pipes) for _ in range(clients)]  # type: ignore[call-overload]
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
    print(f"{'':12} {'commands/s':>11} {'appends/s':>10} {'ratio: median, best':>20} {'goal':>5}")
    for clients, goal in GOALS.items():
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            directory = Path(name)
            common.make_project(directory, ("one",))
            with running(directory, load(directory), work=False) as client:
                token, endpoint = common.token(directory), client._dealer.endpoint
                runs = []
                for _ in range(repeats):
                    floor = appended_per_s(directory, commands // 4)
                    ours = acknowledged_per_s(endpoint, token, clients, commands)
                    floor = (floor + appended_per_s(directory, commands // 4)) / 2
                    runs.append((ours, floor))
        ratios = [ours / floor for ours, floor in runs]
        ours, floor = (statistics.median(run[side] for run in runs) for side in (0, 1))
        print(
            f"{clients:3} clients  {ours:11,.0f} {floor:10,.0f} {statistics.median(ratios):13.2f}, {max(ratios):5.2f}"
            f" {goal:5.1f}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two short runs of each")
    parser.add_argument("--client", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        endpoint, token, commands = options.client
        run_client(endpoint, token, int(commands))
    else:
        measure(options.quick)


if __name__ == "__main__":
    main()
