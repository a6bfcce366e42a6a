"""Which paths of a repository the globs of a configuration mean: `*` stays within a folder, `**` crosses them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache

_PIECE = re.compile(r"\[!?\]?[^\]/]*\]|\*+|\?|.", re.DOTALL)


def chosen(globs: Iterable[str], files: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The files that at least one glob matches, sorted, each once; and the globs that match none."""
    known = tuple(files)
    found: set[str] = set()
    idle: list[str] = []
    for glob in globs:
        matching = {path for path in known if matches(glob, path)}
        found |= matching
        if not matching:
            idle.append(glob)
    return tuple(sorted(found)), tuple(idle)


def matching(files: Sequence[str], globs: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """For each glob the files that it matches, in their order."""
    return {glob: tuple(path for path in files if matches(glob, path)) for glob in globs}


def matched(files: Iterable[str], globs: Sequence[str]) -> tuple[str, ...]:
    """The files that any of the globs matches, in their order. They are paths as git has them."""
    last, folder, whole = _sorted_out(tuple(globs))

    def meant(path: str) -> bool:
        *folders, name = path.split("/")
        return bool(last.fullmatch(name) or whole.fullmatch(path) or any(map(folder.fullmatch, folders)))

    return tuple(path for path in files if meant(path))


def matches(glob: str, path: str) -> bool:
    """Whether the glob means this path, both relative to the same folder, with `/`.

    `*` and `?` match within a name, a dot in front included; `[ab]`, `[a-c]` and `[!a]` match one character; `**`
    between slashes matches any number of folders, none too, and at the end all that lies below.
    """
    return _compiled(glob).fullmatch(path) is not None


@cache
def _sorted_out(globs: tuple[str, ...]) -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    """What the globs ask of a path's last name, of the name of a folder on its way, and of it as a whole.

    Long lists say `**/NAME` and `**/NAME/**` for the most part, and asked one by one they take a while.
    """
    last: list[str] = []
    folder: list[str] = []
    whole: list[str] = []
    for glob in globs:
        match glob.split("/"):
            case ["**", name] if name not in ("**", "", "."):
                last.append(_name(name))
            case ["**", name, "**"] if name not in ("**", "", "."):
                folder.append(_name(name))
            case _:
                whole.append(_translation(glob))
    return _either(last), _either(folder), _either(whole)


def _either(texts: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(texts) if texts else "(?!)", re.DOTALL)


@cache
def _compiled(glob: str) -> re.Pattern[str]:
    return re.compile(_translation(glob), re.DOTALL)


def _translation(glob: str) -> str:
    *folders, last = [name for name in glob.split("/") if name not in ("", ".")] or [""]
    text = "".join("(?:[^/]+/)*" if name == "**" else _name(name) + "/" for name in folders)
    return text + (".+" if last == "**" else _name(last))


def _name(glob: str) -> str:
    return "".join(map(_translated, _PIECE.findall(glob)))


def _translated(piece: str) -> str:
    if piece.startswith("*"):
        return "[^/]*"
    if piece == "?":
        return "[^/]"
    if len(piece) > 1:
        inside = piece[1:-1]
        negated = inside.startswith("!")
        return f"(?!/)[{'^' if negated else ''}{_escaped(inside[negated:])}]"
    return re.escape(piece)


def _escaped(inside: str) -> str:
    # A range whose ends are the wrong way round matches nothing of its own, as in a shell.
    ranges = re.sub(r"(.)-(.)", lambda found: found[0] if found[1] <= found[2] else "", inside, flags=re.DOTALL)
    return re.sub(r"([\\\]\[^&~|])", r"\\\1", ranges) or r"^\s\S"
