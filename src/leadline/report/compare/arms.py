"""The runs of one arm in one place, under one metric."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from leadline.config import registry
from leadline.report.study import Facts, StudyResults


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmRuns:
    """The runs of one arm in one place, under one metric."""

    dataset: str
    fraction: float
    metric: str
    arm: str
    model: str
    values: npt.NDArray[np.float64]
    records: tuple[Facts, ...]

    @property
    def name(self) -> str:
        """Name model and arm, as figures do."""
        return f"{self.model}/{self.arm}"

    @property
    def seeds(self) -> list[int]:
        """List the seeds of the runs."""
        return [int(facts["seed"]) for facts in self.records]

    @property
    def mean(self) -> float:
        """Give the mean over runs."""
        return float(self.values.mean())

    @property
    def fixed(self) -> bool:
        """Whether the runs are one number: a model without luck on the same training cells."""
        splits = {str(facts.get("split", {}).get("fingerprint")) for facts in self.records}
        if registry.named(self.model).deterministic and len(splits) == 1:
            return True
        return self.values.size > 1 and bool(np.ptp(self.values) == 0)


def sides_of(study: StudyResults, metric: str) -> list[ArmRuns]:
    """Gather the runs of each arm in each place that have this metric."""
    grouped: dict[tuple[str, float, str, str], list[Facts]] = {}
    for facts in study.records:
        if metric in facts["metrics"]["test"]:
            key = (facts["dataset"], float(facts["fraction"]), facts["arm"], facts["model"])
            grouped.setdefault(key, []).append(facts)
    order = {arm: at for at, arm in enumerate(study.arms)}
    sides = [
        ArmRuns(
            dataset=dataset,
            fraction=fraction,
            metric=metric,
            arm=arm,
            model=model,
            values=np.array([float(facts["metrics"]["test"][metric]) for facts in runs]),
            records=tuple(runs),
        )
        for (dataset, fraction, arm, model), runs in grouped.items()
    ]
    return sorted(sides, key=lambda s: (s.dataset, -s.fraction, order[s.arm], s.model))
