"""The page of a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leadline import __version__
from leadline.report import page, seen_before, tables
from leadline.report.answer import listed, spaced, title_of
from leadline.report.compare.study import MCNEMAR
from leadline.report.provenance import commands_of, made_with
from leadline.report.study_figures import WHERE
from leadline.stats import tests

if TYPE_CHECKING:
    from leadline.report.chapter import Chapter

TITLES = {
    "where": "Where it holds",
    "caveats": "Caveats",
    "figures": "More figures",
    "comparisons": "Verdicts",
    "settling": "What is open",
    MCNEMAR: tests.title(MCNEMAR),
    "means": "Means",
    "top_genes": "Top genes",
    "runs": "Runs",
    "unfinished": "Without a result",
    "configuration": "Configuration",
    "costs": "Costs",
}
# Tables in the order of the page; those of a paper, or of a task, stand between the two parts.
# Caveats are told in words, and as a table in files alone.
FIRST = ("comparisons", "settling", "mcnemar")
LAST = ("means", "top_genes", "runs", "pretraining", "unfinished", "configuration", "costs")
NOT_SHOWN = ("flags",)
# Figures of the part that says where findings hold.
ELSEWHERE = (WHERE, "few_shot")


def build(parts: Sequence[tuple[Chapter, Mapping[str, str]]], command: str, runs_dir: Path) -> str:
    """Lay out the page; each chapter comes with its drawings by name."""
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


def _chapter(chapter: Chapter, drawn: Mapping[str, str], *, single: bool) -> str:
    """Lay out a study: answer, picture, what is open, elsewhere, caveats, figures, tables."""
    level = 2 if single else 3
    known = {table.name: table for table in chapter.tables}

    def shown(name: str) -> str:
        if name not in known or name in NOT_SHOWN:
            return ""
        whose = "" if single else chapter.study.name or "runs of no study"
        file = f"tables/{chapter.place}_{name}.csv"
        place = name if single else f"{chapter.place}-{name}"
        return tables.to_html(known[name], level=level, place=place, whose=whose, file=file)

    def part(name: str, body: str) -> str:
        place = name if single else f"{chapter.place}-{name}"
        return page.section(place, TITLES[name], body, level) if body else ""

    lead = next(iter(drawn), "")
    elsewhere = [name for name in drawn if name.partition("_of_")[0] in ELSEWHERE and name != lead]
    others = [name for name in drawn if name not in (lead, *elsewhere)]
    rest = [name for name in known if name not in (*FIRST, *LAST, *NOT_SHOWN, *chapter.above)]
    said, basis, more = (*chapter.answer.split("\n", 2), "", "")[:3]
    body = [
        page.paragraph(said, "answer"),
        page.paragraph(basis, "muted basis") if basis else "",
        drawn.get(lead, ""),
        page.paragraph(chapter.settle) if chapter.settle else "",
        page.paragraph(more) if more else "",
        page.paragraph(chapter.study.damaged, "warning") if chapter.study.damaged else "",
        _progress(chapter),
        page.paragraph(seen_before.sentence(chapter.study), "muted"),
        _contents(chapter, known, elsewhere, others) if single else "",
        part("where", _counted(chapter) + "".join(map(drawn.__getitem__, elsewhere))),
        part("caveats", _caveats(chapter)),
        part("figures", "".join(map(drawn.__getitem__, others))),
        *(
            page.paragraph(f"No figure {name}: {reason}.", "muted")
            for name, reason in chapter.skipped.items()
        ),
        *map(shown, (*chapter.above, *FIRST, *rest, *LAST)),
    ]
    if single:
        return "".join(body)
    title = chapter.study.question or "Runs of no study"
    name = f"{chapter.study.name}: " if chapter.study.name else ""
    return page.section(chapter.place, f"{name}{title}", "".join(body))


def _caveats(chapter: Chapter) -> str:
    if not chapter.caveats:
        return ""
    return page.caveats([(each.severity, each.said, each.details) for each in chapter.caveats])


def _counted(chapter: Chapter) -> str:
    """Count the comparisons of the whole study by what is shown."""
    found = chapter.comparisons
    if not found:
        return ""
    counted = Counter(each.verdict for each in found)
    said = [f"{counted[name]} {words}" for name, words in COUNTED.items() if counted[name]]
    many = f"{len(found)} comparisons" if len(found) > 1 else "one comparison"
    return page.paragraph(f"Of {many}, with every metric and share of the labels: {listed(said)}.")


# How verdicts are counted in a sentence.
COUNTED = {
    "better": "ahead",
    "worse": "behind",
    "equivalent": "equal within the margin",
    "open": "that cannot be told",
    "untested": "not tested",
}


def _reference(chapter: Chapter) -> str:
    """Name what arms are compared with, as people do."""
    study = chapter.study
    sides = [each.b for each in chapter.comparisons if each.b.arm == study.reference]
    return title_of(study, sides[0]) if sides else spaced(study.reference)


def _progress(chapter: Chapter) -> str:
    """Say how much of what was planned is there."""
    study = chapter.study
    done = study.finished
    said = [f"{done} of {done + len(study.unfinished)} runs done"]
    states = Counter(str(each.state) for each in study.unfinished)
    said += [f"{count} {state}" for state, count in sorted(states.items())]
    if study.reference:
        said.append(f"reference: {_reference(chapter)}")
    if study.name:
        said.insert(0, f"study {study.name}")
    return page.paragraph("; ".join(said) + ".", "muted")


def _contents(
    chapter: Chapter, known: Mapping[str, Any], elsewhere: Sequence[str], others: Sequence[str]
) -> str:
    own = {table.name: table.title for table in chapter.tables if table.name in chapter.above}
    there = {
        "where": bool(elsewhere or chapter.comparisons),
        "caveats": bool(chapter.caveats),
        "figures": bool(others),
    }
    places = {name: title for name, title in TITLES.items() if there.get(name, name in known)}
    return page.contents(
        {**own, **places, "provenance": "Provenance", "again": "How to reproduce this page"}
    )


def _provenance(records: Sequence[dict[str, Any]]) -> str:
    return page.command("\n".join(made_with(records)), "Provenance")
