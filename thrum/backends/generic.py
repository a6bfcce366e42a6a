"""Any other program: what its backend's own keys say, and of its output the agreed forms alone.

A JSON object that is the whole output or its last line may hold `result`, `session_id` and `total_cost_usd`. Words are
not searched for causes: in plain text nobody knows who speaks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from thrum.backends.preset import Preset, Reading, Trouble
from thrum.backends.wording import END_CHARS, INTERRUPTED, last_line, moment, money, string, table
from thrum.failures import Failure


def read(output: str, exit_code: int | None, files: Mapping[str, str]) -> Reading:
    """What the end of its output says in the agreed forms."""
    end = output[-END_CHARS:]
    said = _object(end)
    text = string(said.get("result")) or end
    return Reading(
        cost_usd=money(said.get("total_cost_usd")),
        session=string(said.get("session_id")),
        text=text,
        trouble=_trouble(end, text, exit_code),
    )


def _trouble(end: str, text: str, exit_code: int | None) -> Trouble | None:
    if exit_code == 0:
        return None
    last = last_line(text)
    if "usage limit reached|" in last and (at := moment(last)) is not None:
        return Trouble(failure=Failure.QUOTA, detail=last, retry_at=at)
    if exit_code is None or exit_code in INTERRUPTED:
        return Trouble(failure=Failure.INTERRUPTED, detail=last)
    return Trouble(failure=Failure.NOT_FOUND if exit_code == 127 else Failure.CRASHED, detail=last_line(end))


def _object(end: str) -> dict[str, Any]:
    lines = end.strip().splitlines()
    for candidate in (end, lines[-1] if lines else ""):
        try:
            value = json.loads(candidate)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            return table(value)
    return {}


PRESET = Preset(
    name="generic",
    program="",
    tried_with="",
    # All of this stands in the backend's own keys.
    args=(),
    prompt_stdin=False,
    keys={},
    read=read,
)
