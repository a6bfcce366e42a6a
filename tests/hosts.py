"""Two hosts for tests, on one machine: two project directories of one configuration, each with its own repository,
store and actors, and one broker. Where the other's repository would lie there is nothing."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.repositories import commit
from tests.systems import System
from thrum.configfile import load
from thrum.snapshot import save_snapshot
from thrum.tree.access import made
from thrum.tree.spawning import Spec, end, endpoint_of, repo_spec, spawn

STEPS = """
[engine]
gate_actors = 1
{engine}
[[gates.integration.steps]]
repo = "a"
label = "read"
command = "cat {{repo:b}}/words.txt > {{output_dir}}/words.txt"
[[gates.integration.steps.artifacts]]
path = "words.txt"
[[gates.integration.steps]]
repo = "b"
label = "compare"
command = "cmp {{output_dir}}/words.txt words.txt && {{ [ ! -p {pipe} ] || cat {pipe}; }}"
"""
"""Gate 3 of both: what `b` says is read in a step of `a`, and compared in one of `b`, which a named pipe holds up."""


class Hosts:
    """`one` has the repository `a` and is up as `thrum up` has it; `two`, of the host "two", has `b`."""

    def __init__(self, directory: Path, *, first: str = "a", sandbox: str = "none", engine: str = "") -> None:
        """`first` of the two comes first in the configuration: its actor keeps their landing lock."""
        self.pipe = directory / "hold"
        steps = STEPS.format(engine=engine, pipe=self.pipe)
        self.one = System(directory / "one", repos=("a",), sandbox=sandbox, pipeline=steps)
        self.two = System(directory / "two", repos=("b",), sandbox=sandbox, pipeline=steps)
        keys = 'test_cmd = "true"\nexpect_tests = false\n'
        tables = {
            "a": f'[[repo]]\nname = "a"\npath = "a"\n{keys}',
            "b": f'[[repo]]\nname = "b"\npath = "b"\nhost = "two"\n{keys}',
        }
        for system in (self.one, self.two):
            text = "\n".join(tables[name] for name in sorted(tables, key=lambda name: name != first))
            (system.directory / "configs/repos.toml").write_text(text)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def a(self) -> Path:
        """The repository of `one`."""
        return self.one.repo("a")

    @property
    def b(self) -> Path:
        """The repository of `two`."""
        return self.two.repo("b")

    def up(self) -> None:
        """Bring both up."""
        self.one.up()
        places = made(self.two.directory)
        places.token.write_text(self.one.token())
        self.start()
        self._start(Spec(name="gate.two.1", module="thrum.actors.gate", arguments=self._gate(), rank=2))

    def start(self) -> None:
        """Start the actor of `b`."""
        self._start(repo_spec("b", self._snapshot(), endpoint_of(self.one.directory), os.getpid()))

    def stop(self) -> None:
        """End the actor of `b`: the host is away."""
        end(self._processes.pop("repo.b"), 30.0)

    def close(self) -> None:
        """End all of it."""
        for process in self._processes.values():
            end(process, 30.0)
        self._processes = {}
        self.one.close()

    def hold(self) -> None:
        """Have the next Gate 3 wait at its end until `release`."""
        os.mkfifo(self.pipe)

    def held(self) -> int:
        """Return when it waits; what to give to `release`."""

        def opened() -> int:
            try:
                return os.open(self.pipe, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:
                return 0  # nobody reads yet

        return int(self.one.until(opened, "gate 3 to be held"))

    def release(self, held: int) -> None:
        """Let it end, and hold no later one."""
        self.pipe.unlink()
        os.close(held)

    def _start(self, spec: Spec) -> None:
        self._processes[spec.name] = spawn(spec, made(self.two.directory).logs)

    def _snapshot(self) -> Path:
        return save_snapshot(load(self.two.directory), made(self.two.directory).snapshots)

    def _gate(self) -> tuple[str, ...]:
        endpoint = endpoint_of(self.one.directory)
        snapshot = str(self._snapshot())
        common = ("--endpoint", endpoint, "--snapshot", snapshot, "--watch", str(os.getpid()), "--bound")
        return (*common, "--name", "gate.two.1", "--host", "two")


@contextmanager
def standing(directory: Path, *, first: str = "a", sandbox: str = "none", engine: str = "") -> Iterator[Hosts]:
    """Two hosts that are up, with words in `b`; in the end they are closed, and leave no process behind."""
    hosts = Hosts(directory, first=first, sandbox=sandbox, engine=engine)
    try:
        commit(hosts.b, {"words.txt": "first words\n"})
        hosts.up()
        yield hosts
    finally:
        hosts.close()
        for system in (hosts.one, hosts.two):
            system.until(lambda system=system: not system.processes(), "every process to be gone")
