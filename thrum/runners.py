"""What test runners print when they ran no test: such a run did not pass, whatever its exit code says. Pure."""

from __future__ import annotations

import re

_ANY = re.M | re.I
_NOTHING = {
    "pytest": re.compile(r"^=+ no tests ran|^collected 0 items|^no tests ran in ", _ANY),
    "unittest": re.compile(r"^Ran 0 tests in ", _ANY),
    "node": re.compile(r"^(?:#|ℹ) tests 0$", _ANY),
    "jest": re.compile(r"^No tests found", _ANY),
    "cargo-nextest": re.compile(r"no tests to run$", _ANY),
}
_CARGO = re.compile(r"^running (\d+) tests?$", re.M)
_GO_EMPTY = re.compile(r"\[no test files\]|\[no tests to run\]|^testing: warning: no tests to run", re.M)
_GO_RAN = re.compile(r"^ok\s+\S+\s+(?:\(cached\)|[\d.]+m?s)(?!.*\[no tests to run\])", re.M)


def ran_nothing(output: str) -> str:
    """Why the output of a test run shows that no test was executed; empty if it shows no such thing.

    Only runners that say so in a form of their own are known: pytest, unittest, cargo test and nextest, go test,
    node's runner, jest. Silence of any other runner proves nothing, and is not held against it.
    """
    for runner, pattern in _NOTHING.items():
        if pattern.search(output):
            return f"{runner} ran no test"
    cargo = [int(count) for count in _CARGO.findall(output)]
    if cargo and not any(cargo):
        return "cargo test ran no test"
    if _GO_EMPTY.search(output) and not _GO_RAN.search(output):
        return "go test ran no test"
    return ""
