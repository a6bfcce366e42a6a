import unittest

from meld import Fault, fuse, parse, run

FIRST = "module first\nconst two 2\nread\npush two\nmul  # twice\n"
SECOND = "module second\npush three\nadd\nprint\nconst three 3\n"


class Fusing(unittest.TestCase):
    def test_the_code_of_two_modules_comes_one_after_the_other(self):
        self.assertEqual(fuse(parse(FIRST + SECOND)), ["read", "push 2", "mul", "push 3", "add", "print"])

    def test_a_name_may_be_that_of_another_module(self):
        other = "module other\nconst four 4\n"
        self.assertEqual(fuse(parse("module one\npush four\nprint\n" + other)), ["push 4", "print"])

    def test_a_name_that_nothing_has_is_a_fault(self):
        with self.assertRaisesRegex(Fault, "second: nothing is named three"):
            fuse(parse(FIRST + "module second\npush three\n"))

    def test_a_name_may_be_given_once(self):
        with self.assertRaisesRegex(Fault, "two is named a second time"):
            fuse(parse(FIRST + "module second\nconst two 3\n"))

    def test_what_is_no_instruction_is_told_with_its_line(self):
        for text in ("module a\njump\n", "module a\npush\n", "module a\nadd 1\n", "module a\nconst b c\n"):
            with self.assertRaisesRegex(Fault, "line 2: .*no such instruction"):
                parse(text)
        with self.assertRaisesRegex(Fault, "line 1: add: no module has begun"):
            parse("add\n")


class Running(unittest.TestCase):
    def test_a_fused_program_runs(self):
        self.assertEqual(run(fuse(parse(FIRST + SECOND)), [20]), [43])

    def test_words_have_32_bits(self):
        self.assertEqual(run(["push 2147483647", "push 1", "add", "print"], []), [-2147483648])

    def test_division_goes_towards_zero(self):
        self.assertEqual(run(["push -7", "push 2", "div", "print"], []), [-3])

    def test_a_program_stops_where_it_cannot_go_on(self):
        for program in (["add"], ["read"], ["push 1", "push 0", "div"]):
            with self.assertRaises(Fault):
                run(program, [])
