"""`thrum gate run` and `thrum gate list`: the gates outside any task."""

from __future__ import annotations

import signal
from collections.abc import Iterator
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

    from thrum.checking import CheckRunner
    from thrum.config import Project, RepoConfig
    from thrum.files import Lock
    from thrum.gate import Check, CheckResult, Gate, GateResult
    from thrum.messages.gates import RunGate

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

    from thrum.checking import CheckRunner
    from thrum.checks import gate_checks, gate_config, integration_set, requirement
    from thrum.config import IntegrationConfig
    from thrum.files import Lock, OutputStore
    from thrum.gate import CheckResult, GateResult, Verdict, overall
    from thrum.git.repository import Repository
    from thrum.messages.gates import RunGate
    from thrum.sandbox import sweep
    from thrum.sandbox.process import StopEvent
    from thrum.tree.access import made

    git = Repository(repo.path, repo.branch)
    head = git.resolve(commit)
    vector = {repo.name: head}
    if gate == "integration":
        others = (project.repo(name) for name in integration_set(project, repo.name) if name != repo.name)
        vector |= {other.name: Repository(other.path, other.branch).tip() for other in others if other is not None}
    checks, empty = gate_checks(project, repo, gate)
    why = requirement(project, repo, gate, Verdict.NOT_CONFIGURED) if not checks else ""
    config = gate_config(project, gate)
    asked = RunGate(
        run=f"by-hand/{gate}",
        gate=gate,
        checks=checks,
        vector=vector,
        fixture=config.fixture if isinstance(config, IntegrationConfig) else "",
    )
    places = made(directory)
    outputs, place = OutputStore(places.outputs), Path(project.pipeline.engine.worktrees_dir) / "gate.by-hand"
    place.mkdir(parents=True, exist_ok=True)
    stop = StopEvent()
    with _turn(Lock(place / "lock", kind="gate run")):
        began = time.time()
        # A mark of its own: `thrum up` ends what an earlier life of it left, which this is not.
        owner = f"by-hand-{places.mark}"
        sweep(owner)
        # What runs has a session of its own: whoever ends us must end it through us.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                signal.signal(number, lambda *_: stop.set())
        runner = CheckRunner(project, outputs, place, owner)
        try:
            results = _each(runner, asked, stop, fail_fast=config is not None and config.fail_fast)
        finally:
            runner.close()
    if stop.is_set():
        raise KeyboardInterrupt
    unconfigured = [
        CheckResult(name=name, verdict=Verdict.NOT_CONFIGURED, reason="the repository has no command for it")
        for name in empty
    ]
    result = GateResult(
        gate=gate,
        verdict=Verdict.COULD_NOT_RUN if why else overall(check.verdict for check in results),
        commit=head,
        tree=git.tree_of(head),
        checks=(*results, *unconfigured),
        reason=why,
        started_at=began,
        ended_at=time.time(),
        vector=vector if gate == "integration" else {},
    )
    return result, {one.name: str(outputs.path(one.output_digest)) for one in results if one.output_digest}


def _turn(lock: Lock) -> Lock:
    """The lock, held; a person is told what is waited for."""
    from thrum.errors import BusyError

    try:
        return lock.acquire()
    except BusyError as error:
        console.note(f"Waiting: {error.message}")
        return lock.acquire(deadline_s=WAIT_S)


def _each(runner: CheckRunner, asked: RunGate, stop: threading.Event, *, fail_fast: bool) -> list[CheckResult]:
    """The results; a person sees each as it comes."""
    from dataclasses import replace

    groups = [asked.checks] if asked.gate == "integration" else [(check,) for check in asked.checks]
    results: list[CheckResult] = []
    for checks in filter(None, groups):
        told = runner.run(replace(asked, checks=checks), stop).checks
        results += told
        if stop.is_set():
            break
        for one in () if invocation().json else told:
            console.note(f"{one.name}: {one.verdict}, {duration(one.duration_s)}")
        if fail_fast and told[-1].verdict != "passed":
            break
    return results


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
    from thrum.gate import Gate, Verdict

    for name in GATES:
        gate = Gate(name)
        checks, empty = gate_checks(project, repo, gate)
        row = {"repo": repo.name, "gate": name, "missing": []}
        for check in checks:
            missing = _missing(project, repo, check)
            status = f"missing: {', '.join(missing)}" if missing else "configured"
            yield {**row, "check": check.name, "status": status, "missing": missing, "command": _command(check)}
        for left in empty:
            yield {**row, "check": left, "status": "not-configured", "command": ""}
        if not checks and not empty:
            yield {**row, "check": None, "status": "not-configured", "command": ""}
        why = requirement(project, repo, gate, Verdict.NOT_CONFIGURED) if not checks else ""
        if why:
            yield {**row, "check": None, "status": "required, and not configured", "command": ""}


def _missing(project: Project, repo: RepoConfig, check: Check) -> list[str]:
    from thrum.artifacts import comparers
    from thrum.checks import programs
    from thrum.detection.toolchain import sight

    owner = project.repo(check.repo) or repo
    sandbox = project.pipeline.sandbox
    mounts = (*sandbox.mount_paths, *owner.mount_paths)
    found = {program: sight(program, mounts) for program in (*programs(check), *comparers(check.artifacts))}
    # What `setup_cmd` installs is there only after it has run.
    certain = {name: seen for name, seen in found.items() if not owner.setup_cmd or name == "bash"}
    return [name for name, seen in certain.items() if not (seen.host if sandbox.backend == "none" else seen.inside)]


def _command(check: Check) -> str:
    if check.prover and check.obligations is not None:
        wanted = check.obligations
        names = (*wanted.smt, *wanted.python) if check.prover == "z3" else (*wanted.rocq, wanted.rocq_project)
        return f"{check.prover}: {' '.join(filter(None, names))}"
    return check.command if isinstance(check.command, str) else " ".join(check.command)
