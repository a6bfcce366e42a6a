"""What holds agents and checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Literal

from thrum.config.ranges import Count
from thrum.records import Within
from thrum.values import dataclass


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
    """Whether `setup_cmd` reaches the network. Where a change touches the files that decide on its result, it runs with
    what the agent wrote, before a person has seen that."""
    setup_allow: tuple[str, ...] = ()
    """What of the network `setup_cmd` reaches, as in `allow`: the registries of your packages. Empty: all of it."""
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
