"""An element of an XML or HTML file, its place, and its text, raised and lowered parts apart."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from leadline.errors import UserError

# Papers nest a few dozen deep; a file that nests deeper was made to exhaust its reader.
DEEPEST = 200
# Elements of a formula that stand one above another: what is beneath, then what is lowered, raised.
SCRIPTS = {"msup": ("", "^"), "msub": ("", "_"), "msubsup": ("", "_", "^")}


@dataclass(slots=True, eq=False)
class Element:
    """A named element; children are elements and texts in their order."""

    name: str
    attributes: dict[str, str]
    path: str
    children: list[Element | str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, attributes: dict[str, str]) -> Element:
        """Append an element; its path counts those of one name from 1."""
        number = self.counts[name] = self.counts.get(name, 0) + 1
        child = Element(name, attributes, f"{self.path}/{name}[{number}]")
        self.children.append(child)
        return child

    @property
    def elements(self) -> Iterator[Element]:
        """Give the children that are elements."""
        return (child for child in self.children if isinstance(child, Element))

    def walk(self, closed: Collection[str] = ()) -> Iterator[Element]:
        """Give every element below in the order of the file; look into none of the closed names."""
        stack = list(self.elements)[::-1]
        while stack:
            element = stack.pop()
            yield element
            if element.name not in closed:
                stack += list(element.elements)[::-1]

    def first(self, *names: str) -> Element | None:
        """Find the first element below of one of these names."""
        return next((each for each in self.walk() if each.name in names), None)


def text_of(element: Element, skipped: Collection[str] = ()) -> str:
    """Give what an element says, without what stands in elements of the skipped names."""
    pieces: list[str] = []
    _gather(element, skipped, pieces)
    return " ".join("".join(pieces).split())


def _gather(element: Element, skipped: Collection[str], pieces: list[str]) -> None:
    if element.name in SCRIPTS:
        parts = list(element.elements)
        for mark, part in zip(SCRIPTS[element.name], parts, strict=False):
            _marked(part, mark, skipped, pieces)
        return
    for child in element.children:
        if isinstance(child, str):
            pieces.append(child)
        elif child.name == "sup":
            _marked(child, "^", skipped, pieces)
        elif child.name == "sub":
            _marked(child, "_", skipped, pieces)
        elif child.name in ("break", "br"):
            pieces.append(" ")
        elif child.name not in skipped:
            _gather(child, skipped, pieces)


def _marked(element: Element, mark: str, skipped: Collection[str], pieces: list[str]) -> None:
    inner: list[str] = []
    _gather(element, skipped, inner)
    said = " ".join("".join(inner).split())
    if said:
        pieces.append(f"{mark}{{{said}}}" if mark else said)


def require_depth(depth: int) -> None:
    """Refuse a file whose elements nest deeper than papers do."""
    if depth > DEEPEST:
        raise UserError(
            f"elements of a paper may nest {DEEPEST} deep",
            got="more",
            remedy="take the file from the publisher again",
        )
