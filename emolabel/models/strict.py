"""Frozen dataclasses from plain JSON values and back, refusing what does not fit."""

import dataclasses
import sys
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def to_plain(value: Any) -> Any:
    """Dataclasses become dicts and tuples lists, at any depth; everything else stays."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, (tuple, list)):
        return [to_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    return value


def from_plain(kind: type[T], data: object, where: str) -> T:
    """Makes a `kind` from a dict; keys that are left out take the default.

    Raises:
        ValueError: an unknown key, a missing one without default, a value of the wrong type, or one that the
            dataclass itself refuses. The text names the place, counted from `where`.
    """
    if not isinstance(data, Mapping):
        raise ValueError(f"{where}: expected an object, got {_kind(data)}")
    fields = {field.name: field for field in dataclasses.fields(typing.cast(Any, kind))}
    unknown = sorted(set(data) - set(fields), key=str)
    if unknown:
        raise ValueError(f"{where}: unknown key {unknown[0]!r}; known are {', '.join(fields)}")
    hints = typing.get_type_hints(kind)
    values = {name: _value(hints[name], data[name], f"{where}.{name}") for name in fields if name in data}
    missing = [name for name, field in fields.items() if name not in values and _required(field)]
    if missing:
        raise ValueError(f"{where}: {missing[0]!r} is missing")
    try:
        return kind(**values)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _required(field: "dataclasses.Field[Any]") -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _value(hint: Any, value: object, where: str) -> object:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_plain(hint, value, where)
    if origin is types.UnionType or origin is typing.Union:  # only `X | None` is used
        (inner,) = (argument for argument in arguments if argument is not types.NoneType)
        return None if value is None else _value(inner, value, where)
    if origin is typing.Literal:
        if value not in arguments:
            raise ValueError(f"{where}: expected one of {', '.join(map(repr, arguments))}, got {value!r}")
        return value
    if origin is tuple:
        return _tuple(arguments, value, where)
    if origin is dict:
        return _dict(arguments[1], value, where)
    if hint is Any:
        return value
    if hint is float and type(value) in (int, float):
        return _float(typing.cast(float, value), where)
    if type(value) is not hint:  # exact: `True` is no int
        raise ValueError(f"{where}: expected {hint.__name__}, got {_kind(value)}")
    return value


def _float(value: float, where: str) -> float:
    # 1e999 is valid JSON and becomes infinity.
    if not abs(value) <= sys.float_info.max:
        raise ValueError(f"{where}: expected a finite number, got {_kind(value)}")
    return float(value)


def _tuple(hints: tuple[Any, ...], value: object, where: str) -> tuple[object, ...]:
    if isinstance(value, (list, tuple)) and hints[-1] is Ellipsis:
        hints = hints[:1] * len(value)
    if not isinstance(value, (list, tuple)) or len(value) != len(hints):
        raise ValueError(f"{where}: expected {len(hints)} values, got {_kind(value)}")
    return tuple(_value(hint, item, f"{where}[{i}]") for i, (hint, item) in enumerate(zip(hints, value, strict=True)))


def _dict(hint: Any, value: object, where: str) -> dict[str, object]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ValueError(f"{where}: expected an object, got {_kind(value)}")
    return {key: _value(hint, item, f"{where}.{key}") for key, item in value.items()}


def _kind(value: object) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 80 else text[:77] + '...'}"
