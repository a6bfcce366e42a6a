"""What a repository's own files say about how it is formatted, linted, tested, built and set up.

One function a language; each looks at files alone and proposes commands that run on a clean checkout, without
the network. What a command needs from the network, its `setup` fetches beforehand into `$THRUM_SETUP`. Dependencies
are installed, the project itself never is: the checks must run the code of their checkout, not a copy.
"""

from __future__ import annotations

import configparser
import json
import re
import shlex
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from thrum.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """Commands for one language; an empty one is nothing that the repository speaks of."""

    language: str
    fmt: str = ""
    lint: str = ""
    test: str = ""
    expect_tests: bool = True
    """False where nobody can read what `test` prints."""
    build: str = ""
    setup: str = ""
    notes: tuple[str, ...] = ()


HasDistributions = Callable[[Sequence[str]], bool]
"""Whether the Python that a sandbox would run has all of these requirements installed."""


def propose(root: Path, has_distributions: HasDistributions) -> tuple[Proposal, ...]:
    """A proposal for each language that has its manifest in the repository's root, the likeliest main one first.

    Where none has, Python files in the root or a folder of it are enough.
    """
    manifest = any((root / name).is_file() for name in _PYTHON)
    found = (_rust(root), _go(root), _python(root, has_distributions) if manifest else None, _node(root))
    proposals = tuple(one for one in found if one is not None)
    loose = not proposals and (any(root.glob("*.py")) or any(root.glob("[!.]*/*.py")))
    return (_python(root, has_distributions),) if loose else proposals


# --- Rust -------------------------------------------------------------------------------------------------------


def _rust(root: Path) -> Proposal | None:
    if not (root / "Cargo.toml").is_file():
        return None
    lock = _text(root / "Cargo.lock")
    fetched = bool(re.search(r'^source = "', lock, re.MULTILINE)) or bool(
        not lock and re.search(r"^\[(?:.*\.)?(?:dev-|build-)?dependencies", _text(root / "Cargo.toml"), re.MULTILINE)
    )
    before = 'CARGO_HOME="$THRUM_SETUP/cargo" ' if fetched else ""
    notes = () if lock or not fetched else ("commit Cargo.lock: without it each setup may fetch other versions",)
    return Proposal(
        language="Rust",
        fmt="cargo fmt --all -- --check",
        lint=f"{before}cargo clippy --offline --all-targets -- -D warnings",
        test=f"{before}cargo test --offline",
        build=f"{before}cargo build --offline",
        setup=f"{before}cargo fetch" if fetched else "",
        notes=notes,
    )


# --- Go ---------------------------------------------------------------------------------------------------------


def _go(root: Path) -> Proposal | None:
    if not (root / "go.mod").is_file():
        return None
    fetched = (root / "go.sum").is_file() and not (root / "vendor").is_dir()
    before = 'GOMODCACHE="$THRUM_SETUP/go" ' if fetched else ""
    return Proposal(
        language="Go",
        fmt='unformatted=$(gofmt -l .); echo "$unformatted"; test -z "$unformatted"',
        lint=f"{before}go vet ./...",
        test=f"{before}go test ./...",
        build=f"{before}go build ./...",
        setup=f"{before}go mod download" if fetched else "",
    )


# --- Node -------------------------------------------------------------------------------------------------------

_MANAGERS = (
    ("pnpm-lock.yaml", "pnpm", "pnpm install --frozen-lockfile"),
    ("yarn.lock", "yarn", "yarn install --frozen-lockfile"),
    ("package-lock.json", "npm", "npm ci"),
    ("npm-shrinkwrap.json", "npm", "npm ci"),
)
_FORMAT_SCRIPTS = ("format:check", "fmt:check", "check:format", "check-format", "prettier:check")


def _node(root: Path) -> Proposal | None:
    try:
        package = json.loads(_text(root / "package.json"))
    except json.JSONDecodeError:
        return None
    if not isinstance(package, dict):
        return None
    scripts = _table(package.get("scripts"))
    needs = {**_table(package.get("dependencies")), **_table(package.get("devDependencies"))}
    lock, manager, install = next((one for one in _MANAGERS if (root / one[0]).is_file()), ("", "npm", "npm install"))
    before = 'ln -sfn "$THRUM_SETUP/node_modules" node_modules && ' if needs else ""
    copied = ("package.json", lock, ".npmrc", "pnpm-workspace.yaml")
    files = " ".join(name for name in copied if (root / name).is_file())
    notes: tuple[str, ...] = ()
    if needs and not lock:
        notes += ("commit a lock file: without it each setup may fetch other versions",)
    if "workspaces" in package or (root / "pnpm-workspace.yaml").is_file():
        notes += ("a workspace: setup_cmd must copy the package.json of each member too",)

    def script(*names: str) -> str:
        name = next((name for name in names if isinstance(scripts.get(name), str)), "")
        # What `npm init` writes is no test.
        return f"{before}{manager} run {name}" if name and "no test specified" not in scripts[name] else ""

    known = _runs_a_known_runner("test", scripts)
    if script("test") and not known:
        text = "what its test script prints is not known, so its exit code alone counts (expect_tests = false)"
        notes += (f"{text}: a JUnit report (test_junit) would say more",)
    return Proposal(
        language="Node",
        fmt=script(*_FORMAT_SCRIPTS),
        lint=script("lint"),
        test=script("test"),
        expect_tests=known,
        build=script("build"),
        setup=f'cp {files} "$THRUM_SETUP" && cd "$THRUM_SETUP" && {install}' if needs else "",
        notes=notes,
    )


def _runs_a_known_runner(name: str, scripts: dict[str, Any], seen: tuple[str, ...] = ()) -> bool:
    """Whether the script, or one that it calls, names a runner of which `thrum.runners` reads what it prints."""
    text = scripts.get(name)
    if not isinstance(text, str) or name in seen:
        return False
    if re.search(r"\b(?:jest|vitest|mocha|react-scripts test)\b|\bnode\b.* --test\b", text):
        return True
    called = re.findall(r"\b(?:npm|pnpm|yarn)(?: run)? ([\w:.-]+)", text)
    return any(_runs_a_known_runner(one, scripts, (*seen, name)) for one in called)


# --- Python -----------------------------------------------------------------------------------------------------


_PYTHON = ("pyproject.toml", "setup.py", "setup.cfg", "requirements.txt")


def _python(root: Path, has_distributions: HasDistributions) -> Proposal:
    pyproject, notes = _pyproject(root)
    tools = _table(pyproject.get("tool"))
    needs = _requirements(root, pyproject)
    named = {_distribution(need) for need in needs}
    config = _ini(root / "setup.cfg")
    formatter = _formatter(root, tools, named)
    linter = _linter(root, tools, named, config)
    runner = _test_runner(root, tools, named, config)
    for program in (formatter, linter, runner):
        if program in ("black", "ruff", "flake8", "pytest") and program not in named:
            needs.append(program)
            named.add(program)
    setup, python = "", "python3"
    if needs and not has_distributions(needs):
        python = '"$THRUM_SETUP/venv/bin/python"'
        packages = " ".join(map(shlex.quote, needs))
        setup = f'python3 -m venv "$THRUM_SETUP/venv" && {python} -m pip install {packages}'
    path = "PYTHONPATH=src " if (root / "src").is_dir() else ""
    formats = {"ruff": f"{python} -m ruff format --check .", "black": f"{python} -m black --check ."}
    lints = {"ruff": f"{python} -m ruff check .", "flake8": f"{python} -m flake8"}
    tests = {"pytest": f"{path}{python} -m pytest -q", "unittest": f"{path}{python} -m unittest discover"}
    if runner == "unittest" and (root / "tests").is_dir() and not (root / "tests" / "__init__.py").is_file():
        tests["unittest"] += " -s tests"
    return Proposal(
        language="Python",
        fmt=formats.get(formatter, ""),
        lint=lints.get(linter, ""),
        test=tests.get(runner, ""),
        setup=setup,
        notes=notes,
    )


def _pyproject(root: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    try:
        return tomllib.loads(_text(root / "pyproject.toml")), ()
    except tomllib.TOMLDecodeError as error:
        return {}, (f"pyproject.toml cannot be read: {error}",)


def _requirements(root: Path, pyproject: dict[str, Any]) -> list[str]:
    """What running the tests needs, as far as the files list it: dependencies, and those for tests and development."""
    project = _table(pyproject.get("project"))
    found = _strings(project.get("dependencies"))
    wanted = ("test", "tests", "testing", "dev", "develop", "development", "lint")
    for groups in (project.get("optional-dependencies"), pyproject.get("dependency-groups")):
        for name, group in _table(groups).items():
            if name.lower() in wanted:
                found += _strings(group)
    for name in ("requirements.txt", "requirements-dev.txt", "requirements-test.txt", "dev-requirements.txt"):
        lines = (line.split(" #")[0].strip() for line in _text(root / name).splitlines())
        found += [line for line in lines if line and line[0] not in "#-."]
    own = _distribution(str(project.get("name", "")))
    return list(dict.fromkeys(need for need in found if _distribution(need) not in ("", own)))


def _distribution(requirement: str) -> str:
    """The normalised name in a requirement (PEP 503); empty where it begins with none."""
    found = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", requirement)
    return re.sub(r"[-_.]+", "-", found[0]).lower() if found else ""


def _formatter(root: Path, tools: dict[str, Any], named: set[str]) -> str:
    hooks = _text(root / ".pre-commit-config.yaml")
    if "format" in _table(tools.get("ruff")) or "ruff-format" in hooks:
        return "ruff"
    return "black" if "black" in tools or "black" in named or "id: black" in hooks else ""


def _linter(root: Path, tools: dict[str, Any], named: set[str], config: configparser.ConfigParser) -> str:
    if "ruff" in tools or "ruff" in named or any((root / name).is_file() for name in ("ruff.toml", ".ruff.toml")):
        return "ruff"
    return "flake8" if "flake8" in named or "flake8" in config or (root / ".flake8").is_file() else ""


def _test_runner(root: Path, tools: dict[str, Any], named: set[str], config: configparser.ConfigParser) -> str:
    configured = "pytest" in tools or "pytest" in named or "tool:pytest" in config
    if configured or any((root / name).is_file() for name in ("pytest.ini", "conftest.py", "tests/conftest.py")):
        return "pytest"
    tests = sorted({*root.glob("test*/**/test*.py"), *root.glob("test*.py")})[:200]
    if not tests:
        return ""
    return "unittest" if any("unittest" in _text(path) for path in tests) else "pytest"


# --- Files as they are found --------------------------------------------------------------------------------------


def _text(path: Path) -> str:
    """The file's text; empty where there is none that can be read."""
    try:
        return path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError:
        return ""


def _ini(path: Path) -> configparser.ConfigParser:
    config = configparser.ConfigParser(interpolation=None)
    try:
        config.read_string(_text(path))
    except configparser.Error:
        return configparser.ConfigParser()
    return config


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _strings(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
