"""A page for the person who approves: each quote in its context beside the draft made of it."""

from __future__ import annotations

import re
from html import escape
from pathlib import Path
from typing import Any

from leadline.papers.drafts.claims_file import BESIDE, DraftedClaim, QuoteCheck, as_yaml
from leadline.papers.drafts.document import PaperText
from leadline.report import page

# Letters of the passage that are shown on either side of a quote.
AROUND = 600


def review_page(found: QuoteCheck, claims_path: Path) -> str:
    """Lay out the page from a claims.yaml and its paper."""
    claims_name = claims_path.name
    written = claims_path.read_text(encoding="utf-8").splitlines()
    lines = {
        begun[1]: number
        for number, line in enumerate(written, 1)
        if (begun := re.match(r"\s*-\s+id:\s*[\"']?([^\s\"']+)", line))
    }
    paper, file = found.paper, found.file
    counts = {
        "not_run": ("drafts, not judged", found.statuses.get("draft", 0)),
        "holds": ("approved", found.statuses.get("approved", 0)),
        "fails": ("rejected", found.statuses.get("rejected", 0)),
    }
    said = (
        f"Drafted from {paper.file} ({paper.format}, SHA-256 {paper.digest[:12]}). Nothing is "
        f"judged until it is approved in {claims_name}: change there the lines "
        "that are shown beside each quote."
    )
    parts = [page.paragraph(said), page.counts(counts)]
    parts += [page.paragraph(f"{each} absent from this source") for each in paper.absent]
    if found.problems:
        parts.append(
            page.section("problems", "Quotes that do not stand", page.items(found.problems))
        )
    if file.consistency:
        said_of = [_disagreement(each) for each in file.consistency if isinstance(each, dict)]
        parts.append(page.section("consistency", "Numbers that disagree", page.items(said_of)))
    parts.append(
        page.section(
            "claims", "Claims", "".join(_claim(claim, paper, lines) for claim in file.claims)
        )
    )
    title = paper.title or paper.file
    return page.document(title, "".join(parts), over="leadline claims review")


def _disagreement(found: dict[str, Any]) -> str:
    """Say what disagrees, and where each number stands."""
    places = [
        f"{each.get('path')} {each.get('start')}-{each.get('end')}"
        for each in found.get("at") or []
        if isinstance(each, dict)
    ]
    return f"{found.get('said', '')} ({'; '.join(places)})"


def _claim(claim: DraftedClaim, paper: PaperText, written: dict[str, int]) -> str:
    shown = {key: value for key, value in claim.given.items() if key not in ("source", "statement")}
    ordered = {"id": claim.id, "status": claim.status} | {
        key: value for key, value in shown.items() if key not in (*BESIDE, "id")
    }
    said = as_yaml([ordered])
    place = (
        page.paragraph(f"From line {written[claim.id]}:", "muted") if claim.id in written else ""
    )
    body = _quote(claim, paper) + place + page.command(said, f"Lines of {claim.id} to change")
    return page.section(page.slug(claim.id), f"{claim.id}: {claim.status}", body, level=3)


def _quote(claim: DraftedClaim, paper: PaperText) -> str:
    source = claim.source
    if source is None:
        return page.paragraph(str(claim.given.get("statement", "")))
    text = paper.texts.get(source.path, "")
    where = page.paragraph(
        f"{source.section or 'no section'}, {source.path}, letters {source.start} to {source.end}",
        "muted",
    )
    if text[source.start : source.end] != source.quote:
        return where + page.paragraph(f"Not at its address: {source.quote}")
    before, after = text[: source.start], text[source.end :]
    before = f"… {before[-AROUND:]}" if len(before) > AROUND else before
    after = f"{after[:AROUND]} …" if len(after) > AROUND else after
    quoted = f"{escape(before)}<mark>{escape(source.quote)}</mark>{escape(after)}"
    return f"{where}<blockquote>{quoted}</blockquote>\n"
