"""What test runners print when they ran no test: such a run did not pass, whatever its exit code says. Pure."""

from __future__ import annotations

import re

from thrum.prompt import plain_text


def _line(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(f"^{pattern}" for pattern in patterns), re.M | re.I)


# For each runner what it prints where it ran none (all skipped are none), and what where it ran one after all: a
# command may call it several times.
_RUNNERS = {
    "pytest": (
        _line(
            r"(?:=+ )?no tests ran\b",
            r"collected 0 items",
            r"(?:=+ )?\d+ (?:skipped|deselected)(?:, \d+ (?:deselected|warnings?))* in \d",
        ),
        _line(r".*\b[1-9]\d* (?:passed|failed|errors?|xfailed|xpassed)\b.* in \d"),
    ),
    "unittest": (
        _line(r"Ran 0 tests in ", r"Ran (?P<all>\d+) tests? in .*\n+OK \(skipped=(?P=all)\)"),
        _line(r"Ran (?P<all>[1-9]\d*) tests? in .*\n++(?!OK \(skipped=(?P=all)\))"),
    ),
    "cargo test": (_line(r"test result: "), _line(r"test result: .*\b[1-9]\d* (?:passed|failed|measured)\b")),
    "cargo-nextest": (
        _line(r"(?:error: |warning: )?no tests to run$"),
        _line(r".*\bSummary \[.*\b[1-9]\d* (?:passed|failed)\b"),
    ),
    "go test": (
        _line(r".*\[no test files\]", r".*\[no tests to run\]", r"testing: warning: no tests to run"),
        _line(r"ok\s+\S+\s+(?:\(cached\)|[\d.]+m?s)(?!.*\[no tests to run\])"),
    ),
    "node": (_line(r"[#ℹ] (?:tests|pass) 0$"), _line(r"[#ℹ] (?:pass|fail) [1-9]")),
    "jest": (
        _line(r"No tests found", r"Tests: +(?:\d+ (?:skipped|todo), )+\d+ total$"),
        _line(r"Tests:.*\b[1-9]\d* (?:passed|failed)\b"),
    ),
    "vitest": (
        _line(r"No test files found", r" *Tests +\d+ skipped \(\d+\)$"),
        _line(r" *Tests .*\b[1-9]\d* (?:passed|failed)\b"),
    ),
    "mocha": (_line(r" *0 passing \("), _line(r" *[1-9]\d* (?:passing|failing)\b")),
}


def ran_nothing(output: str) -> str:
    """Why the output of a test run shows that no test was executed; empty if it shows no such thing.

    Only runners that say so in a form of their own are known: pytest, unittest, cargo test and nextest, go test,
    node's runner, jest, vitest, mocha. Silence of any other runner proves nothing, and is not held against it.
    """
    text = plain_text(output)
    for runner, (none, some) in _RUNNERS.items():
        if none.search(text) and not some.search(text):
            return f"{runner} ran no test"
    return ""
