"""Aider, `aider --message-file`: plain text for people; `Tokens:` ends an answer, `litellm.…Error:` tells a failure.

It exits with 0 whatever happened, so the text counts. It has no sessions: the history of its chat lies in a file, which
a run that goes on with it reads again. Its cost is an estimate, and of a request that failed it is one too. The agent's
own words stand between these lines without a mark, so a line of that form that the model writes is believed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from thrum.backends.preset import Preset, Reading, Trouble
from thrum.backends.wording import END_CHARS, ended_early, money, one_line, trouble
from thrum.failures import Failure
from thrum.prompt import plain_text

SESSION = "chat-history"
"""What stands for the id of a session, as there is one for each task."""

_TOKENS = re.compile(
    r"^Tokens: ([\d.,]+[kM]?) sent,(?: ([\d.,]+[kM]?) cache write,)?(?: ([\d.,]+[kM]?) cache hit,)?"
    r" ([\d.,]+[kM]?) received\.(?: Cost: \$[\d.,]+ message,\s\$([\d.,]+)\s+session\.)?",
    re.MULTILINE,
)
_ERROR = re.compile(r"^litellm\.(\w+): .*(?:\n(?!\n|Retrying in|litellm\.).*){0,12}", re.MULTILINE)
_HEADER = re.compile(r"^Repo-map: .*$", re.MULTILINE)
_OVERFLOW = re.compile(r"^Model .* has hit a token limit!$", re.MULTILINE)
_UNITS = {"k": 1_000, "M": 1_000_000}


def read(output: str, exit_code: int | None, files: Mapping[str, str]) -> Reading:
    """What the end of its output says; tokens are summed over what is there of it."""
    text = plain_text(output[-END_CHARS:])
    answers = list(_TOKENS.finditer(text))
    costs = [cost for answer in answers if answer[5] and (cost := _number(answer[5])) is not None]
    return Reading(
        cost_usd=money(costs[-1]) if costs else None,
        input_tokens=sum(_tokens(answer[1]) for answer in answers) if answers else None,
        cached_tokens=sum(_tokens(answer[3]) for answer in answers) if answers else None,
        output_tokens=sum(_tokens(answer[4]) for answer in answers) if answers else None,
        session=SESSION if answers else "",
        text=_said(text, answers),
        trouble=_trouble(text, answers, exit_code),
    )


def _trouble(text: str, answers: list[re.Match[str]], exit_code: int | None) -> Trouble | None:
    answered = answers[-1].end() if answers else 0
    if over := _OVERFLOW.search(text, max(0, answered - 1)):
        return Trouble(failure=Failure.CONTEXT_OVERFLOW, detail=one_line(over[0]))
    errors = list(_ERROR.finditer(text, answered))
    if errors:
        return trouble(errors[-1][0])
    if not answers or exit_code != 0:
        # What it says of a host that it could not reach, before its model answered, is not why it ended.
        return ended_early(text[answered:], exit_code)
    return None


def _said(text: str, answers: list[re.Match[str]]) -> str:
    """What stands before the last account of tokens."""
    if not answers:
        return ""
    headers = [found.end() for found in _HEADER.finditer(text, 0, answers[-1].start())]
    begin = answers[-2].end() if len(answers) > 1 else headers[0] if headers else 0
    return text[begin : answers[-1].start()].strip()


def _number(text: str) -> float | None:
    try:
        return float(text.replace(",", ""))
    except ValueError:
        return None


def _tokens(text: str | None) -> int:
    unit = _UNITS.get((text or "0")[-1], 1)
    number = _number((text or "0").rstrip("kM"))
    return int(number * unit) if number is not None and number < 1e12 else 0


_ALWAYS = (
    *("--message-file", "{prompt_file}", "--yes-always", "--no-pretty", "--no-stream", "--no-fancy-input"),
    # What it writes, runs, fetches and tells beside the task: nothing.
    *("--no-auto-commits", "--no-dirty-commits", "--no-gitignore", "--no-suggest-shell-commands", "--no-detect-urls"),
    *("--no-check-update", "--no-show-release-notes", "--no-show-model-warnings", "--analytics-disable"),
    *("--chat-history-file", "{state}/chat.md", "--input-history-file", "/dev/null"),
    *("[model]", "[system_prompt]"),
)

PRESET = Preset(
    name="aider",
    program="aider",
    tried_with="0.86.2",
    args=_ALWAYS,
    resume_args=(*_ALWAYS, "--restore-chat-history"),
    options={"model": ("--model", "{model}"), "system_prompt": ("--read", "{state}/system-prompt.md")},
    runs_commands=False,
    prompt_stdin=False,
    # It writes a name of its own into the clone's settings unless git knows one.
    files={"git/config": "[user]\n\tname = aider\n\temail = aider@localhost\n"},
    # It breaks lines at the width of the terminal, and there is none.
    env={"COLUMNS": "1000", "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
    base_url_env={"ANTHROPIC_API_BASE": "{base_url}", "OPENAI_API_BASE": "{base_url}/v1"},
    keys={
        "ANTHROPIC_API_KEY": "api.anthropic.com:443",
        "OPENAI_API_KEY": "api.openai.com:443",
        "GEMINI_API_KEY": "generativelanguage.googleapis.com:443",
        "OPENROUTER_API_KEY": "openrouter.ai:443",
        "DEEPSEEK_API_KEY": "api.deepseek.com:443",
    },
    state_env="XDG_CONFIG_HOME",
    same_directory=False,
    leaves=(".aider*",),
    system_prompt_path="system-prompt.md",
    read=read,
)
