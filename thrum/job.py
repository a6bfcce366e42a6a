"""One run of an untrusted program: what to run and under which limits, and how it ended. Values only."""

from __future__ import annotations

from dataclasses import field
from enum import StrEnum

from thrum.values import dataclass


class Ending(StrEnum):
    """Why a run is over."""

    EXITED = "exited"
    TIMED_OUT = "timed-out"
    SILENT = "silent"
    OUTPUT_LIMIT = "output-limit"
    STOPPED = "stopped"
    """We ended it on request."""
    NOT_FOUND = "not-found"
    """Its program does not exist where it would run; nothing ran."""
    NOT_STARTED = "not-started"
    """The sandbox itself could not be set up; nothing of the program ran."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A program to run in a sandbox.

    `argv[0]` is looked up on the sandbox's PATH. `writable` and `readable` are absolute host paths that appear
    at the same place inside; nothing else of the host beyond the system directories and the configured
    `mount_paths` does. `cwd` must lie in one of them. The output (stdout and stderr, interleaved as
    written) goes to `output_path` if it is set, as it comes; `thrum.files.Printed` reads it. Of one that is longer than
    `output_limit_bytes` the middle is dropped.
    """

    argv: tuple[str, ...]
    cwd: str
    env: dict[str, str] = field(default_factory=dict)
    """Added to what every sandbox sets: PATH, HOME, TMPDIR, LANG, USER."""
    writable: tuple[str, ...] = ()
    readable: tuple[str, ...] = ()
    stdin_path: str = ""
    """A file to read as standard input; empty means /dev/null, never an open pipe."""
    network: bool = False
    allow: tuple[str, ...] = ()
    """What can be reached without `network`, as `host:port` (see `thrum.allowlist`); with it, this means nothing."""
    wall_s: float = 3600.0
    silence_s: float = 0.0
    """End the run after this long without a byte of output; 0 means no limit."""
    output_path: str = ""
    output_limit_bytes: int = 64 * 1024 * 1024
    output_limit_ends: bool = True
    """True: a run that passes the output limit is ended. False: it goes on."""
    tail_bytes: int = 16 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a run ended. Exactly one of `exit_code` and `signal` is set when `ending` is EXITED."""

    ending: Ending
    exit_code: int | None = None
    signal: int | None = None
    duration_s: float = 0.0
    tail: str = ""
    """The end of the output, decoded, undecodable bytes replaced."""
    output_bytes: int = 0
    """How much was printed, whether it was kept or not."""
    refused: dict[str, int] = field(default_factory=dict)
    """What the program tried to reach by name, was not on its allow list, and how often: `host:port` to a count."""
    reason: str = ""
    """One line for a person wherever `ending` is not EXITED with code 0."""
    limit: str = ""
    """The key of `[sandbox]` whose limit that is about, if it is one on memory, processes, file size or disk."""

    @property
    def ok(self) -> bool:
        """True only for a program that ran to its end and exited 0."""
        return self.ending is Ending.EXITED and self.exit_code == 0
