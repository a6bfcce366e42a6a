"""Secrets kept out of what people and models read: the values of variables that hold one, wherever they turn up. Pure.

A value is masked as it is; one that a program has encoded (base64, escaped) is not known again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from thrum.agents import key_variables
from thrum.config import Project

MASKED = "[masked]"
SHORTEST = 8
"""Shorter values are left alone: they would be found in words that have nothing to do with them."""

_TELLING = re.compile(
    r"KEY(?!BOARD|MAP|WORD)|TOKEN|SECRET|PASS(?!IVE)|CRED|AUTH|DSN|JWT|COOKIE|PAT$|_PWD$|_URL$|_URI$", re.IGNORECASE
)
_OPEN = re.compile(r"LANG|LANGUAGE|LC_\w+|TERM|COLORTERM|TZ|USER|LOGNAME|SHELL|EDITOR|PAGER|DISPLAY|HOSTNAME|PWD")
"""Variables that hold nothing of that kind."""


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
    return {value for name, value in found.items() if not (_OPEN.fullmatch(name) or value.startswith(("/", "~")))}


def _telling(variables: Mapping[str, str]) -> set[str]:
    return {value for name, value in variables.items() if _TELLING.search(name)}


def leaks(diff: str, values: Iterable[str]) -> tuple[str, ...]:
    """The files to which a diff (as git prints it, with `b/` before new names) adds one of the values."""
    known = [value for value in values if value and value in diff]
    found: dict[str, None] = {}
    name = ""
    for line in diff.splitlines() if known else ():
        if line.startswith("+++ "):
            name = line.removeprefix("+++ ").removeprefix("b/").rstrip("\t")
        elif line.startswith("+") and any(value in line for value in known):
            found[name] = None
    return tuple(found)


def masked(text: str, values: Iterable[str]) -> str:
    """The text with `[masked]` in the place of each of the values; of two that overlap, the first and longest."""
    known = sorted((value for value in values if value), key=len, reverse=True)
    return re.sub("|".join(map(re.escape, known)), MASKED, text) if known else text


class MaskedStream:
    """Masks values in bytes that come in pieces, however they are cut."""

    def __init__(self, values: Iterable[str]) -> None:
        known = sorted((value.encode(errors="surrogateescape") for value in values if value), key=len, reverse=True)
        self._known = known
        self._pattern = re.compile(b"|".join(map(re.escape, known)))
        self._held = b""

    def feed(self, piece: bytes) -> bytes:
        """What can be told by now; what may be the beginning of a value is held back."""
        if not self._known:
            return piece
        data = self._held + piece
        done, out = 0, []
        held = self._beginning(data, done)
        while (found := self._pattern.search(data, done)) and found.start() < held:
            out += [data[done : found.start()], MASKED.encode()]
            done = found.end()
            held = self._beginning(data, done)
        self._held = data[held:]
        return b"".join([*out, data[done:held]])

    def flush(self) -> bytes:
        """What was held back, once nothing more comes."""
        held, self._held = self._held, b""
        return self._pattern.sub(MASKED.encode(), held) if held else b""

    def _beginning(self, data: bytes, start: int) -> int:
        """From where on the data could be the beginning of a value that is not yet whole; its end, if nowhere."""
        for at in range(max(start, len(data) - len(self._known[0]) + 1), len(data)):
            if any(len(value) > len(data) - at and value.startswith(data[at:]) for value in self._known):
                return at
        return len(data)
