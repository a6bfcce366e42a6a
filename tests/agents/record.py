"""Run an agent program for real, in the sandbox, against the scripted model, and keep what it printed for the tests.

    python -m tests.agents.record PRESET[/FOLDER] [SCENARIO...]

The programs are those of `scripts/install-agents`. For each scenario the output goes to SCENARIO.out in the folder
tests/agents/PRESET, or in FOLDER below it (another version), the files that the preset reads beside it, and exit codes
and the program's version to runs.json there. Paths of this machine and ports are replaced, long lists and texts cut
short.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

from thrum.backends import Preset, preset
from thrum.config import SandboxConfig
from thrum.job import Ending, Job, Outcome
from thrum.sandbox import Sandbox, open_sandbox
from thrum.scripted import (
    ModelServer,
    Step,
    cut,
    fail,
    hang,
    overflow,
    overloaded,
    plan,
    quota,
    refuse,
    run,
    say,
    write,
)

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "thrum-agents"
NO_CHANGE = "THRUM: no-change-needed: it is there already"

_LIMITED = {"status": "rejected", "reset": "1900000000", "representative-claim": "five_hour"}
_LIMITED = {f"anthropic-ratelimit-unified-{name}": value for name, value in _LIMITED.items()}
PLANS: dict[str, tuple[Step, ...]] = {
    "success": (run("echo hi > a.txt"), say("I made a.txt.")),
    "resumed": (run("cat a.txt"), say("I looked at a.txt.")),
    "edited": (write("b.txt", "hi\n"), say("I made b.txt.")),
    "no-change": (say(f"I looked.\n{NO_CHANGE}"),),
    "error-401": (fail(401, message="invalid x-api-key"),),
    "error-404": (fail(404, message="model: no-such-model not found"),),
    "error-429": (fail(429, message="This request would exceed your rate limit.", retry_after_s=1),),
    "error-500": (fail(500, message="Internal server error"),),
    "overloaded": (overloaded(),),
    "overflow": (overflow(),),
    "quota": (quota(),),
    "quota-reset": (quota(resets_at=1_900_000_000),),
    "limit-reset": (fail(429, message="limited", headers=_LIMITED),),
    "refusal": (refuse(),),
    "cut": (cut(),),
    "budget": (run("true"), run("true"), say("done")),
    "no-key": (say("never"),),
    "session-lost": (say("never"),),
    "unreachable": (say("never"),),
    "interrupted-tool": (run("sleep 40"), say("done")),
    "interrupted-model": (hang(),),
}
ELSEWHERE = {
    "limit-reset": ("claude-code",),
    "quota-reset": ("codex",),
    "budget": ("claude-code", "mini-swe-agent"),
    "session-lost": ("claude-code", "codex", "gemini", "opencode"),
    "interrupted-tool": ("claude-code", "codex", "gemini", "opencode", "mini-swe-agent"),
}
"""Scenarios that only some of the programs have."""
ENDED_AFTER_S = {"claude-code": 5, "codex": 5}
MODELS = {"codex": "gpt-5-codex", "gemini": "gemini-2.5-pro", "claude-code": "claude-sonnet-4-5"}
_COMPACT: dict[str, Any] = {"ensure_ascii": False, "separators": (",", ":")}
_ENDED = 'exec 3<&0; "$@" <&3 3<&- & p=$!; sleep {}; kill -TERM $p; wait $p'


class Recorder:
    """One preset's programs, run one after another in the same tree, each scenario with a state of its own."""

    def __init__(self, chosen: Preset, model: ModelServer, box: Sandbox, place: Path) -> None:
        self._preset, self._model, self._box, self._place = chosen, model, box, place
        self._tree, self._state, self._prompt = place / "tree", place / "state", place / "prompt.md"
        self._program = next(
            path for path in (CACHE / chosen.name / "bin", CACHE / chosen.name / "node_modules/.bin") if path.is_dir()
        )
        subprocess.run(["git", "init", "--quiet", "--initial-branch=main", self._tree], check=True)
        (self._tree / "README.md").write_text("A tree.\n")
        author = ("-c", "user.name=A", "-c", "user.email=a@example.org")
        subprocess.run(["git", "-C", self._tree, "add", "."], check=True)
        subprocess.run(["git", "-C", self._tree, *author, "commit", "--quiet", "-m", "Begin"], check=True)

    def version(self) -> str:
        """What the program says its version is."""
        outcome = self._run((self._command(), *self._preset.version_args), {})
        found = re.search(r"\d+\.\d+\.\d+", outcome.tail)
        return found[0] if found else outcome.tail.strip()

    def record(self, scenario: str, *, session: str = "") -> tuple[Outcome, dict[str, str]]:
        """Run a scenario; what it printed, and the files that the preset reads."""
        chosen = self._preset
        if not session or scenario == "session-lost":
            self._clear_state()
        self._prompt.write_text(f"Mend the tree.\n{plan(*PLANS[scenario])}\n")
        values = {
            "prompt": self._prompt.read_text(),
            "prompt_file": str(self._prompt),
            "workdir": str(self._tree),
            "model": MODELS.get(chosen.name, "anthropic/claude-sonnet-4-5"),
            "session": session,
            "new_session": str(uuid.uuid4()),
            "budget_usd": "0.001" if scenario == "budget" else "",
            "base_url": self._model.url,
            "state": str(self._state),
        }
        command: tuple[str, ...] = (self._command(), *chosen.arguments(values))
        env = chosen.environment(values)
        if scenario != "no-key":
            env[next(iter(chosen.keys))] = "not-a-key"
        if scenario == "limit-reset" and chosen.name == "claude-code":
            env["CLAUDE_CODE_OAUTH_TOKEN"] = env.pop(next(iter(chosen.keys)))
        if scenario.startswith("interrupted"):
            command = ("sh", "-c", _ENDED.format(ENDED_AFTER_S.get(chosen.name, 12)), "sh", *command)
        outcome = self._run(command, env, network=scenario != "unreachable")
        files = {}
        for name in chosen.reads_files:
            if (self._state / name).is_file():
                files[name] = (self._state / name).read_text()
        return outcome, files

    def _command(self) -> str:
        return str(self._program / self._preset.program)

    def _clear_state(self) -> None:
        subprocess.run(["rm", "-rf", self._state], check=True)
        for path, content in self._preset.files.items():
            (self._state / path).parent.mkdir(parents=True, exist_ok=True)
            (self._state / path).write_text(content)
        self._state.mkdir(exist_ok=True)

    def _run(self, command: tuple[str, ...], env: dict[str, str], *, network: bool = True) -> Outcome:
        self._state.mkdir(exist_ok=True)
        self._prompt.touch()
        if self._box.uid is not None:
            subprocess.run(["chown", "-R", f"{self._box.uid}:{self._box.uid}", self._tree, self._state], check=True)
        job = Job(
            argv=command,
            cwd=str(self._tree),
            env=env,
            writable=(str(self._tree), str(self._state)),
            readable=(str(self._prompt),),
            stdin_path=str(self._prompt) if self._preset.prompt_stdin else "",
            network=network,
            wall_s=90,
            tail_bytes=512 * 1024,
        )
        outcome = self._box.run(job)
        if outcome.ending not in (Ending.EXITED, Ending.TIMED_OUT):
            raise RuntimeError(f"{command[0]} did not run: {outcome.reason} {outcome.tail}")
        return outcome

    def plain(self, text: str) -> str:
        """The text without what is particular to this machine."""
        for path, name in ((self._place, "/home/user"), (CACHE, "/opt/agents"), (Path(sys.base_prefix), "/usr")):
            text = text.replace(str(path), name).replace(str(path).replace("/", "-").replace("_", "-"), "-home-user")
        return text.replace(f"127.0.0.1:{self._model.port}", "127.0.0.1:8000")


def shortened(value: Any) -> Any:
    """A JSON value with long lists, and long texts, cut short."""
    if isinstance(value, dict):
        return {name: shortened(one) for name, one in value.items()}
    if isinstance(value, list):
        if len(value) > 4 and all(isinstance(one, dict) for one in value):
            value = [value[0], *value[-2:]]
        cut_at = 3 if len(value) > 6 and all(isinstance(one, str) for one in value) else len(value)
        return [shortened(one) for one in value[:cut_at]]
    return f"{value[:200]} […]" if isinstance(value, str) and len(value) > 1000 else value


def trimmed(output: str) -> str:
    """An output whose JSON lines are shortened, and of whose other lines only the last are kept."""
    lines = []
    for line in output.splitlines():
        try:
            short = json.dumps(shortened(json.loads(line)), **_COMPACT) if line.startswith("{") else line[:400]
        except ValueError:
            short = line[:400]
        lines.append(short)
    kept = lines if len(lines) <= 60 else [*lines[:6], "[…]", *lines[-40:]]
    return "".join(f"{line}\n" for line in kept)


def main(name: str, scenarios: list[str]) -> None:
    chosen = preset(name.partition("/")[0])
    folder = HERE / name
    folder.mkdir(parents=True, exist_ok=True)
    notes = folder / "runs.json"
    runs: dict[str, Any] = json.loads(notes.read_text()) if notes.exists() else {"runs": {}}
    config = SandboxConfig(mount_paths=(str(CACHE), sys.base_prefix))
    # Not below /tmp, where Codex refuses to keep programs of its own.
    with tempfile.TemporaryDirectory(dir=CACHE.parent) as made, ModelServer() as model:
        Path(made).chmod(0o755)
        box = open_sandbox(config, name=f"record-{os.getpid()}")
        try:
            recorder = Recorder(chosen, model, box, Path(made))
            runs["version"] = recorder.version()
            session = ""
            for scenario in scenarios or list(PLANS):
                if scenario == "resumed" and not (chosen.resume_args and session):
                    continue
                if chosen.name not in ELSEWHERE.get(scenario, (chosen.name,)):
                    continue
                given = {"resumed": session, "session-lost": str(uuid.uuid4())}.get(scenario, "")
                outcome, files = recorder.record(scenario, session=given)
                if scenario == "success":
                    session = chosen.read(outcome.tail, outcome.exit_code, files).session
                (folder / f"{scenario}.out").write_text(trimmed(recorder.plain(outcome.tail)))
                for path, content in files.items():
                    short = json.dumps(shortened(json.loads(recorder.plain(content))), indent=1)
                    (folder / f"{scenario}.{Path(path).name}").write_text(f"{short}\n")
                # A run that was ended at its limit stands for one that somebody ended.
                code = outcome.exit_code if outcome.ending is Ending.EXITED else None
                runs["runs"][scenario] = {"exit_code": code, "seconds": round(outcome.duration_s)}
                reading = chosen.read(outcome.tail, code, files)
                print(scenario, code, round(outcome.duration_s, 1), replace(reading, text=reading.text[:60]))  # noqa: T201
                notes.write_text(json.dumps(runs, indent=1) + "\n")
        finally:
            box.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
