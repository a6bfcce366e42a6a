"""Gemini CLI, `gemini --output-format stream-json`: one JSON object a line, of which the last of type `result` counts.

That object holds tokens, and an error's words; there is no cost. What the agent says comes in pieces, which belong
together until a tool is used. Some failures come as plain text alone, with an exit code of their own. When it ends it
does not wait until all of its output is read: after a result of many megabytes the rest is lost, in mid line.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from thrum.backends.preset import Preset, Reading, Trouble
from thrum.backends.wording import count, ended_early, objects, one_line, string, table, trouble
from thrum.failures import Failure

_CODES = {41: Failure.AUTH, 52: Failure.MISUSED, 53: Failure.BUDGET, 55: Failure.MISUSED}


def read(output: str, exit_code: int | None, files: Mapping[str, str]) -> Reading:
    """What its output says: the beginning for the session, and the end for all else."""
    said = objects(output)
    sessions = [found for line in (*objects(output[:16384]), *said) if (found := string(line.get("session_id")))]
    result = next((line for line in reversed(said) if line.get("type") == "result"), None)
    stats = table(result.get("stats")) if result else {}
    text = ""
    for line in said:
        if line.get("type") == "message" and line.get("role") == "assistant":
            text += string(line.get("content"))
        elif line.get("type") == "tool_use":
            text = ""
    return Reading(
        input_tokens=count(stats.get("input_tokens")) if stats else None,
        cached_tokens=count(stats.get("cached")) if stats else None,
        output_tokens=count(stats.get("output_tokens")) if stats else None,
        session=sessions[-1] if sessions else "",
        text=text,
        trouble=_trouble(result, said, bool(text), output, exit_code),
    )


def _trouble(
    result: dict[str, Any] | None, said: list[dict[str, Any]], spoke: bool, output: str, exit_code: int | None
) -> Trouble | None:
    if result is not None and result.get("status") == "success" and exit_code == 0:
        if spoke:
            return None
        return Trouble(failure=Failure.REFUSED, detail="it ended without a word")
    error = table(result.get("error")) if result else {}
    warned = [string(line.get("message")) for line in said if line.get("type") == "error"]
    message = string(error.get("message")) or (warned[-1] if warned and result is not None else "")
    if message:
        return trouble(message)
    if result is None and exit_code == 0 and _lost_its_end(output, said):
        return None
    early = ended_early(output, exit_code)
    if "Error resuming session" in output[-4096:]:
        return Trouble(failure=Failure.SESSION_LOST, detail=early.detail)
    if exit_code == 42:
        return Trouble(failure=Failure.MISUSED, detail=early.detail)
    if exit_code in _CODES:
        return Trouble(failure=_CODES[exit_code], detail=one_line(early.detail))
    return early


def _lost_its_end(output: str, said: list[dict[str, Any]]) -> bool:
    """Whether it ends in the middle of what a tool gave back."""
    whole = said or objects(output[:16384])
    return not output.endswith("\n") and bool(whole) and whole[-1].get("type") == "tool_use"


_SETTINGS = {
    "security": {"auth": {"selectedType": "gemini-api-key"}},
    "general": {"enableAutoUpdate": False, "enableAutoUpdateNotification": False, "maxAttempts": 3},
    "privacy": {"usageStatisticsEnabled": False},
    "telemetry": {"enabled": False},
}
_ALWAYS = ("--yolo", "--skip-trust", "--output-format", "stream-json", "[model]")

PRESET = Preset(
    name="gemini",
    program="gemini",
    tried_with="0.61.0",
    args=(*_ALWAYS, "[new_session]"),
    resume_args=(*_ALWAYS, "--resume", "{session}"),
    options={"model": ("--model", "{model}"), "new_session": ("--session-id", "{new_session}")},
    # It starts itself a second time to have more memory, unless told not to.
    env={"GEMINI_CLI_NO_RELAUNCH": "true"},
    base_url_env={"GOOGLE_GEMINI_BASE_URL": "{base_url}"},
    keys={"GEMINI_API_KEY": "generativelanguage.googleapis.com:443"},
    state_env="GEMINI_CLI_HOME",
    chooses_session=True,
    files={".gemini/settings.json": json.dumps(_SETTINGS, indent=1) + "\n"},
    system_prompt_path=".gemini/GEMINI.md",
    read=read,
)
