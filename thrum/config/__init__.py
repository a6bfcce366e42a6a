"""The configuration as values: every key that `configs/repos.toml` and `configs/pipeline.toml` may hold.

The field's name is the key, its hint the accepted type and range, its default what holds when the key is
absent; the text under a field is its documentation. Nothing here reads a file (`thrum.configfile` does), and
what several keys must agree on stands in `thrum.configrules`.

Relative paths start at the project directory, and `~` is the home of whoever runs Thrum.
"""

from thrum.config.agents import BackendConfig, BudgetConfig, RoleConfig, RolesConfig, fitting_backends
from thrum.config.gates import (
    DEFAULT_SAFETY,
    CheckConfig,
    GateConfig,
    GatesConfig,
    IntegrationConfig,
    ProofConfig,
    QualityConfig,
    SafetyConfig,
    SafetyTarget,
    StepConfig,
    SubsampleConfig,
)
from thrum.config.project import ApiConfig, EngineConfig, PipelineConfig, Project
from thrum.config.repository import RepoConfig, ReposConfig
from thrum.config.sandbox import SandboxConfig

__all__ = [
    "DEFAULT_SAFETY",
    "ApiConfig",
    "BackendConfig",
    "BudgetConfig",
    "CheckConfig",
    "EngineConfig",
    "GateConfig",
    "GatesConfig",
    "IntegrationConfig",
    "PipelineConfig",
    "Project",
    "ProofConfig",
    "QualityConfig",
    "RepoConfig",
    "ReposConfig",
    "RoleConfig",
    "RolesConfig",
    "SafetyConfig",
    "SafetyTarget",
    "SandboxConfig",
    "StepConfig",
    "SubsampleConfig",
    "fitting_backends",
]
