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


def written(value: Any) -> str:
    """Write a value so that Hydra reads the same value back.

    Examples
    --------
    >>> written(False), written(None), written([1, "a b"])
    ('false', 'null', "[1,'a b']")
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
            return f"[{','.join(written(item) for item in value)}]"
    raise UserError(
        "a setting holds a number, true, false, null, text, or a list of these",
        got=repr(value),
        remedy="write settings of groups one by one, as in model.size: tiny",
    )


def is_plain(text: str) -> bool:
    """Say whether a text needs no quotes."""
    return PLAIN.fullmatch(text) is not None and text.lower() not in NOT_TEXT


def quoted(text: str) -> str:
    """Quote a text the way Hydra's grammar does: backslashes count before a quote only."""
    escaped = re.sub(r"(\\*)'", lambda found: found[1] * 2 + r"\'", text)
    trailing = len(escaped) - len(escaped.rstrip("\\"))
    return f"'{escaped}{chr(92) * trailing}'"


def words_of(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Write settings as words, groups first, so that equal settings give equal words."""
    keys = sorted(settings, key=lambda key: (key not in SCHEMAS, key))
    return tuple(f"{key}={written(settings[key])}" for key in keys)
