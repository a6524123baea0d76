"""Two arms over fresh runs and cells: every metric of predictions, from records on disk."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from leadline.report.compare.arms import sides_of
from leadline.report.compare.fresh_cells import compare_sides
from leadline.report.compare.study import comparisons
from leadline.report.study import gather
from leadline.runs import record
from leadline.stats import Summary, metrics
from leadline.stats.crossed import compare_arms
from leadline.stats.difference import p_above_lower, p_below_upper, p_difference
from leadline.stats.influence import block_influences, influences, nothing_like
from leadline.stats.published_bounds import accuracy_variance, bounds
from records import CLASSES, write_manifest, write_run

CELLS = 120
HARD = [1, 3]
TESTED = ("accuracy", "macro_f1", "log_loss", "acc_hard", "f1_hard", "f1_hard_cells")


def study_with(folder, asked, *, cells="fresh", hard=CLASSES[1:4:2], step=0.03):
    """Write two arms of three runs, and read them as a study of these metrics."""
    made = [
        (
            write_run(
                folder, arm=arm, seed=seed, accuracy=accuracy + step * seed, cells=CELLS,
                settings={"data.hard_classes": list(hard)}, hard=HARD,
            ),
            arm,
        )
        for arm, accuracy in (("reference", 0.6), ("other", 0.8))
        for seed in (1, 2, 3)
    ]  # fmt: skip
    compare = {
        "family": "f", "tests": ["crossed", "welch"], "metrics": list(asked), "cells": cells,
        "equivalence_margin": 0.01,
    }  # fmt: skip
    write_manifest(folder, "f", {"reference": None, "other": "reference"}, made, compare=compare)
    (study,) = gather(folder, ["f"], 0.01)
    return study


def by_leaving_out_each_cell(folder, arm, metric, study):
    """Compute the influences of an arm the slow way: score again without each cell."""
    runs = [
        record.read_predictions(folder / facts["run_id"])[0]["test"]
        for facts in study.records
        if facts["arm"] == arm
    ]
    kept = np.arange(CELLS)
    if metric in ("acc_hard", "f1_hard_cells"):
        kept = np.flatnonzero(np.isin(runs[0].truth_C, HARD))
    truth_N = runs[0].truth_C[kept]

    def score(cells, which):
        # Positions of cells stand for the calls of one run on them.
        run = runs[which[0] // CELLS]
        rows = kept[which % CELLS]
        found = metrics.score(
            cells, run.predicted_C[rows], run.proba_CK[rows], labels="truth", hard=np.array(HARD)
        )
        return found[metric]

    places_RN = np.arange(len(kept)) + CELLS * np.arange(len(runs))[:, None]
    return block_influences(truth_N, places_RN, score, range(len(kept)))


@pytest.mark.parametrize("metric", TESTED)
def test_every_metric_of_predictions_is_judged_as_leaving_out_each_cell_says(metric, tmp_path):
    study = study_with(tmp_path, [metric])
    other, reference = (
        next(side for side in sides_of(study, metric) if side.arm == arm)
        for arm in ("other", "reference")
    )
    found = compare_sides(other, reference, tmp_path, 0.01)
    slow = compare_arms(
        by_leaving_out_each_cell(tmp_path, "other", metric, study),
        by_leaving_out_each_cell(tmp_path, "reference", metric, study),
    )
    assert found.parts.estimate == pytest.approx(other.mean - reference.mean, abs=1e-9)
    assert (found.low, found.high) == pytest.approx((slow.low, slow.high), rel=1e-6)
    assert found.p == pytest.approx(slow.p, rel=1e-5)
    (told,) = comparisons(study)
    assert told.test == "crossed" and told.verdict == "better"


def test_metrics_are_families_of_their_own_with_verdicts_of_their_own(tmp_path):
    found = comparisons(study_with(tmp_path, ["accuracy", "macro_f1", "log_loss"]))
    assert [each.family_size for each in found] == [1, 1, 1]
    assert [each.corrected for each in found] == [each.p for each in found]


def test_calibration_error_is_shown_and_not_tested(tmp_path):
    (found,) = comparisons(study_with(tmp_path, ["calibration_error"]))
    assert found.verdict == "untested" and found.why == "calibration error is shown, not tested"
    assert found.interval is None and "welch" in found.others


def test_hard_classes_that_no_setting_names_cannot_be_told(tmp_path):
    (found,) = comparisons(study_with(tmp_path, ["acc_hard"], hard=()))
    assert found.verdict == "untested"
    assert found.why == (
        "it cannot be told for fresh cells: "
        "a metric of hard classes needs to be told which they are"
    )


def test_a_question_about_these_very_cells_is_decided_by_runs(tmp_path):
    (found,) = comparisons(study_with(tmp_path, ["calibration_error"], cells="fixed"))
    assert found.test == "welch" and found.speaks_for == "fresh runs on these very cells"
    assert found.verdict in ("better", "worse", "open", "equivalent")


def test_equal_scores_are_not_taken_for_a_model_without_luck(tmp_path):
    """Three runs of one score that call cells differently have luck, and their variance is used."""
    study = study_with(tmp_path, ["accuracy"], step=0)
    (found,) = comparisons(study)
    assert np.ptp(found.a.values) == 0 and not found.a.fixed
    assert found.parts.rows_a == 3 and found.parts.v_interaction_a > 0


def scored(values):
    return Summary(float(np.mean(values)), float(np.std(values, ddof=1)), len(values))


@settings(max_examples=60, deadline=None)
@given(
    st.floats(-0.05, 0.05),
    st.floats(0.001, 0.03),
    st.integers(200, 20_000),
    st.floats(0, 1),
    st.floats(0.002, 0.05),
)
def test_every_variance_of_cells_gives_a_p_between_both_ends(lead, sd, cells, share, margin):
    rng = np.random.default_rng(1)
    a, b = (scored(mean + sd * rng.normal(size=5)) for mean in (0.8 + lead, 0.8))
    most = accuracy_variance(a.mean, cells) + accuracy_variance(b.mean, cells)
    found = bounds(a, b, most, cells)
    inside = replace(found.least, v_cells=share * most)
    assert found.p_least <= p_difference(inside) + 1e-9
    assert p_difference(inside) <= found.p_most + 1e-9
    least, top = found.p_equivalent(margin)
    if abs(found.estimate) < margin:
        same = max(p_above_lower(inside, margin), p_below_upper(inside, margin))
        assert least - 1e-9 <= same <= top + 1e-9
    assert 0 <= least <= top <= 1


def test_one_arm_alone_has_the_interval_of_a_mean_over_cells():
    rng = np.random.default_rng(2)
    right_N = rng.random(400) < 0.8
    arm = influences(np.zeros(400, int), (~right_N).astype(int)[None])
    found = compare_arms(arm, nothing_like(arm), luck_a=False, luck_b=False)
    error = right_N.std(ddof=1) / np.sqrt(400)
    assert found.parts.estimate == pytest.approx(right_N.mean())
    reach = scipy.stats.t.ppf(0.975, found.parts.df_cells) * error
    assert (found.high - found.low) / 2 == pytest.approx(reach, rel=1e-6)
