"""A solver's model as a person reads it: one line for each constant, numbers as numbers. Pure."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise

from thrum.proof.smtlib import Token, Unreadable, plain_symbol, tokens

Node = str | tuple["Node", ...]
"""An expression: a token's text, or what stands between two parentheses."""

_MOST_CHARS = 200
"""What is shown of one value."""
_MOST_DIGITS = 300
_MOST_ENTRIES = 12
"""What is shown of an array's or a function's entries."""
_NESTING = 4
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")
_BITS = re.compile(r"#x[0-9A-Fa-f]+|#b[01]+")
_FLOATS = {(5, 10): ("H", "e"), (8, 23): ("I", "f"), (11, 52): ("Q", "d")}


def model_lines(model: str, declared: Sequence[str], most: int = 40) -> tuple[str, ...]:
    """`name = value` for each of the declared names that the model tells of, in their order, at most `most` lines.

    What the solver made up itself is left out. A model that cannot be read is shown as it is.
    """
    try:
        found = dict(_definitions(model))
    except Unreadable:
        lines = [line.strip() for line in model.split("\n") if line.strip()]
    else:
        lines = [f"{name} = {found[name]}" for name in declared if name in found]
    lines = [_clipped(line, 2 * _MOST_CHARS) for line in lines]
    rest = len(lines) - most
    return tuple(lines) if rest <= 0 else (*lines[:most], f"and {rest} more")


def value(node: Node, depth: int = 0) -> str:
    """The value as a person writes it: integers and fractions, `255 (0xff, 8 bits)`, `{1: 2, else: 0}`."""
    number = _number(node)
    if number is not None:
        return str(number)
    match node:
        case str() if _BITS.fullmatch(node):
            return _bit_vector(node)
        case str():
            return _clipped(plain_symbol(node))
        case ("_", ("NaN" | "+oo" | "-oo" | "+zero" | "-zero") as name, str(), str()):
            return str(name).replace("zero", "0")
        case ("_", str(text), str(width)) if re.fullmatch(r"bv[0-9]{1,80}", text) and _NUMBER.fullmatch(width):
            return f"{text[2:]} ({int(text[2:]):#x}, {width} bits)"
        case ("fp", str(sign), str(exponent), str(significand)):
            return _floating(sign, exponent, significand)
        case (("as", "const", _), _) | ("store", _, _, _) if depth < _NESTING:
            return _array(node, depth)
    return _clipped(_flat(node))


def _definitions(model: str) -> Iterator[tuple[str, str]]:
    for top in _nodes(tokens(model)):
        for node in top if isinstance(top, tuple) else ():
            match node:
                case ("define-fun", str(name), (), _, body):
                    yield plain_symbol(name), value(body)
                case ("define-fun", str(name), tuple(parameters), _, body):
                    yield plain_symbol(name), _function(parameters, body)


def _nodes(stream: Iterator[Token]) -> list[Node]:
    """The expressions of a stream of tokens; what is open at its end is closed there."""
    levels: list[list[Node]] = [[]]
    for line, word in stream:
        if word == "(":
            levels.append([])
        elif word != ")":
            levels[-1].append(word)
        elif len(levels) == 1:
            raise Unreadable(line, "a parenthesis that was never opened")
        else:
            closed = tuple(levels.pop())
            levels[-1].append(closed)
    while len(levels) > 1:
        closed = tuple(levels.pop())
        levels[-1].append(closed)
    return levels[0]


def _number(node: Node) -> Fraction | None:
    match node:
        case str() if len(node) <= _MOST_DIGITS and _NUMBER.fullmatch(node):
            return Fraction(node)
        case ("-", str(inner)):
            number = _number(inner)
            return None if number is None else -number
        case ("-", ("/", above, below)):
            number = _number(("/", above, below))
            return None if number is None else -number
        case ("/", (str() | ("-", str())) as above, str(below)):
            dividend, divisor = _number(above), _number(below)
            return dividend / divisor if dividend is not None and divisor else None
    return None


def _bit_vector(text: str) -> str:
    width = (len(text) - 2) * (4 if text.startswith("#x") else 1)
    if width > 512:
        return f"{_clipped(text)} ({width} bits)"
    number = int(text[2:], 16 if text.startswith("#x") else 2)
    return f"{number} (0x{number:0{(width + 3) // 4}x}, {width} bits)"


def _floating(sign: str, exponent: str, significand: str) -> str:
    bits = [_binary(part) for part in (sign, exponent, significand)]
    formats = _FLOATS.get((len(bits[1]), len(bits[2])))
    if formats is None or len(bits[0]) != 1:
        return _clipped(f"(fp {sign} {exponent} {significand})")
    number = struct.unpack(f">{formats[1]}", struct.pack(f">{formats[0]}", int("".join(bits), 2)))[0]
    return repr(number)


def _binary(text: str) -> str:
    if text.startswith("#x"):
        return "".join(f"{int(digit, 16):04b}" for digit in text[2:])
    return text[2:] if text.startswith("#b") else ""


def _array(node: Node, depth: int) -> str:
    """A chain of stores on a constant array, the entry that was stored last winning."""
    entries: dict[str, str] = {}
    while isinstance(node, tuple) and len(node) == 4 and node[0] == "store" and len(entries) < 1000:
        _, below, key, stored = node
        entries.setdefault(value(key, depth + 1), value(stored, depth + 1))
        node = below
    match node:
        case (("as", "const", _), other):
            last = f"else: {value(other, depth + 1)}"
        case _:
            last = f"else: as {_clipped(_flat(node))}"
    shown = [f"{key}: {stored}" for key, stored in reversed(entries.items())]
    return "{" + ", ".join([*_few(shown), last]) + "}"


def _function(parameters: tuple[Node, ...], body: Node) -> str:
    """A chain of `ite` on the parameters as the entries of a table; anything else as it is."""
    names = [one[0] if isinstance(one, tuple) and one else one for one in parameters]
    entries: list[str] = []
    node = body
    while True:
        match node:
            case ("ite", condition, then, other) if (given := _given(names, condition)) is not None:
                entries.append(f"({', '.join(given)}): {value(then)}")
                node = other
            case ("ite", *_):
                return _clipped(_flat(body))
            case _:
                return "{" + ", ".join([*_few(entries), f"else: {value(node)}"]) + "}"


def _given(names: Sequence[Node], condition: Node) -> list[str] | None:
    """The arguments that a condition is about, where it sets each parameter equal to a value."""
    parts = condition[1:] if isinstance(condition, tuple) and condition[:1] == ("and",) else (condition,)
    given: dict[Node, str] = {}
    for part in parts:
        match part:
            case ("=", str(name), wanted) if name in names:
                given[name] = value(wanted)
            case _:
                return None
    return [given.get(name, "_") for name in names]


def _few(entries: list[str]) -> list[str]:
    rest = len(entries) - _MOST_ENTRIES
    return entries if rest <= 0 else [*entries[:_MOST_ENTRIES], f"({rest} more)"]


def _flat(node: Node) -> str:
    """The expression in one line, no further than it can be shown."""
    words: list[str] = []
    length = 0
    todo: list[Node] = [node]
    while todo and length <= _MOST_CHARS:
        one = todo.pop()
        if isinstance(one, str):
            words.append(one)
            length += len(one) + 1
        else:
            todo += [")", *reversed(one), "("]
    text = words[0] if words else ""
    for before, after in pairwise(words):
        text += after if before == "(" or after == ")" else f" {after}"
    return text + ("..." if todo else "")


def _clipped(text: str, most: int = _MOST_CHARS) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[:most]}..."
