"""Tables of any frame of results: the paper's layout, and ours with tests beside the means."""

from leadline.report.tables.html import html_document, to_html
from leadline.report.tables.table import (
    Grey,
    Link,
    Table,
    Value,
    in_markdown,
    latex_document,
    shown,
    to_csv,
    to_latex,
    to_markdown,
)

__all__ = [
    "Value",
    "Grey",
    "Link",
    "Table",
    "html_document",
    "in_markdown",
    "latex_document",
    "shown",
    "to_csv",
    "to_html",
    "to_latex",
    "to_markdown",
]
