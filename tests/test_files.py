"""thrum.files on real file systems: what a crash, another user or an untrusted program can do to them."""

from __future__ import annotations

import hashlib
import os
import resource
import select
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thrum.errors import BusyError, ConfigError, NotFoundError, RefusedError, UsageError
from thrum.files import (
    Lock,
    OutputStore,
    holder_of,
    remove_tree,
    runtime_directory,
    secret,
    write_atomically,
    write_untrusted,
)

BECOME = """
import os
from pathlib import Path
import thrum.files
os.setgroups([]); os.setgid(12345); os.setuid(12345)
"""
"""For a child process of root: go on as another user, with what only root may import imported."""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to act as another user")


# --- write_atomically ------------------------------------------------------------------------------------------


def test_a_write_replaces_the_content_and_sets_the_mode(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    write_atomically(path, b"new", mode=0o640)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert os.listdir(tmp_path) == ["file"]


def test_a_write_that_fails_leaves_the_old_content_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    script = (
        "import resource, sys; from pathlib import Path; from thrum.files import write_atomically\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))\n"
        "try: write_atomically(Path(sys.argv[1]), b'x' * 5000)\n"
        "except OSError as error: print(error.strerror)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, timeout=30)
    assert done.stdout == "File too large\n", done.stderr
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_write_replaces_a_symbolic_link_and_spares_what_it_points_to(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "file").symlink_to(victim)
    write_atomically(tmp_path / "file", b"new")
    assert victim.read_bytes() == b"precious"
    assert (tmp_path / "file").read_bytes() == b"new"


def test_a_file_is_put_among_what_an_untrusted_program_wrote_in_the_place_of_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "kept").write_text("kept")
    for there in ("nothing", "a file", "a link", "a hard link", "a pipe"):
        file = tmp_path / "inner" / "file"
        file.unlink(missing_ok=True)
        match there:
            case "a file":
                file.write_text("old")
            case "a link":
                file.symlink_to(tmp_path / "kept")
            case "a hard link":
                file.hardlink_to(tmp_path / "kept")
            case "a pipe":
                os.mkfifo(file)
        write_untrusted(tmp_path, "inner/file", b"new", uid=None)
        assert (file.read_text(), file.is_symlink(), stat.S_IMODE(file.stat().st_mode)) == ("new", False, 0o600), there
    assert (tmp_path / "kept").read_text() == "kept"
    assert list((tmp_path / "inner").iterdir()) == [file]


@pytest.mark.parametrize("path", ["link/file", "missing/file", "folder"])
def test_a_file_is_not_put_where_a_link_leads_or_a_folder_lies(tmp_path: Path, path: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    (root / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        write_untrusted(root, path, b"new", uid=None)
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert sorted(one.name for one in root.iterdir()) == ["folder", "link"], "nothing is left of the try"
    for out in ("../file", "/file", "", "folder/../../file"):
        with pytest.raises(ValueError):
            write_untrusted(root, out, b"new", uid=None)


# --- OutputStore -----------------------------------------------------------------------------------------------


def adopt(outputs: OutputStore, folder: Path, content: bytes) -> tuple[str, int]:
    folder.mkdir(exist_ok=True)
    path = folder / "output"
    path.write_bytes(content)
    answer = outputs.adopt(path)
    assert not path.exists()
    return answer


def test_an_adopted_file_is_found_by_its_digest(tmp_path: Path) -> None:
    outputs = OutputStore(tmp_path / "kept")
    digest, size = adopt(outputs, tmp_path / "in", b"hello")
    assert (digest, size) == (hashlib.sha256(b"hello").hexdigest(), 5)
    assert outputs.read(digest, limit=100) == (b"hello", 5)
    assert (tmp_path / "kept" / digest[:2] / digest[2:]).is_file()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(content=st.binary(max_size=200), offset=st.integers(0, 2**70), limit=st.integers(0, 2**70))
def test_a_piece_of_an_output_is_that_slice_of_it(tmp_path: Path, content: bytes, offset: int, limit: int) -> None:
    outputs = OutputStore(tmp_path / "kept")
    digest, _ = adopt(outputs, tmp_path / "in", content)
    assert outputs.read(digest, offset=offset, limit=limit) == (content[offset : offset + limit], len(content))


def test_the_same_content_is_kept_once(tmp_path: Path) -> None:
    outputs = OutputStore(tmp_path / "kept")
    assert adopt(outputs, tmp_path / "in", b"twice") == adopt(outputs, tmp_path / "in", b"twice")
    assert sum(1 for path in (tmp_path / "kept").rglob("*") if path.is_file()) == 1


def test_a_file_from_another_file_system_is_copied_in(tmp_path: Path) -> None:
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK) or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs /dev/shm on another file system than the temporary directory")
    with tempfile.TemporaryDirectory(dir=memory) as elsewhere:
        outputs = OutputStore(tmp_path / "kept")
        digest, size = adopt(outputs, Path(elsewhere), b"x" * 3_000_000)
    assert outputs.read(digest, offset=2_999_999) == (b"x", size)
    assert [path.name for path in (tmp_path / "kept" / digest[:2]).iterdir()] == [digest[2:]]


@pytest.mark.parametrize("digest", ["", "0" * 64, "G" * 64, "/etc/passwd", ".." + "/etc/passwd".rjust(62, "/")])
def test_an_unknown_digest_is_not_found_and_never_a_path(tmp_path: Path, digest: str) -> None:
    with pytest.raises(NotFoundError):
        OutputStore(tmp_path).read(digest)


def test_a_negative_offset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        OutputStore(tmp_path).read("0" * 64, offset=-1)


def test_pieces_are_kept_as_the_one_output_that_they_are(tmp_path: Path) -> None:
    outputs = OutputStore(tmp_path / "kept")
    digest, size = outputs.gather([b"a", b"", b"bc"])
    assert (digest, size) == (hashlib.sha256(b"abc").hexdigest(), 3)
    assert outputs.gather(iter([b"abc"])) == (digest, size)
    assert outputs.read(digest) == (b"abc", 3)


def test_pieces_that_break_off_leave_no_litter(tmp_path: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"a"
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="gone"):
        OutputStore(tmp_path / "kept").gather(pieces())
    assert list((tmp_path / "kept").iterdir()) == []


def test_a_symbolic_link_or_a_pipe_is_not_adopted(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe"):
        with pytest.raises(RefusedError):
            OutputStore(tmp_path / "kept").adopt(tmp_path / name)


# --- Lock ------------------------------------------------------------------------------------------------------

HOLD = """
import sys
from pathlib import Path
from thrum.files import Lock
with Lock(Path(sys.argv[1]), kind="up", details={"broker": "here"}):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that holds `tmp_path/lock` until its standard input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert select.select([child.stdout], [], [], 30)[0]
        assert child.stdout.readline() == b"held\n"
        yield child
        child.kill()


def test_a_lock_that_another_process_holds_says_who_it_is(tmp_path: Path, holder: subprocess.Popen[bytes]) -> None:
    with pytest.raises(BusyError, match=f"held by up \\(process {holder.pid}\\)"):
        Lock(tmp_path / "lock", kind="test").acquire()
    found = holder_of(tmp_path / "lock")
    assert found is not None
    assert (found.pid, found.kind, found.details) == (holder.pid, "up", {"broker": "here"})


def test_a_lock_outlives_its_holder_by_nothing(tmp_path: Path, holder: subprocess.Popen[bytes]) -> None:
    holder.kill()
    # Not waited for: a zombie holds nothing any more, and the kernel may take a moment to make it one.
    with Lock(tmp_path / "lock", kind="test").acquire(deadline_s=30):
        found = holder_of(tmp_path / "lock")
        assert found is not None
        assert found.pid == os.getpid()


def test_a_holder_that_was_killed_is_nobody(tmp_path: Path, holder: subprocess.Popen[bytes]) -> None:
    holder.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
    assert b"up" in (tmp_path / "lock").read_bytes()
    assert holder_of(tmp_path / "lock") is None


def test_a_lock_is_waited_for_until_its_deadline(tmp_path: Path, holder: subprocess.Popen[bytes]) -> None:
    lock = Lock(tmp_path / "lock", kind="test")
    acquired = threading.Event()

    def wait() -> None:
        with lock.acquire(deadline_s=30):
            acquired.set()

    waiter = threading.Thread(target=wait)
    waiter.start()
    assert not acquired.is_set()
    assert holder.stdin is not None
    holder.stdin.close()
    assert acquired.wait(30)
    waiter.join(30)


def test_a_lock_that_was_let_go_has_no_holder_and_can_be_had_again(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "lock", kind="test")
    assert holder_of(tmp_path / "lock") is None
    for _ in range(2):
        with lock:
            with pytest.raises(BusyError):
                Lock(tmp_path / "lock", kind="other").acquire()
            with pytest.raises(RefusedError):
                lock.acquire()
        assert holder_of(tmp_path / "lock") is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid": 1}', b"\xff\xfe"])
def test_a_lock_file_with_any_content_can_be_read_and_had(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "lock").write_bytes(content)
    assert holder_of(tmp_path / "lock") is None
    with Lock(tmp_path / "lock", kind="test"):
        assert holder_of(tmp_path / "lock") is not None


# --- secret ----------------------------------------------------------------------------------------------------


def test_a_secret_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    token = secret(tmp_path / "token")
    assert len(token) >= 32
    assert secret(tmp_path / "token") == token
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["token"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_secret_that_others_can_read_is_refused_with_a_remedy(tmp_path: Path, mode: int) -> None:
    secret(tmp_path / "token")
    (tmp_path / "token").chmod(mode)
    with pytest.raises(ConfigError, match=f"read by others \\(mode {mode:04o}\\)") as caught:
        secret(tmp_path / "token")
    assert str(tmp_path / "token") in caught.value.remedy


def test_an_empty_secret_a_link_and_a_pipe_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").touch(0o600)
    (tmp_path / "link").symlink_to("/etc/hostname")
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name in ("empty", "link", "pipe"):
        with pytest.raises(ConfigError, match=name):
            secret(tmp_path / name)


@as_root
def test_a_secret_of_another_user_is_refused(short: Path) -> None:
    short.chmod(0o755)
    secret(short / "token")
    script = f"{BECOME}from thrum.files import secret\nsecret(Path({str(short / 'token')!r}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert f"ConfigError: {short / 'token'}: cannot be read: Permission denied" in done.stderr


def test_many_that_make_the_same_secret_get_the_same_one(tmp_path: Path) -> None:
    start = threading.Barrier(8)
    seen: list[str] = []

    def make() -> None:
        start.wait(30)
        seen.append(secret(tmp_path / "token"))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(seen) == 8
    assert len(set(seen)) == 1


# --- runtime_directory -----------------------------------------------------------------------------------------


def test_the_sockets_lie_in_the_users_runtime_directory(tmp_path: Path, short: Path) -> None:
    directory = runtime_directory(tmp_path, environ={"XDG_RUNTIME_DIR": str(short)})
    assert directory.parent == short / "thrum"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert runtime_directory(tmp_path, environ={"XDG_RUNTIME_DIR": str(short)}) == directory
    assert runtime_directory(tmp_path / "other", environ={"XDG_RUNTIME_DIR": str(short)}) != directory


@pytest.mark.parametrize("variable", ["", "relative/path", "/no/such/directory"])
def test_without_a_usable_one_they_lie_in_the_temporary_directory(
    tmp_path: Path, short: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(short))
    directory = runtime_directory(tmp_path, environ={"XDG_RUNTIME_DIR": variable})
    assert directory.parent == short / f"thrum-{os.geteuid()}"


def test_a_path_too_long_for_sockets_is_passed_over(
    tmp_path: Path, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = short / ("x" * 80)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(short))
    directory = runtime_directory(tmp_path, environ={"XDG_RUNTIME_DIR": str(long)})
    assert directory.parent == short / f"thrum-{os.geteuid()}"
    assert not any(long.iterdir())


def test_the_longest_path_that_is_used_holds_a_socket_with_a_name_of_20(
    tmp_path: Path, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = 107 - 1 - 20 - len(str(short)) - len("/" + "/thrum/" + "0" * 16)
    exact, longer = short / ("x" * room), short / ("x" * room + "x")
    exact.mkdir()
    longer.mkdir()
    directory = runtime_directory(tmp_path, environ={"XDG_RUNTIME_DIR": str(exact)})
    assert directory.parent.parent == exact
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(directory / ("n" * 20)))
    monkeypatch.setattr(tempfile, "tempdir", str(short))
    assert runtime_directory(tmp_path, environ={"XDG_RUNTIME_DIR": str(longer)}).parent.parent == short


def test_the_sockets_have_a_place_though_a_supervisor_that_ends_removes_it_just_now(
    tmp_path: Path, short: Path
) -> None:
    environ = {"XDG_RUNTIME_DIR": str(short)}
    directory = runtime_directory(tmp_path, environ=environ)
    over = threading.Event()

    def remove() -> None:
        while not over.is_set():
            with suppress(FileNotFoundError):
                directory.rmdir()

    remover = threading.Thread(target=remove)
    remover.start()
    try:
        assert {runtime_directory(tmp_path, environ=environ) for _ in range(2000)} == {directory}
    finally:
        over.set()
        remover.join()


@pytest.mark.parametrize("level", ["thrum", "project"])
def test_a_directory_that_others_may_enter_is_refused(tmp_path: Path, short: Path, level: str) -> None:
    environ = {"XDG_RUNTIME_DIR": str(short)}
    directory = runtime_directory(tmp_path, environ=environ)
    (directory if level == "project" else directory.parent).chmod(0o710)
    with pytest.raises(RefusedError, match="only this user may enter"):
        runtime_directory(tmp_path, environ=environ)


def test_a_link_in_the_place_of_the_directory_is_refused(tmp_path: Path, short: Path) -> None:
    (short / "elsewhere").mkdir(mode=0o700)
    (short / "thrum").symlink_to(short / "elsewhere")
    with pytest.raises(RefusedError):
        runtime_directory(tmp_path, environ={"XDG_RUNTIME_DIR": str(short)})


@as_root
def test_the_runtime_directory_of_another_user_is_passed_over(
    tmp_path: Path, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = short / "theirs"
    theirs.mkdir(mode=0o700)
    os.chown(theirs, 12345, 12345)
    monkeypatch.setattr(tempfile, "tempdir", str(short))
    assert runtime_directory(tmp_path, environ={"XDG_RUNTIME_DIR": str(theirs)}).parent.parent == short
    assert not any(theirs.iterdir())


@as_root
def test_a_directory_that_another_user_made_first_is_refused(
    tmp_path: Path, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(short))
    squatted = short / f"thrum-{os.geteuid()}"
    squatted.mkdir(mode=0o700)
    os.chown(squatted, 12345, 12345)
    with pytest.raises(RefusedError, match=str(squatted)):
        runtime_directory(tmp_path, environ={})


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory whose path is short; pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as name:
        yield Path(name)


# --- remove_tree -----------------------------------------------------------------------------------------------


def test_a_tree_that_is_not_there_is_fine(tmp_path: Path) -> None:
    remove_tree(tmp_path / "none")


def test_a_tree_goes_and_what_its_links_point_to_stays(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("precious")
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "file").write_text("x")
    (tree / "to-directory").symlink_to(outside)
    (tree / "a" / "b" / "to-file").symlink_to(outside / "precious")
    (tree / "a" / "dangling").symlink_to("nowhere")
    os.mkfifo(tree / "a" / "pipe")
    remove_tree(tree)
    assert not tree.exists()
    assert (outside / "precious").read_text() == "precious"


def test_a_link_in_the_place_of_the_tree_is_removed_itself(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").write_text("precious")
    (tmp_path / "tree").symlink_to(tmp_path / "outside")
    remove_tree(tmp_path / "tree")
    assert not (tmp_path / "tree").is_symlink()
    assert (tmp_path / "outside" / "precious").exists()


def test_directories_without_rights_are_removed_by_their_owner(short: Path) -> None:
    become = ""
    if os.geteuid() == 0:
        # Root needs no rights: only as an ordinary user does this prove anything.
        os.chown(short, 12345, 12345)
        become = BECOME
    script = f"""{become}
from pathlib import Path
from thrum.files import remove_tree
tree = Path({str(short)!r}, "tree")
for mode in (0o000, 0o100, 0o200, 0o300, 0o400, 0o500, 0o600):
    inner = tree / f"d{{mode:o}}" / "inner"
    inner.mkdir(parents=True)
    (inner / "file").touch()
    inner.chmod(mode)
    inner.parent.chmod(mode)
tree.chmod(0)
remove_tree(tree)
print(tree.exists())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert done.stdout == "False\n", done.stderr


def test_a_tree_deeper_than_any_stack_or_number_of_handles_is_removed(tmp_path: Path) -> None:
    deep = max(3000, 2 * sys.getrecursionlimit())
    assert deep > resource.getrlimit(resource.RLIMIT_NOFILE)[0] or deep * 100 > os.pathconf("/", "PC_PATH_MAX")
    parent = os.open(tmp_path, os.O_RDONLY)
    for _ in range(deep):
        os.mkdir("d" * 100, dir_fd=parent)
        inner = os.open("d" * 100, os.O_RDONLY, dir_fd=parent)
        os.close(parent)
        parent = inner
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=parent))
    os.close(parent)
    remove_tree(tmp_path / ("d" * 100))
    assert not any(tmp_path.iterdir())


@as_root
def test_what_cannot_be_removed_is_an_error(short: Path) -> None:
    (short / "tree" / "inner").mkdir(parents=True)
    (short / "tree" / "inner" / "file").touch()
    short.chmod(0o755)
    script = f"{BECOME}from thrum.files import remove_tree\nremove_tree(Path({str(short / 'tree')!r}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert "PermissionError" in done.stderr
    assert (short / "tree" / "inner" / "file").exists()


names = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=20).filter(
    lambda name: name not in (".", "..")
)
trees = st.recursive(
    st.none() | st.just("link"), lambda inner: st.dictionaries(names, inner, max_size=4), max_leaves=20
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(shape=st.dictionaries(names, trees, max_size=4))
def test_any_tree_is_removed(tmp_path: Path, shape: dict[str, object]) -> None:
    def plant(path: Path, node: object) -> None:
        if isinstance(node, dict):
            path.mkdir()
            for name, inner in node.items():
                plant(path / name, inner)
        elif node == "link":
            path.symlink_to("/")
        else:
            path.touch()

    plant(tmp_path / "tree", shape)
    remove_tree(tmp_path / "tree")
    assert not (tmp_path / "tree").exists()
