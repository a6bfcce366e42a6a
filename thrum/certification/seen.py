"""What was seen of a backend in one situation, and the questions that are asked of it. Each answer is what did not
hold, in words; none means that it held."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from thrum.backends import Preset
from thrum.failures import TREATMENTS, Failure
from thrum.messages.attempts import AttemptReported
from thrum.scripted import Asked
from thrum.task import AttemptEnding
from thrum.values import dataclass

STOP_S = 30.0
"""How long after it was told to end a run may take to its report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was seen when the situation was over."""

    reports: tuple[AttemptReported, ...]
    """Of each run, in order."""
    files: dict[str, str]
    """What the last work changed, by path; deleted files have no text."""
    subjects: tuple[str, ...] = ()
    """The first lines of its commits' messages."""
    asked: tuple[tuple[Asked, ...], ...] = ()
    """What each run asked the scripted model, requests on the side left out."""
    left: tuple[str, ...] = ()
    """Processes that were alive after the report."""
    outside: tuple[str, ...] = ()
    """What was written outside of the work tree."""
    stopped_s: float | None = None
    """How long the first run took from its stop on; None: it was over before it came to the point of that."""
    nonce: str = ""
    """The text that is in everything which belongs to this situation, and in nothing else."""
    key: str = ""
    """The made-up key that it was given."""
    preset: Preset | None = None

    @property
    def last(self) -> AttemptReported:
        """The report of the last run."""
        return self.reports[-1]

    @property
    def scripted(self) -> bool:
        """Whether its model followed a script."""
        return self.preset is not None


Question = Callable[[Seen], Iterator[str]]


def always(seen: Seen) -> Iterator[str]:
    """What must hold in every situation."""
    for report in seen.reports:
        if report.ending == AttemptEnding.COULD_NOT_RUN:
            yield f"it could not be run: {report.reason}"
    if seen.scripted and not seen.asked[0]:
        yield "it asked the model nothing: it ended before, or did not go where base_url says"
    if any(asked.key not in ("", seen.key) for asked in sum(seen.asked, ())):
        yield "it sent a key that it was not given"
    for process in seen.left:
        yield f"a process outlived it: {process}"
    for path in seen.outside:
        yield f"it wrote outside of its work tree: {path}"


def ended_well(seen: Seen) -> Iterator[str]:
    """It ended by itself, and was read so."""
    if seen.last.ending != AttemptEnding.FINISHED:
        yield f"it did not end by itself, but {seen.last.ending}: {seen.last.reason}"
    elif seen.last.failure:
        yield f"it was read as {seen.last.failure}, and nothing failed: {seen.last.reason}"


def painted(seen: Seen) -> Iterator[str]:
    """The one file that the task asks for is there, and nothing else."""
    yield from made(seen, {"colour.txt": "green"})


def made(seen: Seen, wanted: dict[str, str]) -> Iterator[str]:
    """These files are what changed; blanks at the ends of their text do not count."""
    for path, text in wanted.items():
        if path not in seen.files:
            yield f"{path} is not among its changes"
        elif seen.files[path].strip() != text:
            yield f"{path} holds {seen.files[path][:80]!r}"
    if litter := sorted(seen.files.keys() - wanted.keys()):
        yield f"it left what is no part of the task: {', '.join(litter[:5])}"


def nothing_changed(seen: Seen) -> Iterator[str]:
    """There is no work."""
    if seen.files or seen.last.bundle:
        yield f"it changed {', '.join(sorted(seen.files)[:5]) or 'something'}"


def spoke(seen: Seen) -> Iterator[str]:
    """What the model said at the end was read."""
    if seen.scripted and seen.nonce not in seen.last.tail:
        yield f"the last words of the model were not read; instead: {seen.last.tail[-120:]!r}"


def claims_nothing(seen: Seen) -> Iterator[str]:
    """Nobody took it to say that no change is needed."""
    if seen.last.no_change:
        yield f"it was taken to say that no change is needed: {seen.last.no_change!r}"


def claims_no_change(seen: Seen) -> Iterator[str]:
    """It was understood that no change is needed."""
    if seen.nonce not in seen.last.no_change:
        yield "that it needs no change was not understood"


def read_as(*failures: Failure) -> Question:
    """It was read as one of these failures."""

    def question(seen: Seen) -> Iterator[str]:
        if seen.last.failure not in failures:
            what = f"as {seen.last.failure}" if seen.last.failure else "as a success"
            yield f"it was read {what}, not as {' or '.join(failures)}: {seen.last.reason or seen.last.tail[-120:]!r}"

    return question


def fell_silent(seen: Seen) -> Iterator[str]:
    """It was ended for its silence."""
    if seen.last.ending != AttemptEnding.SILENT:
        yield f"it was not ended for its silence, but {seen.last.ending}: {seen.last.reason}"
    elif not seen.last.failure:
        yield "its silence was read as a success"


def judged(seen: Seen) -> Iterator[str]:
    """It ended by itself, and its work is judged whatever it says."""
    if seen.last.ending != AttemptEnding.FINISHED:
        yield f"it did not end by itself, but {seen.last.ending}: {seen.last.reason}"
    elif seen.last.failure and not TREATMENTS[Failure(seen.last.failure)].judged:
        yield f"its work would not be judged: it was read as {seen.last.failure}"


def was_lost(seen: Seen) -> Iterator[str]:
    """The first run's worker was killed, and the next one in the slot told so, in time."""
    first = seen.reports[0]
    if seen.stopped_s is None:
        yield f"it was over before its worker could be killed: {first.ending}, {first.reason or first.tail[-120:]!r}"
    elif first.ending != AttemptEnding.LOST:
        yield f"it was not lost with its worker, but {first.ending}: {first.reason}"
    elif seen.stopped_s > STOP_S:
        yield f"it took {seen.stopped_s:.0f} s until the next worker had told of it"


def was_stopped(seen: Seen) -> Iterator[str]:
    """The first run was ended when it was told to, in time, and was not taken for a success."""
    first = seen.reports[0]
    if seen.stopped_s is None:
        yield f"it was over before it could be stopped: {first.ending}, {first.reason or first.tail[-120:]!r}"
    elif first.ending != AttemptEnding.STOPPED:
        yield f"it was not stopped, but {first.ending}: {first.reason}"
    elif not first.failure:
        yield "a run that was stopped was read as a success"
    elif seen.stopped_s > STOP_S:
        yield f"it took {seen.stopped_s:.0f} s to end"


def committed(seen: Seen) -> Iterator[str]:
    """The commit that it made is part of the work, under its own message."""
    if f"Paint it {seen.nonce}" not in seen.subjects:
        yield f"its own commit is not in the work, but: {'; '.join(seen.subjects[:3]) or 'nothing'}"


def went_on(seen: Seen) -> Iterator[str]:
    """The second run knew of the first, where its program can go on with a session."""
    if seen.preset is None or not seen.preset.resume_args:
        return
    if not seen.reports[0].session:
        yield "the session of the run that was stopped is not known"
    first = f"first {seen.nonce}"
    if len(seen.asked) > 1 and not any(first in turn.text for asked in seen.asked[1] for turn in asked.turns):
        yield "the second run began anew, and its program can go on with a session"


def found_the_half(seen: Seen) -> Iterator[str]:
    """The second run found what the first had left, and finished it."""
    yield from made(seen, {"half.txt": "half", "whole.txt": "half\nrest"})
