"""What an agent is told: the prompt of an attempt, put together from values. No file is read here."""

from __future__ import annotations

import re
from collections.abc import Sequence

from thrum.gate import CheckResult, GateResult, Verdict
from thrum.task import Setback, Task

NO_CHANGE_MARK = "THRUM: no-change-needed:"
"""An agent that prints a line beginning so, with its reason behind it, claims that nothing needs to be done."""

_TAIL_CHARS = 6000
_DIFF_CHARS = 12_000
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]+[0-~]|[@-Z\\-_])")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def plain_text(text: str) -> str:
    """The text without terminal escapes and control characters, its line ends made `\\n`."""
    return _CONTROL.sub("", _ANSI.sub("", text).replace("\r\n", "\n").replace("\r", "\n"))


def trimmed(text: str, limit_chars: int = _TAIL_CHARS) -> str:
    """The text with its middle left out where it is too long; of both ends more of the last is kept."""
    if len(text) <= limit_chars:
        return text
    head = limit_chars // 4
    tail = limit_chars - head
    return f"{text[:head]}\n[… {len(text) - limit_chars} characters left out …]\n{text[-tail:]}"


def gate_setback(result: GateResult) -> str:
    """What a failed gate tells the agent: every check that failed, its command, and what it printed."""
    failed = [check for check in result.checks if check.verdict is Verdict.FAILED]
    passed = [check.name for check in result.checks if check.verdict is Verdict.PASSED]
    lines = [f"Gate `{result.gate}` failed in: {', '.join(check.name for check in failed)}."]
    if passed:
        lines.append(f"Passed: {', '.join(passed)}.")
    alike: dict[tuple[str, ...], list[CheckResult]] = {}
    for check in failed:
        alike.setdefault((check.command, check.reason, check.details, check.head, check.tail), []).append(check)
    share = max(1000, 2 * _TAIL_CHARS // max(1, len(alike)))
    return "\n".join([*lines, *(_failed_check(checks, share) for checks in alike.values())])


def _failed_check(checks: Sequence[CheckResult], limit_chars: int) -> str:
    """What is told of checks that failed alike, as all do that lack what `setup_cmd` was to make."""
    check, names = checks[0], ", ".join(f"`{check.name}`" for check in checks)
    both = f"{check.head}\n[…]\n{check.tail}" if check.head else check.tail
    output = trimmed(plain_text(both).strip(), limit_chars) or "(it printed nothing)"
    details = trimmed(plain_text(check.details).strip(), limit_chars)
    ended = f"exit code {check.exit_code}" if check.exit_code is not None else "no exit code"
    told = ", ".join(dict.fromkeys(filter(None, (ended, check.reason))))
    lines = [f"\nCheck {names} ({told}), command: {check.command}"]
    if check.tests is not None and check.tests.failing:
        lines.append(f"Failing tests: {_some(check.tests.failing)}.")
    lines += filter(None, [_on_base(check), details])
    # What a prover found says more than all that was printed on the way, of which most is no fault.
    return "\n".join(lines if details else [*lines, f"```\n{output}\n```"])


def _on_base(check: CheckResult) -> str:
    """Whose failure it is, where that is known."""
    if check.on_base is Verdict.PASSED:
        return "It passes without your change."
    if check.on_base is not Verdict.FAILED:
        return ""
    also = f" There these fail too: {_some(check.failing_on_base)}." if check.failing_on_base else ""
    return f"It fails on the commit that your work is based on as well, so not all of this is yours.{also}"


def instructions(role_text: str, repo_text: str) -> str:
    """What an agent is told whatever its task is: the role's template and the repository's own instructions."""
    return "\n\n".join(part for part in (role_text.strip(), _about(repo_text)) if part)


def _about(repo_text: str) -> str:
    return f"# About this repository\n\n{repo_text.strip()}" if repo_text.strip() else ""


def assemble(task: Task, *, role_text: str = "", repo_text: str = "", diff_text: str = "", max_retries: int = 3) -> str:
    """The whole prompt of the task's next attempt.

    `role_text` is the role's template, `repo_text` the repository's own instructions, `diff_text` the work so far as a
    diff; each may be empty. The first two are, where a system prompt holds them (`instructions`).
    """
    parts = [
        role_text.strip(),
        f"# Task {task.id}: {task.title}",
        task.description.strip(),
        _about(repo_text),
        _history(task, max_retries),
        _work_so_far(task, diff_text),
        _RULES,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _history(task: Task, max_retries: int) -> str:
    if not task.setbacks:
        return ""
    *before, last = task.setbacks
    whole = _standing(task.setbacks)
    previous = task.attempts[-2].token if len(task.attempts) > 1 else 0
    who = "The last attempt" if last.token in (0, previous) else "An earlier attempt"
    number = f"This is attempt {len(task.attempts)}."
    parts = [f"# What happened so far\n\n{number} {_title(last, who)}\n\n{last.text.strip()}"]
    for setback in reversed(before):
        if setback in whole:
            title = f"Still to be seen to, as far as the work tree does not do so already. {_title(setback)}"
            parts.append(f"{title}\n\n{setback.text.strip()}")
    earlier = [setback for setback in before if setback not in whole]
    if earlier:
        parts.append("Earlier attempts at this task:\n" + "\n".join(_line(setback) for setback in earlier))
    if task.retries:
        parts.append(f"This is retry {task.retries} of {max_retries}.")
    return "\n\n".join(parts)


_OF_THE_WORK = frozenset({"gate", "rejected", "protected", "conflict"})
"""Causes that say what is wrong with the work; the others say how an attempt ended."""


def _standing(setbacks: Sequence[Setback]) -> tuple[Setback, ...]:
    """What the next attempt must know whole: the last word on the work, whatever came after it, and a person's last
    word, which stands until that person sees the change again."""
    of_the_work = [setback for setback in setbacks if setback.cause in _OF_THE_WORK]
    by_people = [setback for setback in setbacks if setback.cause == "rejected"]
    return (*of_the_work[-1:], *by_people[-1:])


def _work_so_far(task: Task, diff: str) -> str:
    files = next((attempt.files for attempt in reversed(task.attempts[:-1]) if attempt.files), ())
    there = f"The work tree holds the work so far; it changes: {_some(files)}." if files else ""
    shown = trimmed(diff.strip("\n"), _DIFF_CHARS)
    parts = [part for part in (there, f"```diff\n{shown}\n```" if shown else "") if part]
    return "\n\n".join(["# The work so far", *parts]) if parts else ""


def _title(setback: Setback, who: str = "An earlier attempt") -> str:
    titles = {
        "gate": f"{who} did not pass a gate. Mend what it found:",
        "rejected": "A person looked at the change and asks for this:",
        "protected": f"{who} changed what it may not.",
        "conflict": "The change conflicts with what landed meanwhile.",
        "no-change": f"{who} changed nothing.",
    }
    return titles.get(setback.cause, f"{who} ended early ({setback.cause}).")


def _line(setback: Setback) -> str:
    first = next((line.strip() for line in setback.text.splitlines() if line.strip()), "")
    return f"- attempt {setback.token}, {setback.cause}: {trimmed(first, 300)}"


def _some(files: Sequence[str], limit: int = 30) -> str:
    more = f" and {len(files) - limit} more" if len(files) > limit else ""
    return ", ".join(files[:limit]) + more


_RULES = f"""\
# How this works

Change the files in the present directory, a git work tree; you need not commit. When you are done, your change is
run through the repository's checks. Do not weaken, skip or delete tests or checks to make them pass. If you are
certain that the task needs no change at all, change nothing and print one line that begins with
`{NO_CHANGE_MARK}` followed by the reason."""
