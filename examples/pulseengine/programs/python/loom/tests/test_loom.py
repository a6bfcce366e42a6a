import unittest
from pathlib import Path

from loom import RULES, instructions, obligation, optimise, result

PROOFS = Path(__file__).parent.parent / "proofs"


class Rules(unittest.TestCase):
    def test_each_rule_has_the_obligation_that_is_proven(self):
        for name in RULES:
            self.assertEqual((PROOFS / f"{name}.smt2").read_text(), obligation(name))

    def test_each_obligation_has_its_rule(self):
        self.assertEqual({path.stem for path in PROOFS.iterdir()}, set(RULES))

    def same(self, name, *words):
        before, after = RULES[name]
        self.assertEqual(optimise(instructions(before)), instructions(after))
        for x in words:
            self.assertEqual(result(before, x), result(after, x))

    def test_nothing_is_added_or_multiplied_by_one(self):
        self.same("add-zero", 7, -7)
        self.same("mul-by-one", 7, -7)

    def test_twice_is_a_shift(self):
        self.same("mul-by-two", 0, 7, 2**31 - 1)


class Optimising(unittest.TestCase):
    def test_what_is_known_is_computed(self):
        self.assertEqual(optimise(["push 2", "push 3", "add", "push 4", "mul"]), ["push 20"])
        self.assertEqual(optimise(["push -7", "push 3", "div"]), ["push -2"])

    def test_words_have_32_bits(self):
        self.assertEqual(optimise(["push 2147483647", "push 1", "add"]), ["push -2147483648"])

    def test_division_by_zero_is_left_for_the_machine_to_tell(self):
        self.assertEqual(optimise(["push 1", "push 0", "div"]), ["push 1", "push 0", "div"])

    def test_what_is_not_known_stays(self):
        self.assertEqual(optimise(["read", "push 3", "mul", "print"]), ["read", "push 3", "mul", "print"])
