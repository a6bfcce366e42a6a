"""Between a repo actor and the gate actors, through the pool `gate@HOST`."""

from __future__ import annotations

from dataclasses import field

from thrum.gate import Check, CheckResult, Gate
from thrum.messages import Message
from thrum.values import dataclass


def pool_of(host: str) -> str:
    """The pool of the gate actors on a host; an empty one is that of `thrum up`."""
    return f"gate@{host or 'local'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunGate(Message):
    """repo → gate pool: run these checks, one after the other, each on a clean checkout.

    `run` names the run; it is answered with the same `run` however often it is sent. `vector` maps repository
    names to commits; a check runs in the checkout of its own `repo`.
    """

    run: str
    gate: Gate
    checks: tuple[Check, ...]
    vector: dict[str, str]
    home: str = ""
    """The repository that asks. It has the vector's commits of repositories on other hosts, too."""
    fixture: str = ""
    tree: str = ""
    """The tree of the commit; empty where it is not known."""
    bases: dict[str, str] = field(default_factory=dict)
    """For the repository that is changed: the commit that the change is based on. A `setup_cmd` that fails, and
    succeeds there, is the change's fault."""
    known: dict[str, CheckResult] = field(default_factory=dict)
    """By name, checks that passed on this tree before: taken over where their fingerprint is still true."""
    probe: bool = False
    """Look whether each check could run: make what it needs and find its programs; run nothing of it."""
    rehearsal: bool = False
    """Of a probe: run each check too; one that fails for want of a program or module of the machine could not run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StopGate(Message):
    """repo → the gate actor that runs it: the result is not wanted any more."""

    run: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GateHeartbeat(Message):
    """gate actor → repo, every few seconds: this run is under way."""

    run: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GateReported(Message):
    """gate actor → repo: what each check said. Lost, it is asked for again with the same `RunGate`."""

    run: str
    checks: tuple[CheckResult, ...]
    started_at: float = 0.0
    ended_at: float = 0.0
