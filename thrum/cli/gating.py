"""`thrum gate run` and `thrum gate list`: the gates outside any task."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from thrum.cli import console
from thrum.cli.console import clean, duration, indented, paint
from thrum.cli.program import Command, invocation
from thrum.cli.session import Session
from thrum.cli.showing import COLOURS
from thrum.errors import Exit

if TYPE_CHECKING:
    import threading

    from thrum.actors.gate_runs import GateRuns
    from thrum.checking import CheckRunner
    from thrum.config import Project, RepoConfig
    from thrum.files import Lock, OutputStore
    from thrum.gate import Check, CheckResult, Gate, GateResult

GATES = ("quality", "proof", "integration")
WAIT_S = 600.0
"""How long one run by hand waits for another one to end."""
TAIL_LINES = 40


@click.command(cls=Command)
@click.option("--repo", metavar="NAME", help="The repository; may be left out when there is just one.")
@click.option("--gate", "name", type=click.Choice(GATES), default="quality", show_default=True)
@click.option("--commit", default="HEAD", show_default=True, metavar="REV", help="What to run it on.")
def run(repo: str | None, name: str, commit: str) -> int:
    """Run a gate on a commit, as a task would have to pass it.

    Changes that are not committed are not looked at. Exit codes: 0 passed or not configured; 3 failed; 1 could not run.
    """
    from thrum.gate import Gate, Verdict

    session = Session.open()
    result, places = _ran(session.directory, session.project, _named(session.project, repo), Gate(name), commit)
    if invocation().json:
        console.emit(_view(result, places))
    else:
        console.say("\n".join(_lines(result)))
    match result.verdict:
        case Verdict.PASSED | Verdict.NOT_CONFIGURED:
            return Exit.DONE
        case Verdict.FAILED:
            return Exit.GATE_FAILED
        case _:
            return Exit.FAILED


def _named(project: Project, name: str | None) -> RepoConfig:
    # Not the session's: what is up may have begun with other repositories, and this is about the files.
    from thrum.desk import repo_named

    found = repo_named(tuple(repo.name for repo in project.repos), name)
    return next(repo for repo in project.repos if repo.name == found)


def _ran(
    directory: Path, project: Project, repo: RepoConfig, gate: Gate, commit: str
) -> tuple[GateResult, dict[str, str]]:
    """What the gate says, and where the whole output of each check is kept."""
    import time

    from thrum.actors.gate_runs import GateRuns
    from thrum.actors.setup import plan_of
    from thrum.checks import integration_set
    from thrum.errors import ToolError
    from thrum.files import OutputStore
    from thrum.git.repository import Repository
    from thrum.inputs import RunChecks
    from thrum.tree.access import made

    git = Repository(repo.path, repo.branch)
    head = git.resolve(commit)
    names = integration_set(project, repo.name) if gate == "integration" else ()
    others = [one for name in names if name != repo.name and (one := project.repo(name)) is not None]
    if far := next((one for one in others if one.host != repo.host), None):
        raise ToolError(
            f"gate {gate} of {repo.name} needs {far.name}, which lies on another host ({far.host or 'local'})",
            remedy="it runs when a task lands: then the actors ask each other for their repositories",
        )
    tips = {one.name: Repository(one.path, one.branch).tip() for one in others}
    asked = RunChecks(
        task="by-hand",
        run=f"by-hand/{gate}",
        gate=gate,
        attempt=0,
        commit=head,
        tree=git.tree_of(head),
        vector={**tips, repo.name: head},
    )
    runs = GateRuns({gate: plan_of(project, repo, gate)}, repo.name)
    outputs = OutputStore(made(directory).outputs)
    finished = runs.begin(asked, time.time())
    if finished is not None:
        return finished.result, {}
    with _runner(directory, project, outputs) as (runner, stop):
        result = _worked_off(runs, runner, stop)
    return result, {one.name: str(outputs.path(one.output_digest)) for one in result.checks if one.output_digest}


@contextmanager
def _runner(directory: Path, project: Project, outputs: OutputStore) -> Iterator[tuple[CheckRunner, threading.Event]]:
    """Who runs checks, one run by hand at a time, and what ends the one under way: set by Ctrl-C and its like."""
    from thrum.checking import CheckRunner
    from thrum.files import Lock
    from thrum.places import Places
    from thrum.sandbox import sweep
    from thrum.sandbox.process import StopEvent

    place = Path(project.pipeline.engine.worktrees_dir) / "gate.by-hand"
    place.mkdir(parents=True, exist_ok=True)
    stop = StopEvent()
    with _turn(Lock(place / "lock", kind="gate run")):
        # A mark of its own: `thrum up` ends what an earlier life of it left, which this is not.
        owner = f"by-hand-{Places(directory).mark}"
        sweep(owner)
        # What runs has a session of its own: whoever ends us must end it through us.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                signal.signal(number, lambda *_: stop.set())
        runner = CheckRunner(project, outputs, place, owner)
        try:
            yield runner, stop
        finally:
            runner.close()


def _turn(lock: Lock) -> Lock:
    """The lock, held; a person is told what is waited for."""
    from thrum.errors import BusyError

    try:
        return lock.acquire()
    except BusyError as error:
        console.note(f"Waiting: {error.message}")
        return lock.acquire(deadline_s=WAIT_S)


def _worked_off(runs: GateRuns, runner: CheckRunner, stop: threading.Event) -> GateResult:
    """The result, once each part was run here; a person sees each check as it comes.

    Raises:
        KeyboardInterrupt: it was ended.
    """
    import time

    while True:
        for part in runs.due(time.time()):
            reported = runner.run(part, stop)
            if stop.is_set():
                raise KeyboardInterrupt
            for one in () if invocation().json else reported.checks:
                console.note(f"{one.name}: {one.verdict}, {duration(one.duration_s)}")
            done = runs.report(reported, time.time())
            if done is not None:
                return done[1].result


def _view(result: GateResult, places: dict[str, str]) -> dict[str, Any]:
    from thrum.records import to_plain
    from thrum.views import gate_view

    view = gate_view(to_plain(result))
    for check in view["checks"]:
        check["output"] = places.get(check["name"])
    return {**view, "vector": dict(result.vector)}


def _lines(result: GateResult) -> Iterator[str]:
    verdict = paint(result.verdict, COLOURS.get(result.verdict, ""), bold=True)
    because = f": {clean(result.reason)}" if result.reason else ""
    yield f"gate {result.gate} on {result.commit[:12]}: {verdict}{because}"
    for name, commit in result.vector.items():
        yield f"  with {name} at {commit[:12]}"
    for check in result.checks:
        yield from check_lines(check)


def check_lines(check: CheckResult) -> Iterator[str]:
    """What a check said, for a person: the reasons and the end of the output of one that did not pass."""
    counts = check.tests
    tests = f", {console.counted(counts.run, 'test')}, {counts.failed} failed" if counts else ""
    because = f": {clean(check.reason)}" if check.reason else ""
    verdict = paint(check.verdict, COLOURS.get(check.verdict, ""))
    yield f"  {check.name:<9} {verdict}, {duration(check.duration_s)}{tests}{because}"
    for path, digest in check.artifacts.items():
        yield f"      made {clean(path)}, SHA-256 {digest[:16]}…"
    if check.verdict in ("passed", "not-configured"):
        return
    if check.command:
        yield f"      $ {clean(check.command)}"
    if counts and counts.failing:
        yield indented("\n".join(map(clean, counts.failing)), "      - ")
    text = check.details or check.tail
    if text.strip():
        yield indented("\n".join(clean(text.rstrip()).splitlines()[-TAIL_LINES:]), "      | ")


@click.command(cls=Command, name="list")
@click.option("--repo", "repos", multiple=True, metavar="NAME", help="Only this repository; repeatable.")
def list_(repos: tuple[str, ...]) -> None:
    """Show what the gates of each repository consist of, and what of it is missing on this machine."""
    project = Session.open().project
    wanted = {_named(project, name).name for name in repos}
    rows = [row for repo in project.repos if not wanted or repo.name in wanted for row in _rows(project, repo)]
    if invocation().json:
        console.emit(rows)
        return
    cells = [[row["repo"], row["gate"], row["check"] or "-", row["status"], row["command"]] for row in rows]
    console.say("\n".join(console.table(cells, ("REPOSITORY", "GATE", "CHECK", "STATUS", "COMMAND"))))


def _rows(project: Project, repo: RepoConfig) -> Iterator[dict[str, Any]]:
    from thrum.checks import gate_checks, requirement
    from thrum.gate import Check, Gate, Verdict

    plain: dict[str, Any] = {"repo": repo.name, "missing": [], "after_setup": []}
    if repo.setup_cmd:
        setup = Check(name="setup_cmd", command=repo.setup_cmd, repo=repo.name)
        yield {**plain, "gate": "setup", **_check_row(project, repo, setup, certain=True)}
    for name in GATES:
        gate = Gate(name)
        checks, empty = gate_checks(project, repo, gate)
        row = {**plain, "gate": name}
        for check in checks:
            owner = project.repo(check.repo) or repo
            yield {**row, **_check_row(project, owner, check, certain=not owner.setup_cmd)}
        for left in empty:
            yield {**row, "check": left, "status": "not-configured", "command": ""}
        if not checks and not empty:
            yield {**row, "check": None, "status": "not-configured", "command": ""}
        why = requirement(project, repo, gate, Verdict.NOT_CONFIGURED) if not checks else ""
        if why:
            yield {**row, "check": None, "status": "required, and not configured", "command": ""}


def _check_row(project: Project, owner: RepoConfig, check: Check, *, certain: bool) -> dict[str, Any]:
    """What is to be said of a check; not `certain`: `setup_cmd` may install what it lacks."""
    from thrum.checks import programs
    from thrum.detection.toolchain import sight

    sandbox = project.pipeline.sandbox
    mounts = (*sandbox.mount_paths, *owner.mount_paths)

    def there(name: str) -> bool:
        if sandbox.backend == "docker":
            return True  # to look into an image takes a container; `thrum check` does
        seen = sight(name, mounts)
        return bool(seen.host if sandbox.backend == "none" else seen.inside)

    absent = [names for names in programs(check) if not any(map(there, names))]
    missing = [" or ".join(names) for names in absent if certain or names == ("bash",)]
    later = [" or ".join(names) for names in absent if not (certain or names == ("bash",))]
    if not absent and (lacking := _lacking(project, mounts, check)):
        (missing if certain else later).append(lacking)
    status = f"missing: {', '.join(missing)}" if missing else "configured"
    if later:
        status += f"; to be seen after setup_cmd: {', '.join(later)}"
    command = _command(check)
    return {"check": check.name, "status": status, "missing": missing, "after_setup": later, "command": command}


def _lacking(project: Project, mounts: tuple[str, ...], check: Check) -> str:
    """What the interpreter of a check's Python obligations lacks, by trying it out; empty where that is nothing."""
    import os
    from dataclasses import replace

    from thrum.errors import SandboxError
    from thrum.gate import SETUP_PREFIX
    from thrum.job import Job
    from thrum.sandbox import open_sandbox

    told, config = check.obligations, project.pipeline.sandbox
    if check.prover != "z3" or told is None or not told.python or config.backend == "docker":
        return ""
    if told.interpreter.startswith(SETUP_PREFIX):
        return ""
    argv, env = (told.interpreter, "-c", "import z3; z3.get_version_string()"), config.variables(os.environ)
    try:
        with open_sandbox(replace(config, mount_paths=mounts), name=f"thrum-list-{os.getpid()}") as sandbox:
            tried = sandbox.run(Job(argv=argv, cwd="/usr", env=env, wall_s=60.0))
    except SandboxError as error:
        return f"a sandbox to try {told.interpreter} in ({error.message})"
    return "" if tried.ok else f"z3 in {told.interpreter}"


def _command(check: Check) -> str:
    if check.prover and check.obligations is not None:
        wanted = check.obligations
        names = (*wanted.smt, *wanted.python) if check.prover == "z3" else (*wanted.rocq, wanted.rocq_project)
        return f"{check.prover}: {' '.join(filter(None, names))}"
    return check.command if isinstance(check.command, str) else " ".join(check.command)
