"""The docker engine, by its command line: what it is, which images it has, and how containers of ours are removed.

A container of ours has two labels: whose it is, by the sandbox's name, and of which life of that owner.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import time
from collections.abc import Iterable
from typing import Any

from thrum.errors import SandboxError
from thrum.values import dataclass

log = logging.getLogger(__name__)

OWNER = "thrum.owner"
LIFE = "thrum.life"
"""The names of the labels."""

_ANSWER_S = 60.0
_MEANS = {"memory": "MemoryLimit", "cpu": "CpuCfsQuota", "pids": "PidsLimit"}
"""What an engine says of the limits that its machine can set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A docker engine that answered, through the client at `client`."""

    client: str
    version: str
    binding: frozenset[str]
    """Those of `memory`, `cpu` and `pids` that it can limit."""
    processors: int
    """How many there are; it refuses a limit above."""

    def image(self, name: str) -> str:
        """The id of a local image.

        Raises:
            SandboxError: there is none of that name here.
        """
        done = self.ask("image", "inspect", "--format", "{{.Id}}", name)
        if done.returncode:
            raise SandboxError(
                f"the engine has no image {name!r}, and Thrum pulls none",
                output=done.stderr,
                remedy=f"fetch it (docker pull {name}) or build it (docker build -t {name} .), or correct the name",
            )
        return done.stdout.strip()

    def process(self, container: str) -> int:
        """The id of the container's first process on this machine.

        Raises:
            SandboxError: it does not run, or on another machine (as an engine in a virtual machine does).
        """
        done = self.ask("inspect", "--format", "{{.Id}} {{.State.Pid}}", container)
        identity, _, pid = done.stdout.strip().partition(" ")
        if done.returncode or not pid.isdecimal() or pid == "0":
            raise SandboxError(f"the container {container} does not run: {_line(done.stderr)}")
        try:
            with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="replace") as file:
                if identity in file.read():
                    return int(pid)
        except OSError:
            pass
        raise SandboxError("the engine's containers do not run on this machine, so that no allow list can be served")

    def ran_out_of_memory(self, container: str, since_s: float) -> bool:
        """Whether the kernel killed a process of the container for memory after that Unix time; it may be gone."""
        until = f"{time.time():.3f}"
        only = ("--filter", f"container={container}", "--filter", "event=oom", "--format", "{{.Time}}")
        return bool(self.ask("events", "--since", f"{since_s:.3f}", "--until", until, *only).stdout.strip())

    def remove(self, *containers: str) -> None:
        """Kill and remove the containers; those that are not there are no error.

        Raises:
            SandboxError: one is still there.
        """
        if not containers:
            return
        done = self.ask("rm", "--force", "--volumes", *containers)
        said = [line for line in done.stderr.splitlines() if line.strip() and "no such container" not in line.lower()]
        # Whoever else removes it is as good: its own end does that, too.
        if done.returncode and any("is already in progress" not in line for line in said):
            raise SandboxError(f"a container cannot be removed: {said[-1]}", remedy="look at it with docker ps --all")

    def labelled(self, label: str, value: str) -> tuple[str, ...]:
        """The ids of all containers with this label, running or not."""
        done = self.ask("ps", "--all", "--quiet", "--no-trunc", "--filter", f"label={label}={value}")
        if done.returncode:
            raise SandboxError(f"the docker engine does not list its containers: {_line(done.stderr)}")
        return tuple(done.stdout.split())

    def ask(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """What the client says.

        Raises:
            SandboxError: it says nothing in time.
        """
        return _ask(self.client, *arguments)


def find_engine() -> Engine:
    """The engine that the environment's docker client talks to.

    Raises:
        SandboxError: there is no client, or no engine answers it, or one that cannot serve us.
    """
    client = shutil.which("docker")
    if client is None:
        raise SandboxError(
            "the sandbox 'docker' needs docker, and there is no `docker` on PATH",
            remedy="install it (apt install docker.io), or set another [sandbox] backend",
        )
    done = _ask(client, "info", "--format", "{{json .}}")
    told: dict[str, Any] = {}
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            told = json.loads(line)
    problems = told.get("ServerErrors") or []
    if not told.get("ServerVersion") or problems:
        why = problems[0] if problems else _line(done.stderr)
        raise SandboxError(
            f"no docker engine answers: {why or 'the client names no version of one'}",
            command=(client, "info"),
            output=done.stderr,
            remedy="start the engine, let this user reach it (the group `docker`), or set DOCKER_HOST",
        )
    options = told.get("SecurityOptions") or []
    for sign, what in (("rootless", "runs rootless"), ("userns", "maps users")):
        if any(f"name={sign}" in option for option in options):
            raise SandboxError(
                f"the docker engine {what}: what a container writes into a work tree would belong to a stranger",
                remedy='use an engine that runs as root, or set backend = "os-native"',
            )
    if told.get("OSType", "linux") != "linux":
        raise SandboxError(f"the docker engine runs containers of {told['OSType']}, and Thrum needs Linux")
    return Engine(
        client=os.path.realpath(client),
        version=str(told["ServerVersion"]),
        binding=frozenset(name for name, sign in _MEANS.items() if told.get(sign)),
        processors=int(told.get("NCPU") or 1),
    )


def remove_owned(owners: Iterable[str]) -> int:
    """Kill and remove the containers of all these owners, whatever their life; how many there were.

    Raises:
        SandboxError: no engine answers, or a container cannot be removed.
    """
    engine = find_engine()
    found = tuple(one for owner in owners for one in engine.labelled(OWNER, owner))
    engine.remove(*found)
    return len(found)


def _ask(client: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            (client, *arguments),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_ANSWER_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise SandboxError(
            f"`docker {arguments[0]}` does not answer within {_ANSWER_S:g} s", remedy="look after the engine"
        ) from None
    except OSError as error:
        raise SandboxError(f"docker cannot be started: {error}") from error


def _line(text: str) -> str:
    """The first line that says something."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")
