"""The page of a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leadline import __version__
from leadline.report import page, seen_before, tables
from leadline.report.compare.comparison import VERDICTS, ArmComparison
from leadline.report.compare.study import MCNEMAR
from leadline.report.provenance import commands_of, made_with
from leadline.stats import tests

if TYPE_CHECKING:
    from leadline.report.chapter import Chapter

TITLES = {
    "comparisons": "Verdicts",
    "settling": "What is open",
    MCNEMAR: tests.title(MCNEMAR),
    "figures": "Figures",
    "means": "Means",
    "runs": "Runs",
    "unfinished": "Without a result",
    "configuration": "Configuration",
    "flags": "Flags",
    "costs": "Costs",
}
# Above the figures stand what was found and what must be known of it; below, the material.
ABOVE = ("comparisons", "settling", "mcnemar", "flags")
BELOW = ("means", "runs", "pretraining", "unfinished")
UNDER = ("configuration", "costs")


def build(parts: Sequence[tuple[Chapter, str]], command: str, runs_dir: Path) -> str:
    """Lay out the page; each chapter comes with its drawings."""
    single = len(parts) == 1
    chapters = [chapter for chapter, _ in parts]
    title = _title(chapters[0]) if single else "What the runs say"
    body = [] if single else [_overview(chapters)]
    for chapter, drawn in parts:
        body.append(_chapter(chapter, drawn, single=single))
    studies = [chapter.study for chapter in chapters]
    records = [facts for study in studies for facts in (*study.records, *study.pretraining)]
    body.append(page.section("provenance", "Provenance", _provenance(records)))
    again = commands_of(studies, command, runs_dir)
    body.append(page.section("again", "How to reproduce this page", again))
    return page.document(title, "".join(body), over=f"leadline {__version__} report")


def _title(chapter: Chapter) -> str:
    return chapter.study.question or "What the runs say"


def _overview(chapters: Sequence[Chapter]) -> str:
    places = {chapter.place: chapter.study.name or "other runs" for chapter in chapters}
    places |= {"provenance": "Provenance", "again": "How to reproduce this page"}
    return page.contents(places)


def _chapter(chapter: Chapter, drawn: str, *, single: bool) -> str:
    level = 2 if single else 3
    known = {table.name: table for table in chapter.tables}

    def shown(name: str) -> str:
        place = name if single else f"{chapter.place}-{name}"
        if name not in known:
            return ""
        whose = "" if single else chapter.study.name or "runs of no study"
        return tables.to_html(known[name], level=level, place=place, whose=whose)

    figures = page.section(
        "figures" if single else f"{chapter.place}-figures", "Figures", drawn, level
    )
    paper = [name for name in known if name not in {*ABOVE, *BELOW, *UNDER, *chapter.above}]
    said, _, beside = chapter.answer.partition("\n")
    body = [
        page.paragraph(said, "answer"),
        page.paragraph(beside) if beside else "",
        page.paragraph(chapter.study.damaged, "warning") if chapter.study.damaged else "",
        _progress(chapter),
        page.paragraph(seen_before.sentence(chapter.study), "muted"),
        _tiles(chapter.comparisons),
        _contents(chapter, known) if single else "",
        *map(shown, (*chapter.above, *ABOVE)),
        figures if drawn else "",
        *map(shown, (*paper, *BELOW, *UNDER)),
    ]
    if single:
        return "".join(body)
    title = chapter.study.question or "Runs of no study"
    name = f"{chapter.study.name}: " if chapter.study.name else ""
    return page.section(chapter.place, f"{name}{title}", "".join(body))


def _progress(chapter: Chapter) -> str:
    """Say how much of what was planned is there."""
    study = chapter.study
    done = study.finished
    said = [f"{done} of {done + len(study.unfinished)} runs done"]
    states = Counter(str(each.state) for each in study.unfinished)
    said += [f"{count} {state}" for state, count in sorted(states.items())]
    if study.reference:
        said.append(f"reference: {study.reference}")
    if study.name:
        said.insert(0, f"study {study.name}")
    return page.paragraph("; ".join(said) + ".", "muted")


def _tiles(found: Sequence[ArmComparison]) -> str:
    if not found:
        return ""
    counted = Counter(each.verdict for each in found)
    return page.counts({name: (said, counted[name]) for name, said in VERDICTS.items()})


def _contents(chapter: Chapter, known: dict[str, Any]) -> str:
    own = {table.name: table.title for table in chapter.tables if table.name in chapter.above}
    places = own | {
        name: title
        for name, title in TITLES.items()
        if name in known or (name == "figures" and chapter.drawings)
    }
    return page.contents(
        {**places, "provenance": "Provenance", "again": "How to reproduce this page"}
    )


def _provenance(records: Sequence[dict[str, Any]]) -> str:
    return page.command("\n".join(made_with(records)), "Provenance")
