; mul-by-two, for every word x on top of the stack: push 2; mul | push 1; shl
(set-logic QF_BV)
(set-info :status unsat)
(declare-const x (_ BitVec 32))
(assert (not (= (bvmul x #x00000002) (bvshl x #x00000001))))
(check-sat)
