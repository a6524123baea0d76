"""Whether the quotes of claims.yaml still stand in the paper where they were found."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from leadline.papers.drafts.claims_file import DraftFile, approved_claims, read_drafts
from leadline.papers.drafts.document import PaperText
from leadline.papers.drafts.read import read_paper


@dataclass(frozen=True, slots=True, kw_only=True)
class QuoteCheck:
    """What was found: problems, one line each, and how many claims have which status."""

    problems: list[str]
    statuses: dict[str, int]
    paper: PaperText
    file: DraftFile


def check_quotes(claims_path: Path, paper_path: Path | None = None) -> QuoteCheck:
    """Read claims.yaml and its paper again, and compare digest and every quote.

    Approved claims must say all that their criterion needs; the first that does not is refused.
    """
    file = read_drafts(claims_path)
    paper = read_paper(paper_path or claims_path.parent / file.paper.file)
    problems = []
    if paper.digest != file.paper.sha256:
        problems.append(
            f"{paper.file} has changed: SHA-256 {paper.digest[:12]}, drafted from "
            f"{file.paper.sha256[:12]}"
        )
    for claim in file.claims:
        if claim.source is None or paper.says(claim.source.address):
            continue
        source = claim.source
        moved = [
            path for path, text in paper.texts.items() if source.quote and source.quote in text
        ]
        where = f"; it stands at {moved[0]}" if moved else "; it is nowhere in the paper"
        problems.append(
            f"{claim.id}: quote is not at {source.path} {source.start}-{source.end}{where}"
        )
    approved_claims([claim.given for claim in file.claims], claims_path.name)
    statuses = Counter(str(claim.status) for claim in file.claims)
    return QuoteCheck(problems=problems, statuses=dict(statuses), paper=paper, file=file)
