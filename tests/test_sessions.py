"""Where an agent program keeps its session: what is read of it after a run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from thrum.backends import PRESETS, Reading
from thrum.files import remove_tree
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


def run(directory: Path, name: str, *, session: str = "s-1", **counts: float) -> Reading:
    """What is told of a run of a program that counts over the whole session; it says this and no more."""
    preset = PRESETS[name]
    Sessions(directory, preset).begin("s-1", "/a/tree", None)
    said = Reading(session=session, of_session=True, **counts)  # type: ignore[arg-type]
    told = Sessions(directory, preset).end(said)
    assert Sessions(directory, preset).end(said) == told, "it can be noted again, after a crash"
    return told


def test_what_a_session_had_cost_before_is_no_cost_of_a_later_run(tmp_path: Path) -> None:
    costs = [run(tmp_path, "claude-code", cost_usd=sum_usd).cost_usd for sum_usd in (1.0, 1.25, 1.25, 3.0)]
    assert costs == [1.0, 0.25, 0.0, 1.75]


def test_what_a_run_did_not_tell_is_told_by_the_next(tmp_path: Path) -> None:
    runs = [run(tmp_path, "codex", **counts) for counts in ({"input_tokens": 100}, {}, {"input_tokens": 160})]
    assert [run.input_tokens for run in runs] == [100, None, 60]


def test_a_program_that_begins_to_count_anew_is_taken_at_its_word(tmp_path: Path) -> None:
    run(tmp_path, "claude-code", cost_usd=2.0, input_tokens=900)
    again = run(tmp_path, "claude-code", cost_usd=0.5, input_tokens=1000)
    assert (again.cost_usd, again.input_tokens) == (0.5, 1000)
    assert run(tmp_path, "claude-code", cost_usd=0.75).cost_usd == 0.25


def test_the_sums_of_one_session_are_not_taken_from_another(tmp_path: Path) -> None:
    costs = [
        run(tmp_path, "claude-code", session=session, cost_usd=cost_usd).cost_usd
        for session, cost_usd in (("s-1", 2.0), ("s-2", 3.0), ("s-1", 4.0))
    ]
    assert costs == [2.0, 3.0, 4.0]


def test_a_program_that_counts_each_run_alone_is_taken_at_its_word(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path, PRESETS["claude-code"])
    for cost_usd in (1.0, 1.5):
        sessions.begin("s-1", "/a/tree", None)
        assert sessions.end(Reading(session="s-1", cost_usd=cost_usd)).cost_usd == cost_usd


INSTRUCTED = ("claude-code", "codex", "gemini", "opencode", "aider")


@pytest.mark.parametrize("name", INSTRUCTED)
def test_each_run_has_the_instructions_of_its_own_attempt(tmp_path: Path, name: str) -> None:
    file = tmp_path / "state" / PRESETS[name].system_prompt_path
    sessions = Sessions(tmp_path, PRESETS[name])
    sessions.begin("", "/a/tree", None, "Be kind.\n")
    sessions.end(Reading(session="s-1"))
    assert file.read_text() == "Be kind.\n"
    file.write_text("what the agent made of it")
    for told in ("Be short.\n", ""):
        assert sessions.begin("s-1", "/a/tree", None, told) == "s-1"
        assert file.read_text() == told


def test_instructions_are_not_written_through_what_an_agent_left_in_their_way(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "GEMINI.md").write_text("not the agent's")
    (tmp_path / "session").mkdir()
    sessions = Sessions(tmp_path / "session", PRESETS["gemini"])
    folder = sessions.folder / ".gemini"
    for way in ("link to the file", "link to its folder", "a folder in its place"):
        sessions.begin("", "/a/tree", None)
        sessions.end(Reading(session="s-1"))
        match way:
            case "link to the file":
                (folder / "GEMINI.md").unlink()
                (folder / "GEMINI.md").symlink_to(kept / "GEMINI.md")
            case "link to its folder":
                remove_tree(folder)
                folder.symlink_to(kept)
            case _:
                (folder / "GEMINI.md").unlink()
                (folder / "GEMINI.md").mkdir()
        went_on = sessions.begin("s-1", "/a/tree", None, "Be kind.")
        assert went_on == ("s-1" if way == "link to the file" else ""), "else it begins anew, in a clean folder"
        assert (folder / "GEMINI.md").read_text() == "Be kind."
        assert not (folder / "GEMINI.md").is_symlink()
        assert (kept / "GEMINI.md").read_text() == "not the agent's"
        assert sorted(path.name for path in folder.iterdir()) == ["GEMINI.md", "settings.json"]


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
