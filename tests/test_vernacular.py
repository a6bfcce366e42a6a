"""What the reader of Rocq files sees in them, and in project files, and how the prover's answers are read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thrum.gate import Obligations
from thrum.proof.assumptions import Assumed, answers, assumed, context, loaded_from, located, questions
from thrum.proof.development import develop
from thrum.proof.rocq_project import Mapping, logical_name, read_project
from thrum.proof.sentences import sentences
from thrum.proof.vernacular import Required, read, weakened


def texts(source: str) -> list[str]:
    return [sentence.text for sentence in sentences(source)[0]]


def objections(source: str) -> list[str]:
    return [place.what for place in read(source).places]


def theorems(source: str) -> list[str]:
    return [theorem.name for theorem in read(source).theorems]


def test_a_sentence_ends_at_a_dot_before_a_blank() -> None:
    assert texts("Check a.b. Check 1.5.\nProof with auto. tac... Qed.") == [
        "Check a.b",
        "Check 1.5",
        "Proof with auto",
        "tac",
        "Qed",
    ]
    assert texts("Notation l := (cons x .. (cons y nil) ..).") == ["Notation l := (cons x .. (cons y nil) ..)"]


def test_bullets_and_braces_are_no_part_of_a_sentence() -> None:
    assert texts("split. - a. + { b. } 2: { c. } Qed.") == ["split", "a", "b", "c", "Qed"]


def test_comments_nest_and_strings_in_them_hide_their_ends() -> None:
    assert [text.split() for text in texts('Check (* (* a. *) b. "*)" c. *) x.')] == [["Check", "x"]]
    assert texts('Check "a. (* "". ".') == ['Check "' + " " * 10 + '"']


def test_lines_are_counted_through_comments_and_strings() -> None:
    found = sentences('(* a\n*) Check "x\ny". \n\n Check z.')[0]
    assert [sentence.line for sentence in found] == [2, 5]
    assert found[0].strings == ("x\ny",)


@pytest.mark.parametrize("source", ["Check a. (* b", 'Check "a. b', '(* " *)'])
def test_a_comment_or_string_without_an_end_is_an_objection(source: str) -> None:
    assert objections(source) == ["a comment or string that does not end"]


@given(st.text(alphabet='(*)". \nAx', max_size=40))
def test_any_text_can_be_cut(source: str) -> None:
    found, _ = sentences(source)
    assert all(1 <= sentence.line <= source.count("\n") + 1 for sentence in found)


@pytest.mark.parametrize(
    "source",
    [
        "Axiom a : False.",
        "#[local] Axiom a : False.",
        '#[deprecated(note="x")] Polymorphic Axiom a : False.',
        "Local Parameter a : nat.",
        "Conjecture a : False.",
        "Variable a : nat.",
        "Hypothesis a : False.",
        "Context (a : False).",
        "Section S. End S. Variables a b : nat.",
        "Section S. Axiom a : False. End S.",
        "Declare Instance a : Equivalence eq.",
        "Declare Module M : T.",
        "Declare Morphism f : g.",
        "Fail Axiom a : False.",
        "Time Timeout 3 Axiom a : False.",
        "Module F (X : T). Axiom a : False. End F.",
        "- Axiom a : False.",
        "Lemma a : False. Admitted.",
        "Lemma a : False. Proof. admit. Defined.",
        "Lemma a : False. Proof. all: give_up. Abort.",
        "Lemma a : 1 = 2. Proof. Abort.",
        "Example a : 1 = 2. Abort All.",
        "Ltac done := admit.",
        "Admit Obligations of a.",
        "Unset Guard Checking.",
        "#[local] Unset  Positivity\nChecking.",
        "Global Unset Universe Checking.",
        "#[bypass_check(guard)] Fixpoint f (n : nat) : False := f n.",
        "#[global, bypass_check(positivity=yes)] Inductive t := c : (t -> t) -> t.",
        'Declare ML Module "x".',
        "Load x.",
        'Load Verbose "x".',
        'Redirect "x" Print a.',
        'Time Redirect "x" Print a.',
        'Extraction "x.ml" a.',
        "Recursive Extraction Library A.",
        "Separate Extraction a.",
        "Drop.",
        'Cd "x".',
        'Add LoadPath "x" as Y.',
        'Add Rec LoadPath "x" as Y.',
        'Add ML Path "x".',
        'Print Sorted Universes "x".',
        "Rewrite Rule r := a => b.",
        "Symbol a : nat.",
        "Check a.(* b *).",
        'Notation "x *(* y" := (x + y).',
        'Inductive t := c where "x +( y" := (f x y).',
        "End M.",
        "Section S.",
    ],
)
def test_what_weakens_a_proof_is_an_objection(source: str) -> None:
    assert objections(source)


@pytest.mark.parametrize(
    "source",
    [
        "(* Axiom a : False. Admitted. *)",
        'Definition s := "Axiom a. Admitted. admit. ".',
        "Inductive instr := Load | Store | Drop | Axiom.",
        "Section S. Variable a : nat. Hypothesis h : a = a. Context (b : nat). End S.",
        "Section S. Module M. End M. Variable a : nat. End S.",
        "Module Type T. Parameter a : nat. Axiom b : a = a. Declare Instance i : C. End T.",
        "Lemma admitted : True. Proof. exact I. Qed.",
        "Lemma a : True. Proof. M.admit. Qed.",
        "Set Guard Checking. Unset Printing Notations. Set Universe Polymorphism.",
        "Extraction Language Haskell. Extraction f. Recursive Extraction f.",
        'Extract Constant f => "g".',
        'Notation "x +++ ( y )" := (f x y). Infix "(+)" := f (at level 5).',
        'Definition s := "a(b" ++ """".',
        "Goal True. Abort. Section S. Let a : True. Abort. End S.",
        "Print Universes. Add Parametric Morphism : f with signature eq ==> eq as g.",
    ],
)
def test_harmless_text_is_no_objection(source: str) -> None:
    assert objections(source) == []


def test_an_objection_names_its_line_and_its_theorem() -> None:
    source = "Module M.\nLemma a : 1 = 2.\nProof.\n  admit.\nAdmitted.\nEnd M.\n"
    found = [(place.line, place.what, place.theorem, place.declares) for place in read(source).places]
    assert found == [
        (4, "admit leaves a goal unproven", "M.a", ("M.a",)),
        (5, "Admitted", "M.a", ("M.a",)),
    ]


def test_a_theorem_that_is_given_up_is_named_and_told_apart() -> None:
    source = "Module M.\nLemma a : 1 = 2.\nProof.\nAbort.\nEnd M.\nLemma b : 1 = 2.\nLemma c : 1 = 3.\nAbort All.\n"
    found = [(place.line, place.theorem, place.declares, place.given_up) for place in read(source).places]
    assert found == [(4, "M.a", ("M.a",), True), (8, "c", ("c",), True), (8, "b", ("b",), True)]
    assert theorems(source) == []


@pytest.mark.parametrize(
    ("sentence", "names"),
    [
        ("Axiom a : nat.", ("a",)),
        ("Axioms a b : nat.", ("a", "b")),
        ("Axioms (a b : nat) (c : forall (x : nat), x = x).", ("a", "b", "c")),
        ("Parameter Inline(30) a' : nat.", ("a'",)),
        ("Axiom a@{u v} : Type@{u}.", ("a",)),
        ("Module M. Section S. Axiom a : nat. End S. End M.", ("M.a",)),
        ("Declare Instance i (x : nat) : C x.", ("i",)),
    ],
)
def test_the_names_of_what_is_assumed_are_known(sentence: str, names: tuple[str, ...]) -> None:
    assert [place.declares for place in read(sentence).places] == [names]


def test_theorems_are_named_with_their_modules_and_without_their_sections() -> None:
    source = """
    Theorem a : True. Proof. exact I. Qed.
    Module M. Section S. #[local] Lemma b : True. exact I. Defined. Let c : True. exact I. Qed. End S.
      Module N. Fact d : match 0 with O => True | S n => True end. Proof (I). End N.
    End M.
    Module K <: T with Definition t := nat. Remark e : True. exact I. Save. End K.
    Module L := F M. Module Type U := T.
    Definition f : nat. exact 1. Defined. Definition g := 1. Example h : 1 = 1 := eq_refl.
    Lemma i : True with j : True. all: exact I. Qed.
    Goal let x := 1 in x = 1. Abort. Instance l : C. Proof. split. Qed.
    Lemma m : True. exact I. Save n.
    """
    assert theorems(source) == ["a", "M.b", "M.N.d", "K.e", "f", "h", "i", "j", "l", "n"]
    assert objections(source) == []


def test_theorems_that_no_command_can_name_are_told_apart() -> None:
    source = """
    Module F (X : T). Lemma a : True. exact I. Qed. End F.
    Module Type T. Lemma b : True. exact I. Qed. End T.
    Module M : T. Lemma c : True. exact I. Qed. End M.
    Module N <: T. Lemma d : True. exact I. Qed. End N.
    """
    found = {theorem.name: (theorem.addressable, theorem.sealed) for theorem in read(source).theorems}
    assert found == {"F.a": (False, False), "T.b": (False, False), "M.c": (True, True), "N.d": (True, False)}


def test_requires_are_read_in_all_their_forms() -> None:
    source = "Require A. From P.Q Require Import B C.D. Require Export -(notations) E. Require Import F (g, h)."
    assert read(source).requires == (
        Required(prefix="", name="A"),
        Required(prefix="P.Q", name="B"),
        Required(prefix="P.Q", name="C.D"),
        Required(prefix="", name="E"),
        Required(prefix="", name="F"),
    )


def test_options_that_weaken_do_so_in_one_direction() -> None:
    assert weakened("Guard  Checking", False)
    assert not weakened("Guard Checking", True)
    assert weakened("Definitional UIP", True)


# --- Project files ------------------------------------------------------------------------------------------

FOLDERS = frozenset({".", "th", "th/sub", "my-th"})


def test_a_project_file_is_read() -> None:
    text = """
    # a comment
    -Q th Foo.Bar
    -R . ""
    -arg -w -arg -all -arg "-set 'Default Goal Selector=!'"
    -install none
    COQDOCFLAGS = "--utf8"
    th/a.v ./th/../b.v
    """
    project = read_project(text, path="_CoqProject", folders=FOLDERS)
    assert project.places == ()
    assert project.mappings == (
        Mapping(option="-Q", folder="th", logical="Foo.Bar"),
        Mapping(option="-R", folder=".", logical=""),
    )
    assert project.files == ("th/a.v", "b.v")
    assert project.arguments == ("-w", "-all", "-set", "Default Goal Selector=!")


def test_paths_are_relative_to_the_project_file() -> None:
    project = read_project("-Q . Foo\na.v\n../b.v", path="th/_CoqProject", folders=FOLDERS)
    assert (project.mappings[0].folder, project.files, project.places) == ("th", ("th/a.v", "b.v"), ())


@pytest.mark.parametrize(
    "line",
    [
        "-I plugin",
        "plugin.mlg",
        "-arg -type-in-type",
        "-arg -impredicative-set",
        "-arg -load-vernac-source -arg x",
        '-arg "-l x"',
        "-arg -boot",
        "-arg -rfrom",
        "-arg \"-unset 'Guard Checking'\"",
        "-arg \"-set 'Universe Checking=false'\"",
        "-impredicative-set",
        "-Q /usr/lib Foo",
        "-Q .. Foo",
        "-Q th/../../x Foo",
        "-Q nowhere Foo",
        "-Q th Coq.Init",
        "-R th Stdlib",
        "-Q th a;b",
        "-Q th",
        "/etc/x.v",
        "../x.v",
        "-o.v",
        "COQEXTRAFLAGS = -type-in-type",
        "-f other",
        "-arg",
    ],
)
def test_a_project_file_may_not_weaken_anything(line: str) -> None:
    found = read_project(f"\n{line}\n", path="_CoqProject", folders=FOLDERS)
    assert {place.line for place in found.places} == {2}
    assert (found.mappings, found.arguments, found.files) == ((), (), ())


def test_the_last_mapping_that_fits_names_a_file() -> None:
    maps = [Mapping(option="-R", folder=".", logical=""), Mapping(option="-Q", folder="th", logical="Foo")]
    assert logical_name("th/sub/a.v", maps) == "Foo.sub.a"
    assert logical_name("b.v", maps) == "b"
    assert logical_name("my-th/a.v", maps) == ""
    assert logical_name("th/a-b.v", maps) == ""


# --- Which files, in which order ----------------------------------------------------------------------------


def developed(files: dict[str, str], **settings: tuple[str, ...]) -> tuple[list[str], list[str]]:
    obligations = Obligations(**{"rocq": ("**/*.v",), **settings})
    found = develop(obligations, sorted(files), lambda path: files[path].encode())
    return [source.path for source in found.sources], [f"{each.where}: {each.what}" for each in found.problems]


def test_files_come_after_what_they_require() -> None:
    files = {
        "_CoqProject": "-Q th Foo",
        "th/a.v": "From Foo Require Import z.",
        "th/z.v": "Require Foo.sub.m.",
        "th/sub/m.v": "",
    }
    assert developed(files) == (["th/sub/m.v", "th/z.v", "th/a.v"], [])
    assert developed(files, rocq=("th/a.v",)) == (["th/sub/m.v", "th/z.v", "th/a.v"], [])


def test_files_that_require_each_other_are_left_to_the_compiler() -> None:
    assert sorted(developed({"a.v": "Require b.", "b.v": "Require a."})[0]) == ["a.v", "b.v"]


NOT_BELIEVED = "a compiled file is not to be believed; take it out of the commit"


@pytest.mark.parametrize(
    ("files", "globs", "why"),
    [
        ({"a.v": ""}, ("*.v", "b/*.v"), "b/*.v: this glob matches no .v file"),
        ({"a.txt": ""}, ("*",), "*: this glob matches no .v file"),
        ({"a.v": ""}, (), "rocq: no file is named, neither by a glob nor by a project file"),
        ({"a.v": "", "_CoqProject": "b.v"}, (), "b.v: the project file names it, and it is not there"),
        ({"my-x/a.v": ""}, ("**/*.v",), "my-x/a.v: it has no logical name; map its folder with -Q in a _CoqProject"),
        ({"Coq/a.v": ""}, ("**/*.v",), "Coq/a.v: its name Coq.a belongs to the standard library"),
        ({"a.v": "", "b.vo": ""}, ("a.v",), f"b.vo: {NOT_BELIEVED}"),
        ({"a.v": "", ".lia.cache": ""}, ("a.v",), f".lia.cache: {NOT_BELIEVED}"),
        (
            {"a/m.v": "", "b/m.v": "", "_CoqProject": "-Q a F\n-Q b F"},
            ("**/*.v",),
            "b/m.v: its name F.m is also that of a/m.v",
        ),
    ],
)
def test_a_development_that_proves_nothing_or_hides_something_is_refused(
    files: dict[str, str], globs: tuple[str, ...], why: str
) -> None:
    assert why in developed(files, rocq=globs)[1]


# --- Answers ------------------------------------------------------------------------------------------------


def marked(*parts: str) -> str:
    return "".join(f"thrum-mark-{i}\n{part}\n" for i, part in enumerate(parts))


TWO = questions(["A"], ["Print Assumptions A.x", "Print Assumptions A.y"])


def test_answers_stand_between_their_marks() -> None:
    found = answers(marked("one", "two\nlines", ""), TWO, path="/o/q.v", ok=True)
    assert found.texts == ("one", "two\nlines")
    assert not found.problem


def test_an_error_is_brought_to_its_question() -> None:
    output = marked("one", f'File "/o/q.v", line {TWO.lines[1]}, characters 0-9:\nError: unknown.')
    found = answers(output, TWO, path="/o/q.v", ok=False)
    assert (found.texts, found.error_line, found.error) == (("one",), TWO.lines[1], "Error: unknown.")


@pytest.mark.parametrize(
    ("output", "ok"),
    [
        ("", True),
        ("", False),
        (marked("one", "two"), True),
        (marked("one", "two", "", ""), True),
        (marked("one\nthrum-mark-1", "two", ""), True),
        ("thrum-mark-1\none\nthrum-mark-0\ntwo\nthrum-mark-2", True),
        (marked("one", "two", ""), False),
        (marked("one", 'File "/o/q.v", line 99, characters 0-9:\nError: x'), False),
        (marked("one", 'File "/o/q.v", line 5, characters 0-9:\nError: x', ""), True),
    ],
)
def test_answers_that_are_not_whole_are_not_believed(output: str, ok: bool) -> None:
    assert answers(output, TWO, path="/o/q.v", ok=ok).problem


@pytest.mark.parametrize(
    ("answer", "understood"),
    [
        ("Closed under the global context", Assumed()),
        ("Axioms:\na : False\nM.b\n  : forall x,\n    x = x\nc' :\n  nat", Assumed(axioms=("a", "M.b", "c'"))),
        (
            "Axioms:\nM.f is assumed to be guarded.\na : nat",
            Assumed(axioms=("a",), unsafe=("M.f is assumed to be guarded",)),
        ),
        ("", Assumed(unreadable="nothing")),
        ("Axioms:", Assumed(unreadable="Axioms:")),
        ("Closed under the global context\nAxioms:\na : b", Assumed(unreadable="Closed under the global context")),
        ("Axioms:\n  a : b", Assumed(unreadable="  a : b")),
        ("Axioms:\na : b\nsomething else here", Assumed(unreadable="something else here")),
    ],
)
def test_an_answer_is_understood_wholly_or_not_at_all(answer: str, understood: Assumed) -> None:
    assert assumed(answer) == understood


def test_full_names_and_files_are_read_from_the_provers_answers() -> None:
    assert (
        located("Constant Foo.A.own\nConstant B.own (shorter name to refer to it in current context is B.own)", "own")
        == "Foo.A.own"
    )
    assert located("Constant A.x\nConstant B.x", "x") == ""
    assert located("No object of suffix A.M.x", "A.M.x") == "A.M.x"
    assert loaded_from("Foo.A has been\nloaded from file\n/t/A.vo") == ("Foo.A", "/t/A.vo")
    assert loaded_from("Error") == ("", "")


SUMMARY = """
CONTEXT SUMMARY
===============

* Theory: Set is predicative
  
* Axioms:
    A.z
  
* Constants/Inductives relying on type-in-type:
    A.U
  
* Inductives whose positivity is assumed: <none>
"""  # noqa: W293


def test_the_checkers_summary_is_read() -> None:
    found = context(SUMMARY)
    assert not found.problem
    assert found.axioms == ("A.z",)
    assert found.unsafe == (("A.U", "constants/Inductives relying on type-in-type"),)


@pytest.mark.parametrize(
    "output",
    ["", SUMMARY.replace("predicative", "impredicative"), SUMMARY.replace("* Axioms:", "Axioms:"), SUMMARY + "\nwhat"],
)
def test_a_summary_that_is_not_understood_is_a_problem(output: str) -> None:
    assert context(output).problem
