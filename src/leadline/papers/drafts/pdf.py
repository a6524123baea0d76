"""PDF → passages and tables with the box that each has on its page, by pdfplumber."""

from __future__ import annotations

import io
from typing import Any

from leadline.errors import UserError
from leadline.papers.drafts.document import PaperTable, Passage
from leadline.papers.drafts.grid import RawCell, caption_name, header_rows, lay_out

MOST_PAGES = 500
# Lines farther apart than this, in heights of a line, belong to two paragraphs.
PARAGRAPH_GAP = 0.6


def read_pdf(content: bytes, file: str) -> tuple[str, list[Passage], list[PaperTable]]:
    """Give passages and ruled tables, page by page; a scanned page gives nothing."""
    try:
        import pdfplumber
    except ImportError as error:
        raise UserError(
            "a paper as PDF needs the package pdfplumber",
            got=f"{file}, and no pdfplumber",
            remedy='pip install "leadline[pdf]", or give the paper as JATS, HTML or text',
        ) from error
    passages: list[Passage] = []
    tables: list[PaperTable] = []
    try:
        with pdfplumber.open(io.BytesIO(content)) as opened:
            if len(opened.pages) > MOST_PAGES:
                raise UserError(
                    f"a paper may have {MOST_PAGES} pages",
                    got=f"{len(opened.pages)} in {file}",
                    remedy="cut the file",
                )
            title = str((opened.metadata or {}).get("Title") or "")
            for number, page in enumerate(opened.pages, 1):
                _read_page(page, number, passages, tables)
    except UserError:
        raise
    # pdfminer raises errors of many kinds, and KeyError or TypeError, on what is broken.
    except Exception as error:
        raise UserError(
            "a paper as PDF must be readable",
            got=f"{file}: {type(error).__name__}",
            remedy="give the paper as JATS, HTML or text",
        ) from error
    return title, passages, tables


def _read_page(page: Any, number: int, passages: list[Passage], tables: list[PaperTable]) -> None:
    found = page.find_tables()
    boxes = [each.bbox for each in found]
    lines = [line for line in page.extract_text_lines() if not _inside(line, boxes)]
    for group in _paragraphs(lines):
        said = " ".join(" ".join(line["text"] for line in group).split())
        if not said:
            continue
        artefact = caption_name(said)
        passages.append(
            Passage(
                path=f"page[{number}]/{_box(_around(group))}",
                text=said,
                section=f"page {number}",
                kind="caption" if artefact else "paragraph",
                artefact=artefact,
            )
        )
    captions = [each for each in passages if each.path.startswith(f"page[{number}]/")]
    named = [each for each in captions if "Table" in each.artefact]
    for each, caption in zip(found, [*named, *[None] * len(found)], strict=False):
        table = _table(each, number, caption)
        tables += [table] if table else []


def _paragraphs(lines: list[Any]) -> list[list[Any]]:
    groups: list[list[Any]] = []
    for line in lines:
        before = groups[-1][-1] if groups else None
        height = line["bottom"] - line["top"]
        if before is None or not 0 <= line["top"] - before["bottom"] <= PARAGRAPH_GAP * height:
            groups.append([])
        groups[-1].append(line)
    return groups


def _inside(line: Any, boxes: list[tuple[float, float, float, float]]) -> bool:
    middle = (line["top"] + line["bottom"]) / 2
    return any(top <= middle <= bottom and x0 <= line["x0"] <= x1 for x0, top, x1, bottom in boxes)


def _around(group: list[Any]) -> tuple[float, float, float, float]:
    return (
        min(line["x0"] for line in group),
        min(line["top"] for line in group),
        max(line["x1"] for line in group),
        max(line["bottom"] for line in group),
    )


def _box(corners: tuple[float, float, float, float]) -> str:
    return f"box[{','.join(f'{each:.0f}' for each in corners)}]"


def _table(found: Any, number: int, caption: Passage | None) -> PaperTable | None:
    rows = found.extract()
    path = f"page[{number}]/{_box(found.bbox)}"
    raw = [
        [
            RawCell(path=f"{path}/row[{i + 1}]/cell[{k + 1}]", text=" ".join((cell or "").split()))
            for k, cell in enumerate(row)
        ]
        for i, row in enumerate(rows)
    ]
    grid = lay_out(raw)
    if not any(cell is not None and cell.text for line in grid for cell in line):
        return None
    return PaperTable(
        path=path,
        label=caption.artefact if caption else "",
        caption=caption.text if caption else "",
        grid=grid,
        header_rows=header_rows(grid, 0),
    )
