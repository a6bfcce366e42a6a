"""A bubblewrap that runs: what it says of itself, and how its program is asked to end or killed.

Which options it got is `thrum.sandbox.bubblewrap`'s affair. As seen from here there is bubblewrap itself, our child;
below it process 1 of the sandbox, which leads the program's session; and below that the program.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import threading
import time
from typing import TYPE_CHECKING

from thrum.errors import SandboxError
from thrum.sandbox import process
from thrum.sandbox.cgroup import Group
from thrum.values import dataclass

if TYPE_CHECKING:
    from thrum.sandbox.outlet import Outlet

_INIT_S = 30.0
_END_S = 1.0


class Status:
    """What bubblewrap says on its status pipe: its first process, and the program's exit code once it ran."""

    def __init__(self, reader: int) -> None:
        self._reader = reader
        self._text = b""
        self._reading = threading.Lock()

    @property
    def init(self) -> int | None:
        """The id of process 1 of the sandbox, as we see it; None before it exists and when it is gone."""
        pid = self._field("child-pid")
        if pid is None:
            return None
        try:
            with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
                inside = re.search(r"^NSpid:.*\t(\d+)$", file.read(), re.MULTILINE)
        except OSError:
            return None
        return pid if inside and inside[1] == "1" else None

    def await_init(self, pidfd: int, timeout_s: float) -> int | None:
        """`init`, as soon as there is one; None if bubblewrap, which the descriptor holds, ends before, or in time."""
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        poll.register(pidfd, select.POLLIN)
        until = time.monotonic() + timeout_s
        while (init := self.init) is None and (left_s := until - time.monotonic()) > 0:
            if pidfd in dict(poll.poll(left_s * 1000)):
                return None
        return init

    @property
    def ran(self) -> bool:
        """Whether the program was started and ended by itself."""
        return self._field("exit-code") is not None

    def _field(self, name: str) -> int | None:
        # Asked by who waits for the end, and by who looks at the disk meanwhile.
        with self._reading, contextlib.suppress(BlockingIOError):
            while more := os.read(self._reader, 4096):
                self._text += more
        # Bubblewrap writes a line in several pieces.
        for line in self._text.split(b"\n")[:-1]:
            value = json.loads(line).get(name)
            if value is not None:
                return int(value)
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bubble(process.Launch):
    """A program to be started by bubblewrap."""

    group: Group
    status: Status
    outlet: Outlet | None = None
    """What the program waits for, if it has one."""

    def ready(self, pid: int) -> None:
        if self.outlet is None:
            return
        pidfd = os.pidfd_open(pid)
        try:
            init = self.status.await_init(pidfd, _INIT_S)
            if init is not None:
                self.outlet.open(init)
            elif not process.await_exit(pidfd, 0.0):
                raise process.NotReadyError("bubblewrap does not start its first process")
        except SandboxError as error:
            # A bubblewrap that fails takes the namespace along, and says itself why; any other still waits for us.
            if not process.await_exit(pidfd, _END_S):
                raise process.NotReadyError(error.message) from error
        finally:
            os.close(pidfd)

    def terminate(self, pid: int) -> bool:
        # Process 1 leads the program's group, and takes no signal but SIGKILL itself. Bubblewrap outside, which
        # is `pid`, would fall at once and take all with it.
        init = self.status.init
        return init is not None and process.signal_group(init, signal.SIGTERM)

    def kill(self, pid: int) -> None:
        # The end of process 1 is the end of its namespace.
        init = self.status.init
        if init is not None:
            process.signal_group(init, signal.SIGKILL)
        process.signal_group(pid, signal.SIGKILL)

    def clear(self, pid: int) -> None:
        process.signal_group(pid, signal.SIGKILL)
        init = self.status.init
        if init is not None:
            _await_end(init)
        self.group.clear()


def _await_end(pid: int) -> None:
    """Wait until process 1 of a sandbox is gone; it dies with bubblewrap, and its namespace before it."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return
    try:
        if not process.await_exit(pidfd, process.KILL_WAIT_S):
            raise SandboxError(f"the sandbox of process {pid} does not end", remedy="look at its state in ps")
    finally:
        os.close(pidfd)
