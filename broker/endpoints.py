"""Where the broker listens: binding a socket to its endpoints, and refusing what would be unsafe or fail unclearly."""

from __future__ import annotations

import os
import socket as unix
from collections.abc import Sequence

import zmq

from thrum.errors import BusyError, RefusedError, UsageError

PATH_BYTES = 107
"""The longest path of a unix socket: `sun_path` has 108 bytes, the last of them zero (unix(7))."""
_IPC = "ipc://"
_LOOPBACK = ("tcp://127.0.0.1:", "tcp://localhost:")


def bind(socket: zmq.Socket[bytes], endpoints: Sequence[str]) -> None:
    """Bind to each endpoint; a directory for an IPC path is made, for its owner alone.

    Raises:
        UsageError: an endpoint is malformed, or its path is too long.
        RefusedError: others may enter the path's directory, or reach the TCP address.
        BusyError: another broker listens there.
    """
    for endpoint in endpoints:
        if endpoint.startswith(_IPC):
            _prepare(endpoint.removeprefix(_IPC))
        elif endpoint.startswith("tcp://") and not endpoint.startswith(_LOOPBACK):
            # Whoever reaches the socket can be any actor, until CURVE says who is who.
            raise RefusedError(
                f"{endpoint} could be reached from other hosts", remedy="use 127.0.0.1 or an ipc:// path"
            )
        # The socket file is made with the permissions that the umask leaves.
        umask = os.umask(0o077)
        try:
            socket.bind(endpoint)
        except zmq.ZMQError as error:
            if error.errno == zmq.EADDRINUSE:
                raise BusyError(f"{endpoint} is in use", remedy="stop what listens there, or use another") from error
            raise UsageError(f"cannot listen on {endpoint}: {error}") from error
        finally:
            os.umask(umask)


def _prepare(path: str) -> None:
    size = len(os.fsencode(path))
    if size > PATH_BYTES:
        raise UsageError(
            f"the socket path {path} is {size} bytes long, more than the {PATH_BYTES} that the system allows",
            remedy="set XDG_RUNTIME_DIR or TMPDIR to a shorter directory",
        )
    directory = os.path.dirname(os.path.abspath(path))
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        status = os.stat(directory)
    except OSError as error:
        raise UsageError(f"cannot make the socket directory {directory}: {error.strerror}") from error
    if status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise RefusedError(
            f"the socket directory {directory} is open to other users", remedy=f"chmod 700 {directory}, or use another"
        )
    # ZeroMQ would take the path away from whoever listens there, without a word to either.
    with unix.socket(unix.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return
    raise BusyError(f"another broker listens on {path}", remedy="stop it first, or join it")
