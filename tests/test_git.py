"""The user's repository, always a real one: what is refused, pins, bundles, merges and landings."""

from __future__ import annotations

import hashlib
import os
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.repositories import commit, commit_aside, content, git, make_repository, write
from thrum.errors import GitError, RepositoryError
from thrum.git.checkouts import Checkout
from thrum.git.program import run
from thrum.git.repository import Blocked, Conflict, Landed, Merged, Moved, Repository
from thrum.inputs import AttemptEnded
from thrum.messages.attempts import RunAttempt
from thrum.packing import fits
from thrum.records import to_plain
from thrum.task import AttemptEnding

MEGABYTE = 1 << 20


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "a repo", {"a.txt": "1\n2\n3\n4\n5\n", "b.txt": "b\n"})


@pytest.fixture
def repository(place: Path) -> Repository:
    return Repository(place, "main")


@pytest.fixture
def leaving_marks(tmp_path: Path) -> Callable[[str], str]:
    """Makes a program for each name that leaves a file of that name; `test_...` look for them."""
    marks = tmp_path / "marks"
    marks.mkdir()

    def make(name: str) -> str:
        program = tmp_path / f"plant-{name}"
        program.write_text(f"#!/bin/sh\ntouch '{marks}/{name}'\ncat\n")
        program.chmod(0o755)
        return str(program)

    return make


def marks_left(tmp_path: Path) -> list[str]:
    return sorted(mark.name for mark in (tmp_path / "marks").iterdir())


# --- What is refused ------------------------------------------------------------------------------------------


def test_names_and_content_that_are_no_text_are_told_as_text(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "repo")
    base = git(place, "rev-parse", "HEAD")
    odd = os.fsencode(place) + b"/a\xff\xed\xa0\xbd"
    Path(os.fsdecode(odd)).write_bytes(b"\xed\xa0\xbd\xff\n")
    Path(os.fsdecode(odd + b"-link")).symlink_to("README")
    head = commit(place, {})
    repository = Repository(place, "main")
    name = r"a\xff\xed\xa0\xbd"
    told = (repository.changed_files(base, head), repository.added_files(base, head), repository.files(head)[1:])
    assert told == ((name, f"{name}-link"), (name, f"{name}-link"), (name,))
    assert repository.changed_links(base, head) == repository.links(head) == (f"{name}-link",)
    ended = AttemptEnded(token=1, ending=AttemptEnding.FINISHED, files=told[0], leaks=told[0], links=(f"{name}-link",))
    text, _ = repository.diff(base, head, limit_bytes=10_000)
    assert fits(RunAttempt(task="a-1", token=1, base=base, start=head, prompt=f"{to_plain(ended)} {text}", backend="b"))


def test_a_repository_in_order_is_accepted(repository: Repository) -> None:
    repository.inspect()


def test_a_vanished_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(RepositoryError, match="gone does not exist") as caught:
        Repository(tmp_path / "gone", "main").inspect()
    assert caught.value.remedy


def test_a_plain_directory_is_refused_even_inside_of_a_repository(place: Path) -> None:
    (place / "sub").mkdir()
    with pytest.raises(RepositoryError, match="sub is not a git repository") as caught:
        Repository(place / "sub", "main").inspect()
    assert caught.value.remedy


def test_a_repository_without_a_commit_is_refused_with_the_remedy(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    with pytest.raises(RepositoryError, match="no commit yet") as caught:
        Repository(tmp_path, "main").inspect()
    assert "commit --allow-empty" in caught.value.remedy


def test_a_missing_branch_is_refused_with_those_there_are(place: Path) -> None:
    git(place, "branch", "develop")
    with pytest.raises(RepositoryError, match="no branch 'trunk'; it has: develop, main"):
        Repository(place, "trunk").inspect()


def test_a_shallow_clone_is_refused_with_the_remedy(tmp_path: Path, place: Path) -> None:
    commit(place, {"a.txt": "more\n"})
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{place}", "shallow")
    with pytest.raises(RepositoryError, match="shallow clone") as caught:
        Repository(tmp_path / "shallow", "main").inspect()
    assert "--unshallow" in caught.value.remedy


def test_a_partial_clone_is_refused(tmp_path: Path, place: Path) -> None:
    git(place, "config", "uploadpack.allowFilter", "true")
    git(tmp_path, "clone", "--quiet", "--filter=blob:none", "--no-checkout", f"file://{place}", "partial")
    with pytest.raises(RepositoryError, match="partial clone"):
        Repository(tmp_path / "partial", "main").inspect()


def test_a_repository_that_vanishes_later_is_noticed(tmp_path: Path, place: Path, repository: Repository) -> None:
    repository.inspect()
    place.rename(tmp_path / "elsewhere")
    with pytest.raises(RepositoryError, match="does not exist"):
        repository.inspect()


# --- Reading and pins -----------------------------------------------------------------------------------------


def test_reading_a_repository_with_packed_refs(place: Path, repository: Repository) -> None:
    base = repository.tip()
    head = commit(place, {"c/d.txt": "d\n", "b.txt": None})
    git(place, "pack-refs", "--all")
    git(place, "gc", "--quiet")
    assert repository.tip() == head
    assert repository.resolve("main~1") == base
    assert repository.tree_of(head) == git(place, "rev-parse", f"{head}^{{tree}}")
    assert repository.is_ancestor(base, head)
    assert repository.is_ancestor(head, head)
    assert not repository.is_ancestor(head, base)
    assert repository.changed_files(base, head) == ("b.txt", "c/d.txt")
    assert repository.read_file(head, "c/d.txt") == b"d\n"
    assert repository.read_file(head, "b.txt") is None
    assert repository.read_file(head, "c") is None
    with pytest.raises(GitError, match="more than 1 bytes"):
        repository.read_file(head, "c/d.txt", limit_bytes=1)


@pytest.mark.parametrize("rev", ["nowhere", "--all", "-h", "a" * 40])
def test_an_unknown_revision_is_named(repository: Repository, rev: str) -> None:
    with pytest.raises(GitError, match=f"no commit '{rev}'"):
        repository.resolve(rev)


def test_paths_are_taken_literally(place: Path, repository: Repository) -> None:
    head = commit(place, {"*.txt": "star\n", ":(top)x": "magic\n", "ümlaut": "u\n"})
    found = repository.blobs(head, ["*.txt", ":(top)x", "ümlaut", "missing"])
    assert sorted(found) == ["*.txt", ":(top)x", "ümlaut"]
    assert "ümlaut" in repository.changed_files(f"{head}~1", head)


def test_more_paths_can_be_asked_for_than_a_command_takes(place: Path, repository: Repository) -> None:
    head = commit(place, {"z.txt": "last\n"})
    paths = [f"{number}/{'x' * 4000}" for number in range(1000)]
    assert list(repository.blobs(head, [*paths, "z.txt"])) == ["z.txt"]


def test_a_diff_is_cut_at_its_limit_and_names_binary_files(place: Path, repository: Repository) -> None:
    base = repository.tip()
    head = commit(place, {"big.txt": "x" * 100 + "\n" + "line\n" * 50_000, "data.bin": bytes(range(256))})
    text, truncated = repository.diff(base, head, limit_bytes=2000)
    assert truncated
    assert len(text) == 2000
    text, truncated = repository.diff(base, head, limit_bytes=MEGABYTE)
    assert not truncated
    assert "Binary files /dev/null and b/data.bin differ" in text


def test_a_pin_is_made_once_and_never_moved(place: Path, repository: Repository) -> None:
    first = repository.tip()
    second = commit(place, {"a.txt": "x\n"})
    repository.pin("refs/thrum/attempts/t-1/1", first)
    repository.pin("refs/thrum/attempts/t-1/1", first)
    with pytest.raises(GitError):
        repository.pin("refs/thrum/attempts/t-1/1", second)
    repository.pin("refs/thrum/attempts/t-1/2", second)
    assert repository.pins("refs/thrum/attempts/t-1") == {
        "refs/thrum/attempts/t-1/1": first,
        "refs/thrum/attempts/t-1/2": second,
    }


@pytest.mark.parametrize("ref", ["refs/heads/main", "refs/thrumble/x", "refs/thrum/../heads/main", "refs/thrum/a..b"])
def test_no_ref_outside_of_ours_is_pinned(repository: Repository, ref: str) -> None:
    with pytest.raises(GitError):
        repository.pin(ref, repository.tip())


def test_a_stale_lock_is_named_with_the_remedy_and_stays(place: Path, repository: Repository) -> None:
    lock = place / ".git/refs/heads/main.lock"
    lock.touch()
    old = repository.tip()
    new = commit_aside(place, old, {"a.txt": "x\n"})
    with pytest.raises(GitError, match=r"git is locked: .*refs/heads/main\.lock exists") as caught:
        repository.land(old, new)
    assert f"remove {lock}" in caught.value.remedy
    assert lock.exists()
    assert repository.tip() == old
    assert git(place, "status", "--porcelain") == ""


# --- What must not leak in --------------------------------------------------------------------------------------


def test_the_users_environment_configuration_and_hooks_have_no_part(
    tmp_path: Path,
    place: Path,
    repository: Repository,
    leaving_marks: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home = tmp_path / "home"
    write(home, {".gitconfig": f"[core]\n\tfsmonitor = {leaving_marks('global')}\n[user]\n\tname = Eve\n"})
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "nowhere"))
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Mallory")
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", "'core.fsmonitor=false'")
    for hook in ("reference-transaction", "post-checkout", "post-merge", "post-index-change"):
        (place / ".git/hooks").mkdir(exist_ok=True)
        os.symlink(leaving_marks(hook), place / ".git/hooks" / hook)
    driver = leaving_marks("merge")
    for key, program in {
        "core.fsmonitor": leaving_marks("fsmonitor"),
        "diff.external": leaving_marks("external"),
        "diff.x.textconv": leaving_marks("textconv"),
        "diff.x.command": leaving_marks("command"),
        "merge.x.driver": driver,
        "merge.default": "x",
        "filter.x.smudge": leaving_marks("smudge"),
        "filter.x.clean": leaving_marks("clean"),
        "filter.x.required": "true",
        "alias.merge-tree": f"!{leaving_marks('alias')}",
    }.items():
        run(["config", key, program], cwd=place)
    write(place, {".git/info/attributes": "* merge=x diff=x filter=x\n"})
    old = repository.tip()
    ours = commit_aside(place, old, {"a.txt": "one\n2\n3\n4\n5\n", ".gitattributes": "* merge=x diff=x filter=x\n"})
    theirs = commit_aside(place, old, {"a.txt": "1\n2\n3\n4\nfive\n"})
    (tmp_path / "marks/global").unlink(missing_ok=True)
    for mark in (tmp_path / "marks").iterdir():
        mark.unlink()  # left by the setup itself

    repository.pin("refs/thrum/x", ours)
    repository.diff(old, ours, limit_bytes=MEGABYTE)
    merged = repository.merge(ours, theirs, message="m")
    assert isinstance(merged, Merged)
    assert repository.land(old, merged.commit) == Landed()
    assert marks_left(tmp_path) == []
    assert (place / "a.txt").read_text() == "one\n2\n3\n4\nfive\n"
    assert git(place, "show", "--no-patch", "--format=%an %cn", merged.commit) == "Thrum Thrum"


def test_replaced_objects_are_seen_as_they_are(place: Path, repository: Repository) -> None:
    head = commit(place, {"a.txt": "real\n"})
    git(place, "replace", head, commit_aside(place, f"{head}~1", {"a.txt": "shown\n"}))
    assert repository.read_file(head, "a.txt") == b"real\n"
    assert repository.tree_of(head) == git(place, "--no-replace-objects", "rev-parse", f"{head}^{{tree}}")


def test_an_include_of_a_home_that_we_do_not_have_is_passed_over(place: Path, repository: Repository) -> None:
    git(place, "config", "include.path", "~/extra.gitconfig")
    repository.inspect()


def test_git_ends_when_its_time_is_over(tmp_path: Path) -> None:
    reader, writer = os.pipe()  # which never says anything
    try:
        with pytest.raises(GitError, match="longer than"):
            run(["hash-object", "--stdin"], cwd=tmp_path, stdin=reader, wall_s=0.2)
    finally:
        os.close(reader)
        os.close(writer)


# --- Merging --------------------------------------------------------------------------------------------------


def test_the_same_merge_gives_the_same_commit(place: Path, repository: Repository) -> None:
    base = repository.tip()
    tip = commit_aside(place, base, {"a.txt": "one\n2\n3\n4\n5\n"})
    work = commit_aside(place, base, {"a.txt": "1\n2\n3\n4\nfive\n"})
    dated = {"GIT_COMMITTER_DATE": "1700000000 +0300"}
    head = git(place, "commit-tree", f"{work}^{{tree}}", "-p", base, "-m", "Work", variables=dated)
    first = repository.merge(tip, head, message="Land it")
    # Whatever lies in the user's checkout has no part in it.
    write(place, {".gitattributes": "* merge=binary\n", "a.txt": "mess\n"})
    assert repository.merge(tip, head, message="Land it") == first
    assert isinstance(first, Merged)
    assert git(place, "rev-parse", f"{first.commit}^1", f"{first.commit}^2").split() == [tip, head]
    assert content(place, first.commit, "a.txt") == "one\n2\n3\n4\nfive"
    assert repository.tree_of(first.commit) == first.tree
    assert git(place, "show", "--no-patch", "--format=%at %ci", first.commit) == "1700000000 2023-11-14 22:13:20 +0000"


def test_a_head_that_descends_from_the_tip_gets_a_merge_commit(place: Path, repository: Repository) -> None:
    tip = repository.tip()
    head = commit_aside(place, tip, {"a.txt": "new\n"})
    merged = repository.merge(tip, head, message="Land it")
    assert isinstance(merged, Merged)
    assert merged.tree == repository.tree_of(head)
    assert git(place, "rev-parse", f"{merged.commit}^1") == tip


def test_a_conflict_is_a_value_with_paths_and_a_tree(place: Path, repository: Repository) -> None:
    base = repository.tip()
    tip = commit_aside(place, base, {"a.txt": "ours\n2\n3\n4\n5\n", "odd\nname": "1\n"})
    head = commit_aside(place, base, {"a.txt": "theirs\n2\n3\n4\n5\n", "odd\nname": "2\n"})
    conflict = repository.merge(tip, head, message="m")
    assert isinstance(conflict, Conflict)
    assert sorted(conflict.paths) == ["a.txt", "odd\nname"]
    assert "<<<<<<<" in content(place, conflict.tree, "a.txt")
    assert "CONFLICT (content): Merge conflict in a.txt" in conflict.text


def test_a_change_to_a_file_that_was_renamed_meanwhile_is_a_conflict(place: Path, repository: Repository) -> None:
    base = repository.tip()
    tip = commit_aside(place, base, {"a.txt": None, "conftest.py": "1\n2\n3\n4\n5\n"})
    head = commit_aside(place, base, {"a.txt": "1\n2\n3\n4\nfive\n", "b.txt": "new\n"})
    conflict = repository.merge(tip, head, message="m")
    assert isinstance(conflict, Conflict)
    assert conflict.paths == ("conftest.py",)
    assert "conftest.py" in conflict.text
    # What the next attempt starts from, measured against the tip: there the path is seen.
    assert repository.changed_files(tip, repository.commit_tree(conflict.tree, [tip], "m")) == ("b.txt", "conftest.py")


def test_a_renaming_takes_in_what_was_changed_meanwhile(place: Path, repository: Repository) -> None:
    base = repository.tip()
    tip = commit_aside(place, base, {"a.txt": "1\n2\n3\n4\nfive\n"})
    head = commit_aside(place, base, {"a.txt": None, "z.txt": "1\n2\n3\n4\n5\n"})
    merged = repository.merge(tip, head, message="m")
    assert isinstance(merged, Merged)
    assert content(place, merged.commit, "z.txt") == "1\n2\n3\n4\nfive"


def test_a_merge_of_something_missing_is_an_error_and_no_conflict(repository: Repository) -> None:
    with pytest.raises(GitError):
        repository.merge(repository.tip(), "1" * 40, message="m")


# --- Bundles --------------------------------------------------------------------------------------------------


@pytest.fixture
def clone(tmp_path: Path, place: Path) -> Path:
    git(tmp_path, "clone", "--quiet", str(place), "clone")
    return tmp_path / "clone"


def bundle_of(clone: Path, *args: str) -> Path:
    file = clone.parent / "work.bundle"
    git(clone, "bundle", "create", str(file), *(args or ("main", "^origin/main")))
    return file


def loose(repository: Path, kind: str, body: bytes) -> str:
    """An object written past all of git's checks."""
    raw = f"{kind} {len(body)}".encode() + b"\0" + body
    oid = hashlib.sha1(raw).hexdigest()
    file = repository / ".git/objects" / oid[:2] / oid[2:]
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(zlib.compress(raw))
    return oid


def hostile_commit(clone: Path, *entries: tuple[str, str, str]) -> str:
    body = b"".join(f"{mode} {name}".encode() + b"\0" + bytes.fromhex(oid) for mode, name, oid in entries)
    tree = loose(clone, "tree", body)
    return git(clone, "commit-tree", tree, "-p", "main", "-m", "evil")


def test_a_bundle_is_imported_pinned_and_imported_again(clone: Path, place: Path, repository: Repository) -> None:
    head = commit(clone, {f"f{i}": f"{i}\n" for i in range(5)})
    bundle = bundle_of(clone)
    for _ in range(2):
        assert repository.import_bundle(bundle, ref="refs/thrum/attempts/t/1", limit_bytes=MEGABYTE) == head
    assert repository.pins() == {"refs/thrum/attempts/t/1": head}
    assert content(place, head, "f3") == "3"
    git(place, "fsck", "--strict")
    assert not list((place / ".git/objects").glob("tmp_*"))
    assert git(place, "rev-parse", "main") != head


def test_a_bundle_passes_from_host_to_host(tmp_path: Path, clone: Path, place: Path, repository: Repository) -> None:
    base = repository.tip()
    head = commit(place, {"a.txt": "new\n"})
    repository.write_bundle(tmp_path / "out.bundle", head, have=[base])
    other = Repository(clone, "main")
    assert other.import_bundle(tmp_path / "out.bundle", ref="refs/thrum/vector/1", limit_bytes=MEGABYTE) == head
    assert repository.pins() == {}


def test_a_bundle_for_a_name_that_is_taken_changes_nothing(clone: Path, repository: Repository) -> None:
    repository.pin("refs/thrum/x", repository.tip())
    commit(clone, {"a.txt": "new\n"})
    with pytest.raises(GitError):
        repository.import_bundle(bundle_of(clone), ref="refs/thrum/x", limit_bytes=MEGABYTE)
    assert repository.pins() == {"refs/thrum/x": repository.tip()}


def refused(repository: Repository, bundle: Path, match: str, limit_bytes: int = MEGABYTE) -> None:
    objects = repository.objects
    before = sorted(objects.rglob("*"))
    with pytest.raises(GitError, match=match):
        repository.import_bundle(bundle, ref="refs/thrum/x", limit_bytes=limit_bytes)
    assert repository.pins() == {}
    assert sorted(objects.rglob("*")) == before, "something of a refused bundle stayed"


def test_a_bundle_above_the_limit_is_refused_unread(clone: Path, repository: Repository) -> None:
    commit(clone, {"big": os.urandom(100_000)})
    refused(repository, bundle_of(clone), "more than the limit of 50000", limit_bytes=50_000)


def test_a_bundle_of_several_refs_is_refused(clone: Path, repository: Repository) -> None:
    commit(clone, {"a.txt": "new\n"})
    git(clone, "branch", "second")
    refused(repository, bundle_of(clone, "main", "second", "^origin/main"), "exactly one ref, not 2")


def test_a_bundle_on_top_of_unknown_commits_is_refused(clone: Path, repository: Repository) -> None:
    unknown = commit(clone, {"a.txt": "1\n"})
    commit(clone, {"a.txt": "2\n"})
    refused(repository, bundle_of(clone, "main", f"^{unknown}"), f"not in the repository: {unknown}")


def test_a_bundle_that_hides_what_it_needs_is_refused(clone: Path, repository: Repository) -> None:
    unknown = commit(clone, {"a.txt": "1\n"})
    commit(clone, {"a.txt": "2\n"})
    bundle = bundle_of(clone, "main", f"^{unknown}")
    lines = bundle.read_bytes().split(b"\n")
    bundle.write_bytes(b"\n".join(line for line in lines if not line.startswith(b"-" + unknown.encode())))
    refused(repository, bundle, "the bundle was refused")


def test_a_bundle_on_top_of_a_commit_that_is_there_in_part_is_refused(
    clone: Path, place: Path, repository: Repository
) -> None:
    partial = commit(clone, {"a.txt": "1\n"})
    commit(clone, {"a.txt": "2\n"})
    body = subprocess.run(["git", "cat-file", "commit", partial], cwd=clone, capture_output=True, check=True).stdout
    assert loose(place, "commit", body) == partial  # without its tree
    refused(repository, bundle_of(clone, "main", f"^{partial}"), "the bundle was refused")


@pytest.mark.parametrize("name", [".git", "..", ".", ".GIT", "git~1", "a/b"])
def test_a_bundle_with_a_hostile_path_is_refused(clone: Path, repository: Repository, name: str) -> None:
    blob = loose(clone, "blob", b"[core]\n\tfsmonitor = evil\n")
    inner = loose(clone, "tree", b"100644 config\0" + bytes.fromhex(blob))
    git(clone, "update-ref", "refs/heads/evil", hostile_commit(clone, ("40000", name, inner)))
    refused(repository, bundle_of(clone, "evil", "^origin/main"), "the bundle was refused")


def test_a_bundle_whose_submodule_url_is_an_option_is_refused(clone: Path, repository: Repository) -> None:
    commit(clone, {".gitmodules": '[submodule "x"]\n\tpath = x\n\turl = --upload-pack=evil\n'})
    refused(repository, bundle_of(clone), "the bundle was refused")


def test_a_bundle_whose_head_is_no_commit_is_refused(clone: Path, repository: Repository) -> None:
    commit(clone, {"new": "1\n"})
    bundle = bundle_of(clone)
    head, tree = git(clone, "rev-parse", "HEAD", "HEAD^{tree}").split()
    bundle.write_bytes(bundle.read_bytes().replace(head.encode() + b" refs", tree.encode() + b" refs"))
    refused(repository, bundle, "is a tree, not a commit")


@pytest.mark.parametrize(
    "broken",
    [
        lambda raw: b"",
        lambda raw: b"# v2 git bundle\n",
        lambda raw: b"# v9 git bundle\n\n" + raw,
        lambda raw: raw[:-30],
        lambda raw: raw[:-40] + bytes(20) + raw[-20:],
        lambda raw: raw.replace(b"refs/heads/main", b"refs/heads/main\nnonsense"),
        lambda raw: b"# v2 git bundle\n" + b"-" + b"0" * 40 + b" x\n" * 30_000,
        lambda raw: raw.partition(b"\n\n")[0] + b"\n\nPACK" + struct.pack(">II", 2, 2**31) + bytes(20),
    ],
)  # fmt: skip
def test_a_malformed_bundle_is_refused(clone: Path, repository: Repository, broken: Callable[[bytes], bytes]) -> None:
    commit(clone, {"a.txt": "new\n"})
    bundle = bundle_of(clone)
    bundle.write_bytes(broken(bundle.read_bytes()))
    refused(repository, bundle, "bundle")


def test_a_bundle_that_is_a_link_or_a_pipe_is_refused(tmp_path: Path, clone: Path, repository: Repository) -> None:
    commit(clone, {"a.txt": "new\n"})
    (tmp_path / "link").symlink_to(bundle_of(clone))
    os.mkfifo(tmp_path / "pipe")
    refused(repository, tmp_path / "link", "cannot be read")
    refused(repository, tmp_path / "pipe", "not a regular file")
    refused(repository, tmp_path / "missing", "cannot be read")


# --- Landing --------------------------------------------------------------------------------------------------


def test_a_clean_checkout_moves_with_its_branch(place: Path, repository: Repository) -> None:
    old = repository.tip()
    new = commit_aside(place, old, {"a.txt": "new\n", "b.txt": None, "c/d.txt": "d\n"})
    write(place, {"untracked": "mine\n"})
    assert repository.land(old, new) == Landed()
    assert git(place, "rev-parse", "main") == new
    assert git(place, "status", "--porcelain") == "?? untracked"
    assert (place / "c/d.txt").read_text() == "d\n"
    assert not (place / "b.txt").exists()
    assert "thrum: landed" in git(place, "reflog", "show", "main")
    assert repository.land(old, new) == Landed()


def test_a_branch_that_moved_is_left_alone(place: Path, repository: Repository) -> None:
    old = repository.tip()
    new = commit_aside(place, old, {"a.txt": "new\n"})
    tip = commit(place, {"b.txt": "more\n"})
    assert repository.land(old, new) == Moved(tip=tip)
    assert repository.tip() == tip


def test_a_branch_that_moves_in_the_middle_of_a_landing_is_left_alone(place: Path) -> None:
    class Slow(Repository):
        def checkouts(self) -> tuple[Checkout, ...]:
            found = super().checkouts()
            commit(place, {"b.txt": "in between\n"})
            return found

    repository = Slow(place, "main")
    old = repository.tip()
    answer = repository.land(old, commit_aside(place, old, {"a.txt": "new\n"}))
    assert answer == Moved(tip=git(place, "rev-parse", "main"))
    assert content(place, "main", "b.txt") == "in between"
    assert git(place, "status", "--porcelain") == ""


def test_a_landing_that_would_take_commits_off_the_branch_is_an_error(place: Path, repository: Repository) -> None:
    first = repository.tip()
    second = commit(place, {"b.txt": "more\n"})
    with pytest.raises(GitError, match="does not descend"):
        repository.land(second, first)


def merging(place: Path) -> None:
    git(place, "branch", "other", commit_aside(place, "main", {"b.txt": "other\n"}))
    git(place, "merge", "--no-commit", "--no-ff", "other")


def rebasing(place: Path) -> None:
    git(place, "branch", "other", commit_aside(place, "main~1", {"a.txt": "other\n"}))
    git(place, "rebase", "other", check=False)
    assert git(place, "rev-parse", "--abbrev-ref", "HEAD") == "HEAD"


@pytest.mark.parametrize(
    ("disturb", "reason"),
    [
        (lambda place: write(place, {"b.txt": "edited\n"}), "uncommitted changes (b.txt)"),
        (lambda place: (place / "b.txt").unlink(), "uncommitted changes (b.txt)"),
        (lambda place: (place / "b.txt").chmod(0o755), "uncommitted changes (b.txt)"),
        (lambda place: git(place, "rm", "--quiet", "--cached", "b.txt"), "uncommitted changes (b.txt)"),
        (lambda place: write(place, {"c.txt": "in the way\n"}), "c.txt"),
        (lambda place: write(place, {".git/info/exclude": "c.txt\n", "c.txt": "in the way\n"}), "c.txt"),
        (lambda place: (place / ".git/index.lock").touch(), "index.lock"),
        (merging, "a merge is in progress"),
        (rebasing, "a rebase of the branch is in progress"),
    ],
)  # fmt: skip
def test_a_checkout_that_cannot_follow_blocks_the_landing(
    place: Path, repository: Repository, disturb: Callable[[Path], object], reason: str
) -> None:
    old = commit(place, {"a.txt": "x\n2\n3\n4\n5\n"})
    new = commit_aside(place, old, {"a.txt": "new\n", "c.txt": "c\n"})
    disturb(place)
    before = git(place, "status", "--porcelain")
    answer = repository.land(old, new)
    assert isinstance(answer, Blocked)
    assert reason in answer.reason
    assert str(place) in answer.reason
    assert repository.tip() == old
    assert git(place, "status", "--porcelain") == before


def test_files_and_directories_take_each_others_place(place: Path, repository: Repository) -> None:
    (place / "link").symlink_to("d")
    old = commit(place, {"d/x.txt": "x\n", "f": "f\n"})
    # A file where a directory was, directories where a file and a link were.
    new = commit_aside(place, old, {"d/x.txt": None, "f": None, "link": None})
    new = commit_aside(place, new, {"d": "file\n", "f/x.txt": "x\n", "link/x.txt": "x\n"})
    write(place, {".git/info/exclude": "ignored\n", "d/ignored": "precious\n"})
    answer = repository.land(old, new)
    assert isinstance(answer, Blocked)
    assert "(d)" in answer.reason
    assert (place / "d/ignored").read_text() == "precious\n"
    (place / "d/ignored").unlink()
    assert repository.land(old, new) == Landed()
    assert git(place, "status", "--porcelain") == ""
    assert (place / "link/x.txt").read_text() == "x\n"


def test_a_file_that_was_only_touched_is_no_change(place: Path, repository: Repository) -> None:
    old = repository.tip()
    new = commit_aside(place, old, {"a.txt": "new\n"})
    os.utime(place / "b.txt", (1, 1))
    os.utime(place / "a.txt", (1, 1))
    assert repository.land(old, new) == Landed()
    assert git(place, "status", "--porcelain") == ""


def test_checkouts_of_other_branches_and_detached_ones_stay(place: Path, repository: Repository) -> None:
    old = repository.tip()
    new = commit_aside(place, old, {"a.txt": "new\n"})
    git(place, "checkout", "--quiet", "--detach")
    git(place, "worktree", "add", "--quiet", "-b", "other", "../other")
    write(place, {"a.txt": "mine\n"})
    assert repository.checkouts() == ()
    assert repository.land(old, new) == Landed()
    assert (place / "a.txt").read_text() == "mine\n"
    assert git(place.parent / "other", "status", "--porcelain") == ""


def test_a_linked_work_tree_moves_with_its_branch(place: Path, repository: Repository) -> None:
    git(place, "checkout", "--quiet", "--detach")
    git(place, "worktree", "add", "--quiet", "../linked one", "main")
    linked = place.parent / "linked one"
    old = repository.tip()
    new = commit_aside(place, old, {"a.txt": "new\n"})
    (linked / "b.txt").write_text("dirty\n")
    assert isinstance(Repository(linked, "main").land(old, new), Blocked)
    (linked / "b.txt").write_text("b\n")
    assert Repository(linked, "main").land(old, new) == Landed()
    assert (linked / "a.txt").read_text() == "new\n"
    assert git(linked, "status", "--porcelain") == ""
    assert git(place, "status", "--porcelain") == ""


def test_a_work_tree_whose_path_is_no_text_is_told_as_text(place: Path, repository: Repository) -> None:
    git(place, "checkout", "--quiet", "--detach")
    linked = Path(os.fsdecode(os.fsencode(place.parent) + b"/linked\xff"))
    git(place, "worktree", "add", "--quiet", os.fspath(linked), "main")
    old = repository.tip()
    new = commit_aside(place, old, {"a.txt": "new\n"})
    (linked / "b.txt").write_text("dirty\n")
    answer = repository.land(old, new)
    assert isinstance(answer, Blocked)
    assert f"{place.parent}/linked?: " in answer.reason
    git(linked, "checkout", "--quiet", "b.txt")
    assert repository.land(old, new) == Landed()


def test_a_work_tree_that_was_deleted_holds_nothing_up(place: Path, repository: Repository) -> None:
    git(place, "checkout", "--quiet", "--detach")
    git(place, "worktree", "add", "--quiet", "../linked", "main")
    (place.parent / "linked").rename(place.parent / "away")
    old = repository.tip()
    new = commit_aside(place, old, {"a.txt": "new\n"})
    git(place, "worktree", "lock", "../linked")
    assert isinstance(repository.land(old, new), Blocked)
    git(place, "worktree", "unlock", "../linked")
    assert repository.land(old, new) == Landed()


def test_a_bare_repository_lands(tmp_path: Path, place: Path) -> None:
    git(tmp_path, "clone", "--quiet", "--bare", str(place), "bare.git")
    repository = Repository(tmp_path / "bare.git", "main")
    repository.inspect()
    old = repository.tip()
    merged = repository.merge(old, old, message="nothing new")
    assert isinstance(merged, Merged)
    assert repository.checkouts() == ()
    assert repository.land(old, merged.commit) == Landed()


def test_a_repository_that_is_a_submodule_moves_too(tmp_path: Path, place: Path) -> None:
    outer = make_repository(tmp_path / "outer")
    git(outer, "submodule", "--quiet", "add", str(place), "inner")
    repository = Repository(outer / "inner", "main")
    repository.inspect()
    old = repository.tip()
    new = commit_aside(outer / "inner", old, {"a.txt": "new\n"})
    assert repository.land(old, new) == Landed()
    assert (outer / "inner/a.txt").read_text() == "new\n"


def test_a_repository_whose_git_directory_lies_elsewhere_moves_too(tmp_path: Path, place: Path) -> None:
    git(tmp_path, "clone", "--quiet", f"--separate-git-dir={tmp_path}/apart", str(place), "tree")
    repository = Repository(tmp_path / "tree", "main")
    repository.inspect()
    old = repository.tip()
    new = commit_aside(tmp_path / "tree", old, {"a.txt": "new\n"})
    assert repository.land(old, new) == Landed()
    assert (tmp_path / "tree/a.txt").read_text() == "new\n"


def test_a_submodule_is_carried_as_its_link(tmp_path: Path, place: Path, repository: Repository) -> None:
    inner = make_repository(tmp_path / "inner")
    git(place, "submodule", "--quiet", "add", str(inner), "sub")
    git(place, "commit", "--quiet", "-m", "Add a submodule")
    new_link = commit(inner, {"README": "newer\n"})
    old = repository.tip()
    index = {"GIT_INDEX_FILE": str(tmp_path / "index")}
    git(place, "read-tree", old, variables=index)
    git(place, "update-index", "--cacheinfo", f"160000,{new_link},sub", variables=index)
    new = git(place, "commit-tree", git(place, "write-tree", variables=index), "-p", old, "-m", "Move the link")
    assert repository.land(old, new) == Landed()
    assert git(place, "ls-files", "--stage", "sub").split()[1] == new_link
    # The submodule's files stay at the old commit, as after `git pull`; the next landing is not held up by that.
    later = commit_aside(place, new, {"a.txt": "later\n"})
    assert repository.land(new, later) == Landed()


def test_an_lfs_pointer_is_carried_as_it_is(place: Path, repository: Repository) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n"
    run(["config", "filter.lfs.smudge", "false"], cwd=place)
    run(["config", "filter.lfs.process", "false"], cwd=place)
    run(["config", "filter.lfs.required", "true"], cwd=place)
    old = repository.tip()
    new = commit_aside(place, old, {".gitattributes": "*.bin filter=lfs\n", "x.bin": pointer})
    assert repository.land(old, new) == Landed()
    assert (place / "x.bin").read_text() == pointer


# --- A crash between the branch and its checkouts -----------------------------------------------------------------


@pytest.fixture
def halfway(place: Path, repository: Repository) -> tuple[str, str]:
    """The branch is at the new commit, its checkout still at the old one."""
    old = repository.tip()
    new = commit_aside(place, old, {"a.txt": "new\n", "b.txt": None, "c.txt": "c\n"})
    git(place, "update-ref", "refs/heads/main", new, old)
    assert git(place, "status", "--porcelain") != ""
    return old, new


def test_a_checkout_left_behind_by_a_crash_is_completed(
    place: Path, repository: Repository, halfway: tuple[str, str]
) -> None:
    for _ in range(2):
        assert repository.finish_checkouts(*halfway) == ()
        assert git(place, "status", "--porcelain") == ""
    assert (place / "a.txt").read_text() == "new\n"


def test_landing_again_after_a_crash_completes_it(
    place: Path, repository: Repository, halfway: tuple[str, str]
) -> None:
    assert repository.land(*halfway) == Landed()
    assert git(place, "status", "--porcelain") == ""


def test_a_checkout_whose_files_were_written_in_part_is_completed(
    place: Path, repository: Repository, halfway: tuple[str, str]
) -> None:
    write(place, {"a.txt": "new\n", "b.txt": None, "c.txt": "c\n"})
    (place / "c.txt").unlink()
    assert repository.finish_checkouts(*halfway) == ()
    assert git(place, "status", "--porcelain") == ""


@pytest.mark.parametrize("name", ["a.txt", "c.txt", "b.txt"])
def test_a_checkout_that_was_edited_meanwhile_is_left_alone(
    place: Path, repository: Repository, halfway: tuple[str, str], name: str
) -> None:
    write(place, {name: "mine\n"})
    before = git(place, "status", "--porcelain")
    (left,) = repository.finish_checkouts(*halfway)
    assert name in left.reason
    assert left.path == str(place)
    assert git(place, "status", "--porcelain") == before


def test_edits_made_after_the_move_are_nobodys_business(
    place: Path, repository: Repository, halfway: tuple[str, str]
) -> None:
    assert repository.finish_checkouts(*halfway) == ()
    write(place, {"a.txt": "mine\n"})
    assert repository.finish_checkouts(*halfway) == ()
    assert (place / "a.txt").read_text() == "mine\n"


def test_a_checkout_whose_user_went_on_is_completed_to_the_tip(
    place: Path, repository: Repository, halfway: tuple[str, str]
) -> None:
    old, new = halfway
    later = commit_aside(place, new, {"a.txt": "later\n"})
    git(place, "update-ref", "refs/heads/main", later)
    assert repository.finish_checkouts(old, new) == ()
    assert git(place, "status", "--porcelain") == ""
    assert (place / "a.txt").read_text() == "later\n"


@pytest.mark.skipif(os.getuid() != 0, reason="only root meets repositories of others")
def test_root_works_in_the_repository_of_another_user(place: Path, repository: Repository) -> None:
    subprocess.run(["chown", "-R", "12345:12345", str(place)], check=True)
    repository.inspect()
    old = repository.tip()
    new = commit_aside(place, old, {"a.txt": "new\n"})
    assert repository.land(old, new) == Landed()
