"""Work trees for agents and checks, on real repositories in real sandboxes."""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.repositories import commit, commit_aside, content, git, make_repository, write
from tests.requirements import needs
from thrum.config import SandboxConfig
from thrum.errors import GitError, SandboxError
from thrum.git.repository import Repository
from thrum.job import Job
from thrum.sandbox import Sandbox, open_sandbox
from thrum.workspace import Harvest, Workspace

MEGABYTE = 1 << 20

Agent = Callable[[str], None]
Harvester = Callable[..., Harvest]


# A start of docker's costs too much for all of these; clones are harvested in it in tests/test_escapes.py.
@pytest.fixture(params=["none", pytest.param("os-native", marks=needs("bwrap"))])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    config = SandboxConfig(backend=request.param, limits="best-effort")
    with open_sandbox(config, name=f"workspace-test-{os.getpid()}") as opened:
        yield opened


@pytest.fixture
def place(tmp_path: Path) -> Path:
    files: dict[str, str | bytes | None] = {f"src/f{i}.txt": f"content {i}\n" for i in range(20)}
    return make_repository(tmp_path / "a repo", {**files, ".gitignore": "ignored/\n*.log\n", "tracked.log": "kept\n"})


@pytest.fixture
def repository(place: Path) -> Repository:
    return Repository(place, "main")


@pytest.fixture
def base(repository: Repository) -> str:
    return repository.tip()


@pytest.fixture
def workspace(tmp_path: Path, place: Path, sandbox: Sandbox) -> Workspace:
    # bubblewrap runs as another user when we are root; none of it may depend on the way here being open.
    return Workspace(tmp_path / "slot 0", place, sandbox)


@pytest.fixture
def agent(workspace: Workspace, sandbox: Sandbox) -> Agent:
    """Runs a script as an agent would, in the sandbox."""

    def run(script: str) -> None:
        outcome = sandbox.run(
            Job(
                argv=("sh", "-ec", script),
                cwd=str(workspace.tree),
                writable=(str(workspace.tree),),
                readable=workspace.readable,
                wall_s=60,
            )
        )
        assert outcome.ok, outcome

    return run


def files_of(workspace: Workspace) -> dict[str, str]:
    """All files of the tree, as they lie."""
    found = {}
    for parent, directories, names in os.walk(workspace.tree):
        if ".git" in directories:
            directories.remove(".git")
        found.update(
            {str(Path(parent, name).relative_to(workspace.tree)): Path(parent, name).read_text() for name in names}
        )
    return found


def as_committed(place: Path, tree: str) -> dict[str, str]:
    names = git(place, "ls-tree", "-r", "-z", "--name-only", tree).strip("\0").split("\0")
    return {name: f"{content(place, tree, name)}\n" for name in names}


# --- Preparing ------------------------------------------------------------------------------------------------


def test_a_new_tree_holds_the_commit(workspace: Workspace, place: Path, base: str) -> None:
    workspace.prepare(base)
    assert files_of(workspace) == as_committed(place, base)


def test_a_used_tree_holds_the_next_commit_and_nothing_else(
    workspace: Workspace, place: Path, base: str, agent: Agent
) -> None:
    workspace.prepare(base)
    agent(
        """
        git checkout -q -b mine
        mkdir ignored nested locked
        git init -q nested
        for file in y ignored/x nested/z locked/l; do echo x >$file; done
        ln -s /etc/passwd link
        rm -r src/f1.txt
        mv src/f2.txt src/moved
        chmod 755 src/f3.txt
        ln -sf y src/f4.txt
        git add y
        git commit -qm Mine
        """
    )
    head = commit_aside(place, base, {"src/f1.txt": "changed\n", "new/file": "new\n", "src/f5.txt": None})
    workspace.prepare(head)
    assert files_of(workspace) == as_committed(place, head)
    assert not (workspace.tree / "src/f3.txt").stat().st_mode & 0o111


def test_a_tree_can_differ_from_the_commit_it_stands_on(
    workspace: Workspace, place: Path, base: str, agent: Agent
) -> None:
    other = commit_aside(place, base, {"src/f1.txt": "<<<<<<< conflict\n", "added": "a\n", "src/f2.txt": None})
    workspace.prepare(base, tree=other)
    assert files_of(workspace) == as_committed(place, other)
    agent(f'[ "$(git rev-parse HEAD)" = {base} ] && [ "$(git status --porcelain | wc -l)" = 3 ]')
    workspace.prepare(base)
    assert files_of(workspace) == as_committed(place, base)


def test_a_file_tampered_with_under_its_old_size_and_time_is_restored(
    workspace: Workspace, place: Path, base: str, agent: Agent
) -> None:
    workspace.prepare(base)
    agent("printf 'CONTENT 1\\n' >src/f1.txt; touch -d @1600000000 src/f1.txt")
    # As after a prepare long ago, on a file system without change times: the index has the times that the file has.
    index = workspace.directory / "state/index"
    raw = bytearray(index.read_bytes()[:-20])
    entry = raw.index(b"src/f1.txt\0") - 62  # gitformat-index(5)
    found = (workspace.tree / "src/f1.txt").stat()
    times = (*divmod(found.st_ctime_ns, 10**9), *divmod(found.st_mtime_ns, 10**9))
    raw[entry : entry + 16] = struct.pack(">IIII", *times)
    index.write_bytes(raw + hashlib.sha1(raw).digest())
    workspace.prepare(base)
    assert (workspace.tree / "src/f1.txt").read_text() == "content 1\n"


LEFT = """
mkdir -p src/__pycache__ .pytest_cache/v x.egg-info
touch src/__pycache__/a.pyc .pytest_cache/v/y x.egg-info/z .coverage
"""


def test_an_attempt_that_left_nothing_but_caches_of_python_changed_nothing(
    workspace: Workspace, base: str, agent: Agent, harvest: Harvester
) -> None:
    workspace.prepare(base)
    agent(LEFT)
    assert harvest() == Harvest(head=base)


def test_caches_are_no_part_of_the_work_of_an_agent_that_commits_by_itself(
    workspace: Workspace, repository: Repository, base: str, agent: Agent, harvest: Harvester
) -> None:
    workspace.prepare(base)
    agent(f"{LEFT}\n echo 1 >one; git add --all; git commit -qm One; echo 2 >two")
    assert repository.changed_files(base, imported(repository, harvest())) == ("one", "two")


def test_caches_that_the_base_has_or_that_were_added_on_purpose_are_part_of_the_work(
    workspace: Workspace, place: Path, repository: Repository, agent: Agent, tmp_path: Path
) -> None:
    base = commit(place, {"src/__pycache__/kept.pyc": "1\n", "src/__pycache__/gone.pyc": "1\n"})
    workspace.prepare(base)
    agent(f"{LEFT}\n cd src/__pycache__; echo 2 >kept.pyc; rm gone.pyc; touch forced.pyc; git add -f forced.pyc")
    changed = repository.changed_files(base, imported(repository, workspace.harvest(base, tmp_path / "out")))
    assert changed == tuple(f"src/__pycache__/{name}.pyc" for name in ("forced", "gone", "kept"))


@pytest.mark.parametrize(
    "mess",
    [
        "rm -rf .git",
        "rm -rf .git; echo 'gitdir: /nowhere' >.git",
        "rm -rf .git; ln -s /etc .git",
        "echo garbage >.git/index; echo garbage >.git/HEAD; touch .git/index.lock",
        "rm -rf src; ln -s /etc src",
        "mkdir -p deep/er; echo x >deep/er/x; chmod 500 deep/er deep; chmod 000 src",
    ],
)
def test_any_mess_is_cleared_away(workspace: Workspace, place: Path, base: str, agent: Agent, mess: str) -> None:
    workspace.prepare(base)
    agent(mess)
    workspace.prepare(base)
    assert files_of(workspace) == as_committed(place, base)
    agent('[ -z "$(git status --porcelain)" ]')


def test_a_damaged_index_of_ours_costs_only_time(workspace: Workspace, place: Path, base: str) -> None:
    workspace.prepare(base)
    (workspace.directory / "state/index").write_bytes(b"garbage")
    workspace.prepare(base)
    assert files_of(workspace) == as_committed(place, base)


def test_an_unknown_commit_is_an_error(workspace: Workspace, base: str) -> None:
    workspace.prepare(base)
    with pytest.raises(GitError, match="could not be set to 1111"):
        workspace.prepare("1" * 40)
    workspace.prepare(base)


def test_nothing_planted_in_the_tree_runs_outside_or_survives(
    tmp_path: Path, workspace: Workspace, place: Path, base: str, agent: Agent, sandbox: Sandbox
) -> None:
    # With `none` inside is outside; what is left to see there is that none of it survives its harvest.
    mark = workspace.tree.parent / "mark" if sandbox.name == "os-native" else tmp_path / "mark"
    plant = f"touch '{mark}'; cat"
    workspace.prepare(base)
    agent(
        f"""
        mkdir -p hooks .git/info
        printf '#!/bin/sh\\n{plant}\\n' >hooks/pre-commit
        chmod 755 hooks/pre-commit
        for hook in post-checkout reference-transaction; do cp hooks/pre-commit hooks/$hook; done
        echo '* filter=x' | tee .gitattributes >.git/info/attributes
        for key in filter.x.clean filter.x.smudge core.fsmonitor; do git config $key "{plant}"; done
        git config alias.reset "!{plant}"
        git config core.hooksPath hooks
        """
    )
    harvest = workspace.harvest(base, tmp_path / "out")
    assert harvest.bundle
    workspace.prepare(base)
    assert not mark.exists()
    agent("! git config --get-regexp 'filter|fsmonitor|alias|hooks'")


def test_objects_are_shared_also_those_that_the_source_borrows(
    tmp_path: Path, place: Path, base: str, sandbox: Sandbox
) -> None:
    git(tmp_path, "clone", "--quiet", "--shared", "--bare", str(place), "borrower.git")
    workspace = Workspace(tmp_path / "slot", tmp_path / "borrower.git", sandbox)
    assert workspace.readable == (str(tmp_path / "borrower.git/objects"), str(place / ".git/objects"))
    workspace.prepare(base)
    assert files_of(workspace) == as_committed(place, base)
    assert not list((workspace.tree / ".git/objects").rglob("*.pack"))


# --- Harvesting -----------------------------------------------------------------------------------------------


@pytest.fixture
def harvest(workspace: Workspace, base: str, tmp_path: Path) -> Harvester:
    def run(start: str = "") -> Harvest:
        return workspace.harvest(base, tmp_path / "out", start=start)

    return run


def imported(repository: Repository, harvest: Harvest) -> str:
    return repository.import_bundle(harvest.bundle, ref="refs/thrum/attempts/t/1", limit_bytes=MEGABYTE)


def test_uncommitted_work_is_committed_and_bundled(
    workspace: Workspace, repository: Repository, place: Path, base: str, agent: Agent, harvest: Harvester
) -> None:
    workspace.prepare(base)
    agent(
        "echo new >new; rm src/f1.txt; echo more >>tracked.log; echo no >untracked.log; echo staged >s; git add s; rm s"
    )
    found = harvest()
    assert found.reason == ""
    assert imported(repository, found) == found.head
    assert repository.changed_files(base, found.head) == ("new", "src/f1.txt", "tracked.log")
    assert git(place, "show", "--no-patch", "--format=%an <%ae>", found.head) == "Thrum agent <agent@thrum.invalid>"
    assert git(place, "rev-parse", f"{found.head}^") == base


ONE = "echo 1 >one; git add .; git commit -qm One"


@pytest.mark.parametrize(
    ("work", "changed", "commits"),
    [
        (f"{ONE}; echo 2 >two", ("one", "two"), 2),
        (f"{ONE}; echo 2 >two; git add .; git commit -q --amend -m Both", ("one", "two"), 1),
        (f"git checkout -q --detach; {ONE}", ("one",), 1),
        (f"git checkout -q -b other; {ONE}; git branch -D work", ("one",), 1),
        ("git checkout -q --orphan lone; git commit -qm Alone; echo 1 >one", ("one",), 1),
        ("git checkout -q --orphan lone; echo 1 >one", ("one",), 1),
        ("echo 1 >one; git add .; git commit -q --amend -m 'Amended what was there'", ("one",), 1),
        ("echo 1 >one; touch .git/index.lock .git/HEAD.lock .git/refs/heads/work.lock", ("one",), 1),
        ("echo 1 >one; rm .git/index", ("one",), 1),
        ("echo 1 >one; rm .git/index; mkfifo .git/index .git/packed-refs", ("one",), 1),
        (
            f"rm -rf .git; git init -q; git config user.name A; git config user.email a; git add -f .; {ONE}",
            ("one",),
            1,
        ),
        ("echo 1 >one; rm -rf .git/objects/info", ("one",), 1),
        ("git config user.name ''; git config commit.gpgSign true; echo 1 >one", ("one",), 1),
        ("git gc -q; git repack -adq; echo 1 >one; git add .; git stash -q; git stash pop -q", ("one",), 1),
    ],
)
def test_work_is_found_however_it_was_committed(
    workspace: Workspace, repository: Repository, place: Path, base: str, agent: Agent, harvest: Harvester, work: str,
    changed: tuple[str, ...], commits: int,
) -> None:  # fmt: skip
    workspace.prepare(base)
    agent(work)
    found = harvest()
    assert imported(repository, found) == found.head
    assert repository.changed_files(base, found.head) == changed
    assert git(place, "rev-list", "--count", f"{base}..{found.head}") == str(commits)
    assert repository.is_ancestor(base, found.head)
    assert found.reason == ""


def test_what_a_program_leaves_beside_its_work_is_no_part_of_it_unless_it_was_tracked(
    workspace: Workspace, place: Path, base: str, agent: Agent, tmp_path: Path
) -> None:
    workspace.prepare(base)
    agent(
        "mkdir -p .tool/cache; echo x > .tool/cache/a; echo x > .tool.log; echo work > made; echo more >> tracked.log"
    )
    harvest = workspace.harvest(base, tmp_path / "out", leaves=(".tool*", "tracked.log"))
    head = Repository(place, "main").import_bundle(harvest.bundle, ref="refs/thrum/attempts/a/1", limit_bytes=1 << 20)
    assert git(place, "diff", "--name-only", base, head).split() == ["made", "tracked.log"]


@pytest.mark.parametrize(
    "mess",
    [
        "rm -rf .git",
        "rm -rf .git; ln -s /etc .git",
        "echo 1 >two; git add .; git commit -qm Two; rm -rf .git/objects",
        "echo garbage >.git/index",
        "echo garbage >.git/HEAD",
    ],
)
def test_work_in_a_ruined_clone_is_committed_as_it_lies(
    workspace: Workspace, repository: Repository, base: str, agent: Agent, harvest: Harvester, mess: str
) -> None:
    workspace.prepare(base)
    agent(f"echo 1 >one; rm src/f1.txt; {mess}; rm -f two")
    found = harvest()
    assert imported(repository, found) == found.head
    assert repository.changed_files(base, found.head) == ("one", "src/f1.txt")
    assert "beyond use" in found.reason or "objects" in mess


def test_what_a_killed_harvest_left_does_not_hold_up_the_next_one(
    workspace: Workspace,
    repository: Repository,
    place: Path,
    base: str,
    agent: Agent,
    harvest: Harvester,
    tmp_path: Path,
) -> None:
    workspace.prepare(base)
    agent("echo 1 >one; git add one; git commit -qm 'By itself'")
    first = harvest()
    (tmp_path / "out/harvest.bundle.lock").write_text("half of a bundle")
    (workspace.tree / ".git/refs/thrum/harvest.lock").touch()
    second = harvest()
    assert (second.head, second.reason) == (first.head, "")
    assert git(place, "log", "-1", "--format=%s", imported(repository, second)) == "By itself"


def test_no_change_is_no_bundle(workspace: Workspace, base: str, agent: Agent, harvest: Harvester) -> None:
    workspace.prepare(base)
    agent("touch src/f1.txt; git commit -q --allow-empty -m 'Done!'; echo x >x.log")
    assert harvest() == Harvest(head=base)


def test_what_the_tree_started_from_is_no_change(
    workspace: Workspace, repository: Repository, place: Path, base: str, agent: Agent, harvest: Harvester
) -> None:
    start = commit_aside(place, base, {"src/f1.txt": "earlier\n"})
    workspace.prepare(base, tree=start)
    assert harvest(start) == Harvest(head=base)
    agent("echo 1 >one")
    found = harvest(start)
    assert imported(repository, found) == found.head
    assert repository.changed_files(base, found.head) == ("one", "src/f1.txt")


def test_commits_that_were_left_on_another_branch_are_told(
    workspace: Workspace, base: str, agent: Agent, harvest: Harvester
) -> None:
    workspace.prepare(base)
    agent(f"git checkout -q -b feature; {ONE}; git checkout -q work")
    found = harvest()
    assert not found.bundle
    assert "feature" in found.reason


def test_a_file_that_git_cannot_add_is_told(
    workspace: Workspace, repository: Repository, base: str, agent: Agent, harvest: Harvester
) -> None:
    workspace.prepare(base)
    agent("git init -q nested; echo 1 >one")
    found = harvest()
    assert imported(repository, found) == found.head
    assert "nested" in found.reason
    assert repository.changed_files(base, found.head) == ("one",)


def test_an_old_bundle_is_not_taken_for_a_new_one(
    workspace: Workspace, base: str, agent: Agent, harvest: Harvester
) -> None:
    workspace.prepare(base)
    agent("echo 1 >one")
    first = harvest()
    workspace.prepare(base)
    assert not harvest().bundle
    assert not Path(first.bundle).exists()


def test_the_users_repository_is_never_written(
    workspace: Workspace, place: Path, base: str, agent: Agent, harvest: Harvester
) -> None:
    before = {file: file.read_bytes() for file in sorted((place / ".git").rglob("*")) if file.is_file()}
    workspace.prepare(base)
    agent("echo 1 >one; git add .; git commit -qm One; git branch main; git update-ref refs/heads/main HEAD")
    harvest()
    assert {file: file.read_bytes() for file in sorted((place / ".git").rglob("*")) if file.is_file()} == before


def test_a_submodule_and_an_lfs_pointer_are_carried(
    tmp_path: Path, workspace: Workspace, place: Path, repository: Repository, agent: Agent
) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n"
    make_repository(tmp_path / "inner")
    git(place, "submodule", "--quiet", "add", str(tmp_path / "inner"), "sub")
    base = commit(place, {".gitattributes": "*.bin filter=lfs\n", "x.bin": pointer})
    workspace.prepare(base)
    assert (workspace.tree / "x.bin").read_text() == pointer
    assert list((workspace.tree / "sub").iterdir()) == []
    agent("echo 1 >one")
    found = workspace.harvest(base, tmp_path / "out")
    assert repository.import_bundle(found.bundle, ref="refs/thrum/x", limit_bytes=MEGABYTE) == found.head
    assert repository.changed_files(base, found.head) == ("one",)


def test_a_sandbox_without_git_is_the_sandboxs_fault(
    tmp_path: Path, place: Path, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "sh").symlink_to(shutil.which("sh") or "/bin/sh")
    with open_sandbox(SandboxConfig(backend="none"), name=f"workspace-bare-{os.getpid()}") as sandbox:
        workspace = Workspace(tmp_path / "slot", place, sandbox)
        assert workspace.readable
        workspace.prepare(base)
        monkeypatch.setenv("PATH", str(programs))
        with pytest.raises(SandboxError):
            workspace.prepare(base)


def test_a_tree_is_left_alone_from_outside(tmp_path: Path, workspace: Workspace, base: str, agent: Agent) -> None:
    victim = tmp_path / "victim"
    write(victim, {"config": "precious\n", "sub/file": "precious\n"})
    workspace.prepare(base)
    agent(f"rm -rf .git; ln -s '{victim}' .git; ln -s '{victim}' link; rm -rf src; ln -s '{victim}/sub' src")
    workspace.harvest(base, tmp_path / "out")
    agent(f"rm -rf .git; ln -s '{victim}' .git")
    workspace.prepare(base)
    assert sorted(file.name for file in victim.rglob("*")) == ["config", "file", "sub"]
    assert (victim / "config").read_text() == "precious\n"
