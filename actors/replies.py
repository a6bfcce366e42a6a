"""The answers that commands got, kept for a while so that the same command sent again gets the same one. Pure."""

from __future__ import annotations

from itertools import takewhile

from thrum.batch import KeptReply, Loaded
from thrum.messages import Reply

from .turn import Gathered

KEPT_S = 86_400.0


class Replies:
    """By the commands' ids, oldest first; what must be kept goes into the step's `Gathered`."""

    def __init__(self, loaded: Loaded) -> None:
        self._kept = dict(sorted(loaded.replies.items(), key=lambda item: item[1].at))

    def get(self, command: str) -> Reply | None:
        """The answer that the command got, if it is still kept."""
        kept = self._kept.get(command)
        return kept.reply if kept is not None else None

    def keep(self, command: str, reply: Reply, now: float, gathered: Gathered) -> None:
        """Remember the answer to a command that was carried out."""
        self._kept[command] = gathered.replies[command] = KeptReply(at=now, reply=reply)

    def expire(self, now: float, gathered: Gathered) -> None:
        """Forget what nobody will send again."""
        expired = list(takewhile(lambda key: self._kept[key].at < now - KEPT_S, self._kept))
        for key in expired:
            del self._kept[key]
        gathered.dropped_replies.extend(expired)
