"""The agents' programs on this machine, for `thrum doctor`: where they are, in which version, and with a key or not.

A program is run only if a preset says how it tells its version, and then as an agent is: in the sandbox, without the
network and without anything of the environment. Any other may do whatever it likes when it is started: it is looked
for, and left alone.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from thrum.agents import key_variables, preset_of
from thrum.backends import PRESETS, Preset
from thrum.config import BackendConfig, SandboxConfig
from thrum.configfile import load
from thrum.detection.toolchain import mounts_for
from thrum.errors import SandboxError, ThrumError
from thrum.job import Job
from thrum.sandbox import open_sandbox
from thrum.values import dataclass

ASKED_S = 20.0
"""How long a program may take to say its version."""

_VERSION = re.compile(r"\d+(?:\.\d+)+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What is to be said of one agent, or of several that are not there."""

    name: str
    ok: bool
    text: str


def sights(directory: Path | None) -> Iterator[Sight]:
    """The agents of the project in that directory, and those that we know and this machine has."""
    try:
        configured = load(directory).pipeline.backends if directory else ()
    except ThrumError:
        configured = ()  # `thrum check` says what is wrong with it
    yours = [backend for backend in configured if backend.enabled and backend.type == "agent"]
    used = {backend.preset for backend in configured}
    others = [known for known in PRESETS.values() if known.program and known.name not in used]
    found = [
        BackendConfig(name=known.name, preset=known.name, command=known.program)
        for known in others
        if shutil.which(known.program)
    ]
    with ThreadPoolExecutor() as pool:  # most of them take a second or two to say a word
        yield from pool.map(lambda backend: _sight(backend, needs_key=backend in yours), (*yours, *found))
    if missing := [known.name for known in others if not shutil.which(known.program)]:
        # Of a project's own agents each is told; that one has no others is no lack.
        yield Sight(name="other agents", ok=bool(yours), text=f"not on your PATH: {', '.join(missing)}")


def _sight(backend: BackendConfig, *, needs_key: bool) -> Sight:
    name, path = f"agent {backend.name}", shutil.which(backend.command)
    if path is None:
        return Sight(name=name, ok=False, text=f"{backend.command} is not found")
    keys = key_variables(backend)
    has = next((key for key in keys if os.environ.get(key)), "")
    told = [f"{_version_told(path, preset_of(backend))} ({path})"]
    if keys:
        told.append(f"{has} is set" if has else f"no key is set ({' or '.join(keys)})")
    return Sight(name=name, ok=bool(has) or not keys or not needs_key, text="; ".join(told))


def _version_told(path: str, known: Preset | None) -> str:
    if known is None:
        return "found"
    try:
        version = _version(os.path.abspath(path), known)
    except SandboxError:
        return "found; without the sandbox os-native it is not asked for its version"
    if not version:
        return "does not tell its version"
    return version if version == known.tried_with else f"{version}, tried with {known.tried_with}"


def _version(path: str, known: Preset) -> str:
    """What the program says its version is; empty where it does not, or not in time.

    Raises:
        SandboxError: there is no sandbox to ask it in.
    """
    # A limit that does not bind here is no reason not to ask: it is a moment's work.
    config = SandboxConfig(limits="best-effort", mount_paths=mounts_for(path))
    with (
        tempfile.TemporaryDirectory(prefix="thrum-doctor-") as state,
        open_sandbox(config, name=f"thrum-doctor-{os.getpid()}-{known.name}") as box,
    ):
        if box.uid is not None:
            os.chown(state, box.uid, box.uid)
        # As root, it is we who enter it, without the right to enter what is another's.
        os.chmod(state, 0o755)
        env = {known.state_env: state} if known.state_env else {}
        outcome = box.run(Job(argv=(path, *known.version_args), cwd=state, env=env, writable=(state,), wall_s=ASKED_S))
    found = _VERSION.search(outcome.tail)
    return found[0] if found and outcome.ok else ""
