"""`leadline claims`: from a paper's text to claims that a person has approved."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from leadline.errors import FAILED, GOOD, UserError


def call(chosen: argparse.Namespace) -> int:
    """Run the part that was named."""
    parts = {"draft": draft, "check": check, "review": review, "bind": bind}
    return parts[chosen.part](chosen)


def draft(chosen: argparse.Namespace) -> int:
    """Draft claims of a paper; say what the source lacks and which numbers disagree."""
    from leadline.papers.drafts.claims_file import write_drafts
    from leadline.papers.drafts.consistency import as_lines, inconsistencies
    from leadline.papers.drafts.draft import draft_claims
    from leadline.papers.drafts.read import read_paper
    from leadline.papers.drafts.vocabulary import vocabulary

    paper = read_paper(chosen.paper)
    words = vocabulary(chosen.words, _arms_of_study(chosen.study) if chosen.study else None)
    claims = draft_claims(paper, words)
    found = inconsistencies(paper, claims, words)
    require_folder_of(chosen.out)
    write_drafts(chosen.out, paper, chosen.paper, claims, found)
    for name in paper.absent:
        print(f"{name} absent from this source")
    for line in as_lines(found):
        print(line)
    cells = sum(1 for table in paper.tables for _ in table.body)
    print(
        f"{len(claims)} drafts, {len(found)} disagreements, {len(paper.tables)} tables with "
        f"{cells} cells; nothing is judged until you approve it"
    )
    print(chosen.out)
    return GOOD


def _arms_of_study(name: str) -> dict[str, list[str]]:
    """Give the names of a study's arms by the model that each sets."""
    from leadline.studies.schema import read

    study = read(name)
    arms: dict[str, list[str]] = {}
    for arm in study.arms.values():
        model = str({**study.base, **arm.settings}.get("model", ""))
        if model and arm.name not in ("reference", model):
            arms.setdefault(model, []).append(arm.name)
    return arms


def check(chosen: argparse.Namespace) -> int:
    """Compare every quote with the paper; 1 if one no longer stands."""
    from leadline.papers.drafts.claims_file import check_quotes

    found = check_quotes(chosen.claims, chosen.paper)
    for problem in found.problems:
        print(problem)
    said = ", ".join(f"{count} {status}" for status, count in sorted(found.statuses.items()))
    print(f"{len(found.file.claims)} claims ({said or 'none'}), {len(found.problems)} problems")
    return FAILED if found.problems else GOOD


def review(chosen: argparse.Namespace) -> int:
    """Write the page that a person approves by."""
    from leadline import files
    from leadline.papers.drafts.claims_file import check_quotes
    from leadline.papers.drafts.review import review_page

    found = check_quotes(chosen.claims, chosen.paper)
    out = chosen.out or chosen.claims.with_suffix(".html")
    require_folder_of(out)
    files.write_text(out, review_page(found, chosen.claims))
    if found.problems:
        print(f"{len(found.problems)} quotes or digests do not stand", file=sys.stderr)
    print(out)
    return GOOD


def bind(chosen: argparse.Namespace) -> int:
    """Check the marked numbers of a manuscript against records; 1 if one is stale."""
    from leadline.papers.manuscript import Fate, bind_manuscript

    found = bind_manuscript(chosen.manuscript, chosen.runs)
    for each in found:
        print(each.line)
    stale = [each for each in found if each.fate is Fate.STALE]
    without = [each for each in found if each.fate is Fate.WITHOUT_RUN]
    equal = len(found) - len(stale) - len(without)
    print(f"{len(found)} numbers: {equal} equal, {len(stale)} stale, {len(without)} without a run")
    return FAILED if stale else GOOD


def require_folder_of(path: Path) -> None:
    """Refuse a file whose folder is not there, before anything is computed."""
    if path.is_dir() or not path.resolve().parent.is_dir():
        raise UserError(
            "what is written must be a file in a folder that is there",
            got=str(path),
            remedy="make the folder, or name another file",
        )
