"""`thrum doctor`: what this machine has of what Thrum needs, and which limits bind on it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from thrum.cli import console
from thrum.cli.console import clean, paint
from thrum.cli.program import Command, invocation
from thrum.errors import ConfigError, Exit, ThrumError

Plain = dict[str, Any]

PACKAGES = ("pyzmq", "msgpack", "plyvel", "falcon", "waitress", "click", "psutil")
GIT_AT_LEAST = (2, 38)
"""The first git with `merge-tree --write-tree`."""
TOOLS = {
    "bash": ("runs checks that are given as a string", True),
    "bwrap": ("the sandbox `os-native`", False),
    "docker": ("the sandbox `docker`, with an engine (below)", False),
    "z3": ("SMT obligations in Gate 2", False),
    "coqc": ("proofs in Gate 2", False),
    "coqchk": ("proofs in Gate 2", False),
}
"""What each program is for, and whether nothing works without it."""


@click.command(cls=Command)
def doctor() -> int:
    """Look this machine over: programs, packages, sandbox.

    Works outside of a project too. Exits with 1 if something is missing that Thrum cannot do without.
    """
    rows = [_python(), _git(), *_tools(), _engine(), *_packages()]
    directory = _project()
    sandbox = _sandbox(directory)
    rows += [_sockets(directory or Path.cwd()), _as_row(sandbox), *_agents(directory)]
    bad = any(not row["ok"] and row["needed"] for row in rows)
    if invocation().json:
        project = str(directory) if directory else None
        console.emit({"ok": not bad, "project": project, "rows": rows, "sandbox": sandbox})
    else:
        console.say("\n".join(_told(rows, sandbox)))
    return Exit.FAILED if bad else Exit.DONE


def _row(name: str, ok: bool, text: str, *, needed: bool = True) -> Plain:
    return {"name": name, "ok": ok, "needed": needed, "text": text}


def _python() -> Plain:
    return _row("python", True, f"{platform.python_version()} on {platform.system()} {platform.release()}")


def _git() -> Plain:
    from thrum.git import program as gitprogram

    try:
        version = gitprogram.version()
    except ThrumError as error:
        return _row("git", False, error.message)
    text = ".".join(map(str, version))
    new_enough = version >= GIT_AT_LEAST
    return _row("git", new_enough, text if new_enough else f"{text} is too old: {'.'.join(map(str, GIT_AT_LEAST))}")


def _tools() -> Iterator[Plain]:
    for name, (purpose, needed) in TOOLS.items():
        path = shutil.which(name)
        text = f"{_version(path)} ({path}): {purpose}" if path else f"not found: {purpose}"
        yield _row(name, path is not None, text, needed=needed)


def _agents(directory: Path | None) -> Iterator[Plain]:
    from thrum.cli.agents import sights

    return (_row(sight.name, sight.ok, sight.text, needed=False) for sight in sights(directory))


def _version(path: str) -> str:
    """The first line of what one of `TOOLS` says its version is; it is told nothing but where programs are."""
    try:
        asked = subprocess.run(
            [path, "--version"],
            env={"PATH": os.environ.get("PATH", os.defpath)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=10,
            check=False,
            text=True,
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return "does not tell its version"
    lines = (asked.stdout or asked.stderr).strip().splitlines()
    return lines[0][:80] if lines else "does not tell its version"


def _engine() -> Plain:
    """A client on the PATH is no engine: only one that answers is."""
    from thrum.sandbox.engine import find_engine

    try:
        text = f"docker engine {find_engine().version} answers"
    except ThrumError as error:
        return _row("engine", False, error.message, needed=False)
    return _row("engine", True, text, needed=False)


def _packages() -> Iterator[Plain]:
    for name in PACKAGES:
        try:
            yield _row(name, True, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield _row(name, False, "is not installed")


def _project() -> Path | None:
    from thrum.cli.session import project_directory

    try:
        return project_directory()
    except ConfigError:
        return None


def _sockets(directory: Path) -> Plain:
    from thrum.files import runtime_directory

    try:
        return _row("sockets", True, str(runtime_directory(directory)))
    except ThrumError as error:
        return _row("sockets", False, f"{error.message} ({error.remedy})")


def _sandbox(directory: Path | None) -> Plain:
    """What the project's sandbox, or the default one, says of itself."""
    from thrum.config import SandboxConfig
    from thrum.configfile import load
    from thrum.sandbox import open_sandbox

    try:
        config = load(directory).pipeline.sandbox if directory else SandboxConfig()
        with open_sandbox(config, name=f"thrum-doctor-{os.getpid()}") as sandbox:
            return {"ok": True, "error": "", **sandbox.describe()}
    except ThrumError as error:
        return {"ok": False, "error": error.message + (f" ({error.remedy})" if error.remedy else "")}


def _as_row(sandbox: Plain) -> Plain:
    return _row("sandbox", sandbox["ok"], str(sandbox.get("backend") or sandbox["error"]))


def _told(rows: list[Plain], sandbox: Plain) -> Iterator[str]:
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        mark = paint("ok", "green") if row["ok"] else paint("--", "red" if row["needed"] else "yellow")
        yield f"{mark}  {row['name']:<{width}}  {clean(row['text'])}"
        if row["name"] == "sandbox":
            yield from _sandbox_told(sandbox)


def _sandbox_told(sandbox: Plain) -> Iterator[str]:
    for name, means in sandbox.get("limits", {}).items():
        yield f"      limit {name}: {clean(str(means))}"
    for gap in sandbox.get("gaps", ()):
        yield f"      gap: {clean(gap)}"
