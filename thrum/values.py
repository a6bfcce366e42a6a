"""`dataclass` for values, in a third of the time: what it makes is what the standard library's makes.

Thrum has over a hundred kinds of messages, inputs and settings, and every process of it begins by making these
classes. The standard library compiles six functions for each; here `__init__` is compiled, and the others are shared.
A type checker is shown the standard library's.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass"]

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(*, frozen: bool, slots: bool, kw_only: bool) -> Callable[[type], type]:
        """As `dataclasses.dataclass(frozen=True, slots=True, kw_only=True)`, the one form that there is here.

        A base class is made by this decorator too; `__post_init__` and fields with flags are not supported.

        Raises:
            TypeError: the class, or how it is to be made, is of another form.
        """
        if not (frozen and slots and kw_only):
            raise TypeError("values are frozen, have slots, and are made by keyword; else take `dataclasses`")
        return _made


_FLAGS = ("init", "repr", "hash", "compare")
_set = object.__setattr__


def _made(cls: Any) -> Any:
    made = dataclasses.dataclass(cls, init=False, repr=False, eq=False, slots=True, kw_only=True)
    fields = dataclasses.fields(made)
    if hasattr(made, "__post_init__") or any(field.hash is False or not _plain(field) for field in fields):
        raise TypeError(f"{cls.__name__} needs what only `dataclasses` has: __post_init__, or a flag of a field")
    names = tuple(field.name for field in fields)
    made.__init__ = _init(made, fields)
    made.__setattr__ = made.__delattr__ = _refuse
    made.__repr__ = _repr
    made.__getstate__, made.__setstate__ = _getstate, _setstate
    values = _values(names)
    made.__hash__ = lambda self: hash(values(self))

    def eq(self: Any, other: object) -> bool:
        return values(self) == values(other) if other.__class__ is self.__class__ else NotImplemented

    made.__eq__ = eq
    return made


def _plain(field: dataclasses.Field[Any]) -> bool:
    return field.init and field.repr and field.compare and field.hash is None


def _values(names: tuple[str, ...]) -> Callable[[Any], Any]:
    return operator.attrgetter(*names) if names else lambda _: ()


def _init(made: type, fields: tuple[dataclasses.Field[Any], ...]) -> Any:
    known: dict[str, Any] = {"_set": _set, "_FACTORY": _FACTORY}
    parameters, body = [], []
    for field in fields:
        name, given = field.name, field.name
        if field.default is not dataclasses.MISSING:
            known[f"_{name}_"] = field.default
            parameters.append(f"{name}=_{name}_")
        elif field.default_factory is not dataclasses.MISSING:
            known[f"_{name}_"] = field.default_factory
            parameters.append(f"{name}=_FACTORY")
            given = f"_{name}_() if {name} is _FACTORY else {name}"
        else:
            parameters.append(name)
        body.append(f" _set(self, {name!r}, {given})")
    text = f"def __init__(self{', *, ' if fields else ''}{', '.join(parameters)}):\n" + "\n".join(body or [" pass"])
    exec(text, known)
    init = known["__init__"]
    init.__qualname__ = f"{made.__qualname__}.__init__"
    return init


_FACTORY = object()


def _refuse(self: Any, name: str, *_: object) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _repr(self: Any) -> str:
    shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__dataclass_fields__)
    return f"{type(self).__qualname__}({shown})"


def _getstate(self: Any) -> list[Any]:
    return [getattr(self, name) for name in self.__dataclass_fields__]


def _setstate(self: Any, state: list[Any]) -> None:
    for name, value in zip(self.__dataclass_fields__, state, strict=True):
        _set(self, name, value)
