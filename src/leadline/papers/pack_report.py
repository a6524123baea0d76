"""`leadline reproduce --paper`: any paper's claims judged, its numbers beside ours."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leadline.errors import GOOD, UserError
from leadline.papers.pack import ClaimPack, ComparedTable, read_pack
from leadline.papers.reproduce import DEFAULT_RUNS, Report, as_object, as_text, own_evidence
from leadline.report.compare.arms import ArmRuns, Condition
from leadline.report.compare.evidence import Evidence

if TYPE_CHECKING:
    from leadline.report.tables import Table, Value

COLUMNS = ("data set", "labels", "arm", "metric", "published", "ours", "difference", "reason")


def reproduce_paper(chosen: argparse.Namespace) -> int:
    """Judge the approved claims of a paper; print or write what came of them."""
    pack = read_pack(chosen.pack)
    published = pack.evidence()
    ours = None
    if chosen.source == "runs":
        known = {str(key[0]) for key in published.runs}
        runs_dir = chosen.runs or DEFAULT_RUNS
        ours = own_evidence(runs_dir, chosen.protocol, known)
    report = judge_pack(pack, published if ours is None else ours, chosen)
    compared = [comparison(table, published, ours) for table in pack.tables]
    if chosen.out is not None:
        count = write_pack(pack, report, compared, chosen.out)
        print(f"wrote {count} files to {chosen.out}", file=sys.stderr)
    if pack.waiting:
        print(f"{pack.waiting} claims wait for approval and are not judged", file=sys.stderr)
    if chosen.json:
        print(json.dumps(pack_object(pack, report, compared), allow_nan=False))
    else:
        print(pack_text(pack, report, compared))
    return GOOD


def judge_pack(pack: ClaimPack, evidence: Evidence, chosen: argparse.Namespace) -> Report:
    """Evaluate every approved claim on one body of evidence."""
    import shlex

    from leadline.papers import claims

    words = ["leadline", "reproduce", "--paper", chosen.pack, "--source", chosen.source]
    if chosen.runs is not None:
        words += ["--runs", str(chosen.runs)]
    if chosen.protocol is not None:
        words += ["--protocol", chosen.protocol]
    return Report(
        source=chosen.source,
        evidence=evidence,
        file=pack.claims,
        results=claims.evaluate(evidence, pack.claims, pack.discrepancies),
        discrepancies=pack.discrepancies,
        worth={
            each.id: claims.worth_of(evidence, each, pack.claims.setting)
            for each in pack.discrepancies
        },
        command=shlex.join(words),
    )


def comparison(table: ComparedTable, published: Evidence, ours: Evidence | None) -> Table:
    """Set every number of a table beside ours: one row a number."""
    from leadline.report.tables import Table

    rows: list[list[Value]] = []
    for cell in _cells(table):
        side = published.side(cell)
        if not side.known:
            continue
        own = None if ours is None else ours.side(cell)
        mine = own.mean if own is not None and own.known else None
        rows.append(
            [
                cell.dataset,
                f"{cell.fraction:.0%}",
                f"{cell.model}/{cell.arm}",
                cell.metric,
                side.mean,
                mine,
                None if mine is None else mine - side.mean,
                _reason(table, side, own),
            ]
        )
    notes = [table.reason[:1].upper() + table.reason[1:] + "."] if table.reason else []
    return Table(name=table.name, title=table.title, columns=COLUMNS, rows=rows, notes=notes)


def _cells(table: ComparedTable) -> Iterator[Condition]:
    for dataset in table.datasets:
        for fraction in table.fractions:
            for arm in table.arms:
                for metric in table.metrics:
                    model, _, name = arm.partition("/")
                    yield Condition(dataset, model, name, fraction, metric, table.artefact)


def _reason(table: ComparedTable, side: ArmRuns, own: ArmRuns | None) -> str:
    """Say why a number of ours is missing, or what may be behind its difference."""
    if own is None:
        return "no runs of ours were asked for"
    if not own.known:
        return own.missing
    width = float(side.widths.max()) if side.widths.size else 0.0
    if abs(own.mean - side.mean) <= width:
        return "equal within rounding"
    known = side.summary()
    said = f"{own.n} runs of ours, {side.n or 1} published"
    if known is not None and known.n > 1 and abs(own.mean - side.mean) <= 2 * known.sd:
        said = f"within two standard deviations of the published runs; {said}"
    return f"{said}; {table.reason}" if table.reason else said


def pack_text(pack: ClaimPack, report: Report, compared: list[Table]) -> str:
    """Give verdicts and numbers for a terminal; numbers only where there are ours."""
    from leadline.report.tables import shown

    lines = [pack.facts.what, "", as_text(report)]
    for table in compared:
        beside = [row for row in table.rows if row[5] is not None]
        count = f"{len(table.rows)} published numbers, {len(beside)} with ours"
        lines += ["", f"{table.title}: {count}"]
        if beside:
            lines += [f"  {'  '.join(shown(cell) for cell in row)}" for row in beside]
    return "\n".join(lines)


def pack_object(pack: ClaimPack, report: Report, compared: list[Table]) -> dict[str, Any]:
    """Give everything as one object for JSON."""
    return {
        "paper": {
            "name": pack.name,
            "what": pack.facts.what,
            "licence": pack.facts.licence,
            "source": pack.facts.source,
        },
        **as_object(report),
        "numbers": {
            table.name: [dict(zip(table.columns, row, strict=True)) for row in table.rows]
            for table in compared
        },
        "waiting": pack.waiting,
    }


def write_pack(pack: ClaimPack, report: Report, compared: list[Table], folder: Path) -> int:
    """Write claims.json, every table in every format, and the page; count the files."""
    from leadline import files as atomic
    from leadline.papers.claim_tables import numbers_table, reasons_table, verdicts_table
    from leadline.report import tables

    if folder.exists() and not folder.is_dir():
        raise UserError("--out must be a folder", got=f"the file {folder}", remedy="name another")
    folder.mkdir(parents=True, exist_ok=True)
    about = [verdicts_table(report.results), reasons_table(report.results)]
    everything = [*about, numbers_table(report.results), *compared]
    content = pack_object(pack, report, compared)
    written = {"claims.json": json.dumps(content, allow_nan=False, indent=1) + "\n"}
    for table in everything:
        written[f"{table.name}.csv"] = tables.to_csv(table)
        written[f"{table.name}.md"] = tables.to_markdown(table)
        written[f"{table.name}.tex"] = tables.to_latex(table)
    written["index.html"] = _page(pack, report, everything)
    for name, text in written.items():
        atomic.write_text(folder / name, text)
    return len(written)


def _page(pack: ClaimPack, report: Report, everything: list[Table]) -> str:
    from collections import Counter

    from leadline.papers.page import SOURCES, WORDS
    from leadline.report import page, tables

    counted = Counter(result.verdict for result in report.results)
    counts = {str(verdict): (said, counted[verdict]) for verdict, said in WORDS.items()}
    facts = pack.facts
    body = [
        page.paragraph(f"{facts.what}, claim by claim. {SOURCES[report.source]}"),
        page.paragraph(f"Numbers: {facts.source} Licence: {facts.licence}."),
        page.counts(counts),
        page.contents({table.name: table.title for table in everything}),
        *(tables.to_html(table) for table in everything),
        page.section(
            "again", "How to reproduce this page", page.command(f"{report.command} --out DIR")
        ),
    ]
    holds = sum(result.verdict == "holds" for result in report.results)
    title = f"{holds} of {len(report.results)} claims hold"
    return page.document(title, "".join(body), over="leadline reproduce")
