"""SMT-LIB 2.6 as text: reading a script that nobody trusts, asking its questions in our own words, reading answers.

A script is never handed on as it is. What is handed on is written anew from its tokens, and only from commands that
are known: so the solver cannot read it in another way than we do, and can say nothing that the script chose. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, cast

from thrum.proof.symbols import brought_in, is_built_in
from thrum.values import dataclass

MOST_CHARS = 8 * 1024 * 1024
"""A longer script is refused: what it takes to read it is ours."""

Token = tuple[int, str]
"""The line on which a token begins, from 1, and its text: a parenthesis, a literal, a symbol, a `:keyword`."""

Status = Literal["sat", "unsat"]

_OPAQUE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_SYMBOL = r"[A-Za-z0-9~!@$%^&*_\-+=<>.?/]"
_SKIPPED_OR_TOKEN = re.compile(
    rf"""(?P<skipped>[ \t\r\n]++|;[^\n]*+)
    |[()]
    |(?:"(?:[^"]++|"")*+"
       |\|[^|\\]*+\|
       |\#x[0-9A-Fa-f]++
       |\#b[01]++
       |[0-9]++(?:\.[0-9]++)?+
       |:{_SYMBOL}++
       |(?![0-9]){_SYMBOL}++
     )(?=[ \t\r\n();]|\Z)""",
    re.VERBOSE,
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_KEPT = _words(
    "assert declare-const declare-datatype declare-datatypes declare-fun declare-sort define-const define-fun"
    " define-sort"
)
_RECURSIVE = _words("define-fun-rec define-funs-rec")
_ASKING = _words("check-sat check-sat-assuming")
_DROPPED = _words(
    "echo get-assertions get-assignment get-info get-model get-option get-proof get-unsat-assumptions get-unsat-core"
    " get-value"
)
# None of them writes a file, changes where the output goes, or what an answer means.
_OPTIONS_KEPT = _words(":global-declarations :random-seed :smt.random_seed :smt.mbqi :auto_config")
_OPTIONS_DROPPED = _words(
    ":interactive-mode :print-success :produce-assertions :produce-assignments :produce-models :produce-proofs"
    " :produce-unsat-assumptions :produce-unsat-cores"
)


class Unreadable(ValueError):
    """The text is no SMT-LIB; `line` is where, from 1."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line
        self.what = what


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command at the top of a script, with all of its tokens, the outer parentheses included."""

    name: str
    line: int
    tokens: tuple[Token, ...]

    @property
    def arguments(self) -> tuple[str, ...]:
        """The tokens between the name and the last parenthesis."""
        return tuple(text for _, text in self.tokens[2:-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A `check-sat`, and what it must answer."""

    line: int
    expected: Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What a script asks. With `problems` it must not be run: each is a line and what is wrong there."""

    commands: tuple[Command, ...]
    """What goes to the solver, in order; `check-sat` and `check-sat-assuming` are as many as `questions`."""
    questions: tuple[Question, ...]
    problems: tuple[tuple[int, str], ...]

    @property
    def declared(self) -> tuple[str, ...]:
        """The names of the constants and functions that are declared, in order, as `plain_symbol` has them."""
        commands = (one for one in self.commands if one.name in ("declare-const", "declare-fun"))
        return tuple(dict.fromkeys(plain_symbol(one.arguments[0]) for one in commands if one.arguments))


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the solver said to one question. Only what is `whole` is an answer."""

    said: str = ""
    whole: bool = False
    """True: its end was seen too, and it is one line."""
    model: str = ""
    reason: str = ""
    """Why it is unknown, in the solver's words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """What a solver printed for a script of ours. Short of `ended`, or with `remarks`, nothing is proven by it."""

    answers: tuple[Answer, ...]
    remarks: tuple[str, ...]
    """What it said outside its answers: errors, what it does not support."""
    ended: bool
    """Whether it came to the end of the script."""


def plain_symbol(text: str) -> str:
    """A symbol without its bars: `|x|` and `x` are the same."""
    return text[1:-1] if text.startswith("|") else text


def tokens(text: str) -> Iterator[Token]:
    """The tokens of a text, without comments.

    Raises:
        Unreadable: at the first place that is no token.
    """
    if found := _OPAQUE.search(text):
        raise Unreadable(text.count("\n", 0, found.start()) + 1, f"an unexpected character {found[0]!r}")
    line, place = 1, 0
    while place < len(text):
        match = _SKIPPED_OR_TOKEN.match(text, place)
        if match is None:
            raise Unreadable(line, _misfit(text, place))
        if match["skipped"] is None:
            yield line, match[0]
        line += match[0].count("\n")
        place = match.end()


def commands(text: str) -> Iterator[Command]:
    """The commands of a script, whatever they are.

    Raises:
        Unreadable: it is no sequence of commands; those before the place have been given.
    """
    open_at: list[int] = []
    current: list[Token] = []
    for token in tokens(text):
        line, word = token
        current.append(token)
        if word == "(":
            open_at.append(line)
        elif not open_at:
            raise Unreadable(line, f"{_shortened(word)} outside of a command")
        elif word == ")":
            open_at.pop()
        if not open_at:
            name = current[1][1]
            if not re.match(_SYMBOL, name):
                raise Unreadable(current[0][0], f"{_shortened(name)} where a command's name should be")
            yield Command(name=name, line=current[0][0], tokens=tuple(current))
            current = []
    if open_at:
        raise Unreadable(open_at[0], "a parenthesis that is never closed")


def read_script(text: str, expect: str = "") -> Script:
    """What the script asks, and everything that is wrong with it. `expect` is what each question must answer.

    A question's own expectation is the last `(set-info :status …)` since the question before.
    """
    if len(text) > MOST_CHARS:
        return Script(commands=(), questions=(), problems=((1, f"longer than {MOST_CHARS} characters"),))
    reader = _Reader(expect)
    try:
        for command in commands(text):
            reader.take(command)
    except Unreadable as error:
        reader.problems.append((error.line, error.what))
    if not reader.asked and not reader.problems:
        reader.problems.append((1, "asks nothing: there is no check-sat"))
    return Script(commands=tuple(reader.kept), questions=tuple(reader.questions), problems=tuple(reader.problems))


def rewritten(script: Script, nonce: str) -> str:
    """The script as the solver gets it: each token on its line, and around each answer lines that begin with `nonce`.

    `nonce` is a word that the script's author cannot know.
    """
    pieces = ["(set-option :print-success false) (set-option :produce-models true)"]
    at, asked = 1, 0
    for command in script.commands:
        asks = command.name in _ASKING
        if asks:
            pieces.append("\n" * (command.line - at) + _echo(nonce, asked, "asked"))
            at = max(at, command.line)
        for line, word in command.tokens:
            pieces.append("\n" * (line - at) or " ")
            pieces.append(word)
            at = line
        if asks:
            model = " (get-model)" if script.questions[asked].expected == "unsat" else ""
            more = f"{_echo(nonce, asked, 'model')}{model}{_echo(nonce, asked, 'reason')} (get-info :reason-unknown)"
            pieces.append(more + _echo(nonce, asked, "done"))
            asked += 1
    pieces.append(f"\n{_echo(nonce, asked, 'end')}\n")
    return "".join(pieces)


def read_transcript(output: str, nonce: str, count: int) -> Transcript:
    """What the solver said to `count` questions of a script that was rewritten with `nonce`.

    Nothing but the lines with the nonce tells where an answer begins and ends, so output that lost its beginning
    has lost answers, and never gained one.
    """
    parts: dict[tuple[int, str], list[str]] = {}
    remarks: list[str] = []
    current = remarks
    for line in output.split("\n"):
        number, _, part = line.removeprefix(f"{nonce} ").partition(" ")
        if not line.startswith(f"{nonce} ") or not number.isdecimal():
            current.append(line)
        elif part == "done":
            parts[int(number), part] = []
            current = remarks
        else:
            current = parts.setdefault((int(number), part), [])
    ended = not any(map(str.strip, parts.get((count, "end"), ["no end"])))
    answers = tuple(_answer(parts, number) for number in range(count))
    return Transcript(answers=answers, remarks=tuple(filter(str.strip, _unwarned(remarks))), ended=ended)


class _Reader:
    """Sorts the commands of one script into what is kept, what is asked and what is wrong."""

    def __init__(self, expect: str) -> None:
        self.kept: list[Command] = []
        self.questions: list[Question] = []
        self.problems: list[tuple[int, str]] = []
        self.asked = False
        self._expect = expect
        self._status = ""
        self._exit_line = 0

    def take(self, command: Command) -> None:
        problem = self._taken(command)
        if problem:
            self.problems.append((command.line, problem))

    def _taken(self, command: Command) -> str:
        """Keep the command, or not; what is wrong with it."""
        name, arguments = command.name, command.arguments
        if self._exit_line:
            return f"{_shortened(name)} after the exit of line {self._exit_line}, so it would never be looked at"
        if name in _ASKING:
            return self._ask(command)
        if name in _RECURSIVE:
            return (
                f"{name}: a recursive definition can contradict itself, and then every question is answered with unsat"
            )
        if name in _KEPT or (name == "set-logic" and len(arguments) == 1):
            return self._keep(command)
        if name in ("push", "pop") and (not arguments or (len(arguments) == 1 and arguments[0].isdecimal())):
            return self._keep(command)
        if name == "set-info" and arguments and arguments[0].startswith(":"):
            if arguments[0] == ":status":
                self._status = " ".join(arguments[1:])
            return ""
        if name == "set-option" and len(arguments) == 2 and arguments[1][0] not in "()":
            return self._option(command)
        if name == "exit" and not arguments:
            self._exit_line = command.line
            return ""
        if name in _DROPPED:
            return ""
        return f"the command {_shortened(' '.join((name, *arguments)))} is not one that a proof may use"

    def _option(self, command: Command) -> str:
        option = command.arguments[0]
        if option in _OPTIONS_KEPT:
            return self._keep(command)
        return "" if option in _OPTIONS_DROPPED else f"the option {_shortened(option)} is not one that a proof may set"

    def _keep(self, command: Command) -> str:
        # What has no line end in it cannot put a line of its own into what the solver says.
        if any("\n" in word or "\r" in word for _, word in command.tokens):
            return "a string or a symbol that goes over several lines"
        symbols = map(plain_symbol, brought_in(command.name, command.arguments))
        if taken := next(filter(is_built_in, symbols), None):
            return f"gives {_shortened(taken)} another meaning than it has"
        self.kept.append(command)
        return ""

    def _ask(self, command: Command) -> str:
        status, self._status = self._status, ""
        self.asked = True
        if command.name == "check-sat" and command.arguments:
            return "check-sat takes nothing; use check-sat-assuming"
        if status and status not in ("sat", "unsat"):
            return f"expects {_shortened(status)}: a proof expects sat or unsat"
        if status and self._expect and status != self._expect:
            return f"expects {status}, and the configuration expects {self._expect}"
        if not (status or self._expect):
            return "says not what is expected: put (set-info :status unsat), or sat, before this check-sat"
        self.questions.append(Question(line=command.line, expected=cast(Status, status or self._expect)))
        return self._keep(command)


def _echo(nonce: str, number: int, part: str) -> str:
    return f' (echo "{nonce} {number} {part}")'


def _unwarned(lines: list[str]) -> list[str]:
    # A warning is about how the solver works. It is one line: nothing in a script of ours goes over several.
    return [line for line in lines if not line.startswith("WARNING: ")]


def _answer(parts: dict[tuple[int, str], list[str]], number: int) -> Answer:
    said = _unwarned(parts.get((number, "asked"), []))
    reason = " ".join(parts.get((number, "reason"), [])).strip()
    return Answer(
        said="\n".join(said).strip(),
        whole=len(said) == 1 and (number, "model") in parts and (number, "done") in parts,
        model="\n".join(parts.get((number, "model"), [])),
        reason=reason.removeprefix("(:reason-unknown").removesuffix(")").strip(' "'),
    )


def _misfit(text: str, place: int) -> str:
    match text[place]:
        case '"':
            return "a string that does not end, or runs into what follows"
        case "|":
            return "a quoted symbol that does not end, runs into what follows, or has a backslash in it"
    return f"{_shortened(text[place : place + 40].split()[0])} is nothing that SMT-LIB knows"


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
