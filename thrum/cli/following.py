"""`thrum task log --follow`: what a task's agents say and do while they do it, one attempt after the other."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from thrum.cli import console
from thrum.cli.program import invocation
from thrum.cli.reading import attempt_of
from thrum.cli.remaining import ENDED, PERSON
from thrum.cli.session import Session
from thrum.cli.telling import entry_lines, write
from thrum.desk import Desk, owner_of
from thrum.errors import BusyError, NotFoundError
from thrum.records import to_plain
from thrum.standing import refuse_given_up, state
from thrum.transcript import Transcript

if TYPE_CHECKING:
    from thrum.transcript import Entry

View = dict[str, Any]

LOOK_EVERY_S = 0.3
"""How often it is asked for more."""
ANSWER_S = 5.0
"""How long an answer is waited for before it is looked whether anything is up."""


def standing_of(view: View, *, at_work: bool) -> tuple[str, bool]:
    """Where a task stands that no agent is at work on, and whether that is the end unless a person does something."""
    task, because = view["id"], f": {console.clean(view['reason'])}" if view["reason"] else ""
    if view["state"] in ENDED:
        return f"{task} is {view['state']}{because}", True
    if view["waiting_for"] in (*PERSON, "budget"):
        return f"{task} waits for {view['waiting_for']}{because}", True
    if not at_work:
        return f"Nothing is at work; `thrum up` or `thrum run` goes on with {task}.", True
    waits = "" if view["waiting_for"] == "none" else f" and waits for {view['waiting_for']}"
    return f"{task} is {view['state']}{waits}{because}", False


class Following:
    """Tells of a task until nothing more can come without a person."""

    def __init__(self, session: Session, desk: Desk, task: str, wanted: int | None, *, raw: bool) -> None:
        """`wanted` is the only attempt that it tells of, else it is the latest and all that come after."""
        self._session = session
        self._desk = Desk(desk.client, desk.repos, "", answer_s=ANSWER_S)
        self._task = task
        self._repo = owner_of(desk.repos, task)
        self._wanted = wanted
        self._raw = raw
        self._telling: _Telling | None = None
        self._noted = ""

    def go(self) -> None:
        """Tell what there is, wait for more, and so on."""
        while not self._over():
            with suppress(BusyError):  # what that means is looked at with the next question
                for event in self._desk.client.events((f"task.{self._repo}",), timeout_s=LOOK_EVERY_S):
                    if getattr(event.body, "task", "") == self._task:
                        break

    def _over(self) -> bool:
        """Tell what there is by now; true if nothing more comes."""
        up = state(self._session.directory)
        try:
            view = self._desk.task(self._task)
            running = self._told(view)
        except BusyError:
            refuse_given_up(up, [self._repo])
            if up is None:
                console.note(f"Thrum has ended; `thrum up` or `thrum run` goes on with {self._task}.")
            return up is None
        if running and up is not None:
            return False
        if self._wanted is not None and not running:
            return True
        text, over = standing_of(view, at_work=up is not None)
        self._note(view, text)
        return over

    def _told(self, view: View) -> bool:
        """Tell of the attempts as far as they have come; whether the last of them is under way."""
        attempts = view["attempts"]
        if self._wanted is not None:
            attempts = [attempt_of(view, self._wanted)]
        elif self._telling is not None:
            attempts = [one for one in attempts if one["token"] >= self._telling.token]
        else:
            attempts = attempts[-1:]
        for attempt in attempts:
            if self._telling is None or self._telling.token != attempt["token"]:
                if self._telling is not None and not invocation().json:
                    console.note(f"Attempt {attempt['token']}:")
                self._telling = _Telling(self._task, attempt["token"], raw=self._raw)
            self._telling.go_on(self._desk, attempt)
        return bool(attempts) and attempts[-1]["ending"] is None and view["state"] not in ENDED

    def _note(self, view: View, text: str) -> None:
        if text == self._noted:
            return
        self._noted = text
        if invocation().json:
            console.emit_line({"task": self._task, **{name: view[name] for name in ("state", "waiting_for", "reason")}})
        else:
            console.note(text)


class _Telling:
    """Tells of one attempt, in the form that was asked for, while its output comes in."""

    def __init__(self, task: str, token: int, *, raw: bool) -> None:
        self.token = token
        self._task = task
        self._whose = {"task": task, "attempt": token}
        self._raw = raw
        self._offset = 0
        self._over = False
        self._transcript = Transcript()
        self._understood = False
        self._before = ""

    def go_on(self, desk: Desk, attempt: View) -> None:
        """Tell of what has come since the last time, and of the end once it has come."""
        if self._over:
            return
        ended = attempt["ending"] is not None
        begun_live = self._offset > 0
        try:
            for piece in desk.said(self._task, attempt, self._offset):
                if ended and begun_live and piece["total_bytes"] != attempt["output_bytes"]:
                    break  # offsets of what was kept are others where something is missing
                self._tell(piece["text"])
                self._offset = piece["offset"] + piece["bytes"]
        except (BusyError, NotFoundError):
            if ended:
                raise
        if ended:
            self._over = True
            self._end(attempt, attempt["output_bytes"] - self._offset if begun_live else 0)

    def _tell(self, text: str) -> None:
        if not self._raw:
            self._entries(self._transcript.feed(text))
        elif invocation().json:
            console.emit_line({**self._whose, "text": text})
        else:
            write(text)

    def _end(self, attempt: View, left_bytes: int) -> None:
        self._entries(self._transcript.end())
        if invocation().json:
            console.emit_line({**self._whose, "ending": attempt["ending"], "reason": attempt["reason"]})
            return
        if left_bytes > 0:
            console.tell_warning(f"{left_bytes} bytes more were printed; without -f, all that was kept is shown")
        reason = f": {console.clean(attempt['reason'])}" if attempt["reason"] else ""
        console.note(f"Attempt {self.token} {attempt['ending']}{reason}")

    def _entries(self, told: Iterable[Entry]) -> None:
        for entry in told:
            # Until its program has said something that is understood, its lines are for people as they are.
            self._understood = self._understood or entry.kind != "printed"
            if invocation().json:
                console.emit_line({**self._whose, **to_plain(entry)})
            elif self._understood:
                console.say("\n".join(entry_lines([entry], self._before)))
            else:
                write(f"{entry.text}\n")
            self._before = entry.kind
