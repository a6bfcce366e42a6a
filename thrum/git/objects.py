"""What can be done with the objects of a repository alone: compare, read, merge, commit.

Nothing here sees refs, configuration, attributes or a work tree, so that everything can be repeated and
depends on its arguments only. Refs and checkouts are `thrum.git.repository`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from thrum.git.program import LIMIT_BYTES, LONG_WALL_S, Ran, decoded, failure, run, scratch_git_dir
from thrum.values import dataclass

_MERGE_RULES = {
    # Spelled out, since a newer git may have other defaults, and a repeated merge must give the same tree.
    "merge.conflictStyle": "merge",
    "merge.renames": "true",
    "merge.directoryRenames": "conflict",
    "merge.renameLimit": "7000",
}
_PATHS_AT_ONCE = 200
"""What fits among a command's arguments, however long the paths are."""
_DIFF_RULES = {
    # Above this git reads no content and says that the files differ.
    "core.bigFileThreshold": "16m",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """The merge commit that a clean merge gave."""

    commit: str
    tree: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """A merge with conflicts: the paths, a tree in which they stand, between markers where git could tell, and why."""

    paths: tuple[str, ...]
    tree: str
    text: str = ""


class ObjectStore:
    """The objects in a directory, in one of git's formats (`sha1`, `sha256`). All methods may raise `GitError`."""

    @property
    def objects(self) -> Path:
        """The directory."""
        raise NotImplementedError

    @property
    def object_format(self) -> str:
        """`sha1` or `sha256`."""
        raise NotImplementedError

    def changed_files(self, base: str, head: str) -> tuple[str, ...]:
        """The paths that differ between two commits, sorted; a renamed file counts with both of its names."""
        return self._differing(base, head)

    def added_files(self, base: str, head: str) -> tuple[str, ...]:
        """Those of the changed paths that `base` has not, sorted."""
        return self._differing(base, head, "--diff-filter=A")

    def changed_links(self, base: str, head: str) -> tuple[str, ...]:
        """Those of the changed paths that are symbolic links or submodules in `head`, sorted."""
        fields = self._apart(["diff-tree", "-r", "-z", "--no-renames", base, head]).out.split(b"\0")
        pairs = zip(fields[::2], fields[1::2], strict=False)
        return tuple(sorted(decoded(path) for facts, path in pairs if facts.split()[1] in (b"120000", b"160000")))

    def _differing(self, base: str, head: str, *options: str) -> tuple[str, ...]:
        names = ["diff-tree", "-r", "-z", "--no-renames", "--name-only", *options, base, head]
        return tuple(sorted(decoded(path) for path in self._apart(names).out.split(b"\0") if path))

    def links(self, commit: str) -> tuple[str, ...]:
        """The paths of all symbolic links and submodules of a commit, sorted."""
        listing = self._apart(["ls-tree", "-r", "-z", "--full-tree", commit]).out
        lines = (line.partition(b"\t") for line in listing.split(b"\0") if line)
        return tuple(sorted(decoded(path) for facts, _, path in lines if not facts.startswith(b"100")))

    def diff(self, base: str, head: str, *, limit_bytes: int) -> tuple[str, bool]:
        """What changed between two commits, for people, and whether it was cut at `limit_bytes`.

        Binary files are named only, as are text files of 16 MiB and more.
        """
        patch = ["diff-tree", "-r", "-p", "-M", "--stat=100", "--patch", base, head]
        found = self._apart(patch, config=_DIFF_RULES, limit_bytes=limit_bytes, truncate=True)
        return found.out.decode("utf-8", "replace"), found.truncated

    def blobs(self, commit: str, paths: Sequence[str]) -> dict[str, str]:
        """The object names of those of `paths` that are files in a commit."""
        found = {}
        for start in range(0, len(paths), _PATHS_AT_ONCE):
            some = paths[start : start + _PATHS_AT_ONCE]
            listing = self._apart(["ls-tree", "-z", "--full-tree", commit, "--", *some]).out
            for line in listing.split(b"\0"):
                facts, _, path = line.partition(b"\t")
                match facts.split():
                    case [_, b"blob", oid]:
                        found[decoded(path)] = oid.decode()
        return found

    def files(self, commit: str) -> tuple[str, ...]:
        """The paths of all files of a commit, sorted; symbolic links and submodules are none."""
        listing = self._apart(["ls-tree", "-r", "-z", "--full-tree", commit]).out
        lines = (line.partition(b"\t") for line in listing.split(b"\0") if line)
        return tuple(sorted(decoded(path) for facts, _, path in lines if facts.startswith(b"100")))

    def read_file(self, commit: str, path: str, *, limit_bytes: int = LIMIT_BYTES) -> bytes | None:
        """The content of a file in a commit; None if it has no such file. A larger one is a `GitError`."""
        oid = self.blobs(commit, [path]).get(path)
        return None if oid is None else self._apart(["cat-file", "blob", oid], limit_bytes=limit_bytes).out

    def commits(self, base: str, head: str, *, most: int) -> tuple[str, ...]:
        """The commits that `head` has and `base` has not, newest first, at most so many."""
        listing = self._apart(["rev-list", f"--max-count={most}", head, f"^{base}"]).text
        return tuple(listing.split())

    def raw_changes(self, commits: Sequence[str], *, limit_bytes: int) -> bytes | None:
        """What each commit changes, as `git diff-tree --raw -z` tells it: of a merge what none of its parents has.

        None where that is more than `limit_bytes`.
        """
        ask = ["diff-tree", "--stdin", "--no-commit-id", "--root", "--raw", "-r", "-c", "-z", "--no-renames"]
        names = "".join(f"{commit}\n" for commit in commits).encode()
        found = self._apart(ask, stdin=names, limit_bytes=limit_bytes, truncate=True)
        return None if found.truncated else found.out

    def sizes(self, objects: Sequence[str]) -> dict[str, int]:
        """The size in bytes of each of the objects that is there."""
        if not objects:
            return {}
        names = "".join(f"{name}\n" for name in objects).encode()
        listing = self._apart(["cat-file", "--batch-check=%(objectname) %(objectsize)"], stdin=names).text
        pairs = (line.split() for line in listing.split("\n"))
        return {name: int(size) for name, size in pairs if size.isdigit()}

    def contents(self, sizes: Mapping[str, int]) -> Iterator[tuple[str, bytes]]:
        """The objects with their content; each is named with its size."""
        if not sizes:
            return
        names = "".join(f"{name}\n" for name in sizes).encode()
        limit_bytes = sum(sizes.values()) + 128 * len(sizes)
        out = self._apart(["cat-file", "--batch"], stdin=names, limit_bytes=limit_bytes).out
        at = 0
        for name, size in sizes.items():
            at = out.index(b"\n", at) + 1
            yield name, out[at : at + size]
            at += size + 1

    def merge(self, tip: str, head: str, *, message: str) -> Merged | Conflict:
        """Merge `head` into `tip` without a work tree; the same arguments give the same commit.

        Always a merge commit, also where `head` descends from `tip`: the first parents are what landed.
        Attributes (`merge=union`) and merge drivers have no part in it. What would change a path that `head` left
        alone, since `tip` renamed a file, is a conflict: who looked at `head` has not seen that path.
        """
        command = ["merge-tree", "--write-tree", "-z", "--name-only", "--messages", tip, head]
        ran = self._apart(command, config=_MERGE_RULES, accept=(0, 1), wall_s=LONG_WALL_S)
        fields = ran.out.split(b"\0")
        tree = fields[0].decode().strip()
        if ran.code == 0:
            if carried := self._carried(tip, head, tree):
                return Conflict(paths=carried, tree=tree, text=f"CONFLICT (rename): carried to {', '.join(carried)}")
            return Merged(commit=self.commit_tree(tree, (tip, head), message), tree=tree)
        if b"" not in fields[1:]:
            # It also exits 1 for a commit that is not there.
            raise failure(("git", *command), ran.code, ran.err)
        end = fields.index(b"", 1)
        return Conflict(
            paths=tuple(decoded(path) for path in fields[1:end]), tree=tree, text=_conflict_text(fields[end + 1 :])
        )

    def _carried(self, tip: str, head: str, merged: str) -> tuple[str, ...]:
        """The paths of `tip` that a merged tree changes though `head` does not: git carried its changes to them.

        That is looked for, and not forbidden: before 2.50 `merge-tree` detects renames whatever `merge.renames` says.
        """
        bases = self._apart(["merge-base", "--all", tip, head]).text.split()
        changed = {path for base in bases for path in self._differing(base, head)}
        return tuple(path for path in self._differing(tip, merged) if path not in changed)

    def commit_tree(self, tree: str, parents: Sequence[str], message: str) -> str:
        """Make a commit of Thrum's, dated like the last of its parents, so that the same arguments give the same."""
        seconds = "0"
        if parents:
            seconds = self._apart(["show", "--no-patch", "--format=%ct", parents[-1]]).text or "0"
        date = f"@{seconds} +0000"
        linked = [argument for parent in parents for argument in ("-p", parent)]
        return self._apart(
            ["commit-tree", tree, *linked, "-F", "-"],
            variables={"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date},
            stdin=message.encode("utf-8", "backslashreplace"),
        ).text

    def _apart(
        self,
        args: Sequence[str],
        *,
        config: Mapping[str, str] | None = None,
        variables: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
        accept: Sequence[int] = (0,),
        limit_bytes: int = LIMIT_BYTES,
        truncate: bool = False,
        wall_s: float = LONG_WALL_S,
    ) -> Ran:
        """Run git over its objects only, apart from its refs, configuration and attributes."""
        with scratch_git_dir(self.objects, object_format=self.object_format) as scratch:
            return run(
                args,
                cwd=Path(scratch["GIT_DIR"]),
                config=config,
                variables={**scratch, **(variables or {})},
                stdin=stdin,
                accept=accept,
                limit_bytes=limit_bytes,
                truncate=truncate,
                wall_s=wall_s,
            )


def _conflict_text(fields: Sequence[bytes]) -> str:
    """git's messages: records of a count, as many paths, a type and the text, all NUL-terminated."""
    texts = []
    at = 0
    while at < len(fields) and fields[at].isdigit():
        at += int(fields[at]) + 2
        texts.append(decoded(fields[at]).strip())
        at += 1
    return "\n".join(text for text in texts if text.startswith("CONFLICT"))
