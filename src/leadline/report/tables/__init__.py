"""Tables of any frame of results: the paper's layout, and ours with tests beside the means."""

from leadline.papers.boiarsky.tables import paper_tables
from leadline.papers.claim_tables import (
    discrepancies_table,
    main_p,
    numbers_table,
    reasons_table,
    summary,
    verdicts_table,
)
from leadline.papers.claim_tables__tables_ours import our_tables
from leadline.report.tables.html import html_document, to_html
from leadline.report.tables.table import (
    Cell,
    Link,
    Table,
    in_markdown,
    latex_document,
    shown,
    to_csv,
    to_latex,
    to_markdown,
)

__all__ = [
    "Cell",
    "Link",
    "Table",
    "discrepancies_table",
    "html_document",
    "in_markdown",
    "latex_document",
    "main_p",
    "numbers_table",
    "our_tables",
    "paper_tables",
    "reasons_table",
    "shown",
    "summary",
    "to_csv",
    "to_html",
    "to_latex",
    "to_markdown",
    "verdicts_table",
]
