(** What it means to fuse modules: the machine, and what running a fused program is. *)

Require Import ZArith List.
Import ListNotations.
Open Scope Z_scope.

Inductive instruction : Type :=
  | Push (n : Z)
  | Read
  | Print
  | Dup
  | Swap
  | Drop
  | Add
  | Sub
  | Mul.

(** The top of the stack is its head; what was printed last is the head of the output. *)
Record state : Type := State { stack : list Z; input : list Z; output : list Z }.

(** The signed word of 32 bits that a number is cut down to. *)
Definition word (n : Z) : Z := (n + 2 ^ 31) mod 2 ^ 32 - 2 ^ 31.

(** [None] where the instruction finds too little on the stack, or nothing to read. *)
Definition step (i : instruction) (s : state) : option state :=
  match i, stack s, input s with
  | Push n, below, rest => Some (State (word n :: below) rest (output s))
  | Read, below, n :: rest => Some (State (word n :: below) rest (output s))
  | Print, n :: below, rest => Some (State below rest (n :: output s))
  | Dup, n :: below, rest => Some (State (n :: n :: below) rest (output s))
  | Swap, b :: a :: below, rest => Some (State (a :: b :: below) rest (output s))
  | Drop, _ :: below, rest => Some (State below rest (output s))
  | Add, b :: a :: below, rest => Some (State (word (a + b) :: below) rest (output s))
  | Sub, b :: a :: below, rest => Some (State (word (a - b) :: below) rest (output s))
  | Mul, b :: a :: below, rest => Some (State (word (a * b) :: below) rest (output s))
  | _, _, _ => None
  end.

(** A program that has stopped stays stopped. *)
Fixpoint run (p : list instruction) (s : option state) : option state :=
  match p with
  | [] => s
  | i :: rest => run rest (match s with Some t => step i t | None => None end)
  end.

(** Running the fusion of two programs is running one after the other. *)
Theorem run_app : forall p q s, run (p ++ q) s = run q (run p s).
Proof.
  induction p as [| i p IH]; intros q s; simpl.
  - reflexivity.
  - apply IH.
Qed.
