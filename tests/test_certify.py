"""`thrum backend certify`: programs that behave hold every promise, and each way of misbehaving is found out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tests import standin
from tests.projects import Ran, environment
from tests.repositories import make_repository
from tests.requirements import needs
from thrum.certification import SITUATIONS, Course, Result, Verdict
from thrum.certification.ground import scripted_backend
from thrum.certification.workers import Workers
from thrum.config import BackendConfig, PipelineConfig, Project, SandboxConfig
from thrum.detection.toolchain import mounts_for
from thrum.messages.attempts import AttemptReported

NAMES = [situation.name for situation in SITUATIONS]
BY_NAME = {situation.name: situation for situation in SITUATIONS}

GENERIC = r"""
case "$1" in
  *"colour.txt"*) echo green > colour.txt; echo done ;;
  *"half.txt at"*) echo half > half.txt; echo done ;;
  *"whole.txt"*) cat half.txt > whole.txt; echo rest >> whole.txt ;;
  *"print this line: "*) line=${1#*print this line: }; printf '%s\n' "${line%%
*}" ;;
  *) echo "Which colour is wanted?" ;;
esac
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home in which what is written outside is found, and no key of whoever runs the tests."""
    place = tmp_path / "home"
    place.mkdir()
    monkeypatch.setenv("HOME", str(place))
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-the-real-key-of-somebody")
    return place


def project(sandbox: str) -> Project:
    # Whether the limits on memory bind on this machine is not the question here.
    config = SandboxConfig(backend=sandbox, limits="best-effort")  # type: ignore[arg-type]
    return Project(directory="/nowhere", repos=(), pipeline=PipelineConfig(sandbox=config))


def playing_claude(directory: Path, fault: str = "") -> BackendConfig:
    path = str(standin.written(directory, fault))
    return BackendConfig(name="standin", preset="claude-code", command=path, mount_paths=mounts_for(path))


def of_its_own(script: str = GENERIC) -> BackendConfig:
    return BackendConfig(name="own", command="sh", prompt_args=("-c", script, "sh", "{prompt}"))


def results(backend: BackendConfig, *names: str, sandbox: str = "none", limit_s: float = 100) -> dict[str, Result]:
    with Course(project(sandbox), backend, limit_s=limit_s, silence_s=2) as course:
        return {name: course.result(BY_NAME[name]) for name in names or NAMES}


def faults(found: dict[str, Result]) -> dict[str, tuple[str, ...]]:
    return {name: result.reasons for name, result in found.items() if result.verdict is Verdict.DID_NOT_HOLD}


# --- Programs that behave ---------------------------------------------------------------------------------------------


@needs("bwrap")
@pytest.mark.timeout(900)
def test_a_program_that_behaves_holds_every_promise_in_the_sandbox(tmp_path: Path, home: Path) -> None:
    found = results(playing_claude(tmp_path), sandbox="os-native")
    assert faults(found) == {}
    assert {result.verdict for result in found.values()} == {Verdict.HELD}
    assert list(home.iterdir()) == []


@pytest.mark.timeout(900)
def test_without_a_sandbox_it_holds_all_but_the_bounds(tmp_path: Path, home: Path) -> None:
    found = faults(results(playing_claude(tmp_path)))
    assert list(found) == ["edits-outside"]
    told = "\n".join(found["edits-outside"])
    assert f"it wrote outside of its work tree: {home}/thrum-trial-" in told
    assert "refs/heads/outside-" in told
    assert list(home.iterdir()) == [], "what was written outside is removed again"


@needs("bwrap")
@pytest.mark.timeout(900)
def test_of_a_program_without_a_preset_all_is_tried_that_needs_no_script(tmp_path: Path) -> None:
    found = results(of_its_own(), sandbox="os-native")
    assert faults(found) == {}
    skipped = {name for name, result in found.items() if result.verdict is Verdict.NOT_APPLICABLE}
    assert skipped == {"hangs-silently", "exits-0-after-an-error", "hits-a-rate-limit"}
    assert all("cannot be scripted" in found[name].reasons[0] for name in skipped)


# --- Each way to misbehave --------------------------------------------------------------------------------------------

MISBEHAVIOUR = [
    ("does-the-task", "leaves litter", "it left what is no part of the task: notes.tmp"),
    ("does-the-task", "undoes its work", "colour.txt is not among its changes"),
    ("does-the-task", "is mute", "the last words of the model were not read"),
    ("does-the-task", "asks nobody", "it asked the model nothing"),
    ("does-the-task", "takes another key", "it sent a key that it was not given"),
    ("changes-nothing", "leaves litter", "it changed notes.tmp"),
    ("says-no-change-needed", "is mute", "that it needs no change was not understood"),
    ("asks-a-question", "waits for an answer", "it did not end by itself, but timed-out"),
    ("hangs-silently", "chatters", "it was not ended for its silence, but timed-out"),
    ("floods-its-output", "chokes", "it was read as crashed"),
    ("exits-0-after-an-error", "is cheerful", "it was read as a success, not as auth"),
    ("exits-1-after-success", "undoes its work", "colour.txt is not among its changes"),
    ("leaves-a-child-behind", "disowns its children", "a process outlived it: sh -c echo green"),
    ("ignores-sigterm", "cleans up when it is ended", "colour.txt is not among its changes"),
    ("ignores-sigterm", "disowns its children", "a process outlived it"),
    ("commits-on-its-own", "takes its commits back", "its own commit is not in the work, but: Work on trial-"),
    ("hits-a-rate-limit", "is cheerful", "it was read as a success, not as rate-limited"),
    ("is-killed-and-resumed", "forgets", "the second run began anew"),
]


@pytest.mark.parametrize(("name", "fault", "told"), MISBEHAVIOUR)
def test_a_program_that_misbehaves_is_found_out(tmp_path: Path, name: str, fault: str, told: str) -> None:
    waits = fault in ("waits for an answer", "chatters")
    (result,) = results(playing_claude(tmp_path, fault), name, limit_s=6 if waits else 100).values()
    assert result.verdict is Verdict.DID_NOT_HOLD
    assert told in "\n".join(result.reasons)
    assert result.duration_s < 100


def test_every_situation_is_seen_to_fail() -> None:
    assert {name for name, _, _ in MISBEHAVIOUR} | {"edits-outside"} == set(NAMES)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("ignores-sigterm", "it was over before it could be stopped"),
        ("is-killed-and-resumed", "it was over before its worker could be killed"),
    ],
)
def test_a_program_that_is_over_too_early_cannot_be_ended(tmp_path: Path, name: str, told: str) -> None:
    (result,) = results(playing_claude(tmp_path, "asks nobody"), name).values()
    assert any(told in reason for reason in result.reasons)


def test_a_worker_that_is_killed_is_no_worker_that_was_stopped(tmp_path: Path) -> None:
    killed = BY_NAME["is-killed-and-resumed"]
    with Course(project("none"), playing_claude(tmp_path), limit_s=100) as course:
        result = course.result(replace(killed, kills=False))
    assert any("it was not lost with its worker, but stopped" in reason for reason in result.reasons)


def test_an_acknowledgement_that_is_lost_does_not_hold_up_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As where a worker is told to end before it has heard that its report is safe.
    acknowledge, lost = Workers._acknowledge, []

    def losing_the_first(workers: Workers, worker: str, report: AttemptReported) -> None:
        if lost:
            acknowledge(workers, worker, report)
        lost.append(report.token)

    monkeypatch.setattr(Workers, "_acknowledge", losing_the_first)
    assert faults(results(playing_claude(tmp_path), "is-killed-and-resumed")) == {}
    assert lost == [1, 1, 2]


def test_a_program_that_is_not_there_is_told_in_each_situation() -> None:
    gone = BackendConfig(name="gone", preset="claude-code", command="/nowhere/claude")
    (result,) = results(gone, "does-the-task").values()
    assert "it could not be run" in result.reasons[0]


def test_a_situation_that_cannot_be_looked_at_does_not_hold(tmp_path: Path) -> None:
    tar_pit = GENERIC.replace("echo green > colour.txt", "chmod 0 .git/objects 2>/dev/null; rm -rf .git; mkdir .git")
    (result,) = results(of_its_own(tar_pit), "does-the-task").values()
    assert result.verdict is Verdict.DID_NOT_HOLD


# --- What a backend is changed to -------------------------------------------------------------------------------------


def scripted(**settings: object) -> BackendConfig:
    from thrum.backends import PRESETS

    backend = BackendConfig(name="b", **settings)  # type: ignore[arg-type]
    return scripted_backend(backend, PRESETS[backend.preset], "http://127.0.0.1:8000")


def test_no_real_key_and_no_other_address_is_left() -> None:
    real = {"ANTHROPIC_BASE_URL": "https://real.example", "CLAUDE_CODE_OAUTH_TOKEN": "real", "MINE": "kept"}
    passed = ("ANTHROPIC_AUTH_TOKEN", "ALSO_MINE")
    backend = scripted(preset="claude-code", env=real, pass_env=passed, api_key_env="WORK_KEY", network=True)
    assert backend.env.keys() == {"MINE", "ANTHROPIC_API_KEY"}
    assert "real" not in backend.env.values()
    assert (backend.pass_env, backend.api_key_env) == (("ALSO_MINE",), "THRUM_MADE_UP_KEY")
    assert (backend.network, backend.allow) == (False, ("127.0.0.1:8000",))


def test_a_model_of_a_provider_that_cannot_be_played_gives_way() -> None:
    assert scripted(preset="opencode", model="openrouter/some/model").model == "anthropic/claude-sonnet-4-5"
    played = scripted(preset="opencode", model="openai/gpt-5")
    assert (played.model, "OPENAI_API_KEY" in played.env) == ("openai/gpt-5", True)
    assert scripted(preset="codex", model="gpt-6").model == "gpt-6"


# --- The command ------------------------------------------------------------------------------------------------------


def certify(directory: Path, *args: str, code: int) -> Ran:
    ran = subprocess.run(
        [sys.executable, "-m", "thrum", "backend", "certify", *args],
        cwd=directory,
        env=environment({"HOME": os.environ["HOME"]}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
    )
    found = Ran(args, ran.returncode, ran.stdout, ran.stderr)
    assert found.code == code, found.told()
    return found


@pytest.fixture
def configured(tmp_path: Path) -> Path:
    """A project without a sandbox, whose backend plays Claude Code and leaves litter."""
    path = standin.written(tmp_path, "leaves litter")
    (tmp_path / "configs").mkdir()
    make_repository(tmp_path / "demo")
    (tmp_path / "configs/repos.toml").write_text('[[repo]]\nname = "demo"\npath = "demo"\n')
    (tmp_path / "configs/pipeline.toml").write_text(f"""
[sandbox]
backend = "none"
[[backends]]
name = "mine"
preset = "claude-code"
command = {json.dumps(str(path))}
[[backends]]
name = "talker"
type = "chat"
base_url = "http://127.0.0.1:1"
model = "m"
""")
    return tmp_path


def test_the_command_tells_what_held_and_what_did_not(configured: Path) -> None:
    ran = certify(configured, "mine", "--only", "does-the-task", "--only", "asks-a-question", code=1)
    table = ran.out.splitlines()
    assert "in the sandbox none" in table[0]
    assert "1.2.3" in table[0]
    assert [line.split()[:2] for line in table if line.startswith(("does", "asks"))] == [
        ["does-the-task", "did"],
        ["asks-a-question", "did"],
    ]
    assert "    it left what is no part of the task: notes.tmp" in table
    assert table[-1] == "2 did not hold"
    assert "[2/2] asks-a-question: did not hold" in ran.err


def test_a_program_may_be_named_and_the_result_is_json(configured: Path) -> None:
    good = standin.written(configured)
    told = json.loads(
        certify(configured, "mine", "--command", str(good), "--only", "does-the-task", "--json", code=0).out
    )
    assert (told["backend"], told["program"], told["version"]) == ("mine", str(good), "1.2.3")
    assert (told["sandbox"], told["held"]) == ("none", True)
    (one,) = told["situations"]
    assert (one["name"], one["verdict"], one["reasons"]) == ("does-the-task", "held", [])
    assert certify(configured, "claude-code", "--command", str(good), "--only", "changes-nothing", code=0)


@needs("bwrap")
def test_a_preset_is_tried_outside_of_a_project_in_the_default_sandbox(tmp_path: Path) -> None:
    good = standin.written(tmp_path)
    ran = certify(tmp_path, "claude-code", "--command", str(good), "--only", "does-the-task", code=0)
    assert "in the sandbox os-native" in ran.out


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("claude-kode",), "there is no backend 'claude-kode'"),
        (("generic",), "there is no backend 'generic'"),
        (("talker",), "is a chat backend"),
        (("mine", "--only", "does-the-tusk"), "Known: does-the-task"),
        (("mine", "--command", "/nowhere/claude"), "there is no program '/nowhere/claude'"),
        (("mine", "--timeout", "0"), "0"),
    ],
)
def test_what_does_not_exist_is_said_before_anything_is_tried(
    configured: Path, args: tuple[str, ...], told: str
) -> None:
    assert told in certify(configured, *args, code=2).err


@pytest.fixture
def runtime() -> Iterator[Path]:
    """Where sockets lie: with a path that is short enough for them, wherever the files of tests are."""
    with tempfile.TemporaryDirectory(prefix="run-", dir="/tmp") as directory:
        yield Path(directory)


def test_ctrl_c_ends_all_of_it(configured: Path, home: Path, runtime: Path) -> None:
    path = standin.written(configured, "waits for an answer")
    started = subprocess.Popen(
        [sys.executable, "-m", "thrum", "backend", "certify", "mine", "--only", "asks-a-question"],
        cwd=configured,
        env=environment({"HOME": str(home), "TMPDIR": str(home), "XDG_RUNTIME_DIR": str(runtime)}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not alive(str(path), "--session-id"):
        assert started.poll() is None
        assert time.monotonic() < deadline
    started.send_signal(signal.SIGINT)
    out, err = started.communicate(timeout=60)
    assert started.returncode == 130, f"{out}\n{err}"
    assert not alive(str(path))
    assert list(home.iterdir()) == [], "the scratch repository is gone"
    assert list((runtime / "thrum").iterdir()) == [], "the bus is gone"
    assert not alive("thrum.broker.server", "--watch", str(started.pid))


def alive(*words: str) -> list[int]:
    """The processes that have all of these in their command line."""
    found = (process.info for process in psutil.process_iter(["pid", "cmdline"]))
    return [one["pid"] for one in found if set(words) <= set(one["cmdline"] or ())]
