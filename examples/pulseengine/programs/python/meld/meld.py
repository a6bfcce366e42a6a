"""Fuse modules for the stack machine into one program: their code one after the other, all names resolved.

A module begins with `module NAME`. `const NAME NUMBER` names a number, for `push NAME` in any module of the same
program. Every other line is an instruction; `#` begins a comment. proofs/Fusion.v says what fusing means.

    meld.py fuse FILE... -o PROGRAM     the files hold the modules, in their order
    meld.py run PROGRAM NUMBER...       run a program; this is how the machine behaves
"""

import sys
from pathlib import Path

PLAIN = {"read", "print", "dup", "swap", "drop", "add", "sub", "mul", "div", "shl", "sar"}


class Fault(Exception):
    """What is wrong with a program, for the person who wrote it."""


class Module:
    """One module: the numbers that it names, and its instructions, whose names may be any module's."""

    def __init__(self, name):
        self.name = name
        self.numbers = {}
        self.code = []


def parse(text):
    """The modules in a text, in their order."""
    modules = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        match words:
            case []:
                pass
            case ["module", name]:
                modules.append(Module(name))
            case _ if not modules:
                raise Fault(f"line {number}: {line.strip()}: no module has begun")
            case ["const", name, value] if is_number(value):
                modules[-1].numbers[name] = value
            case ["push", _]:
                modules[-1].code.append(words)
            case [name] if name in PLAIN:
                modules[-1].code.append(words)
            case _:
                raise Fault(f"line {number}: {line.strip()}: no such instruction")
    return modules


def fuse(modules):
    """The program that two modules make together, as lines."""
    if len(modules) != 2:
        raise Fault(f"two modules can be fused, and there are {len(modules)}")
    first, second = modules
    names = resolve([first, second])
    return lines(first, names) + lines(second, names)


def resolve(modules):
    """What each name means; every name may be given once."""
    names = {}
    for module in modules:
        for name, value in module.numbers.items():
            if name in names:
                raise Fault(f"{module.name}: {name} is named a second time")
            names[name] = value
    return names


def lines(module, names):
    """The instructions of one module, with numbers in place of names."""
    found = []
    for words in module.code:
        if len(words) == 2 and not is_number(words[1]):
            if words[1] not in names:
                raise Fault(f"{module.name}: nothing is named {words[1]}")
            words = ["push", names[words[1]]]
        found.append(" ".join(words))
    return found


def is_number(text):
    return text.removeprefix("-").isdecimal()


def word(number):
    """The signed word of 32 bits that a number is cut down to."""
    return (number + 2**31) % 2**32 - 2**31


def run(program, inputs):
    """What a program prints."""
    stack, inputs, printed = [], list(inputs), []
    for line in program:
        name, _, argument = line.partition(" ")
        try:
            match name:
                case "push":
                    stack.append(word(int(argument)))
                case "read":
                    stack.append(word(inputs.pop(0)))
                case "print":
                    printed.append(stack.pop())
                case "dup":
                    stack.append(stack[-1])
                case "swap":
                    stack[-2:] = [stack[-1], stack[-2]]
                case "drop":
                    stack.pop()
                case _:
                    b, a = stack.pop(), stack.pop()
                    stack.append(word(operate(name, a, b)))
        except IndexError:
            raise Fault(f"{line}: too little on the stack, or nothing to read") from None
    return printed


def operate(name, a, b):
    """What an operation on two words makes of them."""
    match name:
        case "add":
            return a + b
        case "sub":
            return a - b
        case "mul":
            return a * b
        case "div" if b != 0:
            return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
        case "shl":
            return a << b if 0 <= b < 32 else 0
        case "sar":
            return a >> b if 0 <= b < 32 else a >> 31
    raise Fault(f"{name} of {a} and {b}: cannot be done")


def main(argv):
    try:
        match argv:
            case ["fuse", *files, "-o", made] if files:
                modules = [module for file in files for module in parse(Path(file).read_text())]
                Path(made).write_text("".join(f"{line}\n" for line in fuse(modules)))
            case ["run", file, *numbers] if all(map(is_number, numbers)):
                print(*run(Path(file).read_text().splitlines(), map(int, numbers)))
            case _:
                print(__doc__, file=sys.stderr)
                return 2
    except (Fault, OSError) as fault:
        print(f"meld: {fault}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
