"""What actors log."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from thrum.config import PipelineConfig, Project
from thrum.masking import MASKED
from thrum.records import from_plain
from thrum.snapshot import digest_of, save_snapshot

KEY = 'sk-"0123456789"'


def test_an_actor_logs_no_secret(tmp_path: Path) -> None:
    agent = {"name": "a", "type": "agent", "command": "a", "api_key_env": "MODEL_KEY"}
    project = Project(directory=str(tmp_path), repos=(), pipeline=from_plain(PipelineConfig, {"backends": [agent]}))
    snapshot = save_snapshot(replace(project, digest=digest_of(project)), tmp_path)
    # An endpoint that cannot be: the error names it, and so does the traceback.
    said = ("--name", "scheduler", "--endpoint", f"nowhere:{KEY}", "--snapshot", str(snapshot), "--watch", "1")
    ran = subprocess.run(
        [sys.executable, "-m", "thrum.actors.scheduler", *said],
        env={**os.environ, "MODEL_KEY": KEY},
        capture_output=True,
        text=True,
        timeout=100,
    )
    lines = [json.loads(line) for line in ran.stderr.splitlines()]
    assert ran.returncode == 1
    assert any(f"nowhere:{MASKED}" in line.get("traceback", "") for line in lines), ran.stderr
    assert "0123456789" not in ran.stderr
