"""What we make of SMT-LIB that nobody trusts: reading, asking anew, reading answers, showing models."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.requirements import needs
from thrum.proof.models import model_lines, value
from thrum.proof.smtlib import (
    MOST_CHARS,
    Question,
    Unreadable,
    commands,
    plain_symbol,
    read_script,
    read_transcript,
    rewritten,
    tokens,
)

NONCE = "5ca1ab1e"
ASKED = "(set-info :status unsat)\n(check-sat)\n"


def words(text: str) -> list[str]:
    return [word for _, word in tokens(text)]


def problem(text: str, expect: str = "") -> tuple[int, str]:
    """The only problem of a script."""
    (found,) = read_script(text, expect).problems
    return found


# --- Reading ------------------------------------------------------------------------------------------------


def test_tokens_are_told_with_their_lines() -> None:
    text = '(a\n |b (;|  ; comment ) "\n "c""\n;)" #xfF\n#b01 1.50 :key <=>)'
    assert list(tokens(text)) == [
        (1, "("),
        (1, "a"),
        (2, "|b (;|"),
        (3, '"c""\n;)"'),
        (4, "#xfF"),
        (5, "#b01"),
        (5, "1.50"),
        (5, ":key"),
        (5, "<=>"),
        (5, ")"),
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    {
        "a string without end": ('(a\n"b', 2),
        "an escape takes the end": ('(a "b"")', 1),
        "a quoted symbol without end": ("(a |b)", 1),
        "a backslash in a quoted symbol": ("(a |b\\|c|)", 1),
        "a backslash alone in a quoted symbol": ("(a |b\\ c|)", 1),
        "a comment of another solver": ('#| (check-sat)\n(echo "unsat") |#', 1),
        "a number that runs into a symbol": ("(a 12b)", 1),
        "a string that runs into a symbol": ('(a "b"c)', 1),
        "a quoted symbol in a symbol": ("(a b|c|)", 1),
        "a brace": ("(a\n\n{b})", 3),
        "letters that a simple symbol lacks": ("(a größe)", 1),
        "a null": ("(a\n\0)", 2),
        "an escape character": ("(a |\x1b[2J|)", 1),
        "a quote for nothing": ("(a 'b)", 1),
        "an empty hexadecimal": ("(a #x)", 1),
    }.values(),
)
def test_what_is_no_token_is_refused_with_its_line(text: str, line: int) -> None:
    with pytest.raises(Unreadable) as caught:
        words(text)
    assert caught.value.line == line
    assert read_script(text + ASKED).problems[-1][0] == line


@pytest.mark.parametrize(
    ("text", "line"),
    [("(a\n(b)", 1), ("(a)\n)", 2), ("(a)\nb", 2), ("()", 1), ("((a))", 1), ('("a")', 1), ("(|a|)", 1)],
)
def test_what_is_no_command_is_refused_with_its_line(text: str, line: int) -> None:
    with pytest.raises(Unreadable) as caught:
        list(commands(text))
    assert caught.value.line == line


def test_nesting_without_bound_is_read() -> None:
    (command,) = commands("(assert " + "(not " * 100_000 + "a" + ")" * 100_000 + ")")
    assert len(command.tokens) == 300_004


def test_a_script_that_is_too_long_is_refused() -> None:
    assert "longer" in problem(";" * MOST_CHARS + "\n" + ASKED)[1]


@given(st.text(alphabet='()|"; \n\\#abx01:.!\0é'))
def test_any_text_is_read_or_refused(text: str) -> None:
    script = read_script(text)
    assert bool(script.problems) != bool(script.questions) or script.problems


# --- Expectations -------------------------------------------------------------------------------------------


def test_each_question_has_the_last_status_before_it() -> None:
    script = read_script(
        "(set-info :status sat)(check-sat)\n(push 1)(set-info :status sat)(set-info :status unsat)\n(check-sat)(pop 1)"
    )
    assert script.questions == (Question(line=1, expected="sat"), Question(line=3, expected="unsat"))
    assert not script.problems


def test_a_status_counts_for_one_question_only() -> None:
    assert problem(f"{ASKED}\n(check-sat)")[0] == 4
    assert "says not what is expected" in problem(f"{ASKED}\n(check-sat)")[1]


def test_the_configuration_may_say_what_is_expected() -> None:
    assert read_script("(check-sat)", "sat").questions == (Question(line=1, expected="sat"),)
    assert "says not what is expected" in problem("(check-sat)")[1]


def test_a_status_that_contradicts_the_configuration_is_refused() -> None:
    assert problem(ASKED, "sat") == (2, "expects unsat, and the configuration expects sat")
    assert not read_script(ASKED, "unsat").problems


@pytest.mark.parametrize("status", ["unknown", "|unsat|", "UNSAT", "", "unsat sat", '"unsat"'])
def test_any_other_status_is_refused(status: str) -> None:
    assert problem(f"(set-info :status {status})(check-sat)")[0] == 1


def test_a_script_that_asks_nothing_is_refused() -> None:
    for text in ("", "; (check-sat)", "(assert true)", "(set-info :status unsat)(exit)", '(echo "(check-sat)")'):
        assert "asks nothing" in problem(text)[1]


# --- Commands -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        "(define-fun-rec f ((x Int)) Int (+ 1 (f x)))",
        "(define-funs-rec ((f ((x Int)) Int)) ((+ 1 (f x))))",
    ],
)
def test_a_definition_that_can_contradict_itself_is_refused(command: str) -> None:
    line, what = problem(f"\n{command}\n{ASKED}")
    assert (line, "contradict itself" in what) == (2, True)


TAKEN = {
    "(define-fun > ((x Int) (y Int)) Bool false)": ">",
    "(define-fun |true| () Bool false)": "true",
    "(define-const false Bool true)": "false",
    "(declare-const true Bool)": "true",
    "(declare-fun bvule (Int) Bool)": "bvule",
    "(define-fun str.len ((x String)) Int 3)": "str.len",
    "(define-fun f ((true Bool)) Bool true)": "true",
    "(declare-datatypes ((T 0)) (((true) (b))))": "true",
    "(declare-datatype T ((a (select Int)) b))": "select",
    "(assert (forall ((x Int) (true Bool)) true))": "true",
    "(assert (or a (let ((true false)) true)))": "true",
    "(assert (! a :named false))": "false",
    "(assert (match a ((true b) (c d))))": "true",
    "(assert ((forall) ((lambda ((not Bool)) not) a)))": "not",
}


@pytest.mark.parametrize(("command", "taken"), TAKEN.items())
def test_what_is_built_in_gets_no_other_meaning(command: str, taken: str) -> None:
    line, what = problem(f"\n(set-info :status unsat)\n{command}\n(check-sat)")
    assert (line, what) == (3, f"gives {taken!r} another meaning than it has")


@pytest.mark.parametrize(
    "command",
    [
        "(declare-fun f ((_ BitVec 8) (Array Int Int)) Bool)",
        "(define-fun f ((x (_ BitVec 8)) (y Int)) Bool (and true (> y 3)))",
        "(define-const f (_ BitVec 8) #x00)",
        "(define-sort Word () (_ BitVec 8))",
        "(declare-datatypes ((L 1)) ((par (T) ((nil) (cons (head T) (tail (_ BitVec 8)))))))",
        "(assert (forall ((x Int)) (! (let ((y x)) (> y x)) :pattern ((f x)))))",
        "(assert (match a ((_ b) ((cons h t) c))))",
        "(declare-fun bv_counter () Int)",
    ],
)
def test_names_of_its_own_are_a_scripts_to_choose(command: str) -> None:
    assert read_script(f"{command}{ASKED}").problems == ()


@pytest.mark.parametrize(
    "command",
    [
        "(reset)",
        "(reset-assertions)",
        '(set-option :regular-output-channel "out")',
        '(set-option :diagnostic-output-channel "out")',
        "(set-option :timeout 1)",
        "(set-option :regular-output-channel)",
        "(set-option)",
        "(set-option :random-seed (check-sat))",
        "(set-info)",
        "(set-logic)",
        "(set-logic QF_BV (check-sat))",
        "(push 1 1)",
        "(pop (check-sat))",
        "(exit 0)",
        "(eval 1)",
        "(simplify x)",
        "(display x)",
        '(include "other.smt2")',
        "(check-sat-using smt)",
        "(apply skip)",
        "(query p)",
        "(declare-rel p ())",
        "(labels)",
        "(get-something)",
        "(check-sat |a|)",
    ],
)
def test_a_command_that_is_not_known_is_refused_with_its_line(command: str) -> None:
    line, what = problem(f"{ASKED}(set-info :status unsat)\n\n{command}\n(set-info :status unsat)(check-sat)")
    assert line == 5
    assert what


def test_all_problems_are_told_at_once() -> None:
    assert [line for line, _ in read_script("(reset)\n(check-sat)\n(foo)\n(bar").problems] == [1, 2, 3, 4]


def test_nothing_may_hide_behind_an_exit() -> None:
    assert not read_script(f"{ASKED}(exit)\n; the end").problems
    assert "never be looked at" in problem(f"{ASKED}(exit)(check-sat)")[1]


def test_only_what_asks_nothing_else_is_left_out() -> None:
    script = read_script(
        '(set-logic QF_UF)(set-info :source |a\nb|)(set-option :produce-proofs true)(echo "unsat\nsat")'
        "(set-option :smt.mbqi false)(declare-const p Bool)(get-value (p))" + ASKED + "(get-model)(exit)"
    )
    assert not script.problems
    assert [command.name for command in script.commands] == ["set-logic", "set-option", "declare-const", "check-sat"]


@pytest.mark.parametrize("word", ["|a\nunsat\nb|", '"a\nunsat\n"', "|a\r|"])
def test_what_the_solver_could_quote_as_lines_of_its_own_is_refused(word: str) -> None:
    assert "several lines" in problem(f"(assert {word}){ASKED}")[1]


def test_what_is_declared_is_known_without_bars() -> None:
    script = read_script("(declare-const |x| Int)(declare-fun f (Int) Int)(declare-const |a b| Int)" + ASKED)
    assert script.declared == ("x", "f", "a b")
    assert plain_symbol("|a b|") == "a b"


# --- Asking and reading answers -----------------------------------------------------------------------------


def test_a_script_keeps_its_tokens_on_their_lines() -> None:
    text = f"; one\n(declare-const x\n  Int)\n\n(assert (= x 1)) (assert (= x 2))\n{ASKED}"
    lines = rewritten(read_script(text), NONCE).split("\n")
    assert lines[1].split() == ["(", "declare-const", "x"]
    assert " ".join(lines[4].split()) == "( assert ( = x 1 ) ) ( assert ( = x 2 ) )"
    assert "( check-sat )" in lines[6]


def test_a_model_is_asked_for_where_none_is_hoped_for() -> None:
    assert "(get-model)" in rewritten(read_script(ASKED), NONCE)
    assert "(get-model)" not in rewritten(read_script(ASKED.replace("unsat", "sat")), NONCE)


def said(*lines: str) -> str:
    return "".join(f"{line.replace('@', NONCE)}\n" for line in lines)


WHOLE = ("@ 0 asked", "unsat", "@ 0 model", "(error)", "@ 0 reason", '(:reason-unknown "")', "@ 0 done", "@ 1 end")


def test_an_answer_between_its_marks_is_whole() -> None:
    told = read_transcript(said(*WHOLE), NONCE, 1)
    assert told.ended
    assert not told.remarks
    assert (told.answers[0].said, told.answers[0].whole) == ("unsat", True)


def test_an_unknown_answer_has_its_reason() -> None:
    lines = ["@ 0 asked", "unknown", "@ 0 model", "@ 0 reason", '(:reason-unknown "incomplete")', "@ 0 done"]
    assert read_transcript(said(*lines), NONCE, 1).answers[0].reason == "incomplete"


@pytest.mark.parametrize("missing", range(len(WHOLE) - 1))
def test_output_that_lost_its_beginning_or_its_end_has_lost_the_answer(missing: int) -> None:
    told = read_transcript(said(*WHOLE[missing + 1 :]), NONCE, 1)
    assert not told.answers[0].whole
    told = read_transcript(said(*WHOLE[:missing]), NONCE, 1)
    assert not told.ended
    assert not told.answers[0].whole


@pytest.mark.parametrize("extra", ["sat", "unsat", '(error "line 1 column 1: no")', "unsupported"])
def test_an_answer_with_anything_beside_it_is_not_whole(extra: str) -> None:
    assert not read_transcript(said(WHOLE[0], extra, *WHOLE[1:]), NONCE, 1).answers[0].whole


def test_what_is_said_outside_of_answers_is_remarked() -> None:
    told = read_transcript(said("unsat", "WARNING: slow", "other 0 asked", "unsat", *WHOLE), NONCE, 1)
    assert told.remarks == ("unsat", "other 0 asked", "unsat")


@given(st.text(alphabet=f"{NONCE} \n01uns", max_size=200))
def test_what_does_not_know_the_nonce_gives_no_answer(output: str) -> None:
    told = read_transcript(output.replace(NONCE, ""), NONCE, 2)
    assert not told.ended
    assert not any(answer.whole for answer in told.answers)


# --- Models -------------------------------------------------------------------------------------------------

VALUES = {
    "5": "5",
    "(- 3)": "-3",
    "2.0": "2",
    "1.50": "3/2",
    "(/ 1.0 3.0)": "1/3",
    "(- (/ 2.0 4.0))": "-1/2",
    "(/ (- 1.0) 4.0)": "-1/4",
    "(/ 1.0 0.0)": "(/ 1.0 0.0)",
    "true": "true",
    "#xff": "255 (0xff, 8 bits)",
    "#b101": "5 (0x5, 3 bits)",
    "(_ bv10 12)": "10 (0xa, 12 bits)",
    '"a""b"': '"a""b"',
    "(_ NaN 8 24)": "NaN",
    "(_ -zero 8 24)": "-0",
    "(fp #b1 #x7f #b10000000000000000000000)": "-1.5",
    "(fp #b0 #b01 #b1)": "(fp #b0 #b01 #b1)",
    "(cons 1 nil)": "(cons 1 nil)",
    "((as const (Array Int Int)) 5)": "{else: 5}",
    "(store (store (store ((as const (Array Int Int)) 5) 1 2) 3 4) 1 (- 7))": "{3: 4, 1: -7, else: 5}",
    "(store a 1 2)": "{1: 2, else: as a}",
    "(root-obj (+ (^ x 2) (- 2)) 1)": "(root-obj (+ (^ x 2) (- 2)) 1)",
}


@pytest.mark.parametrize(("text", "shown"), VALUES.items(), ids=VALUES)
def test_a_value_is_shown_as_a_person_writes_it(text: str, shown: str) -> None:
    model = f"((define-fun |x| () Int\n  {text}))"
    assert model_lines(model, ["x"]) == (f"x = {shown}",)


FUNCTIONS = {
    "(ite (and (= a 3) (= b 2)) (- 7) 1)": "{(3, 2): -7, else: 1}",
    "(ite (= b 2) 5 (ite (= a 1) 6 7))": "{(_, 2): 5, (1, _): 6, else: 7}",
    "3": "{else: 3}",
    "(ite (< a b) 1 2)": "(ite (< a b) 1 2)",
}


@pytest.mark.parametrize(("body", "shown"), FUNCTIONS.items(), ids=FUNCTIONS)
def test_a_function_is_shown_as_a_table(body: str, shown: str) -> None:
    assert model_lines(f"((define-fun f ((a Int) (b Int)) Int {body}))", ["f"]) == (f"f = {shown}",)


def test_constants_come_in_the_order_of_the_file_and_what_is_made_up_is_left_out() -> None:
    model = "(\n ;; universe\n (declare-fun U!1 () U)\n (define-fun y () Int 1) (define-fun k!0 () Int 2)"
    model += " (define-fun x () U U!1))"
    assert model_lines(model, ["x", "y", "z"]) == ("x = U!1", "y = 1")


def test_a_model_is_shown_in_bounds() -> None:
    names = [f"x{i}" for i in range(100)]
    model = "(" + "".join(f"(define-fun {name} () Int {'9' * 5000})" for name in names) + ")"
    lines = model_lines(model, names, most=10)
    assert len(lines) == 11
    assert lines[-1] == "and 90 more"
    assert max(map(len, lines)) < 500
    deep = "(f " * 50_000 + "1" + ")" * 50_000
    assert len(value(("g", *words(deep)))) < 500
    assert len(model_lines(f"((define-fun x () Int {deep}))", ["x"])[0]) < 500
    stores = "(store " * 5000 + "((as const (Array Int Int)) 0)" + "".join(f" {i} 1)" for i in range(5000))
    assert "more" in model_lines(f"((define-fun x () Int {stores}))", ["x"])[0]
    wide = f"((define-fun x () (_ BitVec 40000) #x{'f' * 10000}))"
    assert "40000 bits" in model_lines(wide, ["x"])[0]


def test_a_model_that_cannot_be_read_is_shown_as_it_is() -> None:
    assert model_lines('(define-fun x "\n  broken', ["x"]) == ('(define-fun x "', "broken")


# --- The solver reads what we wrote -------------------------------------------------------------------------


@needs("z3")
def test_the_solver_understands_what_is_rewritten() -> None:
    text = (
        '(set-logic ALL)(set-option :print-success true)(echo "unsat")\n(declare-const |a b| Int)\n'
        '(declare-const s String)(assert (= s "a""b ;|("))(assert (> |a b| 4))(assert (< |a b| 6)) ; )\n'
        "(push 1)\n(assert (= (+ |a b| 1) 5))\n(set-info :status unsat)(check-sat)\n(pop 1)\n"
        "(set-info :status unsat)(check-sat)\n(assert (= 1 c))\n(set-info :status sat)(check-sat-assuming ((= s s)))"
    )
    script = read_script(text)
    done = subprocess.run(
        ["z3", "-smt2", "-in"], input=rewritten(script, NONCE), capture_output=True, text=True, check=False
    )
    told = read_transcript(done.stdout + done.stderr, NONCE, 3)
    assert [answer.said for answer in told.answers] == ["unsat", "sat", "sat"]
    assert all(answer.whole for answer in told.answers)
    assert told.ended
    assert len(told.remarks) == 1
    assert "line 9 " in told.remarks[0]
    assert model_lines(told.answers[1].model, script.declared) == ("a b = 5", 's = "a""b ;|("')
