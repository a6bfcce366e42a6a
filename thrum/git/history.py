"""A search through all that a history brings to a branch: each of its commits, and every file as any of them has it.

A branch gets the whole history of what lands on it: what one commit adds and the next one takes away is there for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from thrum.git.objects import ObjectStore
from thrum.git.program import decoded
from thrum.values import dataclass

MOST_COMMITS = 2_000
LISTING_BYTES = 64 * 1024 * 1024
BATCH_BYTES = 16 * 1024 * 1024
"""How much content is in memory at once, unless a single object is larger."""
OBJECT_BYTES = 64 * 1024 * 1024
"""A larger object is not searched."""

Holds = Callable[[bytes, Iterable[bytes]], bool]
"""Whether data holds what is looked for, beyond what earlier states of it hold."""

_LINK = b"160000"
"""The mode of a link to a commit of another repository."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """A file as a commit makes it, and as it was in the commit's parents."""

    path: bytes
    object: str
    """Empty for a link to another repository."""
    earlier: tuple[str, ...]


def search(store: ObjectStore, base: str, head: str, holds: Holds, *, limit_bytes: int) -> tuple[str, ...]:
    """Where the commits between `base` and `head` hold what is looked for: files by their paths, for what is in them in
    any of the commits or for their names; commits for their messages and the people's names in them.

    What cannot be searched is among them, as nobody knows what it holds: a history that is too long, what is larger
    than `OBJECT_BYTES`, and what lies beyond `limit_bytes` of content.

    Raises:
        GitError: a commit is not there.
    """
    commits = store.commits(base, head, most=MOST_COMMITS + 1)
    listing = store.raw_changes(commits, limit_bytes=LISTING_BYTES) if len(commits) <= MOST_COMMITS else None
    if listing is None:
        return (f"the history since {base[:12]} (too long to be searched)",)
    additions: dict[str, list[Addition]] = {}
    for addition in _additions(listing):
        additions.setdefault(addition.object, []).append(addition)
    every = (one for found in additions.values() for one in found)
    files = {one.path: "" for one in every if holds(one.path, [one.path] if one.earlier else ())}
    additions.pop("", None)
    in_commits = []
    for name, data in _contents(store, (*commits, *additions), limit_bytes):
        if data is not None and not holds(data, ()):
            continue
        mark = " (too large to be searched)" if data is None else ""
        if name not in additions:
            in_commits.append(f"commit {name[:12]}{mark}")
        for one in additions.get(name, ()):
            if data is None or (one.path not in files and holds(data, _earlier(store, one, limit_bytes))):
                files[one.path] = mark
    return (*(f"{decoded(path)}{mark}" for path, mark in sorted(files.items())), *in_commits)


def _additions(listing: bytes) -> Iterator[Addition]:
    """The files in a listing of `git diff-tree --raw -c -z`, which tells of each its modes and objects, the parents'
    first."""
    fields = listing.split(b"\0")
    for facts, path in zip(fields[::2], fields[1::2], strict=False):
        parents = facts.count(b":")
        words = facts.lstrip(b":").split()
        modes, objects = words[: parents + 1], [word.decode() for word in words[parents + 1 : -1]]
        if int(modes[-1]):
            earlier = tuple(one for mode, one in zip(modes, objects[:-1], strict=False) if int(mode) and mode != _LINK)
            yield Addition(path=path, object="" if modes[-1] == _LINK else objects[-1], earlier=earlier)


def _earlier(store: ObjectStore, addition: Addition, limit_bytes: int) -> list[bytes]:
    return [data for _, data in _contents(store, addition.earlier, limit_bytes) if data is not None]


def _contents(store: ObjectStore, objects: Sequence[str], limit_bytes: int) -> Iterator[tuple[str, bytes | None]]:
    """The content of each object; None for what goes beyond `limit_bytes` altogether, or is not there."""
    sizes = store.sizes(objects)
    batch: dict[str, int] = {}
    left = limit_bytes
    for name in objects:
        size = sizes.get(name, left + 1)
        if size > min(left, OBJECT_BYTES):
            yield name, None
            continue
        left -= size
        if batch and sum(batch.values()) + size > BATCH_BYTES:
            yield from store.contents(batch)
            batch = {}
        batch[name] = size
    yield from store.contents(batch)
