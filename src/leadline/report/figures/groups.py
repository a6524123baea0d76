"""The runs of one arm in one place, as a figure shows them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from leadline import stats
from leadline.errors import UserError
from leadline.report.compare.arms import FINEST_MARKER, ArmRuns, Condition
from leadline.report.compare.caveats import SEED, collapsed
from leadline.report.compare.evidence import Evidence
from leadline.report.compare.printed import stand_in
from leadline.report.compare.setting import ClaimSettings
from leadline.report.figures.style import PUBLISHED, look, one_line, percent
from leadline.stats import Flag, Interval

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
LEVEL = 0.95
# Where the paper gives one arm's numbers several times, the first of these.
ARTEFACTS = ("Figure 2", "Figure 3", "Table 1", "Table 2", "Supp. Table 5", "Supp. Table 4")


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One arm in one cell: its runs, their mean, and the interval of the mean where there is one.

    `digitised` marks runs read off a figure image, `collapsed` those that predict one class;
    `printed` says that the mean is the paper's own, as not all of its runs are legible.
    """

    cell: Condition
    values: Floats
    digitised: Bools
    collapsed: Bools
    mean: float | None
    interval: Interval | None
    n: int
    printed: bool = False
    broken: int = 0
    modes: Flag | None = None

    @property
    def arm(self) -> str:
        """Name the arm as model/arm."""
        return f"{self.cell.model}/{self.cell.arm}"

    @property
    def ends(self) -> list[float]:
        """List every number that an axis must hold."""
        found = self.values.tolist() + ([] if self.mean is None else [self.mean])
        return found + ([] if self.interval is None else [self.interval.low, self.interval.high])

    @property
    def sentence(self) -> str:
        """Say in words what is drawn."""
        name = one_line(look(self.arm).word)
        said = f"{name} at {percent(self.cell.fraction)}: "
        if self.mean is None:
            said += f"no mean, {self.values.size} runs shown"
        else:
            said += f"mean {self.mean:.3f} of {self.n} runs"
        if self.interval is not None:
            said += f", interval {self.interval.low:.3f} to {self.interval.high:.3f}"
        if self.printed:
            said += ", as printed"
        if self.collapsed.any():
            said += f", {int(self.collapsed.sum())} runs predict one class only"
        if self.broken:
            said += f", {self.broken} runs without a finite score are not drawn"
        if self.modes is not None:
            n = self.modes.numbers
            said += f", two modes: {n['n_low']:.0f} runs around {n['mean_low']:.3f}"
            said += f" and {n['n_high']:.0f} around {n['mean_high']:.3f}"
        return said


def as_evidence(source: pd.DataFrame | Evidence) -> Evidence:
    """Index a frame, unless that is done."""
    return source if isinstance(source, Evidence) else Evidence.of(source)


def places(
    evidence: Evidence,
    datasets: Sequence[str] | None,
    arms: Sequence[str] | None,
    metrics: Sequence[str],
    fractions: Sequence[float] | None,
) -> tuple[list[str], list[str], list[float]]:
    """Give data sets, arms and shares of the labels: the wanted ones, else all that are known."""
    keys = [
        key
        for key in evidence.runs
        if key[4] in metrics
        and (arms is None or f"{key[1]}/{key[2]}" in arms)
        and (datasets is None or key[0] in datasets)
    ]
    return (
        list(dict.fromkeys(str(key[0]) for key in keys) if datasets is None else datasets),
        list(sorted({f"{key[1]}/{key[2]}" for key in keys}) if arms is None else arms),
        list(sorted({_share(key[3]) for key in keys} or {1.0}) if fractions is None else fractions),
    )


def _share(value: object) -> float:
    assert isinstance(value, float)
    return value


def cell_of(dataset: str, arm: str, fraction: float, metric: str, artefact: str) -> Condition:
    """Name the place of an arm, written model/arm."""
    model, _, name = arm.partition("/")
    return Condition(dataset, model, name, fraction, metric, artefact)


def gather(
    source: pd.DataFrame | Evidence,
    cells: Iterable[Condition],
    what: str,
    setting: ClaimSettings | None = None,
    beside: Evidence | None = None,
) -> dict[Condition, Group]:
    """Gather what can be drawn of each cell; refuse where there is nothing at all.

    Cells whose arm ends in `PUBLISHED` are looked up in `beside`.
    """
    evidence, facts = as_evidence(source), setting or ClaimSettings()
    wanted = list(cells)
    found = {cell: _found(evidence, beside, cell, facts) for cell in wanted}
    known = {cell: group for cell, group in found.items() if group is not None}
    if not known:
        arms = sorted({f"{cell.model}/{cell.arm}" for cell in wanted})
        datasets = sorted({cell.dataset for cell in wanted})
        raise UserError(
            f"{what} needs runs of {' or '.join(arms) or 'an arm'} "
            f"on {' or '.join(datasets) or 'a data set'}",
            got="none",
            remedy="run them, or draw another figure",
        )
    return known


def _found(
    evidence: Evidence, beside: Evidence | None, cell: Condition, facts: ClaimSettings
) -> Group | None:
    if not cell.arm.endswith(PUBLISHED):
        return _group(evidence, evidence.side(cell), facts)
    if beside is None:
        return None
    for artefact in ARTEFACTS:
        theirs = replace(cell, arm=cell.arm.removesuffix(PUBLISHED), artefact=artefact)
        group = _group(beside, beside.side(theirs), facts)
        if group is not None:
            return replace(group, cell=cell)
    return None


def _group(evidence: Evidence, side: ArmRuns, setting: ClaimSettings) -> Group | None:
    finite = np.isfinite(side.values)
    values = side.values[finite]
    if not values.size and side.printed_mean is None:
        return None
    marks = collapsed(evidence, side, setting)
    marked = np.zeros(values.size, bool) if marks is None else marks[finite] > 0
    mean, interval, printed = _centre(side)
    return Group(
        cell=side.cell,
        values=values,
        digitised=side.widths[finite] > FINEST_MARKER,
        collapsed=marked,
        mean=mean,
        interval=interval,
        n=side.values.size if side.complete else side.n or values.size,
        printed=printed,
        broken=int((~finite).sum()),
        modes=_modes(side) if not marked.any() else None,
    )


def _centre(side: ArmRuns) -> tuple[float | None, Interval | None, bool]:
    """Give mean and interval of all runs, never of those alone that happen to be legible."""
    if side.complete:
        varies = side.values.size > 1 and float(np.ptp(side.values)) > 0
        interval = stats.student_interval(side.values, LEVEL) if varies else None
        return float(side.values.mean()), interval, False
    if side.printed_mean is None:
        return None, None, False
    summary = side.summary()
    if summary is None or summary.sd == 0:
        return side.printed_mean, None, True
    # Student's interval of the printed standard deviation, not the paper's narrower one.
    return side.printed_mean, stats.student_interval(stand_in(summary), LEVEL), True


def _modes(side: ArmRuns) -> Flag | None:
    if not side.complete or side.values.size < 2:
        return None
    return stats.two_modes(side.values, np.random.default_rng(SEED), name=side.cell.label)
