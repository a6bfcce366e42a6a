"""A language model that follows a script: agent programs are tried against it without a key, a cent or the network."""

from __future__ import annotations

from thrum.scripted.conversation import Asked, Turn
from thrum.scripted.script import (
    MARK,
    Step,
    cut,
    edits_in_words,
    fail,
    hang,
    is_beside,
    only,
    overflow,
    overloaded,
    plan,
    quota,
    refuse,
    run,
    say,
    write,
)
from thrum.scripted.server import ModelServer

__all__ = [
    "MARK",
    "Asked",
    "ModelServer",
    "Step",
    "Turn",
    "cut",
    "edits_in_words",
    "fail",
    "hang",
    "is_beside",
    "only",
    "overflow",
    "overloaded",
    "plan",
    "quota",
    "refuse",
    "run",
    "say",
    "write",
]
