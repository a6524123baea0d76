"""All that a page says of one study."""

from __future__ import annotations

from dataclasses import dataclass

from leadline.report import study_figures
from leadline.report.compare.comparison import ArmComparison
from leadline.report.study import StudyResults
from leadline.report.tables import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """All that a page says of one study: its place in addresses, its answer, tables, drawings."""

    study: StudyResults
    place: str
    answer: str
    comparisons: tuple[ArmComparison, ...]
    tables: tuple[Table, ...]
    drawings: tuple[study_figures.Drawn, ...]
    skipped: dict[str, str]

    def table(self, name: str) -> Table:
        """Give a table by its name."""
        return next(table for table in self.tables if table.name == name)
