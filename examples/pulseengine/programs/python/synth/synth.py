"""Compile a program for the stack machine into an executable file.

    synth.py compile PROGRAM -o EXECUTABLE

The stack is gone by then: every word has a variable of its own. EXECUTABLE gets its numbers as arguments, and prints
one line for each `print`.
"""

import sys
from pathlib import Path

# The operations on two words, as expressions.
OPERATIONS = {
    "add": "{a} + {b}",
    "sub": "{a} - {b}",
    "mul": "{a} * {b}",
    "div": "divide({a}, {b})",
    "shl": "{a} << {b} if 0 <= {b} < 32 else 0",
    "sar": "{a} >> ({b} if 0 <= {b} < 32 else 31)",
}

START = """\
#!/usr/bin/env python3
import sys

numbers = [int(text) for text in sys.argv[1:]]


def word(number):
    return (number + 2**31) % 2**32 - 2**31


def divide(a, b):
    if b == 0:
        sys.exit("division by zero")
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def read():
    if not numbers:
        sys.exit("nothing to read")
    return numbers.pop(0)


"""


class Fault(Exception):
    """Why a program cannot be compiled."""


def compiled(program):
    """The text of the executable."""
    stack, lines = [], []
    for number, line in enumerate(program, 1):
        try:
            step(line, stack, lines)
        except IndexError:
            raise Fault(f"line {number}: {line}: too little on the stack") from None
        except KeyError:
            raise Fault(f"line {number}: {line}: no such instruction") from None
    return START + "".join(f"{line}\n" for line in lines)


def step(line, stack, lines):
    """Compile one instruction."""
    match line.split():
        case ["push", number]:
            define(f"word({int(number)})", stack, lines)
        case ["read"]:
            define("word(read())", stack, lines)
        case ["print"]:
            lines.append(f"print({stack.pop()})")
        case ["dup"]:
            stack.append(stack[-1])
        case ["swap"]:
            stack[-1], stack[-2] = stack[-2], stack[-1]
        case ["drop"]:
            stack.pop()
        case words:
            expression = OPERATIONS[" ".join(words)]
            b, a = stack.pop(), stack.pop()
            define(f"word({expression.format(a=a, b=b)})", stack, lines)


def define(expression, stack, lines):
    """Give a word a variable; each line defines at most one, so its number is a name."""
    name = f"w{len(lines)}"
    lines.append(f"{name} = {expression}")
    stack.append(name)


def main(argv):
    match argv:
        case ["compile", file, "-o", made]:
            try:
                text = compiled(Path(file).read_text().splitlines())
            except Fault as fault:
                print(f"synth: {fault}", file=sys.stderr)
                return 1
            Path(made).write_text(text)
            Path(made).chmod(0o755)
            return 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
