"""Claude Code, `claude -p`: one JSON object a line, of which the last of type `result` says how it went.

That object holds the whole final text, cost and usage, and `subtype` says success even of an error of the API, so
`is_error` counts. Of a session that is gone on with, cost and usage are those of this run alone in older versions, and
of the whole session since 2.1.277; what a run had cost that was killed is in neither. A limit of a subscription is told
beforehand, in a `rate_limit_event` with its reset. Every line names the session. It ends with 0 and a result of success
after SIGTERM while a tool runs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from thrum.backends.preset import Preset, Reading, Trouble
from thrum.backends.wording import count, ended_early, money, objects, one_line, string, table, trouble
from thrum.failures import Failure

_VERSION = re.compile(r'"claude_code_version":"(\d{1,6})\.(\d{1,6})\.(\d{1,6})')
_SUMMED_SINCE = (2, 1, 277)
_SUBTYPES = {"error_max_budget_usd": Failure.BUDGET, "error_max_turns": Failure.BUDGET}


def read(output: str, exit_code: int | None, files: Mapping[str, str]) -> Reading:
    """What the end of its output says: the last line whole, and those that lead to it."""
    said = objects(output)
    session = next((found for line in reversed(said) if (found := string(line.get("session_id")))), "")
    result = next((line for line in reversed(said) if line.get("type") == "result"), None)
    if result is None:
        return Reading(session=session, trouble=ended_early(output, exit_code))
    used = [table(model) for model in table(result.get("modelUsage")).values()]
    cached = sum(count(model.get("cacheReadInputTokens")) for model in used)
    fed = sum(count(model.get(key)) for model in used for key in ("inputTokens", "cacheCreationInputTokens"))
    return Reading(
        cost_usd=money(result.get("total_cost_usd")),
        input_tokens=fed + cached,
        cached_tokens=cached,
        output_tokens=sum(count(model.get("outputTokens")) for model in used),
        of_session=_sums_up(output),
        session=session,
        text=string(result.get("result")),
        trouble=_trouble(result, said, exit_code),
    )


def _sums_up(output: str) -> bool:
    """Whether it counts over the whole session, by the version that it names at its beginning; a new one where none
    is found there."""
    version = _VERSION.search(output[:16384])
    return version is None or tuple(int(part) for part in version.groups()) >= _SUMMED_SINCE


def _trouble(result: dict[str, Any], said: list[dict[str, Any]], exit_code: int | None) -> Trouble | None:
    errors = result.get("errors")
    told = [string(result.get("result")), *map(string, errors if isinstance(errors, list) else ())]
    message = "; ".join(filter(None, told))
    subtype = string(result.get("subtype"))
    if result.get("is_error") is not True and subtype == "success":
        if exit_code == 0:
            return None
        return Trouble(failure=Failure.INTERRUPTED if exit_code is None else Failure.CRASHED, detail=one_line(message))
    if subtype in _SUBTYPES:
        return Trouble(failure=_SUBTYPES[subtype], detail=one_line(message))
    if message.startswith("No conversation found"):
        return Trouble(failure=Failure.SESSION_LOST, detail=one_line(message))
    if result.get("terminal_reason") == "prompt_too_long":
        return Trouble(failure=Failure.CONTEXT_OVERFLOW, detail=one_line(message))
    if result.get("stop_reason") == "refusal":
        return Trouble(failure=Failure.REFUSED, detail=one_line(message))
    status = count(result.get("api_error_status")) or None
    limits = [table(line.get("rate_limit_info")) for line in said if line.get("type") == "rate_limit_event"]
    if limits and limits[-1].get("status") == "rejected" and status in (None, 429):
        resets_at = count(limits[-1].get("resetsAt"))
        return Trouble(failure=Failure.QUOTA, detail=one_line(message), retry_at=float(resets_at) or None)
    return trouble(message, status)


_OPTIONS = ("[model]", "[budget_usd]", "[system_prompt]")
_ALWAYS = ("-p", "--output-format", "stream-json", "--verbose", "--dangerously-skip-permissions", *_OPTIONS)

PRESET = Preset(
    name="claude-code",
    program="claude",
    tried_with="2.1.197",
    args=(*_ALWAYS, "[new_session]"),
    resume_args=(*_ALWAYS, "--resume", "{session}"),
    options={
        "model": ("--model", "{model}"),
        "budget_usd": ("--max-budget-usd", "{budget_usd}"),
        "system_prompt": ("--append-system-prompt-file", "{state}/system-prompt.md"),
        "new_session": ("--session-id", "{new_session}"),
    },
    env={
        # As root it refuses to skip permissions unless it is told that a sandbox holds it.
        "IS_SANDBOX": "1",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_MAX_RETRIES": "4",
        "DISABLE_AUTOUPDATER": "1",
    },
    base_url_env={"ANTHROPIC_BASE_URL": "{base_url}"},
    keys=dict.fromkeys(
        ("ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN", "ANTHROPIC_AUTH_TOKEN"), "api.anthropic.com:443"
    ),
    state_env="CLAUDE_CONFIG_DIR",
    chooses_session=True,
    system_prompt_path="system-prompt.md",
    read=read,
)
