"""Values of a YAML file, taken only if they are of the kind that is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from leadline.errors import UserError, nearest


class Unique(yaml.SafeLoader):
    """YAML in which no key may stand twice: the later one would win in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping from keys that differ."""
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key!r} stands twice", problem_mark=key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


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
