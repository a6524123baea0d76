"""Tables for a terminal or a pipe: aligned columns, no frames, nothing cut off."""

from __future__ import annotations

from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]], indent: str = "") -> list[str]:
    """Give rows as lines; numbers stand to the right, other texts to the left.

    Examples
    --------
    >>> aligned([("name", "0.5"), ("n", "0.25")])
    ['name   0.5', 'n     0.25']
    """
    if not rows:
        return []
    count = max(map(len, rows))
    filled = [[*row, *[""] * (count - len(row))] for row in rows]
    columns = list(zip(*filled, strict=True))
    widths = [max(map(len, column)) for column in columns]
    right = [any(map(is_number, c)) and all(is_number(t) or not t for t in c[1:]) for c in columns]
    return [
        (indent + "  ".join(place(*cell) for cell in zip(row, widths, right, strict=True))).rstrip()
        for row in filled
    ]


def place(text: str, width: int, right: bool) -> str:
    """Pad a text to a column's width."""
    return text.rjust(width) if right else text.ljust(width)


def is_number(text: str) -> bool:
    """Say whether a text is a number, perhaps with a sign, thousands and a unit of percent."""
    try:
        float(text.replace(",", "").rstrip("%"))
    except ValueError:
        return False
    return True
