"""The supervisor: starts the tree, starts anew what ends, and ends everything in order. It knows of no task.

One for one: at most `RESTARTS` in `WINDOW_S` with a growing, jittered pause; past that the actor is marked failed
and the others go on. It is tried again from time to time where it says that the cause lies outside of it. Without
its broker a tree is nothing: when that fails, all of it ends.
"""

from __future__ import annotations

import json
import logging
import os
import random
import select
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thrum.actors.base import DAMAGED
from thrum.config import Project
from thrum.configfile import load
from thrum.errors import Exit, ThrumError
from thrum.files import write_atomically
from thrum.places import Places
from thrum.sandbox import sweep
from thrum.snapshot import save_snapshot
from thrum.tree.spawning import (
    Spec,
    actor_specs,
    await_broker,
    broker_spec,
    end,
    endpoint_of,
    last_words,
    remove_socket,
    spawn,
    spawn_broker,
)

log = logging.getLogger(__name__)

RESTARTS = 5
WINDOW_S = 60.0
AGAIN_S = 15.0
"""The pause before an actor that was given up for an outside cause is tried again."""
STOP_S = 25.0


@dataclass(slots=True)
class _Child:
    spec: Spec
    process: subprocess.Popen[bytes] | None = None
    pidfd: int = -1
    started: list[float] = field(default_factory=list)
    restarts: int = 0
    start_at: float = 0.0
    failed: str = ""
    reason: str = ""
    """What its last life ended with."""


class Supervisor:
    """Runs one project's tree in the thread that calls `run`; `stop` and `reload` may be called from anywhere."""

    def __init__(self, directory: Path, project: Project, *, kind: str, agents: int, work: bool) -> None:
        self._places = Places(directory)
        self._project = project
        self._kind = kind
        self._agents = agents
        self._work = work
        self.endpoint = endpoint_of(directory)
        self._children: dict[str, _Child] = {}
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._stops = 0
        self._reload = False
        self.failed = False
        """True once the tree ended for a reason of its own."""

    def stop(self) -> None:
        """End everything in good order; asked a second time, at once. Safe in a signal handler."""
        self._stops += 1
        os.eventfd_write(self._wake, 1)

    def reload(self) -> None:
        """Read the configuration anew and start the actors with it. Safe in a signal handler."""
        self._reload = True
        os.eventfd_write(self._wake, 1)

    def run(self, on_started: Callable[[], None]) -> None:
        """Start the tree, call `on_started`, and keep it up until it is stopped."""
        swept = sweep(self._places.mark)
        if swept:
            log.warning("ended processes that an earlier life left behind", extra={"count": swept})
        try:
            self._start_all()
            on_started()
            while not self._stops and not self.failed:
                if self._reload:
                    self._reload = False
                    self._reload_all()
                self._restart_due()
                self._wait()
                self._reap()
        finally:
            self._stop_all()
            sweep(self._places.mark)
            remove_socket(self.endpoint)
            self._places.tree.unlink(missing_ok=True)
            os.close(self._wake)

    # --- Starting -----------------------------------------------------------------------------------------------

    def _start_all(self) -> None:
        spec = broker_spec(self.endpoint, os.getpid())
        broker, ready = spawn_broker(spec, self._places.logs)
        self._adopt(_Child(spec=spec), broker)
        # They connect as soon as it listens: each takes as long as the broker to get that far.
        self._start_actors(save_snapshot(self._project, self._places.snapshots))
        await_broker(ready, self._places.logs)

    def _start_actors(self, snapshot: Path) -> None:
        specs = actor_specs(self._project, snapshot, self.endpoint, os.getpid(), agents=self._agents, work=self._work)
        for spec in sorted(specs, key=lambda spec: spec.rank):
            self._start(_Child(spec=spec))
        self._tell()

    def _start(self, child: _Child) -> None:
        self._adopt(child, spawn(child.spec, self._places.logs))

    def _adopt(self, child: _Child, process: subprocess.Popen[bytes]) -> None:
        child.process, child.pidfd = process, os.pidfd_open(process.pid)
        child.started = [*child.started[-RESTARTS:], time.monotonic()]
        self._children[child.spec.name] = child

    # --- Watching -----------------------------------------------------------------------------------------------

    def _wait(self) -> None:
        poller = select.poll()
        poller.register(self._wake, select.POLLIN)
        for child in self._children.values():
            if child.process is not None:
                poller.register(child.pidfd, select.POLLIN)
        due = [child.start_at for child in self._children.values() if child.start_at]
        timeout = max(0.0, min(due) - time.monotonic()) * 1000 if due else None
        poller.poll(timeout)
        try:
            os.eventfd_read(self._wake)
        except BlockingIOError:
            pass

    def _reap(self) -> None:
        for child in self._children.values():
            if child.process is not None and child.process.poll() is not None:
                self._ended(child, child.process.returncode)
                self._tell()

    def _ended(self, child: _Child, code: int) -> None:
        name = child.spec.name
        os.close(child.pidfd)
        child.process, child.pidfd = None, -1
        recent = [at for at in child.started if at > time.monotonic() - WINDOW_S]
        words = child.reason = last_words(name, self._places.logs)
        if code == DAMAGED or len(recent) > RESTARTS:
            child.failed = words
            log.error("%s is given up; `thrum status` says why", name, extra={"exit_code": code, "reason": words})
            self.failed = self.failed or child.spec.rank == 0
            # What says of itself that it is not to blame (a full disk, a store in use) may find things mended.
            child.start_at = time.monotonic() + AGAIN_S if code == Exit.TRY_LATER else 0.0
            return
        pause_s = min(5.0, 0.1 * 2.0 ** len(recent)) * random.uniform(0.5, 1.0)
        child.restarts += 1
        child.start_at = time.monotonic() + pause_s
        log.warning(
            "%s ended (%s) and is started anew", name, code, extra={"restarts": child.restarts, "reason": words}
        )

    def _restart_due(self) -> None:
        for child in list(self._children.values()):
            if child.start_at and child.start_at <= time.monotonic():
                child.start_at, child.failed = 0.0, ""
                self._start(child)
                self._tell()

    def _reload_all(self) -> None:
        try:
            project = load(self._places.directory)
            snapshot = save_snapshot(project, self._places.snapshots)
        except (ThrumError, OSError) as error:
            log.error("the configuration is left as it was: %s", error)
            return
        for name in self._stop_actors():
            self._children.pop(name, None)
        sweep(self._places.mark)  # workers that outlived an earlier life of their repo actor run by the old one
        if self._stops:
            return
        self._project = project
        self._start_actors(snapshot)
        log.info("the configuration was read anew", extra={"digest": project.digest})

    # --- Stopping -----------------------------------------------------------------------------------------------

    def _stop_all(self) -> None:
        self._stop_actors()
        for child in self._children.values():
            if child.process is not None:
                end(child.process, 2.0)
                os.close(child.pidfd)
                child.process = None

    def _stop_actors(self) -> list[str]:
        """End all but the broker, one rank after the other: first who hands out work, last who carries messages."""
        ranks = sorted({child.spec.rank for child in self._children.values()} - {0}, reverse=True)
        stopped = []
        for rank in ranks:
            children = [child for child in self._children.values() if child.spec.rank == rank]
            stopped += [child.spec.name for child in children]
            self._end_together([child for child in children if child.process is not None])
        return stopped

    def _end_together(self, children: list[_Child]) -> None:
        deadline = time.monotonic() + STOP_S
        for child in children:
            assert child.process is not None
            child.process.terminate()
        for child in children:
            assert child.process is not None
            while child.process.poll() is None:
                if self._stops > 1 or time.monotonic() >= deadline:
                    child.process.kill()
                    child.process.wait()
                else:
                    self._pause(child.pidfd, deadline)
            os.close(child.pidfd)
            child.process, child.pidfd = None, -1

    def _pause(self, pidfd: int, deadline: float) -> None:
        """Until the process ended or somebody asks for a stop again."""
        poller = select.poll()
        poller.register(pidfd, select.POLLIN)
        poller.register(self._wake, select.POLLIN)
        poller.poll(max(0.0, deadline - time.monotonic()) * 1000)
        try:
            os.eventfd_read(self._wake)
        except BlockingIOError:
            pass

    # --- Telling ------------------------------------------------------------------------------------------------

    def _tell(self) -> None:
        """Put on disk what is up, for `thrum status`."""
        state: dict[str, Any] = {
            "kind": self._kind,
            "pid": os.getpid(),
            "endpoint": self.endpoint,
            "digest": self._project.digest,
            "actors": [_row(child) for child in self._children.values()],
        }
        try:
            write_atomically(self._places.tree, json.dumps(state).encode())
        except OSError as error:
            log.error("what is up cannot be told to `thrum status`: %s", error)


def _row(child: _Child) -> dict[str, Any]:
    state = "failed" if child.failed else "running" if child.process is not None else "restarting"
    return {
        "name": child.spec.name,
        "pid": child.process.pid if child.process is not None else None,
        "restarts": child.restarts,
        "state": state,
        "reason": child.reason if child.process is None else "",
        "again": bool(child.failed and child.start_at),
    }
