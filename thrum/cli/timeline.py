"""A task's history as lines for a person: one sentence for each event. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from thrum.cli.console import clean, duration, listed

Data = dict[str, Any]


def sentence(view: Data) -> str:
    """What an event says (`thrum.views.event_view`); one of a kind that is not known here shows its data."""
    teller = _SENTENCES.get(view["kind"])
    text = teller(view["data"]) if teller else _as_it_is(view["kind"], view["data"])
    return clean(text).strip()


def _as_it_is(kind: str, data: Data) -> str:
    return f"{kind} {' '.join(f'{key}={value}' for key, value in data.items())}"


def _sha(commit: str | None) -> str:
    return (commit or "")[:12]


def _because(reason: str | None) -> str:
    return f": {reason}" if reason else ""


def _attempt_ended(data: Data) -> str:
    parts = [f"attempt {data['token']} {data['ending']} after {duration(data['duration_s'])}"]
    if data.get("exit_code"):
        parts.append(f"exit code {data['exit_code']}")
    parts.append(f"{_sha(data['head'])}, {data['files']} files" if data.get("head") else "no commit")
    if data.get("cost_usd"):
        parts.append(f"${data['cost_usd']:.2f}")
    return ", ".join(parts) + _because(data.get("reason"))


def _gate_finished(data: Data) -> str:
    failed = [
        f"{check['name']} {check['verdict']}{_because(check.get('reason'))}"
        for check in data.get("checks", ())
        if check["verdict"] != "passed"
    ]
    took = f" after {duration(data['duration_s'])}" if data.get("duration_s") else ""
    return f"gate {data['gate']} {data['verdict']}{took}" + _because("; ".join(failed) or data.get("reason"))


def _retried(data: Data) -> str:
    return f"back to the agent, retry {data['retry']}: {data['cause']}"


def _merged(data: Data) -> str:
    people = listed(approval["by"] for approval in data.get("approvals", ()))
    return f"merged as {_sha(data['commit'])}" + (f", approved by {people}" if people else "")


_SENTENCES: dict[str, Callable[[Data], str]] = {
    "added": lambda d: f"added by {d.get('by', '?')}",
    "claimed": lambda d: f"attempt {d['token']} claimed for {d['worker']}",
    "attempt-started": lambda d: f"attempt {d['token']} by {d['backend']} on {_sha(d['base'])}",
    "attempt-ended": _attempt_ended,
    "attempt-blocked": lambda d: f"could not start{_because(d['reason'])}",
    "held-back": lambda d: f"held back before it began{_because(d['reason'])}",
    "fell-back": lambda d: f"on to the next backend{_because(d['reason'])}",
    "attempt-stopped": lambda d: f"attempt {d['token']} stopped",
    "submitted": lambda d: f"submitted {_sha(d['head'])}",
    "gate-started": lambda d: f"gate {d['gate']} started",
    "gate-finished": _gate_finished,
    "gate-blocked": lambda d: d["reason"],
    "passed": lambda d: f"on to {d['to']}",
    "retried": _retried,
    "no-change-claimed": lambda d: f"the agent says that no change is needed{_because(d['reason'])}",
    "no-change-confirmed": lambda d: f"{d['by']} confirmed that no change is needed",
    "approval-given": lambda d: f"{d['by']} approved {_sha(d['commit'])}; more approvals are needed",
    "approved": lambda d: f"{d['by']} approved {_sha(d['commit'])}",
    "rejected": lambda d: f"{d['by']} rejected it{_because(d['feedback'])}",
    "retry-asked": lambda d: f"{d['by']} asked for another look",
    "looked-again": lambda d: "looked at again",
    "reopened": lambda d: f"{d['by']} started round {d['round']}{_because(d.get('feedback'))}",
    "cancelled": lambda d: f"{d['by']} cancelled it{_because(d.get('why'))}",
    "interrupted": lambda d: f"interrupted{_because(d['reason'])}",
    "deferred": lambda d: f"put off for {duration(d['pause_s'])}{_because(d['reason'])}",
    "failed": lambda d: f"failed{_because(d['reason'])}",
    "integrating": lambda d: f"to be integrated: {_sha(d['head'])}",
    "candidate-built": lambda d: f"candidate {_sha(d['commit'])} built on {_sha(d['base'])}",
    "landing-intended": lambda d: f"moving the branch from {_sha(d['old'])} to {_sha(d['new'])}",
    "landing-missed": lambda d: f"the branch of {d['repo']} moved meanwhile, to {_sha(d['tip'])}",
    "landing-blocked": lambda d: f"cannot land{_because(d['reason'])}",
    "rebuilding": lambda d: "to be built anew",
    "parked": lambda d: f"back to a person{_because(d['reason'])}",
    "merged": _merged,
}
