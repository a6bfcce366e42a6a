"""Where an agent program keeps its session: what is read of it after a run."""

from __future__ import annotations

from pathlib import Path

from thrum.backends import PRESETS
from thrum.sessions import FILE_BYTES, Sessions


def test_a_file_that_grew_without_bound_is_read_from_its_beginning(tmp_path: Path) -> None:
    preset = PRESETS["mini-swe-agent"]
    sessions = Sessions(tmp_path, preset, None)
    sessions.begin("", "/a/tree")
    head = '{"info": {"exit_status": "Submitted", "submission": "done"}, "messages": ["'
    (sessions.folder / "trajectory.json").write_text(head + "x" * FILE_BYTES + '"]}')
    (text,) = sessions.files().values()
    assert len(text) == FILE_BYTES
    reading = preset.read("", 0, sessions.files())
    assert (reading.text, reading.trouble) == ("done", None)


def test_a_link_in_the_place_of_a_file_is_not_read(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path, PRESETS["mini-swe-agent"], None)
    sessions.begin("", "/a/tree")
    (tmp_path / "secret").write_text("a secret")
    (sessions.folder / "trajectory.json").symlink_to(tmp_path / "secret")
    assert sessions.files() == {}
