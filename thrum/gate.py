"""What a gate is and what it said: verdicts, checks, results. Values only; nothing here runs a check."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from enum import StrEnum
from typing import Annotated, Literal

from thrum.records import Within
from thrum.values import dataclass

Command = str | tuple[str, ...]
"""A string runs through `bash -o pipefail -c` inside the sandbox; a tuple runs as it is."""


class Gate(StrEnum):
    """The gates in the order in which a task meets them; `review` stands between quality and proof."""

    QUALITY = "quality"
    REVIEW = "review"
    PROOF = "proof"
    INTEGRATION = "integration"


class Verdict(StrEnum):
    """How a check or a gate ended. Only `passed` opens a gate; `not-configured` is a choice, never a pass."""

    PASSED = "passed"
    FAILED = "failed"
    COULD_NOT_RUN = "could-not-run"
    NOT_CONFIGURED = "not-configured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What a runner says of its tests. `run` counts those that were executed, passed or failed, not the skipped."""

    run: int = 0
    failed: int = 0
    skipped: int = 0
    left_out: int = 0
    """Those that a choice of tests left out, as far as the runner says so."""
    failing: tuple[str, ...] = ()
    """Names of failing ones, as their runner spells them; at most `MOST_NAMES`."""


MOST_NAMES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Obligations:
    """`[repo.proof]`: what Gate 2 proves of a repository. Globs are relative to its root; `**` crosses folders."""

    smt: tuple[str, ...] = ()
    """SMT-LIB files for Z3: each `(check-sat)` is preceded by the `(set-info :status …)` that is expected."""
    expect: Literal["", "sat", "unsat"] = ""
    """What every `(check-sat)` must answer, whatever its file says; empty leaves it to the file."""
    python: tuple[str, ...] = ()
    """Python files whose `obligations()` yields `(name, z3 formula)`, each to be proven valid."""
    interpreter: str = "python3"
    """The Python that has `z3`; `$THRUM_SETUP/…` is one that `setup_cmd` installed, and so for the solver."""
    solver: str = "z3"
    solver_timeout_s: Annotated[float, Within(0.01, 2_000_000)] = 60.0
    """For each file, of Z3's and of Rocq's; the checker and the questions about theorems get as much for each file."""
    solver_memory_mb: Annotated[int, Within(1, 1_000_000)] = 2048
    rocq: tuple[str, ...] = ()
    """Rocq files; with a `_CoqProject` at the root, its options hold for them, and empty means its files."""
    rocq_project: str = ""
    """A `_CoqProject` file by its path; empty means the one at the root, if there is one."""
    theorems: tuple[str, ...] = ()
    """The theorems whose assumptions are looked at, fully qualified; empty means all of the files'."""
    axioms: tuple[str, ...] = ()
    """Axioms that may be assumed, by their fully qualified names."""

    @property
    def of_rocq(self) -> tuple[str, ...]:
        """What is said of Rocq; anything at all means that there is something to prove."""
        return (*self.rocq, *filter(None, (self.rocq_project,)), *self.theorems, *self.axioms)


SETUP_PREFIX = "$THRUM_SETUP/"
"""What the name of a program begins with that `setup_cmd` installs."""
ROCQ_COMPILERS = (("coqc",), ("rocq", "compile"))
ROCQ_CHECKERS = (("coqchk",), ("rocqchk",), ("rocq", "check"))
"""How these are called, in one version or another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A file that a step of Gate 3 must have made in its run's `{output_dir}`."""

    path: str
    """Relative to `{output_dir}`."""
    sha256: str = ""
    """Its digest, where it must be just that."""
    compare: Command = ""
    """A command that exits 0 where `{artifact}` is as it should be. It sees copies of the artifacts made so far, and
    checkouts made anew: nothing that the step could have written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check as the configuration defines it, complete: whoever holds it needs nothing else to run it."""

    name: str
    command: Command
    repo: str = ""
    timeout_s: float = 1800.0
    folder: str = ""
    """Where in the checkout it runs; empty means at its root."""
    env: dict[str, str] = field(default_factory=dict)
    network: bool = False
    expect_tests: bool = False
    """True: a run that does not tell of a test that was executed has failed."""
    junit: str = ""
    """A JUnit report that the run leaves in its checkout: what it says of failed tests, and of none, counts."""
    artifacts: tuple[Artifact, ...] = ()
    """What it must have made, in this order."""
    needs: tuple[str, ...] = ()
    """Of a step of Gate 3: the steps that must have passed before it begins."""
    sample: tuple[float, float] | None = None
    """Which of its tests to run, see `thrum.sampling`; None means all."""
    prover: Literal["", "z3", "rocq"] = ""
    """Who proves `obligations`, instead of a command."""
    obligations: Obligations | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What one check said. `exit_code` is None where no process ended by itself (missing, killed, timed out)."""

    name: str
    verdict: Verdict
    exit_code: int | None = None
    duration_s: float = 0.0
    reason: str = ""
    command: str = ""
    head: str = ""
    """The beginning of an output that is longer than its tail."""
    tail: str = ""
    output_digest: str = ""
    output_bytes: int = 0
    tests: Tally | None = None
    """What its runner said of its tests; None where it is not known to us."""
    share: float = 1.0
    """The share of its tests that ran, where it ran a share of them."""
    artifacts: dict[str, str] = field(default_factory=dict)
    """Of a step of Gate 3: the artifacts that were looked at, each with its SHA-256."""
    details: str = ""
    """What a prover found, to be read before the output: a counterexample, an assumption."""
    on_base: Verdict | None = None
    """What the same check says of the commit that the work is based on; asked only where it failed."""
    failing_on_base: tuple[str, ...] = ()
    """Those of the failing tests that fail there too."""
    flaky: tuple[str, ...] = ()
    """Tests that failed at first and passed when the check was run again; all are known to do so on the base."""
    fingerprint: str = ""
    """What it depended on beside commit and definition; empty where it may not be taken over."""
    cached: bool = False
    """It did not run: it passed on the same tree before, under the same fingerprint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """What one gate said of one commit. `vector` maps each repository of Gate 3's set to its commit."""

    gate: Gate
    verdict: Verdict
    commit: str = ""
    tree: str = ""
    checks: tuple[CheckResult, ...] = ()
    reason: str = ""
    started_at: float = 0.0
    ended_at: float = 0.0
    definition: str = ""
    """Digest of the definitions of the checks that ran, so that a result can be told from one of other rules."""
    configuration: str = ""
    """Digest of the whole configuration that it ran under."""
    vector: dict[str, str] = field(default_factory=dict)
    share: float = 1.0
    """The share of the checks, and of their tests, that ran; a result below 1 opens no branch."""


def overall(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict of a gate from those of its checks.

    A check that could not run outweighs one that failed: an agent cannot mend a missing tool, and a retry
    would be spent in vain. With no check configured at all the gate is not configured.
    """
    seen = set(verdicts)
    for verdict in (Verdict.COULD_NOT_RUN, Verdict.FAILED, Verdict.PASSED):
        if verdict in seen:
            return verdict
    return Verdict.NOT_CONFIGURED
