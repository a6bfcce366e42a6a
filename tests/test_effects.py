"""What a repo actor reads for people."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thrum.actors.effects import whole_characters


@given(text=st.text(min_size=1), at=st.integers(4, 400))
def test_a_piece_of_text_ends_with_a_whole_character(text: str, at: int) -> None:
    data = text.encode()
    piece = whole_characters(data[:at])
    assert data.startswith(piece)
    assert piece.decode() + data[len(piece) :].decode() == text
    assert len(data[:at]) - len(piece) < 4


@pytest.mark.parametrize("data", [b"", b"\x80", b"\x80\x80\x80\x80\x80", b"\xff", b"a\x80"])
def test_what_is_no_text_is_left_as_it_is(data: bytes) -> None:
    assert whole_characters(data) in (data, data[:-1])
