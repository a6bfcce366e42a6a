"""What a step of Gate 3 must have made, and how that is told."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from thrum.files import open_untrusted
from thrum.gate import Artifact
from thrum.job import Outcome


def problem_of(artifact: Artifact, folder: Path, compare: Callable[[], Outcome]) -> str:
    """What is wrong with an artifact that was to be made in the folder; empty where nothing is.

    `compare` runs the artifact's command, which is asked only where there is one.
    """
    try:
        with open_untrusted(folder, artifact.path) as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError) as error:
        return f"the artifact {artifact.path} was not made: {getattr(error, 'strerror', None) or error}"
    if artifact.sha256 and found != artifact.sha256.lower():
        return f"the artifact {artifact.path} has the SHA-256 {found}, and {artifact.sha256} was expected"
    if artifact.compare:
        outcome = compare()
        if not outcome.ok:
            said = outcome.tail.strip().splitlines()
            return f"the artifact {artifact.path} is not as expected: {said[-1] if said else outcome.reason}"
    return ""
