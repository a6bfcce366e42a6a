"""`configs/repos.toml`: the managed repositories."""

from __future__ import annotations

from dataclasses import field
from typing import Literal

from thrum.config.gates import SafetyTarget
from thrum.config.ranges import Count, Limit
from thrum.fence import PROTECTED
from thrum.gate import Command, Obligations
from thrum.values import dataclass


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
    """Patterns of paths; a change to one of them is listed first, and treated as `protected_change` says. Four entries
    are none: `<links and submodules>`, `<modules of Python>`, `<scripts of commands>` and `<obligations>`."""
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
    """A file with what every agent is told of it."""
    safety_target: SafetyTarget = "Qm"
    host: str = ""
    """The host whose actors own this repository; empty means the one of `thrum up`. Its path holds there alone: from
    another host its commits are asked for over the bus."""
    mount_paths: tuple[str, ...] = ()
    """Host paths that the agents and checks of this repository may read, beside those of `[sandbox]`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReposConfig:
    """`configs/repos.toml`"""

    repo: tuple[RepoConfig, ...] = ()
