"""What docker's client is told of one container, as values: who it is, what it may, what it sees of the host.

Pure but for looking at the host's file names and mounts. Nothing here runs docker.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping

from thrum.config import SandboxConfig
from thrum.errors import SandboxError
from thrum.sandbox.mounts import Access, Mount

OWN_PROCESSES = 2
"""Processes of ours in a container, which the limit on processes does not count."""


def isolation(ids: tuple[int, int], *, network: bool) -> list[str]:
    """Options for a container that has nothing but what it is given, its program being this user and group."""
    options = ["--rm", "--interactive", "--pull", "never", "--log-driver", "none", "--no-healthcheck"]
    options += ["--user", "{}:{}".format(*ids), "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    options += ["--read-only", "--ipc", "private", "--hostname", "sandbox", "--entrypoint", "bash"]
    return [*options, "--network", "bridge" if network else "none"]


def limits(config: SandboxConfig, *, binding: Iterable[str], processors: int) -> list[str]:
    """Options for the limits, those that the engine can set; it refuses more processors than there are."""
    options = []
    if config.memory_limit_mb and "memory" in binding:
        # The second counts memory and swap together.
        options += ["--memory", f"{config.memory_limit_mb}m", "--memory-swap", f"{config.memory_limit_mb}m"]
    if config.cpu_limit and "cpu" in binding and config.cpu_limit < processors:
        options += ["--cpus", f"{config.cpu_limit:g}"]
    if config.pids_limit and "pids" in binding:
        options += ["--pids-limit", str(config.pids_limit + OWN_PROCESSES)]
    if config.file_size_limit_mb:
        limit = config.file_size_limit_mb << 20
        options += ["--ulimit", f"fsize={limit}:{limit}"]
    return options


def shown(mounts: Iterable[Mount], *, scratch: Iterable[str], files: Mapping[str, str]) -> list[str]:
    """Options for what is there beside the image: the mounts, empty scratch space, and files of ours by their place.

    Raises:
        SandboxError: docker has no way to mount such a name.
    """
    mounts = tuple(mounts)
    taken = {mount.path for mount in mounts}
    options = []
    for place in scratch:
        if place not in taken:
            options += ["--tmpfs", f"{place}:exec,mode=1777"]
    for place, source in files.items():
        options += _mount("bind", place, source, "readonly")
    for mount in mounts:
        match mount.access:
            case Access.READ:
                options += _mount("bind", mount.path, mount.path, "readonly")
            case Access.WRITE:
                options += _mount("bind", mount.path, mount.path)
            case Access.MASKED if os.path.isdir(mount.path):
                options += _mount("tmpfs", mount.path, "", "tmpfs-mode=0755")
            case Access.MASKED:
                options += _mount("bind", mount.path, os.devnull, "readonly")
    return options


def sealed(mounts: Iterable[Mount], mountinfo: str) -> tuple[Mount, ...]:
    """The mounts, and after them what the host has mounted below those that are for reading (`mountinfo` is the text
    of /proc/self/mountinfo): before version 25 an engine lends that for writing."""
    planned = {mount.path: mount for mount in mounts}
    inner = set()
    for line in mountinfo.splitlines():
        path = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), line.split()[4])
        above = [planned[parent] for parent in _ancestry(path) if parent in planned]
        if path not in planned and above and above[0].access is Access.READ and os.path.exists(path):
            inner.add(path)
    return (*planned.values(), *(Mount(path=path, access=Access.READ) for path in sorted(inner)))


def _ancestry(path: str) -> list[str]:
    """The directories above, nearest first."""
    found = []
    while (parent := os.path.dirname(path)) != path:
        found.append(parent)
        path = parent
    return found


def _mount(kind: str, place: str, source: str, *more: str) -> list[str]:
    """One mount, in the words of docker, which are a line of CSV."""
    if "\n" in place + source or "\r" in place + source:
        raise SandboxError(f"{place!r} cannot be mounted: its name has a line break")
    fields = [f"type={kind}", *([f"source={source}"] if source else []), f"target={place}", *more]
    quoted = ['"{}"'.format(field.replace('"', '""')) if set(field) & set(',"') else field for field in fields]
    return ["--mount", ",".join(quoted)]
