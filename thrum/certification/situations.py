"""The situations that a backend is put into: what is asked, what its model does, and what must hold afterwards.

In every text `{nonce}` is replaced by a word of the situation's own, and in shell text `{program}` by the backend's
program, `{places}` by paths that it must not write, `{repository}` by that of the scratch repository.
"""

from __future__ import annotations

from thrum.certification import seen
from thrum.certification.seen import Question
from thrum.failures import Failure
from thrum.prompt import NO_CHANGE_MARK
from thrum.scripted import Step, fail, hang, run, say, write
from thrum.values import dataclass

HELD = ".git/held"
"""The file in the work tree that says: stop it now."""

_SAY = say("I painted it {nonce}.")
_PAINT = "Make a file colour.txt at the top of the work tree that holds one line: green"
_WRITE = (write("colour.txt", "green\n", saying=_SAY["say"]), _SAY)
_HOLD = f"touch {HELD}; while :; do sleep 1; done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """What one run is asked."""

    task: str
    """The task, for a model that thinks."""
    steps: tuple[Step, ...] = ()
    """What a scripted model does, through a program that runs commands."""
    words: tuple[Step, ...] = ()
    """The same for a program without commands; where there is nothing, `steps` hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """One situation, and what must hold in it."""

    name: str
    shall: str
    """What is promised, as a sentence."""
    asks: tuple[Asking, ...]
    """One for each run; the second goes on with what the first left."""
    holds: tuple[Question, ...]
    around: str = ""
    """Shell text that is run in the place of the program in the first run, where its model cannot be had to do the
    same by a command; empty where nothing is needed."""
    around_always: bool = False
    stops: bool = False
    """Whether the first run is stopped as soon as `HELD` is there."""
    kills: bool = False
    """Whether it is stopped by the death of its worker, whose process is killed."""
    silence: bool = False
    """Whether the limit on silence holds."""
    needs_script: bool = False
    """Whether it means nothing where the model's answers cannot be scripted."""


SITUATIONS = (
    Situation(
        name="does-the-task",
        shall="Its change is the one that the task asks for, and what it says at the end is read.",
        asks=(Asking(task=_PAINT, steps=_WRITE),),
        holds=(seen.ended_well, seen.painted, seen.spoke, seen.claims_nothing),
    ),
    Situation(
        name="changes-nothing",
        shall="It ends by itself, and nothing is taken for a change.",
        asks=(Asking(task="Change nothing. Say that you looked around, and end.", steps=(say("I looked {nonce}."),)),),
        holds=(seen.ended_well, seen.nothing_changed, seen.spoke, seen.claims_nothing),
    ),
    Situation(
        name="says-no-change-needed",
        shall="The claim that no change is needed is understood.",
        asks=(
            Asking(
                task=f"Change nothing, and print this line: {NO_CHANGE_MARK} it is {{nonce}} already",
                steps=(say(f"I looked around.\n{NO_CHANGE_MARK} it is {{nonce}} already"),),
            ),
        ),
        holds=(seen.ended_well, seen.nothing_changed, seen.claims_no_change),
    ),
    Situation(
        name="asks-a-question",
        shall="It does not wait for an answer, and its question is read.",
        asks=(
            Asking(
                task="Change nothing. Ask which colour is wanted.",
                steps=(say("Shall it be red or green, {nonce}?"),),
            ),
        ),
        holds=(seen.ended_well, seen.nothing_changed, seen.spoke, seen.claims_nothing),
    ),
    Situation(
        name="hangs-silently",
        shall="It is ended for its silence when its model does not answer.",
        asks=(Asking(task=_PAINT, steps=(hang(),)),),
        holds=(seen.fell_silent, seen.nothing_changed),
        silence=True,
        needs_script=True,
    ),
    Situation(
        name="floods-its-output",
        shall="Megabytes of output do not harm its work, nor have it taken for a failure.",
        asks=(
            Asking(
                task=_PAINT,
                steps=(run("yes flood | head -c 20000000; echo green > colour.txt"), _SAY),
                words=_WRITE,
            ),
        ),
        # That its last words are lost in them is no harm: one program loses the end of its output then.
        holds=(seen.ended_well, seen.painted),
        around='yes flood | head -c 20000000; {program} "$@"',
    ),
    Situation(
        name="exits-0-after-an-error",
        shall="That its key was refused is told, although it exits with 0.",
        asks=(Asking(task=_PAINT, steps=(fail(401, message="invalid x-api-key"),)),),
        holds=(seen.read_as(Failure.AUTH), seen.nothing_changed),
        around='{program} "$@"; exit 0',
        around_always=True,
        needs_script=True,
    ),
    Situation(
        name="exits-1-after-success",
        shall="Its work is there and is judged, although it exits with 1.",
        asks=(Asking(task=_PAINT, steps=_WRITE),),
        holds=(seen.judged, seen.painted),
        around='{program} "$@"; exit 1',
        around_always=True,
    ),
    Situation(
        name="leaves-a-child-behind",
        shall="It is not waited for what it started, and nothing of that stays.",
        asks=(
            Asking(
                task=_PAINT,
                steps=(
                    # The child does the work, so that there was one.
                    run(
                        "setsid sh -c 'echo green > colour.txt; sleep 3600; :' child-{nonce}"
                        " </dev/null >/dev/null 2>&1 &\n"
                        "for i in 1 2 3 4 5; do [ -e colour.txt ] || sleep 1; done"
                    ),
                    _SAY,
                ),
                words=_WRITE,
            ),
        ),
        holds=(seen.ended_well, seen.painted),
        around="setsid sh -c 'sleep 3600; :' child-{nonce} </dev/null >/dev/null 2>&1 &\n{program} \"$@\"",
    ),
    Situation(
        name="ignores-sigterm",
        shall="It is ended all the same, and its work so far is kept.",
        asks=(
            Asking(
                task=_PAINT,
                steps=(run(f"trap '' TERM; : {{nonce}}; echo green > colour.txt; {_HOLD}"), _SAY),
                words=_WRITE,
            ),
        ),
        holds=(seen.was_stopped, seen.painted),
        around=f"trap '' TERM; {{program}} \"$@\"; {_HOLD}",
        stops=True,
    ),
    Situation(
        name="commits-on-its-own",
        shall="Its own commit is the work, with its message.",
        asks=(
            Asking(
                task=f"{_PAINT}. Commit it yourself on a branch of your own, with the message: Paint it {{nonce}}",
                steps=(
                    run(
                        "git switch -q -c own-{nonce} && echo green > colour.txt && git add colour.txt"
                        " && git commit -q -m 'Paint it {nonce}'"
                    ),
                    _SAY,
                ),
                words=_WRITE,
            ),
        ),
        holds=(seen.ended_well, seen.painted, seen.committed),
        around='{program} "$@"; code=$?; git add colour.txt && git commit -q -m "Paint it {nonce}"; exit $code',
    ),
    Situation(
        name="edits-outside",
        shall="It cannot write to the system, to your home, or to the repository itself.",
        asks=(
            Asking(
                task=_PAINT,
                steps=(
                    run(
                        "for place in {places}; do (echo hi > $place) 2>/dev/null; done;"
                        " git -C {repository} update-ref refs/heads/outside-{nonce} HEAD 2>/dev/null;"
                        " echo green > colour.txt"
                    ),
                    _SAY,
                ),
                words=_WRITE,
            ),
        ),
        holds=(seen.ended_well, seen.painted),
        around=(
            "for place in {places}; do (echo hi > $place) 2>/dev/null; done;"
            ' git -C {repository} update-ref refs/heads/outside-{nonce} HEAD 2>/dev/null; {program} "$@"'
        ),
    ),
    Situation(
        name="hits-a-rate-limit",
        shall="It gives up by itself, and is read as one that has to wait.",
        asks=(
            Asking(
                task=_PAINT,
                steps=(fail(429, message="This request would exceed your rate limit.", retry_after_s=1),),
            ),
        ),
        holds=(seen.read_as(Failure.RATE_LIMITED), seen.nothing_changed),
        needs_script=True,
    ),
    Situation(
        name="is-killed-and-resumed",
        shall="Its worker is killed: its work is kept, and the next run goes on with it, in its session where it can.",
        asks=(
            Asking(
                task="Make a file half.txt at the top of the work tree that holds one line: half. (first {nonce})",
                steps=(run(f": {{nonce}}; echo half > half.txt; {_HOLD}"), _SAY),
                words=(write("half.txt", "half\n"), _SAY),
            ),
            Asking(
                task="Make a file whole.txt that holds the text of half.txt, and behind it one line: rest",
                steps=(run("cat half.txt > whole.txt && echo rest >> whole.txt"), _SAY),
                words=(write("whole.txt", "half\nrest\n"), _SAY),
            ),
        ),
        holds=(seen.was_lost, seen.ended_well, seen.found_the_half, seen.went_on),
        around=f'{{program}} "$@"; {_HOLD}',
        stops=True,
        kills=True,
    ),
)
"""In the order in which they are tried."""
