"""What some tests need of the machine: `needs("bwrap")` skips without it, and says what is missing.

With THRUM_TEST_REQUIRE_ALL=1 nothing is skipped: what is missing makes its tests fail.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from functools import cache

import pytest

from thrum.sandbox.cgroup import Group, Limits

IMAGE = "thrum-test:latest"
"""The image that containers of tests are made of."""


@cache
def missing(name: str) -> str:
    """Why a requirement is not met here; empty if it is.

    Names: `root`, `no-root`, `docker` (an engine that answers, with IMAGE), `cgroup-writable`, `bwrap` (one that
    works), `rocq` (its compiler and its checker, under either of their names), `z3 for Python` (the module, for the
    interpreter that runs the tests), or any program.
    """
    match name:
        case "root":
            return "" if os.geteuid() == 0 else "not root"
        case "no-root":
            return "" if os.geteuid() != 0 else "root"
        case "docker":
            if not _succeeds("docker", "info"):
                return "no docker engine answers"
            made = _succeeds("docker", "image", "inspect", IMAGE)
            return "" if made else f"the docker engine has no image {IMAGE}, which scripts/docker-engine makes"
        case "bwrap":
            return "" if _succeeds("bwrap", "--unshare-all", "--ro-bind", "/", "/", "true") else "no working bubblewrap"
        case "rocq":
            both = _any_of("coqc", "rocq") and _any_of("coqchk", "rocqchk", "rocq")
            return "" if both else "no Rocq compiler and checker on PATH"
        case "z3 for Python":
            return "" if importlib.util.find_spec("z3") else f"no module z3 for {sys.executable}: pip install z3-solver"
        case "cgroup-writable":
            return _missing_groups()
    return "" if shutil.which(name) else f"no {name} on PATH"


def needs(*names: str) -> pytest.MarkDecorator:
    """A mark for tests that need all of these."""
    reasons = [reason for name in names if (reason := missing(name))]
    skip = bool(reasons) and os.environ.get("THRUM_TEST_REQUIRE_ALL") != "1"
    return pytest.mark.skipif(skip, reason=", ".join(reasons) or "nothing is missing")


def _succeeds(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=120, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _missing_groups() -> str:
    group = Group(Limits(memory_mb=64, pids=64), name=f"test-requirement-{os.getpid()}")
    try:
        return f"no writable control group for {', '.join(group.missing)}" if group.missing else ""
    finally:
        group.close()


def _any_of(*programs: str) -> bool:
    return any(map(shutil.which, programs))
