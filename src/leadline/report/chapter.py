"""All that a page says of one study, and the same in Markdown for a pull request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from leadline.report import seen_before, study_figures, tables
from leadline.report.caveat_list import GroupedCaveat
from leadline.report.compare.comparison import ArmComparison
from leadline.report.study import StudyResults
from leadline.report.tables import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPart:
    """What a page says of the runs of a task that is not judged by classes.

    The first line of `answer` is the answer of a study that asks nothing else.
    """

    answer: str = ""
    tables: tuple[Table, ...] = ()
    drawings: tuple[study_figures.Drawn, ...] = ()
    skipped: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, answer: str, tables: Sequence[Table], builders: Mapping[str, study_figures.Builder]
    ) -> TaskPart:
        """Draw what can be drawn, and leave out tables without rows."""
        drawings, skipped = study_figures.drawn(builders)
        kept = tuple(table for table in tables if table.rows)
        return cls(answer=answer, tables=kept, drawings=tuple(drawings), skipped=skipped)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """All that a page says of one study: its place in addresses, its answer, tables, drawings.

    `answer` has up to three lines: the answer, for what it holds, and what must be known beside
    it. `settle` says what would settle what is open. `above` names the tables that stand before
    those of every study.
    """

    study: StudyResults
    place: str
    answer: str
    comparisons: tuple[ArmComparison, ...]
    tables: tuple[Table, ...]
    drawings: tuple[study_figures.Drawn, ...]
    skipped: dict[str, str]
    above: tuple[str, ...] = ()
    settle: str = ""
    caveats: tuple[GroupedCaveat, ...] = ()

    def table(self, name: str) -> Table:
        """Give a table by its name."""
        return next(table for table in self.tables if table.name == name)


# Of the verdict table in Markdown, the columns that fit into the width of a comment.
COLUMNS = ("arm", "against", "data set", "labels", "metric", "verdict", "difference", "95 % from",
           "95 % to", "test", "p (Holm)", "n", "speaks for")  # fmt: skip
LEFT_OUT = ("comparisons", "top_genes", "runs", "configuration", "pretraining")


def in_markdown(chapters: Sequence[Chapter], command: str) -> str:
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
