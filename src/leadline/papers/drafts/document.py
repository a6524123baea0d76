"""What a reader makes of a paper's file: passages and tables, each at an address in the file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

# Above this a table is not a table of results, and laying it out would fill the memory.
MOST_CELLS = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A place in a paper: an element or paragraph of the file, and which letters of its text.

    `path` is the way to an element (`/article/body/sec[2]/p[1]`), the number of a paragraph
    (`paragraph[7]`), or a page and a box on it (`page[3]/box[72,90,310,102]`).
    """

    path: str
    start: int
    end: int
    quote: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A paragraph, heading, caption or footnote, with spaces made single.

    What is raised is written ^{-4}, what is lowered _{2}. `artefact` is the table or figure that a
    caption belongs to.
    """

    path: str
    text: str
    section: str = ""
    kind: str = "paragraph"
    artefact: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableCell:
    """A cell of a table: where it begins on the grid (from 0), how far it spans, what it says."""

    path: str
    text: str
    row: int
    column: int
    rows: int = 1
    columns: int = 1
    is_header: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperTable:
    """A table laid out as a grid: a cell that spans stands at each of its positions.

    The first `header_rows` rows name the columns.
    """

    path: str
    label: str
    caption: str
    grid: tuple[tuple[TableCell | None, ...], ...]
    header_rows: int
    footnotes: tuple[Passage, ...] = ()

    @property
    def cells(self) -> Iterator[TableCell]:
        """Give every cell once, row by row."""
        for i, line in enumerate(self.grid):
            for k, cell in enumerate(line):
                if cell is not None and (cell.row, cell.column) == (i, k):
                    yield cell

    @property
    def body(self) -> Iterator[TableCell]:
        """Give every cell below the header rows once."""
        return (cell for cell in self.cells if cell.row >= self.header_rows)

    def column_name(self, column: int) -> str:
        """Join what the header rows say above a column; what spans or repeats is said once."""
        said = [self.grid[i][column] for i in range(self.header_rows)]
        return " / ".join(dict.fromkeys(cell.text for cell in said if cell and cell.text))


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperText:
    """All that was read from one file; `digest` is the SHA-256 of its bytes.

    `absent` names what such a source does not carry, as `tables` of plain text.
    """

    file: str
    digest: str
    format: str
    title: str
    passages: tuple[Passage, ...]
    tables: tuple[PaperTable, ...]
    absent: tuple[str, ...] = ()
    texts: dict[str, str] = field(default_factory=dict)

    def says(self, address: Address) -> bool:
        """Say whether the quote stands at its address."""
        return self.texts.get(address.path, "")[address.start : address.end] == address.quote


def collect_texts(passages: tuple[Passage, ...], tables: tuple[PaperTable, ...]) -> dict[str, str]:
    """Give every text by its path, so that an address can be looked up."""
    found = {passage.path: passage.text for passage in passages}
    for table in tables:
        found |= {note.path: note.text for note in table.footnotes}
        found |= {cell.path: cell.text for cell in table.cells}
    return found
