"""What a program prints, on disk while it prints: whoever writes or reads may be killed or slow."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thrum.files import Printed, Printing, text_of

MISSING = re.compile(rb"\n\[\xe2\x80\xa6 (\d+) bytes are missing here \xe2\x80\xa6\]\n")


def printed(path: Path, limit_bytes: int, *pieces: bytes) -> Printed:
    """What is on disk once the pieces were written; nothing is closed or settled, as after a kill."""
    printing = Printing(path, limit_bytes=limit_bytes)
    for piece in pieces:
        printing.write(piece)
    printing.close()
    return Printed(path)


def on_disk(path: Path) -> int:
    return sum(file.stat().st_size for file in path.parent.iterdir())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(limit=st.integers(4, 300), sizes=st.lists(st.integers(0, 400), max_size=12))
def test_the_beginning_and_the_end_are_kept_and_the_gap_is_told(tmp_path: Path, limit: int, sizes: list[int]) -> None:
    data = bytes(i * 7 % 251 + 1 for i in range(sum(sizes))).replace(b"\n", b"x")
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    found = printed(tmp_path / "out", limit, *(data[end - size : end] for end, size in zip(ends, sizes, strict=True)))
    assert found.total_bytes == len(data)
    assert on_disk(tmp_path / "out") <= limit
    kept = b"".join(found.since())
    if len(data) <= limit:
        assert kept == data
    else:
        beginning, missing, end = MISSING.split(kept)
        assert len(beginning) + int(missing) + len(end) == len(data)
        assert data.startswith(beginning)
        assert data.endswith(end)
        assert len(beginning) >= limit // 2
        assert len(end) >= limit // 4


def test_an_output_is_read_from_any_offset_while_it_grows(tmp_path: Path) -> None:
    printing, found = Printing(tmp_path / "out", limit_bytes=100), Printed(tmp_path / "out")
    assert found.read(0) == (b"", 0, 0)
    printing.write(b"a" * 60)
    assert found.read(58) == (b"aa", 58, 60)
    assert found.read(60) == (b"", 60, 60)
    printing.write(b"b" * 60)
    assert found.read(40, 5) == (b"aaaaa", 40, 120)
    data, begin, total = found.read(50)
    assert (begin + len(data) <= total, begin > 50) == (True, True), "what is missing is passed over"
    printing.close()


def test_only_the_ends_of_a_long_output_are_read(tmp_path: Path) -> None:
    found = printed(tmp_path / "out", 100, b"begin", b"x" * 1000, b"end")
    assert found.ends(5, 3) == b"begin\nend"
    assert found.ends(5, 2000) == b"".join(found.since())


def test_a_part_that_makes_room_while_it_is_read_is_read_elsewhere(tmp_path: Path) -> None:
    printing, found = Printing(tmp_path / "out", limit_bytes=100), Printed(tmp_path / "out")
    printing.write(b"x" * 120)
    reading = found.since(60)
    seen = [next(reading)]
    printing.write(b"y" * 200)
    seen += reading
    assert MISSING.search(b"".join(seen))
    assert seen[-1].endswith(b"y" * 25)
    printing.close()


def test_what_was_there_before_is_gone(tmp_path: Path) -> None:
    printed(tmp_path / "out", 40, b"x" * 100)
    found = printed(tmp_path / "out", 40, b"new")
    assert b"".join(found.since()) == b"new"


def test_nothing_is_read_where_nothing_is(tmp_path: Path) -> None:
    assert list(Printed(tmp_path / "none").since()) == []
    assert Printed(tmp_path / "no/folder").total_bytes == 0


def test_a_link_in_the_place_of_an_output_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "out").symlink_to(tmp_path / "secret")
    assert Printed(tmp_path / "out").read(0) == (b"", 0, 0)
    with pytest.raises(OSError):
        Printing(tmp_path / "out", limit_bytes=100)


@given(text=st.text(min_size=1), at=st.integers(0, 400))
def test_a_piece_of_text_ends_with_a_whole_character(text: str, at: int) -> None:
    data = text.encode()
    piece, size = text_of(data[:at], final=False)
    assert piece + data[size:].decode() == text
    assert len(data[:at]) - size < 4


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xc3", b"\xff", b"a\x80", b"a\xe2\x82"])
def test_the_last_piece_is_taken_whole_whatever_it_is(data: bytes) -> None:
    assert text_of(data, final=True) == (data.decode(errors="replace"), len(data))
