"""Attempts to get out of each sandbox: all fail, and without a sandbox they do not."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.escapes import Attempt, Filling, Planting, Telling
from tests.escapes.limited import fill, opened
from tests.escapes.planted import Planted
from tests.escapes.planting import PLANTING
from tests.escapes.suite import DIRECT, FILLING, GROUPS, TELLING, table
from tests.escapes.terminal import seen
from tests.escapes.world import World
from tests.projects import ThrumProject
from tests.requirements import IMAGE, needs
from thrum import workspace
from thrum.config import SandboxConfig
from thrum.job import Ending, Job
from thrum.sandbox import Sandbox, open_sandbox, process, profile, sweep

PAGE = (Path(__file__).resolve().parent.parent / "docs/security.md").read_text()
NATIVE, DOCKER = pytest.param("os-native", marks=needs("bwrap")), pytest.param("docker", marks=needs("docker"))
LIMITED = pytest.param("os-native", marks=needs("bwrap", "cgroup-writable"))
CONTROL = re.compile(rb"[^\t\r\n -~\x80-\xff]|\xc2[\x80-\x9f]")


def as_root() -> bool:
    """Whether we are root with what that usually means; in a container root may lack it."""
    needed = (
        2,
        16,
        19,
        21,
        23,
        25,
        27,
        34,
    )  # DAC_READ_SEARCH, SYS_MODULE, _PTRACE, _ADMIN, _NICE, _TIME, MKNOD, SYSLOG
    (held,) = re.findall(r"^CapEff:\s*(\w+)", Path("/proc/self/status").read_text(), re.MULTILINE)
    return os.geteuid() == 0 and all(int(held, 16) >> bit & 1 for bit in needed)


def named(attempts: Sequence[Attempt]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("attempt", attempts, ids=[one.name for one in attempts])


@pytest.fixture(scope="module", autouse=True)
def _no_litter() -> Iterator[None]:
    yield
    sweep(f"test-escapes-{os.getpid()}-")


# --- The page ---------------------------------------------------------------------------------------------------------


def test_the_page_tells_of_every_attempt_what_the_suite_knows_of_it() -> None:
    assert table() in PAGE, "regenerate it: python -m tests.escapes prints it"
    attempts = [one for group in GROUPS.values() for one in group]
    assert len({one.name for one in attempts}) == len(attempts) >= 40
    assert f"{len(attempts)} attempts" in PAGE


# --- What is around ---------------------------------------------------------------------------------------------------


def made(factory: pytest.TempPathFactory, backend: str) -> Iterator[World]:
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        world = World(factory.mktemp("w"), backend, stack)
        patch.setenv("KEY_OF_THRUM", world.secret)
        yield world


@pytest.fixture(scope="module", params=[NATIVE, DOCKER])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    yield from made(tmp_path_factory, request.param)


@pytest.fixture(scope="module")
def open_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One without walls."""
    yield from made(tmp_path_factory, "none")


@named(DIRECT)
def test_an_attempt_does_not_get_out(world: World, attempt: Attempt) -> None:
    outcome, found = world.attempt(attempt)
    assert not found, outcome
    # What would have been ended, or never began, could not have got out.
    assert outcome.ending is Ending.EXITED, outcome


@named([one for one in DIRECT if one.none != "not tried"])
def test_without_a_sandbox_the_same_attempt_gets_out(open_world: World, attempt: Attempt) -> None:
    outcome, found = open_world.attempt(attempt)
    if attempt.none == "gets out" or (attempt.none == "gets out as root" and as_root()):
        assert found, outcome
    if attempt.none == "held":
        assert not found, outcome


# --- Limits -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[LIMITED, DOCKER])
def small(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """A sandbox with small limits."""
    with opened(request.param) as sandbox:
        yield sandbox


@named(FILLING)
def test_the_machine_is_not_used_up(
    small: Sandbox, attempt: Filling, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "GRACE_S", 0.3)
    outcome, found = fill(small, tmp_path / "work", attempt)
    assert not found, outcome


# --- Git --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where repositories and clones lie; everybody may go there."""
    place = tmp_path_factory.mktemp("place")
    place.chmod(0o777)
    return place


@pytest.fixture(scope="module", params=[NATIVE, DOCKER, "none"])
def walls(request: pytest.FixtureRequest, place: Path) -> Iterator[Sandbox]:
    """Any sandbox that shows all around the source, for reading."""
    around = str(place)
    config: Any = {"backend": request.param, "image": IMAGE, "limits": "best-effort", "mount_paths": (around,)}
    with open_sandbox(SandboxConfig(**config), name=f"test-escapes-{os.getpid()}-git-{request.param}") as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def planted(walls: Sandbox, place: Path) -> Planted:
    return Planted(place / secrets.token_hex(4), walls)


@named(PLANTING)
def test_what_is_planted_in_a_clone_does_not_get_out(
    planted: Planted, attempt: Planting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workspace, "LONG_WALL_S", 120.0)
    outcome = planted.plant(attempt)
    assert outcome.ending is Ending.EXITED, outcome
    if planted.sandbox.name == "none" and attempt.none == "gets out":
        assert list(planted.escaped()), outcome
        return
    told = planted.bring_in()
    assert not list(planted.escaped()), (outcome, told)
    if planted.sandbox.name != "docker":  # each start takes a while there, and what is done outside is the same
        planted.workspace.prepare(planted.base)
        assert not list(planted.escaped()), outcome


@pytest.fixture(scope="module")
def bare(place: Path) -> Iterator[Planted]:
    """A clone without walls."""
    with open_sandbox(SandboxConfig(backend="none"), name=f"test-escapes-{os.getpid()}-naive") as sandbox:
        yield Planted(place / secrets.token_hex(4), sandbox)


@named([one for one in PLANTING if one.naive])
def test_where_git_is_simply_run_on_the_clone_it_does(attempt: Planting, bare: Planted) -> None:
    outcome = bare.plant(attempt)
    assert not list(bare.escaped()), outcome
    bare.naively()
    assert "the canary sang" in bare.escaped()


# --- Terminals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", [NATIVE, DOCKER, "none"])
def test_no_terminal_is_taken_over(tmp_path: Path, backend: str) -> None:
    project = ThrumProject(tmp_path)
    script = "; ".join(one.script for one in TELLING)
    pipeline = tmp_path / "configs/pipeline.toml"
    text = pipeline.read_text().replace('"none"\n', f'"{backend}"\nimage = "{IMAGE}"\nlimits = "best-effort"\n', 1)
    pipeline.write_text(
        re.sub(r"(?m)^prompt_args = .*$", lambda _: f"prompt_args = {json.dumps(['-c', script])}", text)
    )
    task = project.add("Take over")
    project.command("run", code=4)
    attempts: Sequence[Telling] = TELLING
    for attempt in attempts:
        told = b"".join(seen(tmp_path, *command, task) for command in attempt.commands)
        assert b"owned" in told, (attempt.name, told)
        assert not CONTROL.findall(told), (attempt.name, told)


# --- What some of it rests on -----------------------------------------------------------------------------------------


def test_where_memory_is_short_programs_go_first(world: World) -> None:
    job = Job(argv=("cat", "/proc/self/oom_score_adj"), cwd="/", wall_s=60)
    assert world.sandbox.run(job).tail == "1000\n"


@pytest.mark.parametrize(
    ("version", "ours"),
    [("20.10.24+dfsg1", True), ("24.0.7", True), ("25.0.0", False), ("28.1.1", False), ("dev", True)],
)
def test_engines_get_a_filter_of_ours_unless_their_own_is_as_good(version: str, ours: bool) -> None:
    assert profile.needed(version) is ours


def test_a_machine_that_is_not_known_gets_the_filter_of_its_engine() -> None:
    assert profile.profile("vax") is None
    assert "io_uring_setup" in (profile.profile("x86_64") or "")
