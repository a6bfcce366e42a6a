"""A search through every commit that would land."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.repositories import commit, git, make_repository, write
from thrum.errors import GitError
from thrum.git import history
from thrum.git.history import search
from thrum.git.repository import Repository
from thrum.masking import holds

KEY = "sk-0123456789"
MIB = 1024 * 1024


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "demo", {"a.txt": "begin\n", "known.txt": f"key = {KEY}\nend\n"})


def found(place: Path, base: str, head: str = "HEAD", *, limit_bytes: int = MIB) -> tuple[str, ...]:
    def held(data: bytes, earlier: Iterable[bytes]) -> bool:
        return holds(data, earlier, [KEY])

    shas = (git(place, "rev-parse", base), git(place, "rev-parse", head))
    return search(Repository(place, "main"), *shas, held, limit_bytes=limit_bytes)


def test_what_one_commit_adds_and_the_next_one_takes_away_is_found(place: Path) -> None:
    commit(place, {"a.txt": f"{KEY}\n", "b.txt": "b\n"})
    commit(place, {"a.txt": "begin\n"})
    assert found(place, "HEAD~2") == ("a.txt",)
    assert found(place, "HEAD~1") == ()
    assert found(place, "HEAD") == ()


@pytest.mark.parametrize(
    "content", [b"\0\1\xff" + KEY.encode() + b"\0", b"a" * 300_000 + KEY.encode(), KEY.replace("-", "%2D").encode()]
)
def test_content_of_every_kind_is_searched(place: Path, content: bytes) -> None:
    commit(place, {"dir/data.bin": content, "other.bin": content[:-20]})
    assert found(place, "HEAD~1") == ("dir/data.bin",)


def test_a_link_is_searched_for_what_it_leads_to(place: Path) -> None:
    (place / "link").symlink_to(f"/home/{KEY}/x")
    commit(place, {})
    assert found(place, "HEAD~1") == ("link",)


def test_names_of_files_and_folders_are_searched_whole(place: Path) -> None:
    commit(place, {f"{KEY[:4]}/{KEY}/a": "a", f"b-{KEY}": "b", "c": "c"})
    git(place, "mv", f"b-{KEY}", "b")
    commit(place, {})
    assert found(place, "HEAD~2") == (f"b-{KEY}", f"{KEY[:4]}/{KEY}/a")
    head = git(place, "rev-parse", "HEAD")
    git(place, "update-index", "--add", "--cacheinfo", f"160000,{head},sub/{KEY}")
    git(place, "commit", "--quiet", "-m", "Link")
    assert found(place, "HEAD~1") == (f"sub/{KEY}",)


@pytest.mark.parametrize(
    ("message", "variables"),
    [
        (f"Subject\n\nwith {KEY} in it", {}),
        ("Subject", {"GIT_AUTHOR_NAME": f"Ada {KEY}"}),
        ("Subject", {"GIT_COMMITTER_EMAIL": f"{KEY}@example.invalid"}),
    ],
)
def test_messages_and_names_in_commits_are_searched(place: Path, message: str, variables: dict[str, str]) -> None:
    git(place, "commit", "--quiet", "--allow-empty", "-m", message, variables=variables)
    sha = git(place, "rev-parse", "HEAD")
    commit(place, {"a.txt": "more\n"})
    assert found(place, "HEAD~2") == (f"commit {sha[:12]}",)


def test_what_is_there_already_is_not_counted_again(place: Path) -> None:
    commit(place, {"known.txt": f"key = {KEY}\nend, changed\n"})
    assert found(place, "HEAD~1") == ()
    commit(place, {"known.txt": f"key = {KEY}\nagain = {KEY}\n"})
    assert found(place, "HEAD~1") == ("known.txt",)


def test_what_only_a_merge_holds_is_found_and_what_a_parent_has_is_not(place: Path) -> None:
    git(place, "checkout", "--quiet", "-b", "side")
    commit(place, {"side.txt": "side\n"})
    git(place, "checkout", "--quiet", "main")
    commit(place, {"main.txt": "main\n"})
    git(place, "merge", "--quiet", "--no-ff", "--no-commit", "side")
    write(place, {"side.txt": f"side {KEY}\n", "new.txt": KEY})
    commit(place, {})
    assert found(place, "main~1") == ("new.txt", "side.txt")
    assert found(place, "side") == ("new.txt", "side.txt")


def test_a_root_of_its_own_is_searched(place: Path) -> None:
    git(place, "checkout", "--quiet", "--orphan", "other")
    commit(place, {"o.txt": KEY})
    git(place, "checkout", "--quiet", "main")
    git(place, "merge", "--quiet", "--allow-unrelated-histories", "-s", "ours", "-m", "Merge", "other")
    # It stands on no parent, so that what the branch has is new in it.
    assert found(place, "main~1") == ("known.txt", "o.txt")


def test_what_is_too_large_is_not_taken_for_searched(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(place, {"big.bin": "x" * 3000, "c/small.txt": KEY})
    commit(place, {"big.bin": None})
    assert found(place, "HEAD~2", limit_bytes=3000) == ("big.bin (too large to be searched)", "c/small.txt")
    assert found(place, "HEAD~2", limit_bytes=4000) == ("c/small.txt",)
    monkeypatch.setattr(history, "OBJECT_BYTES", 2999)
    assert found(place, "HEAD~2", limit_bytes=4000) == ("big.bin (too large to be searched)", "c/small.txt")
    git(place, "commit", "--quiet", "--allow-empty", "-m", "m" * 3000)
    sha = git(place, "rev-parse", "HEAD")
    assert found(place, "HEAD~1") == (f"commit {sha[:12]} (too large to be searched)",)


@pytest.mark.parametrize(("name", "value"), [("MOST_COMMITS", 2), ("LISTING_BYTES", 150)])
def test_a_history_that_is_too_long_is_not_taken_for_searched(
    place: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: int
) -> None:
    base = git(place, "rev-parse", "HEAD")
    for number in range(3):
        commit(place, {"a.txt": f"{number}\n"})
    assert found(place, base) == ()
    monkeypatch.setattr(history, name, value)
    assert found(place, base) == (f"the history since {base[:12]} (too long to be searched)",)


def test_contents_are_read_in_batches(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "BATCH_BYTES", 400)
    commit(place, {f"{number}.txt": f"{number}{'x' * 100}\n{KEY if number % 2 else ''}\n\n" for number in range(9)})
    assert found(place, "HEAD~1") == tuple(f"{number}.txt" for number in range(1, 9, 2))


def test_a_commit_that_is_missing_is_an_error(place: Path) -> None:
    with pytest.raises(GitError):
        search(Repository(place, "main"), git(place, "rev-parse", "HEAD"), "1" * 40, lambda *_: False, limit_bytes=MIB)
