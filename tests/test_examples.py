"""The examples are what their READMEs say: they load, and consist of the gates that they describe."""

from __future__ import annotations

from pathlib import Path

import pytest

from thrum.checks import gate_checks, integration_set, requirement
from thrum.configfile import load
from thrum.findings import Sighting, problems
from thrum.gate import Gate, Verdict

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
LOADED = sorted(path.parent.parent.name for path in EXAMPLES.glob("*/configs/pipeline.toml"))


def found_everywhere(program: str, mounts: tuple[str, ...]) -> Sighting:
    return Sighting(host=f"/usr/bin/{program}", inside=f"/usr/bin/{program}")


def test_the_examples_are_there() -> None:
    assert {"minimal", "pulseengine"} <= set(LOADED)


@pytest.mark.parametrize("name", LOADED)
def test_an_example_loads_is_explained_and_has_nothing_wrong_with_it(name: str) -> None:
    assert (EXAMPLES / name / "README.md").read_text().startswith("# ")
    project = load(EXAMPLES / name)
    assert project.implementer() is not None
    found = problems(
        project,
        which=found_everywhere,
        repository_problem=lambda repo: None,
        exists=lambda path: True,
    )
    assert [finding for finding in found if finding.level == "error"] == []


def test_minimal_has_gate_1_alone() -> None:
    project = load(EXAMPLES / "minimal")
    (repo,) = project.repos
    assert repo.name == "my-project"
    assert [check.name for check in gate_checks(project, repo, Gate.QUALITY)[0]] == ["fmt", "lint", "test"]
    assert gate_checks(project, repo, Gate.PROOF) == gate_checks(project, repo, Gate.INTEGRATION) == ((), ())
    assert requirement(project, repo, Gate.QUALITY, Verdict.NOT_CONFIGURED)


def test_pulseengine_chains_three_repositories() -> None:
    project = load(EXAMPLES / "pulseengine")
    assert [repo.name for repo in project.repos] == ["Meld", "Loom", "Synth"]
    for repo in project.repos:
        assert integration_set(project, repo.name) == ("Meld", "Loom", "Synth")
        steps, empty = gate_checks(project, repo, Gate.INTEGRATION)
        assert [(step.name, step.repo) for step in steps] == [
            ("meld fuse", "Meld"),
            ("loom optimize", "Loom"),
            ("synth compile", "Synth"),
        ]
        assert empty == ()
    fuse = ("cargo", "run", "--release", "--", "fuse", "{fixture}", "-o", "{output_dir}/fused.wasm")
    assert gate_checks(project, project.repos[0], Gate.INTEGRATION)[0][0].command == fuse
    proofs = {repo.name: [check.name for check in gate_checks(project, repo, Gate.PROOF)[0]] for repo in project.repos}
    assert proofs == {"Meld": ["rocq_proofs"], "Loom": ["z3_verify", "rocq_proofs"], "Synth": ["z3_verify"]}
    assert [project.safety(repo).approvers for repo in project.repos] == [1, 1, 2]
    assert "targets" in project.pipeline.release
