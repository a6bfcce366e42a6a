"""The repositories that the changes are made to, as small as what can go wrong in them allows."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

PYTEST = str(Path(sys.executable).with_name("pytest"))
RUFF = str(Path(sys.executable).with_name("ruff"))

CORE = '''\
"""Numbers."""


def total(numbers: list[int]) -> int:
    """The sum."""
    return sum(numbers)


def mean(numbers: list[int]) -> float:
    """The average; 0 of nothing."""
    return total(numbers) / len(numbers) if numbers else 0.0


def bounded(number: int, limit: int) -> int:
    """The number, or the limit if that is less."""
    return min(number, limit)
'''

OLD = '''\
"""What others still call."""


def doubled(number: int) -> int:
    """Twice the number."""
    return number * 2
'''

OLD_TESTS = """\
from tally import old


def test_old() -> None:
    assert old.doubled(4) == 8
"""

CORE_TESTS = """\
from tally.core import bounded, mean, total


def test_total() -> None:
    assert total([1, 2, 3]) == 6


def test_mean() -> None:
    assert mean([1, 2]) == 1.5
    assert mean([]) == 0.0


def test_bounded() -> None:
    assert bounded(7, 5) == 5
"""

FIXTURES = """\
import pytest


@pytest.fixture
def seven() -> int:
    return 7


@pytest.fixture
def eight() -> int:
    return 8
"""

PYPROJECT = """\
[project]
name = "tally"
version = "1"

[tool.pytest.ini_options]
testpaths = ["tests"]
pythonpath = ["."]

[tool.ruff]
line-length = 100

[tool.ruff.lint]
select = ["E", "F"]
"""

TALLY = {
    ".gitignore": "__pycache__\n",
    "pyproject.toml": PYPROJECT,
    "tally/__init__.py": "",
    "tally/core.py": CORE,
    "tally/old.py": OLD,
    "tests/fixtures.py": FIXTURES,
    "tests/test_core.py": CORE_TESTS,
    "tests/test_old.py": OLD_TESTS,
}

WORDS_CORE = '''\
"""Words."""


def words(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return text.lower().split()


def longest(text: str) -> str:
    """The first of its longest words."""
    return max(words(text), key=len, default="")
'''

WORDS_TESTS = """\
from words.core import longest, words


def test_words() -> None:
    assert words("To be OR not") == ["to", "be", "or", "not"]


def test_longest() -> None:
    assert longest("a bee sees") == "sees"
"""

WORDS = {
    ".gitignore": "__pycache__\n*.log\n",
    "words/__init__.py": "",
    "words/core.py": WORDS_CORE,
    "tests/test_core.py": WORDS_TESTS,
}

LIMIT_RULE = """\
; Clamped to a limit, a number does not exceed it.
(set-logic QF_LIA)
(declare-const x Int)
(declare-const limit Int)
(define-fun clamped () Int (ite (< x limit) x limit))
(assert (> clamped limit))
(set-info :status unsat)
(check-sat)
"""

ORDER_RULE = """\
(set-logic QF_LIA)
(declare-const a Int)
(declare-const b Int)
(assert (< a b))
(set-info :status sat)
(check-sat)
(assert (< b a))
(set-info :status unsat)
(check-sat)
"""

NUMBERS_THEORY = """\
Lemma plus_zero : forall n : nat, n + 0 = n.
Proof. induction n as [| n IH]; [reflexivity | simpl; rewrite IH; reflexivity]. Qed.

Lemma plus_one : forall n : nat, n + 1 = S n.
Proof. induction n as [| n IH]; [reflexivity | simpl; rewrite IH; reflexivity]. Qed.
"""

PROOFS = {
    "rules/limit.smt2": LIMIT_RULE,
    "rules/order.smt2": ORDER_RULE,
    "theory/numbers.v": NUMBERS_THEORY,
}

FORMAT = "numbers, version 1\n"

MAKE = f'''\
"""Writes readings for others: `make.py FOLDER`."""

import json
import pathlib
import sys

FORMAT = {FORMAT!r}


def readings(folder="data"):
    """Every reading, by name."""
    files = sorted(pathlib.Path(folder).glob("*.json"))
    return {{file.stem: {{"n": json.loads(file.read_text())}} for file in files}}


def write(folder):
    """What the next program reads."""
    (pathlib.Path(folder) / "readings.json").write_text(json.dumps(readings()))
    (pathlib.Path(folder) / "format.txt").write_text(FORMAT)


if __name__ == "__main__":
    write(sys.argv[1])
'''

MAKE_TESTS = """\
from make import readings


def test_there_is_a_reading():
    assert readings()["first"]
"""

TAKE = '''\
"""Adds readings up: `take.py FOLDER`."""

import json
import pathlib
import sys

FORMAT = "numbers, version 1"


def added(readings):
    """The sum of all."""
    return sum(reading["n"] for reading in readings.values())


def main(folder):
    """Read what was made, write the sum."""
    said = (folder / "format.txt").read_text().strip()
    if said != FORMAT:
        raise SystemExit(f"this is no {FORMAT}: {said}")
    (folder / "sum.txt").write_text(str(added(json.loads((folder / "readings.json").read_text()))))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
'''

TAKE_TESTS = """\
from take import added


def test_two_are_added():
    assert added({"a": {"n": 1}, "b": {"n": 2}}) == 3
"""

JUDGE = '''\
"""Whether a sum is that of the readings: `judge.py SUM READINGS`."""

import json
import pathlib
import sys

found, readings = (json.loads(pathlib.Path(path).read_text()) for path in sys.argv[1:])
wanted = sum(reading["n"] for reading in readings.values())
assert found == wanted, f"{found} is not {wanted}"
'''

MAKER = {
    "make.py": MAKE,
    "test_make.py": MAKE_TESTS,
    "format.golden": FORMAT,
    "data/first.json": "4\n",
    "data/second.json": "38\n",
}
TAKER = {"take.py": TAKE, "test_take.py": TAKE_TESTS, "judge.py": JUDGE}

SHEETS_CORE = '''\
"""Sheets."""


def cells(rows: int, columns: int) -> int:
    """How many there are."""
    return rows * columns
'''

SHEETS_TESTS = """\
import unittest

from sheets import cells


class Cells(unittest.TestCase):
    def test_cells(self) -> None:
        self.assertEqual(cells(3, 4), 12)
"""

SHEETS = {
    "sheets.py": SHEETS_CORE,
    "test_sheets.py": SHEETS_TESTS,
    "ci/t.sh": "exec python3 -m unittest -v\n",
    "bin/lint": "#!/bin/sh\npython3 -m py_compile sheets.py\n",
    "deps.lst": "unittest\n",
}
PROGRAMS = ("bin/lint",)
"""Files that are made executable."""

ALL = {"tally": TALLY, "words": WORDS, "sheets": SHEETS, "proofs": PROOFS, "maker": MAKER, "taker": TAKER}

_SMOKE = (
    *(sys.executable, "-c"),
    "from tally.core import mean, total; assert (total([20, 22]), mean([2, 4])) == (42, 3.0)",
)


def _toml(value: object) -> str:
    return json.dumps(value)


def repos_toml() -> str:
    """The configuration of all of them."""
    pytest = f"{PYTEST} -q -p no:cacheprovider"
    return f"""
[[repo]]
name = "tally"
path = "tally"
fmt_cmd = {_toml([RUFF, "format", "--check", "tally"])}
lint_cmd = {_toml([RUFF, "check", "tally"])}
test_cmd = {_toml(pytest)}
build_cmd = {_toml(_SMOKE)}
[[repo]]
name = "words"
path = "words"
test_cmd = {_toml(f"{sys.executable} -m pytest -q 2>&1 | tee test.log")}
[[repo]]
name = "sheets"
path = "sheets"
lint_cmd = ["./bin/lint"]
test_cmd = "sh ci/t.sh"
setup_cmd = 'cp deps.lst "$THRUM_SETUP/installed"'
setup_files = ["deps.lst"]
[[repo]]
name = "proofs"
path = "proofs"
[repo.proof]
smt = ["rules/*.smt2"]
rocq = ["theory/*.v"]
solver_timeout_s = 20
[[repo]]
name = "maker"
path = "maker"
test_cmd = {_toml([sys.executable, "-m", "pytest", "-q"])}
[[repo]]
name = "taker"
path = "taker"
lint_cmd = {_toml([sys.executable, "-m", "waitress", "--help"])}
test_cmd = {_toml([sys.executable, "-m", "pytest", "-q"])}
"""


def steps_toml() -> str:
    """Gate 3 over the two that pass data along."""
    digest = hashlib.sha256(FORMAT.encode()).hexdigest()
    compare = [sys.executable, "judge.py", "{artifact}", "{output_dir}/readings.json"]
    return f"""
[[gates.integration.steps]]
repo = "maker"
label = "make"
command = {_toml([sys.executable, "make.py", "{output_dir}"])}
[[gates.integration.steps.artifacts]]
path = "readings.json"
[[gates.integration.steps.artifacts]]
path = "format.txt"
sha256 = "{digest}"
compare = "cmp {{artifact}} format.golden"
[[gates.integration.steps]]
repo = "taker"
label = "take"
command = {_toml([sys.executable, "take.py", "{output_dir}"])}
[[gates.integration.steps.artifacts]]
path = "sum.txt"
compare = {_toml(compare)}
"""
