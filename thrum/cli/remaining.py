"""What can still move by itself, and what the rest waits for: how `thrum run` knows that it is over. Pure.

It looks at the scheduler's report (`GetSchedule`) and, for the last word, at the tasks that have not merged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from typing import Any

from thrum.errors import Exit
from thrum.names import owner
from thrum.values import dataclass

Report = Mapping[str, Any]

_BLOCKED = ("operator", "clean-checkout", "host")
"""What somebody must see to. A host that is away comes back by itself, or does not: nobody waits for that."""
PERSON = ("approval", *_BLOCKED)
"""What only a person can give."""
ENDED = ("merged", "failed", "cancelled")


def moving(report: Report, *, away: Iterable[str], set_of: Callable[[str], tuple[str, ...]]) -> set[str]:
    """The tasks that will go on without a person.

    `away` names repositories whose actor is gone for good; `set_of` the integration set of a repository.
    """
    waits = {task: why[0] for task, why in report["waiting"].items()}
    busy = {task for task in report["running"] if waits.get(task) not in PERSON}
    # A gate that is looked at again runs without a slot: its task waits for nothing.
    busy |= set(report["open"]) - waits.keys()
    later = {task for task, why in waits.items() if why == "quota"}
    landable = {task for task in report["landable"] if waits.get(task) != "host"} - set(stuck_landings(report, set_of))
    gone = set(away)
    return {task for task in busy | later | landable | set(report["startable"]) if owner(task) not in gone}


def stuck_landings(report: Report, set_of: Callable[[str], tuple[str, ...]]) -> dict[str, str]:
    """Tasks that are ready to land, each with the one that holds its integration set and waits for a person."""
    holders = {
        set_of(owner(task)): task for task in report["running"] if report["waiting"].get(task, ("none",))[0] in _BLOCKED
    }
    return {task: holders[key] for task in report["landable"] if (key := set_of(owner(task))) in holders}


@dataclass(frozen=True, slots=True, kw_only=True)
class Remaining:
    """What is left when nothing moves any more: ids, each with the reason where there is one."""

    states: dict[str, int] = field(default_factory=dict)
    """How many tasks are in each state, merged ones included."""
    failed_now: dict[str, str] = field(default_factory=dict)
    approval: dict[str, str] = field(default_factory=dict)
    operator: dict[str, str] = field(default_factory=dict)
    blocked: dict[str, str] = field(default_factory=dict)
    """Tasks with a dependency that failed or was cancelled, or that is blocked itself."""
    budget: dict[str, str] = field(default_factory=dict)
    dependency: dict[str, str] = field(default_factory=dict)
    """Tasks whose dependencies are all still open."""
    other: dict[str, str] = field(default_factory=dict)
    away: dict[str, str] = field(default_factory=dict)
    """Repositories that nothing is known of, and why."""

    @property
    def exit_code(self) -> Exit:
        """The exit code that tells the truth about what is left; the gravest wins."""
        if self.failed_now or self.operator or self.blocked or self.away:
            return Exit.FAILED
        if self.budget:
            return Exit.BUDGET
        if self.approval:
            return Exit.AWAITING_APPROVAL
        return Exit.TRY_LATER if self.other or self.dependency else Exit.DONE


def remaining(
    report: Report,
    tasks: Iterable[Mapping[str, Any]],
    *,
    since: float,
    away: Mapping[str, str],
    set_of: Callable[[str], tuple[str, ...]],
) -> Remaining:
    """Sort what is left. `tasks` are the views of all that have not merged; one that failed counts from `since` on."""
    by_id = {task["id"]: task for task in tasks}
    stuck = stuck_landings(report, set_of)
    found = Remaining(states=_states(report, by_id), away=dict(away))
    for task in by_id.values():
        if task["state"] == "failed" and task["changed_at"] >= since:
            found.failed_now[task["id"]] = task["reason"]
        elif task["state"] not in ENDED:
            kind, reason = _waits(task, report, by_id, stuck)
            getattr(found, kind)[task["id"]] = reason
    return found


def _states(report: Report, by_id: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    # The repositories' own word is fresher than the scheduler's, which alone counts what merged.
    counts = Counter(task["state"] for task in by_id.values())
    counts["merged"] = report["states"].get("merged", 0)
    return {state: number for state, number in sorted(counts.items()) if number}


def _waits(
    task: Mapping[str, Any], report: Report, by_id: Mapping[str, Mapping[str, Any]], stuck: Mapping[str, str]
) -> tuple[str, str]:
    name = task["id"]
    why, reason = report["waiting"].get(name, (task["waiting_for"], ""))
    reason = reason or task["reason"]
    if name in stuck:
        return "operator", f"{stuck[name]} has to land first"
    if why == "dependency":
        culprit = _culprit(task, by_id, set())
        return ("blocked", f"{culprit} is {by_id[culprit]['state']}") if culprit else ("dependency", reason)
    if why in _BLOCKED:
        return "operator", reason
    return (why, reason) if why in ("approval", "budget") else ("other", reason)


def _culprit(task: Mapping[str, Any], by_id: Mapping[str, Mapping[str, Any]], seen: set[str]) -> str:
    """The failed or cancelled task at the root of what holds this one back; empty where there is none."""
    for name in task["depends_on"]:
        other = by_id.get(name)
        if other is None or name in seen:
            continue
        seen.add(name)
        if other["state"] in ("failed", "cancelled"):
            return str(name)
        if other["state"] not in ENDED and (found := _culprit(other, by_id, seen)):
            return found
    return ""
