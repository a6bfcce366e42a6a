"""Runs checks: each in a sandbox, on a clean checkout of the exact commit. What a gate consists of is `thrum.checks`'s.

The definition of a check comes with it, never from the checkout.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path

from thrum.checking import commands, provers
from thrum.checking.fingerprint import fingerprint
from thrum.checking.rooms import Room, Rooms
from thrum.checking.turn import TAIL_CHARS, Turn, text_of
from thrum.checks import programs, simple_commands, startable
from thrum.config import Project
from thrum.errors import SetupError, ThrumError, words
from thrum.files import OutputStore, remove_tree
from thrum.gate import Check, CheckResult, Gate, Verdict
from thrum.masking import concealed, secrets
from thrum.messages.gates import GateReported, RunGate
from thrum.missing import missing_tool
from thrum.packing import fits
from thrum.records import to_plain
from thrum.setups import Provision

_PROGRAM = re.compile(r"[A-Za-z0-9_.+-]+|/[^\0]+")
"""What may be a program in a command: a name that PATH is asked for, or a whole path."""
log = logging.getLogger(__name__)


class CheckRunner:
    """Runs checks, each on a clean checkout; for one caller at a time."""

    def __init__(self, project: Project, outputs: OutputStore, directory: Path, owner: str) -> None:
        """`directory` is this runner's own place for checkouts, `owner` its unique name."""
        self._project = project
        self._outputs = outputs
        self._directory = directory
        # As many steps at once as there are processors for them, but always two: each in a lane of its own.
        self._controls: dict[tuple[str, str], bool] = {}
        """Whether `setup_cmd` succeeds on a base, by the gate run for which that was tried out and the commit."""
        width = max(2, len(os.sched_getaffinity(0)))
        self._lanes = [Rooms(project, directory / str(n), f"{owner}.{n}") for n in range(1, width + 1)]

    def run(self, asked: RunGate, stop: threading.Event) -> GateReported:
        """Run the checks, one after the other in their order; steps of an integration pipeline, which build on each
        other, at once where what they need has passed, and none is begun after one that did not. Of a run that is
        stopped the checks under way say nothing."""
        started_at = time.time()
        out = self._directory / "run"
        try:
            remove_tree(out)
            for folder in ("output", "judged"):
                (out / folder).mkdir(parents=True)
        except OSError as error:
            results = tuple(_could_not_run(check, words(error)) for check in asked.checks)
        else:
            steps = asked.gate is Gate.INTEGRATION and not asked.probe
            results = (self._side_by_side if steps else self._one_by_one)(asked, out, stop)
        # What a run printed is masked as it comes; names of tests and counterexamples are from elsewhere, too.
        results = tuple(map(tellable, concealed(results, secrets(self._project, os.environ))))
        return GateReported(run=asked.run, checks=results, started_at=started_at, ended_at=time.time())

    def close(self) -> None:
        """Let go of the sandboxes."""
        for lane in self._lanes:
            lane.close()

    def _one_by_one(self, asked: RunGate, out: Path, stop: threading.Event) -> tuple[CheckResult, ...]:
        results: list[CheckResult] = []
        for number, check in enumerate(asked.checks):
            result = self._check(asked, check, self._lanes[0], out / str(number), stop)
            if stop.is_set():
                break
            results.append(result)
        return tuple(results)

    def _side_by_side(self, asked: RunGate, out: Path, stop: threading.Event) -> tuple[CheckResult, ...]:
        results: dict[str, CheckResult] = {}
        under_way: dict[Future[CheckResult], tuple[Check, Rooms]] = {}
        free = list(self._lanes)
        with ThreadPoolExecutor(len(free)) as pool:
            while True:
                begun = {*results, *(check.name for check, _ in under_way.values())}
                ended = {name: result.verdict for name, result in results.items()}
                ready = () if stop.is_set() else startable(asked.checks, begun, ended)
                for check in ready[: len(free)]:
                    # A warm one if there is one.
                    lane = min(free, key=lambda lane: lane.opened(check.repo, asked.home) is None)
                    free.remove(lane)
                    place = out / str(asked.checks.index(check))
                    under_way[pool.submit(self._check, asked, check, lane, place, stop)] = check, lane
                if not under_way:
                    return tuple(results[check.name] for check in asked.checks if check.name in results)
                for done in wait(under_way, return_when=FIRST_COMPLETED).done:
                    check, lane = under_way.pop(done)
                    free.append(lane)
                    if not stop.is_set():
                        results[check.name] = done.result()

    def _check(self, asked: RunGate, check: Check, rooms: Rooms, place: Path, stop: threading.Event) -> CheckResult:
        began = time.monotonic()
        try:
            turn = self._turn(asked, check, rooms, place, stop)
            if asked.probe:
                found = _probe(turn.room, check)
                rehearsed = asked.rehearsal and found.verdict is Verdict.PASSED and not check.prover
                return _rehearsed(turn) if rehearsed else found
            dependence = self._dependence(turn.room, check, turn.provision)
            known = asked.known.get(check.name)
            if known is not None and dependence and known.fingerprint == dependence:
                return replace(known, cached=True)
            turn.room.workspace.prepare(turn.commit)
            result = provers.prove(turn) if check.prover else commands.run(turn)
            return replace(result, fingerprint=dependence if result.verdict is Verdict.PASSED else "")
        except SetupError as error:
            return self._without_setup(asked, check, rooms, error, stop, began)
        except (ThrumError, OSError) as error:
            reason = words(error)
        except Exception as error:  # else one check would take down every gate actor that tries it, one by one
            log.exception("a check could not be run for a fault of ours", extra={"check": check.name})
            reason = f"{type(error).__name__}: {error}; this is a fault in Thrum, and the gate actor's log has more"
        return _could_not_run(check, reason, time.monotonic() - began)

    def _turn(self, asked: RunGate, check: Check, rooms: Rooms, place: Path, stop: threading.Event) -> Turn:
        room = rooms.room(check.repo, asked.home)
        output_dir = place.parent / "output"
        place.mkdir()
        room.give(output_dir)
        return Turn(
            project=self._project,
            outputs=self._outputs,
            asked=asked,
            check=check,
            rooms=rooms,
            room=room,
            provision=room.setups.provide(asked.vector[check.repo], room.workspace, stop=stop),
            place=place,
            output_dir=output_dir,
            judged_dir=place.parent / "judged",
            stop=stop,
        )

    def _without_setup(
        self, asked: RunGate, check: Check, rooms: Rooms, error: SetupError, stop: threading.Event, began: float
    ) -> CheckResult:
        """What a failed setup means: where it succeeds on the base, the change broke it, and its agent can mend it."""
        room, base = rooms.room(check.repo, asked.home), asked.bases.get(check.repo, "")
        control = asked.run.rpartition("/")[0], base
        try:
            if base and control not in self._controls:
                self._controls = {control: room.setups.works_on(base, room.workspace, stop=stop)}
        except (ThrumError, OSError) as why:
            return _could_not_run(check, f"{words(error)}; on the base: {words(why)}", time.monotonic() - began)
        if not self._controls.get(control):
            return _could_not_run(check, words(error), time.monotonic() - began)
        return CheckResult(
            name=check.name,
            verdict=Verdict.FAILED,
            duration_s=time.monotonic() - began,
            reason="setup_cmd fails with this change, and succeeds without it",
            command=text_of(room.repo.setup_cmd),
            tail=error.output[-TAIL_CHARS:],
        )

    def _dependence(self, room: Room, check: Check, provision: Provision) -> str:
        """The fingerprint of what a result depends on; empty where it cannot be told, or the network is open."""
        config = self._project.pipeline.sandbox
        # Without a sandbox a check sees the whole machine, and with mounts what nobody compares.
        apart = config.backend == "none" or config.mount_paths or room.repo.mount_paths
        if check.network or check.sample or apart:
            return ""
        words = (word for simple in simple_commands(check.command) for word in simple if _PROGRAM.fullmatch(word))
        names = dict.fromkeys((*(name for names in programs(check) for name in names), *words))
        found = [room.sandbox.which(name) or "" for name in names]
        settings = [to_plain(config), room.sandbox.image]
        return fingerprint(settings, config.variables(os.environ), found, provision.readable)


def _probe(room: Room, check: Check) -> CheckResult:
    missing = [names for names in programs(check) if not any(map(room.sandbox.which, names))]
    if not missing:
        command = text_of(check.command) or check.prover
        return CheckResult(name=check.name, verdict=Verdict.PASSED, command=command)
    either = " or ".join(map(repr, missing[0]))
    what = f"the program {either} is not to be found in the sandbox; install it, or add its path to mount_paths"
    return _could_not_run(check, what)


def _rehearsed(turn: Turn) -> CheckResult:
    """What the check says of the base, before any agent has touched a thing: what it lacks is the machine's to have."""
    turn.room.workspace.prepare(turn.commit)
    result = commands.run(turn)
    lacks = missing_tool(turn.check.command, result) if result.verdict is Verdict.FAILED else ""
    return replace(result, verdict=Verdict.COULD_NOT_RUN, reason=f"on the base, {lacks}") if lacks else result


def tellable(result: CheckResult) -> CheckResult:
    """The result; without its words where they cannot be sent, which would end one gate actor after another. It has
    failed then: whoever wrote what it ran chose the words."""
    if fits(GateReported(run="", checks=(result,))):
        return result
    could_not_run = result.verdict is Verdict.COULD_NOT_RUN
    return CheckResult(
        name=result.name,
        verdict=result.verdict if could_not_run else Verdict.FAILED,
        reason="what it said cannot be told: it holds what is no text, or no number of any use",
    )


def _could_not_run(check: Check, reason: str, duration_s: float = 0.0) -> CheckResult:
    return CheckResult(
        name=check.name,
        verdict=Verdict.COULD_NOT_RUN,
        duration_s=duration_s,
        reason=reason,
        command=text_of(check.command) or check.prover,
    )
