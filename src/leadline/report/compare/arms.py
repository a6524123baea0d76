"""One arm in one place under one metric: its runs, and what was printed of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from leadline import stats
from leadline.config import registry
from leadline.report.frame import note
from leadline.report.study import Facts, StudyResults

Floats = npt.NDArray[np.float64]
# Markers read from a figure are known to 0.0005 at best, printed runs to 0.00005 at worst.
FINEST_MARKER = 1e-4


@dataclass(frozen=True, slots=True)
class Condition:
    """One place of a table: an arm of a model on a share of the labels, under one metric."""

    dataset: str
    model: str
    arm: str
    fraction: float
    metric: str
    artefact: str = ""

    @property
    def where(self) -> str:
        """Dataset, and share of the labels unless it is all of them."""
        return self.dataset if self.fraction == 1 else f"{self.dataset} {self.fraction:.0%}"

    @property
    def label(self) -> str:
        """Name the mean of this cell, as `published` of a claim does."""
        return f"{self.where} {self.model}/{self.arm} {self.metric}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmRuns:
    """One arm in one place: the score of every run, or what was printed where runs are not public.

    `widths` are half-widths within which scores are known, 0 where they are known in full, and
    `printed_width` that of the printed mean. Runs of
    ours have their `records`, in the order of the scores; those of a paper are `published`.
    """

    cell: Condition
    values: Floats
    widths: Floats
    seeds: tuple[int | None, ...]
    notes: tuple[str, ...] = ()
    records: tuple[Facts, ...] = ()
    printed_mean: float | None = None
    printed_width: float = math.inf
    printed_half_width: float | None = None
    printed_n: int | None = None
    printed_text: str = ""
    published: bool = False

    @property
    def dataset(self) -> str:
        """Give the data set."""
        return self.cell.dataset

    @property
    def model(self) -> str:
        """Give the model."""
        return self.cell.model

    @property
    def arm(self) -> str:
        """Give the arm."""
        return self.cell.arm

    @property
    def fraction(self) -> float:
        """Give the share of the labels."""
        return self.cell.fraction

    @property
    def metric(self) -> str:
        """Give the metric of the scores."""
        return self.cell.metric

    @property
    def name(self) -> str:
        """Name model and arm, as figures do."""
        return f"{self.model}/{self.arm}"

    @property
    def complete(self) -> bool:
        """Whether there is a number for every run that is said to exist."""
        counted = self.values.size > 0 and self.printed_n in (None, self.values.size)
        return counted and bool(np.isfinite(self.values).all())

    @property
    def missing(self) -> str:
        """Say why there is no mean."""
        broken = int((~np.isfinite(self.values)).sum())
        if broken:
            return f"{broken} of {self.values.size} runs of {self.cell.label} have no finite score"
        return f"no runs: {self.cell.label}"

    @property
    def has_runs(self) -> bool:
        """Whether the runs are known well enough to be tested themselves."""
        fine = self.values.size > 0 and float(self.widths.max()) <= FINEST_MARKER
        return self.complete and (fine or self.printed_mean is None)

    @property
    def known(self) -> bool:
        """Whether there is a mean, from runs or as printed."""
        return self.has_runs or self.printed_mean is not None

    @property
    def decides_nothing(self) -> str:
        """Say why the numbers that are there judge nothing; empty where they do."""
        vague = self.widths.size > 0 and not np.isfinite(self.widths).all()
        return f"of unknown precision: {self.cell.label}" if vague else ""

    @property
    def mean(self) -> float:
        """Give the mean of an arm that is `known`, as printed where runs are a figure's markers."""
        if self.has_runs:
            return float(self.values.mean())
        assert self.printed_mean is not None, self.missing
        return self.printed_mean

    @property
    def recomputed(self) -> float | None:
        """Give the mean over the runs themselves, whatever their precision."""
        return float(self.values.mean()) if self.complete else None

    @property
    def finest_mean(self) -> float | None:
        """Give the printed mean where it has more digits than the runs that it is the mean of."""
        finer = self.widths.size > 0 and self.printed_width < float(self.widths.max())
        if finer:
            return self.printed_mean
        return self.mean if self.known else None

    @property
    def n(self) -> int:
        """Count the runs behind the mean."""
        return int(self.values.size if self.has_runs else self.printed_n or 0)

    @property
    def without_luck(self) -> bool:
        """Whether the model predicts the same whenever it is trained on the same cells."""
        return registry.named(self.model).deterministic

    @property
    def fixed(self) -> bool:
        """Whether all runs are one: a model without luck, trained on the same cells each time."""
        splits = {str(facts.get("split", {}).get("fingerprint")) for facts in self.records}
        # Of published runs it is known that smaller shares of the labels were drawn by the seed.
        same_cells = len(splits) == 1 if self.records else self.fraction == 1
        return self.without_luck and same_cells

    def summary(self) -> stats.Summary | None:
        """Give mean, standard deviation and n, from the runs or from the printed interval."""
        if self.has_runs:
            return stats.summarise(self.values) if self.values.size > 1 else None
        if self.printed_mean is None or self.printed_half_width is None or self.n < 2:
            return None
        return stats.summary_from_paper(self.printed_mean, self.printed_half_width, self.n)


def of_records(cell: Condition, records: Sequence[Facts]) -> ArmRuns:
    """Make an arm of the records of its runs."""
    return ArmRuns(
        cell=cell,
        values=np.array([float(facts["metrics"]["test"][cell.metric]) for facts in records]),
        widths=np.zeros(len(records)),
        seeds=tuple(int(facts["seed"]) for facts in records),
        notes=tuple(note(facts) for facts in records),
        records=tuple(records),
    )


def condition_of(facts: Facts, metric: str) -> Condition:
    """Name the place that a record belongs to."""
    return Condition(
        facts["dataset"], facts["model"], facts["arm"], float(facts["fraction"]), metric
    )


def sides_of(study: StudyResults, metric: str) -> list[ArmRuns]:
    """Gather the runs of each arm in each place that have this metric."""
    grouped: dict[Condition, list[Facts]] = {}
    for facts in study.records:
        if metric in facts["metrics"]["test"]:
            grouped.setdefault(condition_of(facts, metric), []).append(facts)
    order = {arm: at for at, arm in enumerate(study.arms)}
    sides = [of_records(cell, runs) for cell, runs in grouped.items()]
    return sorted(sides, key=lambda s: (s.dataset, -s.fraction, order[s.arm], s.model))


def starts_from_weights(settings: Mapping[str, Any]) -> bool:
    """Say whether the network of a run with these settings, by name, starts from weights."""
    return str(settings.get("model.pretrained") or "false").lower() != "false"
