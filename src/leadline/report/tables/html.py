"""Tables as parts of a page: escaped, aligned, ready to be sorted and filtered by its script."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from html import escape

from leadline.report.tables.table import Link, Table, Value, shown

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


def to_html(
    table: Table, *, level: int = 2, place: str = "", whose: str = "", file: str = ""
) -> str:
    """Write as a section; every cell is escaped, since names come from users' files.

    `whose` tells tables of one title apart to those who hear the page. Of a table with columns
    that paper has no room for the others are shown; `file` is where all of them are.
    """
    hidden = len(table.columns) - len(table.printed) if table.printed else 0
    table = abridged(table)
    numeric = [_is_numeric(column) for column in zip(*table.rows, strict=True)]
    numeric = numeric or [False] * len(table.columns)
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in table.columns)
    body = "".join(f"<tr>{''.join(map(_cell, table.columns, row))}</tr>\n" for row in table.rows)
    notes = "".join(f'<p class="muted">{escape(note)}</p>\n' for note in table.notes)
    heading = f"<h{level}>{escape(table.title)}</h{level}>\n"
    label = f"{table.title}, {whose}" if whose else table.title
    kind = " ".join(
        [
            "data long" if len(table.rows) > FEW else "data",
            *(f"n{at}" for at, right in enumerate(numeric, start=1) if right),
        ]
    )
    if file:
        more = f"{hidden} more columns, and all digits" if hidden else "All digits"
        notes += f'<p class="muted">{more}: <a href="{escape(file)}">{escape(file)}</a></p>\n'
    return (
        f'<section id="{escape(place or table.name)}">\n{heading}'
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(label)}">'
        f'<table class="{kind}"><thead><tr>{head}</tr></thead>\n'
        f"<tbody>{body}</tbody></table></div>\n{notes}</section>\n"
    )


def _is_numeric(column: Sequence[Value]) -> bool:
    known = [cell for cell in column if cell not in (None, "")]
    return bool(known) and all(
        isinstance(cell, float | int) or NUMBER.fullmatch(shown(cell)) for cell in known
    )


def abridged(table: Table) -> Table:
    """Leave out the columns that paper has no room for."""
    if not table.printed:
        return table
    kept = [table.columns.index(name) for name in table.printed]
    return replace(
        table,
        columns=tuple(table.printed),
        rows=[[row[at] for at in kept] for row in table.rows],
        printed=(),
    )


def _cell(column: str, cell: Value) -> str:
    text = shown(cell)
    inside = escape(text)
    if isinstance(cell, Link):
        inside = f'<a href="{escape(cell.place)}">{inside}</a>'
    if column in COLOURED and re.fullmatch(r"\w+", text):
        return f'<td class="verdict {escape(text)}">{inside}</td>'
    return f"<td>{inside}</td>"


def html_document(title: str, tables: Sequence[Table]) -> str:
    """Write a plain page of tables that needs nothing beside it."""
    body = "".join(to_html(table) for table in tables)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n{body}</body>\n</html>\n"
    )
