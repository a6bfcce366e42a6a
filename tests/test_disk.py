"""What a run may have on disk: counted whatever it looks like, and the run ended where it is too much."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

import pytest

from tests.requirements import IMAGE, needs
from thrum.config import SandboxConfig
from thrum.files import remove_tree
from thrum.job import Ending, Job, Outcome
from thrum.sandbox import Sandbox, open_sandbox
from thrum.sandbox.disk import Count, Usage, space_of

MIB = 1 << 20


def counted(*directories: Path, space: int | None = None) -> Usage:
    count = Count(map(str, directories))
    for _ in count.steps(space):
        pass
    return count.usage


def test_what_lies_in_directories_is_added_up(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "c").mkdir()
    (tmp_path / "a/big").write_bytes(b"x" * MIB)
    (tmp_path / "a/b/small").write_bytes(b"x")
    found = counted(tmp_path)
    assert found.files == 5
    assert MIB < found.size_bytes < MIB + 65536
    assert counted(tmp_path / "a", tmp_path / "c").files == 3


def test_links_add_nothing(tmp_path: Path) -> None:
    inner, outer = tmp_path / "inner", tmp_path / "outer"
    inner.mkdir()
    outer.mkdir()
    (outer / "big").write_bytes(b"x" * MIB)
    (inner / "soft").symlink_to(outer)
    (inner / "one").write_bytes(b"x" * MIB)
    (inner / "two").hardlink_to(inner / "one")
    found = counted(inner)
    assert found.files == 3
    assert MIB <= found.size_bytes < MIB + 65536


def test_a_hole_in_a_file_is_not_on_disk(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    assert counted(tmp_path).size_bytes < 65536


def test_directories_deeper_than_any_path_are_counted(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d" * 20, dir_fd=here)
        below = os.open("d" * 20, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    with open("big", "wb", opener=lambda name, flags: os.open(name, flags, 0o600, dir_fd=here)) as file:
        file.write(b"x" * MIB)
    os.close(here)
    found = counted(tmp_path)
    # pytest clears old folders by recursion: a later run would end with an error at this one.
    remove_tree(tmp_path / ("d" * 20))
    assert found.files == 1501
    assert found.size_bytes > MIB


def test_a_deleted_file_that_is_open_is_counted_for_its_processes_only(tmp_path: Path) -> None:
    with (tmp_path / "gone").open("wb") as file:
        file.write(b"x" * MIB)
        file.flush()
        (tmp_path / "gone").unlink()
        assert counted(tmp_path, space=space_of(os.getpid())).size_bytes >= MIB
        assert counted(tmp_path).size_bytes < 65536
    assert counted(tmp_path, space=space_of(os.getpid())).size_bytes < 65536


def test_what_is_not_there_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory")
    assert counted(tmp_path / "none", tmp_path / "file") == Usage()


# --- In sandboxes -----------------------------------------------------------------------------------------------------


@pytest.fixture(params=[pytest.param("os-native", marks=needs("bwrap")), pytest.param("docker", marks=needs("docker"))])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def opened(backend: str, **limits: Any) -> Sandbox:
    config = SandboxConfig(backend=backend, image=IMAGE, memory_limit_mb=0, pids_limit=0, **limits)  # type: ignore[arg-type]
    return open_sandbox(config, name=f"test-disk-{os.getpid()}-{secrets.token_hex(4)}")


def run(sandbox: Sandbox, work: Path, script: str) -> Outcome:
    work.mkdir(exist_ok=True)
    if sandbox.uid is not None:
        os.chown(work, sandbox.uid, sandbox.uid)
    return sandbox.run(Job(argv=("sh", "-c", script), cwd=str(work), writable=(str(work),), wall_s=300))


def test_a_run_that_fills_the_disk_is_ended_and_the_next_may_gather(backend: str, tmp_path: Path) -> None:
    with opened(backend, disk_limit_mb=4) as sandbox:
        assert sandbox.describe()["limits"]["disk"] == "looked at in intervals: 4 MiB, 1000000 files"
        full = run(sandbox, tmp_path / "work", "trap '' TERM; head -c 6M /dev/zero >a; exec sleep 600")
        assert (full.ending, full.exit_code, full.signal) == (Ending.EXITED, None, 9)
        assert (full.reason, full.limit) == ("disk limit of 4 MiB reached", "disk_limit_mb")
        gathering = run(sandbox, tmp_path / "work", "head -c 100K /dev/zero >b; sleep 1.5")
        assert gathering.ok, gathering
        assert run(sandbox, tmp_path / "work", "sleep 600").reason == "disk limit of 4 MiB reached"


@needs("bwrap")
def test_a_run_that_writes_too_many_files_is_ended(tmp_path: Path) -> None:
    with opened("os-native", disk_limit_mb=0, disk_limit_files=500) as sandbox:
        many = run(sandbox, tmp_path / "work", "seq 600 | xargs touch; exec sleep 600")
        assert (many.reason, many.limit) == ("disk limit of 500 files reached", "disk_limit_files")


def test_without_a_limit_nothing_is_looked_at(backend: str, tmp_path: Path) -> None:
    with opened(backend, disk_limit_mb=0, disk_limit_files=0) as sandbox:
        assert "disk" not in sandbox.describe()["limits"]
        assert run(sandbox, tmp_path / "work", "head -c 6M /dev/zero >a; sleep 1.5").ok
