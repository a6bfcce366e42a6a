"""A prover's workbench over a folder: a commit's files, a checkout of them, and a real sandbox."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from thrum.config import SandboxConfig
from thrum.job import Job, Outcome
from thrum.proof import Workbench
from thrum.sandbox import open_sandbox

KEPT_BYTES = 1024 * 1024


@contextmanager
def workbench(root: Path, files: Mapping[str, str | bytes], *, backend: str = "none") -> Iterator[Workbench]:
    """A bench on a checkout of these files below `root`, which must be a folder that is empty or new.

    The interpreter that runs the tests is there in each sandbox.
    """
    commit = {path: text.encode() if isinstance(text, str) else text for path, text in files.items()}
    tree, ours = root / "tree", root / "ours"
    for folder in (root, tree, ours):
        folder.mkdir(exist_ok=True)
    for path, content in commit.items():
        place = tree / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    mounts = () if backend == "none" else tuple({sys.prefix, sys.base_prefix} - {"/usr"})
    config = SandboxConfig(
        backend="os-native" if backend == "os-native" else "none",
        memory_limit_mb=0,
        pids_limit=0,
        file_size_limit_mb=0,
        mount_paths=mounts,
    )
    with open_sandbox(config, name=f"test-{os.getpid()}-{secrets.token_hex(4)}") as sandbox:
        if sandbox.uid is not None:
            for place in (tree, *tree.rglob("*")):
                os.chown(place, sandbox.uid, sandbox.uid)

        def put(name: str, content: bytes) -> str:
            place = ours / name
            place.write_bytes(content)
            place.chmod(0o644)
            return str(place)

        def run(argv: tuple[str, ...], limit_s: float) -> Outcome:
            job = Job(
                argv=argv,
                cwd=str(tree),
                writable=(str(tree),),
                readable=(str(ours),),
                wall_s=limit_s,
                tail_bytes=KEPT_BYTES,
            )
            return sandbox.run(job)

        yield Workbench(
            tree=str(tree),
            files=tuple(sorted(commit)),
            read=commit.__getitem__,
            put=put,
            which=lambda program: sandbox.which(program) or "",
            run=run,
        )
