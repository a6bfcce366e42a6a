"""A `Workbench` over a folder, with runs in one of Thrum's own sandboxes."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path

from thrum.config import SandboxConfig
from thrum.job import Job, Outcome
from thrum.proof import Workbench
from thrum.sandbox import open_sandbox


@contextlib.contextmanager
def workbench(
    directory: Path, files: Mapping[str, str | bytes], *, backend: str = "none", hidden: tuple[str, ...] = ()
) -> Iterator[Workbench]:
    """A checkout of the files below `directory`; `hidden` are programs that are not to be found.

    A file whose content begins with `-> ` is committed as what follows, and lies in the checkout as a link to it.
    """
    content = {path: text.encode() if isinstance(text, str) else text for path, text in files.items()}
    tree, ours = directory / "tree", directory / "ours"
    tree.mkdir()
    ours.mkdir()
    for path, data in content.items():
        place = tree / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if data.startswith(b"-> "):
            content[path] = data.removeprefix(b"-> ")
            place.symlink_to(content[path].decode())
        else:
            place.write_bytes(data)
    config = SandboxConfig(backend=backend, memory_limit_mb=0, pids_limit=0, file_size_limit_mb=16)
    with open_sandbox(config, name=f"rocq-bench-{os.getpid()}-{secrets.token_hex(4)}") as sandbox:
        if sandbox.uid is not None:
            for folder, _, names in os.walk(tree):
                for name in ("", *names):
                    os.lchown(os.path.join(folder, name), sandbox.uid, sandbox.uid)

        def put(name: str, data: bytes) -> str:
            (ours / name).write_bytes(data)
            return str(ours / name)

        def run(argv: tuple[str, ...], wall_s: float) -> Outcome:
            job = Job(
                argv=argv,
                cwd=str(tree),
                writable=(str(tree),),
                readable=(str(ours),),
                wall_s=wall_s,
                tail_bytes=1024 * 1024,
                output_limit_ends=False,
            )
            return sandbox.run(job)

        yield Workbench(
            tree=str(tree),
            files=tuple(sorted(content)),
            read=content.__getitem__,
            put=put,
            which=lambda program: "" if program in hidden else sandbox.which(program) or "",
            run=run,
        )
