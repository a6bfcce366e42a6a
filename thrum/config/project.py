"""`configs/pipeline.toml`, and the whole configuration of a project."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Any, Literal

from thrum.config.agents import BackendConfig, BudgetConfig, RolesConfig, fitting_backends
from thrum.config.gates import (
    DEFAULT_SAFETY,
    CheckConfig,
    GatesConfig,
    SafetyConfig,
    SafetyTarget,
    SubsampleConfig,
)
from thrum.config.ranges import AtLeastOne, Count, LimitOrZero
from thrum.config.repository import RepoConfig
from thrum.config.sandbox import SandboxConfig
from thrum.records import Within
from thrum.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """`[engine]`"""

    per_repo_limit: AtLeastOne = 1
    """Agents at work on one repository at once, where the repository does not say."""
    worktrees_dir: str = ".thrum/work"
    """Where the clones and checkouts of agents and gates lie."""
    max_retries: Count = 3
    """How often a task goes back to its agent by itself before it has failed."""
    agents: AtLeastOne = 4
    """Agents at work at once, over all repositories."""
    gate_actors: Count = 0
    """Checks that run at once; 0 means one for each processor."""
    reapprove: Literal["never", "overlap"] = "never"
    """When a moved base voids an approval: never while the merge is clean, or once a landing touched its files."""
    max_interruptions: Count = 5
    """How often a task may lose its worker before it has failed."""
    max_rebuilds: Count = 10
    """How often a candidate is built anew as its branch moved, before a person is asked again."""
    max_wait_s: LimitOrZero = 86400.0
    """How long altogether a task waits for rate limits and quotas before it has failed."""
    cache: bool = True
    """Whether a check that passed on a tree is taken over for the same tree while its setup, environment and
    programs are the same. Never with the network, without a sandbox, nor where `mount_paths` show what nobody can
    compare."""
    pause_when_red: bool = False
    """Begin no task of a repository while the commit that they would be based on fails one of its checks itself."""
    attempt_limit_mb: AtLeastOne = 512
    """The largest bundle that is imported: of an attempt, or of a repository on another host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiConfig:
    """`[api]`: the JSON API on loopback."""

    enabled: bool = True
    port: Annotated[int, Within(0, 65535)] = 0
    """0 means any free port; `thrum status` tells which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineConfig:
    """`configs/pipeline.toml`"""

    engine: EngineConfig = field(default_factory=EngineConfig)
    gates: GatesConfig = field(default_factory=GatesConfig)
    checks: dict[str, CheckConfig] = field(default_factory=dict)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    backends: tuple[BackendConfig, ...] = ()
    roles: RolesConfig = field(default_factory=RolesConfig)
    sandbox: SandboxConfig = field(default_factory=SandboxConfig)
    subsample: SubsampleConfig = field(default_factory=SubsampleConfig)
    safety: dict[SafetyTarget, SafetyConfig] = field(default_factory=dict)
    api: ApiConfig = field(default_factory=ApiConfig)
    release: dict[str, Any] = field(default_factory=dict)
    """Accepted for the sake of older files; it has no effect, and `thrum check` says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A whole configuration, loaded: all that any process of Thrum needs to know, with its digest.

    All paths in it are absolute, and the names of repositories and backends that it mentions are spelled as
    they are defined. `digest` is the SHA-256 of the content, recorded with each gate result.
    """

    directory: str
    repos: tuple[RepoConfig, ...]
    pipeline: PipelineConfig
    digest: str = ""

    def repo(self, name: str) -> RepoConfig | None:
        """The repository of that name; where none is spelled so, the one that differs only in case."""
        exact = [repo for repo in self.repos if repo.name == name]
        folded = [repo for repo in self.repos if repo.name.casefold() == name.casefold()]
        return next(iter(exact or folded), None)

    @property
    def here(self) -> tuple[RepoConfig, ...]:
        """The repositories of the host of `thrum up`."""
        return tuple(repo for repo in self.repos if not repo.host)

    def within_reach(self, name: str, home: str) -> RepoConfig | None:
        """Where the actors of `home` find the commits of a repository: it, or, where it lies on another host, `home`
        itself, which has them brought in. None where the configuration has no such repository."""
        repo, home_repo = self.repo(name), self.repo(home)
        apart = repo is not None and home_repo is not None and repo.host != home_repo.host
        return home_repo if apart else repo

    def concurrency(self, repo: RepoConfig) -> int:
        """How many agents may be at work on the repository at once."""
        return repo.concurrency or self.pipeline.engine.per_repo_limit

    def safety(self, repo: RepoConfig) -> SafetyConfig:
        """What the repository's safety target demands."""
        return self.pipeline.safety.get(repo.safety_target, DEFAULT_SAFETY[repo.safety_target])

    def implementer(self) -> BackendConfig | None:
        """The backend that implements tasks: that of the role, else the first enabled agent; None without one."""
        role = self.pipeline.roles.implementer
        if role is not None:
            return next(iter(fitting_backends(self.pipeline.backends, role.backend)), None)
        return next((one for one in self.pipeline.backends if one.enabled and one.type == "agent"), None)
