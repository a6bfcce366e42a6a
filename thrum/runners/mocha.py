"""mocha, with the reporters that end in its list of failures (spec, dot, list, min)."""

from __future__ import annotations

import re

from thrum.gate import Tally
from thrum.runners.tally import together_if_any, told

_TOTAL = re.compile(r" *([0-9]{1,9}) (passing|pending|failing)(?: \([0-9.]+[a-z]+\))?")
_FIRST = re.compile(r"  [0-9]+\) (\S.*)")


def read_mocha(lines: list[str]) -> Tally | None:
    """mocha: counts from its totals, names from the list of failures below them, suites before tests."""
    found: list[dict[str, int]] = []
    names: list[str] = []
    failing = False
    for number, line in enumerate(lines):
        if total := _TOTAL.fullmatch(line):
            if total[2] == "passing":
                found.append({})
            if found:
                found[-1][total[2]] = int(total[1])
            failing = total[2] == "failing"
        elif failing and (first := _FIRST.fullmatch(line)):
            names.append(_title(first[1], lines, number + 1))
    runs = [told(run=counts["passing"], skipped=counts.get("pending", 0)) for counts in found]
    failed = sum(counts.get("failing", 0) for counts in found)
    return together_if_any([*runs, told(run=failed, failed=failed, failing=names)] if runs else [])


def _title(first: str, lines: list[str], number: int) -> str:
    """The whole title of an entry: each suite stands on a line of its own, two spaces further in."""
    parts = [first]
    while number < len(lines) and re.fullmatch(rf" {{{5 + 2 * len(parts)}}}\S.*", lines[number]):
        parts.append(lines[number].strip())
        number += 1
    return " ".join(parts).removesuffix(":")
