"""The README holds what it says: its quick start runs, its configuration loads, its links lead somewhere."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.repositories import git, make_repository
from thrum.config import PipelineConfig, RepoConfig, ReposConfig
from thrum.errors import Exit
from thrum.records import from_plain

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()

AGENT = r"""#!/bin/sh
# Called as Claude Code is: -p and options, with the prompt as standard input; it says how it went as that does.
prompt=$(cat)
case $prompt in
*"Greet people by name"*) printf 'def greet(name="world"):\n    return f"Hello, {name}!"\n' >greetings.py ;;
*"Say goodbye, too"*) printf '\n\ndef goodbye():\n    return "Goodbye!"\n' >>greetings.py ;;
esac
echo '{"type": "result", "subtype": "success", "is_error": false, "result": "done", "total_cost_usd": 0.01}'
"""
REPOSITORY = {
    "pyproject.toml": '[project]\nname = "my-project"\nversion = "1"\n',
    "greetings.py": 'def greet():\n    return "Hello, world!"\n',
    "tests/test_greetings.py": (
        "import unittest\n\nfrom greetings import greet\n\n\n"
        "class GreetingTest(unittest.TestCase):\n"
        "    def test_the_world_is_greeted(self):\n"
        '        self.assertEqual(greet(), "Hello, world!")\n'
    ),
}


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def quick_start() -> list[str]:
    return blocks("sh", README.partition("<!-- The commands of the next three blocks")[2].partition("\n## ")[0])


def script_of(commands: str) -> str:
    """The commands as they stand, each of which must succeed, or say that what is left waits for approval."""
    lines = [f"{line} || [ $? = {Exit.AWAITING_APPROVAL:d} ]" for line in commands.splitlines()]
    return "\n".join(["set -ex", *lines])


def test_the_quick_start_brings_a_task_to_main(tmp_path: Path, shell_env: dict[str, str]) -> None:
    repository = make_repository(tmp_path / "my-project", REPOSITORY)
    agent = tmp_path / "own" / "bin" / "claude"
    agent.write_text(AGENT)
    agent.chmod(0o755)
    begin, one_task, up = quick_start()
    env = {**shell_env, "ANTHROPIC_API_KEY": "none"}

    def shell(commands: str, cwd: Path) -> str:
        ran = subprocess.run(
            ["bash", "-c", script_of(commands)], cwd=cwd, env=env, capture_output=True, text=True, timeout=100
        )
        assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
        return ran.stdout

    shell(begin, tmp_path)
    project = tmp_path / "my-thrum"
    try:
        shell(one_task, project)
        assert git(repository, "log", "--first-parent", "--format=%s").splitlines()[0] == "Greet people by name"
        assert "name" in (repository / "greetings.py").read_text()
        shell(up, project)
    finally:
        subprocess.run(["thrum", "--dir", str(project), "down", "--now"], env=env, check=True, timeout=60)
    (merged, waiting) = json.loads(shell("thrum task list --json", project))
    assert (merged["id"], merged["state"]) == ("my-project-1", "merged")
    assert (waiting["id"], waiting["state"]) == ("my-project-2", "awaiting-approval")


def test_the_configuration_in_the_readme_is_accepted() -> None:
    repos, backends, setup = (tomllib.loads(block) for block in blocks("toml"))
    assert from_plain(ReposConfig, repos).repo[0].name == "my-project"
    assert from_plain(PipelineConfig, backends).backends[1].command == "my-agent"
    assert from_plain(RepoConfig, {"name": "a", "path": "a", **setup}).setup_cmd


def test_the_exit_codes_in_the_readme_are_all_there_are() -> None:
    table = README.partition("## Exit codes")[2].partition("\n## ")[0]
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)] == [code.value for code in Exit]


@pytest.mark.parametrize(
    "document",
    [path for path in sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("*/**/*.md")) if ".venv" not in path.parts],
)
def test_the_links_in_a_document_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", document.read_text())
    assert [link for link in links if not os.path.exists(document.parent / link)] == []
