"""Floors, ceilings, skill and tests of knock-out predictions, where the truth is known."""

import numpy as np
import pytest
import scipy.stats
from scipy import sparse

from leadline.errors import UserError
from leadline.models.gene_regression import cross_predict
from leadline.stats.perturbation_floors import (
    bootstrap_distances,
    linear_model,
    nadeau_bengio,
    own_gene_effect,
    paired_bootstrap,
    pca_of_control,
    random_vectors,
    shuffled_vectors,
    skill,
    split_halves,
    training_means,
)
from leadline.stats.perturbation_metrics import calibrate, claim_is_shown, de_recall, mean_score


def rng(seed=0):
    return np.random.default_rng(seed)


def folds(count, number=5):
    return np.arange(count) % number


def test_the_own_gene_drops_by_what_it_dropped_in_training():
    y = rng().normal(0, 0.1, (20, 30))
    target = np.arange(20)
    target[3] = -1
    y[np.arange(20), np.maximum(target, 0)] -= 2
    fold = folds(20)
    found, mean = own_gene_effect(y, fold, target), training_means(y, fold)
    assert np.array_equal(found[3], mean[3])
    others = (fold != fold[0]) & (target >= 0)
    assert found[0, 0] == pytest.approx(y[others, target[others]].mean())
    assert np.array_equal(np.delete(found[0], 0), np.delete(mean[0], 0))


def test_a_linear_law_is_found_and_an_unmeasured_gene_gets_the_mean():
    random = rng(1)
    # The response is bilinear in factors of the genes, the perturbed gene's own among them.
    # The model's PCA is centred over the genes: so are these factors.
    factors, core = random.normal(size=(80, 3)), random.normal(size=(3, 3))
    factors -= factors.mean(axis=0)
    target = np.arange(60)
    y = (factors @ core @ factors[target].T).T
    found = linear_model(y, folds(60), target, components=3, ridge=1e-6)
    floor = training_means(y, folds(60))
    error, of_floor = (np.linalg.norm(y - each, axis=1).mean() for each in (found, floor))
    assert error < 0.2 * of_floor
    target[7] = -1
    assert np.array_equal(linear_model(y, folds(60), target)[7], floor[7])


def test_vectors_of_control_are_loadings_dense_or_sparse_wide_or_tall():
    cells = rng(2).poisson(1.0, (50, 20)).astype(float)
    found = pca_of_control(cells, 5)
    left, size, right = np.linalg.svd(cells - cells.mean(axis=0), full_matrices=False)
    expected = right[:5].T * size[:5] / 7
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-8)
    np.testing.assert_allclose(pca_of_control(sparse.csr_array(cells), 5), found, atol=1e-8)
    tall = pca_of_control(cells[:10], 5)
    assert tall.shape == (20, 5)
    _, size, right = np.linalg.svd(cells[:10] - cells[:10].mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(tall), np.abs(right[:5].T * size[:5] / 3), atol=1e-8)
    with pytest.raises(UserError, match="takes at least two: got 1 cells"):
        pca_of_control(cells[:1])


def test_shuffled_vectors_keep_the_rows_and_leave_the_missing_ones():
    vectors = random_vectors(12, 4, seed=1)
    vectors[5] = np.nan
    found = shuffled_vectors(vectors, seed=2)
    assert np.isnan(found[5]).all() and not np.array_equal(found[0:5], vectors[0:5])
    kept = [row for row in range(12) if row != 5]
    assert sorted(map(tuple, found[kept])) == sorted(map(tuple, vectors[kept]))


def test_lasso_on_noise_is_the_mean_of_the_training_responses_bitwise():
    y = rng(3).normal(size=(40, 15))
    found = cross_predict(
        random_vectors(40, 6, seed=4), y, folds(40), head="lasso", grid=[10.0], components=5
    )
    assert np.array_equal(found.predictions_PG, training_means(y, folds(40)))


def screen(cells=400, genes=30, sd=1.0, seed=5):
    random = rng(seed)
    names = np.repeat(["A", "B", "control"], cells)
    return random.normal(0, sd, (3 * cells, genes)), names, np.tile([0, 1], 3 * cells // 2)


def test_halves_and_the_bootstrap_tell_the_noise_of_a_mean():
    x, names, batch = screen()
    noise = np.sqrt(30 / 400)  # of a mean of 400 cells over 30 genes of variance 1
    halves = split_halves(x, names, batch, perturbations=["A", "B"], seed=1)
    assert halves.l2 == pytest.approx(noise, rel=0.1)
    low, high = halves.interval
    assert low <= halves.l2 <= high
    distances = bootstrap_distances(x, names, batch, perturbations=["A", "B"], seed=1, draws=200)
    assert np.sqrt((distances**2).mean()) == pytest.approx(noise, rel=0.1)
    # The control drawn again adds its own noise, as the published limit does.
    more = bootstrap_distances(
        x, names, batch, perturbations=["A", "B"], seed=1, draws=200, control="control"
    )
    assert np.sqrt((more**2).mean()) == pytest.approx(noise * np.sqrt(2), rel=0.1)
    whole = split_halves(sparse.csr_array(x), names, batch, perturbations=["A", "B"], seed=1)
    np.testing.assert_allclose(whole.l2_SP, halves.l2_SP, rtol=1e-10)


def test_within_one_batch_the_bootstrap_has_the_variance_of_the_cells():
    x, names, _ = screen(cells=25, genes=4)
    found = bootstrap_distances(x, names, perturbations=["A"], seed=3, draws=6000)
    assert (found**2).mean() == pytest.approx(x[:25].var(axis=0).sum() / 25, rel=0.06)


def test_skill_runs_from_floor_to_ceiling_and_has_no_empty_scale():
    assert skill(5.0, 5.0, 3.0) == 0 and skill(5.0, 3.0, 3.0) == 1 and skill(5.0, 6.0, 3.0) == -0.5
    assert np.isnan(skill(3.0, 3.0, 3.0)) and np.isnan(skill(3.1, 3.0, 3.0, standard_error=0.06))


def test_folds_are_not_independent():
    values = rng(6).normal(0.3, 1, 5)
    found = nadeau_bengio(values)
    error = values.std(ddof=1) * np.sqrt(1 / 5 + 1 / 4)
    assert found.p == pytest.approx(2 * scipy.stats.t.sf(abs(values.mean()) / error, 4))
    assert found.high - found.low == pytest.approx(2 * scipy.stats.t.ppf(0.975, 4) * error)
    assert nadeau_bengio([0.0, 0.0]).p == 1
    with pytest.raises(UserError, match="A test over folds takes two: got 1"):
        nadeau_bengio([1.0])


@pytest.mark.slow
def test_two_sets_of_random_vectors_are_told_apart_no_more_often_than_by_chance():
    wrong = {"bootstrap": 0, "folds": 0, "better than the mean": 0}
    for seed in range(200):
        random = rng(seed)
        y = random.normal(size=(105, 6)) @ random.normal(size=(6, 60)) / 2
        y += random.normal(size=y.shape)
        fold = random.permutation(105) % 5
        a, b = (
            np.linalg.norm(
                y
                - cross_predict(
                    random.normal(size=(105, 16)), y, fold, grid=[5, 10, 15, 20]
                ).predictions_PG,
                axis=1,
            )
            for _ in range(2)
        )
        floor = np.linalg.norm(y - training_means(y, fold), axis=1)
        over = paired_bootstrap(a - floor, seed=0, draws=2000)
        wrong["bootstrap"] += paired_bootstrap(a - b, seed=0, draws=2000).p < 0.05
        wrong["folds"] += nadeau_bengio([(a - b)[fold == f].mean() for f in range(5)]).p < 0.05
        wrong["better than the mean"] += over.p < 0.05 and over.estimate < 0
    # 5 % are allowed; of 200 draws up to 20 (10 %) happen by chance in one of 400 cases.
    assert wrong["bootstrap"] <= 20 and wrong["folds"] <= 20
    assert wrong["better than the mean"] == 0


def test_the_bootstrap_over_perturbations():
    assert paired_bootstrap(np.zeros(30), seed=1).p == 1
    values = rng(7).normal(0.2, 1, 200)
    found = paired_bootstrap(values, seed=1)
    assert found.low < values.mean() < found.high
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(200), rel=0.05)
    assert paired_bootstrap(-values, seed=1).p == pytest.approx(found.p, abs=0.01)
    with pytest.raises(UserError, match="takes finite differences: got 1 undefined of 2"):
        paired_bootstrap([np.nan, 1.0], seed=1)


def test_changed_genes_are_recalled():
    predicted = np.array([[3.0, -2.0, 1.0, 0.5], [1.0, 1.0, 1.0, 1.0]])
    adjusted = np.array([[0.01, 0.2, 0.01, 0.9], [0.01, 0.2, 0.2, 0.9]])
    recall = de_recall(predicted, adjusted)
    assert recall[0] == 0.5 and np.isnan(recall[1])


def test_a_metric_votes_where_a_duplicate_beats_the_mean():
    random = rng(8)
    truth = random.normal(0, 1, (20, 40))
    half, duplicate = (truth + random.normal(0, 0.3, truth.shape) for _ in range(2))
    mean = training_means(truth, folds(20))
    assert calibrate(half, duplicate, mean)["l2"].has_vote
    noise = random.normal(0, 5, truth.shape)
    assert not calibrate(half, noise, mean)["l2"].has_vote
    headline = {"l2": True, "wmse": True, "pearson_mean": True, "discrimination_l1": False}
    assert claim_is_shown(headline) and not claim_is_shown({**headline, "l2": False})
    assert not claim_is_shown(headline, voting=("l2", "wmse"))
    # An undefined correlation is no skill, not a missing value.
    assert mean_score("pearson", np.array([np.nan, 1.0])) == 0.5
