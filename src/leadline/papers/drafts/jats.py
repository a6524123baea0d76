"""JATS, the XML of PubMed Central and most publishers → passages and tables."""

from __future__ import annotations

from collections.abc import Iterator

from leadline.errors import UserError
from leadline.papers.drafts.document import PaperTable, Passage
from leadline.papers.drafts.element import Element, text_of
from leadline.papers.drafts.grid import artefact_name, table_of_element

# Wrappings with a label and a caption; they may stand anywhere, inside a paragraph or at the end.
FLOATS = ("table-wrap", "fig")
GROUPS = ("table-wrap-group", "fig-group", "floats-group")
# What is said elsewhere, or is not the authors' text about their results.
UNREAD = frozenset(
    "ref-list front-stub processing-meta sub-article response permissions contrib-group aff "
    "author-notes related-article journal-meta".split()
)
NOT_IN_A_PARAGRAPH = (
    *FLOATS, *GROUPS, "list", "def-list", "disp-quote", "boxed-text", "fn", "tex-math",
    "annotation", "supplementary-material",
)  # fmt: skip


def read_jats(root: Element, file: str) -> tuple[str, list[Passage], list[PaperTable]]:
    """Give title, passages and tables of an article, in the order of the file."""
    article = root.first("article")
    if article is None:
        raise UserError(
            "XML of a paper must be JATS, with an element article",
            got=f"{file} with {next((each.name for each in root.elements), 'nothing')}",
            remedy="give the paper as JATS, HTML, text or PDF",
        )
    title = article.first("article-title")
    passages: list[Passage] = []
    tables: list[PaperTable] = []
    _read(article, "", passages, tables)
    return text_of(title) if title else "", passages, tables


def _read(
    element: Element, section: str, passages: list[Passage], tables: list[PaperTable]
) -> None:
    """Go through sections in their order; the heading of a section goes with all that is in it."""
    for child in element.elements:
        if child.name in UNREAD:
            continue
        if child.name in FLOATS:
            _read_float(child, section, passages, tables)
        elif child.name in ("sec", "abstract", "ack", "app", "boxed-text", "trans-abstract"):
            named = next((each for each in child.elements if each.name == "title"), None)
            heading = text_of(named) if named else child.name
            inner = f"{section} / {heading}" if section else heading
            _read(child, inner, passages, tables)
        elif child.name in ("p", "title", "article-title", "term", "fn-p"):
            kind = "paragraph" if child.name == "p" else "heading"
            _add(child, section, kind, "", passages)
            for inner_child in _nested(child):
                _read_nested(inner_child, section, passages, tables)
        else:
            _read(child, section, passages, tables)


def _nested(paragraph: Element) -> Iterator[Element]:
    """Find what stands in a paragraph without being part of its sentence, outermost first."""
    for child in paragraph.elements:
        if child.name in NOT_IN_A_PARAGRAPH:
            yield child
        else:
            yield from _nested(child)


def _read_nested(
    element: Element, section: str, passages: list[Passage], tables: list[PaperTable]
) -> None:
    if element.name in FLOATS:
        _read_float(element, section, passages, tables)
    else:
        _read(element, section, passages, tables)


def _add(element: Element, section: str, kind: str, artefact: str, passages: list[Passage]) -> str:
    said = text_of(element, NOT_IN_A_PARAGRAPH)
    if said:
        passages.append(
            Passage(path=element.path, text=said, section=section, kind=kind, artefact=artefact)
        )
    return said


def _read_float(
    element: Element, section: str, passages: list[Passage], tables: list[PaperTable]
) -> None:
    """Read a table or figure: label, caption, footnotes, and the table if it is not an image."""
    own = {each.name: each for each in list(element.elements)[::-1]}
    label = text_of(own["label"]) if "label" in own else ""
    artefact = artefact_name(label) or label
    said = []
    if "caption" in own:
        for part in own["caption"].walk(("p", "title")):
            if part.name in ("p", "title"):
                said.append(_add(part, section, "caption", artefact, passages))
    caption = " ".join(filter(None, said))
    artefact = artefact or artefact_name(caption)
    notes = _footnotes(element, section, artefact)
    passages += notes
    for table in element.walk(("table", *FLOATS)):
        if table.name == "table":
            found = table_of_element(table, artefact, caption, tuple(notes))
            tables += [found] if found else []
        elif table.name in FLOATS:
            _read_float(table, section, passages, tables)


def _footnotes(element: Element, section: str, artefact: str) -> list[Passage]:
    notes: list[Passage] = []
    for foot in element.walk(("table-wrap-foot", "table", *FLOATS)):
        if foot.name != "table-wrap-foot":
            continue
        parts = [each for each in foot.walk(("fn", "p")) if each.name in ("fn", "p", "attrib")]
        for part in parts:
            said = text_of(part)
            if said:
                notes.append(
                    Passage(
                        path=part.path, text=said, section=section, kind="footnote",
                        artefact=artefact,
                    )
                )  # fmt: skip
    return notes
