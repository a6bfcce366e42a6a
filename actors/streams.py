"""What repo actors send each other for certain: numbered, repeated until acknowledged, taken in order and once. Pure.

A sender's stream is named by its store, so that a store that was lost and made anew begins a new one. The receiver
keeps one number for each stream, the highest it has handled: what it remembers cannot grow with what it handles. Each
message says which is the first that is unanswered, so that a receiver whose store was lost knows where to go on.
"""

from __future__ import annotations

from dataclasses import replace

from thrum.batch import Loaded, Outgoing
from thrum.messages.landing import Durable, DurableAcknowledged

from .turn import Gathered


class Streams:
    """Both ends of the durable streams of one repo actor; what must be kept goes into the step's `Gathered`."""

    def __init__(self, loaded: Loaded) -> None:
        self._name = loaded.epoch
        self.marks = dict(loaded.marks)
        self.waiting = {(out.destination, out.message.seq): out for out in loaded.outbox}
        """What is not acknowledged yet, in the order of sending."""
        self._next = dict(loaded.next_out)

    def post(self, destination: str, body: Durable, gathered: Gathered) -> Durable:
        """The message with its place in the stream; it is repeated until `acknowledged`."""
        seq = self._next.get(destination, 1)
        self._next[destination] = seq + 1
        out = Outgoing(destination=destination, message=replace(body, stream=self._name, seq=seq))
        self.waiting[destination, seq] = out
        gathered.outbox.append(out)
        return replace(out.message, first=self._first(destination))

    def unanswered(self) -> list[tuple[str, Durable]]:
        """What to send again, and to whom."""
        first = {destination: self._first(destination) for destination, _ in self.waiting}
        return [(out.destination, replace(out.message, first=first[out.destination])) for out in self.waiting.values()]

    def _first(self, destination: str) -> int:
        return min(seq for to, seq in self.waiting if to == destination)

    def take(self, source: str, body: Durable, gathered: Gathered) -> bool:
        """True if the message is the next of its stream, and to be handled; an earlier one was, a later one waits."""
        stream = f"{source}/{body.stream}"
        # What comes before `first` was acknowledged by us, in a store that was lost since.
        if body.seq != max(self.marks.get(stream, 0), body.first - 1) + 1:
            return False
        self.marks[stream] = gathered.marks[stream] = body.seq
        return True

    def acknowledgement(self, source: str, body: Durable) -> DurableAcknowledged:
        """How far we are in the message's stream."""
        return DurableAcknowledged(stream=body.stream, seq=self.marks.get(f"{source}/{body.stream}", 0))

    def acknowledged(self, source: str, body: DurableAcknowledged, gathered: Gathered) -> None:
        """The destination has handled everything up to a number."""
        if body.stream != self._name:
            return
        for key in [key for key in self.waiting if key[0] == source and key[1] <= body.seq]:
            del self.waiting[key]
            gathered.dropped_outbox.append(key)
