"""Changes that Gate 2 must not let by: proofs that are none, and obligations that oblige to nothing."""

from __future__ import annotations

from tests.changes import HELD, Change
from tests.changes.repositories import LIMIT_RULE, NUMBERS_THEORY


def theory(name: str, text: str | None, said: str = "", path: str = "theory/more.v") -> Change:
    """A file for Rocq that must fail."""
    return Change(name=name, repo="proofs", files={path: text}, stopped="proof: proofs", said=said)


def rule(name: str, text: str | None, said: str = "", path: str = "rules/more.smt2") -> Change:
    """A file for Z3 that must fail."""
    return Change(name=name, repo="proofs", files={path: text}, stopped="proof: verify", said=said)


_UNSAT = "(set-info :status unsat)"
_X = "(declare-const x Int)"
_UNKNOWN = f"""\
(set-option :auto_config false)(set-option :smt.mbqi false)
(declare-fun f (Int) Int)
(assert (= (f 0) 3))
(assert (forall ((x Int)) (! (> (f x) (f (+ x 1))) :pattern ((f x) (f (+ x 1))))))
{_UNSAT}
(check-sat)
"""

BAD_PROOFS = (
    theory("admitted", "Lemma no : forall n : nat, n = 0.\nProof. Admitted.\n", "theory/more.v:2"),
    theory("aborted", "Theorem no : 1 = 2.\nProof.\nAbort.\n", "theory/more.v:3"),
    theory("admit", "Lemma no : forall n : nat, n = 0.\nProof. intros. admit. Admitted.\n", "admit"),
    theory(
        "a-new-axiom", "Axiom no : 0 = 1.\nLemma worse : 1 = 0.\nProof. rewrite <- no. reflexivity. Qed.\n", "Axiom"
    ),
    theory("a-parameter", "Parameter no : False.\nLemma all : 0 = 1.\nProof. destruct no. Qed.\n", "Parameter"),
    theory(
        "guard-checking-unset",
        "Unset Guard Checking.\nFixpoint no (n : nat) : False := no n.\n"
        "Lemma all : 0 = 1.\nProof. destruct (no 0). Qed.\n",
        "theory/more.v:1",
    ),
    theory("a-proof-that-does-not-compile", "Lemma no : 0 = 1.\nProof. reflexivity. Qed.\n", "theory/more.v:2"),
    theory(
        "a-proof-that-was-broken",
        NUMBERS_THEORY.replace("rewrite IH; ", ""),
        "theory/numbers.v:2",
        path="theory/numbers.v",
    ),
    Change(
        name="theorems-deleted",
        repo="proofs",
        files={},
        script="rm theory/*.v",
        stopped="proof: proofs",
        said="theory/*.v",
    ),
    Change(
        name="theorems-made-comments",
        repo="proofs",
        files={},
        script="for file in theory/*.v; do sed -i '1s/^/(* /; $s/$/ *)/' $file; done",
        stopped="proof: proofs",
        said="no theorem",
    ),
    Change(
        name="unsound-options",
        repo="proofs",
        files={"_CoqProject": "-arg -type-in-type\n"},
        stopped="proof: proofs",
        said="_CoqProject",
    ),
    rule("a-wrong-expectation", f"{_X}\n(assert (> x 3))\n{_UNSAT}\n(check-sat)\n", "answered sat, expected unsat"),
    rule(
        "a-rule-that-was-broken", LIMIT_RULE.replace("x limit))", "limit x))"), "limit.smt2:8", path="rules/limit.smt2"
    ),
    rule("answers-unknown", _UNKNOWN, "answered unknown"),
    rule("echoes-its-answer", f'(echo "unsat")\n{_X}\n(assert (> x 3))\n{_UNSAT}\n(check-sat)\n', "answered sat"),
    rule("expects-nothing", "(assert false)\n(check-sat)\n", "more.smt2"),
    rule("leaves-early", f'(echo "unsat")\n(exit)\n(assert true)\n{_UNSAT}\n(check-sat)\n', "more.smt2"),
    rule(
        "defines-what-contradicts-itself",
        f"(define-fun-rec f ((x Int)) Int (+ 1 (f x)))\n{_X}\n(assert (> x (f 3)))\n{_UNSAT}\n(check-sat)\n",
        "contradict itself",
    ),
    rule(
        "gives-a-sign-another-meaning",
        f"(define-fun > ((a Int) (b Int)) Bool false)\n{_X}\n(assert (> x 3))\n{_UNSAT}\n(check-sat)\n",
        "'>' another meaning",
    ),
    rule("asks-nothing", f"{_X}\n(assert (> x 3))\n{_UNSAT}\n", "asks nothing"),
    Change(
        name="obligations-deleted",
        repo="proofs",
        files={},
        script="rm rules/*.smt2",
        stopped="proof: verify",
        said="matches no file",
    ),
    Change(
        name="obligations-by-a-link",
        repo="proofs",
        files={"rules/limit.smt2": None},
        script="ln -s /tmp/limit.smt2 rules/limit.smt2",
        stopped="proof: verify",
    ),
    *(
        Change(name=name, repo="proofs", files={path: text}, stopped=HELD, said=path)
        for name, path, text in (
            ("an-obligation-weakened", "rules/limit.smt2", LIMIT_RULE.replace("clamped limit", "limit limit")),
            ("one-obligation-of-two-deleted", "rules/order.smt2", None),
            ("a-theorem-weakened", "theory/numbers.v", "Lemma plus_zero : 0 + 0 = 0.\nProof. reflexivity. Qed.\n"),
        )
    ),
    Change(
        name="options-for-the-prover",
        repo="proofs",
        files={"_CoqProject": "-Q theory Numbers\n"},
        stopped=HELD,
        said="_CoqProject",
    ),
)
