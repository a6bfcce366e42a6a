"""What gates and checks there are, how much of them runs, and which of them a safety target demands."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Literal

from thrum.config.ranges import AtLeastOne, Limit, LimitOrZero, Ratio
from thrum.gate import Artifact, Command
from thrum.records import Within
from thrum.values import dataclass

SafetyTarget = Literal["Qm", "AsilA", "AsilB", "AsilC", "AsilD"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepConfig:
    """`[[gates.integration.steps]]`: one step; `args` of the repository's `run_cmd`, or a `command` of its own.

    `{fixture}`, `{output_dir}` and `{repo:NAME}` (a checkout of that repository, to be read) are replaced: in a list by
    the path itself, in a string by the path quoted for the shell, so leave them outside quotes there.
    """

    repo: str
    label: str
    """Names the step in results; unique in its gate."""
    args: tuple[str, ...] = ()
    command: Command = ""
    artifacts: tuple[Artifact, ...] = ()
    """`[[gates.integration.steps.artifacts]]`: what the step must have made."""
    needs: tuple[str, ...] | None = None
    """Labels of earlier steps that must have passed before it begins; steps that do not need each other run at once.
    Absent means the step before it."""
    timeout_s: LimitOrZero = 0.0
    """0 means the gate's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateConfig:
    """`[gates.NAME]`: what all gates have in common."""

    description: str = ""
    checks: tuple[str, ...] = ()
    """Names of checks: `fmt`, `lint`, `test`, `build`, `verify`, `proofs` stand for the repository's commands
    (`cargo_fmt`, `cargo_clippy`, `cargo_test`, `cargo_build`, `z3_verify`, `rocq_proofs` are other names for
    them); any other is a `[checks.NAME]`."""
    required: bool = False
    """True: the gate may not be `not-configured`."""
    timeout_s: Limit = 1800.0
    """The limit of each check that has none of its own."""
    fail_fast: bool = False
    """True: one check after the other, and none after the first that does not pass. Else all run, so that one retry
    sees everything."""
    cheap_first: bool = False
    """True: checks that took less time the last time go first; else in the order of `checks`."""


# One class a gate, so that a table without `checks` has its own gate's default.


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityConfig(GateConfig):
    """`[gates.quality]`: Gate 1."""

    checks: tuple[str, ...] = ("fmt", "lint", "test")
    flaky_reruns: Annotated[int, Within(0, 10)] = 0
    """How often a check is run again whose failing tests are all known to fail now and then on the base as well; so
    often a failed check is also repeated there. A pass that took this is told to whoever approves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofConfig(GateConfig):
    """`[gates.proof]`: Gate 2."""

    checks: tuple[str, ...] = ("verify", "proofs")


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegrationConfig(GateConfig):
    """`[gates.integration]`: Gate 3. Its steps tie the repositories that they name together: one of these lands
    at a time, and the steps run on all of them at once."""

    fixture: str = ""
    """A file that the steps get as `{fixture}`."""
    steps: tuple[StepConfig, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GatesConfig:
    """`[gates]`"""

    quality: QualityConfig = field(default_factory=QualityConfig)
    proof: ProofConfig = field(default_factory=ProofConfig)
    integration: IntegrationConfig = field(default_factory=IntegrationConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckConfig:
    """`[checks.NAME]`: a check of your own."""

    command: Command
    timeout_s: LimitOrZero = 0.0
    """0 means the gate's."""
    folder: str = ""
    """Where in the checkout it runs; absent means at its root."""
    env: dict[str, str] = field(default_factory=dict)
    """Variables set for it."""
    network: bool = False
    """Whether it reaches the network; what it says is then never taken over for landing."""
    expect_tests: bool = False
    """True: a run that does not tell of a test that was executed has failed."""
    junit: str = ""
    """Path in the checkout of a JUnit report that the run leaves there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubsampleConfig:
    """`[subsample]`: run a share of a gate before approval: of a pytest run a share of its tests, of the other checks
    some of them. A candidate always runs all."""

    enabled: bool = False
    gate1_ratio: Ratio = 1.0
    gate2_ratio: Ratio = 1.0
    gate3_ratio: Ratio = 1.0
    seed_strategy: Literal["task-id", "random"] = "task-id"
    """`task-id`: the same share in each attempt of a task; `random`: another one in each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetyConfig:
    """`[safety.TARGET]`: what a repository's `safety_target` demands."""

    required_gates: tuple[Literal["quality", "proof", "integration"], ...] = ()
    """Gates that may not be `not-configured`."""
    approvers: AtLeastOne = 1
    """How many different people must approve."""


DEFAULT_SAFETY: dict[str, SafetyConfig] = {
    "Qm": SafetyConfig(),
    "AsilA": SafetyConfig(required_gates=("quality",)),
    "AsilB": SafetyConfig(required_gates=("quality",)),
    "AsilC": SafetyConfig(required_gates=("quality", "proof"), approvers=2),
    "AsilD": SafetyConfig(required_gates=("quality", "proof", "integration"), approvers=2),
}
