"""What a run lacked of the machine's: a program, or a module of Python, told from how it failed. Pure."""

from __future__ import annotations

import re
import sys
from itertools import pairwise

from thrum.checks import OF_THE_CHECKOUT, in_checkout, simple_commands
from thrum.gate import CheckResult, Command
from thrum.protection import RUNNERS

_NOT_RUN = re.compile(
    r"(?:^|[:\s])['‘\"]?(?P<name>[^\s:'’\"]+)['’\"]?: "
    r"(?:(?:command )?not found|No such file(?: or directory)?|Permission denied|cannot execute.*|Exec format error)$"
)
"""How a shell, env and their like say that a program could not be run."""
_SCRIPT_GONE = re.compile(r"(?:\S*/)?(?:ba|da|z|k)?sh: (?:[0-9]+: )?.*No such file")
"""How a shell says that the script it was given is not there: of programs on PATH it says that they are not found."""


def missing_tool(command: Command, result: CheckResult) -> str:
    """What program or module of the machine a run of the command lacked, by how it failed; empty where it is not that.

    A program of the checkout that is missing is none of the machine's, and no more is a module that is neither one of
    Python's own nor a known tool: it may be what a task is to make.
    """
    said = [line.strip() for line in result.tail.splitlines()]
    for simple in simple_commands(command):
        modules = (module for option, module in pairwise(simple) if option == "-m")
        for module in modules:
            top = module.partition(".")[0]
            if top not in RUNNERS and top not in sys.stdlib_module_names:
                continue
            missing = re.compile(rf"No module named '?{re.escape(top)}\b")
            if result.exit_code and any(map(missing.search, said)):
                return f"there is no module {module!r} for it"
    if result.exit_code not in (126, 127) or result.reason.endswith(OF_THE_CHECKOUT):
        return ""
    told = next((found for line in reversed(said) if (found := _NOT_RUN.search(line))), None)
    if told and (in_checkout(told["name"]) or _SCRIPT_GONE.match(told.string)):
        return ""
    return f"it ended with {result.exit_code}: {told[0] if told else (said or [result.reason])[-1]}"
