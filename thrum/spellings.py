"""How a value is spelled in bytes: as it is, and as programs write it down. Pure.

A character is known in every mix of these: plain; behind backslashes, as in JSON (also in JSON within JSON) and in
shells; as `\\uXXXX`; as `%XX`. Of a value with several lines each line that is long enough is known by itself, and all
of it where its line ends are escaped. In base64, plain or for URLs, the part is known that does not depend on what
stands around it.

No spelling holds a line end: whoever reads line by line misses none.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator
from functools import cached_property

SHORTEST = 8
"""Shorter values, and shorter lines of them, are left alone: they would be found in words that have nothing to do with
them."""

_DEEPEST = 7
"""Backslashes that may stand before an escape: three layers of JSON."""
_ESCAPE = rb"\\{1,%d}" % _DEEPEST
_LONGEST_ESCAPE = _DEEPEST + len("u0000")
_LINE_END = rb"(?:%b(?:r|u000[dD])|%%0[dD])?(?:%b(?:n|u000[aA])|%%0[aA])" % (_ESCAPE, _ESCAPE)
_ALSO = {"\b": (_ESCAPE + b"b",), "\f": (_ESCAPE + b"f",), "\t": (_ESCAPE + b"t",), " ": (rb"\+",)}
"""Ways of their own in which single characters are written."""

_ALPHANUMERIC = re.compile(rb"[A-Za-z0-9]+")
_ESCAPED_ALPHANUMERICS = tuple(
    # One each: a pattern that begins with a fixed text is looked for forty times as fast.
    re.compile(before + rb"(?:3[0-9]|[46][1-9A-Fa-f]|[57][0-9Aa])")
    for before in (rb"\\u00", b"%")
)
_ARMOUR = re.compile(r"-----[A-Z0-9 ]+-----")
"""The first and last line of a key in PEM form, which are no secret."""


class Spellings:
    """All spellings of some values; false without any."""

    def __init__(self, values: Iterable[str]) -> None:
        wholes = {whole for whole in map(_whole, values) if len(whole) >= SHORTEST}
        texts = wholes.union(*map(_lines, wholes))
        self._texts = tuple(sorted(texts, key=lambda text: (-len(text), text)))
        self._encoded = tuple(sorted({code for whole in wholes for code in _in_base64(whole)}))
        self._signs = {_longest_run(piece) for piece in (*(text.encode(errors=_ANY) for text in texts), *self._encoded)}
        self.reach = max((_length(text) for text in texts), default=0)
        """The length of the longest spelling."""

    def __bool__(self) -> bool:
        return bool(self._texts)

    def spans(self, data: bytes) -> list[tuple[int, int]]:
        """Where spellings stand in the data, in order; of two that overlap, the first and longest."""
        return [found.span() for line in self._suspects(data) for found in self._pattern.finditer(data, *line)]

    def _suspects(self, data: bytes) -> list[tuple[int, int]]:
        """The lines that may hold one, told fast: they hold its longest run of letters and digits, or one of these
        escaped, which no program does by itself."""
        lines = set()
        for sign in self._signs:
            at = data.find(sign)
            while at >= 0:
                line = line_at(data, at)
                lines.add(line)
                at = data.find(sign, line[1] + 1)
        for pattern in _ESCAPED_ALPHANUMERICS:
            at = 0
            while found := pattern.search(data, at):
                line = line_at(data, found.start())
                lines.add(line)
                at = line[1] + 1  # one look at each line: it may be all of a file
        return sorted(lines)

    @cached_property
    def _pattern(self) -> re.Pattern[bytes]:
        # Only once there is something to be found: with a few keys it takes a while.
        return re.compile(b"|".join((*map(_of_text, self._texts), *map(_of_base64, self._encoded))))


_ANY = "surrogateescape"
"""Variables may hold bytes that are no UTF-8."""


def _whole(value: str) -> str:
    return value.strip().replace("\r\n", "\n").replace("\r", "\n")


def _lines(whole: str) -> set[str]:
    lines = {line.strip() for line in whole.split("\n")}
    return {line for line in lines if len(line) >= SHORTEST and not _ARMOUR.fullmatch(line)}


def _in_base64(text: str) -> Iterator[bytes]:
    """Those of its characters in base64 that it decides alone, for each of the three places that it can begin at."""
    raw = text.encode(errors=_ANY)
    for before in range(3):
        code = base64.b64encode(bytes(before) + raw)
        wholes, rest = divmod(before + len(raw), 3)
        own = code[(0, 2, 3)[before] : 4 * wholes + rest]
        yield own
        yield own.translate(bytes.maketrans(b"+/", b"-_"))


def _of_text(text: str) -> bytes:
    """A pattern of the ways in which a text is written."""
    return b"".join(map(_element, re.findall(r"\\+|[^\\]", text)))


def _of_base64(code: bytes) -> bytes:
    return b"".join(
        char if char.isalnum() else _element(char.decode()) for char in re.findall(rb"[A-Za-z0-9]+|.", code)
    )


def _element(character: str) -> bytes:
    """A pattern of the ways in which a character is written; backslashes in a row count as one, as it is not to be told
    which of many is one of the text's."""
    if character == "\n":
        return _LINE_END
    count, character = len(character), character[0]
    raw = character.encode(errors=_ANY)
    units = character.encode("utf-16-be", "surrogatepass").hex()
    if character == "\\":
        plain = rb"\\{%d,%d}" % (count, count * (_DEEPEST + 1))
    elif _ALPHANUMERIC.fullmatch(raw):
        plain = raw
    else:
        plain = rb"\\{0,%d}%b" % (_DEEPEST, re.escape(raw))
    by_unit = b"".join(rb"%bu(?i:%b)" % (_ESCAPE, units[at : at + 4].encode()) for at in range(0, len(units), 4))
    by_byte = b"".join(rb"%%(?i:%02x)" % byte for byte in raw)
    # The plain one last: it is how others begin.
    ways = (by_unit * count, by_byte * count, *_ALSO.get(character, ()), plain)
    return b"(?:%b)" % b"|".join(ways)


def _length(text: str) -> int:
    """How long a spelling of the text can be."""
    return sum(_LONGEST_ESCAPE * (2 if character == "\n" or ord(character) > 0xFFFF else 1) for character in text)


def _longest_run(piece: bytes) -> bytes:
    return max(_ALPHANUMERIC.findall(piece), key=len, default=b"")


def line_at(data: bytes, at: int) -> tuple[int, int]:
    """Where the line that a place is in begins and ends."""
    end = data.find(b"\n", at)
    return data.rfind(b"\n", 0, at) + 1, len(data) if end < 0 else end
