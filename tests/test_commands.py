"""What commands name in a repository, and so what of it is protected."""

from __future__ import annotations

from typing import Any

import pytest

from thrum.config import PipelineConfig, Project, RepoConfig
from thrum.fence import COMMANDS
from thrum.globs import matched
from thrum.protection import fence_of, protected
from thrum.records import from_plain
from thrum.task import Attempt


def named(**keys: Any) -> tuple[str, ...]:
    """What the commands of a repository `one` name; `steps` are Gate 3's, `checks` those of Gate 1 beside its own."""
    steps, checks = keys.pop("steps", []), keys.pop("checks", {})
    gates = {"quality": {"checks": ["test", *checks]}, "integration": {"steps": steps}}
    repos = tuple(
        from_plain(RepoConfig, {"name": name, "path": f"/srv/{name}", "protect": [COMMANDS], **keys})
        for name in ("one", "two")
    )
    pipeline = from_plain(PipelineConfig, {"gates": gates, "checks": {**checks, "idle": {"command": "./idle"}}})
    fence = fence_of(Project(directory="/srv", repos=repos, pipeline=pipeline), repos[0])
    return fence.always[1:]


@pytest.mark.parametrize(
    ("command", "paths"),
    [
        ("tools/test.sh", ("tools/test.sh",)),
        (["./tools/test", "src/a.py"], ("tools/test",)),
        ("sh ci/t.sh", ("ci/t.sh",)),
        ("bash -eu -o pipefail check", ("check",)),
        (["bash", "-c", "sh ci/t.sh && ./more"], ("ci/t.sh", "more")),
        ("A=1 env B=2 ./run | tee x.log", ("run",)),
        ("cd sub && ./run; sh t.sh", ("sub/run", "sub/t.sh")),
        ("source ci/env; . ./other", ("ci/env", "other")),
        ("timeout 60 ci/t.sh", ("ci/t.sh",)),
        ("python3 -X dev run_tests.py tests/a.py", ("run_tests.py",)),
        ('"$THRUM_SETUP/venv/bin/python" ci/run.py', ("ci/run.py",)),
        ("python3 -m tools.check -q tests/test_a.py", ("tools/check.py", "tools/check/__main__.py")),
        ("cd sub && python3 -m check", ("sub/check.py", "sub/check/__main__.py")),
        ("pytest tests/test_a.py src/", ()),
        ("node --test tests/a.test.js", ()),
        ("node scripts/test.js", ("scripts/test.js",)),
        ("mypy --config-file lint/types.ini src/a.py", ("lint/types.ini",)),
        ("pytest -c ci.cfg --rootdir=x --cov-config=cov.toml", ("ci.cfg", "cov.toml")),
        ("/usr/bin/test.sh ~/a.sh ../b.sh $X/c.sh *.sh", ()),
        ("it's ./odd", ("odd",)),
        ("bash -euo pipefail ci2/t", ("ci2/t",)),
        ("bash --rcfile ci2/rc -O extglob ci2/t x/y", ("ci2/rc", "ci2/t")),
        ("bash -lc './a b' c", ("a",)),
        ("(cd web && npm test) && ./run", ("run",)),
        ("cd a && (cd ../b; ./t) | ./u; cd ../c; ./v", ("b/t", "a/u", "c/v")),
        ("pushd sub && ./t && popd && ./u", ("sub/t", "u")),
        ("timeout -s KILL -k 5 60s x/run a/b", ("x/run",)),
        ("time -p x/run", ("x/run",)),
        ("nice -n 5 x/run", ("x/run",)),
        ("env -i -u C A=b x/run", ("x/run",)),
        ("stdbuf -oL xvfb-run -a -s '-screen 0' x/run", ("x/run",)),
        ('"$PWD/run" && ${PWD}/b', ("b", "run")),
        ("uv run --with x ci_x/run.py", ("ci_x/run.py",)),
        ("uv run pytest tests/test_a.py", ()),
        ("npx tsx scripts/test.ts", ("scripts/test.ts",)),
        ("coverage run tests/run_all.py", ("tests/run_all.py",)),
        ("python3 -m coverage run run_tests.py", ("coverage.py", "coverage/__main__.py", "run_tests.py")),
        ("python3 tools/check src", ("tools/check", "tools/check/**")),
        ("go run ./tools/check a.go", ("tools/check", "tools/check/**")),
        ("go vet pkg/a.go && go build cmd/a", ()),
        (
            "PYTHONPATH=src:$X python3 -m check",
            ("check.py", "check/__main__.py", "src/check.py", "src/check/__main__.py"),
        ),
        ("pytest -p tools.plugin -p no:xdist", ("tools/plugin.py", "tools/plugin/__main__.py")),
        ("mkdir -p core && rm -f src/a.py && test -f src/b.py", ()),
        ("make -f checks; awk -f t.awk x/y", ("checks", "t.awk")),
        ("pylint --rcfile cfg/pylint src/a.py", ("cfg/pylint",)),
        ("pip install -r deps/test.txt -r deps/more", ("deps/test.txt", "deps/more")),
        ("vitest --setup-files=web/before.ts --source src/a.ts --force src/b.ts", ("web/before.ts",)),
        ("ruff check . src/a.py && cc -o t src/main.c && cat tests/data.txt", ()),
        ("true", ()),
    ],
)
def test_the_scripts_and_settings_that_a_command_names_are_told_from_its_words(command: Any, paths: Any) -> None:
    assert sorted(named(test_cmd=command)) == sorted(paths)
    assert sorted(named(setup_cmd=command)) == sorted(paths)
    assert sorted(named(checks={"mine": {"command": command}})) == sorted(paths)


def test_a_step_names_its_scripts_but_not_the_work_and_a_comparison_names_what_it_compares_with() -> None:
    compare = "sh judge {artifact} expected/a.out {repo:two}/theirs"
    artifact = {"path": "a", "compare": compare}
    one = {"repo": "One", "label": "a", "command": "python3 make.py | ./post.sh", "artifacts": [artifact]}
    two = {
        "repo": "two",
        "label": "b",
        "command": "./two.sh",
        "artifacts": [{"path": "b", "compare": "cmp {repo:one}/x y"}],
    }
    found = named(steps=[one, two])
    assert sorted(path for path in found if not path.endswith("/**")) == ["expected/a.out", "judge", "post.sh", "x"]


@pytest.mark.parametrize(
    ("compare", "held", "others"),
    [
        ("cmp {artifact} golden.txt", ["golden.txt"], ["golden.py", "a/golden.txt"]),
        ("diff -r {output_dir} {repo:one}/expected", ["expected/a", "expected/b/c"], ["expected2/a"]),
        ("check --golden={repo:one}/x --more=expected/a", ["x", "expected/a"], ["golden"]),
        (["bash", "-c", "cmp {artifact} expected/a"], ["expected/a"], ["expected/b"]),
        ('test "$(cat {artifact})" = "$(cat {repo:one}/golden.txt)"', ["golden.txt"], ["tests/test_a.py"]),
        ('test "$(cat {artifact})" = "$(cat sub/golden.txt)"', ["sub/golden.txt"], ["golden.txt"]),
        ("cat {repo:one}/expected/* | cmp - {artifact}", ["expected/a", "expected/a/b"], ["other/a"]),
        ("cat exp*/[ab] | cmp - {artifact}", ["exp/a", "expected/b"], ["expected/c", "a"]),
        ("cd expected && sha256sum -c sum.sha", ["expected/sum.sha"], ["sum.sha"]),
        ("cd {repo:One}/expected && cmp {artifact} a", ["expected/a"], ["a", "expected/b"]),
        ("python3 {repo:one}/tools/judge {artifact}", ["tools/judge/__main__.py"], ["tools/a"]),
        ("diff -r {output_dir} {repo:two}/expected /etc/x ~/a ../b", [], ["expected/a", "etc/x", "a", "b"]),
    ],
)
def test_what_a_comparison_may_look_at_is_protected(compare: Any, held: list[str], others: list[str]) -> None:
    step = {"repo": "one", "label": "a", "command": "x", "artifacts": [{"path": "a", "compare": compare}]}
    assert list(matched([*held, *others], named(steps=[step]))) == held


def test_what_a_setup_reads_is_protected() -> None:
    assert named(setup_files=["deps.lst", "sub/more.lst"]) == ("deps.lst", "sub/more.lst")


def test_the_path_of_python_that_a_check_has_is_known() -> None:
    checks = {"mine": {"command": "python3 -m check", "env": {"PYTHONPATH": "lib:../x"}}}
    assert named(checks=checks) == ("check.py", "check/__main__.py", "lib/check.py", "lib/check/__main__.py")


def test_a_check_in_a_folder_names_what_lies_there() -> None:
    checks = {"mine": {"command": "./run && python3 -m check", "folder": "web"}}
    assert named(checks=checks) == ("web/run", "web/check.py", "web/check/__main__.py")


def test_they_are_protected_where_the_patterns_say_so() -> None:
    change = Attempt(token=1, base="base", files=("a.py", "tools/test.sh"))
    for protect, held in (([COMMANDS], ("tools/test.sh",)), (["*.v"], ())):
        keys = {"name": "one", "path": "/srv/one", "test_cmd": "tools/test.sh", "protect": protect}
        repo = from_plain(RepoConfig, keys)
        project = Project(directory="/srv", repos=(repo,), pipeline=PipelineConfig())
        assert protected(change, fence_of(project, repo)) == held
