; mul-by-one, for every word x on top of the stack: push 1; mul | nothing
(set-logic QF_BV)
(set-info :status unsat)
(declare-const x (_ BitVec 32))
(assert (not (= (bvmul x #x00000001) x)))
(check-sat)
