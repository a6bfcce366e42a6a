; add-zero, for every word x on top of the stack: push 0; add | nothing
(set-logic QF_BV)
(set-info :status unsat)
(declare-const x (_ BitVec 32))
(assert (not (= (bvadd x #x00000000) x)))
(check-sat)
