"""A report as files: the page, its Markdown twin, tables and figures."""

from __future__ import annotations

import html
import importlib
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from leadline import files as atomic
from leadline.config.tasks import ARRAYS, TASKS
from leadline.report import figures, html_page, page, study_figures, study_multiverse, tables
from leadline.report import study_tables as made
from leadline.report.baseline_answer import first_line
from leadline.report.caveat_list import caveats_of
from leadline.report.chapter import Chapter, TaskPart, in_markdown
from leadline.report.compare import looks
from leadline.report.compare.comparison import ArmComparison
from leadline.report.compare.settle import settling_table
from leadline.report.compare.study import comparisons, leading
from leadline.report.reference import Reference
from leadline.report.study import Facts, StudyResults, gather
from leadline.report.study_tables import mcnemar_table
from leadline.report.would_settle import would_settle

MARGIN = 0.01
LOOSE = "runs"


def headline(page: Path) -> tuple[str, str, str]:
    """Give the question, the answer and its basis, with which a written report begins."""
    text = page.with_name("report.md").read_text(encoding="utf-8").replace("\\", "")
    title, said, beside = (html.unescape(part.strip()) for part in text.split("\n\n")[:3])
    # Without a second line the count of runs comes next.
    beside = "" if beside.split(" runs done")[0].replace(" of ", "").isdigit() else beside
    return title.removeprefix("# "), said.strip("*"), beside


def write_report(
    runs_dir: Path,
    out: Path,
    names: Sequence[str] = (),
    *,
    published: bool = False,
    reference: Reference | None = None,
) -> Path:
    """Write index.html, report.md, tables and figures for the studies of a folder of records.

    `reference` is a paper: its numbers, tables and figures stand where a study names what it
    repeats. `published` sets the paper's runs beside ours wherever data set and arm are the
    same; a study that names what it repeats has them anyway. Gives the path of the page.
    """
    studies = gather(runs_dir, names, MARGIN)
    out.mkdir(parents=True, exist_ok=True)
    chapters = [_chapter(study, runs_dir, out, published, reference) for study in studies]
    commands = _commands(runs_dir, names, published)
    files = {"report.md": in_markdown(chapters, commands)}
    everything = [(chapter, table) for chapter in chapters for table in chapter.tables]
    for chapter, table in everything:
        stem = f"tables/{chapter.place}_{table.name}"
        files[f"{stem}.csv"] = tables.to_csv(table)
        files[f"{stem}.md"] = tables.to_markdown(table)
        files[f"{stem}.tex"] = tables.to_latex(table)
    files["tables/all.tex"] = tables.latex_document(
        [text for name, text in files.items() if name.endswith(".tex")]
    )
    for name, text in files.items():
        (out / name).parent.mkdir(exist_ok=True)
        atomic.write_text(out / name, text)
    parts = [(chapter, _figures(chapter, out)) for chapter in chapters]
    atomic.write_text(out / "index.html", html_page.build(parts, commands, runs_dir))
    return out / "index.html"


def _chapter(
    study: StudyResults, runs_dir: Path, out: Path, published: bool, reference: Reference | None
) -> Chapter:
    parts, rest = parts_of_tasks(study, out)
    multiverse = study_multiverse.part_of(study)
    # Arms of dozens of universes side by side show nothing: the curve stands for all of them.
    in_universes = multiverse is not None and bool(multiverse.answer)
    found = [] if in_universes else comparisons(study)
    drawings, skipped = study_figures.draw_all(
        replace(study, pretraining=rest, records=() if in_universes else study.records),
        found,
        runs_dir,
        published,
        reference,
    )
    parts += [multiverse] if multiverse else []
    beside = [table for part in parts for table in part.tables]
    answers = [part.answer for part in parts if part.answer]
    return Chapter(
        study=study,
        place=page.slug(study.name or LOOSE),
        answer=answers[0] if answers and not study.records else _answer(study, found, multiverse),
        settle=would_settle(study, leading(found)),
        caveats=tuple(caveats_of(study, found)),
        comparisons=tuple(found),
        above=tuple(
            each.name for each in beside if not each.name.endswith(("_runs", "_universes"))
        ),
        tables=tuple(
            table
            for table in (
                *beside,
                made.verdict_table(study, found),
                settling_table(study, found),
                mcnemar_table(study, found),
                made.means_table(study),
                made.top_genes_table(study, runs_dir),
                made.runs_table(study, runs_dir, out),
                made.pretraining_table(replace(study, pretraining=rest), runs_dir, out),
                made.unfinished_table(study),
                made.flags_table(study, found),
                made.differences_table(study),
                made.costs_table(study),
                *study_figures.paper_tables(replace(study, pretraining=rest), reference),
            )
            if table.rows
        ),
        drawings=(*(drawn for part in parts for drawn in part.drawings), *drawings),
        skipped=skipped | {name: why for part in parts for name, why in part.skipped.items()},
    )


def _answer(
    study: StudyResults, found: Sequence[ArmComparison], multiverse: TaskPart | None
) -> str:
    """Give the answer, for what it holds, and what must be known beside it, a line each."""
    first, basis, more = (*first_line(study, found).split("\n"), "", "")[:3]
    if multiverse and multiverse.answer:
        # Where choices vary, the answer is what all universes say, not those of one.
        first, _, more = multiverse.answer.partition("\n")
        basis, more = "", " ".join(more.split("\n"))
    more = " ".join(said for said in (more, looks.sentence(study, found)) if said)
    return "\n".join([first, basis, more]).rstrip()


def parts_of_tasks(study: StudyResults, out: Path) -> tuple[list[TaskPart], tuple[Facts, ...]]:
    """Give what the tasks say of their own runs, and the runs that no task speaks of."""
    by_task: dict[str, list[Facts]] = {}
    for facts in study.pretraining:
        by_task.setdefault(str(facts.get("task", "")), []).append(facts)
    parts, rest = [], list(study.pretraining)
    for name, runs in by_task.items():
        if name in TASKS and TASKS[name].page:
            module, _, function = TASKS[name].page.partition(":")
            part = getattr(importlib.import_module(module), function)(study, runs, out)
            assert isinstance(part, TaskPart)
            parts.append(part)
        elif name in TASKS and TASKS[name].product == ARRAYS:
            parts.append(TaskPart(tables=(made.other_runs_table(study, runs, out),)))
        else:
            continue
        rest = [facts for facts in rest if facts not in runs]
    return parts, tuple(rest)


def _figures(chapter: Chapter, out: Path) -> dict[str, str]:
    """Write the figures of a chapter as files; give them as parts of the page, by name."""
    parts: dict[str, str] = {}
    for drawn in chapter.drawings:
        wide, name = drawn.wide, f"{chapter.place}_{drawn.wide.name}"
        paths = figures.save(wide.figure, out / "figures", name, wide.title)
        narrow = figures.to_svg(drawn.narrow.figure, wide.title).decode() if drawn.narrow else ""
        parts[wide.name] = page.figure(
            f"{chapter.place}-figure-{page.slug(wide.name)}",
            wide.title,
            wide.caption,
            wide.description,
            paths[-1].read_text(encoding="utf-8"),
            narrow,
            files=tuple((path.suffix[1:].upper(), f"figures/{path.name}") for path in paths),
            fixed=drawn.fixed,
            lead=not parts,
        )
    for name, reason in chapter.skipped.items():
        print(f"no figure {name}: {reason}", file=sys.stderr)
    return parts


def _commands(runs_dir: Path, names: Sequence[str], published: bool) -> str:
    words = ["leadline", "report", *names, "--runs", str(runs_dir), "--out", "DIR"]
    return shlex.join([*words, *(["--published"] if published else [])])
