"""Scores against the share of the training labels: every run, the mean, its interval, the test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from matplotlib.axes import Axes

from leadline.claims import Cell, Evidence, Setting, load_claims
from leadline.claims.schema import Family
from leadline.figures.drawing import Drawing, blank, settle
from leadline.figures.groups import Group, as_evidence, cell_of, gather, places
from leadline.figures.marks import apart, dots, grid, heading, key, mean
from leadline.figures.pvalues import Tests, corrected, pairs_of
from leadline.figures.style import INK, MUTED, SMALL, TEXT, WIDE, look, percent, styled, word
from leadline.figures.words import caption, describe

if TYPE_CHECKING:
    import pandas as pd

METRICS = ("accuracy", "macro_f1")
# Of each step between shares, the part that the arms divide among them.
STEP, SLOT = 0.76, 0.06
PANEL, HEAD = 62.0, 14.0


def few_shot(
    source: pd.DataFrame | Evidence,
    *,
    name: str = "few_shot",
    title: str = "Scores by share of the training labels",
    datasets: Sequence[str] | None = None,
    arms: Sequence[str] | None = None,
    metrics: Sequence[str] = METRICS,
    fractions: Sequence[float] | None = None,
    artefact: str = "",
    families: Mapping[str, Family] | None = None,
    setting: Setting | None = None,
    width: float = WIDE,
) -> Drawing:
    """Draw every run at every share of the labels, with the mean and its 95 % Student interval.

    Over the axes stands the test of the second arm against the first, corrected within each of
    the `families`, by default within all pairs that are drawn.
    """
    evidence, facts = as_evidence(source), setting or load_claims().setting
    datasets, arms, shares = places(evidence, datasets, arms, metrics, fractions)
    cells = [
        cell_of(dataset, arm, share, metric, artefact)
        for metric in metrics
        for dataset in datasets
        for arm in arms
        for share in shares
    ]
    groups = gather(evidence, cells, title, facts)
    if families is None:
        families = pairs_of(name, arms, datasets, shares, metrics, artefact)
    tests = corrected(evidence, families, facts)
    panels = _panels(groups)
    with styled():
        columns = len(datasets) if len(datasets) > 1 else len(metrics)
        rows, columns = grid(len(panels), columns, width)
        figure = blank(width, HEAD + PANEL * rows)
        every = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes in every[len(panels) :]:
            axes.set_axis_off()
        for number, (axes, place) in enumerate(zip(every, panels, strict=False)):
            inside = panels[place]
            _panel(axes, inside, arms, shares)
            heading(axes, place, columns)
            _marks(axes, tests, list(inside), arms, shares)
            if number % columns == 0 or columns == len(metrics):
                axes.set_ylabel(f"{word(place[1])} on the reported cells")
        figure.supxlabel("share of the training labels (not to scale)", fontsize=TEXT)
        key(figure, arms, groups.values(), width)
        settle(figure)
    return Drawing(
        name=name,
        title=title,
        caption=caption(groups.values(), tests),
        description=describe(panels, tests, arms),
        figure=figure,
    )


def _panels(groups: Mapping[Cell, Group]) -> dict[tuple[str, str], dict[Cell, Group]]:
    found: dict[tuple[str, str], dict[Cell, Group]] = {}
    for cell, group in groups.items():
        found.setdefault((cell.dataset, cell.metric), {})[cell] = group
    return found


def _panel(
    axes: Axes, groups: Mapping[Cell, Group], arms: Sequence[str], shares: Sequence[float]
) -> None:
    ends = [end for group in groups.values() for end in group.ends]
    span = max(ends) - min(ends) or 1.0
    for position, arm in enumerate(arms):
        line = {
            shares.index(cell.fraction): group
            for cell, group in groups.items()
            if group.arm == arm and cell.fraction in shares
        }
        _arm(axes, line, position, len(arms), span)
    axes.set_xticks(range(len(shares)), [percent(share) for share in shares])
    axes.set_xlim(-0.5, len(shares) - 0.5)
    axes.grid(axis="y")


def _arm(axes: Axes, line: Mapping[int, Group], position: int, arms: int, span: float) -> None:
    """Draw one arm: means nearer to the middle of the step, dots on the far side of them."""
    room = STEP / arms
    centre = (position + 0.5) * room - STEP / 2
    outwards = room / 4 if centre > 0 else -room / 4
    means = {step: group.mean for step, group in line.items() if group.mean is not None}
    for step, group in line.items():
        aside = apart(group.values.tolist(), span, SLOT, room / 4)
        at = [step + centre + outwards + shift for shift in aside]
        dots(axes, at, group.values.tolist(), group)
        mean(axes, step + centre - outwards, group, upright=True)
    if len(means) > 1:
        colour = look(next(iter(line.values())).arm).colour
        steps = sorted(means)
        xs = [step + centre - outwards for step in steps]
        axes.plot(xs, [means[step] for step in steps], color=colour, linewidth=0.7, alpha=0.5)


def _marks(
    axes: Axes, tests: Tests, cells: Sequence[Cell], arms: Sequence[str], shares: Sequence[float]
) -> None:
    """Write the test of every share over it, and its name; nothing where nothing is tested."""
    texts: dict[int, tuple[str, bool]] = {}
    for cell in cells:
        other = next((c for c in tests.partners(cell) if f"{c.model}/{c.arm}" == arms[0]), None)
        if other is not None and cell.fraction in shares:
            found = tests.of(cell, other)
            texts[shares.index(cell.fraction)] = (found.text, found.significant)
    if not texts:
        return
    above = axes.secondary_xaxis("top")
    above.set_xticks(sorted(texts), [texts[step][0] for step in sorted(texts)])
    above.tick_params(length=0, pad=1, labelsize=SMALL)
    above.spines["top"].set_visible(False)
    for label, step in zip(above.get_xticklabels(), sorted(texts), strict=True):
        significant = texts[step][1]
        label.set_color(INK if significant else MUTED)
        label.set_fontweight("bold" if significant else "normal")
    above.set_xlabel(tests.name, fontsize=SMALL, color=MUTED, labelpad=2, loc="left")
