"""What a repo actor reads for people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.repositories import commit, make_repository
from thrum import inputs as i
from thrum.actors import effects
from thrum.actors.effects import Worldly
from thrum.actors.turn import ImportAttempt
from thrum.config import PipelineConfig, Project, RepoConfig
from thrum.files import OutputStore
from thrum.git.repository import Repository
from thrum.masking import MASKED
from thrum.messages import kinds as m
from thrum.records import from_plain
from thrum.task import Attempt, AttemptEnding, Task

KEY = 'sk-"é"0123456789'


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "demo")


@pytest.fixture
def outputs(tmp_path: Path) -> OutputStore:
    return OutputStore(tmp_path / "outputs")


def world(place: Path, outputs: OutputStore) -> Worldly:
    repo = from_plain(RepoConfig, {"name": "demo", "path": str(place)})
    agent = {"name": "a", "type": "agent", "command": "a", "api_key_env": "MODEL_KEY"}
    pipeline = from_plain(PipelineConfig, {"backends": [agent]})
    return Worldly(Project(directory=str(place.parent), repos=(repo,), pipeline=pipeline), repo, outputs, ("demo",))


def pages(world: Worldly, digest: str, limit_bytes: int) -> list[Any]:
    """All pieces of an output, in their order."""
    found: list[Any] = []
    offset, total = 0, 1
    while offset < total:
        reply = world.output(m.GetOutput(digest=digest, offset=offset, limit_bytes=limit_bytes))
        assert reply.ok
        assert reply.value["offset"] == offset
        assert reply.value["bytes"] > 0
        found.append(reply.value)
        offset, total = offset + reply.value["bytes"], reply.value["total_bytes"]
    return found


@pytest.mark.parametrize("limit_bytes", [5, 64, 1000, 1 << 20])
def test_an_output_that_was_kept_before_a_key_was_set_is_shown_without_it_however_it_is_read(
    place: Path, outputs: OutputStore, monkeypatch: pytest.MonkeyPatch, limit_bytes: int
) -> None:
    text = "".join(f"é{'x' * number} {KEY}{'y' * 70}\\n" for number in range(40))
    digest = outputs.keep(text.encode())
    assert "".join(page["text"] for page in pages(world(place, outputs), digest, limit_bytes)) == text
    monkeypatch.setenv("MODEL_KEY", KEY)
    shown = pages(world(place, outputs), digest, limit_bytes)
    assert "".join(page["text"] for page in shown) == text.replace(KEY, MASKED)
    assert all(page["bytes"] <= max(limit_bytes, len(KEY.encode())) for page in shown)


def test_reading_that_begins_within_a_key_shows_nothing_of_it(
    place: Path, outputs: OutputStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = outputs.keep(f"it is {KEY} indeed".encode())
    monkeypatch.setenv("MODEL_KEY", KEY)
    reply = world(place, outputs).output(m.GetOutput(digest=digest, offset=12))
    assert reply.value["text"] == f"{MASKED} indeed"
    end = world(place, outputs).output(m.GetOutput(digest=digest, offset=reply.value["total_bytes"]))
    assert (end.value["text"], end.value["bytes"]) == ("", 0)
    assert not world(place, outputs).output(m.GetOutput(digest=digest, offset=-1)).ok


def test_a_diff_that_is_cut_shows_no_half_of_a_key(
    place: Path, outputs: OutputStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = Repository(place, "main")
    base = repository.tip()
    head = commit(place, {"a.txt": f"first\nthe key is {KEY} indeed\n"})
    whole = repository.diff(base, head, limit_bytes=1 << 20)[0].encode()
    cut = whole.index(KEY.encode()) + len(KEY) // 2
    monkeypatch.setattr(effects, "DIFF_LIMIT_BYTES", cut)
    monkeypatch.setenv("MODEL_KEY", KEY)
    task = Task(id="demo-1", repo="demo", title="t", attempts=(Attempt(token=1, base=base, head=head),))
    shown = world(place, outputs).diff(task, 0).value
    assert shown["truncated"]
    assert shown["diff"].endswith("+first\n")


@pytest.mark.parametrize("key", ["", KEY])
def test_what_an_attempt_brings_in_is_searched_in_each_of_its_commits(
    tmp_path: Path, place: Path, outputs: OutputStore, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    repository = Repository(place, "main")
    base = repository.tip()
    commit(place, {"a.txt": KEY, f"{KEY}.txt": "named"}, "First")
    head = commit(place, {"a.txt": None}, f"With {KEY}")
    repository.write_bundle(tmp_path / "bundle", head, have=[base])
    monkeypatch.setenv("MODEL_KEY", key)
    report = m.AttemptReported(task="demo-1", token=1, ending="finished", bundle=str(tmp_path / "bundle"))
    ended = world(place, outputs).import_attempt(
        ImportAttempt(task="demo-1", base=base, report=report, worker="worker.demo.1")
    )
    assert isinstance(ended, i.AttemptEnded)
    assert ended.ending is AttemptEnding.FINISHED
    assert ended.leaks == (("a.txt", f"{KEY}.txt", f"commit {head[:12]}") if key else ())


def test_a_new_file_with_the_name_of_a_module_of_the_base_is_told(
    tmp_path: Path, place: Path, outputs: OutputStore
) -> None:
    repository = Repository(place, "main")
    base = commit(place, {"core.py": "", "src/app/__init__.py": "", "tests/old.py": "", "old.py": ""}, "First")
    added = dict.fromkeys(
        ("tests/core.py", "tests/app/__init__.py", "tests/test_core.py", "new.py", "tests/new.py"), ""
    )
    head = commit(place, {**added, "tests/old.py": "changed\n"})
    repository.write_bundle(tmp_path / "bundle", head, have=[base])
    report = m.AttemptReported(task="demo-1", token=1, ending="finished", bundle=str(tmp_path / "bundle"))
    ended = world(place, outputs).import_attempt(
        ImportAttempt(task="demo-1", base=base, report=report, worker="worker.demo.1")
    )
    assert isinstance(ended, i.AttemptEnded)
    assert ended.namesakes == ("tests/app/__init__.py", "tests/core.py")
