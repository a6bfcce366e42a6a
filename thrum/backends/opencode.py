"""OpenCode, `opencode run --format json`: one JSON object a line; `step_finish` ends a step, `error` is a failure.

Cost and tokens stand in each `step_finish` for that step alone, so all of the output counts, and is searched for these
lines. Every line names the session. It goes on by itself after some errors (it makes a conversation that is too long
shorter) and ends with 1 all the same, so what comes last counts, not the exit code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thrum.backends.preset import Preset, Reading, Trouble
from thrum.backends.wording import count, ended_early, money, objects, one_line, string, table, trouble
from thrum.failures import Failure

_ALL_CHARS = 64 * 1024 * 1024
_ERRORS = {
    "ProviderAuthError": Failure.AUTH,
    "ContextOverflowError": Failure.CONTEXT_OVERFLOW,
    "ContentFilterError": Failure.REFUSED,
    "MessageAbortedError": Failure.INTERRUPTED,
}


def read(output: str, exit_code: int | None, files: Mapping[str, str]) -> Reading:
    """What its output says; all of it, as there is no sum at its end."""
    steps = [
        table(line.get("part"))
        for line in objects(output, end_chars=_ALL_CHARS, naming=('"step_finish"',))
        if line.get("type") == "step_finish"
    ]
    said = objects(output)
    used = [table(step.get("tokens")) for step in steps]
    cached = sum(count(table(tokens.get("cache")).get("read")) for tokens in used)
    written = sum(count(table(tokens.get("cache")).get("write")) for tokens in used)
    texts = [string(table(line.get("part")).get("text")) for line in said if line.get("type") == "text"]
    return Reading(
        cost_usd=sum(money(step.get("cost")) or 0.0 for step in steps) if steps else None,
        input_tokens=sum(count(tokens.get("input")) for tokens in used) + cached + written if steps else None,
        cached_tokens=cached if steps else None,
        output_tokens=sum(count(tokens.get(key)) for tokens in used for key in ("output", "reasoning"))
        if steps
        else None,
        session=next((found for line in reversed(said) if (found := string(line.get("sessionID")))), ""),
        text=texts[-1] if texts else "",
        trouble=_trouble(said, output, exit_code),
    )


def _trouble(said: list[dict[str, Any]], output: str, exit_code: int | None) -> Trouble | None:
    last = next((line for line in reversed(said) if line.get("type") in ("step_finish", "error")), None)
    if exit_code is not None and last is not None and last.get("type") == "error":
        return _error(table(last.get("error")))
    if last is None and "Session not found" in output[-4096:]:
        return Trouble(failure=Failure.SESSION_LOST, detail="Session not found")
    reason = string(table(last.get("part")).get("reason")) if last else ""
    if exit_code is None or last is None or reason == "tool-calls":
        return ended_early(output, exit_code)
    match reason:
        case "stop":
            return None
        case "content-filter":
            return Trouble(failure=Failure.REFUSED, detail="the provider's filter stopped the answer")
        case "length":
            return Trouble(failure=Failure.BUDGET, detail="the answer passed the model's limit on its length")
    return Trouble(failure=Failure.PROTOCOL, detail=one_line(f"the last step ended with {reason!r}"))


def _error(error: dict[str, Any]) -> Trouble:
    data = table(error.get("data"))
    message = string(data.get("message")) or string(error.get("name"))
    if known := _ERRORS.get(string(error.get("name"))):
        return Trouble(failure=known, detail=one_line(message))
    told = trouble(f"{message} {string(data.get('responseBody'))}", count(data.get("statusCode")) or None)
    after = string(table(data.get("responseHeaders")).get("retry-after"))
    waits = told.failure in (Failure.RATE_LIMITED, Failure.QUOTA, Failure.OVERLOADED)
    return Trouble(
        failure=told.failure,
        detail=one_line(message),
        retry_at=told.retry_at,
        retry_after_s=float(after) if waits and after.isdecimal() and len(after) < 9 else told.retry_after_s,
    )


_COMMON = '"share":"disabled","autoupdate":false,"instructions":["{state}/system-prompt.md"]'
_PROVIDERS = (
    '"provider":{"anthropic":{"options":{"baseURL":"{base_url}/v1"}},"openai":{"options":{"baseURL":"{base_url}/v1"}},'
    '"google":{"options":{"baseURL":"{base_url}/v1beta"}}}'
)
# Its own title of a session would be one more request to a model.
_ALWAYS = ("run", "--format", "json", "--auto", "--title", "thrum", "[model]")

PRESET = Preset(
    name="opencode",
    program="opencode",
    tried_with="1.18.33",
    args=_ALWAYS,
    resume_args=(*_ALWAYS, "--session", "{session}"),
    options={"model": ("-m", "{model}")},
    env={
        "OPENCODE_CONFIG_CONTENT": f"{{{_COMMON}}}",
        "OPENCODE_DISABLE_AUTOUPDATE": "1",
        "OPENCODE_DISABLE_MODELS_FETCH": "1",
        "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
    },
    base_url_env={"OPENCODE_CONFIG_CONTENT": f"{{{_COMMON},{_PROVIDERS}}}"},
    keys={
        "ANTHROPIC_API_KEY": "api.anthropic.com:443",
        "OPENAI_API_KEY": "api.openai.com:443",
        "GEMINI_API_KEY": "generativelanguage.googleapis.com:443",
        "OPENROUTER_API_KEY": "openrouter.ai:443",
    },
    state_env="XDG_DATA_HOME",
    system_prompt_path="system-prompt.md",
    end_chars=_ALL_CHARS,
    read=read,
)
