"""`scripts/install-agents`: what can be said of it without installing anything."""

from __future__ import annotations

import subprocess
from pathlib import Path

from thrum.backends import PRESETS

SCRIPT = Path(__file__).parent.parent / "scripts" / "install-agents"


def call(*arguments: str, cache: Path) -> subprocess.CompletedProcess[str]:
    """Run the script where there seems to be an npm, which is never called."""
    tools = cache.parent / f"{cache.name}-tools"
    tools.mkdir(exist_ok=True)
    (tools / "npm").write_text("#!/bin/sh\nexit 99\n")
    (tools / "npm").chmod(0o755)
    env = {"PATH": f"{tools}:/usr/bin:/bin", "HOME": str(cache), "XDG_CACHE_HOME": str(cache)}
    command = ["bash", str(SCRIPT), *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)


def test_it_lists_a_program_for_every_preset_at_the_version_that_it_was_tried_with(tmp_path: Path) -> None:
    listed = {line.split()[0]: line.split()[1:] for line in call("--list", cache=tmp_path).stdout.splitlines()}
    presets = {one.name: one for one in PRESETS.values() if one.program}
    assert listed.keys() == presets.keys()
    for name, (version, path) in listed.items():
        assert version == presets[name].tried_with
        assert Path(path).name == presets[name].program
        assert Path(path).is_relative_to(tmp_path / "thrum-agents" / name)


def test_an_unknown_name_is_refused_before_anything_is_installed(tmp_path: Path) -> None:
    told = call("codex", "cloud-code", cache=tmp_path)
    assert told.returncode == 1
    assert "cloud-code" in told.stderr
    assert not list(tmp_path.iterdir())


def test_what_is_installed_is_left_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "thrum-agents" / "codex"
    program = folder / "node_modules" / ".bin" / "codex"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    version = PRESETS["codex"].tried_with
    (folder / "installed").write_text(f"npm @openai/codex@{version} in {folder}\n")
    told = call("codex", cache=tmp_path)
    assert told.returncode == 0, told.stderr
    assert told.stdout.split() == ["codex", version, str(program)]
    assert told.stderr == ""


def test_a_missing_installer_is_named(tmp_path: Path) -> None:
    empty = tmp_path / "bin"
    empty.mkdir()
    for tool in ("bash", "dirname", "basename", "cat", "rm", "mkdir"):
        (empty / tool).symlink_to(f"/usr/bin/{tool}")
    env = {"PATH": str(empty), "HOME": str(tmp_path)}
    for name, missing in (("gemini", "no npm on PATH"), ("codex", "no Python 3.11 or later")):
        told = subprocess.run(["bash", str(SCRIPT), name], env=env, capture_output=True, text=True, timeout=60)
        assert told.returncode == 1
        assert missing in told.stderr


def test_one_that_is_not_on_pypi_is_not_taken_from_there(tmp_path: Path) -> None:
    told = call("--pypi", "gemini", cache=tmp_path)
    assert told.returncode == 1
    assert "gemini comes from npm" in told.stderr
