"""Tables of any frame of results: the paper's layout, and ours with tests beside the means."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import NamedTuple

NOTHING = "–"
# Scores are small; a number from here on is a count.
COUNT = 1000.0
# Tables of more columns are shrunk to the width of the page.
WIDE = 8
# Cells of more letters are set in lines; a table that has some may run over pages, unless its
# columns are more than a page has room for.
LONG, WIDEST_OF_SENTENCES = 40, 10
LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    # A name may break where it has one, else it runs into the next column.
    "_": r"\_\allowbreak{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "±": r"$\pm$",
    "–": "--",
    "…": r"\ldots{}",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "×": r"$\times$",
    "“": "``",
    "”": "''",
    "’": "'",
    "−": "$-$",
    "→": r"$\rightarrow$",
    "·": r"$\cdot$",
}
PREAMBLE = r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage[a4paper,margin=2cm]{geometry}
\usepackage{array}
\usepackage{booktabs}
\usepackage{graphicx}
\usepackage{longtable}
\begin{document}
"""


class Link(NamedTuple):
    """A cell that leads somewhere, where the format knows links."""

    text: str
    place: str


class Grey(NamedTuple):
    """A number that must not be counted, where the format knows grey; elsewhere in brackets."""

    value: float | int | None


Value = str | float | int | None | Link | Grey


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows under columns, a title above and notes below. Numbers stay numbers until written.

    `printed` names the columns that paper has room for, if there are more; files for machines and
    pages that scroll have all of them.
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Value]]
    notes: Sequence[str] = ()
    printed: Sequence[str] = ()

    def __post_init__(self) -> None:
        widths = {len(row) for row in self.rows} - {len(self.columns)}
        assert not widths, f"{self.name} has {len(self.columns)} columns, and rows of {widths}"
        assert set(self.printed) <= set(self.columns), f"{self.name} lacks what it would print"


def shown(value: Value) -> str:
    """Write a cell for a reader: four decimals, small numbers in powers of ten, counts whole."""
    if value is None:
        return NOTHING
    if isinstance(value, Link):
        return value.text
    if isinstance(value, Grey):
        return NOTHING if value.value is None else f"({shown(value.value)})"
    if isinstance(value, float):
        if abs(value) >= COUNT:
            return f"{value:,.0f}" if value.is_integer() else f"{value:,.1f}"
        return f"{value:.4f}" if value == 0 or abs(value) >= 1e-3 else f"{value:.2e}"
    return str(value)


def to_csv(table: Table) -> str:
    """Write for machines: all digits, nothing for what is missing, neither title nor notes."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows([_in_csv(cell) for cell in row] for row in table.rows)
    return buffer.getvalue()


def _in_csv(cell: Value) -> Value:
    if isinstance(cell, Link):
        cell = cell.text
    if isinstance(cell, Grey):
        cell = cell.value
    # What begins so is a formula to spreadsheets, which run it.
    if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{cell}"
    return "" if cell is None else cell


def to_markdown(table: Table) -> str:
    """Write as a pipe table under a heading."""

    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cells)} |\n"

    head = line([in_markdown(name) for name in table.columns])
    rule = line(["---"] * len(table.columns))
    body = "".join(line([in_markdown(shown(cell)) for cell in row]) for row in table.rows)
    notes = "".join(f"\n{in_markdown(note)}\n" for note in table.notes)
    return f"## {in_markdown(table.title)}\n\n{head}{rule}{body}{notes}"


def in_markdown(text: str) -> str:
    """Escape what Markdown would read as its own; one line."""
    for sign in "\\`*_{}[]#|":
        text = text.replace(sign, f"\\{sign}")
    # As entities: there are readers of Markdown that take an escaped tag for a tag.
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return " ".join(text.split())


def to_latex(table: Table) -> str:
    """Write with booktabs rules; needs array, graphicx and longtable.

    Tables of sentences are set in lines and may run over pages; tables of many columns are shrunk
    to the width of the page.
    """
    names = table.printed or table.columns
    places = [table.columns.index(name) for name in names]
    lines = [[shown(row[place]) for place in places] for row in table.rows]
    longest = [max(map(len, column)) for column in zip(names, *lines, strict=True)]
    head, body = _latex_row(names), "".join(map(_latex_row, lines))
    notes = "".join(f"\n\n\\noindent\\footnotesize {_in_latex(note)}" for note in table.notes)
    caption = f"\\caption{{{_in_latex(table.title)}}}"
    wide = len(names) > WIDE
    if max(longest) > LONG and len(names) <= WIDEST_OF_SENTENCES:
        return (
            f"{{\\scriptsize\n\\begin{{longtable}}{{{_paragraphs(longest)}}}\n{caption}\\\\\n"
            f"\\toprule\n{head}\\midrule\n\\endhead\n{body}\\bottomrule\n"
            f"\\end{{longtable}}{notes}\n\n}}\n"
        )
    columns = "".join(_paragraph("6cm") if length > LONG else "l" for length in longest)
    tabular = (
        f"\\begin{{tabular}}{{{columns}}}\n\\toprule\n{head}\\midrule\n{body}\\bottomrule\n"
        "\\end{tabular}"
    )
    if wide:
        tabular = f"\\resizebox{{\\linewidth}}{{!}}{{%\n{tabular}}}"
    return f"\\begin{{table}}[htbp]\n\\centering\n{caption}\n{tabular}{notes}\n\\end{{table}}\n"


def _latex_row(cells: Sequence[str]) -> str:
    return f"{' & '.join(_in_latex(cell) for cell in cells)} \\\\\n"


def _paragraphs(longest: Sequence[int]) -> str:
    """Share the line among columns, longer texts getting more, if less than in proportion."""
    shares = [length**0.5 for length in longest]
    room = 1.0 - 0.025 * len(shares)
    return "".join(_paragraph(f"{room * share / sum(shares):.3f}\\linewidth") for share in shares)


def _paragraph(width: str) -> str:
    return f">{{\\raggedright\\arraybackslash}}p{{{width}}}"


def latex_document(tables: Sequence[str]) -> str:
    """Write a document that compiles by itself, of tables in LaTeX."""
    body = "\\clearpage\n".join(tables)
    return f"{PREAMBLE}{body}\\end{{document}}\n"


# Signs that LaTeX takes as they are.
PLAIN = re.compile(r"[ A-Za-z0-9.,:;/+\-()=]*")


def _in_latex(text: str) -> str:
    if PLAIN.fullmatch(text):
        return " ".join(text.split())
    return "".join(LATEX.get(sign) or _plain(sign) for sign in " ".join(text.split()))


def _plain(sign: str) -> str:
    # pdflatex knows Latin letters; others it stops at.
    if ord(sign) < 0x180 and sign.isprintable():
        return sign
    decomposed = unicodedata.normalize("NFKD", sign)
    return "".join(part for part in decomposed if part.isascii() and part.isalnum()) or "?"


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
        isinstance(cell, float | int | Grey) or NUMBER.fullmatch(shown(cell)) for cell in known
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
    grey = ' class="muted"' if isinstance(cell, Grey) else ""
    return f"<td{grey}>{inside}</td>"


def html_document(title: str, tables: Sequence[Table]) -> str:
    """Write a plain page of tables that needs nothing beside it."""
    body = "".join(to_html(table) for table in tables)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n{body}</body>\n</html>\n"
    )
