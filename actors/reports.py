"""What the repo actor is told of an attempt: how it ended, in words and numbers that reach it. No file is read here."""

from __future__ import annotations

import os
import time
from dataclasses import replace

from thrum.agents import failure, key_told, no_change, preset_of, provider_refused
from thrum.backends import Reading, Trouble
from thrum.config import BackendConfig
from thrum.failures import Failure
from thrum.job import Ending, Outcome
from thrum.messages.attempts import AttemptReported
from thrum.packing import fits
from thrum.task import AttemptEnding

MOST = 10**15
"""More tokens, or more money, is no attempt said to have used."""

_ENDINGS = {
    Ending.EXITED: AttemptEnding.FINISHED,
    Ending.TIMED_OUT: AttemptEnding.TIMED_OUT,
    Ending.SILENT: AttemptEnding.SILENT,
    Ending.OUTPUT_LIMIT: AttemptEnding.FINISHED,
    Ending.STOPPED: AttemptEnding.STOPPED,
    Ending.NOT_FOUND: AttemptEnding.COULD_NOT_RUN,
    Ending.NOT_STARTED: AttemptEnding.COULD_NOT_RUN,
}


def counted(report: AttemptReported, reading: Reading) -> AttemptReported:
    """The report with the session that the program told of, and what that used."""
    return replace(
        report,
        session=reading.session,
        cost_usd=_told(reading.cost_usd),
        input_tokens=int(_told(reading.input_tokens)),
        cached_tokens=int(_told(reading.cached_tokens)),
        output_tokens=int(_told(reading.output_tokens)),
    )


def judged(report: AttemptReported, outcome: Outcome, reading: Reading, backend: BackendConfig) -> AttemptReported:
    """The report of a run whose end was seen, with what that and its program's words say together."""
    trouble = reading.trouble
    killed = bool(outcome.limit) and outcome.exit_code is None
    failed = failure(outcome.ending, trouble, refused=provider_refused(backend, outcome.refused), limited=killed)
    refused = ", ".join(f"{target} ({count} times)" for target, count in outcome.refused.items())
    reasons = (
        trouble.detail if trouble else "",
        key_told(backend, os.environ) if failed is Failure.AUTH else "",
        outcome.reason,
        f"that is {outcome.limit} of [sandbox]" if failed is Failure.RESOURCE_LIMIT else "",
        f"the network was closed to it at {refused}" if refused and refused not in outcome.reason else "",
    )
    last_words = reading.text.strip() if preset_of(backend) else ""
    return replace(
        report,
        ending=_ENDINGS[outcome.ending].value,
        failure=failed.value if failed else "",
        retry_after_s=_pause_s(trouble),
        reason="; ".join(filter(None, reasons)),
        exit_code=outcome.exit_code,
        tail=last_words[-8000:] or report.tail,
        no_change=no_change(reading),
    )


def tellable(report: AttemptReported) -> AttemptReported:
    """The report; without what was said in the attempt where that cannot be sent: it would end each worker anew."""
    if fits(report):
        return report
    return AttemptReported(
        task=report.task,
        token=report.token,
        ending=report.ending,
        failure=report.failure,
        reason="what the agent said of its run cannot be told: it holds what is no text, or no number of any use",
        exit_code=report.exit_code,
        bundle=report.bundle,
        head=report.head,
        output_digest=report.output_digest,
        output_bytes=report.output_bytes,
        started_at=report.started_at,
        ended_at=report.ended_at,
    )


def _told(count: float | None) -> float:
    """What a program counted, from 0 to `MOST`: it may be a sum of numbers that it made up."""
    return min(count, MOST) if count and count > 0 else 0


def _pause_s(trouble: Trouble | None) -> float:
    """How long to wait before the next try, as far as the agent's program told; 0 where it did not."""
    if trouble is None:
        return 0.0
    until_s = trouble.retry_at - time.time() if trouble.retry_at is not None else trouble.retry_after_s or 0.0
    return max(1.0, until_s) if until_s or trouble.retry_at is not None else 0.0
