import subprocess
import sys
import unittest

from synth import Fault, compiled


def outcome(program, *numbers):
    """The compiled program's exit code and what it prints."""
    command = [sys.executable, "-c", compiled(program.split("; ")), *map(str, numbers)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return ran.returncode, ran.stdout.split() or ran.stderr.strip()


class Compiling(unittest.TestCase):
    def prints(self, program, *expected, given=()):
        self.assertEqual(outcome(program, *given), (0, [str(number) for number in expected]))

    def test_what_is_read_is_printed(self):
        self.prints("read; print; read; print", 7, -9, given=(7, -9))

    def test_words_change_their_places(self):
        self.prints("push 1; push 2; swap; print; print", 1, 2)
        self.prints("push 3; dup; print; push 4; drop; print", 3, 3)

    def test_words_are_computed(self):
        self.prints("push 20; push 3; add; print; push 20; push 3; sub; print", 23, 17)
        self.prints("push 65536; push 65536; mul; print", 0)
        self.prints("push -7; push 2; div; print; push -7; push 1; sar; print", -3, -4)
        self.prints("push 3; push 31; shl; print; push 1; push 32; shl; print", -2147483648, 0)

    def test_a_program_stops_where_it_cannot_go_on(self):
        self.assertEqual(outcome("push 1; push 0; div; print"), (1, "division by zero"))
        self.assertEqual(outcome("read; print"), (1, "nothing to read"))

    def test_what_cannot_be_compiled_is_told_with_its_line(self):
        for program, fault in (("push 1; jump", "line 2: jump: no such"), ("push 1; add", "line 2: add: too little")):
            with self.assertRaisesRegex(Fault, fault):
                compiled(program.split("; "))
