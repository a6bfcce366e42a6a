"""`thrum up`, `thrum down`, `thrum reload`: the process tree as a whole."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import click

from thrum.cli import console
from thrum.cli.program import Command, invocation
from thrum.cli.session import Session, project_directory
from thrum.errors import BusyError

RELOAD_S = 60.0
API_S = 15.0


@click.command(cls=Command)
@click.option("--detach", is_flag=True, help="Return once it is up, and leave it running.")
@click.option("--agents", type=click.IntRange(0), default=0, help="Agents at work at once; 0: as configured.")
@click.option("--ready-fd", type=int, hidden=True, help="Write a byte there once all is up.")
def up(detach: bool, agents: int, ready_fd: int | None) -> int:
    """Bring Thrum up, and work until it is told to stop.

    In the foreground Ctrl-C ends it in good order, a second one at once.
    """
    from thrum import tree

    session, as_json = Session.open(), invocation().json
    project = session.project
    if detach:
        _tell_up(tree.detach(session.directory, agents=agents), as_json)
        return 0

    def ready(state: dict[str, Any]) -> None:
        _tell_up(_with_api(session.directory, state), as_json)
        if ready_fd is None:
            console.note("Ctrl-C ends it.")
        else:
            os.write(ready_fd, b"1")
            os.close(ready_fd)

    return tree.supervise(session.directory, project, agents=agents, on_ready=ready)


def _with_api(directory: Path, state: dict[str, Any]) -> dict[str, Any]:
    """The state once the API listens too, or will not."""
    from thrum.standing import state as what_is_up

    deadline = time.monotonic() + API_S
    while not state.get("api") and _api_is(state, "running", "restarting") and time.monotonic() < deadline:
        time.sleep(0.02)
        state = what_is_up(directory) or {}
    return state


def _api_is(state: dict[str, Any], *states: str) -> bool:
    return any(actor["name"] == "api" and actor["state"] in states for actor in state.get("actors", ()))


def _tell_up(state: dict[str, Any], as_json: bool) -> None:
    if as_json:
        console.emit(state)
        return
    failed = [actor["name"] for actor in state.get("actors", ()) if actor["state"] == "failed"]
    running = sum(actor["state"] == "running" for actor in state.get("actors", ()))
    console.say(f"Thrum is up with {console.counted(running, 'process', 'processes')}.")
    if state.get("api"):
        console.say(f"Its API is at {state['api']}.")
    if failed:
        console.tell_warning(f"could not be started: {console.listed(failed)}", "`thrum status` says why")


@click.command(cls=Command)
@click.option("--now", is_flag=True, help="Do not wait for what is under way: end it. It is taken up again later.")
def down(now: bool) -> int:
    """End what is up, in good order.

    Attempts under way are ended, and their work so far is kept.
    """
    from thrum import tree

    directory = project_directory()
    was_up = tree.down(directory, now=now)
    if invocation().json:
        console.emit({"was_up": was_up})
    else:
        console.note("Thrum is down." if was_up else f"Nothing was up in {directory}.")
    return 0


@click.command(cls=Command)
def reload() -> None:
    """Have what is up read the configuration anew.

    A malformed one is refused here, and changes nothing.
    """
    from thrum import tree

    session = Session.open()
    digest = session.project.digest
    tree.reload(session.directory)
    if not _in_force(session.directory, digest):
        raise BusyError(
            f"the configuration was not taken over within {RELOAD_S:.0f} s", remedy="`thrum status` shows what is up"
        )
    if invocation().json:
        console.emit({"digest": digest})
    else:
        console.note("The configuration is in force.")


def _in_force(directory: Path, digest: str) -> bool:
    """Wait until what is up says that it runs by this configuration."""
    from thrum.standing import state as what_is_up

    deadline = time.monotonic() + RELOAD_S
    while time.monotonic() < deadline:
        state = what_is_up(directory)
        if state is not None and state["digest"] == digest:
            return True
        time.sleep(0.05)
    return False
