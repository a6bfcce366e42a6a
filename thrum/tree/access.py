"""How a command reaches the actors: it joins the tree that is up, or brings up what it needs while it lasts.

There is one way into a store: its repo actor. Where none is up, a command starts a broker and that one actor.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from thrum.client import Client
from thrum.config import Project
from thrum.errors import BusyError, Exit, NotFoundError, ThrumError
from thrum.files import Holder, Lock, holder_of, secret
from thrum.messages.people import GetRepoStatus
from thrum.messages.schedule import GetSchedule
from thrum.places import Places
from thrum.snapshot import save_snapshot
from thrum.standing import KINDS, refuse_given_up, state
from thrum.tree.spawning import (
    await_broker,
    broker_spec,
    busy,
    end,
    endpoint_of,
    last_words,
    remove_socket,
    repo_spec,
    spawn,
    spawn_broker,
)

log = logging.getLogger(__name__)

WAIT_S = 15.0
"""How long a command waits for another one that has the project for itself."""
READY_S = 30.0


@contextmanager
def attached(directory: Path, project: Project, repos: tuple[str, ...]) -> Iterator[Client]:
    """A client of the system that is up; where none is, of a broker and the actors of `repos` just for this block.

    Raises:
        BusyError: another command has the project for itself, and does not end in time.
        ThrumError: none of the actors will answer: each was given up.
    """
    places = made(directory)
    deadline = time.monotonic() + WAIT_S
    lock = Lock(places.lock, kind="command", details={"endpoint": endpoint_of(directory)})
    while True:
        holder = holder_of(places.lock)
        if holder is not None and holder.kind in KINDS:
            refuse_given_up(state(directory), repos)
            with Client(holder.details["endpoint"]) as client:
                yield client
            return
        try:
            lock.acquire(deadline_s=0.1)
            break
        except BusyError:
            if time.monotonic() >= deadline:
                raise
    with lock, _transient(places, project, repos) as endpoint, Client(endpoint) as client:
        yield client


@contextmanager
def _transient(places: Places, project: Project, repos: tuple[str, ...]) -> Iterator[str]:
    snapshot = save_snapshot(project, places.snapshots)
    endpoint = endpoint_of(places.directory)
    with ExitStack() as stack:
        broker, ready = spawn_broker(broker_spec(endpoint, os.getpid()), places.logs)
        stack.callback(remove_socket, endpoint)
        stack.callback(end, broker, 2.0)
        specs = [repo_spec(repo, snapshot, endpoint, os.getpid(), serve_only=True) for repo in repos]
        actors = {spec.name: spawn(spec, places.logs) for spec in specs}
        for actor in actors.values():
            stack.callback(end, actor, 5.0)
        await_broker(ready, places.logs)
        _await_actors(endpoint, actors, places)
        yield endpoint


def _await_actors(endpoint: str, actors: dict[str, subprocess.Popen[bytes]], places: Places) -> None:
    """Return when each of the actors answers.

    Raises:
        ThrumError: one of them ended instead.
    """
    deadline = time.monotonic() + WAIT_S
    with Client(endpoint) as client:
        for name, process in actors.items():
            while True:
                try:
                    client.request(name, GetRepoStatus(), timeout_s=0.5, retry_every_s=0.02)
                    break
                except BusyError:
                    if process.poll() is not None:
                        kind = BusyError if process.returncode == Exit.TRY_LATER else ThrumError
                        words = last_words(name, places.logs)
                        raise kind(f"{name} did not start: {words}", remedy="`thrum check` looks deeper") from None
                    if time.monotonic() >= deadline:
                        raise


@contextmanager
def running(directory: Path, project: Project, *, agents: int = 0, work: bool = True) -> Iterator[Client]:
    """A client of the system that is up; where none is, of a whole tree that is up for just this block."""
    holder = holder_of(Places(directory).lock)
    if holder is not None and holder.kind in KINDS:
        with Client(holder.details["endpoint"]) as client:
            _await_ready(client, project)
            yield client
        return
    with _supervised(directory, project, kind="run", agents=agents, work=work) as client:
        yield client


@contextmanager
def _supervised(directory: Path, project: Project, *, kind: str, agents: int, work: bool) -> Iterator[Client]:
    """A tree under a supervisor in a thread of this process, which lives until the tree is down."""
    from thrum.tree.supervisor import Supervisor

    places = made(directory)
    with _standing_lock(places, kind):
        supervisor = Supervisor(directory, project, kind=kind, agents=agents, work=work)
        started, errors = threading.Event(), list[BaseException]()

        def work_on() -> None:
            try:
                supervisor.run(started.set)
            except BaseException as error:  # noqa: BLE001 - raised below, in the thread that asked
                errors.append(error)
            finally:
                started.set()

        thread = threading.Thread(target=work_on, name="supervisor")
        thread.start()
        try:
            started.wait()
            if errors:
                raise errors[0]
            with Client(supervisor.endpoint) as client:
                _await_ready(client, project)
                yield client
        finally:
            if thread.is_alive():
                supervisor.stop()
            while thread.is_alive():
                try:
                    thread.join()
                except KeyboardInterrupt:
                    supervisor.stop()


def supervise(directory: Path, project: Project, *, agents: int = 0, on_ready: Callable[[dict[str, Any]], None]) -> int:
    """Have the tree up in the foreground until SIGINT, SIGTERM or SIGHUP; the exit code of `thrum up`.

    A second signal ends it at once. SIGUSR1 reads the configuration anew.

    Raises:
        BusyError: it is up already.
    """
    from thrum.tree.supervisor import Supervisor

    places = made(directory)
    with _standing_lock(places, "up"):
        supervisor = Supervisor(directory, project, kind="up", agents=agents, work=True)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: supervisor.stop())
        signal.signal(signal.SIGUSR1, lambda *_: supervisor.reload())

        def tell_when_ready() -> None:
            try:
                with Client(supervisor.endpoint) as client:
                    _await_ready(client, project)
            except ThrumError as error:
                log.error("the tree is not ready: %s", error.message)
            on_ready(state(directory) or {})

        # The supervisor's own thread must not wait: it is the one that restarts what ends.
        teller = threading.Thread(target=tell_when_ready, name="ready", daemon=True)
        supervisor.run(teller.start)
        return 1 if supervisor.failed else 0


def detach(directory: Path, *, agents: int = 0) -> dict[str, Any]:
    """Have the tree up in the background; returns what is up once it is ready.

    Raises:
        BusyError: it is up already, or did not come up; its log says why.
    """
    places = made(directory)
    holder = holder_of(places.lock)
    if holder is not None and holder.kind in KINDS:
        raise busy(directory, f"process {holder.pid}")
    command = [sys.executable, "-P", "-m", "thrum", "--dir", str(directory), "up", "--agents", str(agents)]
    reading, writing = os.pipe()
    with open(reading, "rb") as ready, (places.logs / "up.log").open("ab") as log_file:
        try:
            process = subprocess.Popen(
                [*command, "--ready-fd", str(writing)],
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=log_file,
                pass_fds=(writing,),
                start_new_session=True,
            )
        finally:
            os.close(writing)
        try:
            if ready.read(1):
                return state(directory) or {}
        except KeyboardInterrupt:
            # Its session is its own: Ctrl-C did not reach it, and nobody would know that it comes up after all.
            process.terminate()
            process.wait()
            raise
    process.wait()
    raise BusyError(f"the tree did not come up: {last_words('up', places.logs)}", remedy="run `thrum up` to see why")


def down(directory: Path, *, now: bool = False, deadline_s: float = 60.0) -> bool:
    """End the tree that is up, in good order or at once; False if none was.

    Raises:
        BusyError: it has not ended at the deadline.
    """
    from thrum.sandbox.process import await_exit

    holder = _standing(directory)
    if holder is None:
        return False
    try:
        pidfd = os.pidfd_open(holder.pid)
    except ProcessLookupError:
        return True
    try:
        # Two different ones: of two that are the same, one is lost while the first is still on its way.
        for number in (signal.SIGTERM, signal.SIGINT) if now else (signal.SIGTERM,):
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, number)
        if not await_exit(pidfd, deadline_s):
            raise BusyError(f"process {holder.pid} has not ended", remedy="`thrum down --now` ends it at once")
    finally:
        os.close(pidfd)
    return True


def reload(directory: Path) -> None:
    """Have the tree that is up read its configuration anew.

    Raises:
        NotFoundError: none is up.
    """
    holder = _standing(directory)
    if holder is None:
        raise NotFoundError(f"nothing is up in {directory}", remedy="`thrum up` reads the configuration as it is")
    os.kill(holder.pid, signal.SIGUSR1)


def made(directory: Path) -> Places:
    """The project's places, its state directory made for its owner alone."""
    places = Places(directory)
    for folder in (places.state, places.snapshots, places.logs, places.outputs, places.stores):
        folder.mkdir(mode=0o700, exist_ok=True)
    secret(places.token)  # made here, before two actors could make one each
    return places


def _standing(directory: Path) -> Holder | None:
    holder = holder_of(Places(directory).lock)
    return holder if holder is not None and holder.kind in KINDS else None


@contextmanager
def _standing_lock(places: Places, kind: str) -> Iterator[None]:
    """Hold the project's lock; a single command that has it is waited for, another tree is not."""
    holder = holder_of(places.lock)
    if holder is not None and holder.kind in KINDS:
        raise busy(places.directory, f"process {holder.pid}")
    lock = Lock(places.lock, kind=kind, details={"endpoint": endpoint_of(places.directory)})
    try:
        lock.acquire(deadline_s=WAIT_S)
    except BusyError as error:
        raise busy(places.directory, error.message) from error
    with lock:
        yield


def _await_ready(client: Client, project: Project) -> None:
    """Return when the scheduler has heard of every repository of this host and the API listens; who was given up is
    not awaited."""
    deadline = time.monotonic() + READY_S
    while True:
        report = client.request("scheduler", GetSchedule(), timeout_s=READY_S, retry_every_s=0.2)
        missing = {repo.name for repo in project.here}.intersection(report["missing"])
        found = state(Path(project.directory)) or {}
        failed = {row["name"].removeprefix("repo.") for row in found.get("actors", ()) if row["state"] == "failed"}
        rows = {row["name"]: row["state"] for row in found.get("actors", ())}
        listens = "api" not in rows or found["api"] or rows["api"] == "failed"
        if (missing <= failed and listens) or time.monotonic() >= deadline:
            return
        time.sleep(0.05)
