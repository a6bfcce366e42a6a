"""Obligations for Z3, proven by the real solver in a real sandbox."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.benches_proof import workbench
from tests.requirements import needs
from thrum import gate
from thrum.gate import Obligations, Verdict
from thrum.proof import Proof, Workbench
from thrum.proof.z3 import DETAILS_CHARS, LOG_CHARS, prove

pytestmark = needs("z3")

UNSAT = "(set-info :status unsat)"
PROVEN = f"(declare-const x Int)\n(assert (> x (+ x 1)))\n{UNSAT}\n(check-sat)\n"
REFUTED = (
    "(declare-const x Int)\n(declare-const b (_ BitVec 8))\n"
    f"(assert (= x 5))(assert (= b #xff))\n{UNSAT}\n(check-sat)\n"
)
CUBES = "(declare-const x Int)(declare-const y Int)(declare-const z Int)\n"
CUBES += "(assert (= (+ (* x x x) (* y y y) (* z z z)) 42))\n"

Prover = Callable[..., Proof]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Callable[..., Workbench]]:
    """A bench on files, closed at the end of the test."""
    with ExitStack() as stack:
        yield lambda files, backend="none": stack.enter_context(workbench(tmp_path / "b", files, backend=backend))


@pytest.fixture
def smt(bench: Callable[..., Workbench]) -> Prover:
    """Prove SMT-LIB files, by path or one alone, with settings of `Obligations`."""

    def proven(files: str | dict[str, str | bytes], **settings: Any) -> Proof:
        files = {"a.smt2": files} if isinstance(files, str) else files
        return prove(Obligations(**{"smt": ("**/*.smt2",), "solver_timeout_s": 20.0, **settings}), bench(files))

    return proven


@pytest.fixture
def python(bench: Callable[..., Workbench]) -> Prover:
    """Prove the Python file `specs/a.py`."""

    def proven(text: str, backend: str = "none", **settings: Any) -> Proof:
        told = {"python": ("specs/*.py",), "interpreter": sys.executable, "solver_timeout_s": 20.0, **settings}
        return prove(Obligations(**told), bench({"specs/a.py": text, "lib.py": "FIVE = 5\n"}, backend))

    return proven


# --- SMT-LIB files ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["none", pytest.param("os-native", marks=needs("bwrap"))])
def test_what_is_unsatisfiable_is_proven(bench: Callable[..., Workbench], backend: str) -> None:
    proof = prove(Obligations(smt=("a.smt2",)), bench({"a.smt2": PROVEN}, backend))
    assert proof.verdict is Verdict.PASSED, proof.log
    assert (proof.reason, proof.details, proof.tests) == ("", "", gate.Tally(run=1))
    assert "Z3 version" in proof.log
    assert "unsat" in proof.log


def test_a_counterexample_is_told_with_file_and_line(smt: Prover) -> None:
    proof = smt({"p/a.smt2": REFUTED, "b.smt2": PROVEN})
    assert proof.verdict is Verdict.FAILED
    assert proof.reason == "not proven: p/a.smt2:5: answered sat, expected unsat"
    assert proof.details == (
        "p/a.smt2:5: answered sat, expected unsat\n  counterexample:\n    x = 5\n    b = 255 (0xff, 8 bits)\n"
    )
    assert proof.tests == gate.Tally(run=2, failed=1, failing=("p/a.smt2:5",))


def test_a_counterexample_without_constants_is_said_in_words(smt: Prover) -> None:
    assert "no values at all" in smt(f"(assert true){UNSAT}(check-sat)").details


def test_satisfiable_may_be_what_is_expected(smt: Prover) -> None:
    assert smt("(declare-const x Int)(set-info :status sat)(check-sat)").verdict is Verdict.PASSED


def test_unsatisfiable_may_be_what_was_not_expected(smt: Prover) -> None:
    assert "answered unsat, expected sat" in smt("(assert false)(set-info :status sat)(check-sat)").reason


def test_unknown_is_no_pass(smt: Prover) -> None:
    text = "(set-option :auto_config false)(set-option :smt.mbqi false)(declare-fun f (Int) Int)(assert (= (f 0) 3))\n"
    text += "(assert (forall ((x Int)) (! (> (f x) (f (+ x 1))) :pattern ((f x) (f (+ x 1))))))\n"
    for status in ("sat", "unsat"):
        proof = smt(f"{text}(set-info :status {status})\n(check-sat)")
        assert proof.verdict is Verdict.FAILED
        assert "a.smt2:4: answered unknown (" in proof.reason
        assert "quantifiers" in proof.reason


def test_a_timeout_is_no_pass(smt: Prover) -> None:
    proof = smt(f"{CUBES}{UNSAT}(check-sat){UNSAT}\n(check-sat)", solver_timeout_s=0.5)
    assert proof.verdict is Verdict.FAILED
    assert proof.tests == gate.Tally(run=2, failed=2, failing=("a.smt2:3", "a.smt2:4"))
    assert "no answer within 1 s" in proof.reason


def test_the_memory_limit_is_no_pass(smt: Prover) -> None:
    proof = smt(f"{CUBES}{UNSAT}(check-sat)", solver_memory_mb=10)
    assert proof.verdict is Verdict.FAILED
    assert "no answer within 10 MB of memory" in proof.reason


def test_one_file_of_many_questions_is_judged_question_by_question(smt: Prover) -> None:
    text = (
        f"(declare-const x Int)\n(push 1)\n(assert (< x x))\n{UNSAT}(check-sat)\n(pop 1)\n(push 1)\n(assert (= x 7))\n"
        f"{UNSAT}(check-sat)\n(pop 1)\n(set-info :status sat)\n(check-sat-assuming ((> x 3)))\n"
    )
    proof = smt(text)
    assert proof.tests == gate.Tally(run=3, failed=1, failing=("a.smt2:8",))
    assert "x = 7" in proof.details


def test_symbols_and_strings_in_quotes_are_read_as_the_solver_does(smt: Prover) -> None:
    text = f'(declare-const |a ; (| String)\n(assert (= |a ; (| "x"";\u007e(check-sat)"))\n{UNSAT}(check-sat)'
    assert '    a ; ( = "x"";~(check-sat)"' in smt(text).details
    assert smt(f"(declare-const |x| Int)(assert (not (= x |x|))){UNSAT}(check-sat)").verdict is Verdict.PASSED


SPOKEN = '(echo "unsat") (echo "0 asked") (echo "sat\nunsat")'


@pytest.mark.parametrize(
    "text",
    {
        "echoes an answer": f"{SPOKEN}{UNSAT}(check-sat){SPOKEN}",
        "echoes an answer and leaves": f"{SPOKEN}(exit){UNSAT}(check-sat)",
        "leaves before it asks": f"{UNSAT}(exit)",
        "asks nothing": "(assert false)",
        "comments the question": f"{UNSAT};(check-sat)",
        "has the question in a string": f'{UNSAT}(set-info :source "(check-sat)")',
        "sends its answers elsewhere": f'(set-option :regular-output-channel "x"){UNSAT}(assert false)(check-sat)',
        "forgets what it said": f"(assert false)(reset){UNSAT}(check-sat)",
        "comments as only this solver does": f"#| |#(assert false){UNSAT}(check-sat)",
        "hides an end of a symbol": f'(declare-const |a\\| Int)(echo "unsat")|) Int){UNSAT}(check-sat)',
        "expects nothing": "(assert false)(check-sat)",
        "expects unknown": "(assert false)(set-info :status unknown)(check-sat)",
        "expects the opposite": "(assert false)(set-info :status sat)(check-sat)",
        "says what the solver does not know": f"(assert (and false y)){UNSAT}(check-sat)",
        "proves it beside an error": f"(assert y)(assert false){UNSAT}(check-sat)",
        "pops too much": f"(assert false){UNSAT}(check-sat)(pop 3)",
        "has a question that is an error": f"(assert false){UNSAT}(check-sat-assuming (|unsat|))",
        "has a logic that nobody knows": f"(set-logic FOO)(assert false){UNSAT}(check-sat)",
        "ends in the middle": f"(assert false){UNSAT}(check-sat)(assert",
        "is closed too often": f"(assert false)){UNSAT}(check-sat)",
        "is empty": "",
    }.values(),
)
def test_a_file_is_not_proven_that(smt: Prover, text: str) -> None:
    proof = smt(text)
    assert proof.verdict is Verdict.FAILED
    assert proof.reason.startswith("not proven: a.smt2")
    assert proof.details.startswith("a.smt2")
    assert proof.tests is not None
    assert proof.tests.failed


def test_an_error_is_told_with_its_line(smt: Prover) -> None:
    proof = smt(f"\n\n(assert\n y)(assert false){UNSAT}(check-sat)")
    assert "the solver complained: a.smt2:4: unknown constant y" in proof.reason


def test_what_the_reader_refuses_is_told_with_its_line(smt: Prover) -> None:
    proof = smt(f"(assert false)\n(reset)\n{UNSAT}(check-sat)\n(check-sat)")
    assert "a.smt2: line 2: the command 'reset'" in proof.reason
    assert "a.smt2:4: says not what is expected" in proof.details
    assert "obligation-" not in proof.log, "a file that is refused is not run"


def test_the_configuration_says_what_is_expected(smt: Prover) -> None:
    assert smt("(assert false)(check-sat)", expect="unsat").verdict is Verdict.PASSED
    assert "the configuration expects sat" in smt(PROVEN, expect="sat").reason


def test_a_file_that_is_no_text_is_not_proven(smt: Prover) -> None:
    assert "UTF-8" in smt({"a.smt2": b"\xff\xfe" + PROVEN.encode()}).reason
    assert smt({"a.smt2": b"\xef\xbb\xbf" + PROVEN.replace("\n", "\r\n").encode()}).verdict is Verdict.PASSED


def test_a_glob_that_matches_nothing_is_no_pass(smt: Prover) -> None:
    proof = smt(PROVEN, smt=("*.smt2", "gone/*.smt2"))
    assert proof.verdict is Verdict.FAILED
    assert proof.reason == "not proven: gone/*.smt2: matches no file, so it proves nothing"
    assert smt(PROVEN, python=("*.py",)).verdict is Verdict.FAILED


def test_nothing_configured_could_not_run(smt: Prover) -> None:
    assert smt(PROVEN, smt=()).verdict is Verdict.COULD_NOT_RUN


@pytest.mark.parametrize("solver", ["no-such-solver", "false"])
def test_a_solver_that_is_missing_or_broken_could_not_run(smt: Prover, solver: str) -> None:
    proof = smt({"a.smt2": "(reset)"}, solver=solver)
    assert proof.verdict is Verdict.COULD_NOT_RUN
    assert solver in proof.reason


def test_a_program_that_only_says_unsat_proves_nothing(smt: Prover, tmp_path: Path) -> None:
    solver = tmp_path / "solver"
    solver.write_text("#!/bin/sh\necho unsat\n")
    solver.chmod(0o755)
    proof = smt(PROVEN, solver=str(solver))
    assert proof.verdict is Verdict.FAILED
    assert "complained: unsat" in proof.reason


def test_a_solver_that_dies_after_its_answer_proves_nothing(smt: Prover, tmp_path: Path) -> None:
    solver = tmp_path / "solver"
    solver.write_text('#!/bin/sh\nz3 "$@"\n[ "$1" = --version ] || kill -9 $$\n')
    solver.chmod(0o755)
    assert smt(PROVEN, solver=str(solver)).verdict is Verdict.FAILED


def test_what_is_reported_is_bounded(smt: Prover) -> None:
    many = "".join(f"(declare-const x{i} Int)(assert (= x{i} {'9' * 400}))" for i in range(200))
    proof = smt(f"{many}{f'{UNSAT}(check-sat)' * 150}")
    assert proof.verdict is Verdict.FAILED
    assert len(proof.reason) < 1000
    assert len(proof.details) < DETAILS_CHARS + 100
    assert len(proof.log) <= LOG_CHARS
    assert proof.tests is not None
    assert (proof.tests.run, len(proof.tests.failing)) == (150, 100)


def test_the_log_is_cut_where_it_is_full(smt: Prover) -> None:
    model = "".join(f"(declare-const x{i} Int)(assert (= x{i} {'9' * 400}))" for i in range(200))
    proof = smt({f"{i:02}.smt2": f"{model}{UNSAT}(check-sat)" for i in range(20)})
    assert len(proof.log) <= LOG_CHARS
    assert "the log is cut here" in proof.log


# --- Obligations in Python ----------------------------------------------------------------------------------

HEAD = "import z3\nx, y = z3.Ints('x y')\n"
COMMUTES = f"{HEAD}def obligations():\n    yield 'it commutes', x + y == y + x\n"

in_python = needs("z3 for Python")


@in_python
@pytest.mark.parametrize("backend", ["none", pytest.param("os-native", marks=needs("bwrap"))])
def test_a_valid_formula_is_proven(python: Prover, backend: str) -> None:
    proof = python(COMMUTES, backend)
    assert proof.verdict is Verdict.PASSED, proof.log
    assert proof.tests == gate.Tally(run=1)


@in_python
def test_a_formula_is_refuted_by_name(python: Prover) -> None:
    proof = python(f"{COMMUTES}    yield 'so does minus', z3.Implies(y == 3, x - y == y - x)\n")
    assert proof.reason == "not proven: specs/a.py: so does minus: answered sat, expected unsat"
    assert "    y = 3\n" in proof.details
    assert proof.tests == gate.Tally(run=2, failed=1, failing=("specs/a.py: so does minus",))


@in_python
def test_what_is_expected_of_files_is_not_expected_of_formulas(python: Prover) -> None:
    assert python(COMMUTES, expect="sat").verdict is Verdict.PASSED


@in_python
def test_a_file_may_import_from_its_repository(python: Prover) -> None:
    text = f"import lib\n{HEAD}def obligations():\n    return [('five', z3.IntVal(lib.FIVE) == 5)]\n"
    assert python(text).verdict is Verdict.PASSED


@in_python
def test_datatypes_arrays_and_functions_are_handed_on(python: Prover) -> None:
    text = (
        "import z3\nL = z3.Datatype('L')\nL.declare('nil')\nL.declare('cons', ('hd', z3.IntSort()), ('tl', L))\n"
        "L = L.create()\nl = z3.Const('the list', L)\na = z3.Array('a', z3.IntSort(), z3.IntSort())\n"
        "f = z3.Function('f', z3.IntSort(), z3.IntSort())\nr = z3.Real('r')\ndef obligations():\n"
        "    yield 'list', z3.Or(l == L.nil, L.is_cons(l))\n    yield 'array', z3.Store(a, 1, 2)[1] == 2\n"
        "    yield 'function', z3.Implies(r == 2, f(z3.ToInt(r)) == f(2))\n"
    )
    proof = python(text)
    assert (proof.verdict, proof.tests) == (Verdict.PASSED, gate.Tally(run=3)), proof.details


@in_python
def test_an_exception_is_told_with_its_place(python: Prover) -> None:
    proof = python(f"{COMMUTES}    raise RuntimeError('no more')\n")
    assert proof.reason == "not proven: specs/a.py: RuntimeError: no more"
    assert 'specs/a.py", line 5, in obligations' in proof.details
    assert "emitter" not in proof.details
    assert proof.tests == gate.Tally(run=1, failed=1, failing=("specs/a.py",))


@in_python
@pytest.mark.parametrize(
    ("text", "reason"),
    {
        "no python": ("def", "SyntaxError"),
        "no z3": ("import no_such_module", "no_such_module"),
        "no function": ("import z3", "there is no function obligations()"),
        "no obligation": ("def obligations():\n    return []", "yields nothing"),
        "no iterable": ("def obligations():\n    return 5", "TypeError"),
        "no pair": (f"{HEAD}def obligations():\n    yield x == x", "no pair"),
        "no name": (f"{HEAD}def obligations():\n    yield ' ', x == x", "no pair"),
        "no formula": (f"{HEAD}def obligations():\n    yield 'n', x", "no z3 formula"),
        "a bool of Python's": ("def obligations():\n    yield 'n', True", "no z3 formula"),
        "it leaves": ("raise SystemExit(0)", "SystemExit"),
        "it leaves at once": ("import os\nos._exit(0)", "ended before"),
        "it kills itself": ("import os\nos.kill(os.getpid(), 9)", "ended before"),
        "a name that is no text": ("def obligations():\n    yield b'n', True", "no pair"),
    }.values(),
)
def test_a_python_file_fails_with(python: Prover, text: str, reason: str) -> None:
    proof = python(text)
    assert proof.verdict is Verdict.FAILED
    assert reason in proof.reason


FORGED = """
import base64, hashlib, json, os, sys, zlib
script = "(set-info :status unsat)(assert false)(check-sat)"
body = base64.b64encode(zlib.compress(json.dumps({"obligations": [["forged", script]]}).encode())).decode()
frame = f"\\n{'0' * 32} {len(body)} {hashlib.sha256(body.encode()).hexdigest()}\\n{body}\\n"
print(frame, flush=True)
print(frame, file=sys.__stdout__, flush=True)
os.write(1, frame.encode())
"""


@in_python
def test_what_a_file_prints_is_no_frame(python: Prover) -> None:
    proof = python(f"{FORGED}{COMMUTES}    print('a word')\n    yield 'wrong', x == y\n")
    assert proof.tests == gate.Tally(run=2, failed=1, failing=("specs/a.py: wrong",))
    assert "a word\n" in proof.log


@in_python
def test_a_frame_alone_is_no_proof(python: Prover) -> None:
    assert "ended before" in python(f"{FORGED}os._exit(0)\n").reason


@in_python
def test_a_file_that_prints_without_end_does_not_pass(python: Prover) -> None:
    text = f"{COMMUTES}    import threading\n    def flood():\n        while True:\n            print('x' * 1000)\n"
    proof = python(f"{text}    threading.Thread(target=flood).start()\n    yield 'wrong', x == y\n")
    assert proof.verdict is Verdict.FAILED


@in_python
def test_obligations_beyond_a_mebibyte_of_output_are_not_lost_silently(python: Prover) -> None:
    text = f"import os\n{HEAD}def obligations():\n    for i in range(40):\n"
    proof = python(f"{text}        yield 'n' + os.urandom(60000).hex(), x == x\n")
    assert proof.verdict is Verdict.FAILED
    assert "too large" in proof.reason


@in_python
def test_a_module_of_the_repository_is_not_taken_for_z3(bench: Callable[..., Workbench]) -> None:
    files = {"a.py": COMMUTES, "z3.py": "raise RuntimeError('not the real one')\n"}
    proof = prove(Obligations(python=("a.py",), interpreter=sys.executable), bench(files))
    assert proof.verdict is Verdict.PASSED, proof.details


@in_python
@pytest.mark.parametrize(
    "patch",
    [
        "z3.Not = z3.z3.Not = lambda formula, ctx=None: z3.BoolVal(False)",
        "z3.Z3_mk_not = z3.z3.Z3_mk_not = z3.z3core.Z3_mk_not = lambda ctx, formula: z3.BoolVal(False).ast",
        "z3.Solver = z3.z3.Solver = type('S', (), {'add': lambda s, f: 0, 'sexpr': lambda s: '(assert false)'})",
        "z3.Solver.sexpr = lambda solver: '(assert false)'",
        "z3.Solver.add = lambda solver, *formulas: z3.Solver.assert_exprs(solver, z3.BoolVal(False))",
        "z3.is_bool = lambda formula: True",
    ],
)
def test_code_under_test_that_puts_functions_of_its_own_into_z3_proves_nothing_by_it(
    bench: Callable[..., Workbench], patch: str
) -> None:
    text = f"import lib\n{HEAD}def obligations():\n    yield 'wrong', x == y\n"
    told = Obligations(python=("a.py",), interpreter=sys.executable, solver_timeout_s=20.0)
    proof = prove(told, bench({"a.py": text, "lib.py": f"import z3\n{patch}\n"}))
    assert proof.tests == gate.Tally(run=1, failed=1, failing=("a.py: wrong",)), proof.log


@in_python
def test_a_file_cannot_change_the_text_of_the_next(bench: Callable[..., Workbench]) -> None:
    rewrite = (
        "import pathlib\nnext = pathlib.Path(__file__).with_name('b.py')\nnext.write_text(next.read_text() + '#')\n"
    )
    rewrite += f"next.write_text({COMMUTES!r})\n"
    wrong = f"{HEAD}def obligations():\n    yield 'wrong', x == y\n"
    proof = prove(
        Obligations(python=("*.py",), interpreter=sys.executable), bench({"a.py": rewrite + COMMUTES, "b.py": wrong})
    )
    assert proof.tests == gate.Tally(run=2, failed=1, failing=("b.py: wrong",))


@pytest.mark.parametrize("script", ["exit 1", 'exec /usr/bin/env python3 -S "$@"', "echo 0 0"])
def test_an_interpreter_without_z3_could_not_run(python: Prover, tmp_path: Path, script: str) -> None:
    interpreter = tmp_path / "python"
    interpreter.write_text(f"#!/bin/sh\n{script}\n")
    interpreter.chmod(0o755)
    proof = python(COMMUTES, interpreter=str(interpreter))
    assert proof.verdict is Verdict.COULD_NOT_RUN
    assert "has no z3" in proof.reason


def test_a_missing_interpreter_could_not_run(python: Prover) -> None:
    assert python(COMMUTES, interpreter="no-such-python").verdict is Verdict.COULD_NOT_RUN
