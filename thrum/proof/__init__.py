"""Gate 2's own knowledge: obligations for Z3 (`z3` over `smtlib`), developments for Rocq (`rocq` over `vernacular`).

A prover is a function of a check and a `Workbench`. It touches nothing itself: whoever calls it provides the runs, in a
sandbox, and the files of the commit. What the repository holds is untrusted, and so is whatever a run prints that the
repository's own text can choose.
"""

from __future__ import annotations

from collections.abc import Callable

from thrum.gate import Tally, Verdict
from thrum.job import Outcome
from thrum.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Workbench:
    """What a prover has to work with, for one check on one commit."""

    tree: str
    """Path of the clean checkout; runs begin there, may write in it, and see it at this path."""
    files: tuple[str, ...]
    """Paths of all files of the commit, relative to `tree`, with `/`, sorted."""
    read: Callable[[str], bytes]
    """The content of one of `files`, as it is in the commit, whatever a run has done to the checkout."""
    put: Callable[[str, bytes], str]
    """Put a file of ours, by its name, where runs can read it and not write it; its absolute path."""
    which: Callable[[str], str]
    """The path of a program as runs see it; empty if there is none."""
    run: Callable[[tuple[str, ...], float], Outcome]
    """Run a program, by name and arguments, for at most so many seconds; its output, whole up to a mebibyte, is in
    `tail`. What it wrote into the checkout is there for the next run of the same check."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What a prover found. `could-not-run` is the operator's problem (no solver); what was not proven has failed."""

    verdict: Verdict
    reason: str = ""
    """One line; empty where it passed."""
    details: str = ""
    """What the agent and a person should read first: the counterexample, the places, the assumptions."""
    tests: Tally | None = None
    """Each obligation, file or theorem counts as a test, and is named as one where it failed."""
    log: str = ""
    """Everything that was run and what it printed, for the kept output."""
    exit_code: int | None = None
