"""The pages in docs/ hold what they say: their configuration loads, their proofs prove."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from tests.projects import ThrumProject
from tests.repositories import commit
from tests.requirements import needs
from thrum.backends import PRESETS
from thrum.certification import LIMIT_S, SILENCE_S, SITUATIONS
from thrum.checks import PLACEHOLDERS
from thrum.config import RepoConfig
from thrum.configfile import load
from thrum.errors import ConfigError
from thrum.failures import TREATMENTS

ROOT = Path(__file__).resolve().parent.parent
GATES = (ROOT / "docs/gates.md").read_text()
AGENTS = (ROOT / "docs/agents.md").read_text()
REPOS = "".join(f'[[repo]]\nname = "{name}"\npath = "../{name}"\n' for name in ("meld", "loom", "synth"))
NAMED = re.compile(r"# (configs/(?:repos|pipeline)\.toml)\n")


def blocks(language: str) -> list[tuple[str, str]]:
    """What the pages have in this language, each with the page that it stands on."""
    pages = sorted((ROOT / "docs").glob("*.md"))
    fenced = re.compile(rf"^```{language}\n(.*?)^```", re.MULTILINE | re.DOTALL)
    return [(page.name, text) for page in pages for text in fenced.findall(page.read_text())]


def configured(directory: Path, text: str) -> None:
    """Load a project whose configuration is this text, in the file that its first line names."""
    named = NAMED.match(text)
    assert named, f"the first line must name the file: {text.splitlines()[0]}"
    (directory / "configs").mkdir()
    files = {"configs/repos.toml": REPOS, "configs/pipeline.toml": "", named[1]: text}
    for name, content in files.items():
        (directory / name).write_text(content)
    load(directory)


@pytest.mark.parametrize(("page", "text"), blocks("toml"))
def test_the_configuration_in_a_page_loads(tmp_path: Path, page: str, text: str) -> None:
    configured(tmp_path, text)


def test_configuration_that_is_wrong_would_be_found(tmp_path: Path) -> None:
    text = next(text for _, text in blocks("toml") if "[checks.types]" in text)
    with pytest.raises(ConfigError, match="types"):
        configured(tmp_path, text.replace("[checks.types]", "[checks.typos]"))


def block(language: str) -> str:
    (text,) = re.findall(rf"^```{language}\n(.*?)^```", GATES, re.MULTILINE | re.DOTALL)
    assert isinstance(text, str)
    return text


@needs("z3", "z3 for Python")
def test_the_obligations_in_the_page_on_gates_hold_and_their_contraries_do_not(tmp_path: Path) -> None:
    project = ThrumProject(tmp_path)
    project.configure(
        repo=f'[repo.proof]\nsmt = ["proofs/**/*.smt2"]\npython = ["proofs/*.py"]\ninterpreter = "{sys.executable}"\n'
    )
    files = {"proofs/counter.smt2": block("smt2"), "proofs/obligations.py": block("python")}
    commit(project.repo, files)
    project.command("gate", "run", "--gate", "proof")
    commit(
        project.repo,
        {
            "proofs/counter.smt2": files["proofs/counter.smt2"].replace("(assert (bvule", ";"),
            "proofs/obligations.py": files["proofs/obligations.py"].replace(">= y", "> y"),
        },
    )
    (check,) = (one for one in project.json("gate", "run", "--gate", "proof", code=3)["checks"] if one["tests"])
    assert check["tests"]["failed"] == 2
    assert "counterexample" in check["details"]


def test_all_placeholders_and_policies_are_told() -> None:
    for name in PLACEHOLDERS:
        assert f"`{{{name}}}`" in GATES
    for policy in get_args(get_type_hints(RepoConfig)["protected_change"]):
        assert f"| `{policy}`" in GATES


# --- Agents -----------------------------------------------------------------------------------------------------------


def rows(page: str, head: str) -> list[list[str]]:
    """The cells of the table whose head begins so."""
    lines = page.partition(f"| {head} |")[2].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_the_table_of_presets_is_what_they_are() -> None:
    told = rows(AGENTS, "preset")
    known = [one for one in PRESETS.values() if one.program]
    assert [(row[0], row[1], row[2]) for row in told] == [
        (f"`{one.name}`", f"`{one.program}`", one.tried_with) for one in known
    ]
    assert [row[3].split(", ") for row in told] == [[f"`{key}`" for key in one.keys] for one in known]
    assert [row[4].split(", ") for row in told] == [[f"`{host}`" for host in one.allow(())] for one in known]
    assert [row[5].startswith("yes") for row in told] == [bool(one.resume_args) for one in known]


def test_the_table_of_situations_is_what_they_promise() -> None:
    assert rows(AGENTS, "situation") == [[f"`{one.name}`", one.shall] for one in SITUATIONS]
    assert f"`--timeout` seconds ({LIMIT_S:g}), `--silence` ({SILENCE_S:g})" in AGENTS


def test_the_table_of_failures_is_what_is_done_about_them() -> None:
    told = rows(AGENTS, "failure")
    assert [row[0] for row in told] == [f"`{failure}`" for failure in TREATMENTS]
    for row, treatment in zip(told, TREATMENTS.values(), strict=True):
        actions, *more = row[1].split("; ")
        assert actions.split(", ") == [action.value for action in treatment.actions]
        words = ("counts as a retry", "its work is judged all the same", "holds its backend")
        said = (treatment.counts, treatment.judged, treatment.holds)
        assert more == [word for word, true in zip(words, said, strict=True) if true]
        assert row[2] == treatment.advice
