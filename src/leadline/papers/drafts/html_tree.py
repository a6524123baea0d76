"""HTML → elements: what browsers close by themselves is closed, what nobody reads is left out."""

from __future__ import annotations

from html.parser import HTMLParser

from leadline.papers.drafts.element import Element, require_depth

VOID = frozenset("area base br col embed hr img input link meta source track wbr".split())
# Figures in the page itself (data:image/…) make tags this long.
LONGEST_TAG = 20_000
# Nothing in these is part of a paper; their texts are never collected.
UNREAD = frozenset("script style noscript template svg nav button select textarea iframe".split())
BLOCKS = frozenset(
    "p div section article table ul ol dl pre blockquote figure h1 h2 h3 h4 h5 h6 header footer "
    "main aside figcaption".split()
)
# A tag → the open ones that it closes, and those that stop the search for them.
CLOSES = {
    "li": (("li",), ("ul", "ol")),
    "dt": (("dt", "dd"), ("dl",)),
    "dd": (("dt", "dd"), ("dl",)),
    "tr": (("tr", "td", "th", "caption", "colgroup"), ("table",)),
    "td": (("td", "th"), ("tr", "table")),
    "th": (("td", "th"), ("tr", "table")),
    "thead": (("tr", "td", "th", "thead", "tbody", "tfoot", "caption"), ("table",)),
    "tbody": (("tr", "td", "th", "thead", "tbody", "tfoot", "caption"), ("table",)),
    "tfoot": (("tr", "td", "th", "thead", "tbody", "tfoot", "caption"), ("table",)),
} | dict.fromkeys(BLOCKS, (("p",), ("td", "th", "li", "table", "figure")))


def parse_html(text: str) -> Element:
    """Read a whole page, however broken."""
    builder = _Builder()
    builder.feed(_with_bounded_tags(text))
    builder.close()
    return builder.root


def _with_bounded_tags(text: str) -> str:
    """Take out comments, and take for text what begins a tag that nothing ends.

    The parser of the standard library tries each anew up to the end of the file.
    """
    kept, place = [], 0
    while (begin := text.find("<!--", place)) >= 0:
        kept.append(text[place:begin])
        end = text.find("-->", begin + 4)
        place = end + 3 if end >= 0 else len(text)
    pieces = ("".join(kept) + text[place:]).split(">")
    for i, piece in enumerate(pieces[:-1]):
        if len(piece) > LONGEST_TAG:
            pieces[i] = piece[:-LONGEST_TAG].replace("<", "&lt;") + piece[-LONGEST_TAG:]
    pieces[-1] = pieces[-1].replace("<", "&lt;")
    return ">".join(pieces)


class _Builder(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("", {}, "")
        self.stack = [self.root]
        self.unread: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        name = tag.rpartition(":")[2]
        if self.unread:
            if name not in VOID:
                self.unread.append(name)
            return
        given = {key: value or "" for key, value in attrs}
        if name in UNREAD or given.get("aria-hidden") == "true":
            if name not in VOID:
                self.unread.append(name)
            return
        if name in CLOSES:
            self._close(*CLOSES[name])
        require_depth(len(self.stack))
        element = self.stack[-1].add(name, given)
        if name not in VOID:
            self.stack.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        # HTML knows no empty elements but the void ones; XHTML does.
        self.handle_starttag(tag, attrs)
        if tag.rpartition(":")[2] not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        name = tag.rpartition(":")[2]
        if self.unread:
            if name in self.unread:
                del self.unread[len(self.unread) - 1 - self.unread[::-1].index(name) :]
            return
        for place in range(len(self.stack) - 1, 0, -1):
            if self.stack[place].name == name:
                del self.stack[place:]
                return
            if self.stack[place].name == "table":
                return

    def handle_data(self, data: str) -> None:
        if not self.unread:
            self.stack[-1].children.append(data)

    def _close(self, names: tuple[str, ...], stop: tuple[str, ...]) -> None:
        """Close the open elements of these names that stand below the innermost stop."""
        last = len(self.stack)
        for place in range(len(self.stack) - 1, 0, -1):
            if self.stack[place].name in stop:
                break
            if self.stack[place].name in names:
                last = place
        del self.stack[last:]
