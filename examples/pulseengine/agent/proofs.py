"""What is the same in both languages: the proof about fusing, and the obligations about dividing."""

from editing import edit, write

ANY_NUMBER = """\

(** Running the fusion of any number of programs is running them in their order. *)
Theorem run_concat :
  forall programs s, run (concat programs) s = fold_left (fun t p => run p t) programs s.
Proof.
  induction programs as [| p programs IH]; intros s; simpl.
  - reflexivity.
  - rewrite run_app. apply IH.
Qed.
"""

PLAIN = "push 1; sar"
ROUNDED = "dup; push 31; shr; add; push 1; sar"
"""A negative word is increased by one before it is halved, so that its half goes towards zero."""

TERMS = {
    PLAIN: "(bvashr x #x00000001)",
    ROUNDED: "(bvashr (bvadd x (bvlshr x #x0000001f)) #x00000001)",
}


def prove_any_number() -> None:
    """Add the theorem at the end."""
    last = "  - apply IH.\nQed.\n"
    edit("proofs/Fusion.v", (last, last + ANY_NUMBER))


def oblige_division(after: str) -> None:
    """Say what has to be proven of dividing in this way."""
    write(
        "proofs/div-by-two.smt2",
        f"; div-by-two, for every word x on top of the stack: push 2; div | {after}\n"
        "(set-logic QF_BV)\n"
        "(set-info :status unsat)\n"
        "(declare-const x (_ BitVec 32))\n"
        f"(assert (not (= (bvsdiv x #x00000002) {TERMS[after]})))\n"
        "(check-sat)\n",
    )
