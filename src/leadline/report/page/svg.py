"""Drawings as parts of a page: with words, with ids of their own, in the page's colours."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from html import escape

from leadline.report.page.svg__page_colours import variables

# The parts of a matplotlib SVG that a page must not hold: prologue, metadata, style of the whole
# page, comments with the text that letters are drawn from.
OUTSIDE = re.compile(
    r"<\?xml.*?\?>|<!DOCTYPE.*?>|<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", re.DOTALL
)
ROOT = re.compile(r"<svg\b[^>]*?viewBox=\"([^\"]*)\"[^>]*>")
STYLE = re.compile(r'style="([^"]*)"')
ID = re.compile(r' id="([^"]+)"')
REFERENCE = re.compile(r'(?:url\(#|href="#)([^")]+)')
LETTER = re.compile(r"DejaVuSans[\w-]*-[0-9a-f]+")
GLYPH = re.compile(r'<path id="(DejaVuSans[\w-]*-[0-9a-f]+)"[^>]*/>\s*')
# A hundredth of a point is finer than any screen or printer shows.
DIGITS = re.compile(r"(-?\d+\.\d{2})\d+")
PATH = re.compile(r'\b(d|x|y)="([^"]*)"')


def figure(
    name: str,
    title: str,
    caption: str,
    description: str,
    broad: str,
    narrow: str = "",
    *,
    files: tuple[tuple[str, str], ...] = (),
    fixed: bool = False,
) -> str:
    """Show a figure, one drawing for wide windows and one for phones, with its words.

    `files` are links to the drawing as files. `fixed` keeps its colours in the dark: those of a
    scale mean numbers.
    """
    drawn = inline(broad, f"{name}-broad", title, description, fixed=fixed)
    drawings = f'<div class="broad">{drawn}</div>\n'
    if narrow:
        drawn = inline(narrow, f"{name}-narrow", title, description, fixed=fixed)
        drawings += f'<div class="narrow">{drawn}</div>\n'
    links = "".join(f' <a href="{escape(href)}">{escape(text)}</a>' for text, href in files)
    card = "card fixed" if fixed else "card"
    if not narrow:
        card += " single"
    return (
        f'<figure id="{escape(name)}">\n<div class="{card}">\n{drawings}</div>\n'
        f"<figcaption><strong>{escape(title)}.</strong> {escape(caption)}"
        f"{f'<span class=files>{links}</span>' if links else ''}</figcaption>\n</figure>\n"
    )


def inline(svg: str, prefix: str, title: str, description: str, *, fixed: bool = False) -> str:
    """Make an SVG file part of a page: ids of its own, a title and a text alternative.

    Letters keep their ids, which are the same in every drawing: the page holds each letter once.
    """
    prefix = re.sub(r"[^\w-]", "-", prefix)
    text = _identified(OUTSIDE.sub("", svg), prefix)
    text = PATH.sub(_rounded, text)
    if not fixed:
        text = STYLE.sub(lambda found: f'style="{variables(found[1])}"', text)
    names = f"{prefix}-title", f"{prefix}-desc"
    opening = (
        r'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        rf'viewBox="\1" role="img" aria-labelledby="{names[0]}" aria-describedby="{names[1]}">'
    )
    text = ROOT.sub(opening, text, count=1)
    words = (
        f'<title id="{names[0]}">{escape(title)}</title>'
        f'<desc id="{names[1]}">{escape(description)}</desc>'
    )
    start = text.index(">", text.index("<svg")) + 1
    return f"{text[:start]}{words}{text[start:]}".strip()


def _identified(text: str, prefix: str) -> str:
    """Keep the ids that something refers to, short and of this drawing alone."""
    asked = dict.fromkeys(REFERENCE.findall(text))
    start = hashlib.sha256(prefix.encode()).hexdigest()[:6]
    names = {
        name: name if LETTER.fullmatch(name) else f"d{start}-{at}" for at, name in enumerate(asked)
    }
    text = ID.sub(lambda found: f' id="{names[found[1]]}"' if found[1] in names else "", text)
    return REFERENCE.sub(lambda found: found[0].replace(found[1], names[found[1]]), text)


def _rounded(found: re.Match[str]) -> str:
    numbers = DIGITS.sub(r"\1", found[2])
    return f'{found[1]}="{numbers}"'


def shared(body: str) -> tuple[str, str]:
    """Take out of the drawings of a page what they share; give the body and the style it needs.

    Letters are drawn once, in a drawing of their own that takes no room; styles that several
    elements have become classes.
    """
    letters: dict[str, str] = {}

    def keep(found: re.Match[str]) -> str:
        letters.setdefault(found[1], found[0])
        return ""

    body = GLYPH.sub(keep, body)
    counted = Counter(STYLE.findall(body))
    classes = {style: f"k{at}" for at, (style, n) in enumerate(counted.items()) if n > 1}
    body = STYLE.sub(
        lambda found: f'class="{classes[found[1]]}"' if found[1] in classes else found[0], body
    )
    rules = "".join(f".{name} {{ {style} }}\n" for style, name in classes.items())
    if letters:
        drawn = f"<defs>{''.join(letters.values())}</defs>"
        opening = '<svg width="0" height="0" class="letters" aria-hidden="true">'
        body = f"{opening}{drawn}</svg>\n{body}"
    return body, rules
