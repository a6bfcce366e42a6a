"""Patterns of paths."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thrum.config import PipelineConfig, Project, RepoConfig
from thrum.fence import PROTECTED, Fence
from thrum.globs import chosen, matched, matches, matching
from thrum.protection import fence_of, protected, rivals_of
from thrum.records import from_plain
from thrum.task import Attempt


@pytest.mark.parametrize(
    ("pattern", "path", "meant"),
    [
        ("a.py", "a.py", True),
        ("a.py", "b/a.py", False),
        ("a.py", "axpy", False),
        ("*.py", "a.py", True),
        ("*.py", "b/a.py", False),
        ("*.py", ".py", True),
        ("b/*.py", "b/a.py", True),
        ("b/*.py", "b/c/a.py", False),
        ("**/a.py", "a.py", True),
        ("**/a.py", "b/c/a.py", True),
        ("**/a.py", "b/xa.py", False),
        ("b/**/a.py", "b/a.py", True),
        ("b/**/a.py", "b/c/d/a.py", True),
        ("b/**", "b/c/d", True),
        ("b/**", "b", False),
        ("**", "b/c", True),
        ("./a.py", "a.py", True),
        ("a?.py", "ab.py", True),
        ("a?b", "a/b", False),
        ("[ab].py", "b.py", True),
        ("[!ab].py", "c.py", True),
        ("[!ab].py", "b.py", False),
        ("[!a]b", "/b", False),
        ("[^a].py", "^.py", True),
        ("[^a].py", "b.py", False),
        ("[.py", "[.py", True),
        ("a+(b)|c$", "a+(b)|c$", True),
        ("*", "two\nlines", True),
        ("A.py", "a.py", False),
    ],
)
def test_a_pattern_means_whole_paths(pattern: str, path: str, meant: bool) -> None:
    assert matched([path], [pattern]) == ((path,) if meant else ())


def test_each_pattern_is_told_what_it_matches() -> None:
    paths = ["a.py", "b/a.py", "c.txt"]
    assert matching(paths, ["**/*.py", "c.*", "*.v"]) == {"**/*.py": ("a.py", "b/a.py"), "c.*": ("c.txt",), "*.v": ()}
    assert matched(paths, ["c.*", "a.py"]) == ("a.py", "c.txt")


@pytest.mark.parametrize(
    "path",
    [
        "conftest.py",
        "tests/deep/conftest.py",
        "pyproject.toml",
        "package.json",
        "crates/x/build.rs",
        ".cargo/config.toml",
        ".github/workflows/ci.yml",
        "Makefile",
        "theories/_CoqProject",
        ".gitattributes",
        "configs/pipeline.toml",
        ".pytest.ini",
        "a/pytest.toml",
        ".pytest.toml",
        "vite.config.ts",
        "vitest.workspace.js",
        "pylintrc",
        ".pylintrc.toml",
        ".golangci.yaml",
        "web/biome.jsonc",
        "pyrightconfig.json",
        ".isort.cfg",
        "e2e/playwright.config.ts",
        "karma.conf.js",
        "cypress.config.js",
        ".taprc",
        "go.work",
        "app/build.gradle.kts",
        "settings.gradle",
        "core/pom.xml",
        "Rakefile",
        "Dockerfile.test",
        ".tool-versions",
        "theories/dune",
        "dune-project",
        ".travis.yml",
        ".woodpecker/test.yml",
        ".woodpecker.yml",
        ".buildkite/pipeline.yml",
        "ci/test.sh",
        "x.dist-info/entry_points.txt",
        "src/x.egg-info/entry_points.txt",
        "poetry.lock",
        "Cargo.lock",
        "web/package-lock.json",
        "go.sum",
        # Built.
        "tally/__pycache__/core.cpython-311.pyc",
        "core.pyc",
        "src/main.o",
        "lib/libmain.a",
        "lib/libmain.so.1",
        "node_modules/left-pad/index.js",
        "target/debug/app",
        "web/tsconfig.tsbuildinfo",
        ".mypy_cache/3.11/core.meta.json",
        "build/CMakeCache.txt",
        # In any case.
        "X.DIST-INFO/entry_points.txt",
        "src/x.Egg-Info/entry_points.txt",
        "x.egg/EGG-INFO/entry_points.txt",
        # Of tools.
        ".gitignore",
        "src/.ignore",
        ".ruffignore",
        ".eslintignore",
        ".prettierignore",
        ".flake8",
        "mypy.ini",
        "setup.cfg",
        "tox.ini",
        "core.pyi",
        "rustfmt.toml",
        "clippy.toml",
        ".cargo/config",
        "deny.toml",
        ".config/nextest.toml",
        "nextest.toml",
        ".golangci.toml",
        "jest.config.mjs",
        "vitest.config.ts",
        "babel.config.cjs",
        "web/tsconfig.build.json",
        ".npmrc",
        ".yarnrc.yml",
        ".python-version",
        "rust-toolchain.toml",
        ".clang-tidy",
        ".editorconfig",
        ".shellcheckrc",
        ".rubocop.yml",
        "phpstan.neon.dist",
        "lakefile.lean",
        "requirements/test.txt",
        ".gitlab-ci-test.yml",
        # Of others.
        "vendor/github.com/stretchr/testify/assert/assertions.go",
        "tools/vendor/github.com/x/y.go",
        "app/vendor/bundle/ruby/rspec.rb",
        "third_party/googletest/gtest.h",
        "dev-requirements.txt",
        "requirements-dev.in",
        "Makefile.common",
        "sub/Makefile.local",
        "Makefile.in",
        "src/setupTests.ts",
        "__mocks__/fs.js",
        "test/mocha.opts",
    ],
)
def test_what_can_change_the_meaning_of_a_check_is_protected_unless_told_otherwise(path: str) -> None:
    assert matched([path], PROTECTED) == (path,)


def test_ordinary_work_is_not_protected() -> None:
    ordinary = [
        "src/lib.rs",
        "tests/test_things.py",
        "README.md",
        "package.jsonld",
        "docs/Makefile.md",
        "app/configs/x.toml",
        "scripts/convert.py",
        "tools/gen/main.go",
        "src/ci/x.py",
        "src/lock.py",
        "tests/karma/test_a.js",
        "requirements/system.md",
        "src/target/x86.py",
        "src/gradle/reader.kt",
        "docs/ignore.md",
        "proofs/counter.smt2",
        "theories/sort.v",
        "app/.gitkeep",
        "models/teapot.obj",
        "src/node_modules.py",
        "shop/vendor/model.py",
        "src/vendor.py",
        "docs/requirements.md",
        "src/store/__mocks__/cart.js",
    ]
    assert matched(ordinary, PROTECTED) == ()


@pytest.mark.parametrize(
    ("glob", "paths", "others"),
    [
        ("*.smt2", ["a.smt2", ".smt2", ".a.smt2"], ["b/a.smt2", "a.smt2x", "a.smt2/b"]),
        ("**/*.smt2", ["a.smt2", "b/a.smt2", "b/c/a.smt2"], ["a.smt", "b/smt2"]),
        ("proofs/**", ["proofs/a", "proofs/a/b"], ["proofs", "proofs2/a", "x/proofs/a"]),
        ("proofs/**/a.v", ["proofs/a.v", "proofs/b/c/a.v"], ["proofsa.v", "proofs/ba.v"]),
        ("a**b", ["ab", "axb"], ["a/b", "a/x/b"]),
        ("?.v", ["a.v", "é.v"], [".v", "ab.v", "/.v"]),
        ("[a-c]x[!0-9]", ["axb", "cx-"], ["dxb", "ax0", "ax/", "ax"]),
        ("[b-a]x", [], ["ax", "bx", "-x"]),
        ("[]]a[^]", ["]a^"], ["a^", "]ab"]),
        ("./a//b.v", ["a/b.v"], ["b.v"]),
        ("a.v", ["a.v"], ["axv", "A.v"]),
        ("a[", ["a["], ["a"]),
        ("{a,b}\n+", ["{a,b}\n+"], ["a", "b"]),
        ("", [], ["a"]),
    ],
)
def test_a_glob_means_these_paths_and_no_others(glob: str, paths: list[str], others: list[str]) -> None:
    assert [path for path in paths if not matches(glob, path)] == []
    assert [path for path in others if matches(glob, path)] == []


@given(st.text(alphabet="a[]!^-/*?.\\&~|b"), st.text(alphabet="ab/.-^]["))
def test_any_glob_can_be_asked(glob: str, path: str) -> None:
    matches(glob, path)


_NAMES = st.text(alphabet="a[]!^-*?.b", min_size=1, max_size=4)
_GLOBS = st.lists(st.sampled_from(["**", "*", "a", "?", "[ab]"]) | _NAMES, min_size=1, max_size=4).map("/".join)
_PATHS = st.lists(st.text(alphabet="ab.-", min_size=1, max_size=3), min_size=1, max_size=4).map("/".join)


@given(st.lists(_GLOBS, max_size=4), _PATHS)
def test_many_globs_together_mean_what_each_of_them_does(globs: list[str], path: str) -> None:
    assert matched([path], globs) == ((path,) if any(matches(glob, path) for glob in globs) else ())


def test_files_are_chosen_once_and_idle_globs_are_told() -> None:
    files = ["b.smt2", "a.smt2", "c.v"]
    assert chosen(["*.smt2", "a*", "x*", "**"], files) == (("a.smt2", "b.smt2", "c.v"), ("x*",))
    assert chosen([], files) == ((), ())


def changed(*files: str, **kinds: tuple[str, ...]) -> Attempt:
    """An attempt that changed these files."""
    return Attempt(token=1, base="base", files=files, **kinds)


@pytest.mark.parametrize(
    ("file", "shadows"),
    [
        ("pytest.py", True),
        *((f"{name}.py", True) for name in ("black", "flake8", "isort", "pylint", "tox", "nox", "pytest_cov")),
        ("pytest_asyncio/__init__.py", True),
        ("json.py", True),
        ("json/__init__.py", True),
        ("src/typing.py", True),
        ("tests/unittest/mock.py", True),
        ("_pytest.cpython-311-x86_64-linux-gnu.so", True),
        ("app/json.py", False),
        ("tests/test_json.py", False),
        ("json/schema.txt", False),
        ("jsonic.py", False),
        ("src/app/types.py", False),
        ("lib/tests.py", False),
    ],
)
def test_a_file_in_place_of_a_module_of_python_is_protected(file: str, shadows: bool) -> None:
    assert protected(changed(file), Fence(modules=True)) == ((file,) if shadows else ())
    assert protected(changed(file), Fence(always=("*.v",))) == ()


def test_links_are_protected_by_what_they_are_and_told_in_the_order_of_the_files() -> None:
    change = changed("a.py", "b", "conftest.py", links=("b",))
    assert protected(change, Fence(always=PROTECTED, links=True)) == ("b", "conftest.py")
    assert protected(change, Fence(always=("**/conftest.py",))) == ("conftest.py",)


def test_what_stood_there_and_what_is_new_are_told_apart() -> None:
    change = changed("a.py", "b.py", "c.txt", added=("b.py",))
    assert protected(change, Fence(standing=("*.py",))) == ("a.py",)
    assert protected(change, Fence(new=("*.py",))) == ("b.py",)


def test_a_new_file_among_tests_or_obligations_with_the_name_of_a_module_is_protected() -> None:
    files = ("tests/core.py", "a/test/core/__init__.py", "proofs/core.py", "app/core.py")
    fence = fence_of(*repository(proof={"python": ["proofs/*.py"]}))
    assert protected(changed(*files, added=files, namesakes=files), fence) == files[:3]
    assert protected(changed(*files, added=files), fence) == ()
    other = fence_of(*repository(protect=["*.v"]))
    assert protected(changed(*files, added=files, namesakes=files), other) == ()


@pytest.mark.parametrize(
    ("file", "rivals"),
    [
        ("tests/core.py", {"core.py", "core/__init__.py", "src/core.py", "lib/core/__init__.py"}),
        ("tests/core/__init__.py", {"core.py", "src/core/__init__.py"}),
        ("tests/core.txt", set()),
        ("core.py", set()),
        ("src/core.py", set()),
        ("core/__init__.py", set()),
    ],
)
def test_what_a_file_could_stand_in_for(file: str, rivals: set[str]) -> None:
    assert rivals <= set(rivals_of(file))
    assert bool(rivals_of(file)) is bool(rivals)


def repository(**keys: Any) -> tuple[Project, RepoConfig]:
    """A repository with these keys, and the project that has it alone."""
    repo = from_plain(RepoConfig, {"name": "one", "path": "/srv/one", **keys})
    return Project(directory="/srv", repos=(repo,), pipeline=PipelineConfig()), repo


@pytest.mark.parametrize(
    ("proof", "standing"),
    [
        ({"smt": ["rules/*.smt2"]}, ["rules/a.smt2"]),
        ({"python": ["obligations.py"], "rocq": ["th/*.v"]}, ["obligations.py", "th/a.v"]),
        ({"rocq_project": "th/Our.project"}, ["b.v", "th/Our.project", "th/a.v"]),
        ({"theorems": ["main"]}, ["b.v", "th/a.v"]),
        ({"rocq_project": "th/Our.project", "rocq": ["b.v"]}, ["b.v", "th/Our.project"]),
        ({}, []),
    ],
)
def test_obligations_are_protected_once_they_are_there(proof: dict[str, Any], standing: list[str]) -> None:
    files = ("b.v", "obligations.py", "rules/a.smt2", "rules/note.txt", "th/Our.project", "th/a.v")
    fence = fence_of(*repository(proof=proof))
    assert list(protected(changed(*files), fence)) == standing
    assert protected(changed(*files, added=files), fence) == ()
    assert protected(changed(*files), fence_of(*repository(proof=proof, protect=["*.c"]))) == ()


@pytest.mark.parametrize(
    ("command", "stand_ins", "others"),
    [
        (
            "python3 -m foo",
            ["foo.py", "foo/__init__.py", "src/foo.py", "foo.abi3.so"],
            ["foo/more.py", "bar.py", "a/foo.py"],
        ),
        (["python3.12", "-X", "dev", "-m", "foo.bar", "x"], ["foo/__init__.py", "foo.py"], ["foo/x.py", "bar.py"]),
        ("cd sub && python -m foo", ["sub/foo.py", "sub/src/foo/__init__.py"], ["foo.py"]),
        ("python3 -m coverage run -m foo | tee log", ["foo.py", "coverage.py"], []),
        ("pytest -m foo", [], ["foo.py"]),
    ],
)
def test_what_would_stand_in_for_a_commands_module_may_not_be_added(
    command: Any, stand_ins: list[str], others: list[str]
) -> None:
    new = (*stand_ins, *others)
    for key in ("test_cmd", "setup_cmd"):
        fence = fence_of(*repository(protect=["<modules of Python>"], **{key: command}))
        assert list(protected(changed(*new, added=new), fence)) == stand_ins
        assert protected(changed("foo.py", "foo/__init__.py", "sub/foo.py"), fence) == ()
