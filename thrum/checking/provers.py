"""A check of Gate 2 that Thrum proves itself: a prover at its workbench in the sandbox."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from thrum.checking.turn import TAIL_CHARS, Turn
from thrum.errors import NotFoundError
from thrum.gate import SETUP_PREFIX, CheckResult, Obligations, Verdict
from thrum.globs import matched
from thrum.job import Job, Outcome
from thrum.masking import masked, secrets
from thrum.proof import Proof, Workbench

OUTPUT_BYTES = 1024 * 1024


def prove(turn: Turn) -> CheckResult:
    """Have the check's prover prove its obligations, on the turn's checkout."""
    began = time.monotonic()
    check, told = turn.check, turn.check.obligations
    assert told is not None
    wanted = (*told.smt, *told.python) if check.prover == "z3" else told.rocq
    links = matched(turn.room.git.links(turn.commit), wanted)
    if links:
        reason = f"no file but a link, so it proves nothing: {', '.join(links)}"
        return CheckResult(name=check.name, verdict=Verdict.FAILED, reason=reason, command=check.prover)
    proof = _prover(check.prover)(told, _bench(turn))
    # It tells what stands in the files, which nothing has masked.
    text = masked(proof.log, secrets(turn.project, os.environ))
    log = text.encode(errors="replace")
    return CheckResult(
        name=check.name,
        verdict=proof.verdict,
        exit_code=proof.exit_code,
        duration_s=time.monotonic() - began,
        reason=proof.reason,
        command=check.prover,
        tail=text[-TAIL_CHARS:],
        output_digest=turn.outputs.keep(log) if log else "",
        output_bytes=len(log),
        tests=proof.tests,
        details=proof.details,
    )


def _bench(turn: Turn) -> Workbench:
    room, ours = turn.room, turn.ours()
    tree = str(room.workspace.tree)

    def read(path: str) -> bytes:
        data = room.git.read_file(turn.commit, path)
        if data is None:
            raise NotFoundError(f"{turn.commit[:12]} has no file {path}")
        return data

    def put(name: str, data: bytes) -> str:
        (ours / name).write_bytes(data)
        return str(ours / name)

    def run(argv: tuple[str, ...], wall_s: float) -> Outcome:
        job = Job(
            argv=argv,
            cwd=tree,
            env=turn.environment(),
            writable=(tree,),
            readable=(*room.workspace.readable, *turn.provision.readable, str(ours)),
            wall_s=min(wall_s, turn.check.timeout_s),
            output_limit_bytes=OUTPUT_BYTES,
            tail_bytes=OUTPUT_BYTES,
        )
        return room.sandbox.run(job, stop=turn.stop)

    def which(program: str) -> str:
        if program.startswith(SETUP_PREFIX):
            path = os.path.join(turn.provision.env.get("THRUM_SETUP", "/"), program.removeprefix(SETUP_PREFIX))
            return path if os.access(path, os.X_OK) else ""
        return room.sandbox.which(program) or ""

    return Workbench(tree=tree, files=room.git.files(turn.commit), read=read, put=put, which=which, run=run)


def _prover(name: str) -> Callable[[Obligations, Workbench], Proof]:
    # Imported here: most repositories prove nothing.
    if name == "z3":
        from thrum.proof.z3 import prove as prove_smt

        return prove_smt
    from thrum.proof.rocq import prove as prove_rocq

    return prove_rocq
