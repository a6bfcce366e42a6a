"""A task as people and programs see it: one shape, for `--json` and for the HTTP API. Pure.

It is made from the plain data that a repo actor answers with. What is shown is chosen here; how, in `thrum.cli`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from thrum.failures import Failure

Plain = dict[str, Any]

_AS_IT_IS = (
    "id",
    "repo",
    "title",
    "description",
    "state",
    "waiting_for",
    "reason",
    "depends_on",
    "priority",
    "created_at",
    "created_by",
    "changed_at",
    "round",
    "retries",
    "rejections",
    "interruptions",
    "rebuilds",
)
_ATTEMPT = (
    "token",
    "started_at",
    "ended_at",
    "ending",
    "reason",
    "exit_code",
    "base",
    "head",
    "files",
    "protected",
    "leaks",
    "worker",
    "backend",
    "model",
    "session",
    "failure",
    "cost_usd",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "no_change",
    "output_digest",
    "output_bytes",
    "tail",
    "prompt_digest",
    "system_prompt_digest",
)
_CHECK = (
    "name",
    "verdict",
    "exit_code",
    "duration_s",
    "reason",
    "command",
    "tests",
    "share",
    "details",
    "on_base",
    "failing_on_base",
    "flaky",
    "artifacts",
    "cached",
    "tail",
    "output_digest",
)


def task_view(task: Mapping[str, Any]) -> Plain:
    """The task as JSON: a plain `Task` in, as repo actors give it, a new object out.

    `commits` holds `base` and `head` of the work that stands, and `landed`; each is null where there is none.
    `gates` speaks of that work alone, or of its candidate; results of earlier attempts are in the history.
    Times are Unix seconds.
    """
    attempts = [attempt_view(attempt) for attempt in task["attempts"]]
    work = next((attempt for attempt in reversed(attempts) if attempt["head"]), None)
    return {
        **{name: task[name] for name in _AS_IT_IS},
        "gates": [gate_view(result) for result in task["gates"]],
        "commits": {
            "base": work["base"] if work else None,
            "head": work["head"] if work else None,
            "landed": task["landed"] or None,
        },
        "candidate": task["candidate"] and task["candidate"]["commit"],
        "attempts": attempts,
        "setbacks": [dict(setback) for setback in task["setbacks"]],
        "approvals": [dict(approval) for approval in task["approvals"]],
        "cost_usd": round(sum((attempt["cost_usd"] for attempt in attempts), 0.0), 6),
    }


def gate_view(result: Mapping[str, Any]) -> Plain:
    """What a gate said: its verdict, and that of each of its checks."""
    return {
        "gate": result["gate"],
        "verdict": result["verdict"],
        "commit": result["commit"] or None,
        "tree": result["tree"] or None,
        "share": result["share"],
        "reason": result["reason"],
        "started_at": result["started_at"],
        "ended_at": result["ended_at"],
        "checks": [{name: check[name] for name in _CHECK} for check in result["checks"]],
    }


def attempt_view(attempt: Mapping[str, Any]) -> Plain:
    """One attempt, with `duration_s`: null while it lasts; `advice`: what a person can do about its failure."""
    ended = attempt["ended_at"] > 0
    duration_s = round(max(0.0, attempt["ended_at"] - attempt["started_at"]), 3) if ended else None
    advice = Failure(attempt["failure"]).treatment.advice if attempt["failure"] else None
    return {**{name: attempt[name] for name in _ATTEMPT}, "duration_s": duration_s, "advice": advice}


def event_view(event: Mapping[str, Any]) -> Plain:
    """One entry of a task's history: when, what, and the state that the task was in from then on, where it changed."""
    return {
        "seq": event["seq"],
        "at": event["at"],
        "kind": event["kind"],
        "state": event["changes"].get("state"),
        "retries": event["changes"].get("retries"),
        "data": event["data"],
    }
