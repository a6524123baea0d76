"""One self-contained page: opens from disk, in light and dark, on a phone and on paper.

Whatever comes from data is escaped here. The only script is `page.js`, which makes tables
sortable and filterable; without it the page says the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from html import escape
from importlib.resources import files

from leadline.report.page.svg import dark_colours, light_colours, shared
from leadline.report.page.svg import figure as figure
from leadline.report.page.svg import inline as inline


def document(title: str, body: str, *, over: str = "") -> str:
    """Wrap a body into a page that needs nothing beside it; `over` stands above the title."""
    body, rules = shared(body)
    head = f'<p class="over">{escape(over)}</p>\n' if over else ""
    used = body + rules
    style = _asset("page.css").replace("/* colours */", light_colours(used))
    style = style.replace("/* dark colours */", dark_colours(used)) + rules
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<link rel="icon" href="data:,">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f'<a class="skip" href="#content">Skip to the content</a>\n'
        f'<main id="content">\n{head}<h1>{escape(title)}</h1>\n{body}</main>\n'
        f"<script>\n{_asset('page.js')}</script>\n</body>\n</html>\n"
    )


@cache
def _asset(name: str) -> str:
    return files("leadline.report.page").joinpath(name).read_text(encoding="utf-8")


def slug(text: str) -> str:
    """Make an id of a name: letters, digits and hyphens, never empty."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "x"


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


def paragraph(text: str, kind: str = "") -> str:
    """Give an HTML paragraph."""
    named = f' class="{escape(kind)}"' if kind else ""
    return f"<p{named}>{escape(text)}</p>\n"


def items(texts: Sequence[str]) -> str:
    """List texts."""
    return f"<ul>\n{''.join(f'<li>{escape(text)}</li>' for text in texts)}</ul>\n"


def caveats(found: Sequence[tuple[str, str, Sequence[str]]]) -> str:
    """List caveats: how grave, what is said, and behind a line that opens it every sentence."""
    listed = []
    for severity, said, details in found:
        more = folded(f"{len(details)} in full", items(details)) if details else ""
        listed.append(
            f'<li class="{escape(severity)}"><strong>{escape(severity)}</strong> '
            f"{escape(said)}{more}</li>\n"
        )
    return f'<ul class="caveats">\n{"".join(listed)}</ul>\n'


def command(text: str, label: str = "Command") -> str:
    """Show what to type."""
    return (
        f'<pre tabindex="0" role="region" aria-label="{escape(label)}">'
        f"<code>{escape(text)}</code></pre>\n"
    )


def folded(summary: str, body: str) -> str:
    """Hide a part behind a line that opens it."""
    return f"<details>\n<summary>{escape(summary)}</summary>\n{body}</details>\n"


def section(place: str, title: str, body: str, level: int = 2) -> str:
    """Put a heading above a part of the page."""
    heading = f"<h{level}>{escape(title)}</h{level}>"
    return f'<section id="{escape(place)}">\n{heading}\n{body}</section>\n'
