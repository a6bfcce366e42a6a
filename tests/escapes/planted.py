"""A clone of a repository, lent to an agent, harvested and imported as a worker and a repo actor do it."""

from __future__ import annotations

import hashlib
import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.escapes import Planting
from tests.repositories import git, make_repository
from thrum.errors import GitError
from thrum.files import remove_tree
from thrum.git.repository import Repository
from thrum.job import Job, Outcome
from thrum.sandbox import Sandbox
from thrum.workspace import Workspace

REF = "refs/thrum/attempts/demo-1/1"
NAIVELY = (("st",), ("add", "--all"), ("diff", "HEAD"), ("commit", "-qm", "x"), ("status",), ("checkout", "-q", "HEAD"))
"""What somebody would run on a clone who thinks nothing of it."""


class Planted:
    """A source repository and a clone of it, with a canary outside; put back as it was for each attempt."""

    def __init__(self, root: Path, sandbox: Sandbox) -> None:
        root.mkdir()
        root.chmod(0o777)
        self.sandbox = sandbox
        self._root = root
        self._kept = root.with_name(f"{root.name}-kept")
        self.source = make_repository(root / "source", {"file": "content\n", "folder/other": "other\n"})
        self.canary = root / "cage" / "canary"
        self.outside = root / "outside" / "target"
        for path in (self.canary, self.outside):
            path.parent.mkdir()
            path.parent.chmod(0o777)
        self.outside.write_text("as it was\n")
        self.outside.chmod(0o666)
        for path in (self.source, *self.source.rglob("*")):
            path.chmod(0o777)
        self._repository = Repository(self.source, "main")
        self.base = self._repository.tip()
        self.workspace = Workspace(root / "slot", self.source, sandbox)
        self._out = root / "out"
        self._before = self._state()
        self.workspace.prepare(self.base)
        _copy(root, self._kept)

    def plant(self, attempt: Planting) -> Outcome:
        """Run the attempt as an agent in a fresh clone."""
        remove_tree(self._root)
        _copy(self._kept, self._root)
        facts = {
            "SOURCE": self.source,
            "OBJECTS": self.source / ".git/objects",
            "OUTSIDE": self.outside,
            "SING": f"touch {self.canary}",
            "MARK": f"mark-{secrets.token_hex(6)}",
        }
        # Git shall not be held up by who owns what: that is no wall.
        trust = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
        job = Job(
            argv=("bash", "-c", attempt.script),
            cwd=str(self.workspace.tree),
            env={**{name: str(fact) for name, fact in facts.items()}, **trust},
            writable=(str(self.workspace.tree),),
            readable=self.workspace.readable,
            wall_s=120.0,
        )
        return self.sandbox.run(job)

    def bring_in(self) -> str:
        """Harvest the clone, import what it holds, and look at it; why none came in, or nothing."""
        try:
            harvest = self.workspace.harvest(self.base, self._out, message="Work")
            if harvest.bundle:
                head = self._repository.import_bundle(harvest.bundle, ref=REF, limit_bytes=1 << 24)
                git(self.source, "diff", self.base, head)
                git(self.source, "log", "-p", head)
        except GitError as error:
            return str(error)
        return ""

    def naively(self) -> None:
        """Have git run on the clone, as nobody should."""
        for args in NAIVELY:
            git(self.workspace.tree, *args, check=False)

    def escaped(self) -> Iterator[str]:
        """How what was planted got out, if it did."""
        if self.canary.exists():
            yield "the canary sang"
        if self.outside.read_text() != "as it was\n":
            yield "a file outside was written to"
        after = self._state()
        if changed := sorted(key for key, value in self._before.items() if after.get(key) != value):
            yield f"changed in the source: {', '.join(changed)}"
        if added := sorted(key for key in after.keys() - self._before.keys() if not _ours(key)):
            yield f"new in the source: {', '.join(added)}"
        if git(self.source, "fsck", "--strict", "--full", "--no-dangling", check=False):
            yield "the source is damaged"

    def _state(self) -> dict[str, str]:
        found = {}
        for parent, _, files in os.walk(self.source):
            for name in files:
                path = Path(parent, name)
                content = os.readlink(path).encode() if path.is_symlink() else path.read_bytes()
                found[str(path.relative_to(self.source))] = hashlib.sha256(content).hexdigest()
        return found


def _copy(source: Path, target: Path) -> None:
    """With owners, modes and times."""
    subprocess.run(("cp", "--archive", source, target), check=True)


def _ours(path: str) -> bool:
    """Whether an import may add such a file."""
    return path.startswith((".git/refs/thrum/", ".git/objects/", ".git/logs/refs/thrum/"))
