"""What the configuration says about one repository, as its actor's pure half needs it."""

from __future__ import annotations

import hashlib
import json

from thrum.agents import implementers
from thrum.checks import definition_digest, gate_checks, gate_config, integration_set, requirement, share
from thrum.config import IntegrationConfig, Project, QualityConfig, RepoConfig
from thrum.errors import AuthError
from thrum.gate import Gate, Verdict
from thrum.messages.gates import pool_of
from thrum.pipeline.draft import Rules
from thrum.protection import fence_of
from thrum.records import to_plain
from thrum.values import dataclass

from .gate_runs import GatePlan

GATES = (Gate.QUALITY, Gate.PROOF, Gate.INTEGRATION)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What the configuration says about this repository, and who the actor is."""

    repo: str
    rules: Rules
    plans: dict[Gate, GatePlan]
    backends: tuple[str, ...] = ()
    """The implementer's backends by name, those to fall back to behind the first."""
    concurrency: int = 1
    cache: bool = True
    """Take over what passed before on the same tree."""
    pause_when_red: bool = False
    """Begin nothing while the branch itself fails a check."""
    token: str = ""
    """The project's secret that every command must carry; empty admits all (the simulator)."""
    pool: str = f"pool:{pool_of('')}"
    integration_set: tuple[str, ...] = ()
    """The repositories that land together, in order; the first one's actor keeps the lock."""


def plan_of(project: Project, repo: RepoConfig, gate: Gate) -> GatePlan:
    """What a gate of the repository consists of."""
    checks, unconfigured = gate_checks(project, repo, gate)
    config = gate_config(project, gate)
    assert config is not None  # the review, which has none, is no gate of checks
    required = requirement(project, repo, gate, Verdict.NOT_CONFIGURED)
    # All that a result depends on beside the commit: a change of any of it and the gate must run again to land.
    reruns = config.flaky_reruns if isinstance(config, QualityConfig) else 0
    fixture = config.fixture if isinstance(config, IntegrationConfig) else ""
    made = [project.pipeline.sandbox, repo.setup_cmd, repo.setup_files, repo.mount_paths]
    parts = [definition_digest(checks), required, *made, reruns, fixture]
    definition = hashlib.sha256(json.dumps(to_plain(parts), sort_keys=True).encode()).hexdigest()
    return GatePlan(
        checks=checks,
        unconfigured=unconfigured,
        definition=definition,
        forbidden="" if checks else required,
        fixture=fixture,
        fail_fast=config.fail_fast,
        cheap_first=config.cheap_first,
        ratio=share(project, gate),
        strategy=project.pipeline.subsample.seed_strategy,
        flaky_reruns=reruns,
    )


def setup_of(project: Project, repo: RepoConfig, token: str) -> Setup:
    """What the configuration says about a repository."""
    if not token:
        raise AuthError("the project has no token", remedy="remove .thrum/token; the next start makes one")
    engine = project.pipeline.engine
    plans = {gate: plan_of(project, repo, gate) for gate in GATES}
    backends = implementers(project)
    rules = Rules(
        max_retries=engine.max_retries,
        max_interruptions=engine.max_interruptions,
        max_rebuilds=engine.max_rebuilds,
        max_wait_s=engine.max_wait_s,
        fallbacks=max(0, len(backends) - 1),
        approvers=project.safety(repo).approvers,
        fence=fence_of(project, repo),
        protected_change=repo.protected_change,
        void_on_overlap=engine.reapprove == "overlap",
        definitions={gate: plan.definition for gate, plan in plans.items()},
        never_reused=frozenset(g for g, plan in plans.items() if any(check.network for check in plan.checks)),
        configuration=project.digest,
    )
    return Setup(
        repo=repo.name,
        rules=rules,
        plans=plans,
        backends=backends,
        concurrency=project.concurrency(repo),
        cache=engine.cache,
        pause_when_red=engine.pause_when_red,
        token=token,
        pool=f"pool:{pool_of(repo.host)}",
        integration_set=integration_set(project, repo.name),
    )
