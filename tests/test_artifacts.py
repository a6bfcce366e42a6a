"""Artifacts of Gate 3's steps, and reading what an untrusted program wrote: links, pipes, folders, ways out, sizes."""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path

import pytest

from thrum.checking.artifacts import COPIED_BYTES, state, verdict_on
from thrum.files import open_untrusted, read_untrusted
from thrum.gate import Artifact, Verdict
from thrum.job import Ending, Outcome

PASSED, FAILED, COULD_NOT_RUN = Verdict.PASSED, Verdict.FAILED, Verdict.COULD_NOT_RUN


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that an untrusted program wrote in, beside a secret."""
    (tmp_path / "secret").write_text("secret\n")
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside/file").write_text("secret\n")
    folder = tmp_path / "folder"
    (folder / "deep/er").mkdir(parents=True)
    (folder / "made").write_bytes(b"made\n")
    (folder / "deep/er/made").write_bytes(b"deeper\n")
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "inner").symlink_to("made")
    (folder / "out").symlink_to(tmp_path / "beside")
    (folder / "dangling").symlink_to("nothing")
    os.mkfifo(folder / "pipe")
    return folder


# --- Untrusted reads --------------------------------------------------------------------------------------------------


def test_a_file_is_read_wherever_it_lies_below_the_folder(folder: Path) -> None:
    assert read_untrusted(folder, "made", limit_bytes=5) == b"made\n"
    assert read_untrusted(folder, "./deep//er/./made", limit_bytes=100) == b"deeper\n"
    with open_untrusted(folder, "deep/er/made") as file:
        assert file.read() == b"deeper\n"


@pytest.mark.parametrize("path", ["../secret", "deep/../../secret", "deep/..", "/etc/passwd", "", ".", "..", "a\0b"])
def test_a_path_that_leads_out_is_refused(folder: Path, path: str) -> None:
    with pytest.raises(ValueError, match=r"no path below|null"):
        read_untrusted(folder, path, limit_bytes=100)


@pytest.mark.parametrize(
    "path", ["link", "inner", "dangling", "out/file", "pipe", "deep", "made/more", "missing", "deep/missing", "x" * 300]
)
def test_what_is_no_file_below_the_folder_is_never_read_and_never_waited_for(folder: Path, path: str) -> None:
    with pytest.raises(OSError, match=r"."):
        read_untrusted(folder, path, limit_bytes=100)


def test_a_link_is_called_one(folder: Path) -> None:
    for path in ("link", "inner", "dangling"):
        with pytest.raises(OSError, match="is a link, which is not followed"):
            read_untrusted(folder, path, limit_bytes=100)


def test_a_socket_and_a_device_are_no_files(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        # The path of a socket has a limit; the folder's may be longer.
        descriptor = os.open(folder, os.O_RDONLY)
        listening.bind(f"/proc/self/fd/{descriptor}/socket")
        os.close(descriptor)
        with pytest.raises(OSError, match=r"."):
            read_untrusted(folder, "socket", limit_bytes=100)
    with pytest.raises(OSError, match="is no regular file"):
        read_untrusted(Path("/dev"), "null", limit_bytes=100)


def test_a_folder_that_was_put_in_a_links_place_is_not_entered(folder: Path) -> None:
    with pytest.raises(OSError, match=r"."):
        read_untrusted(folder / "out", "file", limit_bytes=100)


def test_one_byte_more_than_was_asked_is_too_much(folder: Path) -> None:
    assert read_untrusted(folder, "deep/er/made", limit_bytes=7) == b"deeper\n"
    with pytest.raises(OSError, match="is larger than 6 bytes"):
        read_untrusted(folder, "deep/er/made", limit_bytes=6)
    os.truncate(folder / "made", 1 << 40)
    with pytest.raises(OSError, match="is larger than 100 bytes"):
        read_untrusted(folder, "made", limit_bytes=100)


def test_no_descriptor_is_left_open(folder: Path) -> None:
    before = os.listdir("/proc/self/fd")
    for path in ("made", "pipe", "link", "out/file", "deep/missing", "deep", "deep/er/made/x"):
        try:
            read_untrusted(folder, path, limit_bytes=1)
        except OSError:
            continue
    assert os.listdir("/proc/self/fd") == before


# --- Artifacts --------------------------------------------------------------------------------------------------------


def outcome(ending: Ending = Ending.EXITED, exit_code: int | None = 0, tail: str = "", reason: str = "") -> Outcome:
    return Outcome(ending=ending, exit_code=exit_code, tail=tail, reason=reason)


def never() -> Outcome:
    raise AssertionError("there is nothing to compare")


DIGEST = hashlib.sha256(b"made\n").hexdigest()


def test_a_file_that_is_there_is_enough_where_nothing_else_is_asked(folder: Path) -> None:
    assert verdict_on(Artifact(path="made"), folder, never) == (PASSED, "", DIGEST)


def test_a_file_that_was_there_before_in_the_same_state_was_not_made(folder: Path) -> None:
    artifact = Artifact(path="made", sha256=DIGEST)
    before = state(artifact, folder)
    verdict, reason, _ = verdict_on(artifact, folder, never, before)
    assert (verdict, reason) == (FAILED, "the artifact made was not made: it was there before the step")
    times = (folder / "made").stat()
    (folder / "made").write_bytes(b"made\n")
    os.utime(folder / "made", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert verdict_on(artifact, folder, never, before) == (PASSED, "", DIGEST), "as a copy that keeps times does"


@pytest.mark.parametrize("path", ["missing", "link", "out/file", "pipe", "deep", "../secret"])
def test_what_was_no_file_of_the_folder_has_no_state(folder: Path, path: str) -> None:
    assert state(Artifact(path=path), folder) is None


def test_a_copy_holds_what_was_looked_at_and_replaces_an_earlier_one(folder: Path, tmp_path: Path) -> None:
    artifact, copy = Artifact(path="made", compare="true"), tmp_path / "copies/deep/made"
    for text, mode in ((b"made\n", 0o600), (b"again\n", 0o700), (b"", 0o444)):
        (folder / "made").unlink()
        (folder / "made").write_bytes(text)
        (folder / "made").chmod(mode)

        def compare(text: bytes = text, mode: int = mode) -> Outcome:
            (folder / "made").unlink()
            assert copy.read_bytes() == text
            assert copy.stat().st_mode & 0o777 == (0o755 if mode & 0o100 else 0o644)
            (folder / "made").write_bytes(b"else\n")
            return outcome()

        assert verdict_on(artifact, folder, compare, copy=copy) == (PASSED, "", hashlib.sha256(text).hexdigest())
    assert os.listdir(copy.parent) == ["made"]


def test_what_is_too_large_for_a_copy_was_not_compared(folder: Path, tmp_path: Path) -> None:
    os.truncate(folder / "made", COPIED_BYTES + 1)
    verdict, reason, _ = verdict_on(Artifact(path="made", compare="true"), folder, never, copy=tmp_path / "copy")
    assert (verdict, "too many to compare" in reason) == (FAILED, True)


def test_a_digest_must_be_the_files_in_either_case(folder: Path) -> None:
    assert verdict_on(Artifact(path="made", sha256=DIGEST), folder, never) == (PASSED, "", DIGEST)
    assert verdict_on(Artifact(path="made", sha256=DIGEST.upper()), folder, never) == (PASSED, "", DIGEST)
    verdict, reason, _ = verdict_on(Artifact(path="made", sha256="0" * 64, compare="true"), folder, never)
    assert verdict is FAILED
    assert f"has the SHA-256 {DIGEST}, and {'0' * 64} was expected" in reason


@pytest.mark.parametrize("path", ["missing", "link", "out/file", "pipe", "deep", "../secret", "made/x"])
def test_what_is_no_file_of_the_folder_was_not_made(folder: Path, path: str) -> None:
    digest = hashlib.sha256(b"secret\n").hexdigest()
    verdict, reason, _ = verdict_on(Artifact(path=path, sha256=digest, compare="true"), folder, never)
    assert verdict is FAILED
    assert reason.startswith(f"the artifact {path} was not made: ")


def test_what_is_large_is_not_read_for_a_digest_that_nobody_demands(folder: Path) -> None:
    os.truncate(folder / "made", 1 << 42)
    assert verdict_on(Artifact(path="made"), folder, never) == (PASSED, "", "")


@pytest.mark.parametrize(
    ("found", "verdict", "why"),
    [
        (outcome(), PASSED, ""),
        (outcome(exit_code=1, tail="a\nthe last line\n", reason="exit code 1"), FAILED, "as expected: the last line"),
        (outcome(exit_code=2, reason="exit code 2"), FAILED, "is not as expected: exit code 2"),
        (outcome(Ending.TIMED_OUT, None, reason="ended after 1 s"), FAILED, "is not as expected: ended after 1 s"),
        (outcome(Ending.NOT_FOUND, None, reason="no cmp"), COULD_NOT_RUN, "could not be compared: no cmp"),
        (outcome(Ending.NOT_STARTED, None, reason="no memory"), COULD_NOT_RUN, "could not be compared: no memory"),
    ],
)
def test_a_comparison_decides_unless_it_could_not_run(folder: Path, found: Outcome, verdict: Verdict, why: str) -> None:
    artifact = Artifact(path="made", sha256=DIGEST, compare="cmp {artifact} it")
    told, reason, _ = verdict_on(artifact, folder, lambda: found)
    assert told is verdict
    assert reason.endswith(why)
