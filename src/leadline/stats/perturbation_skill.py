"""Where a prediction of knock-outs stands between floor and ceiling, with an interval.

P perturbations, S splits of the cells.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from leadline.stats.perturbation_floors import skill

Floats = npt.NDArray[np.float64]
DRAWS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Skill:
    """(floor − model)/(floor − ceiling) of mean errors; all nan where there is no scale."""

    value: float
    low: float
    high: float

    @property
    def exists(self) -> bool:
        """Say whether floor and ceiling are far enough apart to be a scale."""
        return math.isfinite(self.value)


def skill_of(
    floor_P: npt.ArrayLike,
    model_P: npt.ArrayLike,
    ceiling_P: npt.ArrayLike,
    *,
    splits_S: npt.ArrayLike = (),
    seed: int = 0,
    draws: int = DRAWS,
) -> Skill:
    """Give the skill over perturbations that have a ceiling, with a bootstrap over these.

    `splits_S`, the mean ceiling of each split of the cells, adds the luck of the splits to the
    standard error that decides whether there is a scale at all: two of them.
    """
    floor, model, ceiling = (np.asarray(x, dtype=float) for x in (floor_P, model_P, ceiling_P))
    both = np.isfinite(ceiling)
    if both.sum() < 2:
        return Skill(value=math.nan, low=math.nan, high=math.nan)
    floor, model, ceiling = floor[both], model[both], ceiling[both]
    of_splits = np.asarray(splits_S, dtype=float)
    luck = float(of_splits.std(ddof=1)) if len(of_splits) > 1 else 0.0
    error = math.hypot(float((floor - ceiling).std(ddof=1)) / math.sqrt(len(floor)), luck)
    value = skill(float(floor.mean()), float(model.mean()), float(ceiling.mean()), error)
    if not math.isfinite(value):
        return Skill(value=value, low=math.nan, high=math.nan)
    rng = np.random.default_rng(seed)
    count = rng.multinomial(len(floor), np.full(len(floor), 1 / len(floor)), size=draws)
    drawn = (count @ (floor - model)) / np.maximum(count @ (floor - ceiling), 1e-300)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Skill(value=value, low=float(low), high=float(high))
