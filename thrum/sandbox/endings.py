"""What is told of a run that is over: how it ended, and one line that says why."""

from __future__ import annotations

import resource
import signal
from dataclasses import replace
from typing import TYPE_CHECKING

from thrum.config import SandboxConfig
from thrum.job import Ending, Job, Outcome
from thrum.sandbox.capture import Capture

if TYPE_CHECKING:
    from thrum.sandbox.process import Launch


def outcome_of(
    launch: Launch, job: Job, returncode: int, ending: Ending | None, capture: Capture, duration_s: float
) -> Outcome:
    """How a run ended, whose child ended with this return code after we had ended it for this reason, if for any."""
    exit_code = returncode if ending is None and returncode >= 0 else None
    number = -returncode if ending is None and returncode < 0 else None
    if ending is None and launch.disk is not None and launch.disk.reason:
        exit_code, number = None, signal.SIGKILL
    return Outcome(
        ending=ending or Ending.EXITED,
        exit_code=exit_code,
        signal=number,
        duration_s=duration_s,
        tail=capture.tail,
        output_bytes=capture.total_bytes,
        reason=_limit_told(job, ending) if ending else ended_by_itself(launch, exit_code, number),
        limit="" if ending else limit_met(launch, number),
    )


def _limit_told(job: Job, ending: Ending) -> str:
    match ending:
        case Ending.TIMED_OUT:
            return f"ended after {job.wall_s:g} s, its time limit"
        case Ending.SILENT:
            return f"ended after {job.silence_s:g} s without output"
        case Ending.OUTPUT_LIMIT:
            return f"ended at {job.output_limit_bytes} bytes of output, its limit"
    return "stopped on request"


def ended_by_itself(launch: Launch, exit_code: int | None, number: int | None) -> str:
    """One line about an exit code or a signal; empty for exit code 0."""
    if launch.disk is not None and launch.disk.reason:
        return launch.disk.reason
    if number == signal.SIGXFSZ:
        limit = dict(launch.rlimits).get(resource.RLIMIT_FSIZE, 0)
        return f"file size limit of {limit >> 20} MiB reached"
    if number is not None:
        return f"killed by {signal_name(number)}"
    return f"exit code {exit_code}" if exit_code else ""


def limit_met(launch: Launch, number: int | None) -> str:
    """The key of `[sandbox]` whose limit is behind the end by that signal; empty where none is."""
    if launch.disk is not None and launch.disk.reason:
        return launch.disk.limit
    return "file_size_limit_mb" if number == signal.SIGXFSZ else ""


def out_of_memory(outcome: Outcome, config: SandboxConfig) -> Outcome:
    """The outcome of a run that ended badly after something of it was killed for memory."""
    return replace(outcome, reason=f"memory limit of {config.memory_limit_mb} MiB reached", limit="memory_limit_mb")


def too_many_processes(outcome: Outcome, config: SandboxConfig) -> Outcome:
    """The outcome of a run that ended badly after it was refused a process."""
    reason = f"limit of {config.pids_limit} processes reached; {outcome.reason}"
    return replace(outcome, reason=reason, limit="pids_limit")


def signal_name(number: int) -> str:
    """`SIGKILL` for 9; a number without a name is written out."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
