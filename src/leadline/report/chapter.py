"""All that a page says of one study."""

from __future__ import annotations

from dataclasses import dataclass, field

from leadline.report import study_figures
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """All that a page says of one study: its place in addresses, its answer, tables, drawings.

    `above` names the tables that stand above the figures, beside those of every study.
    """

    study: StudyResults
    place: str
    answer: str
    comparisons: tuple[ArmComparison, ...]
    tables: tuple[Table, ...]
    drawings: tuple[study_figures.Drawn, ...]
    skipped: dict[str, str]
    above: tuple[str, ...] = ()

    def table(self, name: str) -> Table:
        """Give a table by its name."""
        return next(table for table in self.tables if table.name == name)
