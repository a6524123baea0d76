"""The report for a pull request: answers, verdicts and means, without figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from leadline.report import seen_before, tables
from leadline.report.tables import Table

if TYPE_CHECKING:
    from leadline.report.chapter import Chapter

# Of the verdict table, the columns that fit into the width of a comment.
COLUMNS = ("arm", "against", "data set", "labels", "metric", "verdict", "difference", "95 % from",
           "95 % to", "test", "p (Holm)", "n", "speaks for")  # fmt: skip
LEFT_OUT = ("comparisons", "top_genes", "runs", "configuration", "pretraining")


def build(chapters: Sequence[Chapter], command: str) -> str:
    """Write the chapters one after another."""
    said = []
    for chapter in chapters:
        study = chapter.study
        title = study.question or "Runs of no study"
        first, *beside = map(tables.in_markdown, chapter.answer.split("\n"))
        said.append(f"# {tables.in_markdown(title)}\n\n**{first}**\n")
        beside.insert(1, tables.in_markdown(chapter.settle))
        said += [f"\n{line}\n" for line in beside if line]
        said.append(f"\n**{tables.in_markdown(study.damaged)}**\n" if study.damaged else "")
        done = study.finished
        states = Counter(str(each.state) for each in study.unfinished)
        counted = "".join(f", {count} {state}" for state, count in sorted(states.items()))
        said.append(f"\n{done} of {done + len(study.unfinished)} runs done{counted}.\n\n")
        said.append(f"{tables.in_markdown(seen_before.sentence(study))}\n\n")
        for table in chapter.tables:
            if table.name == "comparisons":
                said.append(tables.to_markdown(_short(table)) + "\n")
            elif table.name not in LEFT_OUT:
                said.append(tables.to_markdown(table) + "\n")
    said.append(f"## How to reproduce this report\n\n```\n{command}\n```\n")
    return "".join(said)


def _short(table: Table) -> Table:
    kept = [table.columns.index(name) for name in COLUMNS]
    return Table(
        name=table.name,
        title=table.title,
        columns=[table.columns[at] for at in kept],
        rows=[[row[at] for at in kept] for row in table.rows],
        notes=table.notes,
    )
