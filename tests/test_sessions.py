"""Where an agent program keeps its session: what is read of it after a run."""

from __future__ import annotations

import os
from pathlib import Path

from thrum.backends import PRESETS
from thrum.sessions import FILE_BYTES, KEPT_S, Sessions, prune


def test_a_file_that_grew_without_bound_is_read_from_its_beginning(tmp_path: Path) -> None:
    preset = PRESETS["mini-swe-agent"]
    sessions = Sessions(tmp_path, preset)
    sessions.begin("", "/a/tree", None)
    head = '{"info": {"exit_status": "Submitted", "submission": "done"}, "messages": ["'
    (sessions.folder / "trajectory.json").write_text(head + "x" * FILE_BYTES + '"]}')
    (text,) = sessions.files().values()
    assert len(text) == FILE_BYTES
    reading = preset.read("", 0, sessions.files())
    assert (reading.text, reading.trouble) == ("done", None)


def test_a_link_in_the_place_of_a_file_is_not_read(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path, PRESETS["mini-swe-agent"])
    sessions.begin("", "/a/tree", None)
    (tmp_path / "secret").write_text("a secret")
    (sessions.folder / "trajectory.json").symlink_to(tmp_path / "secret")
    assert sessions.files() == {}


def test_sessions_that_were_long_not_gone_on_with_are_removed(tmp_path: Path) -> None:
    now = tmp_path.stat().st_mtime
    for task, age_s in (("a-1", KEPT_S + 10), ("a-2", KEPT_S - 10), ("a-3", 0.0)):
        note = tmp_path / task / "claude" / "session.json"
        (note.parent / "state").mkdir(parents=True)
        note.write_text("{}")
        os.utime(note, (now - age_s, now - age_s))
    (tmp_path / "a-4" / "codex").mkdir(parents=True)  # its first attempt is under way
    prune(tmp_path, now=now)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-2", "a-3", "a-4"]
    prune(tmp_path / "none", now=now)
