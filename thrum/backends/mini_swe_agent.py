"""mini-swe-agent, `mini`: plain text with the prompt in it, and beside it a trajectory, a JSON file that counts.

The trajectory begins with `info`: how it ended, its cost, and what it said at the end; the whole conversation follows,
so only its beginning is read. It is written after every step. A failure is the name of an exception there, and its
words are the last of the output. It exits with 0 also when its own limits ended it. It has no sessions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from thrum.backends.preset import Preset, Reading, Trouble
from thrum.backends.wording import ended_early, failure_of, money, one_line, string, table, trouble
from thrum.failures import Failure
from thrum.prompt import plain_text

TRAJECTORY = "trajectory.json"

_INFO = re.compile(r'\A\s*\{\s*"info":\s*')
_HEAD_CHARS = 1024 * 1024
_ENDINGS = {
    "LimitsExceeded": Failure.BUDGET,
    "TimeExceeded": Failure.TIMED_OUT,
    "RepeatedFormatError": Failure.PROTOCOL,
    "UserInterruption": Failure.INTERRUPTED,
    "KeyboardInterrupt": Failure.INTERRUPTED,
}
_EXCEPTION = re.compile(r"^(?:[\w.]+\.)?(\w+(?:Error|Exception|Timeout)): ((?:.+\n?)*)", re.MULTILINE)


def read(output: str, exit_code: int | None, files: Mapping[str, str]) -> Reading:
    """What the beginning of its trajectory says, and of a failure the end of its output."""
    info = _info(files.get(TRAJECTORY, ""))
    return Reading(
        cost_usd=money(table(info.get("model_stats")).get("instance_cost")),
        text=string(info.get("submission")),
        trouble=_trouble(string(info.get("exit_status")), output, exit_code),
    )


def _info(trajectory: str) -> dict[str, Any]:
    head = trajectory[:_HEAD_CHARS]
    found = _INFO.match(head)
    try:
        return table(json.JSONDecoder().raw_decode(head, found.end())[0]) if found else {}
    except (ValueError, RecursionError):
        return {}


def _trouble(ended: str, output: str, exit_code: int | None) -> Trouble | None:
    if exit_code is None or exit_code >= 128:
        return ended_early("", None)
    if ended == "Submitted":
        return None
    if ended in _ENDINGS:
        return Trouble(failure=_ENDINGS[ended], detail=ended)
    raised = list(_EXCEPTION.finditer(plain_text(output[-16384:])))
    words = one_line(f"{raised[-1][1]}: {raised[-1][2]}") if raised else ended
    if not words:
        return ended_early(output, exit_code)
    told = trouble(words)
    by_name = failure_of(ended)
    # The name of an exception says more than a word in its message, but these names stand for several causes.
    vague = (None, told.failure, Failure.RATE_LIMITED, Failure.OVERLOADED)
    return told if by_name in vague else Trouble(failure=by_name, detail=words)


PRESET = Preset(
    name="mini-swe-agent",
    program="mini",
    tried_with="2.4.6",
    args=(
        *("--yolo", "--exit-immediately", "--output", f"{{state}}/{TRAJECTORY}", "--cost-limit", "0"),
        *("[budget_usd]", "[model]", "--task={prompt}"),
    ),
    options={"model": ("--model", "{model}"), "budget_usd": ("--cost-limit", "{budget_usd}")},
    prompt_stdin=False,
    env={
        "MSWEA_CONFIGURED": "true",
        "MSWEA_SILENT_STARTUP": "1",
        "MSWEA_MODEL_RETRY_STOP_AFTER_ATTEMPT": "4",
        # A model without a known price would else end the run.
        "MSWEA_COST_TRACKING": "ignore_errors",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "COLUMNS": "200",
    },
    base_url_env={"ANTHROPIC_API_BASE": "{base_url}", "OPENAI_API_BASE": "{base_url}/v1"},
    keys={
        "ANTHROPIC_API_KEY": "api.anthropic.com:443",
        "OPENAI_API_KEY": "api.openai.com:443",
        "GEMINI_API_KEY": "generativelanguage.googleapis.com:443",
        "OPENROUTER_API_KEY": "openrouter.ai:443",
        "DEEPSEEK_API_KEY": "api.deepseek.com:443",
    },
    state_env="MSWEA_GLOBAL_CONFIG_DIR",
    reads_files=(TRAJECTORY,),
    version_args=("--help",),
    read=read,
)
