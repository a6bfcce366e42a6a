"""Why an attempt came to nothing: a closed set of reasons, what Thrum does about each, and what its user should do."""

from __future__ import annotations

from enum import StrEnum

from thrum.values import dataclass


class Action(StrEnum):
    """What Thrum does next."""

    RETRY = "retry"
    """Start another attempt; it counts against the task's retries where `Treatment.counts`."""
    WAIT = "wait"
    """Start another attempt once the time is over that was told, or a growing pause where none was."""
    FALL_BACK = "fall-back"
    """Start another attempt with the next backend of the role, if there is one; else the action behind it."""
    ASK = "ask"
    """Stop giving this backend work until the operator has mended something."""
    GO_ON = "go-on"
    """Take the work further as it is: this is no failure of the program."""


class Failure(StrEnum):
    """Why an attempt came to nothing, or was cut short. The set is closed: what is not here yet is `PROTOCOL`."""

    RATE_LIMITED = "rate-limited"
    """Too many requests at once; it passes by itself within minutes."""
    QUOTA = "quota"
    """What was paid for is used up: until a reset, or until somebody pays."""
    OVERLOADED = "overloaded"
    """The provider has no room or an error of its own."""
    UNREACHABLE = "unreachable"
    """The provider could not be reached from where the agent ran."""
    AUTH = "auth"
    """The key is missing, wrong, or may not do this."""
    UNKNOWN_MODEL = "unknown-model"
    """There is no such model, or not for this key."""
    CONTEXT_OVERFLOW = "context-overflow"
    """The conversation does not fit the model."""
    REFUSED = "refused"
    """The model, or the filter before it, declined."""
    BUDGET = "budget"
    """It spent, or did, as much as one attempt may."""
    SESSION_LOST = "session-lost"
    """The session that it was to go on with is not there."""
    NOT_FOUND = "not-found"
    """The program is not there, so nothing ran."""
    COULD_NOT_RUN = "could-not-run"
    """The sandbox, the clone or the setup failed, so nothing ran."""
    MISUSED = "misused"
    """The program refused its arguments or its settings."""
    CRASHED = "crashed"
    """The program ended with an error of its own, and said nothing that is understood."""
    TIMED_OUT = "timed-out"
    """It passed its wall-clock limit."""
    SILENT = "silent"
    """It printed nothing for longer than it may."""
    RESOURCE_LIMIT = "resource-limit"
    """It was ended at a limit of the sandbox: memory, processes, file size or disk."""
    INTERRUPTED = "interrupted"
    """It was ended from outside: by us, by a signal, or with the machine."""
    LOST = "lost"
    """Its worker was lost; what it left is taken up."""
    PROTOCOL = "protocol"
    """Its output is not of the form that its preset knows, so nothing that it says of itself is known."""
    NO_CHANGE = "no-change"
    """It ended well and changed nothing."""
    SAID_NO_CHANGE_NEEDED = "said-no-change-needed"
    """It changed nothing, and said in the agreed form that nothing needs to be."""

    @property
    def treatment(self) -> Treatment:
        """What is done about it."""
        return TREATMENTS[self]


@dataclass(frozen=True, slots=True, kw_only=True)
class Treatment:
    """What Thrum does about a failure, and what its user should do where that does not help."""

    actions: tuple[Action, ...]
    """The first that is possible is taken."""
    advice: str
    """One line for the user."""
    counts: bool = False
    """Whether it uses up one of the task's retries."""
    judged: bool = False
    """Whether work that it left is judged by the gates all the same: it may be whole, whatever the program says."""
    holds: bool = False
    """Whether every other attempt with this backend would come to the same: it gets no work until one tried it out."""
    fresh: bool = False
    """Whether the next attempt begins a new session, as going on with the old one would fail the same way."""


_A = Action
TREATMENTS = {
    Failure.RATE_LIMITED: Treatment(
        actions=(_A.WAIT,), advice="Wait; if it happens often, lower engine.agents or ask the provider for more."
    ),
    Failure.QUOTA: Treatment(
        actions=(_A.FALL_BACK, _A.WAIT, _A.ASK),
        advice="Wait for the reset, pay for more, or name another backend.",
    ),
    Failure.OVERLOADED: Treatment(
        actions=(_A.FALL_BACK, _A.WAIT), advice="Wait; look at the provider's status page if it goes on."
    ),
    Failure.UNREACHABLE: Treatment(
        actions=(_A.WAIT, _A.ASK),
        advice="See that the host is on the backend's list of allowed hosts, and that this machine reaches it.",
    ),
    Failure.AUTH: Treatment(
        actions=(_A.FALL_BACK, _A.ASK),
        holds=True,
        advice="Correct the key in its variable and start `thrum up` anew with it, or have the provider accept it.",
    ),
    Failure.UNKNOWN_MODEL: Treatment(
        actions=(_A.FALL_BACK, _A.ASK),
        holds=True,
        advice="Correct the backend's model, or have the key allowed to use it.",
    ),
    Failure.CONTEXT_OVERFLOW: Treatment(
        actions=(_A.FALL_BACK, _A.RETRY),
        counts=True,
        fresh=True,
        advice="Cut the task into smaller ones, shorten claude_md, or name a model with a larger context.",
    ),
    Failure.REFUSED: Treatment(
        actions=(_A.FALL_BACK, _A.RETRY),
        counts=True,
        judged=True,
        fresh=True,
        advice="Say more clearly in the task what it is for, or name another model.",
    ),
    Failure.BUDGET: Treatment(
        actions=(_A.RETRY,), counts=True, advice="Raise budget_usd of the role, or cut the task into smaller ones."
    ),
    Failure.SESSION_LOST: Treatment(
        actions=(_A.RETRY,), fresh=True, advice="Nothing: the next attempt begins a session of its own."
    ),
    Failure.NOT_FOUND: Treatment(
        actions=(_A.FALL_BACK, _A.ASK),
        holds=True,
        advice="Install the program, or give its path as the command; mount_paths must show it to the sandbox.",
    ),
    Failure.COULD_NOT_RUN: Treatment(
        actions=(_A.ASK,), advice="Look at the reason; `thrum doctor` tells what is missing."
    ),
    Failure.MISUSED: Treatment(
        actions=(_A.ASK,),
        holds=True,
        advice="Compare the program's version with the one that the preset was tried with.",
    ),
    Failure.CRASHED: Treatment(
        actions=(_A.RETRY,), counts=True, judged=True, advice="Read the end of the attempt's output."
    ),
    Failure.TIMED_OUT: Treatment(
        actions=(_A.RETRY,), counts=True, advice="Raise timeout_secs, or cut the task into smaller ones."
    ),
    Failure.SILENT: Treatment(
        actions=(_A.RETRY,), counts=True, advice="Raise silence_secs if the program is known to be quiet for so long."
    ),
    Failure.RESOURCE_LIMIT: Treatment(
        actions=(_A.RETRY,),
        counts=True,
        advice="Raise the limit that its reason names, in [sandbox] of configs/pipeline.toml, or cut the task up.",
    ),
    Failure.INTERRUPTED: Treatment(actions=(_A.RETRY,), advice="Nothing: the work so far is kept and gone on with."),
    Failure.LOST: Treatment(actions=(_A.RETRY,), advice="Nothing: the work so far is kept and gone on with."),
    Failure.PROTOCOL: Treatment(
        actions=(_A.RETRY,),
        counts=True,
        judged=True,
        advice="Compare the program's version with the one that the preset was tried with.",
    ),
    Failure.NO_CHANGE: Treatment(
        actions=(_A.RETRY,), counts=True, advice="Say in the task what has to be different afterwards."
    ),
    Failure.SAID_NO_CHANGE_NEEDED: Treatment(
        actions=(_A.GO_ON,), advice="Approve that nothing needs to change, or reject it with what is missing."
    ),
}
"""For each failure its treatment."""
