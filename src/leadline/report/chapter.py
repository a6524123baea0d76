"""All that a page says of one study."""

from __future__ import annotations

from dataclasses import dataclass, field

from leadline.report import study_figures
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
