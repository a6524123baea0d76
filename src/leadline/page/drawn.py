"""Drawings as parts of a page: with words, with ids of their own, in the page's colours."""

from __future__ import annotations

import re
from html import escape

from leadline.page.colours import variables

# The parts of a matplotlib SVG that a page must not hold: prologue, metadata, style of the whole
# page, comments with the text that letters are drawn from.
OUTSIDE = re.compile(
    r"<\?xml.*?\?>|<!DOCTYPE.*?>|<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", re.DOTALL
)
ROOT = re.compile(r"<svg\b[^>]*?viewBox=\"([^\"]*)\"[^>]*>")
STYLE = re.compile(r'style="([^"]*)"')
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
    """Make an SVG file part of a page: ids of its own, a title and a text alternative."""
    prefix = re.sub(r"[^\w-]", "-", prefix)
    text = OUTSIDE.sub("", svg)
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r'(url\(|href=")#', rf"\g<1>#{prefix}-", text)
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


def _rounded(found: re.Match[str]) -> str:
    numbers = DIGITS.sub(r"\1", found[2])
    return f'{found[1]}="{numbers}"'
