"""`thrum backend certify`: whether a backend does what Thrum counts on, tried out."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from thrum.cli import console
from thrum.cli.console import clean, duration, indented, paint
from thrum.cli.program import Command, invocation
from thrum.errors import ConfigError, Exit, NotFoundError, UsageError

if TYPE_CHECKING:
    from thrum.certification import Course, Result, Situation
    from thrum.config import BackendConfig, Project

COLOURS = {"held": "green", "did-not-hold": "red", "not-applicable": ""}


@click.command(cls=Command)
@click.argument("name")
@click.option("--command", "program", metavar="PATH", help="The program, in the place of the configured one.")
@click.option("--only", multiple=True, metavar="SITUATION", help="Only this situation; repeatable.")
@click.option("--timeout", type=click.FloatRange(1), metavar="SECONDS", help="What one situation may take.")
@click.option("--silence", type=click.FloatRange(1), metavar="SECONDS", help="The limit on silence, where it is tried.")
def certify(name: str, program: str | None, only: tuple[str, ...], timeout: float | None, silence: float | None) -> int:
    """Put a backend into a set of small situations in a scratch repository, and tell what held.

    NAME is a backend of the configuration or, also outside of a project, a preset. A program with a preset talks to a
    scripted model on this machine: no key is needed, nothing is spent. One without talks to its own model. Exits with
    1 if anything did not hold.
    """
    from thrum.certification import LIMIT_S, SILENCE_S, Course

    project, found = _found(name, program)
    situations = _chosen(only)
    with Course(project, found, limit_s=timeout or LIMIT_S, silence_s=silence or SILENCE_S) as course:
        _end_by_signals(course)
        version = course.version()
        results = list(_tried(course, situations))
    failed = any(result.verdict == "did-not-hold" for result in results)
    sandbox = project.pipeline.sandbox.backend
    if invocation().json:
        told = {"backend": found.name, "program": found.command, "version": version, "sandbox": sandbox}
        console.emit({**told, "held": not failed, "situations": [_view(result) for result in results]})
    else:
        console.say(f"{found.name}: {clean(f'{found.command} {version}'.strip())} in the sandbox {sandbox}\n")
        console.say("\n".join(_lines(results)))
    return Exit.FAILED if failed else Exit.DONE


def _found(name: str, program: str | None) -> tuple[Project, BackendConfig]:
    """The project, or one without anything in it, and the backend of that name.

    Raises:
        UsageError: there is none, or it is no program.
    """
    from thrum.backends import PRESETS

    project = _project()
    found = next((one for one in project.pipeline.backends if one.name == name), None)
    if found is None and name in PRESETS and PRESETS[name].program:
        found = _of_preset(name, program)
    if found is None:
        configured = [one.name for one in project.pipeline.backends]
        known = sorted({*configured, *(one.name for one in PRESETS.values() if one.program)})
        raise NotFoundError(f"there is no backend {name!r}", remedy=f"Known here: {', '.join(known)}.")
    if found.type != "agent":
        raise UsageError(f"{name!r} is a chat backend, and no program", remedy="Name a backend of type agent.")
    return project, _with_program(found, program) if program else found


def _project() -> Project:
    from thrum.cli.session import Session
    from thrum.config import PipelineConfig, Project

    try:
        session = Session.open()
    except ConfigError:
        if invocation().directory:
            raise
        return Project(directory=os.getcwd(), repos=(), pipeline=PipelineConfig())
    return session.project


def _of_preset(name: str, program: str | None) -> BackendConfig:
    from thrum.backends import PRESETS
    from thrum.config import BackendConfig

    bare = BackendConfig(name=name, preset=name, command=PRESETS[name].program)
    return bare if program else _with_program(bare, bare.command)


def _with_program(backend: BackendConfig, program: str) -> BackendConfig:
    """The backend with that program, and with the paths that a sandbox must show for it.

    Raises:
        NotFoundError: there is none.
    """
    from thrum.detection.toolchain import mounts_for

    path = shutil.which(program)
    if path is None:
        raise NotFoundError(f"there is no program {program!r}", remedy="Install it, or say where it is: --command PATH")
    path = os.path.abspath(path)
    return replace(backend, command=path, mount_paths=(*backend.mount_paths, *mounts_for(path)))


def _chosen(names: tuple[str, ...]) -> tuple[Situation, ...]:
    from thrum.certification import SITUATIONS

    known = [situation.name for situation in SITUATIONS]
    for name in names:
        if name not in known:
            raise NotFoundError(f"there is no situation {name!r}", remedy=f"Known: {', '.join(known)}.")
    return tuple(situation for situation in SITUATIONS if not names or situation.name in names)


def _end_by_signals(course: Course) -> None:
    # What runs has a session of its own: whoever ends us must end it through us.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, lambda *_: course.end())


def _tried(course: Course, situations: tuple[Situation, ...]) -> Iterator[Result]:
    for number, situation in enumerate(situations, start=1):
        console.note(f"[{number}/{len(situations)}] {situation.name} …")
        result = course.result(situation)
        console.note(f"[{number}/{len(situations)}] {situation.name}: {_told(result)}, {duration(result.duration_s)}")
        yield result


def _told(result: Result) -> str:
    return result.verdict.replace("-", " ")


def _view(result: Result) -> dict[str, Any]:
    return {
        "name": result.situation.name,
        "promise": result.situation.shall,
        "verdict": result.verdict.value,
        "reasons": list(result.reasons),
        "duration_s": round(result.duration_s, 1),
        "tail": result.tail,
    }


def _lines(results: list[Result]) -> Iterator[str]:
    width = max(len(result.situation.name) for result in results)
    for result in results:
        verdict = paint(_told(result).ljust(14), COLOURS[result.verdict])
        yield f"{result.situation.name:<{width}}  {verdict}  {result.situation.shall}"
        for reason in result.reasons:
            yield indented(clean(reason), "    ")
        if result.tail.strip():
            yield indented(clean(result.tail.rstrip()), "      | ")
    counts = [(sum(_told(result) == one for result in results), one) for one in map(_plain, COLOURS)]
    yield "\n" + ", ".join(f"{count} {what}" for count, what in counts if count)


def _plain(verdict: str) -> str:
    return verdict.replace("-", " ")
