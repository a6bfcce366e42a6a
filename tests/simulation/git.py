"""A repository as far as Thrum sees it: commits over trees of named values, pins, and a branch that is swapped."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

Tree = frozenset[tuple[str, str]]

CONFLICT = "<<<"


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit; `task` names the task that it lands, if it is a candidate."""

    id: str
    tree: Tree
    parents: tuple[str, ...]
    task: str = ""


def commit(tree: Tree, parents: Iterable[str], *, task: str = "", salt: str = "") -> Commit:
    """The commit of these parts; the same parts give the same commit."""
    parents = tuple(parents)
    text = repr((sorted(tree), parents, task, salt))
    return Commit(hashlib.sha1(text.encode()).hexdigest(), tree, parents, task)


def tree_id(tree: Tree) -> str:
    """The tree's name."""
    return hashlib.sha1(repr(sorted(tree)).encode()).hexdigest()


def is_good(tree: Tree) -> bool:
    """Whether the checks of quality pass on the tree: nothing bad in it, no conflict, no two colours."""
    paths = {path for path, _ in tree}
    marred = any(path.startswith("bad/") for path in paths) or any(value == CONFLICT for _, value in tree)
    return not marred and not {"red", "blue"} <= paths


@dataclass
class Repository:
    """One repository. `moved` is called with each move of the branch, before it is visible."""

    name: str
    moved: Callable[[Repository, Commit, bool], None]
    commits: dict[str, Commit] = field(default_factory=dict)
    depths: dict[str, int] = field(default_factory=dict)
    pins: dict[str, str] = field(default_factory=dict)
    tip: str = ""

    def __post_init__(self) -> None:
        first = self.add(commit(frozenset({("readme", self.name)}), ()))
        self.tip = first.id

    def add(self, made: Commit) -> Commit:
        """Put a commit into the repository."""
        assert all(parent in self.commits for parent in made.parents), f"{made} has unknown parents"
        self.commits[made.id] = made
        self.depths[made.id] = 1 + max((self.depths[parent] for parent in made.parents), default=0)
        return made

    def pin(self, ref: str, commit_id: str) -> None:
        """Keep a commit under a ref, which never moves."""
        assert commit_id in self.commits, f"{ref} would keep a commit that is not there"
        assert self.pins.setdefault(ref, commit_id) == commit_id, f"{ref} would move"

    def swap(self, old: str, new: str, *, thrum: bool) -> bool:
        """Move the branch if it is at `old`."""
        if self.tip != old:
            return False
        assert old in self.ancestors(new)
        self.moved(self, self.commits[new], thrum)
        self.tip = new
        return True

    def ancestors(self, commit_id: str) -> dict[str, None]:
        """The commit and all it descends from, nearest first."""
        found: dict[str, None] = {}
        todo = [commit_id]
        while todo:
            here = todo.pop(0)
            if here not in found:
                found[here] = None
                todo += self.commits[here].parents
        return found

    def first_parents(self) -> list[Commit]:
        """The branch's own commits, latest first."""
        here, found = self.commits[self.tip], []
        while True:
            found.append(here)
            if not here.parents:
                return found
            here = self.commits[here.parents[0]]

    def merge(self, ours: str, theirs: str, task: str) -> tuple[Commit, tuple[str, ...]]:
        """`theirs` merged onto `ours`, and the paths that conflict; then it is `ours` with the conflict marked."""
        known = self.ancestors(theirs)
        base = dict(self.commits[max(known.keys() & self.ancestors(ours).keys(), key=self._by_depth)].tree)
        left, right = dict(self.commits[ours].tree), dict(self.commits[theirs].tree)
        merged, conflicts = dict(left), []
        for path in sorted(base.keys() | right.keys()):
            if right.get(path) == base.get(path) or left.get(path) == right.get(path):
                continue
            if left.get(path) != base.get(path):
                conflicts.append(path)
                merged[path] = CONFLICT
            elif path in right:
                merged[path] = right[path]
            else:
                merged.pop(path)
        parents = (ours,) if conflicts else (ours, theirs)
        made = commit(frozenset(merged.items()), parents, task="" if conflicts else task)
        return made, tuple(conflicts)

    def changed(self, base: str, head: str) -> tuple[str, ...]:
        """The paths in which two commits differ."""
        return tuple(sorted({path for path, _ in self.commits[base].tree ^ self.commits[head].tree}))

    def _by_depth(self, commit_id: str) -> tuple[int, str]:
        return self.depths[commit_id], commit_id
