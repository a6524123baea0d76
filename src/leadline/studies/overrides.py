"""Values as YAML holds them ↔ words as the command line writes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from leadline.config import SCHEMAS
from leadline.errors import UserError

# Text that Hydra's grammar reads back as the same text without quotes.
PLAIN = re.compile(r"(?:[A-Za-z_/][A-Za-z0-9_./-]*)?[A-Za-z_/][A-Za-z0-9_./-]*")
NOT_TEXT = {"true", "false", "null", "nan", "inf"}
# What is a number without quotes, there and in a study's file.
INTEGER = re.compile(r"[+-]?(?:0|[1-9](?:_?[0-9])*)")
DECIMAL = re.compile(
    r"""[+-]?(?:
        [0-9](?:_?[0-9])*(?:\.(?:[0-9](?:_?[0-9])*)?(?:[eE][+-]?[0-9](?:_?[0-9])*)?
                          |[eE][+-]?[0-9](?:_?[0-9])*)
        |\.[0-9](?:_?[0-9])*(?:[eE][+-]?[0-9](?:_?[0-9])*)?
        |[iI][nN][fF]|[nN][aA][nN])""",
    re.VERBOSE,
)
KEY = re.compile(r"[A-Za-z0-9_/\-\\+.$%*@?|()\[\]{}:=, \t]+")


def to_override(value: Any) -> str:
    """Write a value so that Hydra reads the same value back.

    Examples
    --------
    >>> written(False), written(None), written([1, "a b"]), written({"depth": 3})
    ('false', 'null', "[1,'a b']", '{depth:3}')
    """
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case str():
            return value if is_plain(value) else quoted(value)
        case list() | tuple():
            return f"[{','.join(to_override(item) for item in value)}]"
        case dict():
            pairs = (f"{written_key(key)}:{to_override(item)}" for key, item in value.items())
            return f"{{{','.join(pairs)}}}"
    raise UserError(
        "a setting holds a number, true, false, null, text, or a list or mapping of these",
        got=repr(value),
        remedy="put it into quotes if it is text",
    )


def written_key(key: Any) -> str:
    """Write a key of a mapping, which Hydra's grammar knows no quotes for."""
    if not isinstance(key, str):
        return to_override(key)
    if not KEY.fullmatch(key) or key.lower() in NOT_TEXT or is_number(key):
        raise UserError(
            "a key of a mapping must be text that the command line can write",
            got=repr(key),
            remedy="choose another: letters, digits and '_', with a letter in front",
        )
    return re.sub(r"[\\()\[\]{}:=, \t]", lambda found: "\\" + found[0], key)


def is_number(text: str) -> bool:
    """Say whether the command line reads a text without quotes as a number."""
    return INTEGER.fullmatch(text) is not None or DECIMAL.fullmatch(text) is not None


def is_plain(text: str) -> bool:
    """Say whether a text needs no quotes."""
    return PLAIN.fullmatch(text) is not None and text.lower() not in NOT_TEXT


def quoted(text: str) -> str:
    """Quote a text the way Hydra's grammar does: backslashes count before a quote only."""
    escaped = re.sub(r"(\\*)'", lambda found: found[1] * 2 + r"\'", text)
    trailing = len(escaped) - len(escaped.rstrip("\\"))
    return f"'{escaped}{chr(92) * trailing}'"


def to_overrides(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Write settings as words, groups first, so that equal settings give equal words."""
    keys = sorted(settings, key=lambda key: (key not in SCHEMAS, key))
    return tuple(f"{key}={to_override(settings[key])}" for key in keys)
