"""The configuration as values: every key that `configs/repos.toml` and `configs/pipeline.toml` may hold.

The field's name is the key, its hint the accepted type and range, its default what holds when the key is
absent; the text under a field is its documentation. Nothing here reads a file (`thrum.configfile` does), and
what several keys must agree on stands in `thrum.configrules`.

Relative paths start at the project directory, and `~` is the home of whoever runs Thrum.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Annotated, Any, Literal

from thrum.fence import PROTECTED
from thrum.gate import Artifact, Command, Obligations
from thrum.records import Within
from thrum.values import dataclass

SafetyTarget = Literal["Qm", "AsilA", "AsilB", "AsilC", "AsilD"]

Limit = Annotated[float, Within(0.01, 2_000_000)]
"""Seconds until something is ended; 23 days at most, as a poll counts milliseconds in 31 bits."""
LimitOrZero = Annotated[float, Within(0, 2_000_000)]
Count = Annotated[int, Within(0, 1_000_000)]
"""Zero has a meaning of its own, which the field's text tells."""
AtLeastOne = Annotated[int, Within(1, 1_000_000)]
Dollars = Annotated[float, Within(0)]
Ratio = Annotated[float, Within(0.01, 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class RepoConfig:
    """`[[repo]]`: one managed repository."""

    name: str
    """Prefix of its tasks' ids; letters, digits, `.`, `_`, `-`."""
    path: str
    """Where the repository lies."""
    branch: str = "main"
    """The protected branch that approved work lands on."""
    concurrency: Count = 0
    """Agents at work on this repository at once; 0 means `engine.per_repo_limit`."""
    build_cmd: Command = ""
    test_cmd: Command = ""
    """It must have run a test, as its runner's words or its report tell."""
    test_junit: str = ""
    """Path in the checkout of a JUnit report that `test_cmd` leaves there: for a runner that Thrum does not know."""
    expect_tests: bool = True
    """False: `test_cmd` passes with its exit code alone, also where it ran no test."""
    lint_cmd: Command = ""
    fmt_cmd: Command = ""
    verify_cmd: Command = ""
    """A check of Gate 2: SMT obligations."""
    proofs_cmd: Command = ""
    """A check of Gate 2: proofs."""
    proof: Obligations = field(default_factory=Obligations)
    """`[repo.proof]`: what Gate 2 proves by itself, where there is no command for it."""
    protect: tuple[str, ...] = PROTECTED
    """Patterns of paths; a change to one of them is listed first, and treated as `protected_change` says. Three
    entries are no patterns: `<links and submodules>`, `<modules of Python>` and `<scripts of commands>`."""
    protected_change: Literal["approve", "fail", "allow"] = "approve"
    """`approve`: lands only with `approve --including-protected`. `fail`: goes back to the agent. `allow`: is told."""
    run_cmd: Command = ("cargo", "run", "--release", "--")
    """What the `args` of an integration step are appended to."""
    setup_cmd: Command = ""
    """Installs dependencies, with the network, into `$THRUM_SETUP`, which agents and checks see read-only."""
    setup_files: tuple[str, ...] = ()
    """Files whose content the result of `setup_cmd` depends on; empty means the well-known lock files."""
    setup_timeout_s: Limit = 1800.0
    claude_md: str = ""
    """A file whose text goes into every prompt."""
    safety_target: SafetyTarget = "Qm"
    host: str = ""
    """The host whose actors own this repository; empty means the one of `thrum up`."""
    mount_paths: tuple[str, ...] = ()
    """Host paths that the agents and checks of this repository may read, beside those of `[sandbox]`."""


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
    """The largest bundle of an attempt that is imported."""


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
class BudgetConfig:
    """`[budget]`: what may be spent, in US dollars. Absent means no limit."""

    ceiling_usd: Dollars | None = None
    per_session_timeout_secs: Limit | None = None
    """The wall-clock limit of an attempt, where role and backend have none."""
    allocation: dict[str, Dollars] = field(default_factory=dict)
    """Shares of the ceiling. Keys that begin with `implement` bound what implementers may spend together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendConfig:
    """`[[backends]]`: a program (`agent`) or an API (`chat`) that does the work of a role."""

    name: str
    type: Literal["agent", "chat"] = "agent"
    preset: str = ""
    """A program that Thrum knows how to run and to read: `claude-code`, `codex`, `opencode`, `aider`,
    `mini-swe-agent` or `gemini`. Every key that is set beside it wins over what it says."""
    command: str = ""
    """A program by name, or by its path; a preset has one."""
    prompt_args: tuple[str, ...] = ()
    """Arguments, in the place of a preset's; `{prompt}`, `{prompt_file}`, `{workdir}`, `{model}`, `{session}`,
    `{budget_usd}` are replaced."""
    prompt_stdin: bool = False
    """True: the prompt goes to standard input. It also does when it is too long for an argument."""
    model: str = ""
    """The model that `{model}` passes on, and that a role may name it by."""
    provider: str = ""
    """Of a chat: whose API it is."""
    base_url: str = ""
    """Where the API is, where it is not the provider's own, without its `/v1`; of an agent with a preset, or a chat."""
    api_key_env: str = ""
    """Name of the variable that holds the key; it is passed to the agent under the same name, or under that which
    its preset knows. Absent: the variables that the preset knows."""
    env: dict[str, str] = field(default_factory=dict)
    """Variables set for the agent."""
    pass_env: tuple[str, ...] = ()
    """Names of variables of `thrum up` that the agent may see."""
    timeout_secs: Limit | None = None
    silence_secs: LimitOrZero = 0.0
    """An agent that prints nothing for so long is ended; 0 means no limit."""
    network: bool | None = None
    """Whether the agent reaches the network; where neither this nor `allow` is there, as `[sandbox]` says."""
    allow: tuple[str, ...] | None = None
    """What the agent reaches without `network`, as in `[sandbox]`; an empty list: nothing."""
    mount_paths: tuple[str, ...] = ()
    enabled: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleConfig:
    """`[roles.NAME]`"""

    backend: str
    """A backend by name, or by a part of its model's name that no other enabled one has."""
    fallback: tuple[str, ...] = ()
    """Of the implementer: backends to go on with, in order, where one has no quota, no key, or refuses."""
    prompt_template: str = ""
    """A file with the role's instructions."""
    budget_usd: Dollars | None = None
    """What one attempt may spend: told to the backend where its prompt_args have `{budget_usd}`."""
    timeout_secs: Limit | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RolesConfig:
    """`[roles]`"""

    implementer: RoleConfig | None = None
    """Absent: the first enabled backend of type `agent`."""
    reviewer: RoleConfig | None = None
    planner: RoleConfig | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxConfig:
    """`[sandbox]`: what holds agents and checks."""

    backend: Literal["os-native", "docker", "none"] = "os-native"
    """`os-native` (bubblewrap), `docker` (containers of `image`), or `none`."""
    image: str = ""
    """What containers are made of, for `docker`: a local image with bash, git and what agents and checks run."""
    memory_limit_mb: Count = 4096
    """0 means no limit; the same of the next three."""
    cpu_limit: Annotated[float, Within(0, 10_000)] = 0.0
    """Processors' worth of time."""
    pids_limit: Count = 1024
    file_size_limit_mb: Count = 2048
    disk_limit_mb: Count = 20480
    """What the folders that one run may write may hold, what was there before included; a run that passes it is ended.
    Looked at in intervals of a second, longer where there is much to look at. Not with `none`. 0 means no limit."""
    disk_limit_files: Count = 1_000_000
    """How many files and folders they may hold; looked at likewise."""
    network: bool = False
    """Whether agents reach the network; a backend may say otherwise. Checks do only where `[checks.NAME]` says so."""
    allow: tuple[str, ...] = ()
    """What agents reach without `network`: `host:port`, the port 443 where none is given, `*.example.com` for all below
    a name, IPv6 in brackets. By a proxy that their environment names; all else fails at once. An address of loopback or
    a private network must be on the list itself, also where a name leads to it; `localhost:8080` is this machine's."""
    setup_network: bool = True
    """Whether `setup_cmd` reaches the network."""
    mount_paths: tuple[str, ...] = ()
    """Host paths that can be read inside, at the same place."""
    pass_env: tuple[str, ...] = ()
    """Names of variables of `thrum up` that agents and checks may see."""
    env: dict[str, str] = field(default_factory=dict)
    """Variables set for agents, checks and `setup_cmd`; `~/` at the beginning of a value is your home. HOME is an
    empty folder in there: tools that keep something in yours must be told where it is."""
    limits: Literal["enforced", "best-effort"] = "enforced"
    """`enforced`: a limit that cannot bind on this machine is an error. `best-effort`: it is said in the log."""

    def variables(self, environ: Mapping[str, str]) -> dict[str, str]:
        """What every agent, check and setup is given: of `environ` what `pass_env` names, and `env`."""
        return {name: environ[name] for name in self.pass_env if name in environ} | self.env


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiConfig:
    """`[api]`: the JSON API on loopback."""

    enabled: bool = True
    port: Annotated[int, Within(0, 65535)] = 0
    """0 means any free port; `thrum status` tells which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReposConfig:
    """`configs/repos.toml`"""

    repo: tuple[RepoConfig, ...] = ()


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


DEFAULT_SAFETY: dict[str, SafetyConfig] = {
    "Qm": SafetyConfig(),
    "AsilA": SafetyConfig(required_gates=("quality",)),
    "AsilB": SafetyConfig(required_gates=("quality",)),
    "AsilC": SafetyConfig(required_gates=("quality", "proof"), approvers=2),
    "AsilD": SafetyConfig(required_gates=("quality", "proof", "integration"), approvers=2),
}


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


def fitting_backends(backends: Iterable[BackendConfig], wanted: str) -> tuple[BackendConfig, ...]:
    """The backend of that name, else every enabled one with `wanted` in its model's name, case aside."""
    backends = tuple(backends)
    named = tuple(one for one in backends if one.name == wanted)
    return named or tuple(
        one for one in backends if one.enabled and wanted and wanted.casefold() in one.model.casefold()
    )
