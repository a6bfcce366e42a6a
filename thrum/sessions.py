"""Where an agent program keeps its session from attempt to attempt of one task, and whether it can go on with it.

The folder is the program's to write, so nothing in it is trusted: what we know of the session stands beside it.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from thrum.backends import Preset, Reading
from thrum.files import open_untrusted, remove_tree, write_atomically, write_untrusted
from thrum.records import RecordError, from_plain, to_plain
from thrum.values import dataclass

FILE_BYTES = 4 * 1024 * 1024
"""How much of the beginning of a file is read after a run: it can hold all that a program's tools ever printed."""

KEPT_S = 14 * 86400.0
"""How long a session is kept that no attempt went on with; one that is gone begins anew."""


def prune(directory: Path, *, now: float) -> None:
    """Remove the sessions of tasks below `directory` that have not been used for `KEPT_S`; times are Unix seconds."""
    for task in directory.iterdir() if directory.is_dir() else ():
        try:
            used_at = max((note.stat().st_mtime for note in task.glob("*/session.json")), default=task.stat().st_mtime)
        except FileNotFoundError:
            continue  # another slot was faster
        if used_at < now - KEPT_S:
            remove_tree(task)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What a program counted over a whole session."""

    cost_usd: float = 0.0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What we know of the session that lies in the folder."""

    session: str = ""
    workdir: str = ""
    """The directory that it began in."""
    counts: Counts = Counts()
    before: Counts = Counts()
    """The same when its latest run began."""


class Sessions:
    """One backend's session of one task."""

    def __init__(self, directory: Path, preset: Preset) -> None:
        """`directory` is the task's and backend's own."""
        self.folder = directory / "state"
        self._note = directory / "session.json"
        self._preset = preset
        self._known = self._read_note()

    def begin(self, session: str, workdir: str, uid: int | None, system_prompt: str = "") -> str:
        """Have the folder ready for a run; the session that it can go on with, empty where it begins a new one.

        `uid` is whom the folder must belong to, None: us. `system_prompt` is put where the program reads it, if it
        does.

        Raises:
            OSError: the folder cannot be made.
        """
        known, preset = self._known, self._preset
        here = known.workdir == workdir or not preset.same_directory
        goes_on = session and session == known.session and preset.resume_args and here
        if goes_on and self._instructed_anew(system_prompt, uid):
            self._note_down(replace(known, before=known.counts))
            return session
        # Noted first: what is known of the old session must not be taken for that of the new one.
        self._note_down(Known(workdir=workdir))
        # Anew, and its files before the program ever wrote to it: nothing of its own can be in their way.
        remove_tree(self.folder)
        self.folder.mkdir(parents=True, mode=0o700)
        instructions = {preset.system_prompt_path: system_prompt} if preset.system_prompt_path else {}
        for path, content in {**preset.files, **instructions}.items():
            file = self.folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        if uid is not None:
            for made in (self.folder, *self.folder.rglob("*")):
                os.chown(made, uid, uid)
        return ""

    def _instructed_anew(self, system_prompt: str, uid: int | None) -> bool:
        """Whether the folder of an earlier run holds this system prompt now; not so if something is in the way."""
        path = self._preset.system_prompt_path
        if not path:
            return self.folder.is_dir()
        try:
            write_untrusted(self.folder, path, system_prompt.encode(), uid=uid)
        except OSError:
            return False
        return True

    def files(self) -> dict[str, str]:
        """What lies there of the files that are read after a run, of each the beginning."""
        found: dict[str, str] = {}
        for path in self._preset.reads_files:
            try:
                with open_untrusted(self.folder, path) as file:
                    found[path] = file.read(FILE_BYTES).decode(errors="replace")
            except (OSError, ValueError):
                continue  # not there, or nothing that a program of good will would have left
        return found

    def end(self, reading: Reading) -> Reading:
        """Note what the latest run said; the reading with the cost and tokens of this run alone. A second time, as
        after a crash, it gives the same."""
        known = self._known
        # Of a session that it began beside the one that it was to go on with nothing was counted before.
        before = known.before if known.session in ("", reading.session) else Counts()
        told = _told(reading)
        # A run that was cut off does not say what it used: the next one's count over the session has it in it.
        self._note_down(
            Known(session=reading.session, workdir=known.workdir, before=before, counts=replace(before, **told))
        )
        added = {name: count - getattr(before, name) for name, count in told.items()}
        if not reading.of_session or any(count < 0 for count in added.values()):
            return reading  # it counts each run alone, or began to count anew
        return replace(reading, **added)

    def _note_down(self, known: Known) -> None:
        self._known = known
        write_atomically(self._note, json.dumps(to_plain(known)).encode())

    def _read_note(self) -> Known:
        try:
            return from_plain(Known, json.loads(self._note.read_text()))
        except (FileNotFoundError, ValueError, RecordError):
            return Known()  # a session that we know nothing of is not gone on with


def _told(reading: Reading) -> dict[str, Any]:
    """What a run said that it counted, by the names of `Counts`."""
    told = {name: getattr(reading, name) for name in ("cost_usd", "input_tokens", "cached_tokens", "output_tokens")}
    return {name: count for name, count in told.items() if count is not None}
