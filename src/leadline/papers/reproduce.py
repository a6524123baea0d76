"""`leadline reproduce`: every claim of the paper with its verdict.

Imports of numpy, scipy and pandas wait until the command runs, so that `--help` is instant.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leadline import __version__
from leadline.errors import GOOD, UserError, nearest

if TYPE_CHECKING:
    from leadline.papers.claims import ClaimsFile, Discrepancy, Evidence, Points, Result
    from leadline.report.tables import Table

SOURCES = ("published", "runs")
# The paper whose tables and figures are made again, not its claims alone.
FIRST = "boiarsky"
DEFAULT_RUNS = Path("runs")
STATEMENT, WIDTH = 46, 100


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that is said about the claims on one body of evidence."""

    source: str
    evidence: Evidence
    file: ClaimsFile
    results: Sequence[Result]
    discrepancies: Sequence[Discrepancy]
    worth: dict[str, Sequence[Points]]
    command: str


def reproduce(chosen: argparse.Namespace) -> int:
    """Judge every claim; print the verdicts; write the tables if a folder is given."""
    _check(chosen)
    if chosen.multiverse:
        from leadline.papers.multiverse_page import reproduce_multiverse

        print(reproduce_multiverse(chosen.out, as_json=chosen.json))
        return GOOD
    if chosen.pack is None and chosen.paper != FIRST:
        chosen.pack = chosen.paper
    if chosen.pack is not None:
        from leadline.papers.pack_report import reproduce_paper

        return reproduce_paper(chosen)
    report = judge(chosen.source, chosen.runs or DEFAULT_RUNS, chosen.protocol)
    if chosen.out is not None:
        count = write(report, chosen.out)
        print(f"wrote {count} files to {chosen.out}", file=sys.stderr)
    print(json.dumps(as_object(report), allow_nan=False) if chosen.json else as_text(report))
    return GOOD


def _check(chosen: argparse.Namespace) -> None:
    if chosen.source not in SOURCES:
        raise UserError(
            f"--source must be one of {', '.join(SOURCES)}",
            got=repr(chosen.source),
            remedy=nearest(chosen.source, SOURCES),
        )
    for name in ("runs", "protocol"):
        if chosen.source == "published" and getattr(chosen, name) is not None:
            raise UserError(
                f"--{name} chooses among your own records",
                got=f"--{name} {getattr(chosen, name)} with --source published",
                remedy=f"add --source runs, or leave out --{name}",
            )
    if chosen.multiverse and (chosen.source, chosen.paper, chosen.pack) != (
        *SOURCES[:1],
        FIRST,
        None,
    ):
        raise UserError(
            "--multiverse analyses the published runs of Boiarsky et al.",
            got=f"--source {chosen.source}, paper {chosen.pack or chosen.paper}",
            remedy="leave both out; for your own runs, leadline report draws the curve of a study "
            "with choices",
        )
    if chosen.out is not None and chosen.out.exists() and not chosen.out.is_dir():
        raise UserError(
            "--out must be a folder", got=f"the file {chosen.out}", remedy="name another"
        )


def judge(source: str, runs_dir: Path = DEFAULT_RUNS, protocol: str | None = None) -> Report:
    """Evaluate every claim on the published numbers or on the records of a folder."""
    from leadline.papers import boiarsky, claims

    if source == "published":
        evidence = claims.Evidence.of(boiarsky.runs(), boiarsky.aggregates())
    else:
        evidence = own_evidence(runs_dir, protocol)
    file, discrepancies = claims.load_claims(), claims.load_discrepancies()
    return Report(
        source=source,
        evidence=evidence,
        file=file,
        results=claims.evaluate(evidence, file, discrepancies),
        discrepancies=discrepancies,
        worth={each.id: claims.worth_of(evidence, each, file.setting) for each in discrepancies},
        command=_command(source, runs_dir, protocol),
    )


def _command(source: str, runs_dir: Path, protocol: str | None) -> str:
    """Give the command that judges the same numbers again."""
    words = ["leadline", "reproduce", "--source", source]
    if source == "runs":
        words += ["--runs", str(runs_dir), *(["--protocol", protocol] if protocol else [])]
    return shlex.join(words)


def own_evidence(runs_dir: Path, protocol: str | None, known: Collection[str] = ()) -> Evidence:
    """Gather the finished records of one protocol; refuse to mix protocols or data sets.

    `known` names the data sets that a paper is about; without it, those of Boiarsky et al.
    """
    from leadline.report.compare.evidence import Evidence
    from leadline.report.frame import frame

    kept = own_records(runs_dir, protocol, known)
    return Evidence.of_records(kept, runs_dir, with_searches(frame(kept), kept))


def own_records(
    runs_dir: Path, protocol: str | None, known: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Read the finished records of one protocol, on the data sets of a paper."""
    from leadline.runs import records as results

    records = results.read_done(runs_dir)
    if not records:
        raise UserError(
            "--runs must hold at least one finished run",
            got=f"none in {runs_dir}",
            remedy="make one, for example with leadline run model=logreg",
        )
    names = sorted({str(facts["protocol"]["name"]) for facts in records})
    if protocol is None and len(names) > 1:
        raise UserError(
            "records of several protocols must not be mixed",
            got=", ".join(names),
            remedy=f"choose one, for example --protocol {names[0]}",
        )
    if protocol is not None and protocol not in names:
        remedy = nearest(protocol, names)
        raise UserError("--protocol must be one of the records'", got=protocol, remedy=remedy)
    wanted = protocol or names[0]
    chosen = [facts for facts in records if facts["protocol"]["name"] == wanted]
    kept = _on_the_papers_data(chosen, known)
    _require_one_file_per_dataset(kept)
    return _by_every_name(kept, results.studies(runs_dir))


def with_searches(made: Any, records: Sequence[dict[str, Any]]) -> Any:
    """Add what cross-validation scored each C of logistic regression, which claims ask for."""
    import pandas as pd

    rows = [
        {
            **dict.fromkeys(made.columns),
            **{key: facts[key] for key in ("study", "dataset", "model", "fraction", "run_id")},
            "arm": f"logreg L1 C={setting:g}",
            "split": "cross_validation",
            "metric": "accuracy",
            "value": score,
            "precision": "full",
            "source": "record",
            "note": "",
        }
        for facts in records
        if facts["model"] == "logreg"
        and (search := (facts.get("fit") or {}).get("cross_validation"))
        for setting, score in zip(search["C"], search["accuracy"], strict=True)
    ]
    if not rows:
        return made
    return pd.concat([made.astype(object), pd.DataFrame(rows, dtype=object)], ignore_index=True)


def _on_the_papers_data(
    records: Sequence[dict[str, Any]], about: Collection[str]
) -> list[dict[str, Any]]:
    """Leave out runs on cells that no claim is about, and say so."""
    from leadline.papers.boiarsky import DATASETS

    known = set(about or DATASETS.values())
    kept = [facts for facts in records if facts["dataset"] in known]
    in_folds = [facts for facts in kept if facts["protocol"].get("folds") is not None]
    if in_folds:
        print(f"{len(in_folds)} runs in folds: no claim is about these", file=sys.stderr)
        kept = [facts for facts in kept if facts not in in_folds]
    others = sorted({str(facts["dataset"]) for facts in records} - known)
    if others:
        count = len(records) - len(kept) - len(in_folds)
        print(f"{count} runs on {', '.join(others)}: no claim is about these", file=sys.stderr)
    return kept


def _by_every_name(
    records: Sequence[dict[str, Any]], manifests: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Give each run once under every arm that it stands for: its own, and those of studies.

    A record names the arm that it was first made for; the same run may be the reference of one
    study and batch_32 of another.
    """
    arms: dict[str, dict[str, None]] = {}
    for manifest in manifests.values():
        for run in manifest["runs"]:
            arms.setdefault(run["run_id"], {})[run["arm"]] = None
    return [
        {**facts, "arm": arm}
        for facts in records
        for arm in arms.get(facts["run_id"]) or {facts["arm"]: None}
    ]


def _require_one_file_per_dataset(records: Sequence[dict[str, Any]]) -> None:
    seen: dict[str, str] = {}
    for facts in records:
        name, fingerprint = facts["dataset"], facts["data"]["fingerprint"]
        if seen.setdefault(name, fingerprint) != fingerprint:
            raise UserError(
                f"runs on {name} must share the same data to be compared",
                got=f"fingerprints {seen[name][:12]} and {fingerprint[:12]}",
                remedy="move the runs of one of the files to another folder",
            )


def as_object(report: Report) -> dict[str, Any]:
    """Give the report as one object for JSON."""
    from leadline.papers.claims.export import claim_object, discrepancy_object

    return {
        "leadline": __version__,
        "source": report.source,
        "claims": [claim_object(result) for result in report.results],
        "discrepancies": [
            discrepancy_object(each, report.worth[each.id]) for each in report.discrepancies
        ],
    }


def as_text(report: Report) -> str:
    """Give the report as a table for a terminal."""
    from leadline.papers.claim_tables import summary

    lines = [f"{'':5}{'verdict':9}{'statement':{STATEMENT + 2}}{'estimate':>9}  {'p':>9}  test"]
    for result in report.results:
        lines += _lines(result)
    return "\n".join([*lines, "", *_disagreements(report.results), summary(report.results)])


def _lines(result: Result) -> list[str]:
    from leadline.papers.claim_tables import main_p
    from leadline.report.tables import shown

    test, p = main_p(result)
    statement = textwrap.shorten(result.statement, STATEMENT, placeholder=" ...")
    line = f"{result.id:5}{result.verdict:9}{statement:{STATEMENT + 2}}"
    if result.estimate is not None:
        large = abs(result.estimate) >= 1000
        line += f"{result.estimate:>9,.0f}" if large else f"{result.estimate:>9.4f}"
    if p is not None:
        line += f"  {shown(p):>9}  {test}"
    lines = [line.rstrip()]
    if result.verdict != "holds":
        lines.append(_indented(textwrap.shorten(result.reason, 2 * WIDTH, placeholder=" ...")))
    severe = dict.fromkeys(each.flag.id for each in result.flags if each.flag.severity == "severe")
    if severe:
        lines.append(_indented(f"flags: {', '.join(severe)}"))
    return lines


def _indented(text: str) -> str:
    indent = " " * 14
    return textwrap.fill(text, WIDTH, initial_indent=indent, subsequent_indent=indent)


def _disagreements(results: Sequence[Result]) -> list[str]:
    """List the printed p-values that their own runs do not give, with the reason."""
    lines = []
    for result in results:
        for raised in result.flags:
            if raised.flag.id != "printed_p_not_reproduced":
                continue
            numbers = raised.flag.numbers
            lines.append(
                f"{result.id:5}{', '.join(raised.parts):48} printed {numbers['printed']:.4g}, "
                f"recomputed {numbers['recomputed']:.4g}, difference {numbers['difference']:+.1g}"
            )
    reasons = {name: text for each in results for name, text in each.reasons.items()}
    if lines and "D07" in reasons:
        lines.append(_indented(f"D07: {reasons['D07']}"))
    return [*lines, ""] if lines else []


def write(report: Report, folder: Path) -> int:
    """Write claims, tables in every format, figures and the page; count the files."""
    from leadline import files as atomic
    from leadline.papers import page as verdict_page
    from leadline.report import tables

    folder.mkdir(parents=True, exist_ok=True)
    everything = all_tables(report)
    shown, drawn = draw(report, folder / "figures")
    files = {"claims.json": json.dumps(as_object(report), allow_nan=False, indent=1) + "\n"}
    for table in everything:
        files[f"{table.name}.csv"] = tables.to_csv(table)
        files[f"{table.name}.md"] = tables.to_markdown(table)
        files[f"{table.name}.tex"] = tables.to_latex(table)
    files["tables.tex"] = tables.latex_document(list(map(tables.to_latex, everything)))
    files["tables.html"] = tables.html_document("leadline reproduce", everything)
    by_name = {table.name: table for table in everything}
    files["index.html"] = verdict_page.build(
        report.source, report.command, report.results, by_name, shown
    )
    for name, text in files.items():
        atomic.write_text(folder / name, text)
    return len(files) + drawn


def draw(report: Report, folder: Path) -> tuple[str, int]:
    """Write every figure that there are runs for; give them as a part of the page, and count."""
    from leadline.report import figures, page

    about = (report.evidence, report.file, report.results)
    from leadline.papers.boiarsky.figures import draw_all

    broad, skipped = draw_all(*about)
    narrow, _ = draw_all(*about, figures.NARROW)
    parts, written = [], 0
    for wide, small in zip(broad, narrow, strict=True):
        paths = figures.save(wide.figure, folder, wide.name, wide.title)
        phone = figures.to_svg(small.figure, small.title).decode()
        drawn = (paths[-1].read_text(encoding="utf-8"), phone)
        parts.append(page.figure(wide.name, wide.title, wide.caption, wide.description, *drawn))
        written += len(paths)
    for name, reason in skipped.items():
        print(f"no figure {name}: {reason}", file=sys.stderr)
        parts.append(page.paragraph(f"No figure {name}: {reason}."))
    return "".join(parts), written


def all_tables(report: Report) -> list[Table]:
    """Give every table of a report."""
    from leadline.papers.boiarsky.tables import paper_tables
    from leadline.papers.claim_tables import (
        discrepancies_table,
        numbers_table,
        our_tables,
        reasons_table,
        verdicts_table,
    )

    return [
        verdicts_table(report.results),
        reasons_table(report.results),
        numbers_table(report.results),
        *paper_tables(report.evidence, report.file.setting),
        *our_tables(report.evidence, report.file),
        discrepancies_table(report.discrepancies, report.worth),
    ]
