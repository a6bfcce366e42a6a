"""What a gate is and what it said: verdicts, checks, results. Values only; nothing here runs a check."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from enum import StrEnum

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
class Check:
    """One check as the configuration defines it, complete: whoever holds it needs nothing else to run it."""

    name: str
    command: Command
    repo: str = ""
    timeout_s: float = 1800.0
    env: dict[str, str] = field(default_factory=dict)
    network: bool = False
    expect_tests: bool = False
    """True: a run in which no test was executed has failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What one check said. `exit_code` is None where no process ended by itself (missing, killed, timed out)."""

    name: str
    verdict: Verdict
    exit_code: int | None = None
    duration_s: float = 0.0
    reason: str = ""
    command: str = ""
    tail: str = ""
    output_digest: str = ""
    output_bytes: int = 0


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
    vector: dict[str, str] = field(default_factory=dict)
    share: float = 1.0
    """The share of the checks that ran; a result below 1 opens no branch."""


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
