"""One self-contained page: opens from disk, in light and dark, on a phone and on paper.

Whatever comes from data is escaped here. The only script is `page.js`, which makes tables
sortable and filterable; without it the page says the same.
"""

from leadline.report.page.parts import (
    caveats,
    command,
    contents,
    counts,
    document,
    folded,
    items,
    paragraph,
    section,
    slug,
)
from leadline.report.page.svg import figure, inline

__all__ = [
    "caveats",
    "command",
    "contents",
    "counts",
    "document",
    "figure",
    "folded",
    "inline",
    "items",
    "paragraph",
    "section",
    "slug",
]
