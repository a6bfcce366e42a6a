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
from tests.repositories import commit, git, write
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
    """All that lies in `.thrum/`, but for what is the agents' own: trees that they and checks work in, with what git
    keeps of them, and the folders of their sessions."""
    found = {}
    for path in (directory / ".thrum").rglob("*"):
        inner = path.relative_to(directory / ".thrum")
        theirs = {"tree", "state", "sessions"}.intersection(inner.parts[:-1])
        if path.is_file() and not theirs and inner.parts[0] != "store":
            found[str(inner)] = path.read_bytes().decode(errors="replace")
    for path in (directory / ".thrum/store").iterdir():
        store = plyvel.DB(str(path))
        found |= {f"{path.name}: {key!r}": value.decode(errors="replace") for key, value in store}
        store.close()
    return found


def configured(directory: Path, agent: str, *, setup: str = "true", check: str = CHECK) -> ThrumProject:
    """A project whose agent knows two of the secrets, and whose checks and setup know the third."""
    project = ThrumProject(directory)
    write(project.repo, {"report.py": REPORT})
    commit(project.repo, {})
    commands = {"setup_cmd": setup, "test_cmd": check, "test_junit": "report.xml", "protected_change": "allow"}
    project.configure(repo="\n".join(f"{key} = {json.dumps(value)}" for key, value in commands.items()))
    configuration = directory / "configs/pipeline.toml"
    text = configuration.read_text().partition("[[backends]]")[0]
    text = text.replace('backend = "none"', 'backend = "none"\npass_env = ["SIGNING_KEY"]')
    named = 'name = "planter"\napi_key_env = "MODEL_KEY"\npass_env = ["DEPLOY_TOKEN"]'
    configuration.write_text(f"{text}[[backends]]\n{named}\n{agent}\n")
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


@pytest.mark.timeout(400)
def test_a_planted_secret_is_in_nothing_that_is_kept_or_shown_and_lands_on_a_word_of_its_own(
    tmp_path: Path,
) -> None:
    (tmp_path / "agent.py").write_text(AGENT)
    project = configured(tmp_path, f'command = "python3"\nprompt_args = ["{tmp_path}/agent.py", "{{prompt}}"]')
    asked = ("task", "add", "--title", f"Plant {TOKEN}", "--description", f"with {KEY}")
    task = project.command(*asked, **VARIABLES).out.strip()
    project.command("run", code=4, **VARIABLES)
    project.command("task", "reject", task, "--feedback", f"again, with {TOKEN}", **VARIABLES)
    project.command("run", code=4, **VARIABLES)
    project.json("up", "--detach", **VARIABLES)
    try:
        shown, answered = told(project, task), replies(project, task)
    finally:
        project.command("down", "--now")
    head = json.loads(shown[f"task show {task} --json"])["attempts"][0]["head"]
    gated = project.command("gate", "run", "--repo", "demo", "--commit", head, "--json", code=3, **VARIABLES)
    shown["gate run"] = gated.out + gated.err
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
    assert git(project.repo, "log", "-1", "--format=%s", "main") == f"Plant {MASKED}"


GREEN = """printf '<testsuite><testcase name="t"/></testsuite>' > report.xml"""
STATEFUL = """#!/usr/bin/env python3
import json, os, pathlib
key = os.environ["ANTHROPIC_API_KEY"]
# The end of what it says is kept; it begins within the key.
said = "it is " + key + "." * (8000 - len(key) // 2)
info = {"exit_status": "Submitted", "submission": said}
pathlib.Path(os.environ["MSWEA_GLOBAL_CONFIG_DIR"], "trajectory.json").write_text(json.dumps({"info": info}))
pathlib.Path("notes.txt").write_text("done")
"""


@pytest.mark.timeout(400)
def test_what_a_setup_prints_and_what_a_program_writes_beside_its_output_show_no_secret(tmp_path: Path) -> None:
    program = tmp_path / "mini"
    program.write_text(STATEFUL)
    program.chmod(0o755)
    setup = f'echo "$SIGNING_KEY"; test -e {tmp_path}/ready'
    project = configured(tmp_path, f'preset = "mini-swe-agent"\ncommand = "{program}"', setup=setup, check=GREEN)
    # Nothing is known of any secret when the task is added.
    task = project.add(f"Use {TOKEN}", "--description", f"and {KEY}")
    shown = {"added": project.command("task", "show", task, **VARIABLES).out}
    assert project.command("run", code=1, **VARIABLES)
    shown["without a setup"] = project.command("task", "show", task, "--json", **VARIABLES).out
    assert "setup_cmd of demo failed" in shown["without a setup"]
    (tmp_path / "ready").touch()
    project.command("task", "retry", task, **VARIABLES)
    project.command("run", code=4, **VARIABLES)
    shown["ended"] = project.command("task", "show", task, "--json", **VARIABLES).out
    assert json.loads(shown["ended"])["attempts"][-1]["tail"].endswith("...")
    assert all(MASKED in text for text in shown.values())
    assert leaking(shown) == []
    assert KEY[-len(KEY) // 2 + 1 :] not in shown["ended"]
    assert leaking({name: text for name, text in kept(tmp_path).items() if not name.startswith("demo: ")}) == []
    project.command("task", "approve", task, **VARIABLES)
    project.command("run", **VARIABLES)
    assert git(project.repo, "log", "-1", "--format=%s", "main") == f"Use {MASKED}"
