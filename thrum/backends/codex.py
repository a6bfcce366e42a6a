"""Codex, `codex exec --json`: one JSON object a line; `turn.completed` or `turn.failed` says how it went.

The session is in `thread.started`, the first line, which the end of a long output lacks: it is read where it is there,
and a run that went on with a session keeps its id. Usage is in `turn.completed`, summed over the whole session; there
is no cost. A refusal is a turn that completed without a message.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thrum.backends.preset import Preset, Reading, Trouble
from thrum.backends.wording import INTERRUPTED, count, ended_early, objects, string, table, trouble
from thrum.failures import Failure


def read(output: str, exit_code: int | None, files: Mapping[str, str]) -> Reading:
    """What its output says: the beginning for the session, and the end for all else."""
    said = objects(output)
    started = objects(output[:16384])
    threads = [found for line in (*started, *said) if (found := string(line.get("thread_id")))]
    items = [table(line.get("item")) for line in said if line.get("type") == "item.completed"]
    texts = [string(item.get("text")) for item in items if item.get("type") == "agent_message"]
    ended = next((line for line in reversed(said) if line.get("type") in ("turn.completed", "turn.failed")), None)
    usage = table(ended.get("usage")) if ended else {}
    return Reading(
        input_tokens=count(usage.get("input_tokens")) if usage else None,
        cached_tokens=count(usage.get("cached_input_tokens")) if usage else None,
        output_tokens=count(usage.get("output_tokens")) if usage else None,
        of_session=True,
        session=threads[-1] if threads else "",
        text=texts[-1] if texts else "",
        trouble=_trouble(ended, said, bool(items and texts), output, exit_code),
    )


def _trouble(
    ended: dict[str, Any] | None, said: list[dict[str, Any]], spoke: bool, output: str, exit_code: int | None
) -> Trouble | None:
    if ended is None:
        if "no rollout found for thread" in output[-4096:]:
            return Trouble(failure=Failure.SESSION_LOST, detail="it does not know the session any more")
        errors = [string(line.get("message")) for line in said if line.get("type") == "error"]
        if not errors or exit_code == 0:
            return ended_early(output, exit_code)
        # It waits for the network without end, and says so; whoever ends it then should know why.
        ended_by_us = exit_code is None or exit_code in INTERRUPTED
        return trouble(errors[-1], otherwise=Failure.INTERRUPTED if ended_by_us else Failure.CRASHED)
    if ended.get("type") == "turn.failed":
        return trouble(string(table(ended.get("error")).get("message")))
    if not spoke:
        return Trouble(failure=Failure.REFUSED, detail="the turn completed without a word")
    return None if exit_code == 0 else ended_early(output, exit_code)


_ALWAYS = (
    *("--json", "--dangerously-bypass-approvals-and-sandbox", "--skip-git-repo-check"),
    # What it fetches and tells beside the task: nothing.
    *("-c", "analytics.enabled=false", "-c", "check_for_update_on_startup=false"),
    *("--disable", "apps", "--disable", "plugins", "--disable", "remote_plugin"),
    # A provider of our own: the built-in one tries web sockets first, for seven seconds, and asks other hosts.
    *("-c", 'model_provider="thrum"', "-c", 'model_providers.thrum.name="OpenAI"'),
    *("-c", 'model_providers.thrum.wire_api="responses"', "-c", 'model_providers.thrum.env_key="CODEX_API_KEY"'),
    *("-c", 'model_providers.thrum.base_url="https://api.openai.com/v1"', "[base_url]", "[model]"),
)

PRESET = Preset(
    name="codex",
    program="codex",
    tried_with="0.169.0",
    args=("exec", *_ALWAYS, "-"),
    resume_args=("exec", "resume", *_ALWAYS, "{session}", "-"),
    options={
        "model": ("-m", "{model}"),
        "base_url": ("-c", 'model_providers.thrum.base_url="{base_url}/v1"'),
    },
    # It names the time of a reset in local time.
    env={"TZ": "UTC"},
    keys={"CODEX_API_KEY": "api.openai.com:443"},
    state_env="CODEX_HOME",
    same_directory=False,
    system_prompt_path="AGENTS.md",
    read=read,
)
