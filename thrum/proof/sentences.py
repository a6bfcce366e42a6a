"""Rocq source cut into sentences: comments that nest, strings, dots that end something. Pure."""

from __future__ import annotations

import re

from thrum.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """One sentence without its final dot; comments are blank, and so is what is inside of strings."""

    text: str
    line: int
    strings: tuple[str, ...] = ()
    """What its strings hold, as written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What should not be in a file, and where."""

    line: int
    what: str
    theorem: str = ""
    """The theorem whose proof it is in, if it is in one."""
    declares: tuple[str, ...] = ()
    """What becomes an assumption by it, with its modules; it may stay if all of these are allowed."""
    given_up: bool = False
    """It weakens nothing, but states a theorem that is not proven."""


IDENT = r"[^\W\d][\w']*"
QUALID = rf"{IDENT}(?:\.{IDENT})*"

_END = re.compile(r"(?<!\.)\.(?=\s|\Z)|\.{3,}(?=\s|\Z)")
_BULLETS = re.compile(rf"\A(?:\s+|[-+*]+|[{{}}]|(?:\d+|\[\s*{IDENT}\s*\])\s*:\s*(?=\{{))*")
_OPENERS = re.compile(r"[.`'@%$&/\\~!?#^]\Z")


def sentences(source: str) -> tuple[tuple[Sentence, ...], tuple[Place, ...]]:
    """The sentences of a file in their order, and the places that leave open what is a comment.

    Where a dot can be the end of a sentence it is taken as one: too many sentences hide no command.
    """
    masked, strings, places = _masked(source)
    found: list[Sentence] = []
    start = 0
    ends = [(end.start(), end.end()) for end in _END.finditer(masked)] + [(len(masked), len(masked))]
    for end, after in ends:
        begin = start + len(masked[start:end]) - len(_BULLETS.sub("", masked[start:end], count=1))
        text = masked[begin:end].rstrip()
        if text:
            inside = tuple(content for at, content in strings if begin <= at < end)
            found.append(Sentence(text=text, line=source.count("\n", 0, begin) + 1, strings=inside))
        start = after
    return tuple(found), places


def _masked(source: str) -> tuple[str, list[tuple[int, str]], tuple[Place, ...]]:
    """The source with comments and the inside of strings blank, of the same length; strings with their offsets."""
    pieces: list[str] = []
    strings: list[tuple[int, str]] = []
    places: list[Place] = []
    at = 0
    while (hit := _OPENING.search(source, at)) is not None:
        start = hit.start()
        pieces.append(source[at:start])
        line = source.count("\n", 0, start) + 1
        if hit[0] == '"':
            end = _string_end(source, start)
            strings.append((start, source[start + 1 : end - 1]))
            pieces.append(f'"{_blank(source[start + 1 : end - 1])}"' if end <= len(source) else "")
        else:
            if _OPENERS.search(source[max(start - 1, 0) : start]):
                places.append(Place(line=line, what=f"it is open whether {source[start - 1 : start + 2]} is a comment"))
            end = _comment_end(source, start)
            pieces.append(_blank(source[start:end]))
        if end > len(source):
            places.append(Place(line=line, what="a comment or string that does not end"))
            return "".join(pieces), strings, tuple(places)
        at = end
    pieces.append(source[at:])
    return "".join(pieces), strings, tuple(places)


_OPENING = re.compile(r'"|\(\*')
_IN_COMMENT = re.compile(r'"|\(\*|\*\)')
_NOT_NEWLINE = re.compile(r"[^\n]")


def _blank(text: str) -> str:
    return _NOT_NEWLINE.sub(" ", text)


def _string_end(source: str, start: int) -> int:
    """Behind the closing quote; beyond the source if there is none. A doubled quote is one inside."""
    at = start + 1
    while (quote := source.find('"', at)) >= 0:
        if source[quote + 1 : quote + 2] != '"':
            return quote + 1
        at = quote + 2
    return len(source) + 1


def _comment_end(source: str, start: int) -> int:
    """Behind the comment; beyond the source if it does not end. They nest, and strings in them hide what they hold."""
    depth, at = 1, start + 2
    while (hit := _IN_COMMENT.search(source, at)) is not None:
        at = hit.end()
        if hit[0] == '"':
            at = _string_end(source, hit.start())
            if at > len(source):
                break
        else:
            depth += 1 if hit[0] == "(*" else -1
            if not depth:
                return at
    return len(source) + 1
