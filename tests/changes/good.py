"""Changes that must land: as many of each kind as are asked for, no two alike."""

from __future__ import annotations

from collections.abc import Callable

from tests.changes import Change
from tests.changes.repositories import OLD, PYPROJECT, TAKE


def function(number: int) -> Change:
    """A function with its test."""
    source = f'"""Steps of {number}."""\n\n\ndef step_{number}(start: int) -> int:\n    """One step on."""\n'
    return Change(
        name=f"good-function-{number}",
        repo="tally",
        files={
            f"tally/step_{number}.py": f"{source}    return start + {number}\n",
            f"tests/test_step_{number}.py": f"from tally.step_{number} import step_{number}\n\n\n"
            f"def test_a_step_of_{number}() -> None:\n    assert step_{number}(1) == {number + 1}\n",
        },
    )


def word_list(number: int) -> Change:
    """A module of the repository whose check is a pipeline, and some skipped tests, which is nobody's fault."""
    return Change(
        name=f"good-words-{number}",
        repo="words",
        files={
            f"words/list_{number}.py": f"WORDS = {['word'] * (number + 1)!r}\n",
            f"tests/test_list_{number}.py": f"import pytest\nfrom words.list_{number} import WORDS\n\n\n"
            f"def test_length() -> None:\n    assert len(WORDS) == {number + 1}\n\n\n"
            "@pytest.mark.skip(reason='no network')\ndef test_online() -> None:\n    assert False\n",
        },
    )


def rule(number: int) -> Change:
    """An obligation for the solver that holds, with one that has a solution."""
    text = f"""\
(set-logic QF_LIA)
(declare-const x Int)
(push)
(assert (> x {number}))
(set-info :status sat)
(check-sat)
(pop)
(assert (> x {number}))
(assert (< (+ x 1) {number}))
(set-info :status unsat)
(check-sat)
"""
    return Change(name=f"good-rule-{number}", repo="proofs", files={f"rules/more_{number}.smt2": text})


def lemma(number: int) -> Change:
    """A lemma that is proven."""
    text = f"""\
(* Not Admitted, and no Axiom. *)
Lemma add_{number} : forall n : nat, {number} + n = n + {number}.
Proof. induction n as [| n IH]; [reflexivity | simpl in *; rewrite <- IH; reflexivity]. Qed.
"""
    return Change(name=f"good-lemma-{number}", repo="proofs", files={f"theory/add_{number}.v": text})


def reading(number: int) -> Change:
    """Data that the neighbour adds up, and caches that the agent's own test run left."""
    return Change(
        name=f"good-reading-{number}",
        repo="maker",
        files={f"data/more_{number}.json": f"{number}\n"},
        script="mkdir __pycache__ .pytest_cache && touch __pycache__/make.cpython-311.pyc .pytest_cache/README.md",
    )


def taking(number: int) -> Change:
    """A neighbour's function beside those that Gate 3 runs."""
    return Change(
        name=f"good-taking-{number}",
        repo="taker",
        files={
            f"least_{number}.py": f"def least(numbers):\n    return min(numbers, default={number})\n",
            f"test_least_{number}.py": f"from least_{number} import least\n\n\n"
            f"def test_least():\n    assert least([]) == {number}\n",
        },
    )


KINDS: tuple[Callable[[int], Change], ...] = (function, word_list, rule, lemma, reading, taking)

PARTICULAR = (
    Change(
        name="good-renames-a-function",
        repo="tally",
        files={"tally/old.py": OLD.replace("doubled", "twice")},
        script="sed -i s/doubled/twice/ tests/test_old.py",
        after=("calls-what-another-change-renames", "clashes-with-another-change"),
    ),
    Change(
        name="good-fixtures-for-all-tests",
        repo="tally",
        files={"tests/test_seven.py": "def test_seven(seven: int) -> None:\n    assert seven == 7\n"},
        script="git mv tests/fixtures.py tests/conftest.py",
        protected=True,
        after=("edits-what-becomes-a-conftest",),
    ),
    Change(
        name="good-version",
        repo="tally",
        files={"pyproject.toml": PYPROJECT.replace('version = "1"', 'version = "2"')},
        protected=True,
    ),
    Change(
        name="good-documentation-of-a-neighbour",
        repo="taker",
        files={"take.py": TAKE.replace("The sum of all.", "The sum of all readings.")},
    ),
)


def good_changes(each: int) -> tuple[Change, ...]:
    """So many of each kind, and the particular ones."""
    return (*PARTICULAR, *(kind(number) for number in range(1, each + 1) for kind in KINDS))
