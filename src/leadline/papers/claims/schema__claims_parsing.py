"""What YAML gave → dataclasses; what does not fit is refused with its place."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, TypeVar

from leadline.errors import UserError, nearest

Read = TypeVar("Read")


def parse(kind: type[Read], given: Any, place: str) -> Read:
    """Build a dataclass of this module from what YAML gave; refuse what does not fit."""
    if not isinstance(given, Mapping):
        raise _misfit(place, "a mapping", given)
    known = {each.name: each for each in fields(typing.cast(Any, kind))}
    for key in given:
        if key not in known:
            raise UserError(
                f"{place} must have known keys only", got=str(key), remedy=nearest(str(key), known)
            )
    for name, each in known.items():
        if name not in given and each.default is MISSING and each.default_factory is MISSING:
            raise UserError(
                f"{place} must say {name}",
                got=f"only {', '.join(map(str, given))}",
                remedy="add it",
            )
    kinds = typing.get_type_hints(kind)
    return kind(**{key: _fit(kinds[key], value, f"{place}: {key}") for key, value in given.items()})


def _fit(kind: Any, value: Any, place: str) -> Any:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if is_dataclass(kind):
        return parse(typing.cast(type, kind), value, place)
    if origin is Literal:
        if value not in inner:
            remedy = nearest(str(value), map(str, inner))
            raise UserError(f"{place} must be a known word", got=repr(value), remedy=remedy)
        return value
    if origin is types.UnionType:
        return None if value is None else _fit(inner[0], value, place)
    if origin in (list, tuple):
        if not isinstance(value, list):
            raise _misfit(place, "a list", value)
        names = [f"{place}[{_name(each, i)}]" for i, each in enumerate(value)]
        fitted = [_fit(inner[0], each, name) for each, name in zip(value, names, strict=True)]
        return tuple(fitted) if origin is tuple else fitted
    if isinstance(kind, type) is False or origin is not None:
        if not isinstance(value, Mapping):
            raise _misfit(place, "a mapping", value)
        return {str(key): _fit(inner[1], each, f"{place}.{key}") for key, each in value.items()}
    return _plain(kind, value, place)


def _plain(kind: Any, value: Any, place: str) -> Any:
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        words = {str: "text", float: "a number", int: "a whole number", bool: "true or false"}
        raise _misfit(place, words[kind], value)
    return value


def _name(value: Any, position: int) -> str:
    return str(value["id"]) if isinstance(value, Mapping) and "id" in value else str(position)


def _misfit(place: str, wanted: str, value: Any) -> UserError:
    return UserError(f"{place} must be {wanted}", got=repr(value)[:60], remedy="correct the file")
