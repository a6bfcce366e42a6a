"""Every error that Thrum raises on purpose, branched by who must act.

Nothing here knows how an error is shown. A gate that fails is a value (`thrum.gate`), not an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum


class Exit(IntEnum):
    """The exit codes of the `thrum` command; `75` follows EX_TEMPFAIL of sysexits.h."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    GATE_FAILED = 3
    AWAITING_APPROVAL = 4
    BUDGET = 5
    TRY_LATER = 75
    INTERRUPTED = 130


class ThrumError(Exception):
    """The root: `message` says what happened and to what, `remedy` what to do next (may be empty).

    `code` names the kind of error for programs; it crosses the bus and the HTTP API unchanged.
    """

    code = "error"
    exit_code = Exit.FAILED

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class UsageError(ThrumError):
    """The user asked for something malformed: an empty title, an impossible option."""

    code = "usage"
    exit_code = Exit.USAGE


class ConfigError(UsageError):
    """A configuration file is missing, malformed or inconsistent; names the file and the key."""

    code = "config"

    def __init__(self, problem: str, *, file: str, key: str = "", remedy: str = "") -> None:
        where = f"{file}: {key}" if key else file
        super().__init__(f"{where}: {problem}", remedy=remedy)
        self.problem = problem
        self.file = file
        self.key = key


class NotFoundError(UsageError):
    """A task, repository, backend or commit that does not exist."""

    code = "not-found"


class RefusedError(ThrumError):
    """The request is well formed, but the present state forbids it (approving what does not wait)."""

    code = "refused"


class AuthError(ThrumError):
    """A call that changes state came without the project's token."""

    code = "unauthorized"


class BusyError(ThrumError):
    """Something is in use, gone or overloaded for the moment; the same call may succeed later."""

    code = "try-later"
    exit_code = Exit.TRY_LATER


class ToolError(ThrumError):
    """An outside program could not do its job; `command`, `exit_code_seen` and `output` say which and how."""

    code = "tool"

    def __init__(
        self,
        message: str,
        *,
        command: Sequence[str] = (),
        exit_code_seen: int | None = None,
        output: str = "",
        remedy: str = "",
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.command = tuple(command)
        self.exit_code_seen = exit_code_seen
        self.output = output


class GitError(ToolError):
    """git failed at something that should have worked."""

    code = "git"


class RepositoryError(GitError):
    """A repository cannot be managed as it is: no commit yet, no such branch, a vanished path."""

    code = "repository"


class SandboxError(ToolError):
    """A sandbox is unavailable, or cannot give what was asked of it; never answered by using less."""

    code = "sandbox"


class SetupError(ToolError):
    """`setup_cmd` ran and failed: it may be the commit's fault, or the machine's."""


class StoreError(ThrumError):
    """A store cannot be read or written."""

    code = "store"


class StoreInUseError(StoreError):
    """Another process holds the store's lock."""

    code = "store-in-use"
    exit_code = Exit.TRY_LATER


class StoreDamagedError(StoreError):
    """A store failed its check; it must be set aside, never repaired in place."""

    code = "store-damaged"


class WireError(ThrumError):
    """A peer sent something that is no message of ours; `raw` carries the first bytes of it."""

    code = "wire"

    def __init__(self, message: str, *, raw: bytes = b"") -> None:
        super().__init__(f"{message} (first bytes: {raw[:64]!r})" if raw else message)
        self.raw = raw


class TransitionError(ThrumError):
    """Our own fault: a pair of state and transition that is not in the table."""

    code = "transition"


def words(error: ThrumError | OSError) -> str:
    """What happened and what to do about it, for a person; an OSError (a full disk, say) names its path itself."""
    if isinstance(error, OSError):
        return str(error)
    return f"{error.message} ({error.remedy})" if error.remedy else error.message
