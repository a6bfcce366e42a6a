"""node's own runner (`node --test`), with its spec and its tap reporter."""

from __future__ import annotations

import re
from itertools import pairwise

from thrum.gate import Tally
from thrum.runners.tally import together_if_any, told

_TOTAL = re.compile(r"[#ℹ] (tests|suites|pass|fail|cancelled|skipped|todo) ([0-9]{1,9})")
_PLACE = re.compile(r"test at .+:[0-9]+:[0-9]+")
_SPEC = re.compile(r"✖ (.+) \([0-9.]+ms\)( # (?:TODO|SKIP).*)?")
_TAP = re.compile(r" *not ok [0-9]+ - (.*)")
_DIRECTIVE = re.compile(r"(?<!\\) # (?:TODO|SKIP)\b", re.I)


def read_node(lines: list[str]) -> Tally | None:
    """node's runner: counts from the totals of each run, names from the reports of what failed.

    The spec reporter prints its totals before the failures: where a long list has cut them off, the failures that
    are left are counted.
    """
    runs = [_run(totals) for totals in _totals(lines)]
    spec = [name for place, line in pairwise(lines) if (name := _spec_name(place, line))]
    if not runs:
        return told(run=0, failed=len(spec), failing=spec) if spec else None
    return together_if_any([*runs, told(run=0, failing=[*spec, *_tap_names(lines)])])


def _totals(lines: list[str]) -> list[dict[str, int]]:
    """The totals of each run: `tests` begins them."""
    found: list[dict[str, int]] = []
    for line in lines:
        if total := _TOTAL.fullmatch(line):
            if total[1] == "tests":
                found.append({})
            if found:
                found[-1][total[1]] = int(total[2])
    return [totals for totals in found if "pass" in totals]


def _run(totals: dict[str, int]) -> Tally:
    failed = totals.get("fail", 0) + totals.get("cancelled", 0)
    skipped = totals.get("skipped", 0) + totals.get("todo", 0)
    return told(run=totals["pass"] + failed, failed=failed, skipped=skipped)


def _spec_name(place: str, line: str) -> str:
    entry = _SPEC.fullmatch(line) if _PLACE.fullmatch(place) else None
    return entry[1] if entry and not entry[2] else ""


def _tap_names(lines: list[str]) -> list[str]:
    """The tests that are `not ok`. A suite is so because of its tests; what is yet to do is expected to be."""
    names = []
    for number, line in enumerate(lines):
        point = _TAP.fullmatch(line)
        if point is None or _DIRECTIVE.search(point[1]):
            continue
        if "type: 'suite'" not in [line.strip() for line in lines[number + 1 : number + 4]]:
            names.append(re.sub(r"\\([\\#])", r"\1", point[1]))
    return names
