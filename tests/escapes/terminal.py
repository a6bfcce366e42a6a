"""What a person's terminal is sent."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

from tests.projects import environment


def seen(directory: Path, *args: str) -> bytes:
    """All that `thrum ARGS` sends to a terminal, without colours of its own."""
    leader, follower = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "thrum", *args],
            cwd=directory,
            env=environment({"TERM": "xterm", "PAGER": "cat", "NO_COLOR": "1"}),
            stdin=follower,
            stdout=follower,
            stderr=follower,
            start_new_session=True,
        )
        os.close(follower)
        told = b""
        while True:
            try:
                told += os.read(leader, 65536)
            except OSError:  # the end of a terminal is EIO
                break
        assert process.wait(60) == 0, told
        return told
    finally:
        os.close(leader)
