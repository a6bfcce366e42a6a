"""Rocq's compiler and checker, as they are found where a workbench runs programs."""

from __future__ import annotations

import posixpath

from thrum.gate import ROCQ_CHECKERS, ROCQ_COMPILERS
from thrum.job import Ending, Outcome
from thrum.proof import Workbench

_LOG_BYTES = 1024 * 1024
_TRIAL_S = 60.0
_TRIAL = "thrum_trial.v"


class CannotRun(Exception):
    """Something of the operator's is missing, or does not work."""


class Tools:
    """The programs, their runs, and a log of these."""

    compiler: tuple[str, ...] = ()
    checker: tuple[str, ...] = ()
    exit_code: int | None = None
    """That of the first run on the repository's files that failed with one."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench
        self._log: list[str] = []

    def find(self) -> None:
        which = self._bench.which
        compiler = next((command for command in ROCQ_COMPILERS if which(command[0])), None)
        checker = next((command for command in ROCQ_CHECKERS if which(command[0])), None)
        if compiler is None:
            raise CannotRun("there is no Rocq compiler: neither coqc nor rocq is on PATH")
        if checker is None:
            raise CannotRun("there is no Rocq checker: neither coqchk nor rocqchk is on PATH")
        self.compiler, self.checker = compiler, checker

    def try_out(self) -> None:
        """Compile a file of ours: where that does not work, it is no fault of the repository's.

        Raises:
            CannotRun: it does not work.
        """
        path = self._bench.put(_TRIAL, b"Goal True. idtac. Abort.\n")
        argv = ("-q", "-noglob", "-o", posixpath.basename(path) + "o", path)
        outcome = self.run((*self.compiler, *argv), _TRIAL_S)
        if not outcome.ok and "ocamlfind.conf" in outcome.tail:
            # Debian's compiler wants a file of /etc, which a sandbox need not show. It only says where plugins are.
            where = self.run((self.compiler[0], "-where"), _TRIAL_S)
            library = posixpath.dirname(where.tail.strip())
            settings = f'destdir="{library}"\npath="{library}"\n'
            env = ("env", f"OCAMLFIND_CONF={self._bench.put('thrum_findlib.conf', settings.encode())}")
            self.compiler, self.checker = (*env, *self.compiler), (*env, *self.checker)
            outcome = self.run((*self.compiler, *argv), _TRIAL_S)
        if not outcome.ok:
            lines = outcome.tail.strip().splitlines() or [outcome.reason]
            raise CannotRun(f"{' '.join(self.compiler)} compiles nothing here: {lines[-1]}")
        self.exit_code = None

    def in_library(self, name: str) -> bool:
        """Whether a module of that name is there without the repository's own, of which nothing is compiled yet."""
        path = self._bench.put(_TRIAL, f"Require {name}.\n".encode())
        argv = (*self.compiler, "-q", "-noglob", "-o", f"{posixpath.basename(path)}o", path)
        found = self.run(argv, _TRIAL_S).ok
        self.exit_code = None
        return found

    def run(self, argv: tuple[str, ...], timeout_s: float) -> Outcome:
        outcome = self._bench.run(argv, timeout_s)
        self._log.append(f"$ {' '.join(argv)}\n{outcome.tail}")
        self._log.append("" if outcome.tail.endswith("\n") or not outcome.tail else "\n")
        if outcome.reason:
            self._log.append(f"[{outcome.reason}]\n")
        if outcome.ending in (Ending.NOT_FOUND, Ending.NOT_STARTED, Ending.STOPPED):
            raise CannotRun(f"{argv[0]}: {outcome.reason or outcome.ending}")
        if not outcome.ok and self.exit_code is None:
            self.exit_code = outcome.exit_code
        return outcome

    def note(self, text: str) -> None:
        """Add to the log what a run is about to get."""
        self._log.append(text)

    def log(self) -> str:
        """All runs with their output; of more than a mebibyte the middle is left out."""
        whole = "".join(self._log).encode()
        if len(whole) > _LOG_BYTES:
            half = _LOG_BYTES // 2 - 100
            whole = whole[:half] + b"\n[...]\n" + whole[-half:]
        return whole.decode(errors="ignore")
