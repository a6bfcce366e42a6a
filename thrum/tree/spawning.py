"""How each process of the tree is started: its command line, its log, its place in the order."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from thrum.config import Project
from thrum.errors import BusyError, ToolError
from thrum.files import runtime_directory
from thrum.places import Places
from thrum.values import dataclass

LOG_LIMIT_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One process: `rank` orders starting, the highest is stopped first."""

    name: str
    module: str
    arguments: tuple[str, ...]
    rank: int


def endpoint_of(directory: Path) -> str:
    """Where the project's broker listens."""
    return f"ipc://{runtime_directory(directory) / 'bus'}"


def broker_spec(endpoint: str, supervisor_pid: int) -> Spec:
    """The broker of the project."""
    arguments = (endpoint, "--watch", str(supervisor_pid))
    return Spec(name="broker", module="thrum.broker.server", arguments=arguments, rank=0)


def actor_specs(
    project: Project, snapshot: Path, endpoint: str, supervisor_pid: int, *, agents: int, work: bool
) -> list[Spec]:
    """Every actor of the project on the host of `thrum up`."""
    common = _common(snapshot, endpoint, supervisor_pid)
    specs = [repo_spec(repo.name, snapshot, endpoint, supervisor_pid) for repo in project.here]
    for number in range(1, (project.pipeline.engine.gate_actors or os.cpu_count() or 1) + 1):
        name = f"gate.local.{number}"
        specs.append(Spec(name=name, module="thrum.actors.gate", arguments=(*common, "--name", name), rank=2))
    extra = ("--agents", str(agents), *(() if work else ("--idle",)))
    specs.append(
        Spec(
            name="scheduler",
            module="thrum.actors.scheduler",
            arguments=(*common, "--name", "scheduler", *extra),
            rank=4,
        )
    )
    if project.pipeline.api.enabled:
        address = str(Places(Path(project.directory)).api)
        arguments = (*common, "--name", "api", "--address-file", address)
        specs.append(Spec(name="api", module="thrum.actors.api", arguments=arguments, rank=1))
    return specs


def repo_spec(repo: str, snapshot: Path, endpoint: str, supervisor_pid: int, *, serve_only: bool = False) -> Spec:
    """A repository's actor."""
    name = f"repo.{repo}"
    arguments = (*_common(snapshot, endpoint, supervisor_pid), "--name", name, "--repo", repo)
    if serve_only:
        arguments = (*arguments, "--serve-only")
    return Spec(name=name, module="thrum.actors.repo", arguments=arguments, rank=3)


def _common(snapshot: Path, endpoint: str, supervisor_pid: int) -> tuple[str, ...]:
    return ("--endpoint", endpoint, "--snapshot", str(snapshot), "--watch", str(supervisor_pid), "--bound")


def spawn(
    spec: Spec, logs: Path, *, pass_fds: Sequence[int] = (), arguments: Sequence[str] = ()
) -> subprocess.Popen[bytes]:
    """Start the process; what it prints goes to its log.

    Call it from a thread that lives as long as the process may: the kernel ends it with that thread.
    """
    logs.mkdir(parents=True, exist_ok=True)
    log_path = logs / f"{spec.name}.log"
    if log_path.exists() and log_path.stat().st_size > LOG_LIMIT_BYTES:
        log_path.replace(log_path.with_suffix(".log.1"))
    # -P: a folder named `thrum` in the working directory must not be taken for this program.
    command = [sys.executable, "-P", "-m", spec.module, *spec.arguments, *arguments]
    with log_path.open("ab") as log_file:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log_file,
            stderr=log_file,
            pass_fds=pass_fds,
            start_new_session=True,  # a terminal's Ctrl-C is for the supervisor, which stops in order
        )


def spawn_broker(spec: Spec, logs: Path) -> tuple[subprocess.Popen[bytes], BinaryIO]:
    """Start the broker; `await_broker` takes the pipe on which it says that it listens."""
    reading, writing = os.pipe()
    try:
        process = spawn(spec, logs, pass_fds=(writing,), arguments=("--ready-fd", str(writing)))
    finally:
        os.close(writing)
    return process, open(reading, "rb")


def await_broker(ready: BinaryIO, logs: Path) -> None:
    """Return when the broker listens.

    Raises:
        ToolError: it ended instead; its log says why.
    """
    with ready:
        # End of file without a byte: the broker ended before it listened.
        if not ready.read(1):
            raise ToolError(f"the broker did not start: {last_words('broker', logs)}", command=("broker",))


def remove_socket(endpoint: str) -> None:
    """Remove the socket of a broker that has ended, which libzmq leaves, and the directory that was made for it."""
    path = Path(endpoint.removeprefix("ipc://"))
    with suppress(OSError):
        path.unlink(missing_ok=True)
        path.parent.rmdir()


def last_words(name: str, logs: Path) -> str:
    """The last thing that a process logged, for a person."""
    try:
        lines = (logs / f"{name}.log").read_text(errors="replace").strip().splitlines()
    except FileNotFoundError:
        return "it logged nothing"
    # A command ends with its error and, on a line below, what to do about it.
    told = next((line for line in reversed(lines[-3:]) if line.startswith("error: ")), None)
    return _text(told.removeprefix("error: ") if told else lines[-1])[-500:] if lines else "it logged nothing"


def _text(line: str) -> str:
    """The text of a log line, which is JSON if one of our actors wrote it."""
    try:
        record = json.loads(line)
    except ValueError:
        return line
    words = str(record.get("traceback", "")).strip().rpartition("\n")[2]
    return words or str(record.get("text", line))


def end(process: subprocess.Popen[bytes], deadline_s: float) -> None:
    """Ask a process to end, and make it end at the deadline."""
    process.terminate()
    try:
        process.wait(deadline_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def busy(directory: Path, who: str) -> BusyError:
    """The error for a project that somebody else has up."""
    return BusyError(f"Thrum is already up in {directory} ({who})", remedy="use it as it is, or end it: thrum down")
