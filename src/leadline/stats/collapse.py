"""Collapsed runs: those that predict one class for every cell.

Their accuracy is the share of that class, their macro-F1 is fixed by it. A mean over an arm that
holds such runs measures how often training failed, so every report shows both means.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from leadline.stats.inputs import Array, half_widths, scores


def collapsed_by_value(
    accuracies: npt.ArrayLike,
    constant_accuracies: Sequence[float],
    widths: npt.ArrayLike = 0.0,
    tolerance: float = 1e-9,
) -> Array:
    """Mark runs whose accuracy is that of predicting one class, to within their precision.

    `constant_accuracies` are the shares of the classes in the reported cells.
    """
    runs = scores(accuracies, minimum=1)
    reach = half_widths(widths, runs.size) + tolerance
    levels = scores(constant_accuracies, name="constant accuracies", minimum=1)
    return np.asarray((np.abs(runs[:, None] - levels[None, :]) <= reach[:, None]).any(axis=1))


def constant_macro_f1(accuracy: float, classes: int) -> float:
    """Macro-F1, over `classes` classes, of predicting always the one with this accuracy."""
    return 2 * accuracy / (1 + accuracy) / classes


def constant_level(
    accuracies: npt.ArrayLike, macro_f1s: npt.ArrayLike, classes: int, width: float
) -> float | None:
    """Find the accuracy of a constant prediction at the bottom of an arm, if there is one.

    The lowest accuracy and the lowest macro-F1 must fit each other as only a constant prediction
    of one of `classes` classes makes them. Needs no class shares: for published runs.
    """
    lowest = float(scores(accuracies, name="accuracies").min())
    lowest_f1 = float(scores(macro_f1s, name="macro-F1").min())
    expected = constant_macro_f1(lowest, classes)
    slack = width * (1 + 2 / (1 + lowest) ** 2 / classes)
    return lowest if abs(lowest_f1 - expected) <= slack else None
