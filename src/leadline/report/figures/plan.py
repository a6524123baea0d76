"""What a figure of runs is to show: its groups, panels and tests, before anything is drawn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from leadline.report.compare.arms import Condition
from leadline.report.compare.evidence import Evidence
from leadline.report.compare.setting import ClaimSettings, Family
from leadline.report.figures.captions import caption, describe
from leadline.report.figures.drawing import Drawing
from leadline.report.figures.groups import Group, as_evidence, cell_of, gather, places
from leadline.report.figures.pvalues import Tests, corrected, pairs_of
from leadline.report.figures.style import PUBLISHED
from leadline.stats.metrics import HEADLINE

if TYPE_CHECKING:
    import pandas as pd

Panels = Mapping[tuple[str, str], Mapping[Condition, Group]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FigurePlan:
    """A panel for each data set and metric, with the arms and shares of the labels it shows."""

    panels: Panels
    tests: Tests
    datasets: Sequence[str]
    arms: Sequence[str]
    shares: Sequence[float]
    metrics: Sequence[str]
    beside: str = ""

    @property
    def groups(self) -> list[Group]:
        """List every group that is drawn."""
        return [group for panel in self.panels.values() for group in panel.values()]

    def drawing(self, name: str, title: str, figure: Figure, *more: str) -> Drawing:
        """Put words to a figure of this plan."""
        said = " ".join(filter(None, [caption(self.groups, self.tests), self.beside, *more]))
        return Drawing(
            name=name,
            title=title,
            caption=said,
            description=describe(self.panels, self.tests),
            figure=figure,
        )


def plan(
    source: pd.DataFrame | Evidence,
    name: str,
    title: str,
    *,
    datasets: Sequence[str] | None = None,
    arms: Sequence[str] | None = None,
    metrics: Sequence[str] = HEADLINE,
    fractions: Sequence[float] | None = None,
    artefact: str = "",
    families: Mapping[str, Family] | None = None,
    tests: Tests | None = None,
    setting: ClaimSettings | None = None,
    beside: Evidence | None = None,
) -> FigurePlan:
    """Decide what to draw of a frame: all that is there, or what is asked for.

    Tests are those given, else Welch's of every arm against the first, corrected within each of
    the families; `beside` holds the paper's numbers, to be drawn next to ours.
    """
    evidence, facts = as_evidence(source), setting or ClaimSettings()
    datasets, arms, shares = places(evidence, datasets, arms, metrics, fractions)
    series = [each for arm in arms for each in ((arm, arm + PUBLISHED) if beside else (arm,))]
    cells = [
        cell_of(dataset, arm, share, metric, artefact)
        for metric in metrics
        for dataset in datasets
        for arm in series
        for share in shares
    ]
    groups = gather(evidence, cells, title, facts, beside)
    if tests is None:
        if families is None and len(arms) < 2:
            families = {}
        elif families is None:
            families = pairs_of(name, arms, datasets, shares, metrics, artefact)
        tests = corrected(evidence, families, facts)
    drawn = {group.arm for group in groups.values()}
    return FigurePlan(
        panels=_panels(groups.items()),
        tests=tests,
        datasets=datasets,
        # Arms that were asked for keep their place; published ones that are not there take none.
        arms=[arm for arm in series if arm in drawn or not arm.endswith(PUBLISHED)],
        shares=shares,
        metrics=metrics,
        beside=_told(drawn) if beside else "",
    )


def _told(drawn: Iterable[str]) -> str:
    if any(arm.endswith(PUBLISHED) for arm in drawn):
        return "Open marks are the paper’s runs."
    return "The paper has no runs of these arms on these data to be set beside them."


def _panels(
    groups: Iterable[tuple[Condition, Group]],
) -> dict[tuple[str, str], dict[Condition, Group]]:
    found: dict[tuple[str, str], dict[Condition, Group]] = {}
    for cell, group in groups:
        found.setdefault((cell.dataset, cell.metric), {})[cell] = group
    return found
