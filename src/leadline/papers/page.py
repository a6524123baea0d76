"""The page of `leadline reproduce`: what became of the claims, the figures, every number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from leadline.papers.claims import Result, Verdict
from leadline.report import page, tables
from leadline.report.tables import Table

WORDS = {
    Verdict.HOLDS: "hold",
    Verdict.FRAGILE: "fragile: hold by the paper’s own test, not by a better one",
    Verdict.FAILS: "fail",
    Verdict.NOT_RUN: "not run: no numbers to decide them",
}
SOURCES = {
    "published": "Recomputed from the numbers that the paper and its notebooks print; no model was "
    "run. A claim is about these numbers, not about what a new run would give.",
    "runs": "Judged by your own records.",
}
CONTENTS = {
    "claims": "Verdicts",
    "figures": "Figures",
    "reasons": "Reasons",
    "numbers": "Numbers",
    "discrepancies": "Discrepancies",
    "again": "How to reproduce this page",
}
PAPER = (
    "Boiarsky, Singh, Buendia, Getz, Sontag: A deep dive into single-cell RNA sequencing "
    "foundation models (bioRxiv 2023.10.19.563100)"
)


def build(
    source: str,
    command: str,
    results: Sequence[Result],
    by_name: Mapping[str, Table],
    figures: str,
) -> str:
    """Lay out the page; `figures` is its part with the drawings, `by_name` holds the tables."""
    counted = Counter(result.verdict for result in results)
    title = f"{counted[Verdict.HOLDS]} of {len(results)} claims hold"
    numbers = {str(verdict): (said, counted[verdict]) for verdict, said in WORDS.items()}
    body = [
        page.paragraph(f"{PAPER}, claim by claim. {SOURCES[source]}"),
        page.counts(numbers),
        _failing(results),
        page.contents(CONTENTS),
        tables.to_html(by_name["claims"]),
        page.section("figures", "Figures", figures),
        tables.to_html(by_name["reasons"]),
        tables.to_html(by_name["numbers"]),
        tables.to_html(by_name["discrepancies"]),
        page.section("again", CONTENTS["again"], page.command(f"{command} --out DIR")),
    ]
    return page.document(title, "".join(body), over="leadline reproduce")


def _failing(results: Sequence[Result]) -> str:
    failed = [result for result in results if result.verdict is Verdict.FAILS]
    if not failed:
        return ""
    said = [f"{result.id}: {result.statement} ({result.reason})" for result in failed]
    return page.paragraph("What fails:") + page.items(said)
