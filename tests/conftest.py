"""What tests of several files are given."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent

# Some tests send hangups. Under nohup they would be ignored by us, and so by every program that we start.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# How long an example takes is the machine's affair. In continuous integration the examples are the same each time, so
# that a change is judged by what it changed; everywhere else they are new ones.
settings.register_profile("thrum", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("thrum")


@pytest.fixture
def shell_env(tmp_path: Path) -> dict[str, str]:
    """The environment of a user's shell, in which `thrum` is this source tree and `python` the one that runs us.

    What this process has in its own environment is not in it.
    """
    own, home, python = tmp_path / "own" / "bin", tmp_path / "own" / "home", Path(sys.executable)
    own.mkdir(parents=True)
    home.mkdir()
    thrum = own / "thrum"
    thrum.write_text(f'#!/bin/sh\nexec "{python}" -P -m thrum "$@"\n')
    thrum.chmod(0o755)
    return {
        "PATH": os.pathsep.join((str(own), str(python.parent), "/usr/local/bin", "/usr/bin", "/bin")),
        "HOME": str(home),
        "TMPDIR": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "LANG": "C.UTF-8",
        "THRUM_USER": "tester",
    }
