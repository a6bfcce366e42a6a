"""The commits of an integration set as git has them: tips, and what is brought in from other hosts and kept.

A member on our host is opened by its path. The commits of one on another host come as bundles, which are taken for
hostile, and are kept in our own repository under `refs/thrum/vector/`; from there gates check them out.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from thrum.config import RepoConfig
from thrum.errors import GitError
from thrum.files import remove_tree
from thrum.git.repository import PINS, Repository
from thrum.messages.vector import PIECE_BYTES, BundlePiece, GetBundle, TipTold, names_commit
from thrum.task import ENDS, Task
from thrum.values import dataclass

log = logging.getLogger(__name__)

KEPT = 2
"""How many of the bundles that were asked for are kept: until another one is, its pieces may be asked for again."""
VECTOR = f"{PINS}vector/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the members on other hosts said at the time `at`: where their branches are, or why that is not known.

    `absent`: one of them does not answer at all.
    """

    at: float = 0.0
    tips: Mapping[str, str]
    trouble: str = ""
    absent: bool = False


def needed(tasks: Iterable[Task]) -> frozenset[str]:
    """The commits that candidates which have not landed yet are looked at with."""
    candidates = (task.candidate for task in tasks if task.state not in ENDS)
    return frozenset(commit for one in candidates if one is not None for commit in one.vector.values())


class Vector:
    """The other members of one repository's set, and what they may ask of it."""

    def __init__(self, git: Repository, here: Mapping[str, RepoConfig], folder: Path, *, limit_bytes: int) -> None:
        """`here` are the other members on this host; in `folder`, which is ours, lie bundles on their way."""
        self._git = git
        self._here = {name: Repository(repo.path, repo.branch) for name, repo in here.items()}
        self.folder = folder
        self._limit_bytes = limit_bytes
        self._made: dict[tuple[str, tuple[str, ...]], Path] = {}

    def tips(self, told: Told) -> dict[str, str]:
        """Where the branches of all other members are."""
        return {**{name: other.tip() for name, other in self._here.items()}, **told.tips}

    # --- What comes in ----------------------------------------------------------------------------------------------

    def lacking(self, told: Told) -> dict[str, GetBundle]:
        """What to ask of the members whose tip is not kept here yet, by their names."""
        wanted = {}
        for name, tip in told.tips.items():
            if not self._git.holds(tip, f"{VECTOR}{name}/"):
                have = tuple(dict.fromkeys(self._git.pins(f"{VECTOR}{name}/").values()))
                wanted[name] = GetBundle(commit=tip, have=have)
        return wanted

    def take_in(self, told: Told, bundles: Mapping[str, Path], needed: Collection[str]) -> None:
        """Keep the tips that were told, those that were lacking from `bundles`, and no earlier ones but the `needed`.

        What was told last stays in any case: the next bundle builds on it.

        Raises:
            GitError: a bundle is not what it must be; nothing of it is in the repository then.
        """
        for name, tip in told.tips.items():
            ref = f"{VECTOR}{name}/{tip}"
            if name in bundles:
                self._git.import_bundle(bundles[name], ref=ref, limit_bytes=self._limit_bytes, commit=tip)
            else:
                self._git.pin(ref, tip)
            for old, commit in self._git.pins(f"{VECTOR}{name}/").items():
                if commit not in (tip, *needed):
                    self._git.unpin(old)

    # --- What others ask ----------------------------------------------------------------------------------------------

    def tip(self) -> TipTold:
        """Where our branch is."""
        return TipTold(commit=self._git.tip())

    def piece(self, asked: GetBundle) -> BundlePiece:
        """A piece of a bundle with a commit of our branch.

        Raises:
            GitError: the commit is not on the branch, or there is no such piece.
        """
        for commit in (asked.commit, *asked.have):
            _check(commit)
        try:
            path = self._bundle(asked.commit, asked.have)
            with path.open("rb") as file:
                total_bytes = file.seek(0, 2)
                file.seek(max(0, asked.offset))
                data = file.read(PIECE_BYTES)
        except OSError as error:
            self._made.clear()
            raise GitError(f"a bundle of {asked.commit} cannot be made: {error}") from error
        return BundlePiece(bundle=path.name, offset=asked.offset, total_bytes=total_bytes, data=data)

    def _bundle(self, commit: str, have: tuple[str, ...]) -> Path:
        key = (commit, have)
        if key not in self._made:
            if not self._git.is_ancestor(commit, self._git.tip()):
                raise GitError(f"{commit} is not on '{self._git.branch}' any more")
            path = self.room() / f"out-{uuid.uuid4().hex}"
            self._git.write_bundle(path, commit, have=self._git.known(have))
            self._made[key] = path
            while len(self._made) > KEPT:
                self._made.pop(next(iter(self._made))).unlink(missing_ok=True)
        return self._made[key]

    def room(self) -> Path:
        """The folder, which is there once it was asked for."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        return self.folder

    def clear(self) -> None:
        """Remove what an earlier life left on its way."""
        try:
            remove_tree(self.folder)
        except OSError as error:
            log.warning("bundles of an earlier life are left behind", extra={"reason": str(error)})


def _check(commit: str) -> None:
    if not names_commit(commit):
        raise GitError(f"{commit[:80]!r} is no commit's name")
