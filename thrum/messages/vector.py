"""Between repo actors of one integration set on different hosts: where a branch is, and the commits of it.

All of these may be lost: who asks asks again, under the same id. Git's objects cross as a bundle, piece by piece.
"""

from __future__ import annotations

import re

from thrum.messages import Message
from thrum.values import dataclass

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")

PIECE_BYTES = 1024 * 1024
"""The size of a piece: far below what a frame may have, so that nothing else waits long behind one."""


def names_commit(name: str) -> bool:
    """Whether it is the full name of an object: what a peer says goes to git as such, and must be nothing else."""
    return _COMMIT.fullmatch(name) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetTip(Message):
    """query, repo → repo: which commit is your branch at?"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TipTold(Message):
    """the answer to `GetTip`."""

    commit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GetBundle(Message):
    """query, repo → repo: the piece at `offset` of a bundle that brings `commit`, which is on your branch, to a
    repository that has the commits `have`."""

    commit: str
    have: tuple[str, ...] = ()
    offset: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BundlePiece(Message):
    """the answer to `GetBundle`. A `bundle` of another name than before was made anew, and may be another one: begin
    again at 0."""

    bundle: str
    offset: int
    total_bytes: int
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerAwaited(Message):
    """repo → repo, to a query that was sent again: its answer is being made."""
