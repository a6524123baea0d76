"""Responses, heads and scores of knock-outs against the golden numbers of perturbation.npz."""

from pathlib import Path

import numpy as np
import pytest

from leadline.data.perturbations import adjust_rows, normalise_log1p, response_weights, responses
from leadline.data.perturbations import welch as welch_table
from leadline.models.gene_regression import cross_predict
from leadline.stats.perturbation_floors import additive, shuffled_vectors, training_means
from leadline.stats.perturbation_metrics import score

GOLDEN = np.load(Path(__file__).parent / "golden" / "perturbation.npz")
# Inputs were float32 and went to float64 before anything was computed.
RESPONSES = GOLDEN["Y"].astype(np.float64)
WEIGHTS = GOLDEN["weights"].astype(np.float64)
HEADS = {
    "vectors_knn": ("vectors", "knn", "k_grid"),
    "vectors_lasso": ("vectors", "lasso", "alpha_grid"),
    "random_knn": ("random_vectors", "knn", "k_grid"),
    "random_lasso": ("random_vectors", "lasso", "alpha_grid"),
}
PREDICTIONS = [name.removeprefix("pred::") for name in GOLDEN.files if name.startswith("pred::")]


def cells():
    counts = GOLDEN["cells::counts"].astype(np.float64)
    names = [str(name) for name in GOLDEN["cells::perturbations"]]
    return normalise_log1p(counts), GOLDEN["cells::perturbation"], GOLDEN["cells::batch"], names


@pytest.mark.parametrize("convention", ["matched", "unmatched", "pooled"])
def test_responses_of_cells(convention):
    expression, label, batch, names = cells()
    found = responses(expression, label, batch, convention=convention, perturbations=names)
    np.testing.assert_allclose(found.delta_PG, GOLDEN[f"cells::delta_{convention}"], atol=1e-8)


def test_welch_tests_and_weights():
    expression, label, _, names = cells()
    found = welch_table(expression, label, against="control", perturbations=names)
    np.testing.assert_allclose(found.t_PG, GOLDEN["cells::welch_t"], atol=1e-8)
    np.testing.assert_allclose(found.p_PG, GOLDEN["cells::welch_p"], atol=1e-8)
    np.testing.assert_allclose(found.adjusted_PG, GOLDEN["cells::welch_p_bh"], atol=1e-8)
    np.testing.assert_allclose(adjust_rows(found.p_PG), found.adjusted_PG, atol=1e-12)
    np.testing.assert_allclose(response_weights(found.t_PG), GOLDEN["cells::weights"], atol=1e-8)


@pytest.mark.parametrize("name", HEADS)
def test_heads_predict_held_out_folds(name):
    vectors, head, grid = HEADS[name]
    found = cross_predict(
        GOLDEN[vectors].astype(np.float64), RESPONSES, GOLDEN["fold"], head=head,
        grid=list(GOLDEN[grid]),
        components=int(GOLDEN["n_pca"]),
    )  # fmt: skip
    np.testing.assert_allclose(found.chosen_F, GOLDEN[f"chosen::{name}"])
    np.testing.assert_allclose(found.predictions_PG, GOLDEN[f"pred::{name}"], atol=1e-6)


@pytest.mark.parametrize("name", PREDICTIONS)
def test_every_metric_of_every_prediction(name):
    means = training_means(RESPONSES, GOLDEN["fold"])
    np.testing.assert_allclose(means, GOLDEN["train_mean_per_fold"], atol=1e-8)
    predicted = GOLDEN[f"pred::{name}"].astype(np.float64)
    found = score(RESPONSES, predicted, means, weights=WEIGHTS, top=10)
    prefix = f"metric::{name}::"
    wanted = {
        key.removeprefix(prefix): GOLDEN[key] for key in GOLDEN.files if key.startswith(prefix)
    }
    assert set(wanted) <= set(found)
    for metric, value_P in wanted.items():
        np.testing.assert_allclose(found[metric], value_P, atol=1e-8, err_msg=metric)


def test_shuffled_vectors_lose_to_the_train_mean():
    vectors = GOLDEN["vectors"].astype(np.float64)
    vectors[~GOLDEN["has_vector"]] = np.nan
    floor = np.linalg.norm(RESPONSES - training_means(RESPONSES, GOLDEN["fold"]), axis=1).mean()
    lost = 0
    for seed in range(10):
        mixed = shuffled_vectors(vectors, seed=seed)
        found = cross_predict(mixed, RESPONSES, GOLDEN["fold"], grid=[5, 10, 15, 20], components=10)
        lost += np.linalg.norm(RESPONSES - found.predictions_PG, axis=1).mean() >= floor
    assert lost >= 8


def test_doubles_add_up():
    pairs = GOLDEN["additive::pairs"]
    np.testing.assert_allclose(
        additive(RESPONSES, pairs), GOLDEN["additive::prediction"], atol=1e-8
    )
