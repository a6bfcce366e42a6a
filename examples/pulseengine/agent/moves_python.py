"""What a model would have thought of, for the programs in Python."""

from editing import edit
from proofs import PLAIN, ROUNDED, oblige_division, prove_any_number

TWO = """\
    \"""The program that two modules make together, as lines.\"""
    if len(modules) != 2:
        raise Fault(f"two modules can be fused, and there are {len(modules)}")
    first, second = modules
    names = resolve([first, second])
    return lines(first, names) + lines(second, names)
"""
ANY_NUMBER = """\
    \"""The program that the modules make together, as lines.\"""
    names = resolve(modules)
    return [line for module in modules for line in lines(module, names)]
"""


def fuse_any_number() -> None:
    edit("meld.py", (TWO, ANY_NUMBER))
    here = "    def test_a_name_may_be_that_of_another_module(self):\n"
    edit(
        "tests/test_meld.py",
        (
            here,
            "    def test_any_number_of_modules_can_be_fused(self):\n"
            '        third = "module third\\nread\\npush two\\nmul\\nprint\\n"\n'
            "        fused = fuse(parse(FIRST + SECOND + third))\n"
            "        self.assertEqual(run(fused, [20, 4]), [43, 8])\n"
            "        self.assertEqual(fuse([]), [])\n\n" + here,
        ),
    )
    prove_any_number()


def compile_shr() -> None:
    here = '    "sar": "{a} >> ({b} if 0 <= {b} < 32 else 31)",\n'
    edit("synth.py", (here, here + '    "shr": "{a} % 2**32 >> {b} if 0 <= {b} < 32 else 0",\n'))
    here = "    def test_a_program_stops_where_it_cannot_go_on(self):\n"
    edit(
        "tests/test_synth.py",
        (
            here,
            "    def test_shr_brings_in_zeros(self):\n"
            '        self.prints("push -1; push 31; shr; print; push 8; push 1; shr; print", 1, 4)\n'
            '        self.prints("push -1; push 0; shr; print; push -1; push 32; shr; print", -1, 0)\n\n' + here,
        ),
    )


RULE = '    "div-by-two": ("push 2; div", "{}"),\n'


def divide_by_shifting() -> None:
    """The obvious way, which is wrong for words that are negative and odd."""
    here = '    "mul-by-two": ("push 2; mul", "push 1; shl"),\n'
    edit("loom.py", (here, here + RULE.format(PLAIN)))
    oblige_division(PLAIN)
    here = '        self.same("mul-by-two", 0, 7, 2**31 - 1)\n'
    edit(
        "tests/test_loom.py",
        (
            here,
            here + '\n    def test_half_is_a_shift(self):\n        self.same("div-by-two", 0, 7, 8, 2**31 - 1)\n',
        ),
    )


def mend_division(word: int) -> None:
    """Round towards zero, and test what the solver found."""
    here = '    "sar": ("bvashr", lambda a, b: a >> b if 0 <= b < 32 else a >> 31),\n'
    shr = '    "shr": ("bvlshr", lambda a, b: a % 2**32 >> b if 0 <= b < 32 else 0),\n'
    edit("loom.py", (here, here + shr), (RULE.format(PLAIN), RULE.format(ROUNDED)))
    oblige_division(ROUNDED)
    edit("tests/test_loom.py", ('"div-by-two", 0, 7, 8, 2**31 - 1)', f'"div-by-two", 0, 7, 8, 2**31 - 1, {word})'))
