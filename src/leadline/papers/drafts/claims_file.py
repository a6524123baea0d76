"""claims.yaml: drafts as a person reads, corrects and approves them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from leadline import files
from leadline.errors import UserError
from leadline.papers.claims.schema import Claim, parse
from leadline.papers.drafts.document import Address, PaperText
from leadline.papers.drafts.draft import DraftClaim
from leadline.papers.drafts.inconsistency import Inconsistency
from leadline.papers.drafts.read import read_paper
from leadline.papers.drafts.vocabulary import read_yaml_file

STATUSES = ("draft", "approved", "rejected")
Status = Literal["draft", "approved", "rejected"]
# What a claim that is approved has beside what is judged.
BESIDE = ("status", "source")
HEAD = """\
# What {file} claims, as drafts. Nothing is judged
# until a person sets `status: approved` (or `rejected`) and has filled in what is empty;
# docs/claims.md says what the words of a check mean. `leadline claims check` compares the quotes
# with the paper, `leadline claims review` shows each in its context.
"""
# Criteria that compare two arms.
OF_TWO = (
    "below", "order", "significantly_below", "not_significant", "gap_within", "spread_below",
    "gap_shrinks_with_fraction",
)  # fmt: skip
WITHOUT_ARMS = ("best_setting", "counts_equal", "counts_ordered", "not_checkable")


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperSource:
    """The file that was drafted from; `file` is its path as seen from claims.yaml."""

    file: str
    sha256: str
    format: str = ""
    title: str = ""
    absent: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimSource:
    """Where a claim stands in the paper."""

    path: str
    start: int
    end: int
    quote: str
    section: str = ""
    numbers: list[dict[str, Any]] = field(default_factory=list)

    @property
    def address(self) -> Address:
        """Give the place that the quote must be found at."""
        return Address(path=self.path, start=self.start, end=self.end, quote=self.quote)


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftedClaim:
    """A claim of claims.yaml: `given` is the whole entry, `source` is none of a hand-made one."""

    id: str
    status: Status
    source: ClaimSource | None
    given: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftFile:
    """All of a claims.yaml that `leadline claims draft` began."""

    paper: PaperSource
    claims: list[DraftedClaim]
    consistency: list[dict[str, Any]]


def write_drafts(
    path: Path,
    paper: PaperText,
    paper_path: Path,
    claims: Sequence[DraftClaim],
    found: Sequence[Inconsistency],
) -> None:
    """Write claims.yaml; one that a person has worked on is never overwritten."""
    if path.exists():
        judged = [each.id for each in read_drafts(path).claims if each.status != "draft"]
        if judged:
            raise UserError(
                "claims that a person has judged are not overwritten",
                got=f"{path} with {len(judged)} approved or rejected",
                remedy="name another file after -o",
            )
    content = {
        "paper": {
            "file": os.path.relpath(paper_path.resolve(), path.resolve().parent),
            "sha256": paper.digest,
            "format": paper.format,
            "title": paper.title,
            "absent": list(paper.absent),
        },
        "claims": [as_entry(claim) for claim in claims],
        "consistency": [each.as_entry() for each in found],
    }
    files.write_text(path, HEAD.format(file=paper.file) + "\n" + as_yaml(content))


def as_yaml(content: Any) -> str:
    """Write YAML in the order given, a line no longer than fits beside a page."""
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return str(yaml.dump(content, Dumper=dumper, sort_keys=False, allow_unicode=True, width=98))


def as_entry(claim: DraftClaim) -> dict[str, Any]:
    """Give a draft as it is written; empty is what the sentence does not say."""
    address = claim.sentence.address
    check: dict[str, Any] = {
        "criterion": "value_within" if claim.kind == "value" and claim.metrics else claim.criterion,
        "artefact": claim.artefacts[0] if claim.artefacts else "",
        "a": claim.a,
        "b": claim.b,
        "datasets": list(claim.datasets),
        "metrics": list(claim.metrics),
    }
    if claim.fractions is not None:
        check["fractions"] = list(claim.fractions)
    limits = _limits(claim)
    if limits:
        check["limits"] = limits
    return {
        "id": claim.id,
        "status": "draft",
        "statement": address.quote,
        "artefact": "; ".join(claim.artefacts),
        "checks": [check],
        "source": {
            "path": address.path,
            "start": address.start,
            "end": address.end,
            "quote": address.quote,
            "section": claim.sentence.passage.section,
            "numbers": [
                {
                    "text": each.text,
                    "kind": each.kind,
                    "value": each.value,
                    "low": each.low,
                    "high": each.high,
                    "relation": each.relation,
                }
                for each in claim.numbers
            ],
        },
    }


def _limits(claim: DraftClaim) -> dict[str, list[float]]:
    """Give the rounding intervals of scores, where there is one for each metric, in order."""
    if claim.kind != "value":
        return {}
    scores = [each for each in claim.numbers if each.kind in ("value", "mean", "percent")]
    if not claim.metrics or len(scores) != len(claim.metrics):
        return {}
    factor = [100.0 if each.kind == "percent" else 1.0 for each in scores]
    return {
        metric: [round(each.low / by, 12), round(each.high / by, 12)]
        for metric, each, by in zip(claim.metrics, scores, factor, strict=True)
    }


def read_drafts(path: Path) -> DraftFile:
    """Read a claims.yaml with drafts; refuse what does not fit, with its place."""
    given = read_yaml_file(path, "claims.yaml")
    if not isinstance(given, Mapping) or "paper" not in given or "claims" not in given:
        raise UserError(
            "claims.yaml must say paper and claims",
            got=f"{path.name} without them",
            remedy="begin it with leadline claims draft PAPER -o claims.yaml",
        )
    if not isinstance(given["claims"], list):
        raise UserError(
            f"{path.name}: claims must be a list",
            got=repr(given["claims"])[:60],
            remedy="correct it",
        )
    return DraftFile(
        paper=parse(PaperSource, given["paper"], f"{path.name}: paper"),
        claims=[_drafted(each, path.name, i) for i, each in enumerate(given["claims"])],
        consistency=list(given.get("consistency") or []),
    )


def _drafted(given: Any, place: str, number: int) -> DraftedClaim:
    if not isinstance(given, Mapping) or "id" not in given:
        raise UserError(
            f"{place}: each claim must have an id", got=repr(given)[:60], remedy="correct the file"
        )
    name = f"{place}: {given['id']}"
    status = given.get("status", "draft")
    if status not in STATUSES:
        raise UserError(
            f"{name}: status must be one of {', '.join(STATUSES)}",
            got=repr(status),
            remedy="correct the file",
        )
    source = given.get("source")
    found = parse(ClaimSource, source, f"{name}: source") if source is not None else None
    return DraftedClaim(id=str(given["id"]), status=status, source=found, given=dict(given))


def approved_claims(entries: Sequence[Any], place: str) -> list[Any]:
    """Keep the entries that may be judged, without what only drafting needs.

    An entry without a status was made by hand and counts as approved. An approved one must say all
    that its criterion needs.
    """
    kept = []
    for entry in entries:
        if not isinstance(entry, Mapping) or "status" not in entry:
            kept.append(entry)
            continue
        drafted = _drafted(entry, place, 0)
        if drafted.status != "approved":
            continue
        plain = {key: value for key, value in drafted.given.items() if key not in BESIDE}
        _require_complete(plain, f"{place}: {drafted.id}")
        kept.append(plain)
    return kept


def _require_complete(entry: Mapping[str, Any], place: str) -> None:
    claim = parse(Claim, {**entry, "checks": _filled(entry.get("checks"), place)}, place)
    for check in claim.checks:
        needed = {
            "datasets": check.datasets,
            "metrics": check.metrics,
            "fractions": check.fractions,
        }
        needed["a"] = [check.a] if check.a else []
        if check.criterion in OF_TWO:
            needed["b"] = [check.b] if check.b else []
        if check.criterion in WITHOUT_ARMS:
            needed = {}
        empty = [name for name, given in needed.items() if not given]
        if check.criterion in ("value_within", "gap_within", "range_at_least", "two_groups"):
            empty += [f"limits of {each}" for each in check.metrics if each not in check.limits]
        if empty:
            raise UserError(
                f"{place} is approved and must say {', '.join(empty)}",
                got="nothing there",
                remedy="fill it in, or set status: draft",
            )


def _filled(checks: Any, place: str) -> Any:
    for check in checks if isinstance(checks, list) else []:
        if isinstance(check, Mapping) and not check.get("criterion"):
            raise UserError(
                f"{place} is approved and must say criterion",
                got="nothing there",
                remedy="choose one of docs/claims.md, or set status: draft",
            )
    return checks


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
