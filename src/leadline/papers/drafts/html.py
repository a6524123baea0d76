"""A paper as its publisher or a preprint server shows it in a browser → passages and tables."""

from __future__ import annotations

import re

from leadline.papers.drafts.document import PaperTable, Passage
from leadline.papers.drafts.element import Element, text_of
from leadline.papers.drafts.grid import caption_name, table_of_element
from leadline.papers.drafts.html_tree import BLOCKS

HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
# Blocks may stand in one another; what is said in the inner one is not said by the outer.
INNER = (*BLOCKS, "li", "dd", "dt", "tr", "td", "th", "main", "annotation", "head")
INLINE = frozenset(
    "a abbr b cite code em font i math mark q s small span strong sub sup time tt u var".split()
)
UNREAD_CLASSES = re.compile(r"\b(ref-list|references?|citation-list|site-header|cookie)\b", re.I)


def read_html(root: Element) -> tuple[str, list[Passage], list[PaperTable]]:
    """Give title, passages and tables of a page, in the order of the file."""
    found = _Page()
    main = root.first("article", "main", "body") or root
    found.read(main)
    title = root.first("h1") or root.first("title")
    return text_of(title) if title else "", found.passages, found.tables


class _Page:
    """Goes through a page once; the headings so far are the section."""

    def __init__(self) -> None:
        self.passages: list[Passage] = []
        self.tables: list[PaperTable] = []
        self.headings: list[tuple[int, str]] = []

    @property
    def section(self) -> str:
        return " / ".join(said for _, said in self.headings)

    def read(self, element: Element) -> None:
        """Read the children of an element; texts outside of any block are passages, too."""
        says = any(
            child.strip() if isinstance(child, str) else child.name in INLINE - {"a"}
            for child in element.children
        )
        if says and element.name not in HEADINGS:
            self._add(element, "paragraph")
        for child in element.elements:
            # Whatever the standard says, there are paragraphs inside of spans.
            if child.name not in INLINE or any(each.name in BLOCKS for each in child.walk()):
                self._read_one(child)

    def _read_one(self, child: Element) -> None:
        if child.name in ("head", "footer", "header") or UNREAD_CLASSES.search(
            f"{child.attributes.get('class', '')} {child.attributes.get('id', '')}"
        ):
            return
        if child.name in HEADINGS:
            level, said = int(child.name[1]), text_of(child)
            self.headings = [each for each in self.headings if each[0] < level]
            self.headings.append((level, said))
            self._add(child, "heading")
        elif child.name == "table":
            self._read_table(child)
        else:
            self.read(child)

    def _add(self, element: Element, kind: str) -> None:
        said = text_of(element, INNER)
        if not said:
            return
        artefact = caption_name(said)
        kind = "caption" if artefact and kind == "paragraph" else kind
        self.passages.append(
            Passage(
                path=element.path, text=said, section=self.section, kind=kind, artefact=artefact
            )
        )

    def _read_table(self, element: Element) -> None:
        """Lay a table out; its name is in its caption, or in the paragraph before it."""
        own = next((each for each in element.elements if each.name == "caption"), None)
        if own is not None:
            self._add(own, "caption")
        nearest = self.passages[-3:]
        caption = next((each for each in nearest[::-1] if "Table" in each.artefact), None)
        artefact = caption.artefact if caption else ""
        taken = {table.label for table in self.tables}
        if artefact in taken and own is None:
            artefact, caption = "", None
        notes = self._footnotes(element, artefact)
        said = text_of(own) if own else caption.text if caption else ""
        table = table_of_element(element, artefact, said, notes)
        if table is not None:
            self.tables.append(table)
        # A table that lays out a page has blocks, even tables, in its cells.
        for inner in element.walk(("table",)):
            if inner.name == "table":
                self._read_table(inner)

    def _footnotes(self, element: Element, artefact: str) -> tuple[Passage, ...]:
        foot = next((each for each in element.elements if each.name == "tfoot"), None)
        if foot is None:
            return ()
        cells = [each for each in foot.walk(("td", "th")) if each.name in ("td", "th")]
        notes = [
            Passage(
                path=cell.path, text=text_of(cell), section=self.section, kind="footnote",
                artefact=artefact,
            )
            for cell in cells
        ]  # fmt: skip
        return tuple(note for note in notes if note.text)
