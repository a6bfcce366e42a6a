#!/usr/bin/env python3
"""A stand-in for a coding agent: no model, no key, no network.

Thrum calls it as it calls any other: in a work tree, with the path of a file that holds the prompt. What a model would
think of is written down beside this file, for Python and for Rust. Which of it is done is decided by the prompt and by
nothing else: the task's title, and the counterexample that a gate found.
"""

import re
import sys
from pathlib import Path
from types import ModuleType

import moves_python
import moves_rust
from editing import say

TASKS = {
    "Fuse any number of modules": "fuse_any_number",
    "Compile shr, the shift that brings in zeros": "compile_shr",
    "Divide by two with a shift": "divide_by_shifting",
}


def main(argv: list[str]) -> int:
    """Do what the prompt asks for; the exit code."""
    prompt = Path(argv[1]).read_text()
    before, found, history = prompt.partition("\n# What happened so far\n")
    title = re.search(r"^# Task \S+: (.+)$", before, re.MULTILINE)
    if title is None or title[1] not in TASKS:
        say(f"I do not know how to do this: {title[1] if title else 'this is no prompt of Thrum'}")
        return 1
    moves = moves_rust if Path("Cargo.toml").exists() else moves_python
    if found and "did not pass a gate" in history:
        return mend(moves, history)
    say(f"The task: {title[1]}")
    getattr(moves, TASKS[title[1]])()
    return 0


def mend(moves: ModuleType, history: str) -> int:
    """An attempt after a gate that failed: mend the rule that the counterexample is for, and keep it as a test."""
    rule = re.search(r"\bproofs/div-by-two\.smt2\b", history)
    value = re.search(r"counterexample:\s+x = \S+ \((?:0x|#x)([0-9a-f]{8})\b", history)
    if rule is None or value is None:
        say("I do not know how to mend this: there is no counterexample that I understand.")
        return 1
    word = (int(value[1], 16) + 2**31) % 2**32 - 2**31
    say(f"The gate says that the rule div-by-two is wrong for x = {word}.")
    moves.mend_division(word)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
