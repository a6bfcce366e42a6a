"""What disks, crashes and other processes do to stores, and what thrum.storage makes of it."""

from __future__ import annotations

import itertools
import os
import select
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.store_model import REPO, filled
from thrum.batch import Batch
from thrum.errors import StoreDamagedError, StoreError, StoreInUseError
from thrum.storage import LevelRows, examine, open_store, set_aside
from thrum.store import Store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "stores" / REPO


def log_file(path: Path) -> Path:
    (found,) = path.glob("*.log")
    return found


def outcome_of_opening(path: Path) -> str:
    """`refused` if the damage was found on opening, else what verifying says."""
    try:
        store = open_store(path, repo=REPO)
    except StoreDamagedError:
        return "refused"
    with store:
        return "whole" if store.verify().ok else "found"


@pytest.mark.parametrize("place_in_log", [0.001, 0.1, 0.3, 0.5, 0.7, 0.9, 0.999])
def test_a_flipped_byte_in_the_log_is_found(path: Path, place_in_log: float) -> None:
    with open_store(path, repo=REPO) as store:
        filled(store, 200)
    log = log_file(path)
    content = bytearray(log.read_bytes())
    content[int(len(content) * place_in_log)] ^= 0x10
    log.write_bytes(content)
    examined = examine(path)
    assert not examined.ok
    assert examined.problem.startswith(f"{path} is damaged")
    assert examined.first_bad_seq == examined.events + 1 <= 200
    assert outcome_of_opening(path) != "whole"


def test_a_flipped_byte_in_a_table_is_found(path: Path) -> None:
    for _ in range(2):
        with open_store(path, repo=REPO) as store:
            if not store.load().tasks:
                filled(store, 200)
    (table,) = path.glob("*.ldb")
    content = table.read_bytes()
    for place_in_table in (0.01, 0.2, 0.4, 0.6, 0.8, 0.97):
        damaged = bytearray(content)
        damaged[int(len(content) * place_in_table)] ^= 0x10
        table.write_bytes(damaged)
        assert not examine(path).ok
        assert outcome_of_opening(path) != "whole"
    table.write_bytes(content)
    assert outcome_of_opening(path) == "whole"


@pytest.mark.parametrize("cut_bytes", [1, 5, 100, 700, 5000, 20_000])
def test_a_log_cut_short_opens_as_it_once_was_or_not_at_all(path: Path, cut_bytes: int) -> None:
    with open_store(path, repo=REPO) as store:
        model = filled(store, 200)
    log = log_file(path)
    os.truncate(log, log.stat().st_size - cut_bytes)
    assert examine(path).events < 200
    try:
        store = open_store(path, repo=REPO)
    except StoreDamagedError:
        return
    with store:
        events = list(store.events())
        assert events == model.events[: len(events)]
        assert len(events) < 200
        assert store.verify().ok


def test_a_log_with_zeros_at_its_end_is_found(path: Path) -> None:
    with open_store(path, repo=REPO) as store:
        filled(store, 200)
    log = log_file(path)
    size = log.stat().st_size
    os.truncate(log, size - 3000)
    os.truncate(log, size)
    with pytest.raises(StoreDamagedError):
        open_store(path, repo=REPO)
    assert examine(path).events < 200


@pytest.mark.parametrize("pattern", ["CURRENT", "MANIFEST-*", "*.ldb"])
def test_a_missing_file_is_damage_and_never_a_new_store(path: Path, pattern: str) -> None:
    for _ in range(2):
        with open_store(path, repo=REPO) as store:
            if not store.load().tasks:
                filled(store)
    for file in path.glob(pattern):
        file.unlink()
    left = {file.name for file in path.glob("*.l*")}
    with pytest.raises(StoreDamagedError):
        open_store(path, repo=REPO)
    assert left <= {file.name for file in path.iterdir()}
    assert not examine(path).ok


def test_a_damaged_store_is_set_aside_as_it_is_and_can_be_examined(path: Path) -> None:
    with open_store(path, repo=REPO) as store:
        filled(store, 200)
    log = log_file(path)
    content = bytearray(log.read_bytes())
    content[len(content) // 2] ^= 1
    log.write_bytes(content)
    with pytest.raises(StoreDamagedError, match="damaged"):
        open_store(path, repo=REPO)
    aside = set_aside(path, at=0.0)
    assert aside == path.with_name(f"{REPO}.damaged-19700101T000000Z")
    before = {file.name: file.read_bytes() for file in aside.iterdir()}
    found = examine(aside)
    assert before == {file.name: file.read_bytes() for file in aside.iterdir()}
    assert not found.ok
    assert found.first_bad_seq == found.events + 1
    assert 20 < found.events < 199
    with open_store(path, repo=REPO) as store:
        assert store.load().tasks == {}
    assert set_aside(path, at=0.0).name == f"{REPO}.damaged-19700101T000000Z-2"


def test_a_whole_store_is_examined_as_such(path: Path) -> None:
    with open_store(path, repo=REPO) as store:
        filled(store)
    found = examine(path)
    assert (found.ok, found.events, found.tasks, found.first_bad_seq) == (True, 20, 3, None)


def test_no_store_is_made_where_none_is_wanted(path: Path) -> None:
    with pytest.raises(StoreError, match="no store"):
        open_store(path, repo=REPO, create=False)
    assert not path.exists()
    open_store(path, repo=REPO).close()
    open_store(path, repo=REPO, create=False).close()
    assert path.stat().st_mode & 0o077 == 0


def test_a_start_that_died_before_its_first_write_is_made_good(path: Path) -> None:
    path.mkdir(parents=True)
    LevelRows(path, create=True).close()
    with open_store(path, repo=REPO) as store:
        assert store.load().tasks == {}
    shutil.rmtree(path)
    path.mkdir()
    # How LevelDB leaves a directory when it is killed before it names its first manifest.
    for name in ("LOCK", "LOG", "MANIFEST-000001", "000001.dbtmp"):
        (path / name).touch()
    open_store(path, repo=REPO).close()


@pytest.mark.parametrize("obstacle", ["a file in its place", "a file in its parent's place"])
def test_a_place_that_cannot_be_used_is_no_damage(path: Path, obstacle: str) -> None:
    blocked = path if obstacle == "a file in its place" else path.parent
    blocked.parent.mkdir(parents=True, exist_ok=True)
    blocked.touch()
    with pytest.raises(StoreError, match="cannot be used") as caught:
        open_store(path, repo=REPO)
    assert not isinstance(caught.value, StoreDamagedError)


class Watched:
    """LevelDB as it is, with a record of how each batch was to be written."""

    def __init__(self, db: Any) -> None:
        self.db = db
        self.asked: list[dict[str, bool]] = []

    def write_batch(self, **how: bool) -> Any:
        self.asked.append(how)
        return self.db.write_batch(**how)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.db, name)


def test_a_write_is_synced_and_whole_unless_it_says_that_it_may_be_lost(path: Path) -> None:
    rows = LevelRows(path, create=True)
    rows._db = watched = Watched(rows._db)
    with Store(rows, repo=REPO) as store:
        store.write(Batch(marks={"s": 1}))
        store.write(Batch(marks={"s": 2}), sync=False)
    both = {"transaction": True, "sync": True}
    assert watched.asked == [both, both, {"transaction": True, "sync": False}]


# --- Other processes ------------------------------------------------------------------------------------------

WRITER = """
import itertools, resource, sys
from pathlib import Path
from thrum.batch import Batch
from thrum.errors import StoreError
from thrum.storage import open_store
from thrum.task import Event, Task
path, repo, mode = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
store = open_store(path, repo=repo)
last = store.load().last_seq
print("open", flush=True)
if mode == "hold":
    sys.stdin.read()
    sys.exit()
if mode == "limited":
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
task = Task(id="t-1", repo=repo, title="x")
for seq in itertools.count(last + 1):
    first = {"id": "t-1", "repo": repo, "title": "x"} if seq == 1 else {}
    reason = f"{seq} " + "y" * 700
    task = Task(id="t-1", repo=repo, title="x", reason=reason)
    event = Event(seq=seq, task="t-1", at=1.0, kind="moved" if last or seq > 1 else "added",
                  changes={**first, "reason": reason})
    try:
        store.write(Batch(events=(event,), tasks=(task,), marks={"m": seq}))
    except StoreError as error:
        print("failed", error, flush=True)
        try:
            store.write(Batch(marks={"m": 0}))
        except StoreError as error:
            print("again", error, flush=True)
        sys.exit(3)
    print(seq, flush=True)
"""


def writer(path: Path, mode: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), REPO, mode], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def line(child: subprocess.Popen[bytes]) -> str:
    assert child.stdout is not None
    assert select.select([child.stdout], [], [], 30)[0]
    return child.stdout.readline().decode().strip()


def test_a_store_that_another_process_has_open_is_in_use(path: Path) -> None:
    with writer(path, "hold") as child:
        assert line(child) == "open"
        with pytest.raises(StoreInUseError, match="in use by another process"):
            open_store(path, repo=REPO, deadline_s=0.1)
        assert child.stdin is not None
        child.stdin.close()
        open_store(path, repo=REPO, deadline_s=30).close()
    assert child.returncode == 0


def test_a_store_that_this_process_has_open_is_in_use(path: Path) -> None:
    with open_store(path, repo=REPO), pytest.raises(StoreInUseError):
        open_store(path, repo=REPO)


@pytest.mark.parametrize("acknowledged", [0, 1, 37, 150])
def test_what_was_acknowledged_survives_a_kill_in_the_middle_of_writing(path: Path, acknowledged: int) -> None:
    for _ in range(2):
        with writer(path, "write") as child:
            assert line(child) == "open"
            seen = list(itertools.islice(iter(lambda: line(child), ""), acknowledged))
            child.send_signal(signal.SIGKILL)
            assert child.stdout is not None
            seen += child.stdout.read().decode().split()
        with open_store(path, repo=REPO, deadline_s=30) as store:
            loaded = store.load()
            assert loaded.last_seq - int(seen[-1] if seen else 0) in range(2) or not seen
            assert loaded.marks == ({"m": loaded.last_seq} if loaded.last_seq else {})
            assert store.verify().ok


def check_a_full_disk(path: Path, mode: str, error: str) -> int:
    """Let a child write until it cannot; everything that it acknowledged is there, and how much that was."""
    with writer(path, mode) as child:
        assert line(child) == "open"
        assert child.stdout is not None
        said = child.stdout.read().decode().splitlines()
    assert child.returncode == 3
    assert said[-2].startswith("failed")
    assert error in said[-2]
    assert "this process must end" in said[-2]
    assert "earlier write failed" in said[-1]
    return int(said[-3])


def test_after_a_write_that_failed_the_process_must_end_and_nothing_acknowledged_is_lost(path: Path) -> None:
    acknowledged = check_a_full_disk(path, "limited", "File too large")
    with open_store(path, repo=REPO) as store:
        assert store.load().last_seq in (acknowledged, acknowledged + 1)
        assert store.verify().ok


def fill(path: Path) -> None:
    """Take all the space that is left."""
    with path.open("wb", buffering=0) as rest, suppress(OSError):
        while rest.write(bytes(4096)):
            pass


def test_a_full_disk_loses_nothing_and_is_no_damage(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", disk], check=False).returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        acknowledged = check_a_full_disk(disk / "store", "write", "No space left on device")
        fill(disk / "rest")
        with pytest.raises(StoreError, match="No space left") as caught:
            open_store(disk / "store", repo=REPO)
        assert not isinstance(caught.value, StoreDamagedError)
        subprocess.run(["mount", "-o", "remount,size=30m", disk], check=True)
        with open_store(disk / "store", repo=REPO) as store:
            assert store.load().last_seq in (acknowledged, acknowledged + 1)
            assert store.verify().ok
    finally:
        subprocess.run(["umount", disk], check=True)
