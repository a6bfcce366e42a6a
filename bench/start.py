"""How fast Thrum's processes start and how small they stay: `python bench/start.py [--quick]`.

Each figure stands beside bare interpreters that import the same packages, the standard library's and others', and
nothing of Thrum's: for `thrum up` as many at once as the tree has processes; for `thrum task add` one; for an idle
repo actor's private memory (USS) one that has them all in memory.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import common
import psutil

REPOS = tuple(f"repo{number}" for number in range(1, 11))
GOAL = 1.5
_IDLE_S = 3.0

_LISTED = "import sys, json; {work}\nprint(json.dumps([n for n in sys.modules if not n.startswith(('thrum', '__'))]))"
_BARE = """\
import importlib, sys
for name in sys.argv[1].split(","):
    try:
        importlib.import_module(name)
    except ImportError:
        pass
print("ready", flush=True)
sys.stdin.read()
"""


def packages(work: str) -> str:
    """The modules, other than Thrum's, that are imported once `work` has run, as `_BARE` takes them."""
    # By their full names and in the order of their import: what a package imports of its own is not imported twice.
    ran = subprocess.run([sys.executable, "-P", "-c", _LISTED.format(work=work)], check=True, capture_output=True)
    return ",".join(json.loads(ran.stdout.splitlines()[-1]))


def bare_s(modules: str, count: int) -> float:
    """How long that many bare interpreters take from the first one's start until all are ready."""
    began = time.monotonic()
    command = [sys.executable, "-P", "-c", _BARE, modules]
    children = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        for _ in range(count)
    ]
    for child in children:
        assert child.stdout is not None
        child.stdout.readline()
    took_s = time.monotonic() - began
    for child in children:
        child.communicate()
    return took_s


def up_s(directory: Path) -> tuple[float, int]:
    """How long `thrum up` takes until it is ready, and how many processes that are."""
    began = time.monotonic()
    with common.up(directory) as tree:
        took_s = time.monotonic() - began
        return took_s, 1 + len(psutil.Process(tree).children())


def add_s(directory: Path) -> float:
    """How long `thrum task add` takes, from its start to its end."""
    command = [sys.executable, "-P", "-m", "thrum", "--dir", str(directory), "task", "add"]
    began = time.monotonic()
    subprocess.run([*command, "--repo", REPOS[0], "--title", "One"], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def bare_add_s(modules: str) -> float:
    """The same of a bare interpreter that imports what it imports."""
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-P", "-c", _BARE, modules], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    return time.monotonic() - began


def private_bytes(modules: str) -> int:
    """The private memory of a bare interpreter with the modules."""
    command = [sys.executable, "-P", "-c", _BARE, modules]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        found = psutil.Process(child.pid).memory_full_info().uss
        child.communicate()
    return int(found)


def actor_bytes(directory: Path) -> int:
    """The median private memory of the repo actors of a tree that has been idle for a moment."""
    with common.up(directory) as tree:
        time.sleep(_IDLE_S)
        actors = [one for one in psutil.Process(tree).children() if "thrum.actors.repo" in one.cmdline()]
        return int(statistics.median(one.memory_full_info().uss for one in actors))


def line(title: str, unit: str, ours: list[float], floor: list[float]) -> None:
    ratios = [one / other for one, other in zip(ours, floor, strict=True)]
    print(
        f"{title:34} {statistics.median(ours):8.1f} {statistics.median(floor):8.1f} {unit:3}"
        f" {statistics.median(ratios):6.2f}, {min(ratios):5.2f} {GOAL:5.1f}",
        flush=True,
    )


def measure(quick: bool) -> None:
    repeats = 3 if quick else 9
    actor = packages("import thrum.actors.repo")
    adding = packages("sys.argv = ['thrum', 'task', 'add']; import thrum.cli.adding, thrum.tree, thrum.configfile")
    print(f"{'':34} {'Thrum':>8} {'bare':>8}      ratio: median, best  goal")
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        common.make_project(directory, REPOS)
        up_s(directory)  # The stores are made, and everything is read from the disk once.
        ups = []
        for _ in range(repeats):
            took_s, count = up_s(directory)
            ups.append((took_s * 1e3, bare_s(actor, count) * 1e3))
        line(f"up, {len(REPOS)} repositories, {count} processes", "ms", *map(list, zip(*ups, strict=True)))
        with common.up(directory):
            adds = [(add_s(directory) * 1e3, bare_add_s(adding) * 1e3) for _ in range(4 * repeats)]
        line("task add, system up", "ms", *map(list, zip(*adds, strict=True)))
        sizes = [actor_bytes(directory) / 2**20], [private_bytes(actor) / 2**20]
        line("an idle repo actor, private", "MiB", *sizes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    measure(parser.parse_args().quick)


if __name__ == "__main__":
    main()
