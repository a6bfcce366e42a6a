"""Which paths of a repository a pattern means: `*` and `?` stay within a folder, `**` crosses them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache


def matching(paths: Sequence[str], patterns: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """For each pattern the paths that it matches, in their order.

    Paths and patterns are relative to the repository's root, with `/`. A pattern matches a whole path, case and all;
    `**` as a folder stands for any number of folders, also none, and at the end for everything below.
    """
    return {pattern: tuple(path for path in paths if _compiled(pattern).fullmatch(path)) for pattern in patterns}


def matched(paths: Iterable[str], patterns: Iterable[str]) -> tuple[str, ...]:
    """The paths that any of the patterns matches, in their order."""
    compiled = [_compiled(pattern) for pattern in patterns]
    return tuple(path for path in paths if any(pattern.fullmatch(path) for pattern in compiled))


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(_regex(pattern), re.DOTALL)


def _regex(pattern: str) -> str:
    folders = pattern.removeprefix("./").split("/")
    text = ""
    for i, part in enumerate(folders):
        last = i == len(folders) - 1
        if part == "**":
            text += ".+" if last else "(?:[^/]+/)*"
        else:
            text += "".join(map(_piece, re.findall(r"\[!?\]?[^\]/]*\]|.", part, re.DOTALL))) + ("" if last else "/")
    return text


def _piece(piece: str) -> str:
    if piece == "*":
        return "[^/]*"
    if piece == "?":
        return "[^/]"
    if len(piece) > 2 and piece.startswith("["):
        inside = piece[1:-1].replace("\\", r"\\").replace("[", r"\[").replace("&", r"\&").replace("|", r"\|")
        return f"(?!/)[^{inside[1:]}]" if inside.startswith("!") else f"[{inside.replace('^', chr(92) + '^')}]"
    return re.escape(piece)
