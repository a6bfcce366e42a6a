"""`thrum check`: the configuration, the repositories, the tools and the stores."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from thrum.cli import console
from thrum.cli.console import clean, counted, paint
from thrum.cli.program import Command, invocation
from thrum.cli.session import Session
from thrum.errors import BusyError, Exit, ThrumError

if TYPE_CHECKING:
    from thrum.config import Project, RepoConfig
    from thrum.findings import Sighting
    from thrum.places import Places
    from thrum.sandbox import Sandbox

Plain = dict[str, Any]

_COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}


@click.command(cls=Command)
def check() -> int:
    """Look the project over: configuration, tools, stores.

    Exits with 0 if every task could get through, 1 if something has to be mended first, 2 if the configuration
    cannot be read.
    """
    from thrum.places import Places

    session = Session.open()
    findings = _findings(session.project)
    stores = _stores(session, Places(session.directory))
    bad = sum(one["level"] == "error" for one in findings) + sum(not store["ok"] for store in stores)
    code = Exit.FAILED if bad else Exit.DONE
    if invocation().json:
        view = {"ok": not bad, "directory": str(session.directory), "digest": session.project.digest}
        console.emit({**view, "findings": findings, "stores": stores})
    else:
        console.say("\n".join([*_told(findings), *_stores_told(stores), _verdict(session, findings, bad)]))
    return code


def _findings(project: Project) -> list[Plain]:
    """What there is to say of the configuration, and of the sandbox, tried; of programs, where it looks for them."""
    from thrum.detection.toolchain import sight
    from thrum.findings import problems
    from thrum.records import to_plain
    from thrum.sandbox import open_sandbox

    with ExitStack() as stack:
        failed, which = [], sight
        try:
            sandbox = stack.enter_context(open_sandbox(project.pipeline.sandbox, name=f"thrum-check-{os.getpid()}"))
        except ThrumError as error:
            where = "pipeline.toml: sandbox"
            failed = [{"level": "error", "where": where, "text": error.message, "remedy": error.remedy}]
        if project.pipeline.sandbox.backend == "docker":
            which = partial(_in_image, None if failed else sandbox)
        found = problems(project, which=which, repository_problem=_repository_problem, environ=os.environ)
    return [*map(to_plain, found), *failed]


def _in_image(sandbox: Sandbox | None, program: str, mount_paths: tuple[str, ...]) -> Sighting:
    """Where the program is in containers; that of an image that cannot be looked into is believed to be there."""
    from thrum.findings import Sighting
    from thrum.sandbox.mounts import visible

    inside = sandbox.which(program) if sandbox else program
    if not inside and os.path.isabs(program) and visible(program, mount_paths) and os.access(program, os.X_OK):
        inside = program
    return Sighting(inside=inside or "")


def _repository_problem(repo: RepoConfig) -> ThrumError | None:
    from thrum.git.repository import Repository

    try:
        Repository(repo.path, repo.branch).inspect()
    except ThrumError as error:
        return error
    return None


def _stores(session: Session, places: Places) -> list[Plain]:
    """Verify the store of each repository that has one, and those that were set aside."""
    from thrum.files import Lock

    if not places.stores.is_dir():
        return []
    lock = Lock(places.lock, kind="check")
    try:
        lock.acquire(deadline_s=1.0)
    except BusyError as error:
        # Whoever has the project opened each store with its checks on; a second look has to wait.
        names = [name for name in session.repos if places.store(name).exists()]
        return [{"repo": name, "ok": True, "in_use": True, "problem": error.message} for name in names]
    with lock:
        return [_verified(path) for path in sorted(places.stores.iterdir()) if path.is_dir()]


def _verified(path: Path) -> Plain:
    from thrum.records import to_plain
    from thrum.storage import examine

    result = to_plain(examine(path))
    # One that was set aside is known to be damaged: what is left of it is told, and nothing waits for it.
    set_aside = ".damaged-" in path.name
    return {"repo": path.name, "in_use": False, "set_aside": set_aside, **result, "ok": result["ok"] or set_aside}


def _told(findings: list[Plain]) -> Iterator[str]:
    for one in findings:
        yield f"{paint(one['level'] + ':', _COLOURS[one['level']])} {clean(one['where'])}: {clean(one['text'])}"
        if one["remedy"]:
            yield f"  {clean(one['remedy'])}"


def _stores_told(stores: list[Plain]) -> Iterator[str]:
    for store in stores:
        name = f"store of {store['repo']}"
        if store["in_use"]:
            yield f"{paint('note:', 'cyan')} {name}: in use, and not looked into: {clean(store['problem'])}"
            continue
        whole = f"{counted(store['events'], 'event')} of {counted(store['tasks'], 'task')} are whole"
        if not store["problem"]:
            yield f"{paint('ok:', 'green')} {name}: {whole}"
        elif store["set_aside"]:
            yield f"{paint('note:', 'cyan')} {name}: set aside as damaged; {whole}, then: {clean(store['problem'])}"
        else:
            yield f"{paint('error:', 'red')} {name}: damaged; {whole}, then: {clean(store['problem'])}"
            yield "  Copy it to a safe place, then move it away (or back from a backup); never edit it."


def _verdict(session: Session, findings: list[Plain], bad: int) -> str:
    warnings = sum(one["level"] == "warning" for one in findings)
    also = f" ({counted(warnings, 'warning')})" if warnings else ""
    if bad:
        return f"{counted(bad, 'thing')} must be mended{also}."
    return f"{session.directory} is in order{also}."
