"""What only this user may see: the token, and the directory of the sockets."""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from thrum.errors import ConfigError, RefusedError
from thrum.files.durable import new_file_beside, sync_directory, write_all

SOCKET_PATH_BYTES = 107
"""What a Unix socket's address holds (sun_path less its zero), see unix(7)."""
SOCKET_NAME_BYTES = 20
"""What `runtime_directory` leaves for a socket's own name."""


def secret(path: Path) -> str:
    """The token in the file at `path`, which is made, for its owner's eyes only, if it is not there.

    Raises:
        ConfigError: others can read the file, or we cannot, or it holds no token.
    """
    try:
        return _read_secret(path)
    except FileNotFoundError:
        pass
    with new_file_beside(path, 0o600) as (handle, name):
        write_all(handle, secrets.token_urlsafe(32).encode() + b"\n")
        os.fsync(handle)
        # A link, unlike a rename, leaves what another process put there just now.
        with suppress(FileExistsError):
            os.link(name, path)
    sync_directory(path.parent)
    return _read_secret(path)


def _read_secret(path: Path) -> str:
    again = f"remove {path}: the next start makes a new one"
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=str(path), remedy=again) from error
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError("is no regular file", file=str(path), remedy=again)
        if status.st_mode & 0o077:
            mode = stat.S_IMODE(status.st_mode)
            raise ConfigError(f"can be read by others (mode {mode:04o})", file=str(path), remedy=again)
        token = file.read(4096).decode("ascii", "replace").strip()
    if not token:
        raise ConfigError("holds no token", file=str(path), remedy=again)
    return token


def runtime_directory(project_dir: Path, *, environ: Mapping[str, str] = os.environ) -> Path:
    """The directory for a project's sockets, made if need be: private, and with a path short enough for them.

    It lies in `$XDG_RUNTIME_DIR/thrum`, or in `thrum-UID` of the temporary directory where that variable is
    not set, not usable, or too long, or else of /tmp. The same project has the same one as long as the
    environment does not change.

    Raises:
        RefusedError: someone else owns it, or others can enter it.
        ConfigError: no place has a path that is short enough.
    """
    name = hashlib.sha256(os.fsencode(project_dir.resolve())).hexdigest()[:16]
    for parent in _runtime_parents(environ):
        directory = parent / name
        if len(os.fsencode(directory)) + 1 + SOCKET_NAME_BYTES <= SOCKET_PATH_BYTES:
            _make_private(parent)
            _make_private(directory)
            return directory
    raise ConfigError(
        "its path is too long for sockets", file=tempfile.gettempdir(), remedy="set TMPDIR to a shorter one"
    )


def _runtime_parents(environ: Mapping[str, str]) -> Iterator[Path]:
    runtime = Path(environ.get("XDG_RUNTIME_DIR", ""))
    # Under sudo the variable may still name another user's directory.
    if runtime.is_absolute() and runtime.is_dir() and runtime.stat().st_uid == os.geteuid():
        yield runtime / "thrum"
    for temporary in (tempfile.gettempdir(), "/tmp"):
        yield Path(temporary, f"thrum-{os.geteuid()}")


def _make_private(directory: Path) -> None:
    status = None
    while status is None:
        with suppress(FileExistsError):
            directory.mkdir(mode=0o700)
        # A supervisor that ends removes the directory of its sockets: perhaps just now.
        with suppress(FileNotFoundError):
            status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise RefusedError(
            f"{directory} must be a directory that only this user may enter, and it is not",
            remedy=f"see who made it, and remove it: rm -r {directory}",
        )
