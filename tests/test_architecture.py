"""ARCHITECTURE.md describes what stands."""

from __future__ import annotations

import re
from pathlib import Path

from thrum.pipeline.diagram import diagram

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "ARCHITECTURE.md").read_text()


def test_the_diagram_is_the_one_that_the_table_gives() -> None:
    written = re.search(r"```mermaid\n(.*?)\n```", TEXT, re.S)
    assert written is not None
    assert written[1] == diagram(), "regenerate it: python -m thrum.pipeline.diagram prints it"


def test_every_module_of_ours_is_on_the_map_and_no_other() -> None:
    rows = re.search(r"## The house\n(.*?)\n## ", TEXT, re.S)
    assert rows is not None
    named = set(re.findall(r"`([\w/]+(?:\.py|/))`", rows[1]))
    there = {f"thrum/{path.name}" for path in (ROOT / "thrum").glob("*.py") if not path.name.startswith("__")}
    there |= {
        f"thrum/{path.parent.name}/" for path in (ROOT / "thrum").glob("*/__init__.py") if not path.parent.is_symlink()
    }
    there |= {f"{folder}/{path.name}" for folder in ("actors", "broker") for path in (ROOT / folder).glob("*.py")}
    assert named == {name for name in there if not name.endswith("__init__.py")}


def test_every_path_that_it_names_exists() -> None:
    for path in re.findall(r"`((?:thrum|actors|broker|tests|scripts|bench|examples)/[\w./-]+)`", TEXT):
        assert (ROOT / path).exists(), path
