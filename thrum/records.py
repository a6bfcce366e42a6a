"""Between frozen dataclasses and plain data (dict, list, str, numbers, bytes, None), both ways and checked.

One codec serves the wire, the stores, JSON output and the configuration. What it holds to: a field's type
hint is its schema; an unknown key, a missing field, a wrong type or a number outside its range is a
`RecordError` that names its path. No bytes are packed here and no file is read.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Mapping
from enum import Enum
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")

Path = tuple[str | int, ...]
"""The way to a place in plain data: keys and list indices, outermost first."""


@dataclasses.dataclass(frozen=True, slots=True)
class Within:
    """The range of a number, both ends included, written as `Annotated[int, Within(0, 65535)]`."""

    low: float = -math.inf
    high: float = math.inf

    def problem(self, value: float) -> str:
        """What is wrong with the value; empty where nothing is."""
        if self.low <= value <= self.high:
            return ""
        if math.isinf(self.high):
            return f"must be {self.low:g} or more, not {value}"
        if math.isinf(self.low):
            return f"must be {self.high:g} or less, not {value}"
        return f"must be from {self.low:g} to {self.high:g}, not {value}"


class RecordError(ValueError):
    """Plain data does not fit a record: `path` leads to the place, `valid` lists names that would fit.

    `expected` is the bare description of what was wanted, for whoever joins several of these into one.
    """

    def __init__(
        self, problem: str, *, path: Path = (), valid: tuple[str, ...] = (), name: str = "", expected: str = ""
    ) -> None:
        super().__init__(f"{key_path(path)}: {problem}" if path else problem)
        self.problem = problem
        self.path = path
        self.valid = valid
        self.name = name
        self.expected = expected

    def at(self, step: str | int) -> RecordError:
        """The same error seen from one level further out."""
        return RecordError(
            self.problem, path=(step, *self.path), valid=self.valid, name=self.name, expected=self.expected
        )


def key_path(path: Path) -> str:
    """The path as a reader writes it: `backends[1].type`, indices counted from 0."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f".{step}" if text else step
    return text


def to_plain(value: Any) -> Any:
    """Plain data for a record: dataclasses to dicts, enums to their values, tuples and sets to lists."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    fields = _field_names(kind)  # type: ignore[arg-type]  # mypy holds type[Any] for unhashable
    if fields is not None:
        # Most fields are plain: a call for each of them would be half of the time that this takes.
        return {name: item if type(item := getattr(value, name)) in _PLAIN else to_plain(item) for name in fields}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (tuple, list)):
        return [to_plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(to_plain(item) for item in value)
    if isinstance(value, Mapping):
        return {_plain_key(key): to_plain(item) for key, item in value.items()}
    raise TypeError(f"no plain form for {type(value).__name__}")


def well_formed(text: str) -> str:
    """The text with `?` for each half of a surrogate pair: JSON and file names can hold one, and no bus and no file."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def one_level(value: Any) -> Any:
    """The plain form of a record, its fields left as they are: for a packer that walks on from there, in C.

    What it packs is what it would make of `to_plain(value)`, in a third of the time.
    """
    names = _field_names(type(value))  # type: ignore[arg-type]  # as in to_plain
    return to_plain(value) if names is None else {name: getattr(value, name) for name in names}


def from_plain(cls: type[T], plain: Any) -> T:
    """The record of type `cls` that `plain` describes; a field that is absent takes its default.

    Lists become tuples where the hint says so, integers pass for floats, and nothing else is coerced.

    Raises:
        RecordError: an unknown key, a missing field, or a value of the wrong type, with its path.
    """
    return typing.cast(T, _reader(cls)(plain))  # type: ignore[arg-type]  # as in to_plain


def evolve(record: T, changes: Mapping[str, Any]) -> T:
    """A copy of the record with some fields replaced by plain values, read by their hints.

    Raises:
        RecordError: a name that is no field, or a value that does not fit it.
    """
    return dataclasses.replace(record, **_read_fields(type(record), changes))  # type: ignore[type-var]


def _plain_key(key: Any) -> str:
    plain = key.value if isinstance(key, Enum) else key
    if type(plain) is not str:
        raise TypeError(f"no plain form for a key of type {type(key).__name__}")
    return plain


@cache
def _field_names(cls: type) -> tuple[str, ...] | None:
    if not dataclasses.is_dataclass(cls):
        return None
    return tuple(field.name for field in dataclasses.fields(cls))


@cache
def _field_readers(cls: type) -> dict[str, Callable[[Any], Any]]:
    hints = typing.get_type_hints(cls, include_extras=True)
    return {field.name: _reader(hints[field.name]) for field in dataclasses.fields(cls)}


def _read_fields(cls: type, plain: Mapping[str, Any]) -> dict[str, Any]:
    readers = _field_readers(cls)
    values: dict[str, Any] = {}
    for key, item in plain.items():
        reader = readers.get(key)
        if reader is None:
            raise RecordError("is not a known key", path=(str(key),), valid=tuple(readers), name=str(key))
        values[key] = _step(reader, item, key)
    return values


@cache
def _reader(hint: Any) -> Callable[[Any], Any]:
    """The function that reads one value of the hinted type; built once for each type."""
    if hint is Any:
        return lambda plain: plain
    origin = typing.get_origin(hint)
    args = typing.get_args(hint)
    if origin is typing.Annotated:
        return _range_reader(args[0], [extra for extra in args[1:] if isinstance(extra, Within)])
    if origin in (typing.Union, types.UnionType):
        return _union_reader(args)
    if origin is tuple:
        return _tuple_reader(args)
    if origin in (list, frozenset):
        container, inner = typing.cast(type, origin), _tuple_reader((args[0], ...))
        return lambda plain: container(inner(plain))
    if origin in (dict, Mapping):
        return _mapping_reader(*args)
    if origin is typing.Literal:
        return _choice_reader({value: value for value in args})
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _choice_reader({member.value: member for member in hint})
    if dataclasses.is_dataclass(hint):
        return _dataclass_reader(typing.cast(type, hint))
    if hint in _NAMES:
        return _scalar_reader(hint)
    raise TypeError(f"no reader for the type hint {hint!r}")


_PLAIN = frozenset({str, int, float, bool, bytes, types.NoneType})
_NAMES = {
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    bytes: "bytes",
    types.NoneType: "nothing",
}


def _mismatch(expected: str, plain: Any, *, valid: tuple[str, ...] = ()) -> RecordError:
    kind = {dict: "a table", list: "a list", tuple: "a list", types.NoneType: "nothing"}.get(type(plain))
    found = kind or f"{plain!r}"[:80]
    return RecordError(
        f"must be {expected}, not {found}",
        valid=valid,
        name=plain if type(plain) is str else "",
        expected=expected,
    )


def _scalar_reader(hint: type) -> Callable[[Any], Any]:
    if hint is float:
        return _read_float
    expected = _NAMES[hint]

    def read(plain: Any) -> Any:
        if type(plain) is hint:
            return plain
        raise _mismatch(expected, plain)

    return read


def _read_float(plain: Any) -> float:
    # NaN compares false with every limit, and neither NaN nor infinity is JSON.
    if type(plain) is float and math.isfinite(plain):
        return plain
    if type(plain) is int and abs(plain) < 2**1000:
        return float(plain)
    raise _mismatch("a finite number" if type(plain) in (float, int) else "a number", plain)


def _range_reader(hint: Any, ranges: list[Within]) -> Callable[[Any], Any]:
    reader = _reader(hint)

    def read(plain: Any) -> Any:
        value = reader(plain)
        for problem in (within.problem(value) for within in ranges):
            if problem:
                raise RecordError(problem)
        return value

    return read


def _choice_reader(choices: dict[Any, Any]) -> Callable[[Any], Any]:
    """Reads one of some plain values; their types must agree too, as True equals 1."""
    valid = tuple(str(value) for value in choices)
    expected = f"one of {', '.join(valid)}" if len(valid) > 1 else "".join(valid)
    types_of = {type(value) for value in choices}

    def read(plain: Any) -> Any:
        if isinstance(plain, Enum):
            plain = plain.value
        if type(plain) in types_of and plain in choices:
            return choices[plain]
        raise _mismatch(expected, plain, valid=valid)

    return read


def _union_reader(args: tuple[Any, ...]) -> Callable[[Any], Any]:
    """The first member that fits; write unions whose members exclude each other."""
    readers = [_reader(arg) for arg in args]

    def read(plain: Any) -> Any:
        problems = []
        for reader in readers:
            try:
                return reader(plain)
            except RecordError as error:
                problems.append(error)
        raise _joined(problems, plain)

    return read


def _joined(problems: list[RecordError], plain: Any) -> RecordError:
    """One error for a value that fits no member of a union: the member that came furthest tells it.

    Where none came further than the others, they tell together what would have fitted. `nothing` is left
    out of that: where a file holds a value, leaving the key out is not what its writer meant.
    """
    deepest = max(problems, key=lambda problem: len(problem.path))
    if deepest.path:
        return deepest
    broken_rule = next((problem for problem in problems if not problem.expected), None)
    if broken_rule is not None:
        return broken_rule
    wanted = dict.fromkeys(problem.expected for problem in problems if problem.expected != "nothing")
    valid = tuple(name for problem in problems for name in problem.valid)
    return _mismatch(" or ".join(wanted), plain, valid=valid)


def _tuple_reader(args: tuple[Any, ...]) -> Callable[[Any], Any]:
    if len(args) == 2 and args[1] is Ellipsis:
        reader = _reader(args[0])

        def read(plain: Any) -> Any:
            if not isinstance(plain, (list, tuple)):
                raise _mismatch("a list", plain)
            return tuple(_step(reader, item, i) for i, item in enumerate(plain))

        return read
    readers = [_reader(arg) for arg in args]

    def read_fixed(plain: Any) -> Any:
        if not isinstance(plain, (list, tuple)):
            raise _mismatch(f"a list of {len(readers)}", plain)
        if len(plain) != len(readers):
            raise RecordError(f"must be a list of {len(readers)}, not of {len(plain)}")
        return tuple(_step(reader, plain[i], i) for i, reader in enumerate(readers))

    return read_fixed


def _mapping_reader(key_hint: Any, value_hint: Any) -> Callable[[Any], Any]:
    read_key, read_value = _reader(key_hint), _reader(value_hint)

    def read(plain: Any) -> Any:
        if not isinstance(plain, Mapping):
            raise _mismatch("a table", plain)
        values: dict[Any, Any] = {}
        for key, item in plain.items():
            step = str(key)
            try:
                name = read_key(key)
            except RecordError as error:
                raise RecordError(
                    f"is not a key that is known here: it {error.problem}",
                    path=(step,),
                    valid=error.valid,
                    name=step,
                ) from None
            values[name] = _step(read_value, item, step)
        return values

    return read


def _step(reader: Callable[[Any], Any], plain: Any, step: str | int) -> Any:
    try:
        return reader(plain)
    except RecordError as error:
        raise error.at(step) from None


def _dataclass_reader(cls: type) -> Callable[[Any], Any]:
    # The fields' readers are looked up at the first use, so that records may refer to each other in any order.
    required = [
        field.name
        for field in dataclasses.fields(cls)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]

    def read(plain: Any) -> Any:
        if type(plain) is cls:
            return plain
        if not isinstance(plain, Mapping):
            raise _mismatch("a table", plain)
        values = _read_fields(cls, plain)
        for name in required:
            if name not in values:
                raise RecordError("is missing", path=(name,), name=name)
        return cls(**values)

    return read
