"""Where an agent program keeps its session from attempt to attempt of one task, and whether it can go on with it.

The folder is the program's to write, so nothing in it is trusted: what we know of the session stands beside it.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

from thrum.backends import Preset, Reading
from thrum.files import open_untrusted, remove_tree, write_atomically
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
class Known:
    """What we know of the session that lies in the folder."""

    session: str = ""
    workdir: str = ""
    """The directory that it began in."""
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    """What its program counted over the whole session."""


class Sessions:
    """One backend's session of one task."""

    def __init__(self, directory: Path, preset: Preset, uid: int | None) -> None:
        """`directory` is the task's and backend's own; `uid` whom the folder must belong to, None: us."""
        self.folder = directory / "state"
        self._note = directory / "session.json"
        self._preset = preset
        self._uid = uid
        self._known = self._read_note()

    def begin(self, session: str, workdir: str) -> str:
        """Have the folder ready for a run; the session that it can go on with, empty where it begins a new one.

        Raises:
            OSError: the folder cannot be made.
        """
        known, preset = self._known, self._preset
        here = known.workdir == workdir or not preset.same_directory
        if session and session == known.session and preset.resume_args and here and self.folder.is_dir():
            return session
        self._known = Known(workdir=workdir)
        # Anew, and its files before the program ever wrote to it: nothing of its own can be in their way.
        remove_tree(self.folder)
        self.folder.mkdir(parents=True, mode=0o700)
        for path, content in preset.files.items():
            file = self.folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        if self._uid is not None:
            for made in (self.folder, *self.folder.rglob("*")):
                os.chown(made, self._uid, self._uid)
        return ""

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
        """Note what a run said; the reading with the tokens of this run alone."""
        known = self._known
        total = (reading.input_tokens or 0, reading.cached_tokens or 0, reading.output_tokens or 0)
        before = (known.input_tokens, known.cached_tokens, known.output_tokens)
        self._known = Known(
            session=reading.session,
            workdir=known.workdir,
            input_tokens=total[0],
            cached_tokens=total[1],
            output_tokens=total[2],
        )
        write_atomically(self._note, json.dumps(to_plain(self._known)).encode())
        if not self._preset.usage_of_session:
            return reading
        used = [max(0, now - earlier) for now, earlier in zip(total, before, strict=True)]
        return replace(reading, input_tokens=used[0], cached_tokens=used[1], output_tokens=used[2])

    def _read_note(self) -> Known:
        try:
            return from_plain(Known, json.loads(self._note.read_text()))
        except (FileNotFoundError, ValueError, RecordError):
            return Known()  # a session that we know nothing of is not gone on with
