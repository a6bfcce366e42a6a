"""What is installed, and what each process of it has to load."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.repositories import make_repository

ROOT = Path(__file__).resolve().parent.parent
HEAVY = {"click", "falcon", "msgpack", "plyvel", "psutil", "waitress", "zmq"}

NEEDED = {
    "thrum.actors.scheduler": {"msgpack", "zmq"},
    "thrum.actors.worker": {"msgpack", "zmq"},
    "thrum.actors.gate": {"msgpack", "zmq"},
    "thrum.actors.repo": {"msgpack", "plyvel", "zmq"},
    "thrum.actors.api": {"falcon", "msgpack", "waitress", "zmq"},
    "thrum.broker.server": {"msgpack", "zmq"},
    "thrum.client": {"msgpack", "zmq"},
    "thrum.cli": set(),
    "thrum.sandbox": set(),
}
"""Which of the heavy packages the start of a process may load."""

CONFIGS = {
    "repos.toml": '[[repo]]\nname = "proj"\npath = "proj"\ntest_cmd = "true"\nexpect_tests = false\n',
    "pipeline.toml": '[sandbox]\nbackend = "none"\n[[backends]]\nname = "a"\ntype = "agent"\ncommand = "true"\n',
}


def modules_after(code: str, cwd: Path = ROOT) -> set[str]:
    """The top-level modules that a fresh interpreter has loaded once it ran the code."""
    script = f"{code}\nimport json, sys\nprint(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    ran = subprocess.run(
        [sys.executable, "-c", script],
        cwd=cwd, env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(cwd)},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return set(json.loads(ran.stdout.splitlines()[-1]))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    make_repository(tmp_path / "proj")
    (tmp_path / "configs").mkdir()
    for name, text in CONFIGS.items():
        (tmp_path / "configs" / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize("module", NEEDED)
def test_a_process_loads_no_heavy_package_that_it_does_not_need(module: str) -> None:
    assert modules_after(f"import {module}") & HEAVY == NEEDED[module]


def test_adding_a_task_loads_what_a_client_needs_and_the_command_line(project: Path) -> None:
    add = ["task", "add", "--title", "Do it", "--by", "tester"]
    loaded = modules_after(f"from thrum.cli import main\nassert main({add!r}) == 0", project)
    assert loaded & HEAVY == {"click", "msgpack", "zmq"}


def test_help_and_version_do_not_load_the_bus() -> None:
    help_ = "from thrum.cli import main\nassert main(['task', 'add', '--help']) == 0"
    assert modules_after(help_) & HEAVY == {"click"}
    assert modules_after("from thrum.cli import main\nassert main(['--version']) == 0") & HEAVY == set()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a wheel of this source tree would hold."""
    pytest.importorskip("setuptools")
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    for name in ("thrum", "actors", "broker", "tests", "examples", "bench"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    subprocess.run(
        [sys.executable, "-c", "from setuptools import setup; setup()", "-q", "build_py", "--build-lib", str(out)],
        cwd=source, check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    return out


def test_a_wheel_holds_thrum_alone(built: Path) -> None:
    assert [path.name for path in built.iterdir()] == ["thrum"]


def test_a_wheel_holds_every_module_and_the_mark_of_types(built: Path) -> None:
    assert set(files_of(built / "thrum")) == {"py.typed", *modules_of(ROOT / "thrum")}


def test_the_actors_in_a_wheel_start_without_the_source_tree(built: Path) -> None:
    code = f"import sys; sys.path.insert(0, {str(built)!r}); import thrum.actors.repo, thrum.broker.server as server"
    ran = subprocess.run(
        [sys.executable, "-P", "-c", f"{code}; print(server.__file__)"], cwd=built, check=True,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ran.stdout.strip() == str(built / "thrum" / "broker" / "server.py")


def files_of(folder: Path) -> Iterator[str]:
    return (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def modules_of(folder: Path, prefix: str = "") -> Iterator[str]:
    """The Python files of the source tree, through the symbolic links for actors and broker."""
    for path in folder.iterdir():
        if path.is_dir():
            yield from modules_of(path, f"{prefix}{path.name}/")
        elif path.suffix == ".py":
            yield f"{prefix}{path.name}"
