"""`thrum status`: what is up, how far each repository is, who waits for whom, and what needs a person's eye."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from thrum.cli import console
from thrum.cli.console import clean, counted, listed, paint
from thrum.cli.program import Command, error_view, invocation
from thrum.cli.session import project_directory
from thrum.errors import ThrumError

if TYPE_CHECKING:
    from thrum.client import Client
    from thrum.config import Project

ANSWER_S = 5.0
_LOOK_AGAIN = "it is tried again by and by; at once after `thrum task retry ID` of any task there, or `thrum reload`"


@click.command(cls=Command)
def status() -> int:
    """Show what is up, how things stand, and what needs an eye.

    Exits with 0 whatever that is; `thrum check` judges.
    """
    from thrum.standing import state as what_is_up

    directory = project_directory()
    state = what_is_up(directory)
    view: dict[str, Any] = {"directory": str(directory), "up": state is not None, "api": "", "actors": []}
    view |= {**(state or {}), "repos": [], "schedule": None}
    project, fault = _loaded(directory)
    flags = [_flag(fault.message, fault.remedy)] if fault else []
    if state is None:
        view["repos"] = [{"repo": repo.name, "path": repo.path} for repo in project.repos] if project else []
    else:
        flags += _edited(state, project) if project else []
        flags += _failed(state)
        _ask(view, state, flags)
    flags += _set_aside(directory)
    view["flags"] = flags
    if invocation().json:
        console.emit(view)
    else:
        console.say("\n".join(_lines(view)))
    return 0


def _loaded(directory: Path) -> tuple[Project | None, ThrumError | None]:
    from thrum.configfile import load

    try:
        return load(directory), None
    except ThrumError as error:
        return None, error


def _flag(text: str, remedy: str = "") -> dict[str, str]:
    return {"text": text, "remedy": remedy}


def _edited(state: dict[str, Any], project: Project) -> list[dict[str, str]]:
    if state["digest"] == project.digest:
        return []
    return [_flag("the configuration was edited since it was loaded", "`thrum reload` takes it over")]


def _failed(state: dict[str, Any]) -> list[dict[str, str]]:
    return [
        _flag(
            f"{actor['name']} was given up: {actor['reason']}",
            "`thrum check` looks deeper; its log is in .thrum/log/, and `thrum reload` starts it anew",
        )
        for actor in state["actors"]
        if actor["state"] == "failed"
    ]


def _set_aside(directory: Path) -> list[dict[str, str]]:
    from thrum.places import Places

    stores = Places(directory).stores
    damaged = sorted(stores.glob("*.damaged-*")) if stores.is_dir() else []
    return [_flag(f"a damaged store was set aside: {path}", "`thrum check` says what is in it") for path in damaged]


def _ask(view: dict[str, Any], state: dict[str, Any], flags: list[dict[str, str]]) -> None:
    """Ask the scheduler and every repository's actor that is not known to be gone."""
    from thrum.client import Client
    from thrum.messages.people import GetRepoStatus
    from thrum.messages.schedule import GetSchedule

    gone = {actor["name"]: actor["reason"] for actor in state["actors"] if actor["state"] == "failed"}
    names = [actor["name"] for actor in state["actors"] if actor["name"].startswith("repo.")]
    with Client(state["endpoint"]) as client:
        view["schedule"] = _answer(client, "scheduler", GetSchedule(), flags) if "scheduler" not in gone else None
        held = (view["schedule"] or {"faults": {}})["faults"]
        flags += [_flag(f"nothing begins in {repo}: {why}", _LOOK_AGAIN) for repo, why in held.items()]
        for name in names:
            repo = name.removeprefix("repo.")
            row = None if name in gone else _answer(client, name, GetRepoStatus(), flags)
            for check, commit in (row["red"] if row else {}).items():
                text = f"{repo} is red: {check} fails on {commit[:12]}, which its tasks are based on"
                flags.append(_flag(text, f"`thrum gate run --repo {repo} --commit {commit[:12]}` shows how"))
            if repo not in held:
                passed_over = (row or {}).get("passed_over", {})
                flags += [_flag(f"{repo} passes over {why}", _LOOK_AGAIN) for why in passed_over.values()]
            fault = error_view("error", gone[name], "") if name in gone else None
            view["repos"].append(row if row is not None else {"repo": repo, "error": fault})


def _answer(client: Client, name: str, question: Any, flags: list[dict[str, str]]) -> Any:
    try:
        return client.request(name, question, timeout_s=ANSWER_S)
    except ThrumError as error:
        flags.append(_flag(error.message, error.remedy))
        return None


# --- For a person -------------------------------------------------------------------------------------------------


def _lines(view: dict[str, Any]) -> Iterator[str]:
    for flag in view["flags"]:
        yield f"{paint('!', 'red', bold=True)} {clean(flag['text'])}"
        if flag["remedy"]:
            yield f"  {clean(flag['remedy'])}"
    if not view["up"]:
        yield f"Nothing is up in {view['directory']} (`thrum up` or `thrum run` starts it)."
        names = listed((repo["repo"] for repo in view["repos"]), most=20)
        yield f"{counted(len(view['repos']), 'repository', 'repositories')}: {names}"
        yield "`thrum task list` looks into their stores."
        return
    yield f"Up (`thrum {view['kind']}`, process {view['pid']}) in {view['directory']}"
    if view["api"]:
        yield f"API at {view['api']}"
    yield ""
    yield from _actors(view["actors"])
    yield ""
    yield from _repos(view["repos"])
    if view["schedule"]:
        yield from _waiting(view["schedule"])


def _actors(actors: list[dict[str, Any]]) -> Iterator[str]:
    rows = [[a["name"], a["state"], str(a["pid"] or "-"), str(a["restarts"])] for a in actors]
    yield from console.table(rows, ("ACTOR", "STATE", "PROCESS", "RESTARTS"))


def _repos(repos: list[dict[str, Any]]) -> Iterator[str]:
    rows = []
    for repo in repos:
        if "states" not in repo:
            rows.append([repo["repo"], "-", "-", "does not answer"])
            continue
        slots = f"{repo['slots']['used']}/{repo['slots']['limit']}"
        states = ", ".join(f"{number} {state}" for state, number in repo["states"].items())
        rows.append([repo["repo"], slots, f"${repo['spent_usd']:.2f}", states or "no tasks"])
    yield from console.table(rows, ("REPOSITORY", "SLOTS", "SPENT", "TASKS"))


def _waiting(schedule: dict[str, Any]) -> Iterator[str]:
    by_cause: dict[str, list[str]] = {}
    for task, (why, reason) in sorted(schedule["waiting"].items(), key=lambda item: console.by_number(item[0])):
        if task in schedule["open"]:
            by_cause.setdefault(why, []).append(f"{task} ({clean(reason)})" if reason else task)
    if by_cause:
        yield ""
    for why, tasks in by_cause.items():
        yield f"waiting for {why}: {listed(tasks, most=8)}"
