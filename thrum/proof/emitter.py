"""Run by the operator's own Python: turns the obligations of one Python file into SMT-LIB text.

`emitter.py NONCE` only says which z3 there is. `emitter.py NONCE SOURCE NAME ROOT` runs the text of SOURCE as if it
were the file NAME of the checkout ROOT, and calls its `obligations()`, which yields pairs of a name and a z3 formula.

It prints one frame: the line `NONCE LENGTH SHA256`, then LENGTH characters, base64 of deflated JSON, then a line end.
What the file prints goes to standard error, so it stands outside of the frame, or breaks it. Negating and writing out
are done by functions of z3's that were taken before the file, and what it imports, could put others in their place. Yet
it all runs in one process: code that is written to deceive can state another formula than it seems to, or find the
nonce and print a frame of its own. Needs the standard library and z3 alone, and nothing of Thrum.
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


class Writer:
    """Writes out what must be unsat for a formula to hold, by functions of z3's as they are when it is made."""

    def __init__(self, z3: Any) -> None:
        """`z3` is the module; of its low-level functions the names are those of its C interface."""
        self._formula = z3.ExprRef
        self._sort_kind, self._sort, self._bool = z3.Z3_get_sort_kind, z3.Z3_get_sort, z3.Z3_BOOL_SORT
        self._not, self._solver, self._keep = z3.Z3_mk_not, z3.Z3_mk_solver, z3.Z3_solver_inc_ref
        self._assert, self._text = z3.Z3_solver_assert, z3.Z3_solver_to_string
        self._let_go = z3.Z3_solver_dec_ref

    def script(self, place: int, one: Any) -> list[str]:
        """The name and the script of an obligation, the `place`th.

        Raises:
            TypeError: it is none.
        """
        if not (isinstance(one, tuple) and len(one) == 2 and isinstance(one[0], str) and one[0].strip()):
            raise TypeError(f"obligation {place} is no pair of a name and a z3 formula: {one!r:.200}")
        name, formula = one
        if not isinstance(formula, self._formula) or self._kind(formula) != self._bool:
            # A bool of Python's is what comparing two numbers of Python's gives: nothing was stated.
            raise TypeError(f"obligation {name!r:.200} is no z3 formula, but of type {type(formula).__name__}")
        context = formula.ctx.ctx
        solver = self._solver(context)
        self._keep(context, solver)
        self._assert(context, solver, self._not(context, formula.ast))
        text = self._text(context, solver)
        self._let_go(context, solver)
        return [name, f"(set-info :status unsat)\n{text}\n(check-sat)\n"]

    def _kind(self, formula: Any) -> Any:
        return self._sort_kind(formula.ctx.ctx, self._sort(formula.ctx.ctx, formula.ast))


def emitted(z3: Any, source: str, name: str, root: str) -> dict[str, Any]:
    """`obligations`, each a name and its negation as a script that must be unsat; or `error`, what went wrong."""
    writer = Writer(z3)
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
        return {"obligations": [writer.script(place, one) for place, one in enumerate(found(), 1)]}
    except BaseException as error:  # noqa: BLE001 - the file may end in any way, and each is told
        text = "".join(traceback.format_exception(type(error), error, _of_the_file(error.__traceback__)))
        return {"error": text[-TRACEBACK_CHARS:]}


def _of_the_file(trace: types.TracebackType | None) -> types.TracebackType | None:
    """The traceback without the part that is in here, where there is another."""
    inner = trace
    while inner is not None and inner.tb_frame.f_code.co_filename == __file__:
        inner = inner.tb_next
    return inner


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
