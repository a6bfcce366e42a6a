"""`thrum task show`: everything about one task, for a person."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from thrum.cli import console
from thrum.cli.console import clean, duration, indented, moment, paint
from thrum.cli.program import Command, invocation
from thrum.cli.session import Session
from thrum.cli.timeline import sentence

View = dict[str, Any]

COLOURS = {
    "passed": "green",
    "merged": "green",
    "failed": "red",
    "could-not-run": "red",
    "cancelled": "bright_black",
    "not-configured": "yellow",
    "awaiting-approval": "yellow",
}
TAIL_LINES = 15
_ON_BASE = {"passed": "passes", "failed": "fails too", "could-not-run": "could not run"}


@click.command(cls=Command)
@click.argument("task", metavar="ID")
def show(task: str) -> None:
    """Show one task: state, attempts, gates, history."""
    session = Session.open()
    with session.connected([session.owner(task)]) as desk:
        view, history = desk.task(task), desk.history(task)
    if invocation().json:
        console.emit({**view, "history": history})
    else:
        console.say("\n".join(lines(view, history)))


def lines(view: View, history: list[View]) -> Iterator[str]:
    """The whole text."""
    yield f"{paint(view['id'], '', bold=True)}  {clean(view['title'])}"
    yield from _head(view)
    if view["description"].strip():
        yield "\nDescription"
        yield indented(clean(view["description"].strip()))
    if view["attempts"]:
        yield "\nAttempts"
        for attempt in view["attempts"]:
            yield f"  {_attempt(attempt)}"
        if view["attempts"][-1]["advice"]:
            yield f"     {view['attempts'][-1]['advice']}"
    if view["gates"]:
        yield "\nGates (of the work that stands)"
        for gate in view["gates"]:
            yield from _gate(gate)
    if view["approvals"]:
        yield "\nApprovals"
        for given in view["approvals"]:
            yield f"  {clean(given['by'])}, {moment(given['at'])}, {given['commit'][:12]}"
    if history:
        yield "\nHistory"
        yield from _history(history)
    following = next_step(view)
    if following:
        yield f"\n{paint('Next:', 'cyan')} {following}"


def next_step(view: View) -> str:
    """What a person can type now; empty where there is nothing to do but wait."""
    task, head = view["id"], (view["commits"]["head"] or "")[:12]
    match view["state"], view["waiting_for"]:
        case "awaiting-approval", _ if view["attempts"] and view["attempts"][-1]["no_change"]:
            return f"thrum task approve {task}   (confirms), or: thrum task reject {task} --feedback TEXT"
        case "awaiting-approval", _ if view["attempts"][-1]["protected"] or view["attempts"][-1]["leaks"]:
            return (
                f"thrum task diff {task}, then: thrum task approve {task} --commit {head} --including-protected, "
                "or reject --feedback TEXT"
            )
        case "awaiting-approval", _:
            return f"thrum task diff {task}, then: thrum task approve {task} --commit {head}, or reject --feedback TEXT"
        case (("failed" | "cancelled"), _):
            return f"thrum task retry {task}"
        case _, ("operator" | "clean-checkout"):
            return f"see to it, then: thrum task retry {task}"
        case (("pending" | "approved"), ("slot" | "landing")):
            return "thrum run, or thrum up, works it off"
    return ""


def _head(view: View) -> Iterator[str]:
    state = paint(view["state"], COLOURS.get(view["state"], ""), bold=True)
    waits = "" if view["waiting_for"] == "none" else f", waits for {view['waiting_for']}"
    yield f"  state      {state}{waits}  (since {moment(view['changed_at'])})"
    if view["reason"]:
        yield f"  because    {clean(view['reason'])}"
    counts = ((view["rejections"], "rejected"), (view["interruptions"], "interrupted"), (view["rebuilds"], "rebuilt"))
    also = "".join(f", {what} {number} ×" for number, what in counts if number)
    yield f"  retries    {view['retries']}{also}"
    if view["depends_on"]:
        yield f"  depends on {', '.join(view['depends_on'])}"
    if view["priority"]:
        yield f"  priority   {view['priority']}"
    yield f"  added      {moment(view['created_at'])} by {clean(view['created_by'])}"
    commits = view["commits"]
    if commits["head"]:
        landed = f", landed as {commits['landed'][:12]}" if commits["landed"] else ""
        yield f"  commits    {commits['head'][:12]} on {commits['base'][:12]}{landed}"
    protected = view["attempts"][-1]["protected"] if view["attempts"] else ()
    if protected:
        yield f"  protected  {paint('changed:', 'yellow')} {clean(', '.join(protected))}"
    leaks = view["attempts"][-1]["leaks"] if view["attempts"] else ()
    if leaks:
        yield f"  secrets    {paint('in, or perhaps in:', 'yellow')} {clean(', '.join(leaks))}"
    if view["cost_usd"]:
        yield f"  cost       ${view['cost_usd']:.2f}"


def _attempt(attempt: View) -> str:
    if attempt["ending"] is None:
        how = f"under way since {moment(attempt['started_at'])}" if attempt["backend"] else "being prepared"
    else:
        how = f"{attempt['ending']} after {duration(attempt['duration_s'])}"
    parts = [f"{attempt['token']}  {how}"]
    if attempt["failure"] and attempt["failure"] != attempt["ending"]:
        parts.append(attempt["failure"])
    if attempt["exit_code"]:
        parts.append(f"exit code {attempt['exit_code']}")
    if attempt["head"]:
        parts.append(f"{attempt['head'][:12]} with {console.counted(len(attempt['files']), 'file')}")
    if attempt["cost_usd"]:
        parts.append(f"${attempt['cost_usd']:.2f}")
    if attempt["input_tokens"] or attempt["output_tokens"]:
        parts.append(f"{attempt['input_tokens']:,} tokens in, {attempt['output_tokens']:,} out")
    parts.append(" ".join(name for name in (attempt["backend"], attempt["model"]) if name))
    because = f": {attempt['reason']}" if attempt["reason"] else ""
    return clean(", ".join(part for part in parts if part) + because)


def _gate(gate: View) -> Iterator[str]:
    commit = f"  on {gate['commit'][:12]}" if gate["commit"] else ""
    because = f"  {clean(gate['reason'])}" if gate["reason"] else ""
    share = f", {gate['share']:.0%} of it" if gate["share"] < 1 else ""
    yield f"  {gate['gate']:<11} {_verdict(gate['verdict'])}{share}{commit}{because}"
    for check in gate["checks"]:
        exit_code = f", exit code {check['exit_code']}" if check["exit_code"] else ""
        because = f": {clean(check['reason'])}" if check["reason"] else ""
        took = duration(check["duration_s"])
        yield f"    {check['name']:<9} {_verdict(check['verdict'])}, {took}{_tests(check)}{exit_code}{because}"
        for path, digest in check["artifacts"].items():
            yield f"      made {clean(path)}, SHA-256 {digest[:16]}…"
        if check["flaky"]:
            yield f"      {paint('passed only when run again:', 'yellow')} {clean(', '.join(check['flaky']))}"
        if check["verdict"] == "passed":
            continue
        if check["on_base"]:
            yield f"      on the base it {_ON_BASE.get(check['on_base'], check['on_base'])}"
        text = check["details"].strip() or check["tail"].rstrip()
        if text:
            yield indented("\n".join(clean(text).splitlines()[-TAIL_LINES:]), "      | ")


def _tests(check: View) -> str:
    """What its runner said, and whether it ran at all."""
    cached = " (taken over: it passed on this tree before)" if check["cached"] else ""
    counts = check["tests"]
    if not counts:
        return cached
    skipped = f", {counts['skipped']} skipped" if counts["skipped"] else ""
    return f", {console.counted(counts['run'], 'test')}, {counts['failed']} failed{skipped}{cached}"


def _verdict(verdict: str) -> str:
    return paint(verdict, COLOURS.get(verdict, ""))


def _history(history: list[View]) -> Iterator[str]:
    day = ""
    for event in history:
        at = moment(event["at"])
        if at[:10] != day:
            day = at[:10]
            yield f"  {day}"
        state = f"[{event['state']}] " if event["state"] else ""
        yield f"    {at[11:]}  {state}{sentence(event)}"
