"""Build dataclasses from JSON, every value of the type that its field declares."""

from __future__ import annotations

from dataclasses import MISSING, fields
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from demandcast.errors import ConfigError

Kind = TypeVar("Kind")
LARGEST = 2**62  # of a whole number
WORDS = {
    int: "a whole number", float: "a number", bool: "true or false", str: "text", NoneType: "null",
    list: "a list", tuple: "a list", dict: "an object",
}  # fmt: skip


def build(kind: type[Kind], values: Any, place: str) -> Kind:
    """Build a dataclass from a JSON object of its fields; a missing field takes its default.

    What an older version saved lacks the fields that came later.

    Args:
        kind: The dataclass.
        values: The object.
        place: Where it stands, for the message of an error: "settled".

    Raises:
        ConfigError: A field without a default is missing; a field is unknown or of another type; or the
            class refuses a value.
    """
    if not isinstance(values, dict):
        raise ConfigError(f"{place} is {_short_text(values)}, and should be an object")
    hints = _hints(kind)
    required = {f.name for f in fields(kind) if f.default is f.default_factory is MISSING}  # type: ignore[arg-type]
    for name in [*values.keys() - hints.keys(), *(required & hints.keys()) - values.keys()]:
        raise ConfigError(f"{place}.{name} is {'missing' if name in hints else 'not known'}")
    return kind(
        **{
            name: convert(content, hints[name], f"{place}.{name}")
            for name, content in values.items()
        }
    )


def convert(value: Any, kind: Any, place: str) -> Any:
    """Convert a JSON value to its declared type: lists to tuples, objects to dataclasses.

    Raises:
        ConfigError: It is of another type.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if kind in (Any, object):
        return value
    if origin in (UnionType, Union):
        for one in inner:
            try:
                return convert(value, one, place)
            except ConfigError:
                continue
    elif origin is Literal and value in inner:
        return value
    elif origin is tuple and isinstance(value, (list, tuple)):
        kinds = inner[:1] * len(value) if inner[1:] == (...,) else inner
        if len(kinds) == len(value):
            pairs = enumerate(zip(value, kinds, strict=True))
            return tuple(convert(content, one, f"{place}[{i}]") for i, (content, one) in pairs)
    elif origin is list and isinstance(value, list):
        return [convert(content, inner[0], f"{place}[{i}]") for i, content in enumerate(value)]
    elif origin is dict and isinstance(value, dict):
        return {key: convert(content, inner[1], f"{place}.{key}") for key, content in value.items()}
    elif kind is float and type(value) in (int, float):
        if type(value) is float or abs(value) <= LARGEST:
            return float(value)
    elif kind in (int, str, bool, NoneType) and type(value) is kind:
        if kind is not int or abs(value) <= LARGEST:
            return value
    elif hasattr(kind, "__dataclass_fields__"):
        return build(kind, value, place)
    return _refuse(value, kind, place)


def _refuse(value: Any, kind: Any, place: str) -> Any:
    raise ConfigError(f"{place} is {_short_text(value)}, and should be {_type_name(kind)}")


def _type_name(kind: Any) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (UnionType, Union):
        return " or ".join(map(_type_name, inner))
    if origin is Literal:
        return " or ".join(map(repr, inner))
    if origin in (tuple, list):
        count = f"{len(inner)} " if origin is tuple and inner[1:] != (...,) else ""
        return f"a list of {count}({', '.join(dict.fromkeys(_type_name(k) for k in inner if k is not ...))})"
    return WORDS.get(origin or kind, getattr(kind, "__name__", str(kind)))


def _short_text(value: Any) -> str:
    text = (
        repr(value)
        if not isinstance(value, int) or abs(value) < 10**30
        else "a number of many digits"
    )
    return text if len(text) <= 60 else text[:57] + "..."


def _hints(kind: type[Any]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind) if field.init}
