"""`_CoqProject` and `_RocqProject`: which folders have which logical names, and which files there are. Pure.

The file comes from the repository, so only what is known to be harmless is taken from it; the rest is an error with
its line. Nothing of the makefile that such a file can also describe is run.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Sequence

from thrum.proof.sentences import IDENT, QUALID, Place
from thrum.proof.vernacular import weakened
from thrum.values import dataclass

NAMES = ("_CoqProject", "_RocqProject")
"""Where such a file is looked for, at the root."""

STANDARD = ("Coq", "Corelib", "Stdlib", "Rocq", "Ltac2")
"""Logical names of what the installation brings; a repository may not stand in for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """`-Q folder logical`, or `-R`. The folder is relative to the root, `.` for the root; `logical` may be empty."""

    option: str
    folder: str
    logical: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RocqProject:
    """What a project file says."""

    mappings: tuple[Mapping, ...] = ()
    arguments: tuple[str, ...] = ()
    """For the compiler, each known to be harmless."""
    files: tuple[str, ...] = ()
    """Rocq files by their paths from the root."""
    places: tuple[Place, ...] = ()
    """What it may not say."""


_TOKEN = re.compile(r"#[^\n]*|\"(?:[^\"\\]|\\.)*\"|'[^']*'|[^\s\"'#]\S*|[\"']", re.S)
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)\s*=\s*(.*)")
_WITHOUT_MEANING = ("-install", "-docroot", "-o", "-generate-meta-for-package", "-native-compiler")
"""Options with one argument that tell the makefile something, and say nothing of proofs."""
_ALONE = ("-q", "-noinit", "-nois")
_MAPS = ("-Q", "-R")


def read_project(text: str, *, path: str, folders: frozenset[str]) -> RocqProject:
    """What the project file at `path` says; `folders` are those that hold files of the commit, with `.` for the root.

    Paths in it are relative to the file's own folder.
    """
    reader = _Reader(posixpath.dirname(path), folders)
    lines: list[tuple[int, str]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if assignment := _ASSIGNMENT.fullmatch(line.strip()):
            reader.assign(number, assignment[1])
        else:
            lines += [(number, token) for token in _TOKEN.findall(line) if not token.startswith("#")]
    reader.read(lines)
    return RocqProject(
        mappings=tuple(reader.mappings),
        arguments=tuple(reader.arguments),
        files=tuple(dict.fromkeys(reader.files)),
        places=tuple(reader.places),
    )


class _Reader:
    def __init__(self, base: str, folders: frozenset[str]) -> None:
        self._base = base
        self._folders = folders
        self.mappings: list[Mapping] = []
        self.arguments: list[str] = []
        self._words: list[tuple[int, str]] = []
        self.files: list[str] = []
        self.places: list[Place] = []

    def read(self, tokens: Sequence[tuple[int, str]]) -> None:
        rest = list(tokens)
        while rest:
            line, token = rest.pop(0)
            word = _unquoted(token)
            if word in _MAPS and len(rest) >= 2:
                self._map(line, word, _unquoted(rest.pop(0)[1]), _unquoted(rest.pop(0)[1]))
            elif word == "-arg" and rest:
                self._words += [(line, part) for part in _split(_unquoted(rest.pop(0)[1]))]
            elif word in _WITHOUT_MEANING and rest:
                rest.pop(0)
            elif word == "-no-install":
                continue
            elif word.endswith(".v") and not word.startswith("-"):
                if (path := self._inside(word)) is None:
                    self._refuse(line, f"{word} is outside of the repository")
                else:
                    self.files.append(path)
            else:
                self._refuse(line, f"{word} is not allowed here")
        self._arguments()

    def assign(self, line: int, name: str) -> None:
        if not name.startswith(("COQDOC", "ROCQDOC")):
            self._refuse(line, f"the variable {name} is not allowed here")

    def _refuse(self, line: int, what: str) -> None:
        self.places.append(Place(line=line, what=what))

    def _inside(self, path: str) -> str | None:
        joined = posixpath.normpath(posixpath.join(self._base, path))
        outside = path.startswith("/") or joined == ".." or joined.startswith("../")
        return None if outside or not path or "\0" in path else joined

    def _map(self, line: int, option: str, folder: str, logical: str) -> None:
        inside = self._inside(folder)
        if inside is None:
            self._refuse(line, f"{option} {folder}: the folder is outside of the repository")
        elif inside not in self._folders:
            self._refuse(line, f"{option} {folder}: no file of the commit lies in this folder")
        elif logical and not re.fullmatch(QUALID, logical):
            self._refuse(line, f"{option} {folder} {logical}: this is no logical name")
        elif logical.split(".")[0] in STANDARD:
            self._refuse(line, f"{option} {folder} {logical}: this name belongs to the standard library")
        else:
            self.mappings.append(Mapping(option=option, folder=inside, logical=logical))

    def _arguments(self) -> None:
        # An option and its value may stand in one `-arg` or in two.
        words = self._words
        while words:
            line, word = words[0]
            value = words[1][1] if len(words) > 1 else ""
            taken = 1 if word in _ALONE else 2
            if word in _ALONE:
                self.arguments.append(word)
            elif _harmless(word, value):
                self.arguments += [word, value]
            elif not (word == "-native-compiler" and value):
                taken = 1 if value.startswith("-") else 2
                self._refuse(line, f"-arg {' '.join([word, value][:taken])}".rstrip() + " is not allowed here")
            words = words[taken:]


def _harmless(option: str, value: str) -> bool:
    match option:
        case "-w":
            return re.fullmatch(r"[\w,+-]+", value) is not None
        case "-compat":
            return re.fullmatch(r"\d+\.\d+", value) is not None
        case "-bytecode-compiler":
            return value in ("yes", "no")
        case "-set" | "-unset":
            # `-set` can say `=false` too.
            name = value.split("=")[0]
            harmless = not weakened(name, True) and not weakened(name, False)
            return harmless and re.fullmatch(r"\w[^\0\n]*", value) is not None
    return False


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return [text]


def _unquoted(token: str) -> str:
    return token[1:-1] if len(token) > 1 and token[0] in "\"'" and token[-1] == token[0] else token


def folders_of(files: Sequence[str]) -> frozenset[str]:
    """Every folder in which, or below which, there is one of the files; `.` for the root."""
    found = {"."}
    for file in files:
        folder = posixpath.dirname(file)
        while folder and folder not in found:
            found.add(folder)
            folder = posixpath.dirname(folder)
    return frozenset(found)


def logical_name(path: str, mappings: Sequence[Mapping]) -> str:
    """The full name of the module that a file becomes; empty if no mapping gives it one.

    Of several mappings the last holds, as for the compiler; folders that are no identifiers have no name.
    """
    pieces = path.removesuffix(".v").split("/")
    for mapping in reversed(mappings):
        top = [] if mapping.folder == "." else mapping.folder.split("/")
        below = pieces[len(top) :]
        if pieces[: len(top)] == top and all(re.fullmatch(IDENT, piece) for piece in below):
            return ".".join([*filter(None, [mapping.logical]), *below])
    return ""
