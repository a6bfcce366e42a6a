"""What all readers share: JSON lines from the end of an output, numbers that can be trusted, and what errors mean."""

from __future__ import annotations

import calendar
import json
import re
from typing import Any

from thrum.backends.preset import Trouble
from thrum.failures import Failure
from thrum.prompt import plain_text
from thrum.records import well_formed

END_CHARS = 256 * 1024
"""How much of an output's end is looked at; what is needed of a program's output lies within it."""
INTERRUPTED = frozenset({129, 130, 137, 143})
"""Exit codes of a shell, or of a program that catches signals, after SIGHUP, SIGINT, SIGKILL and SIGTERM."""

_DETAIL_CHARS = 400
_STATUSES = {
    401: Failure.AUTH,
    403: Failure.AUTH,
    402: Failure.QUOTA,
    404: Failure.UNKNOWN_MODEL,
    408: Failure.OVERLOADED,
    413: Failure.CONTEXT_OVERFLOW,
    429: Failure.RATE_LIMITED,
}
# The order matters: what names a cause stands before what only names a kind.
_WORDS = {
    Failure.CONTEXT_OVERFLOW: (
        *("prompt is too long", "context_length_exceeded", "context window", "context length", "contextoverflow"),
        *("maximum context", "contextwindow", "input token count .* exceeds", "too many tokens", "token limit"),
    ),
    Failure.QUOTA: (
        *("credit balance", "insufficient_quota", "insufficient credits", "exceeded your current quota", "per ?day"),
        *("quota ?exceeded", "usage.?limit", "hit your .*limit", "billing", "payment required", "terminalquota"),
        *("exhausted your .*quota", "limit reached"),
    ),
    Failure.RATE_LIMITED: (
        "rate.?limit",
        "too many requests",
        r"\b429\b",
        "resource.?exhausted",
        "increase your limits",
    ),
    Failure.AUTH: (
        *("authenticat", "unauthorized", r"\b401\b", r"\b403\b", "permission.?denied", "forbidden", "not logged in"),
        *("invalid.{0,12}api.?key", "api.?key.{0,20}(?:missing|invalid|not valid|not set)", "missing.{0,20}api.?key"),
        *("/login", "must specify the .?api_key", r"must specify the \w*api_key", r"environment variable.{0,4}\w*key"),
    ),
    Failure.UNKNOWN_MODEL: (
        *("model.{0,60}(?:not found|not exist|no access|not supported|is not available)", "unknown model"),
        *("model_?not_?found", "issue with the selected model", "not_found_error", r"\bNotFoundError"),
    ),
    Failure.REFUSED: (
        *("refus(?:al|ed to)", "usage policy", "content.?filter", "content.?policy", "prohibited_content"),
        *("blocked.{0,30}(?:safety|policy)", "safety (?:filter|reasons)", "returned an empty response"),
    ),
    Failure.UNREACHABLE: (
        *("connection (?:error|refused|reset|lost|to the api was lost|failed)", "unable to connect", r"\beconn"),
        *("enotfound", "eai_again", "network error", "fetch failed", "failed to lookup", "name does not resolve"),
        *("stream disconnected", "error sending request", "waiting for network", "apiconnection", "getaddrinfo"),
        *(r"\btimed? ?out\b", "server disconnected", "cannot connect", "unable to reach", "peer closed connection"),
        "error: terminated",
    ),
    Failure.OVERLOADED: (
        *("overloaded", "at capacity", "high demand", r"\b(?:500|502|503|504|529)\b", "internal ?server ?error"),
        *("unavailable", "temporarily limiting"),
    ),
}
_PATTERNS = {failure: re.compile("|".join(words), re.IGNORECASE) for failure, words in _WORDS.items()}
_BLOCKED = re.compile(r"\bhost\b.{0,80}\bnot allowed\b", re.IGNORECASE)
"""What a proxy with a list of allowed hosts says; programs show it as an answer of the provider."""
_EPOCH = re.compile(r"limit reached\|(\d{10})\b")
_RESET = re.compile(
    r"(?:resets|try again at) (\w{3})\w* (\d{1,2})(?:st|nd|rd|th)?,? (\d{4}),? (\d{1,2}):(\d{2}) ?(am|pm)\b"
    r"(?! \((?!UTC))",
    re.IGNORECASE,
)
_AFTER = re.compile(
    r"(?:retry(?:[ _-]?after|Delay)?|try again|reset after)\W{1,6}(?:in )?"
    r"(?:(\d{1,3})h)? ?(?:(\d{1,4})m)? ?(\d{1,6}(?:\.\d+)?) ?s",
    re.IGNORECASE,
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def objects(output: str, *, end_chars: int = END_CHARS, naming: tuple[str, ...] = ("",)) -> list[dict[str, Any]]:
    """The JSON objects that are a whole line each, in order, of the output's end; other lines are passed over.

    Only lines that have one of the texts of `naming` in them are looked at.
    """
    found = []
    # A line of JSON may hold all that Python takes for the end of a line, but for this.
    for line in output[-end_chars:].split("\n"):
        line = line.strip()
        if line.startswith("{") and line.endswith("}") and any(name in line for name in naming):
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                continue
            found.append(value)
    return found


def table(value: object) -> dict[str, Any]:
    """The value if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def string(value: object) -> str:
    """The value, well formed, if it is a text, else an empty one."""
    return well_formed(value) if isinstance(value, str) else ""


def money(value: object) -> float | None:
    """A sum of money; None for whatever is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e6:
        return None
    return float(value)


def count(value: object) -> int:
    """A number of tokens; 0 for whatever is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e15:
        return 0
    return int(value)


def one_line(text: str) -> str:
    """The text as one short line without terminal escapes."""
    words = " ".join(plain_text(text[: 8 * _DETAIL_CHARS]).split())
    return words if len(words) <= _DETAIL_CHARS else f"{words[: _DETAIL_CHARS - 1]}…"


def last_line(output: str) -> str:
    """The last line of an output that holds anything, as `one_line` gives it."""
    lines = (one_line(line) for line in reversed(output[-8 * _DETAIL_CHARS :].splitlines()))
    return next((line for line in lines if line), "")


def failure_of(message: str, status: int | None = None) -> Failure | None:
    """What an error message, or the HTTP status behind it, means; None if neither says anything that is known.

    Words that name a cause count before the status: providers use 400 and 429 for several.
    """
    if _BLOCKED.search(message[: 16 * 1024]):
        return Failure.UNREACHABLE
    found = next((failure for failure, pattern in _PATTERNS.items() if pattern.search(message[: 16 * 1024])), None)
    by_status = _STATUSES.get(status) if status else None
    if by_status is None and status and 500 <= status < 600:
        by_status = Failure.OVERLOADED
    if by_status in (None, Failure.RATE_LIMITED, Failure.OVERLOADED) and found is Failure.QUOTA:
        return Failure.QUOTA
    return by_status or found


def trouble(message: str, status: int | None = None, *, otherwise: Failure = Failure.CRASHED) -> Trouble:
    """The trouble that an error message tells of, with the time that it names; `otherwise` if it is not understood."""
    failure = failure_of(message, status) or otherwise
    waits = failure in (Failure.RATE_LIMITED, Failure.QUOTA, Failure.OVERLOADED)
    return Trouble(
        failure=failure,
        detail=one_line(message),
        retry_at=moment(message) if waits else None,
        retry_after_s=delay_s(message) if waits else None,
    )


def moment(message: str) -> float | None:
    """The time (Unix seconds) that a message about a limit names with its date, taken as UTC; None without one."""
    if told := _EPOCH.search(message[: 16 * 1024]):
        return float(told[1])
    told = _RESET.search(message[: 16 * 1024])
    if told is None or told[1].lower() not in _MONTHS:
        return None
    year, month, day = int(told[3]), _MONTHS.index(told[1].lower()) + 1, int(told[2])
    hour = int(told[4]) % 12 + (12 if told[6].lower() == "pm" else 0)
    if not 2000 <= year < 2200 or not 1 <= day <= calendar.monthrange(year, month)[1] or int(told[5]) > 59:
        return None
    return float(calendar.timegm((year, month, day, hour, int(told[5]), 0)))


def delay_s(message: str) -> float | None:
    """The time span that a message tells one to wait; None without one."""
    told = _AFTER.search(message[: 16 * 1024])
    if told is None:
        return None
    return int(told[1] or 0) * 3600.0 + int(told[2] or 0) * 60.0 + float(told[3])


def ended_early(output: str, exit_code: int | None) -> Trouble:
    """The trouble of a run whose output lacks the end that its program gives it.

    What its lines of JSON say is not looked at: there the model and its tools speak.
    """
    if exit_code is None or exit_code in INTERRUPTED:
        return Trouble(failure=Failure.INTERRUPTED, detail="it was ended before it said how it went")
    said = [line for line in map(one_line, output[-16384:].splitlines()) if line and not line.startswith("{")][-20:]
    last = said[-1] if said else last_line(output)
    if exit_code == 0:
        return Trouble(failure=Failure.PROTOCOL, detail=last)
    if exit_code == 127:
        return Trouble(failure=Failure.NOT_FOUND, detail=last)
    telling = next((line for line in reversed(said) if failure_of(line)), last)
    return trouble(telling)
