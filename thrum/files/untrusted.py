"""Reading and writing where an untrusted program wrote: never through a link, and of what is read a bounded size."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path, PurePosixPath

from thrum.files.durable import write_all

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK a pipe in the place of the file would be waited for.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def _folder_of(root: Path, path: str) -> Iterator[tuple[int, str]]:
    """The folder of the relative `path` below `root`, opened, and the name in it."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts:
        raise ValueError(f"{path!r} is no path below a folder")
    folder = os.open(root, _FOLDER)
    try:
        for part in parts[:-1]:
            inner = os.open(part, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = inner
        yield folder, parts[-1]
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "is a link, which is not followed", path) from None
        raise
    finally:
        os.close(folder)


def open_untrusted(root: Path, path: str) -> BufferedReader:
    """The regular file at the relative `path` below `root`, opened to be read; no part of the path may be a link.

    Raises:
        OSError: there is no such file, or something else is in its place.
        ValueError: the path leads out of `root`.
    """
    with _folder_of(root, path) as (folder, name):
        file = os.open(name, _FILE, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.EINVAL, "is no regular file", path)
    return open(file, "rb")


def read_untrusted(root: Path, path: str, *, limit_bytes: int) -> bytes:
    """The content of that file.

    Raises:
        OSError: as `open_untrusted`; also where it is larger than `limit_bytes`.
        ValueError: the path leads out of `root`.
    """
    with open_untrusted(root, path) as file:
        data = file.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        raise OSError(errno.EFBIG, f"is larger than {limit_bytes} bytes", path)
    return data


def write_untrusted(root: Path, path: str, data: bytes, *, uid: int | None) -> None:
    """Put a new file at the relative `path` below `root`, in the place of what file or link is there.

    Its folder must exist. `uid` is whom it belongs to; None: us.

    Raises:
        OSError: it cannot be written, or a part of the path is a link.
        ValueError: the path leads out of `root`.
    """
    with _folder_of(root, path) as (folder, name):
        new = f".new-{secrets.token_hex(8)}"
        file = os.open(new, _NEW, mode=0o600, dir_fd=folder)
        try:
            if uid is not None:
                os.fchown(file, uid, uid)
            write_all(file, data)
            os.replace(new, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(new, dir_fd=folder)
            raise
        finally:
            os.close(file)
