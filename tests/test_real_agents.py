"""The real agent programs: certified, and from `task add` to merged, with one failed gate in between.

Each runs in the os-native sandbox, against a scripted model on loopback, which is all of the network that it reaches.
`scripts/install-agents` installs them; `scripts/test-agents` runs this with all of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.projects import environment
from tests.repositories import git, make_repository
from tests.requirements import needs
from thrum.backends import PRESETS
from thrum.detection.toolchain import mounts_for
from thrum.scripted import ModelServer, Step, is_beside, only, plan, run, say, write

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "thrum-agents"
ALWAYS = ("claude-code", "codex")
"""Those that continuous integration installs; the others only `scripts/test-agents`."""
ABOUT = "Colours are kept in files of one line."
MODELS = {"codex": "gpt-5-codex", "gemini": "gemini-2.5-pro", "claude-code": "claude-sonnet-4-5"}


def program(name: str) -> Path | None:
    """Where the preset's program was installed; None if it was not."""
    found = (CACHE / name / folder / PRESETS[name].program for folder in ("node_modules/.bin", "bin"))
    return next((path for path in found if path.exists()), None)


def agents() -> list[Any]:
    """Every preset with a program. One that is not installed is skipped, unless it must be there; and where
    THRUM_TEST_AGENTS names some, the others are."""
    named = os.environ.get("THRUM_TEST_AGENTS", "").split()
    demanded = named or (ALWAYS if os.environ.get("THRUM_TEST_REQUIRE_ALL") == "1" else ())
    chosen = []
    for name in (one.name for one in PRESETS.values() if one.program):
        reason = "" if program(name) or name in demanded else "not installed: scripts/install-agents"
        reason = reason if name in named or not named else "not asked for"
        chosen.append(pytest.param(name, marks=[pytest.mark.skip(f"{name}: {reason}")] if reason else []))
    return chosen


class AgentProject:
    """A project with one repository and one backend of a preset, which reaches a scripted model."""

    def __init__(self, directory: Path, preset: str, model: ModelServer) -> None:
        self.directory = directory
        self.repo = make_repository(directory / "demo")
        found = program(preset)
        assert found is not None, f"{preset} is not installed: scripts/install-agents {preset}"
        key = next(iter(PRESETS[preset].keys))
        (directory / "configs").mkdir()
        lint = "! tail -qn 1 colour.txt | grep -q red || { echo 'the colour is red, and must be green'; exit 1; }"
        (directory / "configs/repos.toml").write_text(
            f'[[repo]]\nname = "demo"\npath = "demo"\nlint_cmd = {json.dumps(lint)}\nclaude_md = "about.md"\n'
        )
        (directory / "about.md").write_text(f"{ABOUT}\n")
        (directory / "configs/pipeline.toml").write_text(f"""
[sandbox]
backend = "os-native"
memory_limit_mb = 2048

[[backends]]
name = "agent"
preset = {json.dumps(preset)}
command = {json.dumps(str(found))}
model = {json.dumps(MODELS.get(preset, "anthropic/claude-sonnet-4-5"))}
base_url = {json.dumps(model.url)}
mount_paths = {json.dumps(mounts_for(str(found)))}
timeout_secs = 90
""")
        self._variables = {key: "sk-scripted-0123456789"}

    def thrum(self, *args: str, code: int) -> str:
        """What `thrum ARGS` prints."""
        ran = subprocess.run(
            [sys.executable, "-m", "thrum", *args],
            cwd=self.directory,
            env=environment(self._variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert ran.returncode == code, f"thrum {' '.join(args)}: {ran.returncode}\n{ran.stdout}\n{ran.stderr}"
        return ran.stdout

    def task(self, task: str) -> Any:
        """The task as JSON."""
        return json.loads(self.thrum("task", "show", task, "--json", code=0))


def painting(preset: str) -> tuple[Step, ...]:
    """What the model does: red at first, green once it was told."""
    if preset != "aider":
        return (run("if [ -e colour.txt ]; then echo green > colour.txt; else echo red > colour.txt; fi"),)
    # It has no shell: the model's answers hold whole files.
    told = "must be green"
    return only(write("colour.txt", "green\n"), when=told), only(write("colour.txt", "red\n"), unless=told)


@needs("bwrap")
@pytest.mark.timeout(400)
@pytest.mark.parametrize("preset", agents())
def test_it_does_a_task_mends_what_a_gate_found_and_is_merged(tmp_path: Path, preset: str) -> None:
    with ModelServer() as model:
        project = AgentProject(tmp_path, preset, model)
        description = "Paint colour.txt.\n" + plan(*painting(preset), say("It is painted."))
        task = project.thrum("task", "add", "--title", "A colour", "--description", description, code=0).strip()
        project.thrum("run", code=4)
        view = project.task(task)
        assert [attempt["ending"] for attempt in view["attempts"]] == ["finished", "finished"], view
        assert [attempt["failure"] for attempt in view["attempts"]] == [None, None]
        assert [setback["cause"] for setback in view["setbacks"]] == ["gate"]
        assert any("the colour is red, and must be green" in asked.prompt for asked in model.asked)
        runs = [asked for asked in model.asked if not is_beside(asked)]
        assert all(ABOUT in "\n".join((asked.system, *(turn.text for turn in asked.turns))) for asked in runs)
        told = json.loads(project.thrum("task", "prompt", task, "--json", code=0))
        part = "prompt" if preset == "mini-swe-agent" else "system_prompt"
        assert [name for name in ("system_prompt", "prompt") if ABOUT in told[name]] == [part]
        project.thrum("task", "approve", task, code=0)
        project.thrum("run", code=0)
        assert project.task(task)["state"] == "merged"
        assert git(project.repo, "show", "main:colour.txt").splitlines()[-1] == "green"
        assert git(project.repo, "diff", "--name-only", "main~1", "main") == "colour.txt", "it left no litter"
        assert model.unknown == [], "it reached for something else"


@needs("bwrap")
@pytest.mark.timeout(900)
@pytest.mark.parametrize("preset", agents())
def test_it_is_certified(tmp_path: Path, preset: str) -> None:
    found = program(preset)
    assert found is not None, f"{preset} is not installed: scripts/install-agents {preset}"
    # All situations take more than a minute each program: those of scripts/test-agents.
    some = ("does-the-task", "is-killed-and-resumed", "hits-a-rate-limit", "leaves-a-child-behind")
    only = () if os.environ.get("THRUM_TEST_AGENTS") else [word for name in some for word in ("--only", name)]
    ran = subprocess.run(
        [sys.executable, "-m", "thrum", "backend", "certify", preset, "--command", str(found), "--json", *only],
        cwd=tmp_path,
        env=environment({}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=880,
    )
    assert ran.returncode in (0, 1), ran.stderr
    told = json.loads(ran.stdout)
    assert {one["name"]: one["reasons"] for one in told["situations"] if one["verdict"] != "held"} == {}
    assert told["version"], "which program that was"
