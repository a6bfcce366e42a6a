"""A slot with an agent that follows a script, and a process that is killed at a chosen point of an attempt in it.

Run as a program (`python -m tests.slots`, see `Bench.killed`) it carries out an attempt and kills itself at the point.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.repositories import git, make_repository
from thrum.actors.base import Situation
from thrum.actors.slot import Slot
from thrum.config import BackendConfig, EngineConfig, PipelineConfig, Project, RepoConfig, SandboxConfig
from thrum.files import OutputStore
from thrum.git.repository import Repository
from thrum.messages.attempts import AttemptReported, RunAttempt
from thrum.places import Places
from thrum.sandbox.process import StopEvent
from thrum.workspace import Workspace

FIRST = '{"type": "thread.started", "thread_id": "the-thread"}'
LAST = '{"type": "turn.completed", "usage": {"input_tokens": 100, "cached_input_tokens": 40, "output_tokens": 7}}'

AGENT = f"""\
#!/bin/sh
# It speaks as Codex does, commits one file, leaves another one uncommitted, and ends its worker where that is asked.
place=$(dirname "$0")
dies_at() {{ [ "$(cat "$place/point")" = "$1" ] && {{ kill -9 "$(cat "$place/pid")"; exec sleep 60; }}; }}
{{ echo "$THRUM_TASK $*" >>"$place/runs"; }} 2>/dev/null
echo '{FIRST}'
dies_at 'the agent runs'
echo "$THRUM_TASK" >committed.txt
git add -A && git commit -qm 'By itself'
dies_at 'the agent has committed'
echo "$THRUM_TASK" >uncommitted.txt
dies_at 'the agent leaves something uncommitted'
echo '{{"type": "item.completed", "item": {{"type": "agent_message", "text": "It is done."}}}}'
echo '{LAST}'
dies_at 'the agent has said how it went'
exit 0
"""

STEPS = ("write-tree", "commit-tree", "update-ref", "bundle")
HARVEST = {f"the harvest comes to {step}": step for step in STEPS}
FIRST_WORDS = "the agent's first words come"
AGENTS = (
    "the agent runs",
    "the agent has committed",
    "the agent leaves something uncommitted",
    "the agent has said how it went",
)


class Bench:
    """A project in `directory` with one repository and one slot, driven without a bus."""

    def __init__(self, directory: Path, sandbox: str = "none") -> None:
        self.directory = directory
        self.preset = "codex"
        self.sandbox = SandboxConfig(
            backend=sandbox,  # type: ignore[arg-type]
            limits="best-effort",
            mount_paths=(str(directory / "agent"),),
        )
        self.repo = directory / "repo"
        (directory / "agent").mkdir(parents=True, exist_ok=True)
        self.agent = directory / "agent/codex"
        if not self.repo.exists():
            make_repository(self.repo)
            self.agent.write_text(AGENT)
            self.agent.chmod(0o755)
            self.point("")
        self.git = Repository(self.repo, "main")
        self.base = self.git.tip()

    def point(self, name: str) -> None:
        """Where the agent kills its worker."""
        (self.directory / "agent/point").write_text(name)

    def slot(self) -> Slot:
        """The slot in a new life of its worker."""
        pipeline = PipelineConfig(
            engine=EngineConfig(worktrees_dir=str(self.directory / ".thrum/work")),
            sandbox=self.sandbox,
            backends=(BackendConfig(name="own", preset=self.preset, command=str(self.agent), network=False),),
        )
        project = Project(
            directory=str(self.directory), repos=(RepoConfig(name="one", path=str(self.repo)),), pipeline=pipeline
        )
        told = Situation(
            name="worker.one.1",
            incarnation="",
            endpoint="",
            snapshot=self.directory,
            project=project,
            places=Places(self.directory),
            supervisor_pid=os.getpid(),
        )
        return Slot(told, project.repos[0], "1")

    def asked(self, task: str, token: int = 1, *, start: str = "", session: str = "") -> RunAttempt:
        """The order for an attempt."""
        start = start or self.base
        return RunAttempt(
            task=task, token=token, base=self.base, start=start, prompt="Do it.", backend="own", session=session
        )

    def run(self, asked: RunAttempt, on_output: Callable[[bytes], None] = lambda _: None) -> AttemptReported:
        """An attempt to the point where its report is acknowledged."""
        slot = self.slot()
        report = slot.run(asked, StopEvent(), on_output)
        self.pinned(report)
        slot.clear()
        slot.close()
        return report

    def killed(self, asked: RunAttempt, point: str) -> None:
        """An attempt whose worker is killed at the point, as a process of its own."""
        self.point(point)
        command = [sys.executable, "-P", "-m", "tests.slots", str(self.directory), self.sandbox.backend, point]
        command += [asked.task, str(asked.token), asked.start, asked.session]
        env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
        ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
        assert ended.returncode == -signal.SIGKILL, f"{point} was never reached\n{ended.stdout}{ended.stderr}"
        self.point("")

    def pinned(self, report: AttemptReported) -> dict[str, str]:
        """The files of the report's work, imported and pinned as the repo actor does it."""
        if not report.bundle:
            return {}
        ref = f"refs/thrum/attempts/{report.task}/{report.token}"
        head = self.git.pins(ref).get(ref) or self.git.import_bundle(report.bundle, ref=ref, limit_bytes=1 << 20)
        assert head == report.head
        names = git(self.repo, "ls-tree", "--name-only", head).split()
        return {name: git(self.repo, "show", f"{head}:{name}") for name in names if name != "README"}

    def runs(self, task: str) -> list[str]:
        """The arguments of each time that the agent was started for the task."""
        lines = (self.directory / "agent/runs").read_text().splitlines()
        return [line.partition(" ")[2] for line in lines if line.startswith(f"{task} ")]

    def said(self, report: AttemptReported) -> str:
        """The output that was kept."""
        store = OutputStore(self.directory / ".thrum/outputs")
        return store.read(report.output_digest, limit=1 << 30)[0].decode() if report.output_digest else ""


def _die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _before(owner: Any, name: str, call: int = 1) -> None:
    """Die at the call with this number, from 1, before it does anything."""
    _around(owner, name, call, lambda work: _die())


def _after(owner: Any, name: str, call: int = 1) -> None:
    """Die when the call with this number is through."""
    _around(owner, name, call, lambda work: (work(), _die()))


def _around(owner: Any, name: str, call: int, end: Callable[[Callable[[], Any]], Any]) -> None:
    whole, seen = getattr(owner, name), [0]

    def counting(*args: Any, **kwargs: Any) -> Any:
        seen[0] += 1
        return end(lambda: whole(*args, **kwargs)) if seen[0] == call else whole(*args, **kwargs)

    setattr(owner, name, counting)


def _in_git(command: str) -> None:
    """Die when git is asked for this in the clone; what was under way there goes on until it is ended."""
    real, folder = shutil.which("git"), Path(sys.argv[1]) / "git"
    folder.mkdir()
    (folder / "git").write_text(f'#!/bin/sh\n[ "$1" = {command} ] && kill -9 {os.getpid()}\nexec {real} "$@"\n')
    (folder / "git").chmod(0o755)
    os.environ["PATH"] = f"{folder}:{os.environ['PATH']}"


def _before_journal_goes() -> None:
    whole = Path.unlink

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if path.name == "attempt.json":
            _die()
        whole(path, missing_ok)

    Path.unlink = unlink  # type: ignore[method-assign]


BEFORE_THE_AGENT: dict[str, Callable[[], None]] = {
    "nothing is noted": lambda: _before(Slot, "note"),
    "the journal is noted": lambda: _after(Slot, "note"),
    "the clone is to be prepared": lambda: _before(Workspace, "prepare"),
    "the clone is being prepared": lambda: _in_git("clean"),
    "the clone is prepared": lambda: _after(Workspace, "prepare"),
}
WHILE_IT_RUNS: dict[str, Callable[[], None]] = {
    "that the clone is prepared is noted": lambda: _after(Slot, "note", 2),
    **dict.fromkeys(AGENTS, lambda: None),
    "the agent has ended": lambda: _before(Slot, "note", 3),
}
AFTER_IT: dict[str, Callable[[], None]] = {
    "that the agent has ended is noted": lambda: _after(Slot, "note", 3),
    **{point: (lambda command=command: _in_git(command)) for point, command in HARVEST.items()},  # type: ignore[misc]
    "the bundle is written": lambda: _after(Workspace, "harvest"),
    "the output is to be kept": lambda: _before(OutputStore, "gather"),
    "the output is kept": lambda: _after(OutputStore, "gather"),
    "the report is to be noted": lambda: _before(Slot, "note", 4),
}
REPORTED: dict[str, Callable[[], None]] = {
    "the report is noted": lambda: _after(Slot, "note", 4),
    "it is acknowledged": lambda: _before(Slot, "clear"),
    "the journal is to go": _before_journal_goes,
}


def main() -> None:
    directory, sandbox, point, task, token, start, session = sys.argv[1:]
    bench = Bench(Path(directory), sandbox)
    (bench.directory / "agent/pid").write_text(str(os.getpid()))
    asked = bench.asked(task, int(token), start=start, session=session)
    if point == FIRST_WORDS:
        bench.run(asked, _die)
    {**BEFORE_THE_AGENT, **WHILE_IT_RUNS, **AFTER_IT, **REPORTED}[point]()
    bench.run(asked)


if __name__ == "__main__":
    main()
