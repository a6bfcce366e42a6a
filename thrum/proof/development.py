"""Which Rocq files of a commit are to be proven, what they need of each other, and in which order. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from thrum.gate import Obligations
from thrum.globs import matching
from thrum.proof.rocq_project import (
    NAMES,
    STANDARD,
    Mapping,
    RocqProject,
    folders_of,
    logical_name,
    read_project,
)
from thrum.proof.sentences import Place
from thrum.proof.vernacular import Required, Vernacular, read
from thrum.values import dataclass

COMPILED = (".vo", ".vos", ".vok", ".vio", ".cma", ".cmo", ".cmxa", ".cmxs")
CACHES = (".lia.cache", ".nia.cache", ".nra.cache", ".lra.cache", ".csdp.cache")
"""What the compiler would believe without looking at a source."""

OURS = re.compile(r"\.?thrum_(?:trial|questions)(?:\.|$)")
"""What the compiler writes for files of ours, at the root."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why a development cannot be taken as it is."""

    where: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A theorem by its full name."""

    full: str
    line: int
    addressable: bool
    sealed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file to be compiled."""

    path: str
    logical: str
    listed: bool
    """False: it is here because another needs it, and its own theorems are not asked about."""
    needs: tuple[str, ...] = ()
    """Paths of the files that it requires."""
    theorems: tuple[Named, ...] = ()
    places: tuple[Place, ...] = ()
    bare: tuple[str, ...] = ()
    """Names, without `From`, by which it requires files of the development."""

    def full(self, name: str) -> str:
        return f"{self.logical}.{name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Development:
    """What is to be proven; sources come after those that they need."""

    sources: tuple[Source, ...] = ()
    mappings: tuple[Mapping, ...] = ()
    arguments: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()

    def source_of(self, name: str) -> Source | None:
        """The file that something with this full name is in."""
        fitting = [source for source in self.sources if name.startswith(f"{source.logical}.")]
        return max(fitting, key=lambda source: len(source.logical), default=None)


def develop(obligations: Obligations, files: Sequence[str], read_file: Callable[[str], bytes]) -> Development:
    """The development that the obligations mean, in a commit with these files."""
    problems: list[Problem] = []
    project = _project(obligations, files, read_file, problems)
    listed = _listed(obligations, files, project, problems)
    for file in files:
        pieces = file.split("/")
        if any(piece.endswith(COMPILED) or piece in CACHES for piece in pieces):
            problems.append(
                Problem(where=file, what="a compiled file is not to be believed; take it out of the commit")
            )
        if OURS.match(pieces[0]):
            problems.append(Problem(where=file, what="this name is needed for the proof's own files"))
    # The compiler gives the root the empty name by itself; said in the open, the order is ours.
    mappings = project.mappings
    if any(not logical_name(path, mappings) for path in listed):
        mappings = (Mapping(option="-Q", folder=".", logical=""), *mappings)
    logical = {path: logical_name(path, mappings) for path in files if path.endswith(".v")}
    said: dict[str, Vernacular] = {}
    needs: dict[str, tuple[str, ...]] = {}
    order: list[str] = []
    for path in listed:
        _visit(path, logical, read_file, said, needs, order, problems)
    _judge_names(order, logical, problems)
    sources = tuple(
        Source(
            path=path,
            logical=logical[path],
            listed=path in listed,
            needs=needs[path],
            theorems=tuple(
                Named(
                    full=f"{logical[path]}.{theorem.name}",
                    line=theorem.line,
                    addressable=theorem.addressable,
                    sealed=theorem.sealed,
                )
                for theorem in said[path].theorems
            ),
            places=said[path].places,
            bare=tuple(
                dict.fromkeys(
                    required.name
                    for required in said[path].requires
                    if not required.prefix and _meant(required, logical)
                )
            ),
        )
        for path in order
    )
    return Development(sources=sources, mappings=mappings, arguments=project.arguments, problems=tuple(problems))


def _project(
    obligations: Obligations, files: Sequence[str], read_file: Callable[[str], bytes], problems: list[Problem]
) -> RocqProject:
    path = obligations.rocq_project or next((name for name in NAMES if name in files), "")
    if not path:
        return RocqProject()
    if path not in files:
        problems.append(Problem(where=path, what="there is no such project file"))
        return RocqProject()
    text = read_file(path).decode(errors="replace")
    project = read_project(text, path=path, folders=folders_of(files))
    problems += [Problem(where=f"{path}:{place.line}", what=place.what) for place in project.places]
    return project


def _listed(
    obligations: Obligations, files: Sequence[str], project: RocqProject, problems: list[Problem]
) -> tuple[str, ...]:
    if not obligations.rocq:
        problems += [
            Problem(where=path, what="the project file names it, and it is not there")
            for path in project.files
            if path not in files
        ]
        if not project.files:
            problems.append(Problem(where="rocq", what="no file is named, neither by a glob nor by a project file"))
        return tuple(path for path in project.files if path in files)
    found: list[str] = []
    for glob, matched in matching(files, obligations.rocq).items():
        sources = [path for path in matched if path.endswith(".v")]
        if not sources:
            problems.append(Problem(where=glob, what="this glob matches no .v file"))
        found += sources
    return tuple(dict.fromkeys(found))


def _visit(
    path: str,
    logical: dict[str, str],
    read_file: Callable[[str], bytes],
    said: dict[str, Vernacular],
    needs: dict[str, tuple[str, ...]],
    order: list[str],
    problems: list[Problem],
) -> None:
    """Read the file and what it needs, each once, the needed first; in a circle the compiler will find the fault."""
    waiting = [(path, False)]
    while waiting:
        here, done = waiting.pop()
        if done:
            order.append(here)
        elif here not in said:
            try:
                said[here] = read(read_file(here).decode())
            except UnicodeDecodeError:
                said[here] = Vernacular()
                problems.append(Problem(where=here, what="it is not UTF-8"))
            found = dict.fromkeys(
                other for required in said[here].requires for other in _meant(required, logical) if other != here
            )
            needs[here] = tuple(found)
            waiting.append((here, True))
            waiting += [(other, False) for other in reversed(found)]


def _meant(required: Required, logical: dict[str, str]) -> list[str]:
    """The files of the commit that a `Require` can mean."""
    prefix = f"{required.prefix}." if required.prefix else ""
    exact = [path for path, name in logical.items() if name == prefix + required.name]
    ending = f".{required.name}"
    return exact or [path for path, name in logical.items() if name.startswith(prefix) and name.endswith(ending)]


def _judge_names(order: Sequence[str], logical: dict[str, str], problems: list[Problem]) -> None:
    seen: dict[str, str] = {}
    for path in order:
        name = logical[path]
        if not name:
            problems.append(Problem(where=path, what="it has no logical name; map its folder with -Q in a _CoqProject"))
        elif name.split(".")[0] in STANDARD:
            problems.append(Problem(where=path, what=f"its name {name} belongs to the standard library"))
        elif name in seen:
            problems.append(Problem(where=path, what=f"its name {name} is also that of {seen[name]}"))
        seen.setdefault(name, path)
