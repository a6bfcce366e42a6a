"""pytest, also quiet and under xdist, and unittest with those that print like it (Django's runner)."""

from __future__ import annotations

import re

from thrum.gate import Tally
from thrum.runners.tally import counted, together_if_any, told

_SECONDS = r"[0-9]+\.[0-9]+s(?: \([0-9:, a-z]+\))?"
PYTEST_ENDED = re.compile(rf"(?:=+ )?(no tests ran|[0-9]+ [0-9a-z, ]+?) in {_SECONDS}(?: =+)?")
_NAMES_BEGIN = re.compile(r"=+ short test summary info =+")
_NODE = re.compile(r"(?:FAILED|ERROR) (\S.*)")
UNITTEST_ENDED = re.compile(rf"Ran ([0-9]{{1,9}}) tests? in {_SECONDS}")
_RESULT = re.compile(r"(?:OK|FAILED|NO TESTS RAN)(?: \((.*)\))?")
_NUMBER = re.compile(r"[0-9]{1,9}")
_TITLE = re.compile(r"(?:FAIL|ERROR|UNEXPECTED SUCCESS): (.+)")
_RULE = "=" * 70


def read_pytest(lines: list[str]) -> Tally | None:
    """pytest: counts from the last line of each run, names from its short summary."""
    runs: list[Tally] = []
    names: list[str] = []
    listed = False
    for line in lines:
        if _NAMES_BEGIN.fullmatch(line):
            names, listed = [], True
        elif ended := PYTEST_ENDED.fullmatch(line):
            runs.append(_pytest_run(counted(ended[1]), names))
            names, listed = [], False
        elif name := _node_id(line, listed=listed):
            names.append(name)
    return together_if_any(runs)


def _pytest_run(counts: dict[str, int], names: list[str]) -> Tally:
    failed = sum(counts.get(word, 0) for word in ("failed", "error", "errors"))
    executed = sum(counts.get(word, 0) for word in ("passed", "xfailed", "xpassed"))
    return told(
        run=executed + failed,
        failed=failed,
        skipped=counts.get("skipped", 0),
        left_out=counts.get("deselected", 0),
        failing=names,
    )


def _node_id(line: str, *, listed: bool) -> str:
    """The node id in a line of the short summary; empty for another line.

    `listed`: the heading of the summary was seen. It may be cut off, and captured log lines look much the same, so
    without it only what has the form of a test's id is one.
    """
    if line.startswith("SUBFAIL") and "::" in line:
        # Before the id stands what the subtest calls itself, which may hold spaces.
        return _without_reason(line[line.rfind(" ", 0, line.index("::")) + 1 :])
    match = _NODE.fullmatch(line)
    if match is None or not (listed or "::" in match[1].split(" ", 1)[0]):
        return ""
    return _without_reason(match[1])


def _without_reason(text: str) -> str:
    """The node id of `ID - reason`; an id may hold ` - ` itself, between the brackets of its parameters."""
    plain, dash, _ = text.partition(" - ")
    if not dash or "[" not in plain:
        return plain
    parameters, bracket, _ = text.partition("] - ")
    if bracket:
        return f"{parameters}]"
    return text if text.endswith("]") else plain


def read_unittest(lines: list[str]) -> Tally | None:
    """unittest: counts from the lines that end each run, names from the headings of its reports."""
    runs: list[Tally] = []
    names: list[str] = []
    for number, line in enumerate(lines):
        if ran := UNITTEST_ENDED.fullmatch(line):
            runs.append(_unittest_run(int(ran[1]), _details(lines[number + 1 : number + 5]), names))
            names = []
        elif number and lines[number - 1] == _RULE and (title := _TITLE.fullmatch(line)):
            names.append(title[1])
    return together_if_any(runs)


def _details(lines: list[str]) -> dict[str, int]:
    """`failures=1, skipped=2` of the line that says how the run ended; some lines of others may stand before it."""
    result = next((match for line in lines if (match := _RESULT.fullmatch(line))), None)
    pairs = (part.partition("=") for part in (result[1] or "").split(", ")) if result else ()
    return {word: int(number) for word, _, number in pairs if _NUMBER.fullmatch(number)}


def _unittest_run(ran: int, details: dict[str, int], names: list[str]) -> Tally:
    # A failed subtest counts as a failure of its own, beside others of the same test.
    failed = sum(details.get(word, 0) for word in ("failures", "errors", "unexpected successes"))
    skipped = details.get("skipped", 0)
    return told(run=max(0, ran - skipped), failed=failed, skipped=skipped, failing=names)
