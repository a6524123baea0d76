"""Drawings as parts of a page: with words, with ids of their own, in the page's colours."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from html import escape

# The greys of `figures.style`, and the band of a margin, change with the paper.
GREYS = {
    "1a1a1a": "--ink",
    "000000": "--ink",
    "5c5c5c": "--muted",
    "e4e4e4": "--faint",
    "ffffff": "--card",
    "cfe3f1": "--band",
}
DARK_CARD = "1d2024"
CONTRAST = 4.5
COLOUR = re.compile(r"#([0-9a-f]{6})\b")
USED = re.compile(r"var\(--x([0-9a-f]{6})\)")


def variables(style: str) -> str:
    """Write colours as variables of the page, which light and dark set apart."""

    def name(found: re.Match[str]) -> str:
        colour = found[1]
        return f"var({GREYS[colour]})" if colour in GREYS else f"var(--x{colour})"

    return COLOUR.sub(name, style)


def light_colours(body: str) -> str:
    """Give every variable that a page uses its own colour."""
    return " ".join(f"--x{colour}: #{colour};" for colour in sorted(set(USED.findall(body))))


def dark_colours(body: str) -> str:
    """Give every variable the nearest tint that stands out from the dark card."""
    used = sorted(set(USED.findall(body)))
    return " ".join(f"--x{colour}: #{lightened(colour)};" for colour in used)


def lightened(colour: str) -> str:
    """Mix a colour with white until its contrast with the dark card is that of text."""
    channels = [int(colour[at : at + 2], 16) for at in (0, 2, 4)]
    for white in range(0, 101, 2):
        mixed = [round(c + (255 - c) * white / 100) for c in channels]
        tint = "".join(f"{c:02x}" for c in mixed)
        if contrast(tint, DARK_CARD) >= CONTRAST:
            return tint
    return "ffffff"


def contrast(a: str, b: str) -> float:
    """Give the contrast of two colours as WCAG defines it, 1 to 21."""
    light, dark = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = []
    for at in (0, 2, 4):
        c = int(colour[at : at + 2], 16) / 255
        parts.append(c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4)
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


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
    lead: bool = False,
) -> str:
    """Show a figure, one drawing for wide windows and one for phones, with its words.

    `files` are links to the drawing as files. `fixed` keeps its colours in the dark: those of a
    scale mean numbers. `lead` is the picture of the answer, whose words stand behind a line.
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
        f'<figure id="{escape(name)}"{" class=lead" if lead else ""}>\n'
        f'<div class="{card}">\n{drawings}</div>\n'
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
