"""What a reader must know before believing a comparison. Each check gives a Flag or None.

A flag is a sentence with its numbers; `report` prints it, `claims` cites it by id.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from leadline.errors import UserError
from leadline.stats.hinges import may_hinge
from leadline.stats.inputs import Array, Floats, half_widths, is_constant, scores
from leadline.stats.modes import LEAST_RUNS_FOR_MODES, batch_test, find_modes, order_test
from leadline.stats.precision import Bounds
from leadline.stats.t_tests import TestResult

Severity = Literal["note", "warning", "severe"]
FEWEST_RUNS = 5


@dataclass(frozen=True, slots=True)
class Flag:
    """A caveat: its id, how grave it is, one sentence, and the numbers in it."""

    id: str
    severity: Severity
    sentence: str
    numbers: Mapping[str, float] = field(default_factory=dict)


def few_runs(values: npt.ArrayLike, name: str = "the arm") -> Flag | None:
    """Flag an arm of fewer than five runs."""
    n = scores(values, minimum=1).size
    if n >= FEWEST_RUNS:
        return None
    sentence = f"{name} has {n} runs: fewer than {FEWEST_RUNS}, its spread is hardly known"
    return Flag("few_runs", "warning", sentence, {"n": n})


def dependent_replicates(
    values: npt.ArrayLike,
    *,
    deterministic: bool = False,
    training_fingerprints: Sequence[Hashable] | None = None,
    name: str = "the arm",
) -> Flag | None:
    """Flag replicates that are not independent draws.

    A deterministic model trained twice on the same cells is one run: what spread is left is
    solver noise. Unknown fingerprints count as the same. Runs that agree exactly are flagged
    whatever the caller says.
    """
    runs = scores(values)
    n, sd = runs.size, float(runs.std(ddof=1))
    distinct = 1 if training_fingerprints is None else len(set(training_fingerprints))
    if deterministic and distinct < n:
        sentence = (
            f"the {n} runs of {name} are not independent: a deterministic model on {distinct} "
            f"distinct training set(s); their standard deviation {sd:.2g} is solver noise, "
            "not sampling variance"
        )
        numbers = {"n": float(n), "distinct": float(distinct), "sd": sd}
        return Flag("dependent_replicates", "severe", sentence, numbers)
    if is_constant(runs):
        sentence = f"the {n} runs of {name} all give {runs[0]:.6g}: copies, or a model without luck"
        numbers = {"n": float(n), "value": float(runs[0])}
        return Flag("dependent_replicates", "severe", sentence, numbers)
    return None


def two_modes(
    values: npt.ArrayLike, rng: np.random.Generator, *, alpha: float = 0.05, name: str = "the arm"
) -> Flag | None:
    """Flag an arm whose runs fall into two groups (`find_modes`); silent below six runs."""
    runs = scores(values)
    if runs.size < LEAST_RUNS_FOR_MODES or is_constant(runs):
        return None
    modes = find_modes(runs, rng)
    if modes.p >= alpha:
        return None
    n_low = len(modes.low)
    sentence = (
        f"{name} has two modes: {n_low} runs around {modes.mean_low:.4f} and "
        f"{runs.size - n_low} around {modes.mean_high:.4f}, a gap of {modes.gap:.4f} "
        f"(best cut, p = {modes.p:.2g}); its mean describes neither"
    )
    numbers = {
        "n_low": float(n_low),
        "n_high": float(runs.size - n_low),
        "mean_low": modes.mean_low,
        "mean_high": modes.mean_high,
        "gap": modes.gap,
        "share": modes.share,
        "p": modes.p,
    }
    return Flag("two_modes", "severe", sentence, numbers)


def order_effect(
    values: npt.ArrayLike, *, alpha: float = 0.01, name: str = "the arm"
) -> Flag | None:
    """Flag replicates whose low and high scores come in blocks of the order they are given in.

    The level is .01 because every arm and metric is searched: two high runs that happen to be the
    first two of ten reach .044 already; four low ones that are the first four give .0095.
    """
    runs = scores(values)
    if runs.size < LEAST_RUNS_FOR_MODES or is_constant(runs):
        return None
    order = order_test(runs)
    if order.p >= alpha:
        return None
    where = "in blocks"
    if order.low_first or order.low_last:
        where = f"exactly the {'first' if order.low_first else 'last'} {order.n_low}"
    sentence = (
        f"the {order.n_low} low runs of {name} are {where} of {runs.size} in order: one "
        f"arrangement of {round(1 / order.arrangement)} if the runs were exchangeable "
        f"(exact runs test, p = {order.p:.2g}); suspect a batch effect"
    )
    numbers = {
        "n_low": float(order.n_low),
        "runs": float(order.runs),
        "p": order.p,
        "arrangement": order.arrangement,
    }
    return Flag("order_effect", "severe", sentence, numbers)


def batch_effect(
    values: npt.ArrayLike,
    batches: Sequence[Hashable],
    rng: np.random.Generator,
    *,
    alpha: float = 0.05,
    name: str = "the arm",
) -> Flag | None:
    """Flag an arm whose runs come from several scripts, hosts or days; a warning if they differ."""
    runs = scores(values)
    labels = list(dict.fromkeys(batches))
    if len(labels) < 2 or is_constant(runs):
        return None
    p = batch_test(runs, batches, rng)
    members = {label: np.array([batch == label for batch in batches]) for label in labels}
    groups = {label: runs[member] for label, member in members.items()}
    shown = ", ".join(f"{g.size} from {label} (mean {g.mean():.4f})" for label, g in groups.items())
    sentence = f"the runs of {name} mix {len(labels)} batches: {shown}; permutation p = {p:.2g}"
    numbers = {f"mean {label}": float(group.mean()) for label, group in groups.items()}
    severity: Severity = "warning" if p < alpha else "note"
    return Flag("batch_effect", severity, sentence, {"p": p, **numbers})


def collapsed_runs(
    values: npt.ArrayLike, collapsed: Sequence[bool] | Array, name: str = "the arm"
) -> Flag | None:
    """Flag runs that predict one class, with their rate and the means with and without them."""
    runs, mask = scores(values, minimum=1), np.asarray(collapsed, dtype=bool)
    if mask.shape != runs.shape:
        raise UserError(
            "collapse must be said of every run",
            got=f"{mask.size} marks for {runs.size} runs",
            remedy="mark them with collapsed_by_value",
        )
    count = int(mask.sum())
    if count == 0:
        return None
    trained = runs[~mask]
    without = f"{trained.mean():.4f} without them" if trained.size else "no run trained"
    sentence = (
        f"{count} of {runs.size} runs of {name} collapsed to one class: "
        f"mean {runs.mean():.4f} with them, {without}"
    )
    numbers = {"collapsed": float(count), "rate": count / runs.size, "mean": float(runs.mean())}
    if trained.size:
        numbers["mean_without"] = float(trained.mean())
    return Flag("collapsed_runs", "severe", sentence, numbers)


def hinges_on_one_run(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    test: Callable[[Floats, Floats], TestResult],
    *,
    alpha: float = 0.05,
    paired: bool = False,
    names: tuple[str, str] = ("arm a", "arm b"),
) -> Flag | None:
    """Flag a verdict that changes when one run (or pair) is left out; names the run moving p most.

    Runs are left out of arms of three or more; a test that cannot be done without a run is no
    change of verdict.
    """
    runs_a, runs_b = scores(a, name="arm a"), scores(b, name="arm b")
    whole = test(runs_a, runs_b)
    if not may_hinge(runs_a, runs_b, whole, alpha):
        return None
    turned: list[tuple[float, int, int]] = []
    for arm, position, rest_a, rest_b in _leave_one_out(runs_a, runs_b, paired):
        try:
            p = test(rest_a, rest_b).p
        except UserError:
            continue
        if (p < alpha) != (whole.p < alpha):
            turned.append((p, arm, position))
    if not turned:
        return None
    p, arm, position = (max if whole.p < alpha else min)(turned)
    value = (runs_a, runs_b)[arm][position]
    what = "pair" if paired else f"run of {names[arm]}"
    sentence = (
        f"the verdict of {whole.test} hinges on one run: p = {whole.p:.3g} becomes {p:.3g} "
        f"without the {what} at position {position + 1} ({value:.4g}); "
        f"{len(turned)} such run(s)"
    )
    numbers = {"p": whole.p, "p_without": p, "value": float(value), "count": float(len(turned))}
    return Flag("hinges_on_one_run", "warning", sentence, numbers)


def _leave_one_out(a: Floats, b: Floats, paired: bool) -> list[tuple[int, int, Floats, Floats]]:
    if paired:
        left = range(a.size) if a.size > 2 else range(0)
        return [(0, i, np.delete(a, i), np.delete(b, i)) for i in left]
    from_a = [(0, i, np.delete(a, i), b) for i in range(a.size) if a.size > 2]
    return from_a + [(1, i, a, np.delete(b, i)) for i in range(b.size) if b.size > 2]


def selected_on_reported(
    selection_set: str | None, reported_set: str | None, name: str = "the arm"
) -> Flag | None:
    """Flag an arm whose checkpoint was chosen on the cells that its score is reported on."""
    if selection_set is None or selection_set != reported_set:
        return None
    sentence = f"{name} was selected on the set it is reported on ({reported_set}): optimistic"
    return Flag("selected_on_reported", "warning", sentence)


def precision_decides(test: str, bounds: Bounds, alpha: float = 0.05) -> Flag | None:
    """Flag a verdict that the precision of the published numbers leaves open."""
    if bounds.low >= alpha or bounds.high < alpha:
        return None
    sentence = (
        f"the scores are not known well enough to decide {test} at {alpha}: within their "
        f"precision p may be anything from {bounds.low:.2g} to {bounds.high:.2g}"
    )
    return Flag(
        "precision_decides", "warning", sentence, {"p_low": bounds.low, "p_high": bounds.high}
    )


def require_same_data(
    a: Mapping[str, str | None], b: Mapping[str, str | None], names: tuple[str, str]
) -> None:
    """Refuse to compare arms whose data or split fingerprints differ; None is unknown, and passes.

    The mappings go from what is fingerprinted ("data", "split") to the fingerprint.
    """
    for what in sorted(set(a) & set(b)):
        if a[what] is not None and b[what] is not None and a[what] != b[what]:
            raise UserError(
                f"compared arms must share the same {what}",
                got=f"{a[what]} for {names[0]} and {b[what]} for {names[1]}",
                remedy="compare runs of one dataset and one split; rerun the arm that differs",
            )


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
