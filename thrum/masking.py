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

_TELLING = re.compile(r"(^|_)(KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|AUTH)(_|$)", re.IGNORECASE)


def secrets(project: Project, environ: Mapping[str, str]) -> tuple[str, ...]:
    """The values that must not be shown, longest first: of the variables that hold a backend's key, and of every one
    that the configuration passes or sets and whose name tells of a secret."""
    pipeline = project.pipeline
    values: set[str] = set()
    for backend in pipeline.backends:
        values |= {environ.get(name, "") for name in key_variables(backend)}
        values |= _telling(environ, backend.pass_env) | _telling(backend.env, backend.env)
    values |= _telling(environ, pipeline.sandbox.pass_env) | _telling(pipeline.sandbox.env, pipeline.sandbox.env)
    for check in pipeline.checks.values():
        values |= _telling(check.env, check.env)
    return tuple(sorted((value for value in values if len(value) >= SHORTEST), key=lambda value: (-len(value), value)))


def _telling(environ: Mapping[str, str], names: Iterable[str]) -> set[str]:
    return {environ[name] for name in names if name in environ and _TELLING.search(name)}


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
