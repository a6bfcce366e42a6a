"""What checks said before: a check that passed on a tree need not run on it again while all else is the same. Pure.

Whether all else is the same (setup, environment, programs) only the gate actor can tell: it compares the fingerprint
that comes with the earlier result with its own. What failed is run again; what could not run, ran as a sample of its
tests or had the network has no fingerprint, and is never taken over.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from thrum.batch import Loaded
from thrum.checks import definition_digest
from thrum.gate import Check, Gate, Verdict
from thrum.messages.gates import GateReported, RunGate

from .turn import Gathered

MOST = 2000
"""How many results are kept."""
TAIL_CHARS = 1000


class Results:
    """The results by tree and definition, oldest first; what must be kept goes into the step's `Gathered`."""

    def __init__(self, loaded: Loaded, *, enabled: bool) -> None:
        self._kept = dict(loaded.results)
        self._enabled = enabled

    def beside(self, part: RunGate) -> RunGate:
        """The part with what is known of its checks."""
        if not self._enabled or part.probe or part.gate is Gate.INTEGRATION:
            return part
        known = {check.name: self._kept.get(_key(part, check)) for check in part.checks}
        return replace(part, known={name: result for name, result in known.items() if result is not None})

    def take(self, part: RunGate | None, reported: GateReported, gathered: Gathered) -> None:
        """Keep what may be taken over the next time; of a part that is not under way, nothing."""
        if part is None or not self._enabled or part.probe or part.gate is Gate.INTEGRATION:
            return
        checks = {check.name: check for check in part.checks}
        for result in reported.checks:
            if result.name in checks and result.fingerprint and result.verdict is Verdict.PASSED and not result.cached:
                key = _key(part, checks[result.name])
                self._kept.pop(key, None)
                self._kept[key] = gathered.results[key] = replace(result, tail=result.tail[-TAIL_CHARS:])
                gathered.dropped_results = [one for one in gathered.dropped_results if one != key]
        while len(self._kept) > MOST:
            oldest = next(iter(self._kept))
            del self._kept[oldest]
            gathered.results.pop(oldest, None)
            gathered.dropped_results.append(oldest)


def _key(part: RunGate, check: Check) -> str:
    content = part.tree or part.vector.get(check.repo, "")
    return hashlib.sha256(f"{check.repo}\0{content}\0{definition_digest([check])}".encode()).hexdigest()
