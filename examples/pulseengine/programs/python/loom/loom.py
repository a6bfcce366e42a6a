"""Optimise programs for the stack machine: fold constants, and put what is cheap in the place of what is not.

loom.py optimise PROGRAM -o PROGRAM
loom.py obligation RULE               what has to be proven of a rule, for proofs/RULE.smt2
"""

import sys
from pathlib import Path

# The operations on two words: what SMT-LIB calls them, and what they do to signed words.
OPERATIONS = {
    "add": ("bvadd", lambda a, b: a + b),
    "sub": ("bvsub", lambda a, b: a - b),
    "mul": ("bvmul", lambda a, b: a * b),
    "div": ("bvsdiv", lambda a, b: abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)),
    "shl": ("bvshl", lambda a, b: a << b if 0 <= b < 32 else 0),
    "sar": ("bvashr", lambda a, b: a >> b if 0 <= b < 32 else a >> 31),
}

# What may stand in the place of what. Each rule has its proof, for all words on top of the stack.
RULES = {
    "add-zero": ("push 0; add", ""),
    "mul-by-one": ("push 1; mul", ""),
    "mul-by-two": ("push 2; mul", "push 1; shl"),
}

OBLIGATION = """\
; {name}, for every word x on top of the stack: {before} | {after}
(set-logic QF_BV)
(set-info :status unsat)
(declare-const x (_ BitVec 32))
(assert (not (= {meant} {made})))
(check-sat)
"""


def optimise(program):
    """A program that prints the same, as lines."""
    made = []
    for line in program:
        made.append(line)
        while rewrite(made) or fold(made):
            pass
    return made


def rewrite(made):
    """Apply the first rule that fits the end of the program; whether one did."""
    for before, after in RULES.values():
        pattern = instructions(before)
        if made[-len(pattern) :] == pattern:
            made[-len(pattern) :] = instructions(after)
            return True
    return False


def fold(made):
    """Put a number in the place of an operation on two numbers that ends the program; whether there was one."""
    pushes = [line.split() for line in made[-3:-1]]
    if len(pushes) < 2 or any(words[0] != "push" for words in pushes) or made[-1] not in OPERATIONS:
        return False
    a, b = (word(int(words[1])) for words in pushes)
    if made[-1] == "div" and b == 0:
        return False
    made[-3:] = [f"push {word(OPERATIONS[made[-1]][1](a, b))}"]
    return True


def instructions(text):
    return [line.strip() for line in text.split(";") if line.strip()]


def word(number):
    """The signed word of 32 bits that a number is cut down to."""
    return (number + 2**31) % 2**32 - 2**31


def result(code, x):
    """What a piece of code leaves in the place of the word x."""
    return left(code, x, word, lambda name, a, b: word(OPERATIONS[name][1](a, b)))


def obligation(name):
    """The text of a rule's proof obligation: that no word tells its two sides apart."""
    before, after = RULES[name]
    meant, made = (left(code, "x", literal, term) for code in (before, after))
    return OBLIGATION.format(name=name, before=before, after=after or "nothing", meant=meant, made=made)


def literal(number):
    return f"#x{number % 2**32:08x}"


def term(name, a, b):
    return f"({OPERATIONS[name][0]} {a} {b})"


def left(code, x, number, operate):
    """What a piece of code leaves on a stack with x, in terms of `number` and `operate`."""
    stack = [x]
    for line in instructions(code):
        match line.split():
            case ["push", value]:
                stack.append(number(int(value)))
            case ["dup"]:
                stack.append(stack[-1])
            case [name]:
                b, a = stack.pop(), stack.pop()
                stack.append(operate(name, a, b))
    (top,) = stack
    return top


def main(argv):
    match argv:
        case ["optimise", file, "-o", made]:
            program = optimise(Path(file).read_text().splitlines())
            Path(made).write_text("".join(f"{line}\n" for line in program))
        case ["obligation", name] if name in RULES:
            print(obligation(name), end="")
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
