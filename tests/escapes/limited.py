"""Attempts to use up the machine, run one by one in a sandbox with small limits."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

from tests.escapes import Filling
from tests.escapes.filling import LIMITS, MOST_BYTES, MOST_FILES, OUTPUT_BYTES
from tests.escapes.world import PREAMBLE, SHELL, outlived
from tests.requirements import IMAGE
from thrum.config import SandboxConfig
from thrum.files import remove_tree
from thrum.job import Job, Outcome
from thrum.sandbox import Sandbox, open_sandbox
from thrum.sandbox.disk import Count


def opened(backend: str) -> Sandbox:
    """A sandbox with the small limits."""
    name = f"test-escapes-{os.getpid()}-{secrets.token_hex(4)}"
    return open_sandbox(SandboxConfig(backend=backend, image=IMAGE, **LIMITS), name=name)  # type: ignore[arg-type]


def fill(sandbox: Sandbox, work: Path, attempt: Filling) -> tuple[Outcome, list[str]]:
    """Have it tried; how the run ended, and what of it went too far."""
    work.mkdir()
    if sandbox.uid is not None:
        os.chown(work, sandbox.uid, sandbox.uid)
    mark = f"mark-{secrets.token_hex(6)}"
    argv = ("python3", "-c", PREAMBLE) if attempt.python else ("bash", "-c", SHELL)
    outcome = sandbox.run(
        Job(
            argv=(*argv[:2], argv[2] + attempt.script, mark),
            cwd=str(work),
            env={"MARK": mark},
            writable=(str(work),),
            wall_s=attempt.wall_s,
            output_path=str(work.with_suffix(".log")),
            output_limit_bytes=OUTPUT_BYTES,
        )
    )
    found = list(_too_far(outcome, work, mark, attempt))
    remove_tree(work)
    return outcome, found


def _too_far(outcome: Outcome, work: Path, mark: str, attempt: Filling) -> Iterator[str]:
    if not re.fullmatch(attempt.ends, outcome.reason):
        yield f"it did not end as it should: {outcome.reason}"
    if outcome.duration_s > attempt.wall_s + 120:
        yield "it was not ended in time"
    if outlived(mark):
        yield "a process outlived its run"
    if work.with_suffix(".log").stat().st_size > OUTPUT_BYTES:
        yield "too much of the output was kept"
    count = Count((str(work),))
    for _ in count.steps():
        pass
    if count.size_bytes > MOST_BYTES or count.files > MOST_FILES:
        yield f"too much is on disk: {count.usage}"
