"""Gate 2's prover for Z3: obligations of the repository, solved one run a file, each answer known to be the solver's.

Everything about the text of a script is in `smtlib`; how a Python file's obligations become scripts, in `emitter`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import secrets
import zlib
from importlib import resources

from thrum.gate import MOST_NAMES, Obligations, Tally, Verdict
from thrum.globs import chosen
from thrum.job import Ending, Outcome
from thrum.proof import Proof, Workbench
from thrum.proof.models import model_lines
from thrum.proof.smtlib import Answer, Question, Script, Transcript, read_script, read_transcript, rewritten
from thrum.values import dataclass

LOG_CHARS = 1024 * 1024
DETAILS_CHARS = 16 * 1024
MOST_OBLIGATIONS = 10_000
"""In one Python file."""
_RUN_CHARS = 64 * 1024
"""What the log keeps of one run, its end."""
_FRAME_BYTES = 16 * 1024 * 1024
_SPARE_S = 5.0
"""The solver is to end itself, and say so; beyond this it is ended."""
_EMIT_S = 60.0
"""What a Python file may take at least: it builds formulas, and starts an interpreter with z3."""
_PROBE_S = 60.0
_FRAME = re.compile(r"^[0-9a-f]{32} (?P<length>[0-9]{1,8}) (?P<digest>[0-9a-f]{64})\n(?P<text>[A-Za-z0-9+/=]*)$", re.M)
_NO_MEMORY = '(error "out of memory")'
_ERROR = re.compile(r'\(error "(?:line (?P<line>\d+) column \d+: )?(?P<what>.*?)"?\)?')


def prove(obligations: Obligations, bench: Workbench) -> Proof:
    """Prove every obligation for Z3; passed is only where each question of each file got the answer it expects.

    A solver or an interpreter that is missing or does not work could-not-run, whatever else was found.
    """
    prover = _Prover(obligations, bench)
    try:
        prover.run()
    except _Unable as error:
        return Proof(verdict=Verdict.COULD_NOT_RUN, reason=_plain(_clipped(str(error), 500)), log=prover.log_text())
    return prover.proof()


class _Unable(Exception):
    """What is in the way of any verdict; the operator must act."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failure:
    name: str
    """As a test."""
    what: str
    """One line."""
    lines: tuple[str, ...] = ()
    """What is known beyond it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """One script: where it is from, and whether its lines mean something to a person."""

    name: str
    text: str
    lines: bool = True

    def at(self, line: int) -> str:
        return f"{self.name}:{line}" if self.lines else self.name


class _Prover:
    def __init__(self, obligations: Obligations, bench: Workbench) -> None:
        self._told = obligations
        self._bench = bench
        self._failures: list[_Failure] = []
        self._asked = 0
        self._log: list[str] = []
        self._log_left = LOG_CHARS
        self._put = 0

    def run(self) -> None:
        """Try each obligation.

        Raises:
            _Unable: the tools are not there, or the sandbox is not.
        """
        told = self._told
        if not (told.smt or told.python):
            raise _Unable("no obligations are configured: smt and python are both empty")
        self._solver = self._program(told.solver)
        self._version()
        scripts, idle = chosen(told.smt, self._bench.files)
        sources, idle_python = chosen(told.python, self._bench.files)
        for glob in (*idle, *idle_python):
            self._fail(glob, "matches no file, so it proves nothing")
        if sources:
            self._interpreter = self._program(told.interpreter)
            self._emitter = self._bench.put("thrum_emitter.py", _emitter_source())
            self._probe()
        for path in scripts:
            self._file(path)
        for path in sources:
            self._python(path)

    def proof(self) -> Proof:
        """What was found."""
        failures = self._failures
        tests = Tally(
            run=self._asked, failed=len(failures), failing=tuple(_plain(one.name) for one in failures[:MOST_NAMES])
        )
        if not failures:
            if not self._asked:
                raise AssertionError("nothing was asked, and nothing said so")
            return Proof(verdict=Verdict.PASSED, tests=tests, log=self.log_text())
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        return Proof(
            verdict=Verdict.FAILED,
            reason=_plain(f"not proven: {failures[0].name}: {failures[0].what}{more}"),
            details=_plain(_details(failures)),
            tests=tests,
            log=self.log_text(),
        )

    def log_text(self) -> str:
        """All that was run, at most LOG_CHARS."""
        return "".join(self._log)

    # --- Scripts --------------------------------------------------------------------------------------------

    def _file(self, path: str) -> None:
        try:
            text = self._bench.read(path).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            self._fail(path, f"is not UTF-8: {error.reason} at byte {error.start}")
            return
        self._solve(_Source(name=path, text=text))

    def _solve(self, source: _Source) -> None:
        told = self._told
        script = read_script(source.text, told.expect if source.lines else "unsat")
        if script.problems:
            line, what = script.problems[0]
            lines = tuple(f"{source.at(line)}: {what}" for line, what in script.problems[1:21])
            self._fail(source.name, f"line {line}: {what}" if source.lines else what, lines)
            return
        nonce = secrets.token_hex(16)
        self._put += 1
        path = self._bench.put(f"obligation-{self._put}.smt2", rewritten(script, nonce).encode())
        limit_s = math.ceil(told.solver_timeout_s)
        limits = (f"-T:{limit_s}", f"-memory:{told.solver_memory_mb}")
        outcome = self._run(source.name, (self._solver, "-smt2", *limits, path), limit_s + _SPARE_S, nonce)
        self._judge(source, script, read_transcript(outcome.tail, nonce, len(script.questions)), outcome)

    def _judge(self, source: _Source, script: Script, said: Transcript, outcome: Outcome) -> None:
        before = len(self._failures)
        # Where the beginning of the output is lost, or the memory was short, the answers that are missing tell.
        remarks = [line for line in said.remarks if not _lost(outcome) and line != _NO_MEMORY]
        if remarks:
            first, *others = (_remark(source, line) for line in remarks[:20])
            self._fail(source.name, f"the solver complained: {first}", tuple(others))
        for question, answer in zip(script.questions, said.answers, strict=True):
            self._asked += 1
            if not (answer.whole and answer.said == question.expected):
                what, lines = self._shortfall(question, answer, outcome), _counterexample(question, answer, script)
                self._failures.append(_Failure(name=source.at(question.line), what=what, lines=lines))
        if len(self._failures) == before and not (said.ended and outcome.exit_code in (0, 1)):
            self._fail(source.name, outcome.reason or "the solver did not come to the end of the file")

    def _shortfall(self, question: Question, answer: Answer, outcome: Outcome) -> str:
        wanted = f"expected {question.expected}"
        if answer.whole and answer.said in ("sat", "unsat"):
            return f"answered {answer.said}, {wanted}"
        if answer.whole and answer.said == "unknown":
            return f"answered unknown ({answer.reason or 'no reason given'}), {wanted}"
        if outcome.ending is Ending.TIMED_OUT or outcome.tail.rstrip().endswith("\ntimeout"):
            return f"no answer within {math.ceil(self._told.solver_timeout_s)} s, {wanted}"
        if _NO_MEMORY in outcome.tail[-2000:]:
            return f"no answer within {self._told.solver_memory_mb} MB of memory, {wanted}"
        if _lost(outcome):
            return f"the answer is lost: the solver printed {outcome.output_bytes} bytes, {wanted}"
        return f"no answer ({_clipped(answer.said, 200) or outcome.reason or 'the solver ended before it'}), {wanted}"

    # --- Obligations in Python ------------------------------------------------------------------------------

    def _python(self, path: str) -> None:
        self._put += 1
        source = self._bench.put(f"obligations-{self._put}.py", self._bench.read(path))
        limit_s = max(self._told.solver_timeout_s, _EMIT_S)
        answer, outcome = self._emit(path, limit_s, source, path, self._bench.tree)
        found = answer.get("obligations")
        if "error" in answer:
            lines = tuple(str(answer["error"]).rstrip().split("\n"))
            self._fail(path, _clipped(lines[-1], 300), lines[-30:] if len(lines) > 1 else ())
        elif not isinstance(found, list) or not all(map(_is_obligation, found)):
            ended = f" ({outcome.reason})" if outcome.reason else ""
            large = " They may be too large together." if _lost(outcome) else ""
            self._fail(path, f"ended before it gave its obligations{ended}.{large}")
        elif not found:
            self._fail(path, "obligations() yields nothing, so it proves nothing")
        elif len(found) > MOST_OBLIGATIONS:
            self._fail(path, f"yields {len(found)} obligations; at most {MOST_OBLIGATIONS} are taken")
        else:
            for name, text in found:
                self._solve(_Source(name=f"{path}: {_clipped(name, 200)}", text=text, lines=False))

    def _emit(self, title: str, limit_s: float, *arguments: str) -> tuple[dict[str, object], Outcome]:
        nonce = secrets.token_hex(16)
        outcome = self._run(title, (self._interpreter, self._emitter, nonce, *arguments), limit_s, nonce)
        return (_frame(outcome.tail, nonce) if outcome.ok else {}), outcome

    # --- Tools ----------------------------------------------------------------------------------------------

    def _program(self, name: str) -> str:
        path = self._bench.which(name)
        if not path:
            raise _Unable(f"there is no program {name!r} for the obligations of Z3")
        return path

    def _version(self) -> None:
        outcome = self._run("the solver", (self._solver, "--version"), _PROBE_S)
        if not outcome.ok:
            why = outcome.reason or f"exit code {outcome.exit_code}"
            raise _Unable(f"the solver {self._told.solver!r} does not work: {why}")

    def _probe(self) -> None:
        # Without the repository's file, which could claim anything: what is missing here is the operator's.
        answer, outcome = self._emit("the interpreter", _PROBE_S)
        if "version" not in answer:
            why = answer.get("error") or outcome.reason or "it did not answer"
            raise _Unable(f"the interpreter {self._told.interpreter!r} has no z3: {why}")

    def _run(self, title: str, argv: tuple[str, ...], limit_s: float, nonce: str = "") -> Outcome:
        outcome = self._bench.run(argv, limit_s)
        printed = _FRAME.sub("[obligations]", outcome.tail)
        printed = printed if len(printed) <= _RUN_CHARS else f"[...]{printed[-_RUN_CHARS:]}"
        end = outcome.reason or f"exit code {outcome.exit_code}"
        text = f"# {title}\n$ {' '.join(argv)}\n{printed}\n[{end}, {outcome.duration_s:.2f} s]\n\n"
        # Random words would make the log of the same proof another one each time.
        self._note(text.replace(nonce, "==") if nonce else text)
        if outcome.ending in (Ending.NOT_FOUND, Ending.NOT_STARTED, Ending.STOPPED):
            raise _Unable(outcome.reason or f"{argv[0]}: {outcome.ending}")
        return outcome

    def _note(self, text: str) -> None:
        if self._log_left > 0:
            mark = "\n[the log is cut here]\n"
            cut = len(text) > self._log_left - len(mark)
            self._log.append(text[: max(self._log_left - len(mark), 0)] + mark if cut else text)
            self._log_left = 0 if cut else self._log_left - len(text)

    def _fail(self, name: str, what: str, lines: tuple[str, ...] = ()) -> None:
        self._asked += 1
        self._failures.append(_Failure(name=name, what=what, lines=lines))


def _emitter_source() -> bytes:
    return resources.files("thrum.proof").joinpath("emitter.py").read_bytes()


def _frame(output: str, nonce: str) -> dict[str, object]:
    """What the emitter said; empty where its frame is missing, broken or too large."""
    frames = [found for found in _FRAME.finditer(output) if found[0].startswith(nonce)]
    if not frames:
        return {}
    text = frames[-1]["text"].encode()
    if len(text) != int(frames[-1]["length"]) or hashlib.sha256(text).hexdigest() != frames[-1]["digest"]:
        return {}
    try:
        inflater = zlib.decompressobj()
        plain = inflater.decompress(base64.b64decode(text, validate=True), _FRAME_BYTES)
        answer = json.loads(plain) if inflater.eof else None
        # A half of a surrogate pair is text to JSON, and to nobody else.
        json.dumps(answer, ensure_ascii=False).encode()
    except (ValueError, zlib.error, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _is_obligation(one: object) -> bool:
    return isinstance(one, list) and len(one) == 2 and all(isinstance(text, str) and text.strip() for text in one)


def _lost(outcome: Outcome) -> bool:
    """Whether the run printed more than was kept of it."""
    return outcome.output_bytes > len(outcome.tail.encode())


def _counterexample(question: Question, answer: Answer, script: Script) -> tuple[str, ...]:
    if not answer.whole or (answer.said, question.expected) != ("sat", "unsat"):
        return ()
    lines = model_lines(answer.model, script.declared)
    return ("counterexample:", *(f"  {line}" for line in lines)) if lines else ("it holds for no values at all",)


def _remark(source: _Source, line: str) -> str:
    """A line of the solver's as one about the file: the lines of the script that it read are those of the file."""
    found = _ERROR.fullmatch(line.strip())
    if found is None:
        return _clipped(line, 300)
    place = f"{source.at(int(found['line']))}: " if found["line"] and source.lines else ""
    return _clipped(place + found["what"], 300)


def _details(failures: list[_Failure]) -> str:
    text = ""
    for number, one in enumerate(failures):
        entry = "".join(f"{line}\n" for line in (f"{one.name}: {one.what}", *(f"  {line}" for line in one.lines)))
        if len(text) + len(entry) > DETAILS_CHARS:
            return f"{text}{entry[: DETAILS_CHARS - len(text)]}\n[and {len(failures) - number - 1} more]\n"
        text += entry
    return text


def _clipped(text: str, most: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[:most]}..."


def _plain(text: str) -> str:
    # Names, values and tracebacks are the repository's, and a person's terminal is to show them.
    return "".join(char if char.isprintable() or char == "\n" else "?" for char in text)
