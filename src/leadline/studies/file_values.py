"""What any part of a study's file must be: a mapping, text, or a list of texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from leadline.errors import UserError, nearest


def mapping(where: str, said: Any, known: Sequence[str] | None = None) -> dict[str, Any]:
    """Refuse anything but a mapping from names, with known names where they are fixed."""
    if not isinstance(said, dict) or not all(isinstance(key, str) for key in said):
        raise UserError(
            f"{where} must be a mapping from names to values",
            got=repr(said),
            remedy="docs/studies.md shows one",
        )
    for key in said:
        if known is not None and key not in known:
            raise UserError(
                f"{where} may hold {', '.join(known)}", got=repr(key), remedy=nearest(key, known)
            )
    return said


def text(where: str, said: Any) -> str:
    """Refuse anything but text."""
    if not isinstance(said, str) or not said.strip():
        raise UserError(f"{where} must be text", got=repr(said), remedy="put it into quotes")
    return said.strip()


def texts(where: str, said: Any) -> list[str]:
    """Refuse anything but a list of texts."""
    if not isinstance(said, list):
        raise UserError(f"{where} must be a list", got=repr(said), remedy="write [a, b]")
    return [text(where, item) for item in said]
