"""What `thrum init` finds in a repository and on the machine, and the files it writes of that."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thrum.configfile import load
from thrum.detection import detect as detection
from thrum.detection.detect import AGENTS, Detection, detect, draft, find_agents, render_pipeline, render_repos
from thrum.detection.languages import propose
from thrum.detection.toolchain import mounts_for, outermost, sight, tool_variables
from thrum.places import PIPELINE, REPOS
from thrum.sandbox.mounts import SYSTEM


def tree(root: Path, contents: dict[str, str]) -> Path:
    for name, text in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def program(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def git(root: Path, *args: str) -> None:
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
    names = [f"{key}={value}" for key, value in (("user.name", "A"), ("user.email", "a@b.c"))]
    config = [word for name in names for word in ("-c", name)]
    subprocess.run(["git", *config, *args], cwd=root, env=env, check=True, capture_output=True, timeout=60)


def repository(root: Path, contents: dict[str, str], branch: str = "main") -> Path:
    tree(root, contents)
    git(root, "init", "-q", "-b", branch)
    git(root, "add", "-A")
    git(root, "commit", "-q", "--allow-empty", "-m", "first")
    return root


def installed(names: list[str]) -> bool:
    return True


def missing(names: list[str]) -> bool:
    return not names


CARGO = "[package]\nname = 'x'\n"
VENV = '"$THRUM_SETUP/venv/bin/python"'


@pytest.mark.parametrize(
    ("contents", "has", "language", "commands"),
    [
        (
            {"Cargo.toml": CARGO},
            missing,
            "Rust",
            {
                "fmt": "cargo fmt --all -- --check",
                "lint": "cargo clippy --offline --all-targets -- -D warnings",
                "test": "cargo test --offline",
                "setup": "",
            },
        ),
        (
            {"Cargo.toml": CARGO, "Cargo.lock": '[[package]]\nsource = "registry+x"\n'},
            missing,
            "Rust",
            {
                "test": 'CARGO_HOME="$THRUM_SETUP/cargo" cargo test --offline',
                "setup": 'CARGO_HOME="$THRUM_SETUP/cargo" cargo fetch',
            },
        ),
        ({"go.mod": "module x"}, missing, "Go", {"test": "go test ./...", "lint": "go vet ./...", "setup": ""}),
        (
            {"go.mod": "module x", "go.sum": "x"},
            missing,
            "Go",
            {
                "test": 'GOMODCACHE="$THRUM_SETUP/go" go test ./...',
                "setup": 'GOMODCACHE="$THRUM_SETUP/go" go mod download',
            },
        ),
        (
            {"package.json": '{"scripts": {"test": "node --test", "format:check": "x", "lint": "y"}}'},
            missing,
            "Node",
            {"test": "npm run test", "fmt": "npm run format:check", "lint": "npm run lint", "build": "", "setup": ""},
        ),
        (
            {
                "package.json": '{"scripts": {"test": "t", "build": "b"}, "dependencies": {"a": "1"}}',
                "pnpm-lock.yaml": "",
            },
            missing,
            "Node",
            {
                "test": 'ln -sfn "$THRUM_SETUP/node_modules" node_modules && pnpm run test',
                "setup": 'cp package.json pnpm-lock.yaml "$THRUM_SETUP" && cd "$THRUM_SETUP" && '
                "pnpm install --frozen-lockfile",
            },
        ),
        (
            {"package.json": '{"scripts": {"test": "npm run unit && npm run more", "more": "vitest", "unit": "x"}}'},
            missing,
            "Node",
            {"test": "npm run test", "expect_tests": True},
        ),
        ({"package.json": '{"scripts": {"test": "ava"}}'}, missing, "Node", {"expect_tests": False}),
        (
            {"package.json": '{"scripts": {"test": "echo \\"Error: no test specified\\" && exit 1"}}', "yarn.lock": ""},
            missing,
            "Node",
            {"test": ""},
        ),
        (
            {"pyproject.toml": "[tool.pytest.ini_options]\n[tool.ruff.format]", "src/x/__init__.py": ""},
            installed,
            "Python",
            {
                "test": "PYTHONPATH=src python3 -m pytest -q",
                "fmt": "python3 -m ruff format --check .",
                "lint": "python3 -m ruff check .",
                "setup": "",
            },
        ),
        (
            {
                "pyproject.toml": "[project]\nname = 'x'\ndependencies = ['a>=1', 'x[self]']\n[tool.black]",
                "conftest.py": "",
            },
            missing,
            "Python",
            {
                "test": f"{VENV} -m pytest -q",
                "fmt": f"{VENV} -m black --check .",
                "lint": "",
                "setup": f"python3 -m venv \"$THRUM_SETUP/venv\" && {VENV} -m pip install 'a>=1' black pytest",
            },
        ),
        (
            {"setup.cfg": "[flake8]\n[tool:pytest]\n", "requirements.txt": "# x\n-r other\nb==2 # why\n"},
            missing,
            "Python",
            {
                "lint": f"{VENV} -m flake8",
                "setup": f'python3 -m venv "$THRUM_SETUP/venv" && {VENV} -m pip install b==2 flake8 pytest',
            },
        ),
        (
            {"setup.py": "", "tests/test_a.py": "import unittest"},
            missing,
            "Python",
            {"test": "python3 -m unittest discover -s tests", "setup": "", "fmt": "", "lint": ""},
        ),
        ({"setup.py": "", "test_a.py": "def test_a(): pass"}, installed, "Python", {"test": "python3 -m pytest -q"}),
        (
            {"pyproject.toml": "[project.optional-dependencies]\ntest = ['pytest>=8']\ndocs = ['sphinx']"},
            missing,
            "Python",
            {"setup": f"python3 -m venv \"$THRUM_SETUP/venv\" && {VENV} -m pip install 'pytest>=8'"},
        ),
        ({"a.py": "", "test_a.py": "def test_a(): pass"}, installed, "Python", {"test": "python3 -m pytest -q"}),
        ({"app/main.py": "", "README": ""}, installed, "Python", {"test": "", "setup": ""}),
        ({"go.mod": "module a\n", "tools/gen.py": ""}, installed, "Go", {"test": "go test ./..."}),
        (
            {"pyproject.toml": "", ".pre-commit-config.yaml": "- id: ruff-format"},
            installed,
            "Python",
            {"fmt": "python3 -m ruff format --check ."},
        ),
    ],
)
def test_commands_follow_from_what_the_repository_configures(
    tmp_path: Path,
    contents: dict[str, str],
    has: Callable[[list[str]], bool],
    language: str,
    commands: dict[str, str],
) -> None:
    found = propose(tree(tmp_path, contents), has)[0]
    assert found.language == language
    assert {key: getattr(found, key) for key in commands} == commands


@pytest.mark.parametrize(
    "contents",
    [{}, {"README": ""}, {"package.json": "{"}, {"package.json": "[]"}, {"src/Cargo.toml": CARGO}, {".x/a.py": ""}],
)
def test_what_is_not_recognised_is_not_guessed(tmp_path: Path, contents: dict[str, str]) -> None:
    assert propose(tree(tmp_path, contents), missing) == ()


@pytest.mark.parametrize("text", ["[project", "[project]\ndependencies = 3\n[tool]\nruff = 1", "\x00\xff"])
def test_a_broken_manifest_breaks_nothing(tmp_path: Path, text: str) -> None:
    tree(tmp_path, {"pyproject.toml": text, "setup.cfg": "no section\n"})
    assert propose(tmp_path, missing)[0].language == "Python"


def test_a_repository_is_described_with_its_branch(tmp_path: Path) -> None:
    root = repository(tmp_path / "My Project.git", {"Cargo.toml": CARGO}, branch="trunk")
    found = detect(root)
    assert (found.name, found.path, found.branch, found.languages) == ("My-Project", str(root), "trunk", ("Rust",))
    assert found.build_cmd == "cargo build --offline"
    assert found.notes == ()


def test_work_lands_on_main_even_while_another_branch_is_checked_out(tmp_path: Path) -> None:
    root = repository(tmp_path / "a", {"Cargo.toml": CARGO})
    git(root, "checkout", "-q", "-b", "feature")
    found = detect(root)
    assert found.branch == "main"
    assert found.notes == ("feature is checked out; approved work will land on main",)
    git(root, "branch", "-D", "main")
    assert detect(root).branch == "feature"


def test_the_branch_that_the_origin_names_comes_first(tmp_path: Path) -> None:
    repository(tmp_path / "origin", {"Cargo.toml": CARGO}, branch="develop")
    git(tmp_path, "clone", "-q", "origin", "clone")
    git(tmp_path / "clone", "checkout", "-q", "-b", "main")
    assert detect(tmp_path / "clone").branch == "develop"


def test_a_detached_head_and_a_bare_repository_are_no_obstacle(tmp_path: Path) -> None:
    root = repository(tmp_path / "a", {"Cargo.toml": CARGO}, branch="trunk")
    git(root, "checkout", "-q", "--detach")
    assert detect(root).branch == "trunk"
    git(tmp_path, "clone", "-q", "--bare", "a", "bare.git")
    assert detect(tmp_path / "bare.git").branch == "trunk"


def test_what_stands_in_the_way_is_noted(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    git(empty, "init", "-q", "-b", "trunk")
    assert any("no commit yet" in note for note in detect(empty).notes)
    assert detect(empty).branch == "trunk"
    inside = repository(tmp_path / "outer", {"Cargo.toml": CARGO, "sub/x": ""})
    assert any("no repository that git can read" in note for note in detect(inside / "sub").notes)
    assert any("no repository that git can read" in note for note in detect(tmp_path / "nowhere").notes)
    assert any("add .thrum/" in note for note in detect(inside, project_directory=inside / "sub").notes)
    assert detect(inside, project_directory=tmp_path).notes == ()


def test_scripts_beside_another_language_are_not_taken_for_one(tmp_path: Path) -> None:
    root = repository(tmp_path / "a", {"go.mod": "module a\n", "tools/gen.py": ""})
    assert detect(root).languages == ("Go",)


def test_a_second_language_is_noted(tmp_path: Path) -> None:
    root = repository(tmp_path / "a", {"Cargo.toml": CARGO, "package.json": "{}", "setup.py": ""})
    found = detect(root)
    assert found.languages == ("Rust", "Python", "Node")
    assert "the commands are those for Rust; there is Python, Node too" in found.notes


# --- Programs and mounts ------------------------------------------------------------------------------------------


def test_a_system_program_is_seen_and_a_missing_one_is_not() -> None:
    environ = {"PATH": "/usr/bin:/bin"}
    seen = sight("sh", (), environ=environ)
    assert seen.host == seen.inside
    assert seen.host
    assert seen.mounts == ()
    assert sight("no-such-program", (), environ=environ) == sight("/no/such", (), environ=environ)
    assert not sight("no-such-program", (), environ=environ).host


def test_a_program_outside_of_the_system_is_seen_only_where_it_is_mounted(tmp_path: Path) -> None:
    tool = program(tmp_path / "tools/mytool")
    environ = {"PATH": f"{tmp_path}/tools:/usr/bin:/bin"}
    hidden = sight("mytool", (), environ=environ)
    assert (hidden.host, hidden.inside, hidden.mounts) == (str(tool), "", (str(tool.parent),))
    shown = sight("mytool", hidden.mounts, environ=environ)
    assert (shown.inside, shown.mounts) == (str(tool), ())
    assert sight(str(tool), (), environ=environ).inside == ""
    assert sight(str(tool), hidden.mounts, environ=environ).inside == str(tool)


def test_a_program_that_shadows_one_of_the_system_is_told_apart(tmp_path: Path) -> None:
    shadow = program(tmp_path / "shims/sh")
    sighting = sight("sh", (), environ={"PATH": f"{shadow.parent}:/usr/bin:/bin"})
    assert sighting.host == str(shadow)
    assert sighting.inside.startswith(SYSTEM)
    assert sighting.mounts == (str(shadow.parent),)


def test_a_link_needs_its_folder_and_its_targets(tmp_path: Path) -> None:
    target = program(tmp_path / "share/versions/1/tool")
    link = tmp_path / ".local/bin/tool"
    link.parent.mkdir(parents=True)
    link.symlink_to(target)
    (tmp_path / ".local/lib").mkdir()
    environ = {"PATH": str(link.parent)}
    sighting = sight("tool", (), environ=environ)
    assert set(sighting.mounts) == {str(link.parent), str(target.parent)}
    assert sight("tool", (str(link.parent),), environ=environ).inside == ""
    assert sight("tool", sighting.mounts, environ=environ).inside


def test_a_virtual_environment_needs_the_python_it_was_made_with(tmp_path: Path) -> None:
    base = tmp_path / "base"
    program(base / "bin/python3")
    (base / "lib").mkdir()
    venv = tmp_path / "venv"
    tool = program(venv / "bin/tool", f"#!{venv}/bin/python3\n")
    program(venv / "bin/python3")
    (venv / "pyvenv.cfg").write_text(f"home = {base}/bin\nversion = 3.11\n")
    assert mounts_for(str(tool)) == tuple(sorted([str(base), str(venv)]))


def test_a_script_needs_the_interpreter_of_its_first_line(tmp_path: Path) -> None:
    node = program(tmp_path / "node/bin/node")
    (tmp_path / "node/lib").mkdir()
    script = program(tmp_path / "agent/agent", "#!/usr/bin/env -S node --flag\n")
    environ = {"PATH": str(node.parent)}
    assert mounts_for(str(script), environ=environ) == (str(tmp_path / "agent"), str(tmp_path / "node"))


def test_a_program_of_npm_needs_all_of_the_modules_around_it(tmp_path: Path) -> None:
    script = program(tmp_path / "lib/node_modules/@scope/agent/bin/agent.js")
    link = tmp_path / "tools/agent"
    link.parent.mkdir()
    link.symlink_to(script)
    found = mounts_for(str(link), environ={"PATH": "/usr/bin:/bin"})
    assert found == (str(tmp_path / "lib/node_modules"), str(tmp_path / "tools"))


def test_rustup_and_pyenv_need_more_than_their_programs(tmp_path: Path) -> None:
    cargo = program(tmp_path / ".cargo/bin/cargo")
    program(tmp_path / ".cargo/bin/rustup")
    (tmp_path / ".cargo/lib").mkdir()
    rustup = str(tmp_path / ".rustup")
    assert mounts_for(str(cargo), environ={}) == (str(cargo.parent), rustup)
    shim = program(tmp_path / "pyenv/shims/python")
    (tmp_path / "pyenv/versions").mkdir()
    assert mounts_for(str(shim), environ={}) == (str(tmp_path / "pyenv"),)
    assert tool_variables(["/x", rustup]) == {"RUSTUP_HOME": rustup}
    assert tool_variables(["/x"]) == {}


def test_links_in_a_circle_come_to_an_end(tmp_path: Path) -> None:
    one, two = tmp_path / "a/one", tmp_path / "b/two"
    program(one, f"#!{two}\n")
    program(two, f"#!{one}\n")
    assert mounts_for(str(one)) == (str(one.parent), str(two.parent))


def test_paths_in_other_paths_are_left_out() -> None:
    assert outermost(["/a/b", "/a", "/ab", "/a/b/c", "/a"]) == ("/a", "/ab")


def test_agents_are_found_on_the_path_in_our_order(tmp_path: Path) -> None:
    program(tmp_path / "codex")
    program(tmp_path / "claude")
    found = find_agents(environ={"PATH": str(tmp_path)})
    assert [agent.program for agent in found] == ["claude", "codex"]
    assert find_agents(environ={"PATH": ""}) == ()


def test_the_libraries_of_another_python_do_not_count() -> None:
    assert detection._has_distributions([])
    assert not detection._has_distributions(["no-such-distribution-of-ours>=1"])


# --- The files ------------------------------------------------------------------------------------------------------


def written(directory: Path, repos: str, pipeline: str) -> Path:
    return tree(directory, {REPOS: repos, PIPELINE: pipeline})


def test_the_draft_of_real_repositories_loads_and_says_what_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin/codex")
    program(tmp_path / "bin/claude")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    one = repository(tmp_path / "x/same", {"Cargo.toml": CARGO, "Cargo.lock": 'source = "y"\n'})
    two = repository(tmp_path / "y/Same", {"package.json": '{"scripts": {"test": "t"}}'}, branch="trunk")
    text = draft([one, two], project_directory=tmp_path, limits_bind=False)
    project = load(tree(tmp_path / "project", text))
    assert [(repo.name, repo.path, repo.branch) for repo in project.repos] == [
        ("same", str(one), "main"),
        ("Same_2", str(two), "trunk"),
    ]
    assert project.repos[0].setup_cmd == 'CARGO_HOME="$THRUM_SETUP/cargo" cargo fetch'
    assert (project.repos[1].test_cmd, project.repos[1].expect_tests) == ("npm run test", False)
    assert project.repos[0].expect_tests
    assert [backend.name for backend in project.pipeline.backends] == ["claude-code", "codex"]
    assert all(backend.enabled and backend.network is None for backend in project.pipeline.backends)
    assert [backend.command for backend in project.pipeline.backends] == ["claude", "codex"]
    assert project.pipeline.backends[0].mount_paths == (str(tmp_path / "bin"),)
    implementer = project.implementer()
    assert implementer is not None
    assert implementer.name == "claude-code"
    assert project.pipeline.sandbox.limits == "best-effort"


def test_without_an_agent_one_is_proposed_and_the_file_says_so(tmp_path: Path) -> None:
    text = render_pipeline(agents=())
    assert "None of the agents" in text
    project = load(written(tmp_path, render_repos([Detection(name="a", path="/srv/a")]), text))
    assert [backend.name for backend in project.pipeline.backends] == ["claude-code"]
    assert project.pipeline.sandbox.limits == "enforced"
    assert project.pipeline.sandbox.backend == "os-native"


def test_every_agent_we_know_makes_a_configuration_that_loads(tmp_path: Path) -> None:
    text = render_pipeline(agents=AGENTS, mount_paths=["/opt/a b"], variables={"A": 'b"c'}, sandbox="none")
    project = load(written(tmp_path, render_repos([Detection(name="a", path="/srv/a")]), text))
    assert [backend.preset for backend in project.pipeline.backends] == [agent.name for agent in AGENTS]
    assert all(agent.program for agent in AGENTS)
    assert project.pipeline.sandbox.mount_paths == ("/opt/a b",)
    assert project.pipeline.sandbox.env == {"A": 'b"c'}
    assert project.pipeline.sandbox.backend == "none"
    assert "Install bubblewrap" in text


def test_no_repository_is_no_configuration() -> None:
    with pytest.raises(ValueError, match="at least one repository"):
        render_repos([])


@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).filter(str.strip))
def test_any_text_is_written_so_that_it_is_read_back(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    found = Detection(name="a", path="/srv/a", test_cmd=text, notes=(text,), languages=("Rust",))
    project = load(written(tmp_path_factory.mktemp("p"), render_repos([found]), render_pipeline(agents=())))
    assert project.repos[0].test_cmd == text
