"""What the configuration says about one repository, as its actor's pure half needs it. Values only."""

from __future__ import annotations

from thrum.gate import Gate
from thrum.pipeline.draft import Rules
from thrum.values import dataclass

from .gate_runs import GatePlan


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What the configuration says about this repository, and who the actor is."""

    repo: str
    rules: Rules
    plans: dict[Gate, GatePlan]
    concurrency: int = 1
    cache: bool = True
    """Take over what passed before on the same tree."""
    pause_when_red: bool = False
    """Begin nothing while the branch itself fails a check."""
    token: str = ""
    """The project's secret that every command must carry; empty admits all (the simulator)."""
    pool: str = "pool:gate@local"
    integration_set: tuple[str, ...] = ()
    """The repositories that land together, in order; the first one's actor keeps the lock."""
