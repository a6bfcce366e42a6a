"""The codec between records and plain data: what it accepts, what it refuses and how it says so."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thrum.config import Project
from thrum.gate import GateResult
from thrum.messages import Envelope, Header
from thrum.messages.kinds import KINDS
from thrum.records import RecordError, Within, evolve, from_plain, key_path, to_plain
from thrum.task import Event, Task

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Values of a type hint as records use them, ranges kept to."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return PLAIN
    if origin is Annotated:
        return _numbers(args[0], args[1])
    if origin in (Union, UnionType):
        return st.one_of(*map(values, args))
    if origin is tuple and args[1] is ...:
        return st.lists(values(args[0]), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*map(values, args))
    if origin is frozenset:
        return st.frozensets(values(args[0]), max_size=3)
    if origin is dict:
        return st.dictionaries(values(args[0]), values(args[1]), max_size=2)
    if origin is Literal:
        return st.sampled_from(args)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return st.sampled_from(list(hint))
    if hint in (int, float):
        return _numbers(hint, Within(-(2**53), 2**53))
    if hint in (str, bool, bytes, NoneType):
        return {str: st.text(max_size=8), bool: st.booleans(), bytes: st.binary(max_size=8), NoneType: st.none()}[hint]
    return records(hint)


def _numbers(hint: Any, within: Within) -> st.SearchStrategy[Any]:
    low, high = max(within.low, -(2**53)), min(within.high, 2**53)
    return st.integers(int(low), int(high)) if hint is int else st.floats(low, high)


def records(cls: type) -> st.SearchStrategy[Any]:
    hints = get_type_hints(cls, include_extras=True)
    return st.builds(cls, **{one.name: values(hints[one.name]) for one in fields(cls)})


@pytest.mark.parametrize("cls", [Task, Event, GateResult, Header, *KINDS.values()], ids=lambda cls: cls.__name__)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_every_record_comes_back_as_it_went(cls: type, data: st.DataObject) -> None:
    record = data.draw(records(cls))
    assert from_plain(cls, to_plain(record)) == record


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_whole_project_survives_json(data: st.DataObject) -> None:
    project = data.draw(records(Project))
    assert from_plain(Project, json.loads(json.dumps(to_plain(project)))) == project


def test_what_is_no_record_of_ours_has_no_plain_form() -> None:
    with pytest.raises(TypeError, match="object"):
        to_plain({"a": object()})
    with pytest.raises(TypeError, match="key of type int"):
        to_plain({1: "a"})


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    size: Annotated[int, Within(1, 9)] = 1
    ratio: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    name: str
    command: str | tuple[str, ...] = ""
    limit: Annotated[float, Within(0)] | None = None
    inner: Inner | None = None
    inners: tuple[Inner, ...] = ()
    by_level: dict[Literal["low", "high"], Inner] = field(default_factory=dict)
    colour: Colour = Colour.RED
    pair: tuple[int, str] = (0, "")
    tags: frozenset[str] = frozenset()
    loose: Mapping[str, int] = field(default_factory=dict)
    on: bool = False


@pytest.mark.parametrize(
    ("plain", "path", "problem"),
    [
        (3, "", "must be a table, not 3"),
        ({}, "name", "is missing"),
        ({"name": None}, "name", "must be a string, not nothing"),
        ({"name": "x", "nmae": 1}, "nmae", "is not a known key"),
        ({"name": "x", "on": 1}, "on", "must be true or false, not 1"),
        ({"name": "x", "command": 3}, "command", "must be a string or a list, not 3"),
        ({"name": "x", "command": ["a", 3]}, "command[1]", "must be a string, not 3"),
        ({"name": "x", "limit": "2"}, "limit", "must be a number, not '2'"),
        ({"name": "x", "limit": -1}, "limit", "must be 0 or more, not -1.0"),
        ({"name": "x", "limit": math.nan}, "limit", "must be a finite number, not nan"),
        ({"name": "x", "limit": math.inf}, "limit", "must be a finite number, not inf"),
        ({"name": "x", "limit": 10**400}, "limit", None),
        ({"name": "x", "limit": True}, "limit", "must be a number, not True"),
        ({"name": "x", "inner": {"size": 0}}, "inner.size", "must be from 1 to 9, not 0"),
        ({"name": "x", "inner": {"size": True}}, "inner.size", "must be an integer, not True"),
        ({"name": "x", "inner": []}, "inner", "must be a table, not a list"),
        ({"name": "x", "inners": {"size": 1}}, "inners", "must be a list, not a table"),
        ({"name": "x", "inners": [{}, {"sise": 1}]}, "inners[1].sise", "is not a known key"),
        ({"name": "x", "by_level": {"hihg": {}}}, "by_level.hihg", "is not a key that is known here"),
        ({"name": "x", "by_level": {"low": {"ratio": "a"}}}, "by_level.low.ratio", "must be a number, not 'a'"),
        ({"name": "x", "colour": "green"}, "colour", "must be one of red, blue, not 'green'"),
        ({"name": "x", "colour": ["red"]}, "colour", "must be one of red, blue, not a list"),
        ({"name": "x", "pair": [1]}, "pair", "must be a list of 2, not of 1"),
        ({"name": "x", "pair": [1, 2]}, "pair[1]", "must be a string, not 2"),
        ({"name": "x", "loose": {1: 1}}, "loose.1", "is not a key that is known here"),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(plain: Any, path: str, problem: str | None) -> None:
    with pytest.raises(RecordError) as caught:
        from_plain(Outer, plain)
    assert key_path(caught.value.path) == path
    assert problem is None or caught.value.problem.startswith(problem)
    assert str(caught.value).startswith(path)


def test_names_that_would_have_fitted_come_with_the_error() -> None:
    with pytest.raises(RecordError) as key:
        from_plain(Inner, {"sise": 1})
    assert (key.value.name, key.value.valid) == ("sise", ("size", "ratio"))
    with pytest.raises(RecordError) as literal:
        from_plain(Outer, {"name": "x", "by_level": {"lo": {}}})
    assert (literal.value.name, literal.value.valid) == ("lo", ("low", "high"))


def test_integers_pass_for_floats_and_lists_for_tuples() -> None:
    read = from_plain(Outer, {"name": "x", "limit": 2, "pair": [1, "b"], "tags": ["t"], "command": ["a"]})
    assert read == Outer(name="x", limit=2.0, pair=(1, "b"), tags=frozenset("t"), command=("a",))
    assert type(read.limit) is float


def test_evolve_reads_plain_values_and_refuses_what_is_no_field() -> None:
    outer = Outer(name="x")
    assert evolve(outer, {"colour": "blue", "inner": {"size": 3}}) == Outer(
        name="x", colour=Colour.BLUE, inner=Inner(size=3)
    )
    with pytest.raises(RecordError, match=r"^colour: must be one of"):
        evolve(outer, {"colour": "green"})
    with pytest.raises(RecordError, match=r"^color: is not a known key"):
        evolve(outer, {"color": "blue"})


def test_an_envelope_holds_its_body_as_it_is() -> None:
    body = KINDS["Ping"]()
    envelope = Envelope(destination="broker", header=Header(kind="Ping", id="1"), body=body)
    assert to_plain(envelope)["body"] == to_plain(body)
