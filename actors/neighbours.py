"""What an effect needs of repositories on other hosts, got over the bus beside the actor's loop, and then the effect.

The loop owns the socket, the thread of the effects git: each step of an inquiry is taken by whoever has what it needs,
and neither waits for the other.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from thrum import inputs as i
from thrum.config import Project, RepoConfig
from thrum.errors import ThrumError, words
from thrum.messages import Envelope
from thrum.messages.vector import GetBundle

from .effects import Outcome, Worldly
from .inquiry import Bundles, Inquiry, Tips
from .turn import Send
from .vector import Told

log = logging.getLogger(__name__)

FRESH_S = 30.0
"""A branch is not moved on tips that were told longer ago: the thread was busy, and they are asked for again."""

Landing = i.BuildCandidate | i.MoveBranch


@dataclass(slots=True, kw_only=True, eq=False)
class _Open:
    """An effect that waits for what others say."""

    effect: Landing
    inquiry: Inquiry | None = None
    """None while git is looked into for what to ask next."""
    told: Told = field(default_factory=lambda: Told(tips={}))
    files: dict[str, Path] = field(default_factory=dict)

    def drop_files(self) -> None:
        for path in self.files.values():
            path.unlink(missing_ok=True)


class Neighbours:
    """The members of one repository's integration set on other hosts."""

    def __init__(
        self,
        hosts: Mapping[str, str],
        world: Worldly,
        *,
        address: str,
        send: Callable[[Send], None],
        submit: Callable[[Callable[[], Outcome]], None],
        needed: Callable[[], frozenset[str]],
        limit_bytes: int,
    ) -> None:
        """`hosts` names the host of each; `address` is ours, `needed` the commits that tasks still need of them."""
        self._hosts = dict(hosts)
        self._world = world
        self._address = address
        self._send = send
        self._submit = submit
        self._needed = needed
        self._limit_bytes = limit_bytes
        self._open: dict[str, _Open] = {}
        self._count = 0

    def carry_out(self, effect: Landing, now: float) -> None:
        """Have the effect carried out, in the place of an earlier one of its task, once it is known where the members
        on other hosts are."""
        if (earlier := self._open.get(effect.task)) is not None:
            earlier.drop_files()
        inquiry = Tips(self._new_id(), tuple(self._hosts), now)
        opened = self._open[effect.task] = _Open(effect=effect, inquiry=inquiry)
        if inquiry.over:
            self._go_on(opened, inquiry, now)  # there is nobody to ask

    def hear(self, envelope: Envelope, now: float) -> bool:
        """Take an answer in; False if it is none of ours."""
        return any(opened.inquiry is not None and opened.inquiry.hear(envelope, now) for opened in self._open.values())

    def step(self, now: float) -> None:
        """Keep what arrived, ask what is due, and go on where all is said."""
        for opened in list(self._open.values()):
            inquiry = opened.inquiry
            if inquiry is None:
                continue
            if isinstance(inquiry, Bundles):
                self._keep(opened, inquiry)
            for send in inquiry.due(now):
                self._send(send)
            if inquiry.over:
                self._go_on(opened, inquiry, now)

    def next_at(self) -> float:
        """When `step` is wanted next, though nothing arrives."""
        inquiries = (opened.inquiry for opened in self._open.values())
        return min((inquiry.next_at() for inquiry in inquiries if inquiry is not None), default=float("inf"))

    def _go_on(self, opened: _Open, inquiry: Inquiry, now: float) -> None:
        opened.inquiry = None
        tips = inquiry.tips if isinstance(inquiry, Tips) else opened.told.tips
        silent = [f"{name} on host {self._hosts[name] or 'local'!r} does not answer" for name in inquiry.silent]
        refused = [f"{name} on host {self._hosts[name] or 'local'!r}: {why}" for name, why in inquiry.refused.items()]
        trouble = "; ".join((*silent, *refused))
        opened.told = Told(at=now, tips=tips, trouble=trouble, absent=bool(silent))
        if trouble or not tips or isinstance(inquiry, Bundles) or isinstance(opened.effect, i.MoveBranch):
            self._act(opened, now)
        else:
            self._submit(partial(self._look, opened))

    def _act(self, opened: _Open, _: float) -> None:
        """All is known: the effect's turn in the thread."""
        if self._open.get(opened.effect.task) is opened:
            del self._open[opened.effect.task]
            self._submit(partial(self._acted, opened, self._needed()))

    def _fetch(self, opened: _Open, wanted: dict[str, GetBundle], now: float) -> None:
        if self._open.get(opened.effect.task) is opened:
            opened.inquiry = Bundles(self._new_id(), wanted, now, limit_bytes=self._limit_bytes)
            log.info("commits are fetched from other hosts", extra={"task": opened.effect.task, "from": list(wanted)})

    def _keep(self, opened: _Open, inquiry: Bundles) -> None:
        """Write the pieces that arrived to their places."""
        arrived, inquiry.arrived = inquiry.arrived, []
        for piece in arrived:
            try:
                path = opened.files.setdefault(piece.name, self._world.vector.room() / f"in-{uuid.uuid4().hex}")
                with path.open("r+b" if piece.offset else "wb") as file:
                    file.seek(piece.offset)
                    file.write(piece.data)
            except OSError as error:
                inquiry.refuse(piece.name, f"its bundle cannot be kept: {error}")

    def _new_id(self) -> str:
        self._count += 1
        return f"{self._address}.inquiry-{self._count}"

    # --- In the thread of the effects -----------------------------------------------------------------------------

    def _look(self, opened: _Open) -> Outcome:
        """See what of the tips is not here yet."""
        try:
            wanted = self._world.vector.lacking(opened.told)
        except ThrumError as error:
            opened.told = replace(opened.told, trouble=words(error))
            wanted = {}
        go_on = partial(self._fetch, opened, wanted) if wanted else partial(self._act, opened)
        return Outcome(effect=opened.effect, then=go_on)

    def _acted(self, opened: _Open, needed: frozenset[str]) -> Outcome:
        effect, told = opened.effect, opened.told
        if isinstance(effect, i.BuildCandidate):
            given = self._world.build_candidate(effect, told, opened.files, needed)
            opened.drop_files()
            return Outcome(effect=effect, given=given)
        if told.tips and time.time() - told.at > FRESH_S:
            return Outcome(effect=effect, then=partial(self.carry_out, effect))
        return Outcome(effect=effect, given=self._world.move_branch(effect, told))


def hosts_of(project: Project, repo: RepoConfig, members: tuple[str, ...]) -> dict[str, str]:
    """Those of the members that lie on another host than the repository, each with its host."""
    others = (project.repo(name) for name in members if name != repo.name)
    return {other.name: other.host for other in others if other is not None and other.host != repo.host}
