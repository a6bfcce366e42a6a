"""The one door to the git program: its environment, its limits, its errors, and git directories of our own.

What a repository is and may do stands in `thrum.git.repository`; no command for any particular purpose stands here.
"""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

from thrum.errors import GitError
from thrum.values import dataclass

OLDEST_VERSION = (2, 38)
"""The first git with `merge-tree --write-tree`, and with `safe.directory` in the command scope."""

WALL_S = 120.0
LONG_WALL_S = 900.0
"""For commands whose work grows with the size of the repository."""

LIMIT_BYTES = 64 * 1024 * 1024

AUTHOR = "Thrum"
EMAIL = "thrum@thrum.invalid"

_VARIABLES = {
    # Messages are parsed in places, and shown to people as git's documentation spells them.
    "LC_ALL": "C",
    "TZ": "UTC",
    # Not unset: `include.path = ~/…` in a repository would then be fatal instead of absent.
    "HOME": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_ATTR_NOSYSTEM": "1",
    # Nobody is there to answer.
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_EDITOR": "false",
    "GIT_PAGER": "cat",
    # Reading commands must not take the user's locks to write back what they noticed.
    "GIT_OPTIONAL_LOCKS": "0",
    # A replaced or grafted object would be another one than the checks saw.
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_GRAFT_FILE": os.devnull,
    # A file named `*.py` or `:(top)` is that file.
    "GIT_LITERAL_PATHSPECS": "1",
    # Commits must not depend on who started us, or where.
    "GIT_AUTHOR_NAME": AUTHOR,
    "GIT_AUTHOR_EMAIL": EMAIL,
    "GIT_COMMITTER_NAME": AUTHOR,
    "GIT_COMMITTER_EMAIL": EMAIL,
}

_CONFIG = {
    # Programs that a repository may name, and that git would run.
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "protocol.allow": "never",
    # What else the user's own files would add.
    "core.attributesFile": os.devnull,
    "core.excludesFile": os.devnull,
    # As root we meet repositories of other users; what git protects against here, the lines above do.
    "safe.directory": "*",
    # By default git syncs packs, but neither refs nor loose objects.
    "core.fsync": "all",
    "core.filesRefLockTimeout": "1000",
    "core.quotePath": "false",
    "color.ui": "false",
    # GIT_GRAFT_FILE alone is answered with a hint, which would stand in the way in every error.
    "advice.graftFileDeprecated": "false",
    "submodule.recurse": "false",
    # Housekeeping at a time of its own choosing would be a process that outlives the call.
    "gc.auto": "0",
    "maintenance.auto": "false",
}

_LOCK = re.compile(r"'([^'\n]+\.lock)': File exists")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a git command printed, with its exit code. `truncated`: there was more, and it was ended."""

    code: int
    out: bytes
    err: str = ""
    truncated: bool = False

    @property
    def text(self) -> str:
        """The output as text, without the final line end; undecodable bytes are escaped."""
        return decoded(self.out).rstrip("\n")


def environment(
    *, config: Mapping[str, str] | None = None, variables: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The variables that make git the same program everywhere: nothing of the caller's, the user's or the host's.

    `config` adds settings of the command scope, which outweighs every file. PATH is not among the variables.
    """
    settings = {**_CONFIG, **(config or {})}
    scope = {"GIT_CONFIG_COUNT": str(len(settings))}
    for number, (key, value) in enumerate(settings.items()):
        scope[f"GIT_CONFIG_KEY_{number}"] = key
        scope[f"GIT_CONFIG_VALUE_{number}"] = value
    return {**_VARIABLES, **scope, **(variables or {})}


def run(
    args: Sequence[str],
    *,
    cwd: Path,
    config: Mapping[str, str] | None = None,
    variables: Mapping[str, str] | None = None,
    stdin: bytes | int | None = None,
    accept: Sequence[int] = (0,),
    limit_bytes: int = LIMIT_BYTES,
    truncate: bool = False,
    wall_s: float = WALL_S,
) -> Ran:
    """Run `git ARGS` to its end.

    `stdin` is what it reads: bytes, an open descriptor, or nothing. Past `limit_bytes` of output it is ended,
    which is an error unless `truncate` says that a part will do.

    Raises:
        GitError: git is missing, exited with a code that `accept` does not list, printed too much, or ran
            longer than `wall_s`.
    """
    command = ("git", *args)
    env = {"PATH": os.environ.get("PATH", os.defpath), **environment(config=config, variables=variables)}
    with ExitStack() as stack:
        errors = stack.enter_context(tempfile.TemporaryFile())
        source = _source(stack, stdin)
        try:
            # A session of its own: a Ctrl-C on the terminal, or a kill of our process group, must not hit git
            # between a lock and its release.
            process = subprocess.Popen(
                command, cwd=cwd, env=env, stdin=source, stdout=subprocess.PIPE, stderr=errors, start_new_session=True
            )
        except OSError as error:
            raise _not_started(command, cwd, error) from error
        with process:
            out, whole, in_time = _read(process, limit_bytes, time.monotonic() + wall_s)
        err = _tail(errors.fileno())
    if not in_time:
        raise GitError(f"git {args[0]} ran longer than {wall_s:.0f} s", command=command, output=err)
    if not whole and not truncate:
        raise GitError(f"git {args[0]} printed more than {limit_bytes} bytes", command=command, output=err)
    if whole and process.returncode not in accept:
        raise failure(command, process.returncode, err or _last(decoded(out)))
    return Ran(code=process.returncode, out=out, err=err, truncated=not whole)


def failure(command: Sequence[str], code: int, output: str) -> GitError:
    """The error for a git command that failed; for a lock that is held it names the file and what to do."""
    lock = _LOCK.search(output)
    if lock:
        # No removal of our own: nothing proves that the holder is dead, it may live in another container.
        return GitError(
            f"git is locked: {lock[1]} exists",
            command=command,
            exit_code_seen=code,
            output=output,
            remedy=f"if no git command is at work in that repository, one was killed: remove {lock[1]}",
        )
    said = _last(output.strip().partition("\n\n")[0])
    verb = next((part for part in command[1:] if not part.startswith("-")), "")
    return GitError(f"git {verb} failed ({code}): {said}", command=command, exit_code_seen=code, output=output)


@cache
def version() -> tuple[int, ...]:
    """The version of the git program, as far as it is numbers.

    Raises:
        GitError: there is no git, or one that is too old.
    """
    said = run(["version"], cwd=Path("/")).text
    numbers = re.search(r"\d+(\.\d+)+", said)
    found = tuple(int(part) for part in numbers[0].split(".")) if numbers else ()
    if found < OLDEST_VERSION:
        wanted = ".".join(map(str, OLDEST_VERSION))
        raise GitError(f"{said} is too old", remedy=f"install git {wanted} or newer")
    return found


def decoded(raw: bytes) -> str:
    """Text for records and people: bytes that are not UTF-8 appear as `\\xNN`."""
    return raw.decode("utf-8", "backslashreplace")


def write_git_dir(
    path: Path,
    *,
    object_format: str = "sha1",
    alternate: Path | None = None,
    bare: bool = True,
    user: Mapping[str, str] | None = None,
    commit: str = "",
    branch: str = "none",
) -> None:
    """Make a git directory by hand, so that no template and nobody's configuration has a part in it.

    Objects are found in the directory `alternate`; HEAD is on `branch`, which stands at `commit`, or is unborn.
    Format: gitrepository-layout(5).
    """
    for name in ("refs/heads", "objects/info", "objects/pack"):
        (path / name).mkdir(parents=True)
    (path / "config").write_text(git_dir_config(object_format=object_format, bare=bare, user=user))
    if alternate is not None:
        (path / "objects/info/alternates").write_text(f"{alternate}\n")
    if commit:
        (path / "refs/heads" / branch).write_text(f"{commit}\n")
    # Last: without HEAD it is no git directory.
    (path / "HEAD").write_text(f"ref: refs/heads/{branch}\n")


def git_dir_config(*, object_format: str, bare: bool, user: Mapping[str, str] | None = None) -> str:
    """The configuration file of a git directory of ours; `user` is who commits in it (`name`, `email`)."""
    sections: dict[str, Mapping[str, str]] = {
        "core": {"repositoryformatversion": "1", "bare": str(bare).lower(), "filemode": "true"},
        "extensions": {"objectformat": object_format},
        "gc": {"auto": "0"},
        "user": user or {},
    }
    lines = []
    for section, settings in sections.items():
        lines += [f"[{section}]", *(f"\t{key} = {value}" for key, value in settings.items())]
    return "\n".join(lines) + "\n"


@contextmanager
def scratch_git_dir(objects: Path, *, object_format: str) -> Iterator[dict[str, str]]:
    """Variables for git commands over the object store `objects`, apart from its repository.

    They see no ref, configuration, attribute or hook of the repository, so that their result depends on their
    arguments alone; refs they write vanish, objects they write stay.
    """
    with tempfile.TemporaryDirectory(prefix="thrum-git-") as name:
        write_git_dir(Path(name) / "git", object_format=object_format)
        yield {"GIT_DIR": f"{name}/git", "GIT_OBJECT_DIRECTORY": str(objects)}


def _source(stack: ExitStack, stdin: bytes | int | None) -> int:
    if stdin is None:
        return subprocess.DEVNULL
    if isinstance(stdin, int):
        return stdin
    file = stack.enter_context(tempfile.TemporaryFile(buffering=0))  # noqa: SIM115
    file.write(stdin)
    file.seek(0)
    return file.fileno()


def _read(process: subprocess.Popen[bytes], limit_bytes: int, deadline: float) -> tuple[bytes, bool, bool]:
    """Its output, whether that is all of it, and whether it ended in time; it has ended in any case."""
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    ready = select.poll()
    ready.register(descriptor, select.POLLIN | select.POLLHUP)
    pieces: list[bytes] = []
    size = 0
    while size <= limit_bytes:
        if not ready.poll(max(0.0, deadline - time.monotonic()) * 1000):
            _end(process)
            return b"", False, False
        piece = os.read(descriptor, 1 << 18)
        if not piece:
            break
        pieces.append(piece)
        size += len(piece)
    else:
        _end(process)
        return b"".join(pieces)[:limit_bytes], False, True
    try:
        process.wait(max(0.0, deadline - time.monotonic()) + 0.1)
    except subprocess.TimeoutExpired:
        _end(process)
        return b"", False, False
    return b"".join(pieces), True, True


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it and its children: asked first, as git then removes its locks."""
    for number, patience_s in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
        try:
            os.killpg(process.pid, number)
            process.wait(patience_s)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
        return


def _tail(descriptor: int, limit_bytes: int = 8192) -> str:
    size = os.fstat(descriptor).st_size
    return decoded(os.pread(descriptor, limit_bytes, max(0, size - limit_bytes)))


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # The line that git marks as the reason, where it goes on with advice.
    marked = [line for line in lines if line.startswith(("fatal:", "error:"))]
    return (marked or lines or ["no output"])[-1]


def _not_started(command: tuple[str, ...], cwd: Path, error: OSError) -> GitError:
    if not cwd.is_dir():
        return GitError(f"{cwd} does not exist", command=command)
    return GitError(f"git cannot be started: {error.strerror}", command=command, remedy="install git")
