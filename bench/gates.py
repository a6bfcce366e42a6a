"""What a gate costs beside its bare commands on a bare checkout: `python bench/gates.py [--quick]`.

Three checks that take a second each (`sleep 1`), one after the other, on a commit that was not checked before. Thrum
runs them as one gate actor does, each on a clean checkout of its own, in a sandbox, with its output kept. Beside it two
floors that run the same three commands through bash, one after the other, on one checkout that they share, made and
thrown away each time: by `git worktree add`, and by `git clone --shared`.

Every run is of another commit that changes one file. Thrum's runner is warm, as a gate actor is: it has checked one
commit before the clock starts. `--cold` counts its first commit instead. What passed on a tree is taken over for it
without running again: the last column is the same gate, asked for a second time, beside its first time.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import common

from thrum.checking import CheckRunner
from thrum.checks import gate_checks
from thrum.configfile import load
from thrum.files import OutputStore
from thrum.gate import Check, CheckResult, Gate, Verdict
from thrum.messages.gates import RunGate

FILES = (20, 5000)
SANDBOXES = ("none", "os-native")
REPO = "one"
CHECKS = 3
GOAL = 1.1


def make_commits(project: Path, files: int, count: int) -> list[str]:
    """So many commits on top of each other, each with one file changed, over a tree of so many files."""
    repo = project / REPO
    for number in range(files - 1):
        file = repo / f"folder{number % 50}" / f"file{number}.txt"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"{number}\n" * 40)
    common.git(repo, "add", "-A")
    commits = []
    for number in range(count):
        (repo / "README").write_text(f"{number}\n")
        common.git(repo, "commit", "-q", "-a", "-m", f"Change {number}")
        commits.append(common.git(repo, "rev-parse", "HEAD"))
    return commits


def make_project(directory: Path, sandbox: str, command: str) -> None:
    common.make_project(directory, (REPO,), sandbox=sandbox)
    keys = "".join(f'{key} = "{command}"\n' for key in ("fmt_cmd", "lint_cmd", "test_cmd"))
    with (directory / "configs/repos.toml").open("a") as repos:
        repos.write(f"{keys}expect_tests = false\n")
    # Under mounts of its own nothing is taken over; the checks need none.
    pipeline = directory / "configs/pipeline.toml"
    lines = pipeline.read_text().splitlines(keepends=True)
    pipeline.write_text("".join(line for line in lines if not line.startswith("mount_paths")))


class Bare:
    """The floors: a checkout, the commands, and away with it."""

    def __init__(self, project: Path, command: str) -> None:
        self._repo, self._command = project / REPO, command
        self._tree = project / "bare"

    def worktree(self, commit: str) -> None:
        common.git(self._repo, "worktree", "add", "--quiet", "--detach", str(self._tree), commit)
        self._checks()
        common.git(self._repo, "worktree", "remove", "--force", str(self._tree))

    def clone(self, commit: str) -> None:
        subprocess.run(
            ["git", "clone", "--quiet", "--shared", "--no-checkout", str(self._repo), str(self._tree)], check=True
        )
        common.git(self._tree, "checkout", "--quiet", "--detach", commit)
        self._checks()
        shutil.rmtree(self._tree)

    def _checks(self) -> None:
        for _ in range(CHECKS):
            subprocess.run(["bash", "-o", "pipefail", "-c", self._command], cwd=self._tree, check=True)


class Thrum:
    """One gate actor's runner."""

    def __init__(self, directory: Path) -> None:
        project = load(directory)
        self._checks, _ = gate_checks(project, project.repos[0], Gate.QUALITY)
        assert len(self._checks) == CHECKS
        outputs = OutputStore(directory / ".thrum/outputs")
        owner = f"bench-gates-{os.getpid()}"
        self._runner = CheckRunner(project, outputs, directory / ".thrum/work/gate", owner)
        self._stop = threading.Event()
        self._known: dict[str, CheckResult] = {}

    def gate(self, commit: str) -> None:
        """Each check as a part of its own, which is how gate actors are handed them."""
        self._known = {check.name: self._run(commit, check, {}) for check in self._checks}

    def again(self, commit: str) -> None:
        """The gate that `gate` has just run, with what it said."""
        for check in self._checks:
            if not self._run(commit, check, self._known).cached:
                raise SystemExit(f"{check.name} was not taken over")

    def _run(self, commit: str, check: Check, known: dict[str, CheckResult]) -> CheckResult:
        asked = RunGate(
            run=f"{commit}/{check.name}", gate=Gate.QUALITY, checks=(check,), vector={REPO: commit}, known=known
        )
        (result,) = self._runner.run(asked, self._stop).checks
        if result.verdict is not Verdict.PASSED:
            raise SystemExit(f"{check.name}: {result.verdict}: {result.reason}")
        return result

    def close(self) -> None:
        self._runner.close()


def timed(run: Callable[[str], None], commit: str) -> float:
    began = time.monotonic()
    run(commit)
    return time.monotonic() - began


def measure(files: int, sandbox: str, seconds: float, repeats: int, cold: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        command = f"sleep {seconds:g}"
        make_project(directory, sandbox, command)
        commits = make_commits(directory, files, repeats + 1)
        bare, thrum = Bare(directory, command), Thrum(directory)
        try:
            first_s = timed(thrum.gate, commits[-1])
            taken_over = sandbox != "none"  # without a sandbox nobody knows what a result depends on
            runs = [
                (
                    timed(thrum.gate, commit),
                    timed(bare.worktree, commit),
                    timed(bare.clone, commit),
                    timed(thrum.again, commit) if taken_over else math.nan,
                )
                for commit in commits[: 1 if cold else repeats]
            ]
        finally:
            thrum.close()
        if cold:
            runs = [(first_s, *runs[0][1:])]
        tell(files, sandbox, runs)


def tell(files: int, sandbox: str, runs: list[tuple[float, float, float, float]]) -> None:
    thrum_s, worktree_s, clone_s, again_s = (statistics.median(column) for column in zip(*runs, strict=True))
    ratios = []
    for place in (1, 2):
        found = [run[0] / run[place] for run in runs]
        ratios.append(f"{statistics.median(found):.3f} (best {min(found):.3f})")
    print(
        f"{files:6} files  {sandbox:10} Thrum {thrum_s:6.2f} s   worktree {worktree_s:6.2f} s   clone {clone_s:6.2f} s"
        f"   × worktree {ratios[0]}   × clone {ratios[1]}"
        + ("" if math.isnan(again_s) else f"   again {again_s:5.2f} s, × {again_s / thrum_s:.3f}"),
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one commit each")
    parser.add_argument("--cold", action="store_true", help="count the first commit of a new runner, once")
    parser.add_argument("--seconds", type=float, default=1.0, help="how long each check takes [default: 1]")
    parser.add_argument("--files", type=int, help="only this many")
    parser.add_argument("--sandbox", choices=SANDBOXES, help="only this one")
    options = parser.parse_args()
    repeats = 1 if options.quick else 5
    print(f"{CHECKS} checks of {options.seconds:g} s, one after the other; medians of {repeats}; goal × {GOAL}")
    for files in (options.files,) if options.files else FILES:
        for sandbox in (options.sandbox,) if options.sandbox else SANDBOXES:
            measure(files, sandbox, options.seconds, repeats, options.cold)


if __name__ == "__main__":
    main()
