"""Reading what an untrusted program wrote: never through a link, never anything but a file, never more than asked."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path, PurePosixPath

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK a pipe in the place of the file would be waited for.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def open_untrusted(root: Path, path: str) -> BufferedReader:
    """The regular file at the relative `path` below `root`, opened to be read; no part of the path may be a link.

    Raises:
        OSError: there is no such file, or something else is in its place.
        ValueError: the path leads out of `root`.
    """
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts:
        raise ValueError(f"{path!r} is no path below a folder")
    folder = os.open(root, _FOLDER)
    try:
        for part in parts[:-1]:
            inner = os.open(part, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = inner
        file = os.open(parts[-1], _FILE, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "is a link, which is not followed", path) from None
        raise
    finally:
        os.close(folder)
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
