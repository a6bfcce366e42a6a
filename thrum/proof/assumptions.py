"""What compiled Rocq modules rest on: questions to the prover, and its answers and the checker's read back. Pure.

The questions stand in a file of ours that requires the modules and imports none, so that no notation of theirs is
used. What a module can still change by being required (the width of a line, the depth at which terms are cut) is set
again behind. Each answer stands between two marks; an answer that is not wholly understood proves nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from thrum.proof.sentences import QUALID
from thrum.values import dataclass

CLOSED = "Closed under the global context"
_MARK = "thrum-mark-{}"
_MARK_LINE = re.compile(r"thrum-mark-(\d+)\s*")
_SETTINGS = 'Set Warnings "-all".\nSet Printing Width 100000.\nSet Printing Depth 5.\n'


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """A file of questions: each has a mark before it, and stands on the lines `lines[i]` (from 1)."""

    text: str
    lines: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What was answered: texts in the order of the questions, as many as there are up to the first error."""

    texts: tuple[str, ...] = ()
    error_line: int = 0
    """The line of our file that the prover did not accept; 0 if it accepted all."""
    error: str = ""
    """What the prover said of that line."""
    problem: str = ""
    """Why the output cannot be understood at all; empty if it can."""


def questions(modules: Sequence[str], asked: Sequence[str]) -> Questions:
    """The file that requires the modules and asks each question (a sentence of Rocq without its dot)."""
    text = "".join(f"Require {module}.\n" for module in modules) + _SETTINGS
    lines: list[int] = []
    for i, question in enumerate([*asked, ""]):
        text += f'Goal True. idtac "{_MARK.format(i)}". Abort.\n'
        if question:
            lines.append(text.count("\n") + 1)
            text += f"{question}.\n"
    return Questions(text=text, lines=tuple(lines))


def answers(output: str, asked: Questions, *, path: str, ok: bool) -> Answers:
    """What the prover answered to a file of questions that lay at `path`; `ok`: it exited 0.

    A mark that is printed twice, or out of order, means that something else wrote marks: nothing is believed then.
    """
    lines = output.splitlines()
    pattern = re.compile(rf'File "(?:[^"]*/)?{re.escape(path.rsplit("/", 1)[-1])}", line (\d+), characters .*')
    errors = [(i, int(error[1])) for i, line in enumerate(lines) if (error := pattern.fullmatch(line))]
    marks = [(i, int(mark[1])) for i, line in enumerate(lines) if (mark := _MARK_LINE.fullmatch(line))]
    if [number for _, number in marks] != list(range(len(marks))):
        return Answers(problem="its marks are not in order")
    end, error_line = errors[0] if errors else (len(lines), 0)
    if ok != (not errors):
        return Answers(problem="it ended before it answered")
    if ok or error_line in asked.lines:
        known = len(asked.lines) if ok else asked.lines.index(error_line)
        if len(marks) != known + 1 or marks[-1][0] > end:
            return Answers(problem="it left questions unanswered")
    elif marks or (asked.lines and error_line > asked.lines[0]):
        return Answers(problem="it did not take a question as one")
    texts = tuple("\n".join(lines[a + 1 : b]).strip() for (a, _), (b, _) in pairwise(marks))
    return Answers(texts=texts, error_line=error_line, error="\n".join(lines[end + 1 :]).strip())


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumed:
    """What one theorem rests on: axioms by the shortest names that the prover knows for them."""

    axioms: tuple[str, ...] = ()
    unsafe: tuple[str, ...] = ()
    """What else is taken for granted, as the prover says it: guards, positivity, universes."""
    unreadable: str = ""
    """A line that is not understood; then nothing is known."""


_AXIOM = re.compile(rf"({QUALID})(?: :(?: .*)?)?")
_UNSAFE = re.compile(rf"{QUALID} (?:is assumed to be .*|relies on .*)")


def assumed(answer: str) -> Assumed:
    """The answer to `Print Assumptions`, understood."""
    if answer == CLOSED:
        return Assumed()
    first, *rest = answer.splitlines() or [""]
    if first != "Axioms:" or not rest:
        return Assumed(unreadable=first or "nothing")
    axioms: list[str] = []
    unsafe: list[str] = []
    for line in rest:
        if line[:1].isspace() and (axioms or unsafe):
            continue
        if _UNSAFE.fullmatch(line):
            unsafe.append(line.rstrip("."))
        elif axiom := _AXIOM.fullmatch(line.rstrip()):
            axioms.append(axiom[1])
        else:
            return Assumed(unreadable=line)
    return Assumed(axioms=tuple(axioms), unsafe=tuple(unsafe))


def located(answer: str, short: str) -> str:
    """The full name in the answer to `Locate short`; empty if there is not exactly one that it stands for.

    What a module's signature hides has no name, and is printed by its full path.
    """
    if " ".join(answer.split()) in (f"No object of suffix {short}", f"No object of basename {short}"):
        return short
    found = re.findall(rf"^(?:Constant|Inductive|Constructor) ({QUALID})\s*$", answer, re.M)
    return found[0] if len(found) == 1 else ""


def loaded_from(answer: str) -> tuple[str, str]:
    """The module and its file in an answer to `Locate Library`; empty strings if it is not understood."""
    found = re.fullmatch(rf"({QUALID}) has been loaded from file (\S.*)", " ".join(answer.split()))
    return (found[1], found[2]) if found else ("", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The checker's summary of all that is loaded, by full names.

    `axioms` are constants without a body, among them those that a module's signature hides; `unsafe` are pairs of
    a name and what was not checked of it.
    """

    axioms: tuple[str, ...] = ()
    unsafe: tuple[tuple[str, str], ...] = ()
    problem: str = ""


_THEORY = "Theory: Set is predicative"
_TITLE = re.compile(r"\* ([^:]+(?:: Set is \w+)?):?(?:\s+<none>)?\s*")


def context(output: str) -> Context:
    """The summary that the checker prints at its end, understood."""
    _, found, summary = output.rpartition("CONTEXT SUMMARY")
    if not found:
        return Context(problem="the checker printed no summary")
    axioms: list[str] = []
    unsafe: list[tuple[str, str]] = []
    titles: list[str] = []
    for line in summary.splitlines():
        if not line.strip() or set(line.strip()) == {"="}:
            continue
        if line.startswith("* "):
            title = _TITLE.fullmatch(line)
            if title is None:
                return Context(problem=f"the checker says {line.strip()!r}")
            titles.append(title[1])
        elif titles and line[:1].isspace():
            name = line.strip()
            if titles[-1] == "Axioms":
                axioms.append(name)
            else:
                unsafe.append((name, titles[-1][:1].lower() + titles[-1][1:]))
        else:
            return Context(problem=f"the checker says {line.strip()!r}")
    if _THEORY not in titles or "Axioms" not in titles:
        return Context(problem="the checker's summary is not whole, or Set is impredicative")
    return Context(axioms=tuple(axioms), unsafe=tuple(unsafe))
