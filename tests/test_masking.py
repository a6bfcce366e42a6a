"""Secrets kept out of what is shown."""

from __future__ import annotations

import base64
import copy
import itertools
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.requirements import needs
from thrum.config import PipelineConfig, Project
from thrum.files import Printed
from thrum.job import Job
from thrum.masking import MASKED, MaskedStream, concealed, masked, part, reach, secrets
from thrum.records import from_plain, to_plain
from thrum.sandbox import open_sandbox
from thrum.spellings import SHORTEST
from thrum.task import Attempt, AttemptEnding, Task

KEY = "sk-0123456789"
unhurried = settings(deadline=None, max_examples=50)


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
            "pass_env": ["NPM_AUTH", "PGURL", "CARGO_HOME", "LC_MESSAGES", "AWS_SECRET", "SSH_AUTH_SOCK"],
            "env": {"KEYBOARD": "not a secret", "SIGNING_KEY": "the signing key"},
        },
        checks={"mine": {"command": "x", "env": {"API_SECRET": "of a check"}}},
    )
    environ = {"MY_MODEL": KEY, "GITHUB_TOKEN": "ghp-token-token", "LANG": "C.UTF-8-long", "NPM_AUTH": "n" * 9}
    environ |= {"PGURL": "postgres://u:p@h", "CARGO_HOME": "/home/somebody/.cargo", "LC_MESSAGES": "en_GB.UTF-8"}
    environ |= {"AWS_SECRET": "/bPxRfiCY+KEY", "SSH_AUTH_SOCK": "/run/user/agent"}
    expected = {
        "/bPxRfiCY+KEY",
        "postgres://u:p@h",
        KEY,
        "ghp-token-token",
        "written here",
        "n" * 9,
        "the signing key",
        "of a check",
    }
    found = secrets(project, {**environ, "OTHER_TOKEN": "is not passed on"})
    assert set(found) == expected
    assert sorted(map(len, found), reverse=True) == [*map(len, found)]


def test_short_values_are_left_alone() -> None:
    project = project_of(backends=[{"name": "a", "type": "agent", "command": "a", "api_key_env": "K"}])
    assert secrets(project, {"K": "on"}) == ()


def test_a_text_is_masked_wherever_a_value_stands() -> None:
    assert masked(f"a{KEY}b {KEY}", [KEY]) == f"a{MASKED}b {MASKED}"
    assert masked(f"x {KEY}-more", [f"{KEY}-more", KEY]) == f"x {MASKED}"
    assert masked(f"{KEY[:-1]}", [KEY]) == KEY[:-1]


# --- Spellings --------------------------------------------------------------------------------------------------------

CHARACTERS = st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"])
VALUES = st.text(CHARACTERS, min_size=SHORTEST, max_size=24).map(str.strip).filter(lambda value: len(value) >= SHORTEST)


PLAIN = st.text("abc/ .\n", max_size=SHORTEST - 1)


def in_json(value: str, **how: bool) -> str:
    return json.dumps(value, **how)[1:-1]


WAYS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "in JSON": in_json,
    "in JSON that is not ASCII": lambda value: in_json(value, ensure_ascii=False),
    "in JSON within JSON": lambda value: in_json(in_json(value)),
    "in JSON within JSON within JSON": lambda value: in_json(in_json(in_json(value))),
    "in JSON with slashes escaped": lambda value: in_json(value).replace("/", "\\/"),
    "in JSON, each character by its number": lambda value: "".join(
        f"\\u{number:04X}" for number in memoryview(value.encode("utf-16")[2:]).cast("H")
    ),
    "in a URL": quote,
    "in a URL, slashes too": lambda value: quote(value, safe=""),
    "in a form": quote_plus,
    "in a URL, in JSON": lambda value: in_json(quote(value, safe="")),
}


@pytest.mark.parametrize("way", WAYS)
@unhurried
@given(value=VALUES, before=PLAIN, after=PLAIN)
def test_a_value_is_known_however_it_is_written_down(way: str, value: str, before: str, after: str) -> None:
    written = WAYS[way](value)
    assert masked(f"{before}<{written}>{after}", [value]) == f"{before}<{MASKED}>{after}"


@unhurried
@given(value=VALUES, before=st.binary(max_size=4), after=st.binary(max_size=4), for_urls=st.booleans())
def test_a_value_is_known_in_base64_wherever_it_begins(value: str, before: bytes, after: bytes, for_urls: bool) -> None:
    encode = base64.urlsafe_b64encode if for_urls else base64.b64encode
    shown = masked(encode(before + value.encode() + after).decode(), [value])
    # What is left of the value are bits that share a character with what stands around it.
    assert MASKED in shown
    assert len(shown.replace(MASKED, "")) <= len(encode(before + after)) + 4


BODY = "\n".join(f"{line}{'A/b+' * 15}" for line in range(3))
PEM = f"-----BEGIN EC KEY-----\n{BODY}\nshort=\n-----END EC KEY-----"


def test_each_line_of_a_key_in_several_lines_is_known() -> None:
    lines = PEM.split("\n")
    assert masked(f"it is\n{PEM}\n", [f"{PEM}\n"]).split("\n") == ["it is", lines[0], *[MASKED] * 3, *lines[4:], ""]
    assert masked(f"  {lines[2]}\r\n", [PEM]) == f"  {MASKED}\r\n"
    assert masked(lines[0], [PEM]) == lines[0]


@pytest.mark.parametrize("text", [PEM, f"{PEM}\n", PEM.replace("\n", "\r\n")])
@pytest.mark.parametrize("way", list(WAYS)[1:])
def test_a_key_in_several_lines_is_known_where_its_line_ends_are_escaped(way: str, text: str) -> None:
    for value in (text, PEM):
        assert masked(f"<{WAYS[way](text.strip())}>", [value]) == f"<{MASKED}>"


def test_a_key_in_several_lines_is_known_in_base64() -> None:
    assert masked(base64.b64encode(PEM.encode()).decode(), [f"{PEM}\n"]).startswith(MASKED)


def test_many_backslashes_take_no_longer_for_it() -> None:
    value = "a" + "\\" * 30 + '"\\b-end'
    assert masked("a" + "\\" * 5000 + "b-end", [value]).endswith("b-end")
    assert masked(in_json(in_json(value)), [value]) == MASKED


def test_records_are_masked_but_for_what_they_are_found_by() -> None:
    attempt = Attempt(token=1, base=KEY, reason=f"said {KEY}", files=("a", KEY), ending=AttemptEnding.LOST)
    task = Task(id=KEY, repo=KEY, title=KEY, attempts=(attempt,))
    shown = concealed(task, [KEY])
    assert shown == replace(
        task, title=MASKED, attempts=(replace(attempt, reason=f"said {MASKED}", files=("a", MASKED)),)
    )
    assert concealed(to_plain(task), [KEY]) == to_plain(shown)
    assert concealed(task, []) is task


# --- Streams and parts ------------------------------------------------------------------------------------------------

TWO_LINES = "the first line\nthe second line"
KNOWN = ["xyz-more!", "abcababc", "xyz-more", 'bca"bca/', TWO_LINES]
PIECES = st.lists(
    st.sampled_from(
        [
            *("ab", "abc", "abcab", "b", "xyz", "c", "\n", "x", "-more", "!", "\\", "\\\\", '"', '\\"', "/", "\\/"),
            *(
                "%22",
                "\\u0061",
                "\\u00",
                "the first line",
                "\\n",
                "the second line",
                " ",
                "YWJj",
                "YWJhYmM",
                "xyz-more",
            ),
            *(base64.b64encode(value.encode()).decode() for value in KNOWN),
            *(in_json(value) for value in KNOWN),
        ]
    ),
    max_size=30,
)
CUTS = st.lists(st.integers(0, 400), max_size=20)


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted({*(min(cut, len(data)) for cut in cuts), len(data)})
    return [data[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


@unhurried
@given(parts=PIECES, cuts=CUTS)
def test_pieces_are_masked_as_the_whole_is(parts: list[str], cuts: list[int]) -> None:
    data = "".join(parts).encode()
    stream = MaskedStream(KNOWN)
    out = b"".join(map(stream.feed, cut(data, cuts))) + stream.flush()
    assert out == masked(data.decode(), KNOWN).encode()
    assert stream.flush() == b""


@unhurried
@given(parts=PIECES, cuts=CUTS)
def test_what_is_held_back_is_bounded(parts: list[str], cuts: list[int]) -> None:
    data = ("".join(parts) * 40).encode()
    stream = MaskedStream(KNOWN)
    taken, told = b"", b""
    for piece in cut(data, [cut * 37 for cut in cuts]):
        taken += piece
        told += stream.feed(piece)
        held = copy.copy(stream).flush()
        assert told + held == masked(taken.decode(), KNOWN).encode()
        assert len(held) <= min(len(taken.rpartition(b"\n")[2]), reach(KNOWN) - 1)


def test_a_line_that_is_a_whole_file_of_escapes_is_looked_at_once() -> None:
    # A look at the whole of it for each escape would take until long after the test's time limit.
    line = "%41" * 3_000_000
    assert masked(f"{line}\n{KEY}", [KEY]) == f"{line}\n{MASKED}"


def test_a_line_that_has_ended_is_told_at_once() -> None:
    stream = MaskedStream([KEY])
    assert stream.feed(b"working sk-") == b""
    assert stream.feed(b"no\nand") == b"working sk-no\n"
    assert stream.feed(b" " + KEY.encode() + b"\n") == b"and " + MASKED.encode() + b"\n"
    assert stream.feed(b"." * 1000).startswith(b"." * (1000 - reach([KEY])))
    assert MaskedStream([]).feed(b"as it is") == b"as it is"


def test_the_beginning_of_a_text_shows_no_half_of_a_value() -> None:
    assert masked(f"one\ntwo {KEY[:-1]}", [KEY], cut=True) == "one\n"
    assert masked(f"one\ntwo {KEY[:-1]}", [], cut=True) == f"one\ntwo {KEY[:-1]}"


# None of these can begin within another one: what is found does not depend on where a reader begins.
APART = ["<abc/abab>", '{bca"bca}', "(the first line\nthe second line)"]
SPELLED = [spelled for value in APART for spelled in (value, in_json(value), base64.b64encode(value.encode()).decode())]


@unhurried
@given(
    parts=st.lists(st.sampled_from([*SPELLED, "<abc", "/abab>", "\n", '{bca\\"', "x" * 300]), max_size=30),
    sizes=st.lists(st.integers(1, 60), min_size=1),
)
def test_parts_that_follow_each_other_are_masked_as_the_whole_is(parts: list[str], sizes: list[int]) -> None:
    data = "".join(parts).encode()
    shown, begin = b"", 0
    for size in itertools.cycle(sizes):
        first, last = max(0, begin - reach(APART)), min(len(data), begin + size + reach(APART))
        text, end = part(data[first:last], begin - first, min(begin + size, len(data)) - first, APART)
        shown, begin = shown + text, first + end
        if begin >= len(data):
            break
    assert shown == masked(data.decode(), APART).encode()


def test_a_part_that_begins_within_a_value_shows_nothing_of_it() -> None:
    data = f"a {KEY} b".encode()
    assert part(data, 5, 9, [KEY]) == (MASKED.encode(), 2 + len(KEY))
    assert part(data, 0, 5, [KEY]) == (b"a ", 2)


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
