"""What a sandbox adds to the start of a program: `python bench/sandbox.py [--quick]`.

Each round starts `true` in turn: by a plain spawn (the floor), in the sandbox `none`, in `os-native` with and without
limits, in `os-native` with an allow list (its proxy and the helper that opens its door included), and in `docker` where
an engine answers and THRUM_BENCH_IMAGE names an image. Milliseconds more than the plain spawn of the same round; beside
it the processor time that a start takes more, which other work on the machine hardly changes.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack

import common

from thrum.config import SandboxConfig
from thrum.job import Job
from thrum.sandbox import Sandbox, open_sandbox

GOAL_MS = 10.0
ALLOWED = ("127.0.0.1:9",)


def plain() -> None:
    subprocess.run(["true"], stdin=subprocess.DEVNULL, capture_output=True, check=True)


def within(sandbox: Sandbox, allow: tuple[str, ...]) -> Callable[[], None]:
    def start() -> None:
        outcome = sandbox.run(Job(argv=("true",), cwd="/", allow=allow, wall_s=60.0))
        if not outcome.ok:
            raise SystemExit(f"{sandbox.name}: {outcome.reason} {outcome.tail}")

    return start


def subjects(stack: ExitStack) -> dict[str, Callable[[], None]]:
    """What is measured, by its name."""
    unlimited = SandboxConfig(memory_limit_mb=0, pids_limit=0, file_size_limit_mb=0)
    configs = {
        "none": (SandboxConfig(backend="none"), ()),
        "os-native, without limits": (unlimited, ()),
        "os-native": (SandboxConfig(), ()),
        "os-native, allow list": (SandboxConfig(), ALLOWED),
    }
    image = os.environ.get("THRUM_BENCH_IMAGE", "")
    if image:
        configs["docker"] = (SandboxConfig(backend="docker", image=image), ())
    return {
        name: within(stack.enter_context(open_sandbox(config, name=f"bench-sandbox-{os.getpid()}-{number}")), allow)
        for number, (name, (config, allow)) in enumerate(configs.items())
    }


def timed_ms(run: Callable[[], None]) -> tuple[float, float]:
    """How long it took, and how much processor time."""
    used_s, began = common.family_cpu_s(), time.monotonic()
    run()
    took_s = time.monotonic() - began
    return 1000 * took_s, 1000 * (common.family_cpu_s() - used_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="5 rounds, not 50")
    rounds = 5 if parser.parse_args().quick else 50
    common.adopt_orphans()
    with ExitStack() as stack:
        measured = {"plain": plain, **subjects(stack)}
        took: dict[str, list[float]] = {name: [] for name in measured}
        used: dict[str, list[float]] = {name: [] for name in measured}
        for _ in range(rounds):
            for name, start in measured.items():
                for found, value in zip((took, used), timed_ms(start), strict=True):
                    found[name].append(value)
    floor_ms, floor_used_ms = statistics.median(took["plain"]), statistics.mean(used["plain"])
    print(f"{rounds} rounds; a plain spawn takes {floor_ms:.1f} ms; goal for os-native: at most {GOAL_MS:g} ms more")
    for name in list(measured)[1:]:
        more = [mine - floor for mine, floor in zip(took[name], took["plain"], strict=True)]
        median, cpu = statistics.median(more), statistics.mean(used[name]) - floor_used_ms
        told = f"{median:7.1f} ms more (best {min(more):.1f}), {(median + floor_ms) / floor_ms:.1f} ×"
        print(f"{name:26} {told}; processor {cpu:.1f} ms more, {(cpu + floor_used_ms) / floor_used_ms:.1f} ×")


if __name__ == "__main__":
    main()
