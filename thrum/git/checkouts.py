"""The user's checkouts of a protected branch: where they are, whether they may move, and moving them.

A checkout moves with its branch, or the branch must not move: its next commit would undo the landing. No ref
is written here. The repository's own configuration holds in a checkout, as it is the user's, except for
filters (`filter.*`): they are programs, and what they would read was written by an agent. Files under one,
such as those of git-lfs, are compared as they lie and come as their pointers; `git lfs pull` fills them.
Submodules are not touched: their links move in the index, as with `git pull`.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from thrum.errors import GitError
from thrum.git.program import LONG_WALL_S, Ran, decoded, run
from thrum.values import dataclass

_SHOWN = 3

_REBASED = "a rebase of the branch is in progress in it"
_UNFINISHED = {
    "MERGE_HEAD": "a merge",
    "CHERRY_PICK_HEAD": "a cherry-pick",
    "REVERT_HEAD": "a revert",
    "rebase-merge": "a rebase",
    "rebase-apply": "a rebase",
    "sequencer": "a cherry-pick or revert",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """A work tree in which the branch is checked out. `reason` says why it is not `clean`, for a person."""

    path: str
    clean: bool
    reason: str = ""
    rebasing: bool = False
    """HEAD is detached, while a rebase is in progress that will write the branch."""


def find_checkouts(path: Path, common_dir: Path, ref: str) -> tuple[Checkout, ...]:
    """Where `ref` is checked out, or held by a rebase that will write it, in the repository at `path`.

    Untracked files do not count as changes; whether one is in the way `blocked` tells. Work trees that were
    deleted are left out, unless they are locked: then they are away, not gone.
    """
    found: list[Checkout] = []
    for number, (place, facts) in enumerate(_work_trees(path)):
        if "bare" in facts or ("prunable" in facts and "locked" not in facts):
            continue
        on_branch = facts.get("branch") == ref
        if not on_branch and "detached" not in facts:
            continue
        git_dir = common_dir if number == 0 else _git_dir(place)
        if on_branch:
            reason = _unclean(_Place(place), git_dir)
            found.append(Checkout(path=place, clean=not reason, reason=reason))
        elif git_dir is not None and _rebases(git_dir, ref):
            found.append(Checkout(path=place, clean=False, reason=_REBASED, rebasing=True))
    return tuple(found)


def blocked(checkout: Checkout, old: str, new: str) -> str:
    """Why a clean checkout cannot move from `old` to `new`, such as an untracked file in the way; empty if it can."""
    place = _Place(checkout.path)
    # git itself would overwrite files that are ignored; they may be all that the user has of them.
    in_the_way = _in_the_way(place, *place.added_and_removed(old, new))
    if in_the_way:
        return f"untracked files are in the way ({_some(in_the_way)})"
    # `read-tree` takes a file that was merely touched for changed, unless the index knows better.
    place.git("update-index", "-q", "--ignore-submodules", "--refresh", accept=(0, 1, 128))
    return place.read_tree("--dry-run", "-m", "-u", old, new)


def move(checkout: Checkout, old: str, new: str) -> str:
    """Take index and files of a checkout from `old` to `new`; the reason if that cannot be, with nothing changed."""
    return _Place(checkout.path).read_tree("-m", "-u", old, new)


def catch_up(checkout: Checkout, old: str, new: str) -> str:
    """Complete a move from `old` to `new` that was cut off anywhere; the reason if a person must look at it.

    Only files that are exactly what `old` or `new` says are written, and only where the index is still at `old`.
    """
    place = _Place(checkout.path)
    if checkout.rebasing or place.index_is(new):
        return ""
    if not place.index_is(old):
        return "its index is neither at the old nor at the new commit"
    foreign = _foreign(place, old, new)
    if foreign:
        return f"it has changes of its own ({_some(foreign)})"
    return place.read_tree("--reset", "-u", new)


class _Place:
    """A work tree to run git in, with its filters switched off."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    @cached_property
    def _no_filters(self) -> dict[str, str]:
        listing = run(["config", "--name-only", "-z", "--get-regexp", r"^filter\."], cwd=self.path, accept=(0, 1)).out
        off: dict[str, str] = {}
        for name in {os.fsdecode(key).rpartition(".")[0] for key in listing.split(b"\0") if key}:
            off |= {f"{name}.clean": "", f"{name}.smudge": "", f"{name}.process": "", f"{name}.required": "false"}
        return off

    def git(self, *args: str, index: str = "", accept: tuple[int, ...] = (0,)) -> Ran:
        variables = {"GIT_INDEX_FILE": index} if index else {}
        return run(args, cwd=self.path, config=self._no_filters, variables=variables, accept=accept, wall_s=LONG_WALL_S)

    def read_tree(self, *args: str) -> str:
        try:
            self.git("read-tree", "--no-recurse-submodules", *args)
        except GitError as error:
            return f"{error.message}; {error.remedy}" if error.remedy else error.message
        return ""

    def index_is(self, commit: str) -> bool:
        return self.git("diff-index", "--cached", "--quiet", commit, "--", accept=(0, 1)).code == 0

    def changes(self, *, index: str = "") -> list[tuple[str, bytes]]:
        """What is not as committed: two letters (index against HEAD, file against index) and the path.

        A submodule at another commit than the index says is no change: a landing leaves it so.
        """
        # `status` and not `diff-files`: only it looks at the content where a file was merely touched.
        out = self.git(
            "status", "--porcelain=v2", "-z", "--untracked-files=no", "--no-renames", "--ignore-submodules=dirty",
            index=index,
        ).out  # fmt: skip
        changes = []
        for line in out.split(b"\0"):
            match line.split(b" ", 8):
                case [b"1", letters, submodule, *_, path]:
                    change = letters.decode()
                    if submodule.startswith(b"S"):
                        change = change[0] + "."
                    if change != "..":
                        changes.append((change, path))
                case [b"u", letters, *_, rest]:
                    changes.append((letters.decode(), rest.split(b" ", 2)[-1]))
        return changes

    def differing(self, *, index: str = "") -> set[bytes]:
        """The tracked paths whose files are not what the index says."""
        return {path for change, path in self.changes(index=index) if change[1] != "."}

    def added_and_removed(self, old: str, new: str) -> tuple[set[bytes], set[bytes]]:
        """The paths that only `new` has, and those that only `old` has."""
        out = self.git("diff-tree", "-r", "-z", "--no-renames", "--diff-filter=AD", "--name-status", old, new).out
        fields = out.split(b"\0")[:-1]
        pairs = list(zip(fields[::2], fields[1::2], strict=True))
        return {path for kind, path in pairs if kind == b"A"}, {path for kind, path in pairs if kind == b"D"}

    def at(self, path: bytes) -> bytes:
        return os.path.join(os.fsencode(self.path), path)


def _work_trees(path: Path) -> list[tuple[str, dict[str, str]]]:
    """All work trees with what git says of them, the main one first."""
    listing = run(["worktree", "list", "--porcelain", "-z"], cwd=path).out
    trees = []
    for block in listing.split(b"\0\0"):
        facts = dict(_pair(os.fsdecode(line)) for line in block.split(b"\0") if line)
        if facts:
            trees.append((facts["worktree"], facts))
    main, facts = trees[0]
    if "bare" not in facts and not (Path(main) / ".git").exists():
        # git guesses the main work tree from the git directory; that is wrong for a submodule and for
        # --separate-git-dir. Where the configured path is in the main work tree, git knows better.
        top = run(["rev-parse", "--show-toplevel"], cwd=path, accept=(0, 128))
        trees[0] = (os.fsdecode(top.out.rstrip(b"\n")) or main, facts)
    return trees


def _pair(line: str) -> tuple[str, str]:
    name, _, value = line.partition(" ")
    return name, value


def _git_dir(place: str) -> Path | None:
    try:
        found = run(["rev-parse", "--absolute-git-dir"], cwd=Path(place))
    except GitError:
        return None
    return Path(os.fsdecode(found.out.rstrip(b"\n")))


def _rebases(git_dir: Path, ref: str) -> bool:
    """Whether a rebase in this work tree, whose HEAD is detached meanwhile, will write `ref` when it ends."""
    for name in ("rebase-merge/head-name", "rebase-apply/head-name", "rebase-merge/update-refs"):
        file = git_dir / name
        if file.is_file() and ref in file.read_text(errors="replace").split("\n"):
            return True
    return False


def _unclean(place: _Place, git_dir: Path | None) -> str:
    if git_dir is None or not place.path.is_dir():
        return "its files are not there"
    lock = git_dir / "index.lock"
    if lock.exists():
        return f"a git command is at work in it, or one was killed; if none is, remove {lock}"
    for name, what in _UNFINISHED.items():
        if (git_dir / name).exists():
            return f"{what} is in progress in it"
    changed = [path for _, path in place.changes()]
    return f"it has uncommitted changes ({_some(changed)})" if changed else ""


def _some(paths: Iterable[bytes]) -> str:
    shown = sorted(map(decoded, paths))
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return ", ".join(shown[:_SHOWN]) + more


def _foreign(place: _Place, old: str, new: str) -> set[bytes]:
    """The paths at which there is neither what `old` says nor what `new` does."""
    not_old = place.differing()
    with tempfile.TemporaryDirectory(prefix="thrum-index-") as directory:
        index = f"{directory}/index"
        place.git("read-tree", new, index=index)
        not_new = place.differing(index=index)
    added, removed = place.added_and_removed(old, new)
    kept = {path for path in removed if os.path.lexists(place.at(path))}
    return not_old & (not_new | kept) | _in_the_way(place, added, removed) & not_new


def _in_the_way(place: _Place, added: set[bytes], removed: set[bytes]) -> set[bytes]:
    """Those of the `added` paths that something untracked occupies."""
    return {path for path in added if _occupied(place, path, removed)}


def _occupied(place: _Place, path: bytes, removed: set[bytes]) -> bool:
    """Whether a file, below a directory or above, stands at the path that is not one of those to be removed."""
    names = path.split(b"/")
    for depth in range(1, len(names)):
        above = b"/".join(names[:depth])
        if not os.path.lexists(place.at(above)):
            return False
        if os.path.islink(place.at(above)) or not os.path.isdir(place.at(above)):
            return above not in removed
    here = place.at(path)
    if os.path.islink(here) or not os.path.isdir(here):
        return os.path.lexists(here)
    below = (os.path.join(parent, name) for parent, _, names in os.walk(here) for name in names)
    return any(os.path.relpath(file, os.fsencode(place.path)) not in removed for file in below)
