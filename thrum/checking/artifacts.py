"""What a step of Gate 3 must have made, and how that is told."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path

from thrum.files import open_untrusted
from thrum.gate import Artifact, Verdict
from thrum.job import Ending, Outcome

TOLD_BYTES = 64 * 1024 * 1024
"""Of what is larger no digest is told for its own sake."""
COPIED_BYTES = 4 * 1024 * 1024 * 1024
"""What is larger is not compared: the copy is not bound by what a sandbox may write."""
_PIECE_BYTES = 1024 * 1024

State = tuple[int, int, int, int]
"""Inode, size, and when content and file were changed last, as `state` tells it."""


def state(artifact: Artifact, folder: Path) -> State | None:
    """What a later write to the artifact would change; None where it is not there."""
    try:
        with open_untrusted(folder, artifact.path) as file:
            return _state(file.fileno())
    except (OSError, ValueError):
        return None


def verdict_on(
    artifact: Artifact,
    folder: Path,
    compare: Callable[[], Outcome],
    before: State | None = None,
    copy: Path | None = None,
) -> tuple[Verdict, str, str]:
    """Whether an artifact that was to be made in the folder is there and as it should be; if not, why; its SHA-256.

    What was there `before` in just that state was not made. `copy` is where a copy is left of what was looked at: the
    folder may change at any time.

    The digest is left out for a file above `TOLD_BYTES` of which neither a copy nor a digest is demanded. `compare`
    runs the artifact's command, which is asked only where there is one.

    Raises:
        OSError: the copy could not be made.
    """
    path = artifact.path
    try:
        file = open_untrusted(folder, path)
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or error
        return Verdict.FAILED, f"the artifact {path} was not made: {problem}", ""
    with file:
        size = os.fstat(file.fileno()).st_size
        if before is not None and _state(file.fileno()) == before:
            return Verdict.FAILED, f"the artifact {path} was not made: it was there before the step", ""
        if copy is not None and size > COPIED_BYTES:
            return Verdict.FAILED, f"the artifact {path} has more than {COPIED_BYTES} bytes: too many to compare", ""
        if copy is not None:
            found = _copied(file, size, copy)
        else:
            found = hashlib.file_digest(file, "sha256").hexdigest() if artifact.sha256 or size <= TOLD_BYTES else ""
    if artifact.sha256 and found != artifact.sha256.lower():
        problem = f"the artifact {artifact.path} has the SHA-256 {found}, and {artifact.sha256} was expected"
        return Verdict.FAILED, problem, found
    verdict, reason = _compared(artifact, compare()) if artifact.compare else (Verdict.PASSED, "")
    return verdict, reason, found


def _state(descriptor: int) -> State:
    found = os.fstat(descriptor)
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _copied(file: BufferedReader, size: int, copy: Path) -> str:
    """The SHA-256 of a copy of the file's first `size` bytes, which takes the place of whatever was there at once."""
    digest, left = hashlib.sha256(), size
    copy.parent.mkdir(parents=True, exist_ok=True)
    descriptor, partial = tempfile.mkstemp(dir=copy.parent)
    with open(descriptor, "wb") as to:
        while left and (piece := file.read(min(left, _PIECE_BYTES))):
            to.write(piece)
            digest.update(piece)
            left -= len(piece)
    os.chmod(partial, 0o755 if os.fstat(file.fileno()).st_mode & 0o111 else 0o644)
    os.replace(partial, copy)
    return digest.hexdigest()


def _compared(artifact: Artifact, outcome: Outcome) -> tuple[Verdict, str]:
    if outcome.ok:
        return Verdict.PASSED, ""
    if outcome.ending in (Ending.NOT_FOUND, Ending.NOT_STARTED):
        return Verdict.COULD_NOT_RUN, f"the artifact {artifact.path} could not be compared: {outcome.reason}"
    said = outcome.tail.strip().splitlines()
    why = said[-1] if said else outcome.reason
    return Verdict.FAILED, f"the artifact {artifact.path} is not as expected: {why}"
