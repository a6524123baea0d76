"""Flags, modes, precision, and the statistics of stored predictions."""

from itertools import product

import numpy as np
import pytest

from leadline import stats
from leadline.errors import UserError
from leadline.stats.precision import difference_bounds

A = np.array([0.70, 0.73, 0.71, 0.76, 0.72, 0.74])
B = np.array([0.69, 0.70, 0.72, 0.71, 0.68, 0.73])
TWO_GROUPS = np.array([0.61, 0.60, 0.62, 0.605, 0.75, 0.745, 0.74, 0.755, 0.748, 0.752])


def rng():
    return np.random.default_rng(11)


def accuracy(y_true, y_pred):
    return float(np.mean(y_true == y_pred))


# --- flags -----------------------------------------------------------------------------------


def test_few_runs():
    assert stats.few_runs(A) is None
    flag = stats.few_runs(A[:4], "logreg")
    assert flag.sentence.startswith("logreg has 4 runs") and flag.numbers == {"n": 4}


def test_dependent_replicates_are_a_matter_of_training_data():
    values = A * 1e-4 + 0.81
    assert stats.dependent_replicates(values) is None
    assert stats.dependent_replicates(values, deterministic=True).severity == "severe"
    different = [f"subsample {k}" for k in range(6)]
    assert (
        stats.dependent_replicates(values, deterministic=True, training_fingerprints=different)
        is None
    )
    some = stats.dependent_replicates(
        values, deterministic=True, training_fingerprints=["x", "x", *different[:4]]
    )
    assert some.numbers["distinct"] == 5
    assert "copies" in stats.dependent_replicates([0.5, 0.5]).sentence


def test_two_modes_and_the_order_they_come_in():
    flag = stats.two_modes(TWO_GROUPS, rng(), name="this arm")
    assert flag.id == "two_modes" and flag.sentence.startswith("this arm has two modes: 4 runs")
    order = stats.order_effect(TWO_GROUPS)
    assert "exactly the first 4 of 10" in order.sentence and "of 210" in order.sentence
    assert "exactly the last 4" in stats.order_effect(TWO_GROUPS[::-1]).sentence
    shuffled = TWO_GROUPS[[0, 4, 1, 5, 6, 2, 7, 8, 3, 9]]
    assert stats.two_modes(shuffled, rng()).numbers["share"] == pytest.approx(flag.numbers["share"])
    assert stats.order_effect(shuffled) is None
    assert stats.two_modes(TWO_GROUPS[:5], rng()) is None
    assert stats.two_modes(np.full(8, 0.5), rng()) is None


def test_one_outlier_is_not_a_mode():
    assert stats.two_modes([0.3, 0.7, 0.71, 0.705, 0.702, 0.695, 0.7, 0.69], rng()) is None


def test_best_cut_equals_search_over_all_cuts():
    values = np.random.default_rng(5).normal(size=11)
    modes = stats.find_modes(values, rng(), draws=100)
    ordered, total = np.sort(values), np.var(values) * 11
    shares = {
        k: 1 - (np.var(ordered[:k]) * k + np.var(ordered[k:]) * (11 - k)) / total
        for k in range(3, 9)
    }
    assert modes.share == pytest.approx(max(shares.values()))
    assert len(modes.low) == max(shares, key=shares.get)


def test_batches_exactly_and_by_monte_carlo():
    two = stats.batch_test(TWO_GROUPS, ["x"] * 4 + ["y"] * 6, rng())
    assert two == pytest.approx(1 / 210)
    three = stats.batch_test(TWO_GROUPS, ["x"] * 4 + ["y"] * 3 + ["z"] * 3, rng())
    assert 0 < three < 0.02
    assert stats.batch_effect(TWO_GROUPS, ["x"] * 10, rng()) is None
    assert stats.batch_effect(A, ["x", "y"] * 3, rng()).severity == "note"


def test_collapsed_runs_with_and_without():
    flag = stats.collapsed_runs([0.2, 0.8, 0.2], [True, False, True])
    assert flag.numbers == pytest.approx(
        {"collapsed": 2, "rate": 2 / 3, "mean": 0.4, "mean_without": 0.8}
    )
    assert stats.collapsed_runs([0.2, 0.2], [True, True]).sentence.endswith("no run trained")
    assert stats.collapsed_runs(A, np.zeros(6)) is None
    with pytest.raises(UserError, match="every run"):
        stats.collapsed_runs(A, [True])
    marks = stats.collapsed_by_value([0.1581, 0.2, 0.023], [0.158, 0.023], 0.0005)
    assert marks.tolist() == [True, False, True]


def test_macro_f1_of_a_constant_prediction():
    # 30 of 100 cells in the predicted class: precision .3, recall 1; the four others score 0.
    f1 = 2 * 0.3 * 1 / (0.3 + 1) / 5
    assert stats.constant_macro_f1(0.3, 5) == pytest.approx(f1)
    assert stats.constant_level([0.3, 0.6], [f1, 0.5], 5, 1e-6) == 0.3
    assert stats.constant_level([0.3, 0.6], [f1 + 0.01, 0.5], 5, 1e-6) is None


def test_a_verdict_that_hinges_on_one_run():
    flag = stats.hinges_on_one_run(
        [0.53, 0.68, 0.68], [0.716, 0.72, 0.719], stats.student, names=("scbert", "logreg")
    )
    assert "run of scbert at position 1" in flag.sentence
    assert stats.hinges_on_one_run(A, B + 0.5, stats.student) is None
    paired = stats.hinges_on_one_run(A, B, stats.paired_t, paired=True)
    assert paired is None or "pair" in paired.sentence


def test_selection_and_fingerprints():
    assert stats.selected_on_reported("validation", "validation").severity == "warning"
    assert stats.selected_on_reported("validation", "test") is None
    assert stats.selected_on_reported(None, None) is None
    prints = [{"data": None, "split": split} for split in ("1a", "2b", None)]
    with pytest.raises(UserError, match="same split: got 1a for x and 2b for y"):
        stats.require_same_data(prints[0], prints[1], ("x", "y"))
    stats.require_same_data(prints[0], prints[2], ("x", "y"))


def test_comparison_gathers_flags_of_both_arms():
    collapsing = stats.ArmValues(
        values=TWO_GROUPS,
        name="ablated",
        ordered=True,
        batches=["x"] * 4 + ["y"] * 6,
        collapsed=[True] + [False] * 9,
    )
    constant = stats.ArmValues(values=A[:3], name="baseline", deterministic=True, widths=0.001)
    comparison = stats.compare(collapsing, constant, rng=rng(), margin=0.01)
    found = {flag.id for flag in comparison.flags}
    assert found >= {
        "two_modes",
        "order_effect",
        "batch_effect",
        "collapsed_runs",
        "few_runs",
        "dependent_replicates",
    }
    assert comparison.has("few_runs") and not comparison.has("unpaired_runs")
    assert all(flag.sentence and flag.severity for flag in comparison.flags)
    assert set(comparison.p_bounds) == {"student", "welch"}


def test_comparison_repeats_with_the_same_generator():
    first = stats.compare(A, B, rng=rng(), paired_on=(range(6), range(6)))
    assert first == stats.compare(A, B, rng=rng(), paired_on=(range(6), range(6)))
    assert set(first.p) == {
        *("student", "welch", "mann_whitney", "permutation"),
        *("paired_t", "wilcoxon", "paired_permutation"),
    }
    assert first.n_pairs == 6 and first.interval == first.intervals["welch"]


# --- precision -------------------------------------------------------------------------------


@pytest.mark.parametrize("test", ["student", "welch"])
@pytest.mark.parametrize("width", [0.0005, 0.005, 0.03])
def test_bounds_hold_everywhere_in_the_box(test, width):
    widths = np.array([width, 0, width / 2, width])
    a, b = A[:4], B[:3]
    bounds = stats.p_bounds(a, widths, b, width, test)
    difference = difference_bounds(a, widths, b, width)
    function = {"student": stats.student, "welch": stats.welch}[test]
    corners = list(product([-1, 1], repeat=7))
    inside = np.random.default_rng(0).uniform(-1, 1, size=(300, 7))
    for point in [*corners, *inside]:
        moved_a, moved_b = a + widths * point[:4], b + width * np.array(point[4:])
        assert bounds.contains(function(moved_a, moved_b).p)
        moved = moved_a.mean() - moved_b.mean()
        assert difference.low - 1e-12 <= moved <= difference.high + 1e-12


def test_full_precision_gives_points():
    for test in ("student", "welch"):
        bounds = stats.p_bounds(A, 0, B, 0, test)
        p = {"student": stats.student, "welch": stats.welch}[test](A, B).p
        assert (bounds.low, bounds.high) == pytest.approx((p, p), rel=1e-12)


def test_precision_that_leaves_the_verdict_open():
    comparison = stats.compare(stats.ArmValues(values=A, widths=0.02), B, rng=rng())
    assert comparison.has("precision_decides")
    assert comparison.p_bounds["welch"].low < 0.05 <= comparison.p_bounds["welch"].high
    assert not stats.compare(A, B, rng=rng()).p_bounds


# --- predictions -----------------------------------------------------------------------------


def labelled(cells=400, runs=6, right=0.8, seed=0):
    random = np.random.default_rng(seed)
    y_true = random.integers(0, 3, size=cells)
    hits = random.random((runs, cells)) < right
    return y_true, np.where(hits, y_true, (y_true + 1) % 3)


def test_predictions_are_checked():
    y_true, predictions = labelled()
    for wrong, rule in [
        (lambda: stats.mcnemar(y_true, predictions[0], predictions[0]), "only one model gets"),
        (lambda: stats.mcnemar(y_true, predictions[0], predictions[1][:-1]), "must match cells"),
        (lambda: stats.mcnemar([], [], []), "one label per cell"),
        (
            lambda: stats.mcnemar(y_true * np.nan, predictions[0], predictions[1]),
            "must not be missing",
        ),
    ]:
        with pytest.raises(UserError, match=rule):
            wrong()
