"""A user's repository: reading it, pinning commits, building candidates, and landing them on its branch.

Work trees of agents and checks are `thrum.workspace`'s. No decision is taken here. What depends on
content alone (merges, diffs) is `thrum.git.objects`'.
Git LFS files are carried as their pointers, submodules as their links; neither's content is fetched.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

from thrum.errors import GitError, RepositoryError
from thrum.files import sync_directory
from thrum.git.bundles import import_objects, read_header, write_bundle
from thrum.git.checkouts import Checkout, blocked, catch_up, find_checkouts, move
from thrum.git.objects import Conflict, Merged, ObjectStore
from thrum.git.program import Ran, run, version
from thrum.records import well_formed
from thrum.values import dataclass

__all__ = ["PINS", "Blocked", "Checkout", "Conflict", "Landed", "Merged", "Moved", "Repository"]

log = logging.getLogger(__name__)

PINS = "refs/thrum/"
"""All refs that Thrum keeps for itself lie below."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Landed:
    """The branch is at the new commit. `behind` are checkouts of it that could not follow: a person must look."""

    behind: tuple[Checkout, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """The branch was not where the landing began; it is at `tip`, and nothing was changed."""

    tip: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """A checkout of the branch cannot follow, so the branch was left where it is."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    common_dir: Path
    shallow: bool
    object_format: str


class Repository(ObjectStore):
    """One repository and its protected branch.

    `path` is a work tree, a linked work tree or a bare repository; `branch` a name without `refs/heads/`.
    Only one process may write through this class at a time. All methods may raise `GitError`.
    """

    def __init__(self, path: str | Path, branch: str) -> None:
        self.path = Path(path)
        self.branch = branch
        self.ref = f"refs/heads/{branch}"

    @property
    def common_dir(self) -> Path:
        """The git directory that all its work trees share.

        Raises:
            RepositoryError: `path` is not there, or no git repository.
        """
        return self._facts.common_dir

    @property
    def object_format(self) -> str:
        """`sha1` or `sha256`."""
        return self._facts.object_format

    @cached_property
    def _facts(self) -> _Facts:
        version()
        if not self.path.is_dir():
            raise RepositoryError(
                f"the repository {self.path} does not exist", remedy="restore it, or correct `path` in repos.toml"
            )
        # A directory inside of some other repository is not meant, and must not be taken, for that one.
        ceiling = {"GIT_CEILING_DIRECTORIES": str(self.path.resolve().parent)}
        ask = ["rev-parse", "--path-format=absolute", "--git-common-dir"]
        ask += ["--is-shallow-repository", "--show-object-format"]
        found = run(ask, cwd=self.path, variables=ceiling, accept=(0, 128))
        if found.code:
            said = found.err.strip().removeprefix("fatal: ").split("\n")[0]
            raise RepositoryError(
                f"{self.path} is not a git repository that can be used ({said})",
                command=("git", *ask),
                exit_code_seen=found.code,
                output=found.err,
                remedy="set `path` to the top of a repository, or run `git init` there",
            )
        # From the end: a path may hold line ends itself.
        path, shallow, object_format = os.fsdecode(found.out.rstrip(b"\n")).rsplit("\n", 2)
        return _Facts(common_dir=Path(path).resolve(), shallow=shallow == "true", object_format=object_format)

    @property
    def objects(self) -> Path:
        """Its object store."""
        return self.common_dir / "objects"

    def inspect(self) -> str:
        """Make sure that the repository can be managed as it is; the commit that its branch is at.

        Bare repositories, linked work trees, detached HEADs, packed refs, submodules and LFS are fine.

        Raises:
            RepositoryError: it is not there, has no commit or no such branch, or lacks part of its history.
        """
        self.__dict__.pop("_facts", None)
        self._refuse_parts()
        tip = self._git("rev-parse", "--verify", "--quiet", f"{self.ref}^{{commit}}", accept=(0, 1, 128))
        if tip.code == 0:
            return tip.text
        branches = self._git("for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads/").text.split("\n")
        if not any(branches):
            raise RepositoryError(
                f"the repository {self.path} has no commit yet",
                remedy=f"make a first one: git -C '{self.path}' commit --allow-empty -m 'Begin'",
            )
        shown = ", ".join(branches[:10]) + (" …" if len(branches) > 10 else "")
        raise RepositoryError(
            f"the repository {self.path} has no branch '{self.branch}'; it has: {shown}",
            remedy="set `branch` in repos.toml to one of them",
        )

    def _refuse_parts(self) -> None:
        if self._facts.shallow:
            # Attempts would come as bundles that need commits which are not there.
            raise RepositoryError(
                f"the repository {self.path} is a shallow clone", remedy=f"git -C '{self.path}' fetch --unshallow"
            )
        promisors = self._git("config", "--get-regexp", r"^remote\..*\.promisor$", accept=(0, 1)).text
        if any(line.endswith(" true") for line in promisors.split("\n")):
            # What is missing would be fetched when it is read, and sandboxes have no network.
            raise RepositoryError(
                f"the repository {self.path} is a partial clone",
                remedy="clone it again without --filter",
            )

    # --- Reading ---------------------------------------------------------------------------------------------

    def tip(self) -> str:
        """The commit that the branch is at."""
        return self.resolve(self.ref)

    def resolve(self, rev: str) -> str:
        """The full name of the commit that `rev` means."""
        return self._peel(rev, "commit")

    def tree_of(self, rev: str) -> str:
        """The full name of the tree of a commit."""
        return self._peel(rev, "tree")

    def _peel(self, rev: str, kind: str) -> str:
        name = f"{rev}^{{{kind}}}"
        found = self._git("rev-parse", "--verify", "--quiet", "--end-of-options", name, accept=(0, 1, 128))
        if found.code:
            raise GitError(f"there is no {kind} '{rev}' in {self.path}", exit_code_seen=found.code, output=found.err)
        return found.text

    def is_ancestor(self, a: str, b: str) -> bool:
        """Whether `b` is `a` or descends from it."""
        return self._git("merge-base", "--is-ancestor", a, b, accept=(0, 1)).code == 0

    # --- Refs of ours ----------------------------------------------------------------------------------------

    def pin(self, ref: str, commit: str) -> None:
        """Keep a commit from being pruned, under a name below `refs/thrum/`; it is on disk when this returns.

        `commit` is a full name. Doing it again is fine.

        Raises:
            GitError: the name is taken by another commit, or lies elsewhere.
        """
        _ours(ref)
        try:
            # An empty old value: only if the ref does not exist.
            self._git("update-ref", "--no-deref", ref, f"{commit}^{{commit}}", "")
        except GitError:
            if self._pinned(ref) != commit:
                raise
        self._sync(ref)

    def unpin(self, ref: str) -> None:
        """Let go of what was pinned under a name; one that is not there is fine."""
        _ours(ref)
        self._git("update-ref", "--no-deref", "-d", ref)

    def pins(self, prefix: str = PINS) -> dict[str, str]:
        """The commits that are pinned under names which begin with the path `prefix`."""
        _ours(prefix)
        listing = self._git("for-each-ref", "--format=%(refname) %(objectname)", prefix).text
        return {ref: commit for ref, _, commit in (line.partition(" ") for line in listing.split("\n") if line)}

    def holds(self, commit: str, prefix: str) -> bool:
        """Whether a pin below `prefix` keeps the commit, with all that it needs."""
        _ours(prefix)
        asked = ["for-each-ref", "--count=1", f"--contains={commit}", prefix]
        found = self._git(*asked, accept=(0, 129))  # 129: there is no such commit
        return found.code == 0 and bool(found.text)

    def known(self, commits: Sequence[str]) -> tuple[str, ...]:
        """Those of the commits, given by their full names, that are here."""
        if not commits:
            return ()
        asked = "".join(f"{commit}\n" for commit in commits).encode()
        lines = self._git("cat-file", "--batch-check", stdin=asked).text.split("\n")
        return tuple(
            commit for commit, line in zip(commits, lines, strict=True) if line.startswith(f"{commit} commit ")
        )

    def _pinned(self, ref: str) -> str:
        return self._git("rev-parse", "--verify", "--quiet", ref, accept=(0, 1)).text

    # --- Bundles ---------------------------------------------------------------------------------------------

    def import_bundle(self, bundle: str | Path, *, ref: str, limit_bytes: int, commit: str = "") -> str:
        """Bring in the one commit that a bundle holds, pin it as `ref`, and return its name.

        With `commit` it must be just that one.

        The bundle is taken for hostile: nothing of it is in the repository unless all of it is sound, and the
        name it gives its ref means nothing. Doing it again does nothing.

        Raises:
            GitError: it is too large, malformed, incomplete or unsound; or `ref` is taken by another commit.
        """
        _ours(ref)
        header, pack = read_header(Path(bundle), limit_bytes=limit_bytes, object_format=self.object_format)
        try:
            if commit not in ("", header.head):
                raise GitError(f"the bundle brings {header.head}, and {commit} was asked for")
            if self._pinned(ref) != header.head:
                import_objects(header, pack, common_dir=self.common_dir, objects=self.objects, limit_bytes=limit_bytes)
                self.pin(ref, header.head)
        finally:
            os.close(pack)
        return header.head

    def write_bundle(self, path: str | Path, commit: str, *, have: Sequence[str] = ()) -> None:
        """Write a file from which another host's repository, that has the commits `have`, can import `commit`."""
        write_bundle(Path(path), commit, objects=self.objects, object_format=self.object_format, have=have)

    # --- Landing ---------------------------------------------------------------------------------------------

    def checkouts(self) -> tuple[Checkout, ...]:
        """Where the branch is checked out, and whether each is clean enough to move with it."""
        return find_checkouts(self.path, self.common_dir, self.ref)

    def land(self, old: str, new: str) -> Landed | Moved | Blocked:
        """Move the branch from `old` to its descendant `new`, and its checkouts with it, or change nothing.

        A crash between the two leaves a checkout behind: `finish_checkouts` completes it. Doing it again is fine.
        """
        tip = self.tip()
        if tip == new:
            return Landed(behind=self.finish_checkouts(old, new))
        if tip != old:
            return Moved(tip=tip)
        if not self.is_ancestor(old, new):
            raise GitError(f"{new} does not descend from {old}: landing it would take commits off '{self.branch}'")
        checkouts = self.checkouts()
        for checkout in checkouts:
            reason = checkout.reason or blocked(checkout, old, new)
            if reason:
                return Blocked(reason=well_formed(f"'{self.branch}' is checked out in {checkout.path}: {reason}"))
        try:
            self._git("update-ref", "--no-deref", "-m", "thrum: landed", self.ref, new, old)
        except GitError:
            tip = self.tip()
            if tip == old:
                raise
            if tip != new:
                return Moved(tip=tip)
        self._sync(self.ref)
        return Landed(behind=self._behind((checkout, move(checkout, old, new)) for checkout in checkouts))

    def finish_checkouts(self, old: str, new: str) -> tuple[Checkout, ...]:
        """Complete what `land(old, new)` may have left undone after it moved the branch, any number of times.

        Returns the checkouts that it left alone, with the reason: they were changed meanwhile.
        """
        tip = self.tip()
        if not self.is_ancestor(new, tip):
            raise GitError(f"'{self.branch}' is at {tip}, which does not descend from {new}")
        return self._behind((checkout, catch_up(checkout, old, tip)) for checkout in self.checkouts())

    def _behind(self, outcomes: Iterable[tuple[Checkout, str]]) -> tuple[Checkout, ...]:
        behind = []
        for checkout, reason in outcomes:
            if reason:
                log.error(
                    "a checkout could not follow its branch; `git diff HEAD` there shows what differs",
                    extra={"checkout": checkout.path, "branch": self.branch, "reason": reason},
                )
                behind.append(Checkout(path=checkout.path, clean=False, reason=reason))
        return tuple(behind)

    # --- git -------------------------------------------------------------------------------------------------

    def _git(self, *args: str, accept: Sequence[int] = (0,), stdin: bytes | None = None) -> Ran:
        """Run git on the repository itself: its refs, its configuration."""
        directory = self.common_dir
        return run(args, cwd=directory, variables={"GIT_DIR": str(directory)}, accept=accept, stdin=stdin)

    def _sync(self, ref: str) -> None:
        """Sync the directories that lead to a ref: git syncs the file, but not the name it gives it."""
        place = (self.common_dir / ref).parent
        while place != self.common_dir and place.is_relative_to(self.common_dir):
            if place.is_dir():
                sync_directory(place)
            place = place.parent


def _ours(ref: str) -> None:
    if not ref.startswith(PINS):
        raise GitError(f"'{ref}' does not lie below {PINS}")
