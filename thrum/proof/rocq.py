"""Rocq's proofs: compiled, checked, and asked what they assume, in runs of a workbench."""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Sequence

from thrum.gate import MOST_NAMES, Obligations, Tally, Verdict
from thrum.job import Ending, Outcome
from thrum.proof import Proof, Workbench
from thrum.proof.assumptions import Answers, Context, answers, assumed, context, loaded_from, located, questions
from thrum.proof.development import Development, Source, develop
from thrum.proof.rocq_tools import CannotRun, Tools
from thrum.proof.sentences import QUALID
from thrum.values import dataclass

MOST_UNKNOWN = 20
"""After so many names that the compiler does not know, the rest is not asked about."""

_OUTPUT_BYTES = 1024 * 1024
_MESSAGE_CHARS = 4000
_WITHOUT_NATIVE = ("-q", "-w", "-deprecated-native-compiler-option", "-native-compiler", "no")
_QUESTIONS = "thrum_questions.v"


def prove(obligations: Obligations, bench: Workbench) -> Proof:
    """Prove that the repository's Rocq files compile, hold in the checker, and assume nothing that is not allowed.

    Each file has `obligations.solver_timeout_s` for its compilation; so have the checker and the questions about
    assumptions, times the number of files.
    """
    prover = _Prover(obligations, bench)
    try:
        prover.work()
    except CannotRun as error:
        return Proof(verdict=Verdict.COULD_NOT_RUN, reason=str(error), log=prover.tools.log())
    return prover.proof()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failure:
    where: str
    """`file:line`, or the file."""
    what: str
    test: str = ""
    """The theorem or file that fails by it."""


class _Prover:
    """One proof, with what was found so far."""

    def __init__(self, obligations: Obligations, bench: Workbench) -> None:
        self._allowed = frozenset(obligations.axioms)
        self._obligations = obligations
        self._bench = bench
        self.tools = Tools(bench)
        self._development = Development()
        self._failures: list[_Failure] = []
        self._looked_at: set[str] = set()
        self._skipped: set[str] = set()
        self._full_names: dict[str, str] = {}

    def work(self) -> None:
        """Do all steps that the ones before leave sense in."""
        self.tools.find()
        self._development = develop(self._obligations, self._bench.files, self._bench.read)
        for problem in self._development.problems:
            self._fail(problem.where, problem.what)
        if self._development.problems:
            return
        self.tools.try_out()
        self._judge_sources()
        everything = {theorem.full for source in self._development.sources for theorem in source.theorems}
        self._skipped = everything
        if not self._says_whose() or not self._same_as_committed() or not self._compile():
            return
        checked = self._check()
        if checked is not None:
            self._ask(checked)

    def proof(self) -> Proof:
        failing = tuple(dict.fromkeys(failure.test or failure.where for failure in self._failures))
        tests = Tally(
            run=len(self._looked_at | set(failing)),
            failed=len(failing),
            skipped=len(self._skipped - self._looked_at - set(failing)),
            failing=failing[:MOST_NAMES],
        )
        if not self._failures and tests.run:
            return Proof(verdict=Verdict.PASSED, tests=tests, log=self.tools.log(), exit_code=0)
        lines = [f"{failure.where}: {failure.what}" for failure in self._failures]
        lines = lines or ["there is no theorem in these files that was looked at"]
        more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
        return Proof(
            verdict=Verdict.FAILED,
            reason=lines[0].splitlines()[0] + more,
            details="\n".join(lines),
            tests=tests,
            log=self.tools.log(),
            exit_code=self.tools.exit_code,
        )

    def _fail(self, where: str, what: str, test: str = "") -> None:
        failure = _Failure(where=where, what=what, test=test)
        if failure not in self._failures:
            self._failures.append(failure)

    @property
    def _limit_s(self) -> float:
        return self._obligations.solver_timeout_s

    @property
    def _maps(self) -> tuple[str, ...]:
        mappings = self._development.mappings
        return tuple(word for mapping in mappings for word in (mapping.option, mapping.folder, mapping.logical))

    # --- Steps ------------------------------------------------------------------------------------------------

    def _judge_sources(self) -> None:
        for source in self._development.sources:
            for place in source.places:
                names = [source.full(name) for name in place.declares]
                if names and self._allowed.issuperset(names):
                    continue
                if place.given_up and self._obligations.theorems:
                    continue  # those that count are named
                theorem = source.full(place.theorem) if place.theorem else ""
                inside = f" (in {theorem})" if theorem else ""
                test = theorem or (names[0] if names else source.path)
                self._fail(f"{source.path}:{place.line}", place.what + inside, test)

    def _says_whose(self) -> bool:
        """Whether no `Require` could mean a file of the repository as well as one of the library: a new file would then
        change what others state, without a word in them."""
        sources = self._development.sources
        names = dict.fromkeys(name for source in sources for name in source.bare)
        doubtful = {name for name in names if self.tools.in_library(name)}
        for source in sources:
            for name in source.bare:
                if name in doubtful:
                    what = f"`Require {name}` can mean a file of the repository or one of the library"
                    self._fail(source.path, f"{what}: say which with From, or give the file another name", source.path)
        return not doubtful

    def _same_as_committed(self) -> bool:
        """Whether what would be compiled is what was read: no link, filter or step before has put in another text."""
        paths = [source.path for source in self._development.sources]
        same = True
        for i in range(0, len(paths), 500):
            some = paths[i : i + 500]
            outcome = self.tools.run(("sha256sum", "--", *some), max(self._limit_s, 10.0))
            found = outcome.tail.splitlines()
            for path in some:
                if f"{hashlib.sha256(self._bench.read(path)).hexdigest()}  {path}" not in found:
                    self._fail(path, "in the checkout it is not the text that was committed (a link, a filter?)", path)
                    same = False
        return same

    def _compile(self) -> bool:
        broken: set[str] = set()
        for source in self._development.sources:
            missing = [path for path in source.needs if path in broken]
            if missing:
                broken.add(source.path)
                self._fail(source.path, f"not compiled, for it needs {missing[0]}", source.path)
                continue
            # Native code would be built by a compiler that need not be there; without it the virtual machine computes.
            argv = (*self.tools.compiler, *_WITHOUT_NATIVE, *self._maps, *self._development.arguments, source.path)
            outcome = self.tools.run(argv, self._limit_s)
            if not outcome.ok:
                broken.add(source.path)
                said = _said(outcome)
                where, inside = _error_place(source, outcome.tail)
                self._fail(where, f"it does not compile{inside}\n{said}".rstrip(), source.path)
        return not broken

    def _check(self) -> Context | None:
        """What the checker says of the compiled modules; None if they do not hold."""
        files = [word for source in self._development.sources for word in ("-norec", f"{source.path}o")]
        argv = (*self.tools.checker, "-silent", "-o", *self._maps, *files)
        outcome = self.tools.run(argv, self._limit_s * len(self._development.sources))
        if not outcome.ok:
            said = _said(outcome)
            self._fail(self.tools.checker[-1], f"the checker did not accept the modules\n{said}".rstrip())
            return None
        found = context(outcome.tail)
        if found.problem or outcome.output_bytes > _OUTPUT_BYTES:
            self._fail(self.tools.checker[-1], found.problem or "its output is too long to be read")
            return None
        for name, what in found.unsafe:
            if source := self._development.source_of(name):
                self._fail(source.path, f"{name}: {what}", name)
        return found

    def _ask(self, checked: Context) -> None:
        """Ask what each theorem assumes, and what stands behind the constants that the checker saw no body of."""
        own = self._development.source_of
        bare = [name for name in checked.axioms if name not in self._allowed]
        theorems = self._theorems()
        suspects = [name for name in bare if own(name)]
        if not self._modules_are_ours():
            return
        asked = list(dict.fromkeys([*theorems, *suspects]))
        # A constant that a signature hides cannot be asked about, and reaches others only through those that can.
        silent = self._maybe_hidden(theorems) | (set(suspects) - set(theorems))
        found = self._assumptions(asked, silent=frozenset(silent))
        for name in asked:
            if name in found:
                self._judge_theorem(name, found[name])
        hidden = [source_theorem for source_theorem in self._hidden() if source_theorem[1] not in self._looked_at]
        foreign = [name for name in bare if not own(name)]
        if not hidden or not foreign:
            self._looked_at.update(full for _, full, _ in hidden)
            return
        # What cannot be asked about may assume any axiom that is loaded.
        real = self._real_axioms(foreign)
        for source, full, line in hidden:
            self._looked_at.add(full)
            if real:
                more = f" (and {len(real) - 1} more)" if len(real) > 1 else ""
                what = f"{full} cannot be asked for its assumptions (it is in a functor, or hidden), and the axiom"
                self._fail(f"{source.path}:{line}", f"{what} {real[0]}{more} is loaded and not allowed", full)

    def _theorems(self) -> list[str]:
        configured = self._obligations.theorems
        if not configured:
            listed = [source for source in self._development.sources if source.listed]
            return [theorem.full for source in listed for theorem in source.theorems if theorem.addressable]
        known = [name for name in configured if re.fullmatch(QUALID, name) and self._development.source_of(name)]
        for name in configured:
            if name not in known:
                self._fail(name, "no file of the development can hold this theorem; is its name the full one?", name)
        return known

    def _hidden(self) -> list[tuple[Source, str, int]]:
        if self._obligations.theorems:
            return []
        listed = [source for source in self._development.sources if source.listed]
        return [
            (source, theorem.full, theorem.line)
            for source in listed
            for theorem in source.theorems
            if theorem.sealed or not theorem.addressable
        ]

    def _maybe_hidden(self, theorems: Sequence[str]) -> set[str]:
        return {full for _, full, _ in self._hidden()} & set(theorems)

    def _modules_are_ours(self) -> bool:
        """Whether each module, by its name, is the one that was compiled here, and no other of that name."""
        sources = self._development.sources
        found = self._question([f"Locate Library {source.logical}" for source in sources])
        if found.problem or found.error_line or len(found.texts) != len(sources):
            self._fail("the prover", f"the modules cannot be loaded together: {found.problem or found.error}")
            return False
        ours = True
        for source, text in zip(sources, found.texts, strict=True):
            name, path = loaded_from(text)
            expected = posixpath.join(self._bench.tree, f"{source.path}o")
            if name != source.logical or posixpath.normpath(posixpath.join(self._bench.tree, path)) != expected:
                self._fail(source.path, f"the name {source.logical} means another module: {text!r}", source.path)
                ours = False
        return ours

    def _assumptions(self, names: Sequence[str], *, silent: frozenset[str] = frozenset()) -> dict[str, str]:
        """The answer for each name that the prover knows; the others fail, but those in `silent`."""
        found: dict[str, str] = {}
        rest = list(names)
        unknown = 0
        while rest:
            said = self._question([f"Print Assumptions {name}" for name in rest])
            if said.problem or (said.error_line and len(said.texts) == len(rest)):
                self._fail("the prover", f"its answers cannot be read: {said.problem or said.error}")
                return found
            found.update(zip(rest, said.texts, strict=False))
            rest = rest[len(said.texts) :]
            if said.error_line:
                name = rest.pop(0)
                if name not in silent:
                    unknown += 1
                    self._fail(self._where(name), f"{name}: {said.error}", name)
                if unknown > MOST_UNKNOWN:
                    for left in rest:
                        self._fail(self._where(left), f"{left}: not asked, after so many unknown names", left)
                    return found
        return found

    def _judge_theorem(self, name: str, answer: str) -> None:
        self._looked_at.add(name)
        understood = assumed(answer)
        if understood.unreadable:
            self._fail(self._where(name), f"{name}: the answer cannot be read: {understood.unreadable[:200]}", name)
        for what in understood.unsafe:
            self._fail(self._where(name), f"{name} assumes that {what}", name)
        for full in self._full(understood.axioms):
            if full == name and any(failure.test == name for failure in self._failures):
                continue
            if full not in self._allowed:
                what = f"{name} is an axiom" if full == name else f"{name} assumes the axiom {full}"
                self._fail(self._where(name), what, name)

    def _real_axioms(self, names: Sequence[str]) -> list[str]:
        """Those of the names that are axioms indeed, and not the hidden part of a module with a signature."""
        found = self._assumptions(names)
        return [name for name in names if name not in found or name in self._full(assumed(found[name]).axioms)]

    def _full(self, short: Sequence[str]) -> list[str]:
        """The full names; one that cannot be told stays as it is, with a question mark."""
        unknown = [name for name in dict.fromkeys(short) if name not in self._full_names]
        if unknown:
            said = self._question([f"Locate {name}" for name in unknown])
            texts = (*said.texts, *[""] * len(unknown))
            self._full_names.update(
                (name, located(text, name) or f"{name}?") for name, text in zip(unknown, texts, strict=False)
            )
        return [self._full_names[name] for name in short]

    def _question(self, sentences: Sequence[str]) -> Answers:
        asked = questions([source.logical for source in self._development.sources], sentences)
        path = self._bench.put(_QUESTIONS, asked.text.encode())
        output = posixpath.basename(path).removesuffix(".v") + ".vo"
        argv = (*self.tools.compiler, "-q", "-w", "-all", "-noglob", "-o", output, *self._maps, path)
        self.tools.note(asked.text)
        outcome = self.tools.run(argv, self._limit_s * len(self._development.sources))
        if outcome.ending is not Ending.EXITED:
            return Answers(problem=outcome.reason)
        if outcome.output_bytes > _OUTPUT_BYTES:
            return Answers(problem="its output is too long to be read")
        return answers(outcome.tail, asked, path=path, ok=outcome.ok)

    def _where(self, name: str) -> str:
        source = self._development.source_of(name)
        if source is None:
            return name
        line = next((theorem.line for theorem in source.theorems if theorem.full == name), 0)
        return f"{source.path}:{line}" if line else source.path


def _error_place(source: Source, output: str) -> tuple[str, str]:
    """Where the compiler's error is, and in which theorem, as far as its message tells."""
    lines = re.findall(rf'^File "(?:\./)?{re.escape(source.path)}", line (\d+), .*\n(?:Error|Anomaly)', output, re.M)
    if not lines:
        return source.path, ""
    line = int(lines[-1])
    before = [theorem for theorem in source.theorems if theorem.line <= line]
    inside = f" (in or behind {before[-1].full})" if before else ""
    return f"{source.path}:{line}", inside


def _said(outcome: Outcome) -> str:
    """What a failed run printed, and how it ended where it did not end by itself."""
    return "\n".join(filter(None, [_ends(outcome.tail), outcome.reason if outcome.exit_code is None else ""]))


def _ends(text: str) -> str:
    text = text.strip()
    half = _MESSAGE_CHARS // 2
    return text if len(text) <= _MESSAGE_CHARS else f"{text[:half]}\n[...]\n{text[-half:]}"
