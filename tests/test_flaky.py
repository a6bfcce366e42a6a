"""A test that fails now and then, through a whole attempt: whoever approves sees that it did."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.projects import ThrumProject
from tests.repositories import commit


@pytest.mark.parametrize("reruns", [1, 0])
def test_a_flaky_test_passes_only_where_reruns_are_allowed_and_the_approver_sees_it(
    tmp_path: Path, reruns: int
) -> None:
    count = tmp_path / "runs"
    count.write_text("")
    # Runs 1 and 3 are on the base, before any agent and after the work's first: one fails. So does run 2, the work's;
    # run 4 is the work's again.
    flaky = f"""
def test_now_and_then():
    with open({str(count)!r}, "a+") as file:
        file.write(".")
        file.seek(0)
        assert len(file.read()) in (1, 4)
"""
    command = f"{sys.executable} -m pytest -q -p no:cacheprovider"
    project = ThrumProject(
        tmp_path, repo=f"test_cmd = {json.dumps(command)}", pipeline=f"[gates.quality]\nflaky_reruns = {reruns}"
    )
    commit(project.repo, {"test_it.py": flaky})
    task = project.add("Add a line")
    project.command("run", code=4 if reruns else 1)
    view = project.json("task", "show", task)
    [check] = [check for check in view["gates"][0]["checks"] if check["name"] == "test"]
    if reruns:
        assert (view["state"], check["verdict"]) == ("awaiting-approval", "passed")
        assert check["flaky"] == ["test_it.py::test_now_and_then"]
        shown = project.command("task", "show", task).out
        assert "passed only when run again: test_it.py::test_now_and_then" in shown
        assert len(count.read_text()) == 4
    else:
        assert view["state"] == "failed"
        assert (check["verdict"], check["flaky"]) == ("failed", [])
