"""Cells with spans → a grid, for tables of JATS, HTML, text and PDF alike."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from leadline.errors import UserError
from leadline.papers.drafts.document import MOST_CELLS, PaperTable, Passage, TableCell
from leadline.papers.drafts.element import Element, text_of

# What HTML allows at most.
MOST_COLUMNS = 1000
# What a cell of numbers may hold beside digits.
NUMERIC = re.compile(r"[\s\d.,·∙±+−–—\-()\[\]%×*†‡§<>=≤≥~^_{}/;:eE]+|n/?a|ns|nan", re.IGNORECASE)
LABEL = re.compile(
    r"((?:supp(?:lementa(?:ry|l))?\.?|extended data|appendix)\s+)?(tab(?:le|\.)?|fig(?:ure|\.)?)"
    r"\s*([a-z]?\d+[a-z]?)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RawCell:
    """A cell as a file has it, before it gets a place on the grid."""

    path: str
    text: str
    rows: int = 1
    columns: int = 1
    is_header: bool = False


def lay_out(rows: Sequence[Sequence[RawCell]]) -> tuple[tuple[TableCell | None, ...], ...]:
    """Give each cell its place: the first position of its row that no cell above spans into.

    A span that would leave the table ends with it, as browsers have it.
    """
    taken: dict[tuple[int, int], TableCell] = {}
    for i, row in enumerate(rows):
        column = 0
        for cell in row:
            while (i, column) in taken:
                column += 1
            height, width = min(cell.rows, len(rows) - i), min(cell.columns, MOST_COLUMNS)
            if len(taken) + height * width > MOST_CELLS:
                raise UserError(
                    f"a table of a paper may have {MOST_CELLS:,} positions",
                    got=f"more at {cell.path}",
                    remedy="leave the table out of the file",
                )
            placed = TableCell(
                path=cell.path,
                text=cell.text,
                row=i,
                column=column,
                rows=height,
                columns=width,
                is_header=cell.is_header,
            )
            for place in ((i + y, column + x) for y in range(height) for x in range(width)):
                taken.setdefault(place, placed)
            column += width
    width = 1 + max((x for _, x in taken), default=-1)
    if len(rows) * width > MOST_CELLS:
        raise UserError(
            f"a table of a paper may have {MOST_CELLS:,} positions",
            got=f"{len(rows)} rows of {width}",
            remedy="leave the table out of the file",
        )
    return tuple(tuple(taken.get((i, k)) for k in range(width)) for i in range(len(rows)))


def is_numeric(text: str) -> bool:
    """Say whether a cell holds a number, or a sign that there is none, rather than words."""
    without_marks = re.sub(r"\^\{[^}]*\}$", "", text)
    return bool(without_marks) and NUMERIC.fullmatch(without_marks) is not None


def header_rows(grid: Sequence[Sequence[TableCell | None]], declared: int) -> int:
    """Count the rows that name columns: those declared; else leading rows of words alone."""
    if declared:
        return min(declared, len(grid))
    count = 0
    for line in grid[:-1]:
        words = [cell for cell in line if cell is not None and cell.text]
        if not words or any(is_numeric(cell.text) for cell in words):
            break
        count += 1
        if not all(cell.is_header for cell in words) and len({id(cell) for cell in words}) > 1:
            break
    return count


def table_of_element(
    element: Element, label: str, caption: str, footnotes: tuple[Passage, ...]
) -> PaperTable | None:
    """Lay out a `table` of JATS or HTML; none if it has no cells."""
    rows, in_head = [], 0
    for group in element.elements:
        for row in [group] if group.name == "tr" else group.elements:
            if row.name != "tr":
                continue
            cells = [_raw(cell) for cell in row.elements if cell.name in ("td", "th")]
            in_head += group.name == "thead"
            rows.append(cells)
    grid = lay_out(rows)
    if not any(cell for line in grid for cell in line):
        return None
    return PaperTable(
        path=element.path,
        label=label,
        caption=caption,
        grid=grid,
        header_rows=header_rows(grid, in_head),
        footnotes=footnotes,
    )


def _raw(cell: Element) -> RawCell:
    return RawCell(
        path=cell.path,
        text=text_of(cell, ("table", "table-wrap", "tex-math", "annotation")),
        rows=_span(cell.attributes.get("rowspan", "")),
        columns=_span(cell.attributes.get("colspan", "")),
        is_header=cell.name == "th",
    )


def _span(text: str) -> int:
    # A span of 0 or of anything but digits means 1 here; browsers stretch 0 to the end.
    return min(max(int(text), 1), MOST_CELLS) if re.fullmatch(r"[0-9]{1,9}", text) else 1


def caption_name(text: str) -> str:
    """Give the table or figure that a caption begins with: a label, then a stop or a capital."""
    found = LABEL.match(text)
    follows = text[found.end() :].lstrip() if found else "x"
    return artefact_name(text) if not follows or not follows[0].islower() else ""


def artefact_name(text: str) -> str:
    """Give the table or figure that a label names in one way of writing: `Supp. Table 4`."""
    found = LABEL.match(text)
    if found is None:
        return ""
    kind = "Table" if found[2].lower().startswith("t") else "Figure"
    number = found[3].upper()
    is_supplement = bool(found[1]) or number[0] == "S"
    prefix = "Supp. " if is_supplement else ""
    return f"{prefix}{kind} {number.removeprefix('S') if is_supplement else number}"
