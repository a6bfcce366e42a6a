"""Changes to the repositories of examples/pulseengine, in Python, that must not land, and one that must."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from tests.changes import HELD, Change
from tests.changes.course import Ground
from tests.systems import System

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/pulseengine"
PROGRAMS = EXAMPLE / "programs"
MELD, LOOM, SYNTH = ((PROGRAMS / "python" / name / f"{name}.py").read_text() for name in ("meld", "loom", "synth"))
FUSION = (PROGRAMS / "shared/meld/proofs/Fusion.v").read_text()


def changed(text: str, old: str, new: str) -> str:
    """The text with a part replaced that is there once."""
    assert text.count(old) == 1, old
    return text.replace(old, new)


HALF = '    "div-by-two": ("push 2; div", "push 1; sar"),'

EXAMPLE_BAD = (
    Change(
        name="modules-in-the-wrong-order",
        repo="meld",
        files={"meld.py": changed(MELD, "lines(first, names) + lines(second", "lines(second, names) + lines(first")},
        stopped="quality: test",
        said="one_after_the_other",
    ),
    Change(
        name="a-rule-that-is-wrong-for-some-words",
        repo="loom",
        files={"loom.py": changed(LOOM, "RULES = {", f"RULES = {{\n{HALF}")},
        script="python3 loom.py obligation div-by-two >proofs/div-by-two.smt2",
        stopped="proof: z3_verify",
        said="counterexample",
    ),
    Change(
        name="rules-that-expect-the-contrary",
        repo="loom",
        files={},
        script="sed -i 's/:status unsat/:status sat/' loom.py proofs/*.smt2",
        stopped="proof: z3_verify",
        said="the configuration expects unsat",
    ),
    Change(
        name="a-theorem-admitted",
        repo="meld",
        files={"proofs/Fusion.v": f"{FUSION}\nTheorem more : forall p, run p None = None.\nAdmitted.\n"},
        stopped="proof: rocq_proofs",
        said="Admitted",
    ),
    Change(
        name="a-theorem-about-nothing",
        repo="meld",
        files={
            "proofs/Fusion.v": FUSION[: FUSION.index("Theorem")]
            + "Theorem run_app : run [] None = None.\nProof. reflexivity. Qed.\n"
        },
        stopped=HELD,
        said="proofs/Fusion.v",
    ),
    Change(
        name="a-comment-that-a-neighbour-cannot-read",
        repo="meld",
        files={"meld.py": changed(MELD, 'write_text("".join', 'write_text("# fused\\n" + "".join')},
        stopped="integration: synth compile",
        said="# fused: no such instruction",
    ),
    Change(
        name="a-quotient-that-is-wrong-for-real-numbers",
        repo="synth",
        files={"synth.py": changed(SYNTH, "return abs(a) // abs(b)", "return a // b if a < -99 else abs(a) // abs(b)")},
        stopped="integration: run it",
        said="1 wrong",
    ),
    Change(
        name="a-runner-of-its-own",
        repo="synth",
        files={
            "synth.py": changed(SYNTH, '"{a} - {b}"', '"{b} - {a}"'),
            "unittest/__init__.py": "",
            "unittest/__main__.py": 'print("Ran 5 tests in 0.001s\\n\\nOK")\n',
        },
        stopped=HELD,
        said="unittest/__init__.py",
    ),
)
EXAMPLE_GOOD = (Change(name="good-documentation-of-an-example", repo="synth", files={"README.md": "# synth\n"}),)


def _lay(system: System, agent: tuple[str, ...]) -> None:
    """The example's own project, but for the agent, and that nothing is tried twice."""
    directory = system.directory
    made = directory / "made"
    subprocess.run([sys.executable, str(EXAMPLE / "make.py"), "python", str(made)], check=True, capture_output=True)
    shutil.copytree(made, directory, dirs_exist_ok=True)
    pipeline = directory / "configs/pipeline.toml"
    text = pipeline.read_text()
    for old, new in (
        ("max_retries = 2\n", "max_retries = 0\nper_repo_limit = 3\nagents = 6\ngate_actors = 3\n"),
        ('command = "agent/agent.py"', f'command = "{agent[0]}"'),
        ('prompt_args = ["{prompt_file}"]', f"prompt_args = {json.dumps([*agent[1:], '{prompt_file}'])}"),
        ('mount_paths = ["agent"]', f"mount_paths = {json.dumps([*agent[1:], str(directory / 'changes')])}"),
    ):
        text = changed(text, old, new)
    pipeline.write_text(f"{text}\n[api]\nenabled = false\n")


GROUND = Ground(repos=("meld", "loom", "synth"), lay=_lay)
