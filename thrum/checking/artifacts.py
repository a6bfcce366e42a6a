"""What a step of Gate 3 must have made, and how that is told."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from thrum.files import open_untrusted
from thrum.gate import Artifact, Verdict
from thrum.job import Ending, Outcome


def verdict_on(artifact: Artifact, folder: Path, compare: Callable[[], Outcome]) -> tuple[Verdict, str]:
    """Whether an artifact that was to be made in the folder is there and as it should be, and if not, why.

    `compare` runs the artifact's command, which is asked only where there is one.
    """
    try:
        with open_untrusted(folder, artifact.path) as file:
            found = hashlib.file_digest(file, "sha256").hexdigest() if artifact.sha256 else ""
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or error
        return Verdict.FAILED, f"the artifact {artifact.path} was not made: {problem}"
    if found != artifact.sha256.lower():
        problem = f"the artifact {artifact.path} has the SHA-256 {found}, and {artifact.sha256} was expected"
        return Verdict.FAILED, problem
    return _compared(artifact, compare()) if artifact.compare else (Verdict.PASSED, "")


def _compared(artifact: Artifact, outcome: Outcome) -> tuple[Verdict, str]:
    if outcome.ok:
        return Verdict.PASSED, ""
    if outcome.ending in (Ending.NOT_FOUND, Ending.NOT_STARTED):
        return Verdict.COULD_NOT_RUN, f"the artifact {artifact.path} could not be compared: {outcome.reason}"
    said = outcome.tail.strip().splitlines()
    why = said[-1] if said else outcome.reason
    return Verdict.FAILED, f"the artifact {artifact.path} is not as expected: {why}"
