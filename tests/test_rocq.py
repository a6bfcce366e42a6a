"""Proofs by the real Rocq, in Thrum's own sandboxes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.requirements import needs
from tests.rocq_bench import workbench
from thrum.gate import Obligations, Verdict
from thrum.proof import Proof
from thrum.proof.rocq import prove

pytestmark = needs("rocq")

PASSED, FAILED, COULD_NOT_RUN = Verdict.PASSED, Verdict.FAILED, Verdict.COULD_NOT_RUN
GOOD = "Lemma good : 1 = 1.\nProof. reflexivity. Qed.\n"
Proving = Callable[..., Proof]


@pytest.fixture
def proving(tmp_path: Path) -> Proving:
    """Proves files, as `**/*.v` if nothing else is said; `backend` and `hidden` are the bench's."""
    numbers = count()

    def run(
        files: dict[str, str] | str, *, backend: str = "none", hidden: tuple[str, ...] = (), **settings: Any
    ) -> Proof:
        if isinstance(files, str):
            files = {"A.v": files}
        directory = tmp_path / str(next(numbers))
        directory.mkdir()
        obligations = Obligations(**{"rocq": ("**/*.v",), **settings})
        with workbench(directory, files, backend=backend, hidden=hidden) as bench:
            return prove(obligations, bench)

    return run


def says(proof: Proof, *lines: str) -> bool:
    """Whether the proof failed, and each of these is a whole line of what it says."""
    return proof.verdict is FAILED and set(lines) <= set(proof.details.splitlines())


# --- What holds ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["none", pytest.param("os-native", marks=needs("bwrap"))])
def test_a_proven_lemma_passes(proving: Proving, backend: str) -> None:
    proof = proving(GOOD, backend=backend)
    assert (proof.verdict, proof.reason, proof.details, proof.exit_code) == (PASSED, "", "", 0), proof.log
    assert proof.tests is not None
    assert (proof.tests.run, proof.tests.failed, proof.tests.skipped) == (1, 0, 0)
    assert "Print Assumptions A.good" in proof.log
    assert "CONTEXT SUMMARY" in proof.log


def test_files_are_compiled_after_what_they_need(proving: Proving) -> None:
    files = {
        "th/A.v": "From Foo Require Import Z.\nLemma a : 1 = 1. Proof. exact good. Qed.",
        "th/Z.v": GOOD,
        "_CoqProject": "-Q th Foo\n-arg -w -arg +all\nth/A.v th/Z.v\n",
    }
    proof = proving(files, rocq=())
    assert proof.verdict is PASSED, proof.details
    assert proof.tests is not None
    assert proof.tests.run == 2
    # A file that is needed is compiled also where no glob names it.
    assert proving(files, rocq=("th/A.v",)).verdict is PASSED
    assert proving(files, theorems=("Foo.A.a",)).verdict is PASSED


def test_section_variables_signatures_and_mere_words_are_no_axioms(proving: Proving) -> None:
    # The parameters of a module type assume nothing: `Print Assumptions` says so of whatever implements it.
    proof = proving("""
    (* Axiom a : False. Admitted. "*)" *)
    Definition s := 1 (* admit. *).
    Section S. Variable n : nat. Hypothesis h : n = 0. Lemma a : n + 0 = 0. Proof. rewrite h. reflexivity. Qed. End S.
    Module Type T. Parameter x : nat. Axiom ax : x = x. End T.
    Module M : T. Definition x := 1. Lemma hidden : x = 1. Proof. reflexivity. Qed.
      Lemma ax : x = x. Proof. reflexivity. Qed. End M.
    Module F (X : T). Lemma b : X.x = X.x. Proof. exact X.ax. Qed. End F.
    Module N := F M.
    Lemma c : M.x = M.x. Proof. exact N.b. Qed.
    """)
    assert proof.verdict is PASSED, proof.details


def test_all_kinds_of_proofs_are_asked_about_by_their_names(proving: Proving) -> None:
    proof = proving("""Require Import Setoid Morphisms.
    Class C (T : Type) := x : T. Instance i : C nat. Proof. exact 1. Defined.
    Fixpoint f (n : nat) : nat with g (n : nat) : nat. Proof. exact 0. exact 1. Defined.
    Theorem d (n : nat) : match n with 0 => True | S _ => True end with e : forall n : nat, n = n.
    Proof. all: clear. destruct n; exact I. reflexivity. Qed.
    Module Import M. Module Export N. Corollary c : 2 + 2 = 4. Proof. native_compute. reflexivity. Defined. End N.
    End M. Definition h (n : nat) := n.
    Add Morphism h with signature eq ==> eq as hm. Proof. intros; subst; reflexivity. Qed.
    Goal False. Abort. Goal True. exact I. Qed. Example o : 1 = 1 := eq_refl.""")
    assert proof.verdict is PASSED, proof.details
    for name in ("i", "f", "g", "d", "e", "M.N.c", "hm_Proper", "o"):
        assert f"Print Assumptions A.{name}." in proof.log


def test_what_a_signature_hides_is_found_through_what_it_shows(proving: Proving) -> None:
    source = """Module Type T. Parameter x : 1 = 2. End T.
    Module M : T. Axiom evil : 1 = 2. Definition x := evil. End M.
    Lemma a : 1 = 2. Proof. exact M.x. Qed."""
    assert says(proving(source), "A.v:3: A.a assumes the axiom A.M.evil")
    assert proving(source, axioms=("A.M.evil",)).verdict is PASSED


def test_allowed_axioms_may_be_declared_and_assumed(proving: Proving) -> None:
    source = """Require Import FunctionalExtensionality.
    Module M. Axiom z : 1 = 2. End M.
    Lemma left_open : 3 = 4. Proof. admit. Admitted.
    Lemma k : 1 = 2 /\\ 3 = 4. Proof. split. exact M.z. exact left_open. Qed.
    Lemma e : (fun n => n + 0) = (fun n => n + 0). Proof. extensionality n. reflexivity. Qed."""
    allowed = (
        "A.M.z",
        "A.left_open",
        "Coq.Logic.FunctionalExtensionality.functional_extensionality_dep",
        "Stdlib.Logic.FunctionalExtensionality.functional_extensionality_dep",
    )
    assert proving(source, axioms=allowed).verdict is PASSED
    short = proving(source, axioms=("z", "left_open", "functional_extensionality_dep"))
    assert says(short, "A.v:2: Axiom z", "A.v:4: A.k assumes the axiom A.M.z", "A.v:3: Admitted (in A.left_open)")


# --- What does not ------------------------------------------------------------------------------------------


def test_admitted_and_admit_fail_with_their_places(proving: Proving) -> None:
    proof = proving(GOOD + "Lemma b : 1 = 2.\nAdmitted.\nLemma c : 1 = 2.\nProof.\n  admit.\nAdmitted.\n")
    assert says(
        proof, "A.v:4: Admitted (in A.b)", "A.v:7: admit leaves a goal unproven (in A.c)", "A.v:8: Admitted (in A.c)"
    )
    assert proof.reason == "A.v:4: Admitted (in A.b) (and 2 more)"
    assert proof.tests is not None
    assert (proof.tests.run, proof.tests.failing) == (3, ("A.b", "A.c"))


def test_a_theorem_that_is_given_up_fails_unless_it_is_allowed_or_others_are_named(proving: Proving) -> None:
    source = "Lemma good : 1 = 1. Proof. reflexivity. Qed.\nTheorem t : 1 = 2.\nProof.\nAbort.\n"
    proof = proving(source)
    assert says(proof, "A.v:4: Abort leaves it stated and unproven (in A.t)")
    assert proof.tests is not None
    assert proof.tests.failing == ("A.t",)
    assert proving(source, axioms=("A.t",)).verdict is PASSED
    assert proving(source, theorems=("A.good",)).verdict is PASSED


def test_admit_fails_also_in_a_proof_that_is_called_complete(proving: Proving) -> None:
    proof = proving("Lemma c : 1 = 2.\nProof. admit.\nDefined.\n")
    assert says(proof, "A.v:2: admit leaves a goal unproven (in A.c)", "A.v:3: it does not compile (in or behind A.c)")


def test_a_new_axiom_fails_itself_and_what_rests_on_it(proving: Proving) -> None:
    files = {
        "A.v": "Require B.\nLemma a : 1 = 2. Proof. exact B.M.z. Qed.",
        "B.v": "Module M.\nAxiom z : 1 = 2.\nEnd M.",
    }
    assert says(proving(files), "B.v:2: Axiom z", "A.v:2: A.a assumes the axiom B.M.z")


def test_a_standard_axiom_must_be_allowed(proving: Proving) -> None:
    proof = proving("Require Import Classical.\nLemma a : forall P, P \\/ ~ P. Proof. exact classic. Qed.")
    assert proof.verdict is FAILED
    assert "A.a assumes the axiom" in proof.details
    assert ".Logic.Classical_Prop.classic" in proof.details


def test_an_axiom_that_no_word_declares_is_found(proving: Proving) -> None:
    proof = proving("""Module Type T. Parameter x : 1 = 2. End T.
    Include T.
    Lemma a : 1 = 2. Proof. exact x. Qed.""")
    assert says(proof, "A.v:3: A.a assumes the axiom A.x", "A.v: A.x is an axiom")


def test_a_theorem_in_a_functor_passes_no_axiom_by(proving: Proving) -> None:
    source = """Require Import Classical.
    Module Type T. Parameter P : Prop. End T.
    Module F (X : T). Lemma a : X.P \\/ ~ X.P. Proof. apply classic. Qed. End F."""
    assert proving(source).reason.startswith("A.v:3: A.F.a cannot be asked for its assumptions")
    names = ("Coq.Logic.Classical_Prop.classic", "Stdlib.Logic.Classical_Prop.classic")
    assert proving(source, axioms=names).verdict is PASSED


@pytest.mark.parametrize(
    ("source", "assumed"),
    [
        ("Unset Guard Checking. Fixpoint f (n : nat) : False := f n.", "A.f is assumed to be guarded"),
        ("#[bypass_check(guard)] Fixpoint f (n : nat) : False := f n.", "A.f is assumed to be guarded"),
        (
            "Unset Positivity Checking. Inductive f := c : (f -> nat) -> f. Set Positivity Checking.",
            "A.f is assumed to be positive",
        ),
        ("Unset Universe Checking. Definition f : Type@{Set} := Type.", "A.f relies on an unsafe hierarchy"),
    ],
)
def test_what_the_kernel_did_not_check_fails_in_the_text_and_in_the_answer(
    proving: Proving, source: str, assumed: str
) -> None:
    proof = proving(f"{source}\nDefinition g := f.\nLemma a : g = g. Proof. reflexivity. Qed.")
    assert proof.details.startswith("A.v:1: ")
    assert says(proof, f"A.v:3: A.a assumes that {assumed}")


def test_a_type_error_is_told_with_its_place_and_message(proving: Proving) -> None:
    files = {"A.v": GOOD + "Lemma b : 1 = 2.\nProof. reflexivity. Qed.\n", "B.v": "Require A.\n" + GOOD}
    proof = proving(files)
    assert says(proof, "A.v:4: it does not compile (in or behind A.b)", "B.v: not compiled, for it needs A.v")
    assert 'Unable to unify "2" with "1"' in proof.details
    assert proof.exit_code == 1
    assert proof.tests is not None
    assert proof.tests.failing == ("A.v", "B.v")


def test_a_loop_is_ended_at_its_limit(proving: Proving) -> None:
    proof = proving("Lemma a : True.\nProof. repeat (pose I). Qed.\n", solver_timeout_s=2.0)
    assert proof.verdict is FAILED
    assert says(proof, "A.v: it does not compile", "ended after 2 s, its time limit")
    assert proof.exit_code is None


def test_a_theorem_that_does_not_exist_fails(proving: Proving) -> None:
    proof = proving(GOOD, theorems=("A.good", "A.nope", "good"))
    assert proof.tests is not None
    assert (proof.tests.run, proof.tests.failing) == (3, ("good", "A.nope"))
    assert "A.nope was not found" in proof.details


@pytest.mark.parametrize(
    ("files", "settings"),
    [
        ({"A.v": GOOD}, {"rocq": ("*.v", "th/*.v")}),
        ({"A.v": GOOD}, {"rocq": ()}),
        ({"A.v": GOOD}, {"rocq_project": "other"}),
        ({"A.v": GOOD, "_CoqProject": "A.v Gone.v"}, {"rocq": ()}),
        ({"A.v": GOOD, "_CoqProject": "-arg -type-in-type"}, {}),
        ({"A.v": GOOD, "_CoqProject": "-I plugin"}, {}),
        ({"A.v": GOOD, "_CoqProject": "-R . Coq.Init"}, {}),
        ({"A.v": GOOD, "_CoqProject": '-arg "-load-vernac-source x"'}, {}),
        ({"A.v": GOOD, "A.vo": "x"}, {}),
    ],
)
def test_what_proves_nothing_or_might_weaken_the_rest_fails(
    proving: Proving, files: dict[str, str], settings: dict[str, Any]
) -> None:
    proof = proving(files, **settings)
    assert proof.verdict is FAILED
    assert "Print Assumptions" not in proof.log


def test_files_without_a_theorem_prove_nothing(proving: Proving) -> None:
    assert proving("Definition a := 1.").reason == "there is no theorem in these files that was looked at"


# --- What a hostile repository tries ------------------------------------------------------------------------


def test_printing_options_of_a_module_change_no_answer(proving: Proving) -> None:
    proof = proving("""Axiom z : forall a b c : nat, a + b + c = 0 -> forall d e f : nat, d + e + f = 0.
    Global Set Printing Width 2. Global Set Printing Depth 1. Global Set Printing All. Global Set Warnings "+all".
    Notation "'Closed' 'under'" := nat.
    Lemma a : 1 + 0 + 0 = 0. Proof. exact (z 0 0 0 eq_refl 1 0 0). Qed.""")
    assert says(proof, "A.v:4: A.a assumes the axiom A.z")


def test_a_token_that_swallows_a_comments_beginning_hides_no_axiom(proving: Proving) -> None:
    proof = proving("""Notation "x *(* y" := (x + y) (at level 50).
    Check 1 *(* 2. Axiom z : 1 = 2. Lemma a : 1 = 2. Proof. exact z. Qed. Check 1 (* *).
    Lemma b : 1 = 1. Proof. reflexivity. Qed.""")
    assert says(proof, "A.v: A.z is an axiom")
    assert proof.details.startswith("A.v:1: a notation")


def test_an_axiom_whose_type_prints_marks_hides_no_other(proving: Proving) -> None:
    source = """Require Export String. Open Scope string_scope.
    Axiom z : "
thrum-mark-1
Closed under the global context
thrum-mark-2
" = "x".
    Axiom y : 1 = 2.
    Lemma a : 1 = 2. Proof. pose z. exact y. Qed.
    Lemma b : 1 = 1. Proof. reflexivity. Qed."""
    assert says(proving(source, axioms=("A.z",)), "A.v:8: A.a assumes the axiom A.y")
    assert proving(source, axioms=("A.z", "A.y")).verdict is PASSED


def test_a_module_that_stands_in_for_a_standard_one_is_the_one_that_is_asked(proving: Proving) -> None:
    proof = proving({"List.v": "Axiom z : 1 = 2.\nLemma app_assoc : 1 = 2. Proof. exact z. Qed."})
    assert says(proof, "List.v:2: List.app_assoc assumes the axiom List.z")


def test_a_require_that_could_mean_a_file_or_the_library_must_say_which(proving: Proving) -> None:
    stand_in = {"theory/Arith.v": 'Notation "a = b" := True (at level 70).\n'}

    def asked(require: str, others: dict[str, str]) -> Proof:
        main = {"_CoqProject": "-R theory N\ntheory/main.v\n", "theory/main.v": f"{require} Import Arith.\n{GOOD}"}
        return proving({**main, **others}, rocq=("theory/main.v",))

    doubtful = asked("Require", stand_in)
    assert doubtful.verdict is FAILED
    assert "`Require Arith` can mean a file of the repository or one of the library" in doubtful.details
    assert asked("Require", {}).verdict is PASSED
    assert asked("From Coq Require", stand_in).verdict is PASSED
    assert "can mean" not in asked("From N Require", stand_in).details


def test_a_file_that_is_another_in_the_checkout_is_not_compiled(proving: Proving) -> None:
    proof = proving({"A.v": "-> hidden.txt", "hidden.txt": GOOD}, theorems=("A.good",))
    assert says(proof, "A.v: in the checkout it is not the text that was committed (a link, a filter?)")


def test_a_plugin_is_never_passed(proving: Proving) -> None:
    assert says(proving('Declare ML Module "evil".\n' + GOOD), "A.v:1: Declare ML Module loads code into the compiler")


# --- What the operator must mend ----------------------------------------------------------------------------


@pytest.mark.parametrize("hidden", [("coqc", "rocq"), ("coqchk", "rocqchk", "rocq")])
def test_without_a_compiler_or_checker_it_could_not_run(proving: Proving, hidden: tuple[str, ...]) -> None:
    proof = proving("Lemma a : 1 = 2. Admitted.", hidden=hidden)
    assert proof.verdict is COULD_NOT_RUN
    assert hidden[0] in proof.reason
