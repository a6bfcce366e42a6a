"""Run by the operator's own Python: turns the obligations of one Python file into SMT-LIB text.

`emitter.py NONCE` only says which z3 there is. `emitter.py NONCE SOURCE NAME ROOT` runs the text of SOURCE as if it
were the file NAME of the checkout ROOT, and calls its `obligations()`, which yields pairs of a name and a z3 formula.

It prints one frame: the line `NONCE LENGTH SHA256`, then LENGTH characters, base64 of deflated JSON, then a line end.
What the file prints goes to standard error, so it stands outside of the frame, or breaks it. A file that forges a
frame gains nothing that it could not yield. Needs the standard library and z3 alone, and nothing of Thrum.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import json
import os
import sys
import traceback
import types
import zlib
from typing import Any

TRACEBACK_CHARS = 8000


def emitted(z3: Any, source: str, name: str, root: str) -> dict[str, Any]:
    """`obligations`, each a name and its negation as a script that must be unsat; or `error`, what went wrong."""
    path = os.path.join(root, *name.split("/"))
    module = types.ModuleType("obligations_of_the_repository")
    module.__file__ = path
    sys.modules[module.__name__] = module
    sys.argv = [path]
    sys.path[:0] = [os.path.dirname(path), root]
    try:
        with open(source, "rb") as file:
            code = compile(file.read(), path, "exec")
        exec(code, module.__dict__)
        found = getattr(module, "obligations", None)
        if not callable(found):
            return {"error": "there is no function obligations()"}
        return {"obligations": [_script(z3, place, one) for place, one in enumerate(found(), 1)]}
    except BaseException as error:  # noqa: BLE001 - the file may end in any way, and each is told
        text = "".join(traceback.format_exception(type(error), error, _of_the_file(error.__traceback__)))
        return {"error": text[-TRACEBACK_CHARS:]}


def _of_the_file(trace: types.TracebackType | None) -> types.TracebackType | None:
    """The traceback without the part that is in here, where there is another."""
    inner = trace
    while inner is not None and inner.tb_frame.f_code.co_filename == __file__:
        inner = inner.tb_next
    return inner


def _script(z3: Any, place: int, one: Any) -> list[str]:
    if not (isinstance(one, tuple) and len(one) == 2 and isinstance(one[0], str) and one[0].strip()):
        raise TypeError(f"obligation {place} is no pair of a name and a z3 formula: {one!r:.200}")
    name, formula = one
    if not (isinstance(formula, z3.ExprRef) and z3.is_bool(formula)):
        # A bool of Python's is what comparing two numbers of Python's gives: nothing was stated.
        raise TypeError(f"obligation {name!r:.200} is no z3 formula, but of type {type(formula).__name__}")
    solver = z3.Solver(ctx=formula.ctx)
    solver.add(z3.Not(formula))
    return [name, f"(set-info :status unsat)\n{solver.sexpr()}\n(check-sat)\n"]


def main() -> None:
    """Print the frame on what was standard output in the beginning."""
    nonce, *told = sys.argv[1:]
    out = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    sys.dont_write_bytecode = True
    try:
        z3 = importlib.import_module("z3")
        answer = {"version": str(z3.get_version_string())}
    except (ImportError, AttributeError) as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    else:
        if told:
            # After z3, so that a file of the repository with this name is not taken for it.
            answer = emitted(z3, *told)
    text = base64.b64encode(zlib.compress(json.dumps(answer).encode("ascii")))
    sys.stderr.flush()
    frame = f"\n{nonce} {len(text)} {hashlib.sha256(text).hexdigest()}\n".encode() + text + b"\n"
    while frame:
        frame = frame[os.write(out, frame) :]


if __name__ == "__main__":
    main()
    # Not by way of the interpreter's end, which waits for whatever threads the file has left.
    os._exit(0)
