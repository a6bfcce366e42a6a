"""The loop that all actors share: wait, receive, step, ping. What an actor does is in its own module.

An actor ends when it is told to (SIGTERM), when its supervisor is gone, or when it says itself that it is done.
Anything it does not expect is logged and ends it: the supervisor starts it anew.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import logging
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from thrum.config import Project
from thrum.errors import BusyError, Exit, StoreDamagedError, StoreError
from thrum.masking import masked, secrets
from thrum.messages import Envelope
from thrum.places import Places
from thrum.snapshot import load_snapshot
from thrum.values import dataclass
from thrum.wire import PING_EVERY_S, Dealer, new_incarnation

log = logging.getLogger(__name__)

DAMAGED = 65
"""EX_DATAERR of sysexits.h: the actor's store is damaged, and starting it again would not help."""
STOP_S = 20.0
"""How long an actor may take to end in good order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What an actor is told on its command line, and what follows from it."""

    name: str
    incarnation: str
    endpoint: str
    snapshot: Path
    project: Project
    places: Places
    supervisor_pid: int


class Actor(Protocol):
    """What the loop asks of an actor. Times are Unix seconds."""

    done: bool
    """True once it has nothing more to do; the loop then ends."""

    def start(self, now: float) -> None:
        """Called once, before the first step."""

    def step(self, envelopes: list[Envelope], now: float) -> None:
        """Take in what arrived, and do what has come due."""

    def next_at(self) -> float:
        """When `step` is wanted again even if nothing arrives."""

    def wake_fds(self) -> tuple[int, ...]:
        """Descriptors that call for a `step` when they become readable; `step` drains them."""

    def standing(self) -> tuple[tuple[str, ...], int, tuple[str, ...]]:
        """Pools it serves, jobs it would take, topics it hears: what its pings say."""

    def stop(self, now: float) -> None:
        """End in good order; `done` tells when that is reached. Called at most once."""

    def close(self) -> None:
        """Let go of everything; called on every way out."""


def parser(description: str) -> argparse.ArgumentParser:
    """The arguments that every actor takes."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--name", required=True)
    made.add_argument("--endpoint", required=True)
    made.add_argument("--snapshot", required=True, type=Path, help="the configuration, as it was loaded")
    made.add_argument("--watch", required=True, type=int, help="pid of the supervisor")
    made.add_argument("--bound", action="store_true", help="die at once with the parent process")
    return made


def situation(args: argparse.Namespace) -> Situation:
    """What the arguments mean."""
    project = load_snapshot(args.snapshot)
    return Situation(
        name=args.name,
        incarnation=new_incarnation(time.time()),
        endpoint=args.endpoint,
        snapshot=args.snapshot,
        project=project,
        places=Places(Path(project.directory)),
        supervisor_pid=args.watch,
    )


def main(
    args: argparse.Namespace,
    make: Callable[[Situation, Dealer], Actor],
    *,
    guard: Callable[[Situation], AbstractContextManager[object]] = lambda _: contextlib.nullcontext(),
) -> int:
    """Set up, run and tear down one actor; the exit code of its process.

    `guard` is entered before the bus hears of the actor: one whose place is taken must not take the name of the
    other. It raises BusyError then, and the process ends with 75.
    """
    configure_logging(args.name)
    if args.bound:
        _die_with_parent(args.watch)
    try:
        told = situation(args)
        configure_logging(args.name, mask=secrets(told.project, os.environ))
        with (
            guard(told),
            Dealer(told.endpoint, told.name, told.incarnation) as dealer,
            contextlib.closing(make(told, dealer)) as actor,
        ):
            run(actor, dealer, supervisor_pid=told.supervisor_pid)
    except BusyError as error:
        log.info("%s ends: %s", args.name, error.message)
        return Exit.TRY_LATER
    except StoreError as error:
        log.error("%s ends: %s", args.name, error.message, extra={"remedy": error.remedy})
        return DAMAGED if isinstance(error, StoreDamagedError) else Exit.TRY_LATER
    except Exception:  # one of the two places that catch broadly: whatever it was, it must be in the log
        log.exception("%s ends on an error; its supervisor starts it anew", args.name)
        return 1
    log.info("ended")
    return 0


def run(actor: Actor, dealer: Dealer, *, supervisor_pid: int) -> None:
    """The loop: three calls, until the actor is done, told to stop, or alone."""
    log.info("started", extra={"pid": os.getpid(), "supervisor": supervisor_pid})
    with _signals() as (signalled, stop_asked), _watching(supervisor_pid) as supervisor:
        poller = select.poll()
        dealer_fd = dealer.fileno()
        for fd in (dealer_fd, supervisor, signalled):
            poller.register(fd, select.POLLIN)
        registered: set[int] = set()
        actor.start(time.time())
        ping_at, stop_by = 0.0, float("inf")
        said: object = None
        while not actor.done:
            registered = _register(poller, registered, set(actor.wake_fds()))
            envelopes = dealer.receive()
            if not envelopes:
                due = min(actor.next_at(), ping_at, stop_by)
                ready = {fd for fd, _ in poller.poll(max(0.0, due - time.time()) * 1000)}
                if supervisor in ready:
                    log.warning("the supervisor is gone; ending")
                    return
                if signalled in ready:
                    os.read(signalled, 4096)
                envelopes = dealer.receive()
            now = time.time()
            if stop_asked() and stop_by == float("inf"):
                stop_by = now + STOP_S
                log.info("told to end")
                actor.stop(now)
            if now >= stop_by:
                log.error(
                    "could not end in good order within %.0f s; what is open is settled at the next start", STOP_S
                )
                return
            actor.step(envelopes, now)
            standing = actor.standing()
            if now >= ping_at or standing != said:
                dealer.ping(*standing)
                said, ping_at = standing, now + PING_EVERY_S
            # The descriptor is edge-triggered: after sending, look once more before sleeping (`receive` above does).


def _register(poller: select.poll, old: set[int], new: set[int]) -> set[int]:
    for fd in old - new:
        poller.unregister(fd)
    for fd in new - old:
        poller.register(fd, select.POLLIN)
    return new


@contextlib.contextmanager
def _signals() -> Iterator[tuple[int, Callable[[], bool]]]:
    """A descriptor that any signal makes readable, and whether a stop was asked for; SIGINT is the supervisor's."""
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        yield reading, lambda: bool(asked)
    finally:
        signal.set_wakeup_fd(-1)
        os.close(reading)
        os.close(writing)


@contextlib.contextmanager
def _watching(pid: int) -> Iterator[int]:
    """A descriptor that becomes readable when the process ends; one that ended already is readable at once."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        fd, writing = os.pipe()
        os.close(writing)
    try:
        yield fd
    finally:
        os.close(fd)


def _die_with_parent(parent: int) -> None:
    """Have the kernel end this process with its parent: also one that hangs must not outlive the supervisor."""
    ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG, see prctl(2)
    if os.getppid() != parent:
        sys.exit(1)


class _JsonLines(logging.Formatter):
    """One JSON object a line: time, level, actor, text, and whatever `extra` held; without the values to be masked."""

    _known = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
    _encode = json.JSONEncoder(default=str, ensure_ascii=False).encode

    def __init__(self, actor: str, mask: tuple[str, ...]) -> None:
        super().__init__()
        self._actor = actor
        self._mask = mask

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": round(record.created, 3),
            "level": record.levelname,
            "actor": self._actor,
            "text": record.getMessage(),
            **{key: value for key, value in vars(record).items() if key not in self._known},
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return masked(self._encode(line), self._mask)


def configure_logging(actor: str, level: int = logging.INFO, *, mask: tuple[str, ...] = ()) -> None:
    """Log to stderr, which the supervisor sends to the actor's own file; the values of `mask` do not get there."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines(actor, mask))
    logging.basicConfig(level=level, handlers=[handler], force=True)
