"""The worker processes of one repository: started when an attempt needs them, given up when they keep on dying."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from pathlib import Path

from thrum.errors import Exit
from thrum.sandbox.marks import MARK

from .base import Situation

log = logging.getLogger(__name__)

STOP_S = 20.0
"""How long workers that have nothing to do any more may take to end."""
EARLY_S = 30.0
"""A worker that ends on an error within this time has not come far."""
DEATHS = 5
"""Early deaths in a row after which a worker is given up."""
PAUSES_S = (0.0, 0.5, 1.0, 2.0, 4.0)
"""How long after each of them none is started."""


class Crew:
    """The processes by their workers' names. One that outlived an earlier life of ours keeps its slot."""

    def __init__(self, told: Situation) -> None:
        self._told = told
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ends: dict[str, int] = {}
        """For each worker a descriptor that becomes readable when its process ends."""
        self._started: dict[str, float] = {}
        self._deaths: dict[str, int] = {}

    def __contains__(self, worker: object) -> bool:
        return worker in self._processes

    def fds(self) -> tuple[int, ...]:
        """Descriptors of which one is readable once a process has ended."""
        return tuple(self._ends.values())

    def see(self, worker: str) -> None:
        """Have a process for the worker, unless it has just died."""
        pause_s = PAUSES_S[min(self._deaths.get(worker, 0), len(PAUSES_S) - 1)]
        if worker in self._processes or time.monotonic() < self._started.get(worker, float("-inf")) + pause_s:
            return
        told = self._told
        # -P: a file in the working directory must not be taken for a module of ours or of a library.
        command = [sys.executable, "-P", "-m", "thrum.actors.worker", "--name", worker, "--endpoint", told.endpoint]
        command += ["--snapshot", str(told.snapshot), "--watch", str(told.supervisor_pid)]
        with self._log(worker).open("ab") as log_file:
            # A session of its own: the worker must outlive us, and no terminal's Ctrl-C is for it. By its mark the
            # supervisor finds it, should nobody be left to end it.
            self._processes[worker] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=log_file,
                start_new_session=True,
                env={**os.environ, MARK: f"{told.places.mark}.process.{worker}"},
            )
        self._ends[worker] = os.pidfd_open(self._processes[worker].pid)
        self._started[worker] = time.monotonic()

    def kill(self, worker: str) -> None:
        """Kill the worker's process with SIGKILL, if there is one."""
        if worker in self._processes:
            self._processes[worker].kill()

    def ended(self) -> dict[str, str]:
        """The workers whose process has ended since the last call; for one that is given up, why, else empty.

        One that found its slot taken is left out: it left the slot to a worker that outlived an earlier life of ours.
        """
        gone: dict[str, str] = {}
        for worker in [name for name, process in self._processes.items() if process.poll() is not None]:
            os.close(self._ends.pop(worker))
            code = self._processes.pop(worker).returncode
            if code == Exit.TRY_LATER:
                continue
            early = code != 0 and time.monotonic() < self._started[worker] + EARLY_S
            self._deaths[worker] = self._deaths.get(worker, 0) + 1 if early else 0
            gone[worker] = self._given_up(worker, code) if self._deaths[worker] >= DEATHS else ""
        return gone

    def close(self, *, stop: bool) -> None:
        """Let go of the processes; with `stop` they are ended, those that do not end by themselves at the deadline."""
        for end in self._ends.values():
            os.close(end)
        if not stop:
            return
        for process in self._processes.values():
            process.terminate()
        deadline = time.monotonic() + STOP_S
        for process in self._processes.values():
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()  # what its attempt left is harvested by the next worker in its slot
                process.wait()

    def _given_up(self, worker: str, code: int) -> str:
        self._deaths[worker] = 0  # the next attempt tries it again
        lines = self._log(worker).read_text(errors="replace").strip().splitlines()
        log.error("a worker ends as soon as it begins", extra={"worker": worker, "exit_code": code})
        said = f": {lines[-1][-300:]}" if lines else ""
        return f"{worker} ended {DEATHS} times as soon as it had begun, the last time with {code}{said}"

    def _log(self, worker: str) -> Path:
        return self._told.places.logs / f"{worker}.log"
