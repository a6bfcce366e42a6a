"""Planted secrets, followed through whole attempts: they are in nothing kept or shown, and none lands unseen."""

from __future__ import annotations

import base64
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import plyvel
import pytest

from tests.projects import ThrumProject
from tests.repositories import git
from thrum.masking import MASKED

KEY = 'sk-"planted"/\\0123456789'
TOKEN = "ghp_PlantedInAVariable42"
PEM = f"-----BEGIN KEY-----\n{'MIIPlanted' * 6}\n{'sECretLine' * 6}\n-----END KEY-----\n"
VARIABLES = {"MODEL_KEY": KEY, "DEPLOY_TOKEN": TOKEN, "SIGNING_KEY": PEM}

AGENT = r"""
import base64, json, os, subprocess, sys
key, token, pem = (os.environ[name] for name in ("MODEL_KEY", "DEPLOY_TOKEN", "SIGNING_KEY"))
print("the key is", key, flush=True)
for part in (token[:5], token[5:], "\n"):
    os.write(1, part.encode())
print("whole:", pem, flush=True)
text = {"type": "text", "text": f"I found {key} and {json.dumps(pem)}"}
print(json.dumps({"type": "assistant", "message": {"content": [text]}}), flush=True)
print("Authorization: Basic", base64.b64encode(f"me:{key}".encode()).decode(), file=sys.stderr, flush=True)
def git(*args):
    subprocess.run(["git", *args], check=True)
if os.path.exists("key.txt"):
    open("colour.txt", "w").write("green")
    open("notes.txt", "a").write("again\n")
else:
    open("colour.txt", "w").write("red")
    open("passing.txt", "w").write(pem)
    git("add", ".")
    git("commit", "--quiet", "-m", f"Use {token}", "--author", f"Eve {token} <eve@example.invalid>")
    os.unlink("passing.txt")
    open("key.txt", "w").write(key)
    open(f"{token}.txt", "w").write("a name")
print("it failed with", key, file=sys.stderr)
print(json.dumps({"result": f"all about {key} and {token}", "session_id": token}))
sys.exit(3)
"""
CHECK = "cat key.txt; git log --format='%an %B'; ls; python3 report.py; grep -q green colour.txt"
REPORT = """
import html, os
name = html.escape(open("key.txt").read())
bad = "<failure>no</failure>" if "green" not in open("colour.txt").read() else ""
open("report.xml", "w").write(f'<testsuite><testcase classname="c" name="{name}">{bad}</testcase></testsuite>')
"""


def spellings() -> Iterator[str]:
    for secret in (KEY, TOKEN, *PEM.split("\n")[1:3]):
        yield secret
        yield json.dumps(secret)[1:-1]
        yield json.dumps(json.dumps(secret))[3:-3]
        yield quote(secret)
        yield base64.b64encode(secret.encode()).decode()[:-4]
        yield base64.b64encode(f"me:{secret}".encode()).decode()[4:-4]


def leaking(texts: dict[str, str]) -> list[tuple[str, str]]:
    return [(name, secret) for name, text in texts.items() for secret in spellings() if secret in text]


def kept(directory: Path) -> dict[str, str]:
    """All that lies in `.thrum/`, but for the trees that agents and checks work in, with what git keeps of them."""
    found = {}
    for path in (directory / ".thrum").rglob("*"):
        inner = path.relative_to(directory / ".thrum")
        trees = {"tree", "state"}.intersection(inner.parts[:-1])
        if path.is_file() and not trees and inner.parts[0] != "store":
            found[str(inner)] = path.read_bytes().decode(errors="replace")
    for path in (directory / ".thrum/store").iterdir():
        store = plyvel.DB(str(path))
        found |= {f"{path.name}: {key!r}": value.decode(errors="replace") for key, value in store}
        store.close()
    return found


def planted(directory: Path, *, check: str = CHECK, setup: str = "true", pipeline: str = "") -> ThrumProject:
    project = ThrumProject(directory)
    (directory / "demo/report.py").write_text(REPORT)
    git(directory / "demo", "add", ".")
    git(directory / "demo", "commit", "--quiet", "-m", "Report")
    project.configure(
        repo=f'setup_cmd = {json.dumps(setup)}\nprotected_change = "allow"\ntest_cmd = {json.dumps(check)}\n'
        'test_junit = "report.xml"'
    )
    configuration = directory / "configs/pipeline.toml"
    (directory / "agent.py").write_text(AGENT)
    before = configuration.read_text().partition("[[backends]]")[0]
    agent = f'prompt_args = ["{directory}/agent.py", "{{prompt}}"]\npass_env = ["DEPLOY_TOKEN"]\n'
    backend = f'[[backends]]\nname = "planter"\ntype = "agent"\ncommand = "python3"\napi_key_env = "MODEL_KEY"\n{agent}'
    before = before.replace('backend = "none"', 'backend = "none"\npass_env = ["SIGNING_KEY"]')
    configuration.write_text(f"{before}{backend}{pipeline}")
    return project


def told(project: ThrumProject, task: str) -> dict[str, str]:
    """Everything that the command line says of the task."""
    asked = [
        *(("task", "show", task, *more) for more in ((), ("--json",))),
        *(("task", "log", task, "--attempt", *more) for more in (("1", "--raw"), ("2",))),
        ("task", "prompt", task, "--attempt", "2"),
        ("task", "diff", task, "--attempt", "1"),
        *(("task", "export", task, "--format", form) for form in ("md", "html", "json")),
    ]
    return {" ".join(args): project.command(*args, **VARIABLES).out for args in asked}


def replies(project: ThrumProject, task: str) -> dict[str, str]:
    """Everything that the API says of the task."""
    state = project.directory / ".thrum"
    address, token = (state / "api").read_text().strip(), (state / "token").read_text().strip()
    found = {}
    for path in (
        "/status",
        "/tasks",
        *(f"/tasks/{task}{more}" for more in ("", "/diff", "/diff?attempt=1", "/history")),
    ):
        asked = urllib.request.Request(f"{address}{path}", headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(asked, timeout=60) as reply:
            found[path] = reply.read().decode()
    return found


@pytest.fixture
def project(tmp_path: Path) -> ThrumProject:
    return planted(tmp_path)


def added(project: ThrumProject) -> str:
    args = ("task", "add", "--title", f"Plant {TOKEN}", "--description", f"with {KEY}")
    return project.command(*args, **VARIABLES).out.strip()


def test_a_planted_secret_is_in_nothing_that_is_kept_or_shown_and_lands_on_a_word_of_its_own(
    project: ThrumProject,
) -> None:
    task = added(project)
    project.command("run", code=4, **VARIABLES)
    project.command("task", "reject", task, "--feedback", f"again, with {TOKEN}", **VARIABLES)
    project.command("run", code=4, **VARIABLES)
    project.json("up", "--detach", **VARIABLES)
    try:
        shown, answered = told(project, task), replies(project, task)
    finally:
        project.command("down", "--now")
    refused = project.command("task", "approve", task, code=1, **VARIABLES)
    shown["approve"] = refused.out + refused.err
    view = json.loads(shown[f"task show {task} --json"])
    first, *_, last = view["attempts"]
    assert {*first["leaks"]} == {"key.txt", f"{MASKED}.txt", "passing.txt"} | {
        one for one in first["leaks"] if "commit" in one
    }
    assert len(first["leaks"]) == 4
    assert all(one in refused.err for one in last["leaks"])
    for name, text in {**shown, **answered}.items():
        assert MASKED in text or name == "/status", f"{name} shows nothing of what was planted"
    assert leaking(shown) == []
    assert leaking(answered) == []
    assert leaking(kept(project.directory)) == []
    project.command("task", "approve", task, "--including-protected", **VARIABLES)
    project.command("run", **VARIABLES)
    assert TOKEN not in git(project.directory / "demo", "log", "-1", "--format=%B", "main")
