"""Tables as parts of a page: escaped, aligned, ready to be sorted and filtered by its script."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from html import escape

from leadline.report.tables.table import LONG, Grey, Link, Table, Value, shown

STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .5rem; border-bottom: 1px solid #8884; text-align: left; }
.number { text-align: right; }
"""
# A table of more rows gets a field that filters them.
FEW = 12
# Columns whose cells are words that the page has colours for.
COLOURED = ("verdict", "state")
NUMBER = re.compile(r"[+-]?\d[\d.,]*(?:e[+-]?\d+)?")
# Names without spaces break badly in the middle.
NAME = re.compile(r"[\w./+=-]{1,48}")


def to_html(table: Table, *, level: int = 2, place: str = "", whose: str = "") -> str:
    """Write as a section; every cell is escaped, since names come from users' files.

    `whose` tells tables of one title apart to those who hear the page.
    """
    numeric = [_is_numeric(column) for column in zip(*table.rows, strict=True)]
    numeric = numeric or [False] * len(table.columns)
    head = "".join(
        f'<th scope="col"{_kind("number" if right else "")}>{escape(name)}</th>'
        for name, right in zip(table.columns, numeric, strict=True)
    )
    body = "".join(
        f"<tr>{''.join(map(_cell, table.columns, row, numeric))}</tr>\n" for row in table.rows
    )
    notes = "".join(f'<p class="muted">{escape(note)}</p>\n' for note in table.notes)
    heading = f"<h{level}>{escape(table.title)}</h{level}>\n"
    label = f"{table.title}, {whose}" if whose else table.title
    kind = "data long" if len(table.rows) > FEW else "data"
    return (
        f'<section id="{escape(place or table.name)}">\n{heading}'
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(label)}">'
        f'<table class="{kind}"><thead><tr>{head}</tr></thead>\n'
        f"<tbody>{body}</tbody></table></div>\n{notes}</section>\n"
    )


def _is_numeric(column: Sequence[Value]) -> bool:
    known = [cell for cell in column if cell not in (None, "")]
    return bool(known) and all(
        isinstance(cell, float | int | Grey) or NUMBER.fullmatch(shown(cell)) for cell in known
    )


def _kind(*names: str) -> str:
    said = " ".join(name for name in names if name)
    return f' class="{said}"' if said else ""


def _cell(column: str, cell: Value, numeric: bool) -> str:
    text = shown(cell)
    inside = escape(text)
    if isinstance(cell, Link):
        inside = f'<a href="{escape(cell.place)}">{inside}</a>'
    if column in COLOURED and re.fullmatch(r"\w+", text):
        return f"<td{_kind('verdict', text)}>{inside}</td>"
    grey = "muted" if isinstance(cell, Grey) else ""
    if isinstance(cell, Grey):
        cell = cell.value
    # A page sorts by the number, not by the digits that are shown of it.
    value = f' data-value="{cell!r}"' if isinstance(cell, float) and math.isfinite(cell) else ""
    long = "long-text" if len(text) > LONG and not NAME.fullmatch(text) else ""
    name = "name" if not numeric and not long and NAME.fullmatch(text) else ""
    return f"<td{_kind('number' if numeric else '', grey, long, name)}{value}>{inside}</td>"


def html_document(title: str, tables: Sequence[Table]) -> str:
    """Write a plain page of tables that needs nothing beside it."""
    body = "".join(to_html(table) for table in tables)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n{body}</body>\n</html>\n"
    )
