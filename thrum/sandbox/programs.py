"""The programs that the `os-native` sandbox is made of: found, and new enough."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

from thrum.errors import SandboxError

_OLDEST = (0, 5)


def find_bubblewrap() -> tuple[str, tuple[int, ...]]:
    """Where it is, links resolved, and its version.

    Raises:
        SandboxError: there is none, or it is too old.
    """
    found = shutil.which("bwrap")
    if found is None:
        raise SandboxError(
            "the sandbox 'os-native' needs bubblewrap, and there is no `bwrap` on PATH",
            remedy="install it (apt install bubblewrap), or set another [sandbox] backend",
        )
    said = subprocess.run((found, "--version"), capture_output=True, text=True, timeout=60, check=False).stdout
    version = tuple(int(part) for part in re.findall(r"\d+", said)[:3])
    if version < _OLDEST:
        raise SandboxError(f"{found} is too old: {said.strip()!r}", remedy="install bubblewrap 0.5 or later")
    return os.path.realpath(found), version


def find_setpriv() -> str:
    """Where it is; only the system's own will do.

    Raises:
        SandboxError: there is none.
    """
    found = shutil.which("setpriv", path="/usr/bin:/bin:/usr/sbin:/sbin")
    if found is None:
        raise SandboxError(
            "started as root, the sandbox 'os-native' needs `setpriv` to drop privileges",
            remedy="install util-linux, or start Thrum as an ordinary user",
        )
    return found
