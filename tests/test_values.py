"""The decorator of values: what it makes beside what the standard library makes of the same class."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from thrum import values

Decorator = Callable[[type], type]
FORM: dict[str, bool] = {"frozen": True, "slots": True, "kw_only": True}
STANDARD: Decorator = dataclasses.dataclass(**FORM)  # type: ignore[call-overload]
OURS: Decorator = values.dataclass(**FORM)  # type: ignore[call-overload]


def made(decorator: Decorator) -> tuple[Any, Any, Any]:
    """Three classes: without fields, with all kinds of them, and a child of the second."""

    @decorator
    class Empty:
        """Nothing."""

    @decorator
    class Base:
        """Some fields."""

        first: int
        self_: str = "me"
        items: list[int] = dataclasses.field(default_factory=list)

    @decorator
    class Child(Base):
        """One more, and one that is given another default."""

        last: float
        self_: str = "you"

        @property
        def doubled(self) -> float:
            """What a method sees."""
            return self.last * 2

    return Empty, Base, Child


@values.dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """At the top of a module, as pickle wants it."""

    x: int
    y: int = 0


@pytest.mark.parametrize("number", [0, 1, 2], ids=["empty", "base", "child"])
def test_a_class_has_the_same_fields_signature_and_shape_as_the_standard_librarys(number: int) -> None:
    ours, standard = made(OURS)[number], made(STANDARD)[number]
    mine, theirs = dataclasses.fields(ours), dataclasses.fields(standard)
    assert [(f.name, f.type, f.default, f.default_factory, f.kw_only) for f in mine] == [
        (f.name, f.type, f.default, f.default_factory, f.kw_only) for f in theirs
    ]
    signatures = [
        [(p.name, p.kind, p.default is p.empty) for p in inspect.signature(cls).parameters.values()]
        for cls in (ours, standard)
    ]
    assert signatures[0] == signatures[1]
    for name in ("__slots__", "__doc__", "__qualname__"):
        assert getattr(ours, name) == getattr(standard, name)


@pytest.mark.parametrize("decorator", [OURS, STANDARD], ids=["ours", "standard"])
def test_values_are_equal_hashed_shown_and_replaced_by_their_fields(decorator: Decorator) -> None:
    empty, base, child = made(decorator)
    one = child(first=1, last=2.0)
    assert one == child(first=1, last=2.0)
    assert one != child(first=1, last=2.5)
    assert one != base(first=1, self_="you")
    assert empty() == empty()
    assert hash(empty()) == hash(empty())
    assert hash(Point(x=1)) == hash(Point(x=1, y=0))
    assert {Point(x=1), Point(x=1), Point(x=2)} == {Point(x=2), Point(x=1)}
    assert repr(one).endswith("Child(first=1, self_='you', items=[], last=2.0)")
    assert repr(empty()).endswith("Empty()")
    assert dataclasses.replace(one, last=3.0).doubled == 6.0
    assert dataclasses.asdict(one) == {"first": 1, "self_": "you", "items": [], "last": 2.0}
    assert one.items is not child(first=1, last=2.0).items
    assert child(first=1, last=2.0, items=[5]).items == [5]
    with pytest.raises(TypeError):
        hash(one)  # a list cannot be hashed


@pytest.mark.parametrize("decorator", [OURS, STANDARD], ids=["ours", "standard"])
def test_values_do_not_change_and_take_no_other_names(decorator: Decorator) -> None:
    _, base, _ = made(decorator)
    one = base(first=1)
    for change in (lambda: setattr(one, "first", 2), lambda: delattr(one, "first")):
        with pytest.raises(dataclasses.FrozenInstanceError, match="first"):
            change()
    with pytest.raises((AttributeError, TypeError)):
        one.other = 1
    assert not hasattr(one, "__dict__")
    for wrong in ({}, {"first": 1, "other": 2}):
        with pytest.raises(TypeError, match=r"first|other"):
            base(**wrong)
    with pytest.raises(TypeError):
        base(1)


def test_values_can_be_matched_copied_and_pickled() -> None:
    match Point(x=1, y=2):
        case Point(x=1, y=found):
            assert found == 2
        case _:
            pytest.fail("not matched")
    point = Point(x=1, y=2)
    assert copy.copy(point) == copy.deepcopy(point) == pickle.loads(pickle.dumps(point)) == point


def test_what_it_does_not_do_is_refused() -> None:
    class Later:
        x: int

        def __post_init__(self) -> None: ...

    class Flagged:
        x: int = dataclasses.field(compare=False)

    for cls in (Later, Flagged):
        with pytest.raises(TypeError, match="only `dataclasses` has"):
            OURS(cls)
    with pytest.raises(TypeError, match="frozen"):
        values.dataclass(frozen=False, slots=True, kw_only=True)
