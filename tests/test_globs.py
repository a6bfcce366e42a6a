"""Patterns of paths."""

from __future__ import annotations

import pytest

from thrum.config import PROTECTED
from thrum.globs import matched, matching


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
