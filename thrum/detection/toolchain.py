"""Where programs are on this machine, and which paths a sandbox must show for them to run inside.

The paths are good guesses from how tools are installed (virtual environments, pyenv, rustup, nvm, npm, pipx);
only running the tool proves them. Nothing is run here.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from thrum.findings import Sighting
from thrum.sandbox.mounts import SYSTEM, visible

_LINKS = 10
"""How far from script to interpreter to environment to base interpreter we follow."""


def sight(program: str, mount_paths: tuple[str, ...], *, environ: Mapping[str, str] | None = None) -> Sighting:
    """Where the program is for us, where for a sandbox with these mount_paths, and which of them would show ours.

    A sandbox looks where we look, as far as it sees those folders.
    """
    environ = os.environ if environ is None else environ
    path = environ.get("PATH", os.defpath)
    host = shutil.which(program, path=path) or ""
    roots = (*SYSTEM, *mount_paths)
    inner = ":".join(entry for entry in path.split(":") if os.path.isabs(entry) and visible(entry, roots))
    # An absolute program is looked for as it is, whatever the PATH.
    inside = shutil.which(program, path=inner) if inner or "/" in program else None
    if inside is None or not visible(inside, roots):
        inside = ""
    hidden = bool(host) and not (visible(host, roots) and visible(os.path.dirname(host), roots))
    return Sighting(host=host, inside=inside, mounts=mounts_for(host, environ=environ) if hidden else ())


def mounts_for(program: str, *, environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """The paths outside of the system that a program (given by its absolute path) needs to run, outermost only."""
    environ = os.environ if environ is None else environ
    found: set[str] = set()
    queue = [program]
    for _ in range(_LINKS):
        if not queue:
            break
        one = queue.pop()
        for path in {one, os.path.realpath(one)}:
            if visible(os.path.dirname(path), SYSTEM):
                continue
            root = _root(Path(path))
            found.add(str(root))
            queue += _base_interpreter(root)
            if _is_rustup(root):
                found.add(environ.get("RUSTUP_HOME") or str(root.parent.parent / ".rustup"))
        queue += _interpreter(one, environ.get("PATH", os.defpath))
    return outermost(found)


def outermost(paths: Iterable[str]) -> tuple[str, ...]:
    """The paths without those that lie in another of them, sorted."""
    kept: list[str] = []
    for path in sorted(set(paths)):
        if not any(path.startswith(other.rstrip("/") + "/") for other in kept):
            kept.append(path)
    return tuple(kept)


def tool_variables(mounts: Iterable[str]) -> dict[str, str]:
    """The variables by which tools in these paths find what they otherwise look for in HOME."""
    rustup = [path for path in mounts if os.path.basename(path.rstrip("/")) == ".rustup"]
    return {"RUSTUP_HOME": rustup[0]} if rustup else {}


def _root(program: Path) -> Path:
    """The folder that holds the program with all that belongs to it; its own folder where that cannot be told."""
    folder = program.parent
    prefix = folder.parent
    modules = [parent for parent in program.parents if parent.name == "node_modules"]
    if modules:  # what a package needs lies beside it
        return modules[-1]
    if folder.name == "shims" and (prefix / "versions").is_dir():
        return prefix
    if folder.name != "bin":
        return folder
    if (prefix / "pyvenv.cfg").is_file():
        return prefix
    # ~/.local and ~/.cargo can have the same layout, but hold what is nobody else's business.
    own = (prefix / "lib").is_dir() and not prefix.name.startswith(".") and prefix != Path.home()
    return prefix if own else folder


def _is_rustup(root: Path) -> bool:
    return root.name == "bin" and root.parent.name == ".cargo" and (root / "rustup").exists()


def _base_interpreter(root: Path) -> list[str]:
    """The interpreter that a virtual environment was made with, which it cannot run without."""
    try:
        lines = (root / "pyvenv.cfg").read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    values = {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines)}
    return [os.path.join(values["home"], "python3")] if "home" in values else []


def _interpreter(script: str, path: str) -> list[str]:
    """The program that a script's first line names, if it is a script."""
    try:
        with open(script, "rb") as file:
            line = file.readline(256)
    except OSError:
        return []
    if not line.startswith(b"#!"):
        return []
    words = line[2:].decode(errors="replace").split()
    if len(words) > 1 and os.path.basename(words[0]) == "env":
        found = shutil.which(next((word for word in words[1:] if not word.startswith("-")), ""), path=path)
        return [found] if found else []
    return words[:1]
