"""Secrets kept out of what is shown."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.projects import ThrumProject
from tests.requirements import needs
from thrum.config import PipelineConfig, Project
from thrum.files import Printed
from thrum.job import Job
from thrum.masking import MASKED, MaskedStream, leaks, masked, secrets
from thrum.records import from_plain
from thrum.sandbox import open_sandbox

KEY = "sk-0123456789"


def project_of(**pipeline: Any) -> Project:
    return Project(directory="/srv/project", repos=(), pipeline=from_plain(PipelineConfig, pipeline))


def test_the_values_of_keys_and_of_variables_named_like_secrets_are_secrets() -> None:
    agent = {"name": "a", "type": "agent", "command": "a"}
    project = project_of(
        backends=[
            {**agent, "api_key_env": "MY_MODEL"},
            {**agent, "name": "b", "pass_env": ["GITHUB_TOKEN", "LANG"], "env": {"DB_PASSWORD": "written here"}},
        ],
        sandbox={
            "pass_env": ["NPM_AUTH", "PGURL", "CARGO_HOME", "LC_MESSAGES"],
            "env": {"KEYBOARD": "not a secret", "SIGNING_KEY": "the signing key"},
        },
        checks={"mine": {"command": "x", "env": {"API_SECRET": "of a check"}}},
    )
    environ = {"MY_MODEL": KEY, "GITHUB_TOKEN": "ghp-token-token", "LANG": "C.UTF-8-long", "NPM_AUTH": "n" * 9}
    environ |= {"PGURL": "postgres://u:p@h", "CARGO_HOME": "/home/somebody/.cargo", "LC_MESSAGES": "en_GB.UTF-8"}
    expected = {"postgres://u:p@h", KEY, "ghp-token-token", "written here", "n" * 9, "the signing key", "of a check"}
    found = secrets(project, {**environ, "OTHER_TOKEN": "is not passed on"})
    assert set(found) == expected
    assert sorted(map(len, found), reverse=True) == [*map(len, found)]


def test_short_values_are_left_alone() -> None:
    project = project_of(backends=[{"name": "a", "type": "agent", "command": "a", "api_key_env": "K"}])
    assert secrets(project, {"K": "on"}) == ()


def test_the_files_that_a_secret_was_added_to_are_told() -> None:
    diff = (
        f"--- a/a.py\n+++ b/a.py\n@@ -1 +1 @@\n-{KEY}\n+gone\n--- /dev/null\n+++ b/b c.txt\t\n@@ -0,0 +1 @@\n+x{KEY}x\n"
    )
    assert leaks(diff, [KEY]) == ("b c.txt",)
    assert leaks(diff, []) == leaks("", [KEY]) == ()


def test_a_text_is_masked_wherever_a_value_stands() -> None:
    assert masked(f"a{KEY}b {KEY}", [KEY]) == f"a{MASKED}b {MASKED}"
    assert masked(f"x {KEY}-more", [f"{KEY}-more", KEY]) == f"x {MASKED}"


@given(
    parts=st.lists(st.sampled_from(["ab", "abc", "abcab", "b", "xyz", "c", "\n", "x", "z-more"]), max_size=30),
    cuts=st.lists(st.integers(0, 150), max_size=20),
)
def test_pieces_are_masked_as_the_whole_is(parts: list[str], cuts: list[int]) -> None:
    values = ["xyz-more", "abcab", "xyz", "bca"]
    data = "".join(parts).encode()
    stream = MaskedStream(values)
    ends = sorted({*(min(cut, len(data)) for cut in cuts), len(data)})
    out = b"".join(stream.feed(data[begin:end]) for begin, end in zip([0, *ends], ends, strict=False)) + stream.flush()
    assert out == masked(data.decode(), values).encode()


def test_only_what_may_become_a_value_is_held_back() -> None:
    stream = MaskedStream([KEY])
    assert stream.feed(b"working sk-") == b"working "
    assert stream.feed(b"no") == b"sk-no"
    assert stream.feed(KEY.encode()) == MASKED.encode()
    assert stream.flush() == b""
    assert MaskedStream([]).feed(b"as it is") == b"as it is"


@pytest.mark.parametrize("limit_bytes", [1 << 20, 40])
@pytest.mark.parametrize("backend", ["none", pytest.param("os-native", marks=needs("bwrap"))])
def test_what_a_sandbox_keeps_of_an_output_is_masked(tmp_path: Path, backend: str, limit_bytes: int) -> None:
    config = from_plain(PipelineConfig, {"sandbox": {"backend": backend, "limits": "best-effort"}}).sandbox
    seen: list[bytes] = []
    job = Job(
        argv=("sh", "-c", f"printf 'it is {KEY[:5]}'; sleep 0.1; printf '{KEY[5:]}, and sk-01'"),
        cwd="/tmp",
        output_path=str(tmp_path / "out"),
        output_limit_bytes=limit_bytes,
    )
    with open_sandbox(config, name=f"test-masking-{os.getpid()}", mask=(KEY,)) as sandbox:
        outcome = sandbox.run(job, on_output=seen.append)
    assert outcome.ok
    assert outcome.tail == f"it is {MASKED}, and sk-01"
    kept = b"".join(Printed(tmp_path / "out").since())
    assert kept.decode() == outcome.tail == b"".join(seen).decode()
    assert outcome.output_bytes == len(outcome.tail)


def test_a_key_that_an_agent_prints_and_commits_is_shown_to_nobody(tmp_path: Path) -> None:
    project = ThrumProject(tmp_path)
    project.configure(lint="cat key.txt; ! grep -q red colour.txt")
    task = project.add("SHOW-KEY")
    project.command("run", code=1, MODEL_KEY=KEY)
    told = [
        project.command("task", "show", task, "--json", MODEL_KEY=KEY).out,
        project.command("task", "prompt", task, MODEL_KEY=KEY).out,
        project.command("task", "diff", task, MODEL_KEY=KEY).out,
        project.command("task", "log", task, MODEL_KEY=KEY).out,
    ]
    assert all(MASKED in text for text in told[:3])
    kept = (file for folder in ("outputs", "log") for file in (tmp_path / ".thrum" / folder).rglob("*"))
    texts = {str(file): file.read_text(errors="replace") for file in kept if file.is_file()}
    assert any(f"the key is {MASKED}" in text for text in texts.values())
    assert [name for name, text in texts.items() if KEY in text] == []
    assert [text for text in told if KEY in text] == []
    attempts = project.json("task", "show", task)["attempts"]
    assert [(attempt["leaks"], attempt["protected"]) for attempt in attempts] == [(["key.txt"], ["key.txt"])] * 2
