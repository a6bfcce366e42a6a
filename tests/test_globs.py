"""Patterns of paths."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thrum.fence import MODULES, PROTECTED
from thrum.globs import chosen, matched, matches, matching
from thrum.protection import protected


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


def test_files_are_chosen_once_and_idle_globs_are_told() -> None:
    files = ["b.smt2", "a.smt2", "c.v"]
    assert chosen(["*.smt2", "a*", "x*", "**"], files) == (("a.smt2", "b.smt2", "c.v"), ("x*",))
    assert chosen([], files) == ((), ())


@pytest.mark.parametrize(
    ("file", "shadows"),
    [
        ("pytest.py", True),
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
    assert protected([file], [], [MODULES]) == ((file,) if shadows else ())
    assert protected([file], [], ["*.v"]) == ()


def test_links_are_protected_by_what_they_are_and_told_in_the_order_of_the_files() -> None:
    files = ["a.py", "b", "conftest.py"]
    assert protected(files, ["b"], PROTECTED) == ("b", "conftest.py")
    assert protected(files, ["b"], ["**/conftest.py"]) == ("conftest.py",)
