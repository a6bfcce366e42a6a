"""Secrets kept out of what people and models read: the values of variables that hold one, wherever they turn up. Pure.

In which forms a value is known again is `thrum.spellings`'s.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from functools import lru_cache
from typing import Any, TypeVar, cast

from thrum.agents import key_variables
from thrum.config import Project
from thrum.spellings import SHORTEST, Spellings, line_at

T = TypeVar("T")

MASKED = "[masked]"
_OURS = frozenset(
    (
        *("id", "task", "repo", "repos", "name", "depends_on", "run", "worker", "backend", "auth", "bundle"),
        *("kind", "state", "waiting_for", "ending", "failure", "gate", "verdict", "on_base", "cause", "code"),
        *(
            "base",
            "start",
            "tree",
            "commit",
            "landed",
            "token",
            "output_digest",
            "prompt_digest",
            "system_prompt_digest",
            "fingerprint",
        ),
    )
)
"""What holds no text but a name, a path or a digest that something is found again by."""

_TELLING = re.compile(
    r"KEY(?!BOARD|MAP|WORD)|TOKEN|SECRET|PASS(?!IVE)|CRED|AUTH|DSN|JWT|COOKIE|PAT$|_PWD$|_URL$|_URI$", re.IGNORECASE
)
_OPEN = re.compile(
    r"LANG|LANGUAGE|LC_\w+|TERM|COLORTERM|TZ|USER|LOGNAME|SHELL|EDITOR|PAGER|DISPLAY|HOSTNAME|PWD"
    r"|GIT_(AUTHOR|COMMITTER)_(NAME|EMAIL|DATE)"
)
"""Variables that hold nothing of that kind."""
_OF_PATHS = re.compile(r"SOCK|ASKPASS|FILE|PATH|DIR|HOME", re.IGNORECASE)


def secrets(project: Project, environ: Mapping[str, str]) -> tuple[str, ...]:
    """The values that must not be shown, longest first.

    These are: of the variables that hold a backend's key; of every one that `pass_env` names, but for paths and what
    is known to be harmless (LANG, TERM and the like); and of those that the configuration sets under a name that tells
    of a secret.
    """
    pipeline = project.pipeline
    values: set[str] = set()
    for backend in pipeline.backends:
        values |= {environ.get(name, "") for name in key_variables(backend)}
        values |= _passed(environ, backend.pass_env) | _telling(backend.env)
    values |= _passed(environ, pipeline.sandbox.pass_env) | _telling(pipeline.sandbox.env)
    for check in pipeline.checks.values():
        values |= _telling(check.env)
    return tuple(sorted((value for value in values if len(value) >= SHORTEST), key=lambda value: (-len(value), value)))


def _passed(environ: Mapping[str, str], names: Iterable[str]) -> set[str]:
    found = {name: environ[name] for name in names if name in environ}
    # A key in base64 can begin like a path.
    return {
        value
        for name, value in found.items()
        if not _OPEN.fullmatch(name)
        and (not value.startswith(("/", "~")) or (_TELLING.search(name) and not _OF_PATHS.search(name)))
    }


def _telling(variables: Mapping[str, str]) -> set[str]:
    return {value for name, value in variables.items() if _TELLING.search(name)}


# --- Text and bytes ---------------------------------------------------------------------------------------------------


def masked(text: str, values: Iterable[str], *, cut: bool = False) -> str:
    """The text with `[masked]` in the place of each of the values, however it is spelled there.

    `cut`: more of it was cut off, so that an end which could be the beginning of a value is left out.
    """
    spellings = _spellings(tuple(values))
    if len(text) < SHORTEST or not spellings:
        return text
    data = text.encode(errors="surrogatepass")
    if not cut and not spellings.spans(data):
        return text
    stream = MaskedStream(values)
    shown = stream.feed(data) + (b"" if cut else stream.flush())
    return shown.decode(errors="ignore" if cut else "surrogatepass")


def concealed(value: T, values: Sequence[str]) -> T:
    """The record, or plain data, with all texts in it masked, but for those under names that are ours (`_OURS`)."""
    # Hardly ever there is something to be masked: all texts are looked at in one go.
    whole = "\n".join(_texts(value)) if values else ""
    return value if masked(whole, values) is whole else cast(T, _concealed(value, values))


def _texts(value: Any) -> Iterator[str]:
    if type(value) is str:  # members of enums are ours
        yield value
    elif isinstance(value, (tuple, list)):
        for one in value:
            yield from _texts(one)
    elif isinstance(value, Mapping):
        for name, one in value.items():
            if name not in _OURS:
                yield from _texts(one)
    elif is_dataclass(value):
        for field in fields(value):
            if field.name not in _OURS:
                yield from _texts(getattr(value, field.name))


def _concealed(value: Any, values: Sequence[str]) -> Any:
    if type(value) is str:
        return masked(value, values)
    if isinstance(value, (tuple, list)):
        return type(value)(_concealed(one, values) for one in value)
    if isinstance(value, Mapping):
        return {name: one if name in _OURS else _concealed(one, values) for name, one in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        fields_of = {field.name: getattr(value, field.name) for field in fields(value) if field.name not in _OURS}
        changed = {name: new for name, old in fields_of.items() if (new := _concealed(old, values)) != old}
        return replace(value, **changed) if changed else value
    return value


def holds(new: bytes, olds: Iterable[bytes], values: Sequence[str]) -> bool:
    """Whether some data has a line with one of the values that no earlier state of it has."""
    spans = _spellings(tuple(values)).spans(new)
    if not spans:
        return False
    known = {line for old in olds for line in old.split(b"\n")}
    return any(new[slice(*line_at(new, begin))] not in known for begin, _ in spans)


def reach(values: Sequence[str]) -> int:
    """How far from a place in a text a value can reach that stands there."""
    return _spellings(tuple(values)).reach


def part(data: bytes, begin: int, end: int, values: Sequence[str]) -> tuple[bytes, int]:
    """What is shown of the part of the data from `begin` to `end`, and where that part ends so that no value is cut.

    Of the data as much must be there before and behind as `reach` says.
    """
    out, done = [], begin
    for first, last in _spellings(tuple(values)).spans(data):
        if last <= begin:
            continue
        if first >= end or (last > end and first > begin):
            end = min(end, first)
            break
        out += [data[done : max(done, first)], MASKED.encode()]
        done = last
    return b"".join((*out, data[done:end])), max(done, end)


class MaskedStream:
    """Masks values in bytes that come in pieces, however they are cut: together they are masked as the whole is."""

    def __init__(self, values: Iterable[str]) -> None:
        self._spellings = _spellings(tuple(values))
        self._held = b""

    def feed(self, piece: bytes) -> bytes:
        """What can be told by now. Held back is the end of an unfinished line, as far as a value could reach."""
        if not self._spellings:
            return piece
        data = self._held + piece
        return self._told(data, max(data.rfind(b"\n") + 1, len(data) - self._spellings.reach + 1))

    def flush(self) -> bytes:
        """What was held back, once nothing more comes."""
        return self._told(self._held, len(self._held))

    def _told(self, data: bytes, sure: int) -> bytes:
        """What is told of the data, of which all that begins before `sure` can be told."""
        out, done = [], 0
        for begin, end in self._spellings.spans(data):
            if begin >= sure:
                break
            out += [data[done:begin], MASKED.encode()]
            done = end
        sure = max(done, sure)
        self._held = data[sure:]
        return b"".join((*out, data[done:sure]))


@lru_cache(maxsize=8)
def _spellings(values: tuple[str, ...]) -> Spellings:
    return Spellings(values)
