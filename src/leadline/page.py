"""One self-contained page: opens from disk, in light and dark, on a phone and on paper."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape

# The parts of a matplotlib SVG that a page must not hold: prologue, metadata, style of the whole
# page, comments with the text that letters are drawn from.
OUTSIDE = re.compile(
    r"<\?xml.*?\?>|<!DOCTYPE.*?>|<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", re.DOTALL
)
ROOT = re.compile(r"<svg\b[^>]*?viewBox=\"([^\"]*)\"[^>]*>")
NUMBER = re.compile(r"<td>([+-]?\d[\d.]*(?:e[+-]?\d+)?)</td>")
LONG = re.compile(r"<td>([^<]{41,})</td>")
STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --paper: #fff; --muted: #5c5c5c;
  --line: #d4d4d4; --head: #f1f1f1; --link: #0a5c91;
  --holds: #00694f; --fragile: #855c00; --fails: #b01f26; --not_run: #5c5c5c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8e8; --paper: #16181b; --muted: #a8a8a8;
  --line: #3c4046; --head: #24272c; --link: #7cc0f0;
  --holds: #4fc9a4; --fragile: #e8b54a; --fails: #ff8a85; --not_run: #a8a8a8; } }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  margin: 0 auto; max-width: 76rem; padding: 1rem; overflow-wrap: break-word; }
a { color: var(--link); }
h1 { font-size: 1.7rem; line-height: 1.2; margin: .5rem 0; text-wrap: balance; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; }
p, figcaption, li { max-width: 46rem; }
nav ul { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; padding: 0; list-style: none; }
.counts { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1rem 0; }
.counts div { flex: 1 1 8rem; border: 1px solid var(--line); border-top: 4px solid var(--tone);
  border-radius: 4px; padding: .5rem .8rem; display: flex; flex-direction: column-reverse;
  justify-content: flex-end; }
.counts dd { margin: 0; font-size: 2rem; line-height: 1.1; font-weight: 600; }
.counts dt, .muted, figcaption { color: var(--muted); }
.verdict { font-weight: 600; white-space: nowrap; color: var(--tone); }
.holds { --tone: var(--holds); } .fragile { --tone: var(--fragile); }
.fails { --tone: var(--fails); } .not_run { --tone: var(--not_run); }
.wide { overflow-x: auto; border: 1px solid var(--line); border-radius: 4px; }
:is(.wide, pre, a, summary):focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
table { border-collapse: collapse; width: 100%; font-size: .875rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; max-width: 26rem; }
th { background: var(--head); white-space: nowrap; }
td { overflow-wrap: break-word; }
.number { text-align: right; white-space: nowrap; }
.long { min-width: 15rem; }
tbody tr:last-child td { border-bottom: 0; }
figure { margin: 1rem 0 2.5rem; }
.card { background: #fff; border: 1px solid var(--line); border-radius: 4px; padding: .6rem; }
.card svg { display: block; width: 100%; height: auto; }
.card svg * { stroke-linejoin: round; stroke-linecap: butt; }
.narrow { display: none; max-width: 30rem; margin: auto; }
figcaption { font-size: .875rem; margin-top: .5rem; }
pre { background: var(--head); padding: .7rem; overflow-x: auto; border-radius: 4px; }
@media (max-width: 640px) { .card > .broad { display: none; } .card > .narrow { display: block; } }
@media print { :root { color-scheme: light; --ink: #000; --paper: #fff; --muted: #444;
    --line: #bbb; --head: #eee; --holds: #00694f; --fragile: #855c00; --fails: #b01f26; }
  @page { margin: 14mm; } nav { display: none; } body { font-size: 10pt; padding: 0; }
  .card > .broad { display: block; } .card > .narrow { display: none; }
  .wide { overflow: visible; border: 0; } table { width: 100%; font-size: 6.5pt; }
  th { white-space: normal; } td, th { padding: .15rem .25rem;
    overflow-wrap: anywhere; } .long { min-width: 0; }
  figure, tr { break-inside: avoid; } h2 { break-after: avoid; } }
"""


def document(title: str, body: str) -> str:
    """Wrap a body into a page that needs nothing beside it."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<main>\n<h1>{escape(title)}</h1>\n{body}</main>\n</body>\n</html>\n"
    )


def contents(places: Mapping[str, str]) -> str:
    """Link to the sections of the page, by their ids."""
    links = "".join(
        f'<li><a href="#{escape(place)}">{escape(name)}</a></li>\n'
        for place, name in places.items()
    )
    return f'<nav aria-label="Contents"><ul>\n{links}</ul></nav>\n'


def counts(numbers: Mapping[str, tuple[str, int]]) -> str:
    """Show counts by verdict: its name gives the colour, the word beside it the meaning."""
    tiles = "".join(
        f'<div class="{escape(name)}"><dt>{escape(said)}</dt><dd>{count}</dd></div>\n'
        for name, (said, count) in numbers.items()
    )
    return f'<dl class="counts">\n{tiles}</dl>\n'


def dressed(table: str, verdicts: Sequence[str] = ()) -> str:
    """Align the cells that are numbers, give room to sentences, colour those that are verdicts."""
    table = NUMBER.sub(r'<td class="number">\1</td>', table)
    table = LONG.sub(r'<td class="long">\1</td>', table)
    for verdict in verdicts:
        cell = f'<td class="verdict {verdict}">{verdict}</td>'
        table = table.replace(f"<td>{verdict}</td>", cell)
    return table


def paragraph(text: str) -> str:
    """Say something."""
    return f"<p>{escape(text)}</p>\n"


def items(texts: Sequence[str]) -> str:
    """List texts."""
    return f"<ul>\n{''.join(f'<li>{escape(text)}</li>' for text in texts)}</ul>\n"


def command(text: str) -> str:
    """Show what to type."""
    return f'<pre tabindex="0"><code>{escape(text)}</code></pre>\n'


def section(place: str, title: str, body: str) -> str:
    """Put a heading above a part of the page."""
    return f'<section id="{escape(place)}">\n<h2>{escape(title)}</h2>\n{body}</section>\n'


def figure(
    name: str, title: str, caption: str, description: str, broad: str, narrow: str = ""
) -> str:
    """Show a figure, one drawing for wide windows and one for phones, with its words."""
    drawings = f'<div class="broad">{inline(broad, f"{name}-broad", title, description)}</div>\n'
    if narrow:
        drawn = inline(narrow, f"{name}-narrow", title, description)
        drawings += f'<div class="narrow">{drawn}</div>\n'
    return (
        f'<figure id="{escape(name)}">\n<div class="card">\n{drawings}</div>\n'
        f"<figcaption><strong>{escape(title)}.</strong> {escape(caption)}</figcaption>\n</figure>\n"
    )


def inline(svg: str, prefix: str, title: str, description: str) -> str:
    """Make an SVG file part of a page: ids of its own, a title and a text alternative."""
    prefix = re.sub(r"[^\w-]", "-", prefix)
    text = OUTSIDE.sub("", svg)
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r'(url\(|href=")#', rf"\g<1>#{prefix}-", text)
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
