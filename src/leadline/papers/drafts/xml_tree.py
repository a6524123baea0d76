"""XML → elements, by the standard library's expat, refusing what no paper needs.

Entities are not declared, nothing is loaded from elsewhere, depth is bounded; a name like &nbsp; is
taken as HTML means it.
"""

from __future__ import annotations

from html.entities import html5
from xml.parsers import expat

from leadline.errors import UserError
from leadline.papers.drafts.element import Element, require_depth


def parse_xml(content: bytes, name: str) -> Element:
    """Read a whole XML file; `name` is what messages call it."""
    root = Element("", {}, "")
    stack = [root]
    texts: list[str] = []

    def flush() -> None:
        if texts:
            stack[-1].children.append("".join(texts))
            texts.clear()

    def begin(tag: str, attributes: dict[str, str]) -> None:
        flush()
        require_depth(len(stack))
        plain = {key.rpartition(":")[2]: value for key, value in attributes.items()}
        stack.append(stack[-1].add(tag.rpartition(":")[2], plain))

    def end(tag: str) -> None:
        flush()
        stack.pop()

    def refuse_entity(*declared: object) -> None:
        raise UserError(
            "XML of a paper must not declare entities",
            got=f"{name} declares {declared[0]}",
            remedy="take the file from the publisher again",
        )

    def skip_entity(entity: str, is_parameter: bool) -> None:
        if not is_parameter:
            texts.append(html5.get(f"{entity};", f"&{entity};"))

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = begin
    parser.EndElementHandler = end
    parser.CharacterDataHandler = texts.append
    parser.EntityDeclHandler = refuse_entity
    parser.SkippedEntityHandler = skip_entity
    parser.UseForeignDTD(True)
    # What stands elsewhere (a DTD, a file, an address) counts as empty and is never opened.
    parser.ExternalEntityRefHandler = lambda *_: 1
    parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
    try:
        parser.Parse(content, True)
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise UserError(
            "a paper as XML must be well-formed",
            got=f"{name}: {error}",
            remedy="take the file from the publisher again",
        ) from error
    return root
