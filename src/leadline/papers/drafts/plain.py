"""Plain text → paragraphs and such tables as text can carry.

Paragraphs are set apart by empty lines. Lines with cells between bars or tabs, two or more of equal
width, are a table; the text that BioRxivist gives has none.
"""

from __future__ import annotations

import re

from leadline.papers.drafts.document import PaperTable, Passage
from leadline.papers.drafts.grid import RawCell, caption_name, header_rows, lay_out

RULE = re.compile(r"\|?\s*:?-{2,}:?\s*(\|\s*:?-{2,}:?\s*)*\|?")
HEADING = re.compile(r"(#{1,6}\s+)?((\d+(\.\d+)*\.?\s+)?[A-Z][^.!?]{2,80})")
# A bar or backslash inside a cell is written with a backslash before it.
BAR = re.compile(r"(?<!\\)(?:\\\\)*\|")


def read_plain(text: str) -> tuple[str, list[Passage], list[PaperTable]]:
    """Give the first heading if there is one, passages and tables."""
    passages: list[Passage] = []
    tables: list[PaperTable] = []
    section = title = ""
    # Form feeds and odd line ends are white space, never part of a sentence.
    blocks = re.split(r"\n[ \t\r\f\v]*\n", text.replace("\r\n", "\n").replace("\r", "\n"))
    for number, block in enumerate((each for each in blocks if each.strip()), 1):
        path = f"paragraph[{number}]"
        lines = [line for line in block.split("\n") if line.strip()]
        said, rows = _parts(lines)
        joined = " ".join(" ".join(said).split())
        heading = HEADING.fullmatch(joined)
        is_heading = heading is not None and (joined[0] == "#" or len(joined.split()) < 12)
        if joined:
            artefact = caption_name(joined)
            kind = "heading" if is_heading else "caption" if artefact else "paragraph"
            if heading is not None and is_heading and not artefact:
                section = heading[2]
                title = title or section
            passages.append(
                Passage(path=path, text=joined, section=section, kind=kind, artefact=artefact)
            )
        if rows:
            table = _table(path, rows, passages)
            tables += [table] if table else []
    return title, passages, tables


def _parts(lines: list[str]) -> tuple[list[str], list[list[str]]]:
    """Tell the lines of a table from those of a paragraph; a table is the longest run of them."""
    cells = [_cells(line) for line in lines]
    begin = next(
        (i for i in range(len(lines) - 1) if cells[i] and len(cells[i]) == len(cells[i + 1])), None
    )
    if begin is None:
        return lines, []
    end = begin
    while end < len(lines) and len(cells[end]) == len(cells[begin]):
        end += 1
    return lines[:begin] + lines[end:], [each for each in cells[begin:end] if each]


def _cells(line: str) -> list[str]:
    if "\t" in line:
        return [cell.strip() for cell in line.split("\t")]
    bare = line.strip()
    if not bare.startswith("|") or not bare.endswith("|") or len(bare) < 2:
        return []
    return [_unescaped(cell) for cell in _split(bare[1:-1])]


def _split(line: str) -> list[str]:
    pieces, begin = [], 0
    for found in BAR.finditer(line):
        pieces.append(line[begin : found.end() - 1])
        begin = found.end()
    return [*pieces, line[begin:]]


def _unescaped(cell: str) -> str:
    return " ".join(re.sub(r"\\([\\|])", r"\1", cell).split())


def _table(path: str, rows: list[list[str]], passages: list[Passage]) -> PaperTable | None:
    ruled = [i for i, row in enumerate(rows) if all(re.fullmatch(r":?-{2,}:?", c) for c in row)]
    kept = [row for i, row in enumerate(rows) if i not in ruled]
    raw = [
        [
            RawCell(path=f"{path}/row[{i + 1}]/cell[{k + 1}]", text=" ".join(cell.split()))
            for k, cell in enumerate(row)
        ]
        for i, row in enumerate(kept)
    ]
    grid = lay_out(raw)
    if not grid:
        return None
    caption = passages[-1] if passages and "Table" in passages[-1].artefact else None
    return PaperTable(
        path=path,
        label=caption.artefact if caption else "",
        caption=caption.text if caption else "",
        grid=grid,
        header_rows=header_rows(grid, ruled[0] if ruled else 0),
    )
