"""One check's turn: what it is, where it runs, and what whoever runs it must know."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from thrum.checking.rooms import Room, Rooms
from thrum.config import Project
from thrum.files import OutputStore
from thrum.gate import Check, Command
from thrum.messages.gates import RunGate
from thrum.setups import Provision
from thrum.values import dataclass

HEAD_CHARS, TAIL_CHARS = 4_000, 12_000
"""How much of an output's beginning and end goes into a result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A check that is about to run on a clean checkout of its commit."""

    project: Project
    outputs: OutputStore
    asked: RunGate
    check: Check
    rooms: Rooms
    room: Room
    provision: Provision
    place: Path
    """A folder of this check's alone, which nothing in a sandbox writes to."""
    output_dir: Path
    """A folder that all steps of the run may write to."""
    judged_dir: Path
    """Copies of the artifacts made so far, for comparisons; nothing in a sandbox writes to it."""
    stop: threading.Event

    @property
    def commit(self) -> str:
        """What it runs on."""
        return self.asked.vector[self.check.repo]

    def environment(self) -> dict[str, str]:
        """What every check is given, the setup's and the check's own variables last."""
        return {**self.project.pipeline.sandbox.variables(os.environ), **self.provision.env, **self.check.env}

    def ours(self) -> Path:
        """The folder for files of ours that the check reads."""
        folder = self.place / "ours"
        folder.mkdir(exist_ok=True)
        return folder


def text_of(command: Command) -> str:
    """A command as a person reads it."""
    return command if isinstance(command, str) else " ".join(command)
