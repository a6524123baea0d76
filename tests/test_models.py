"""The baseline and the controls do what their names say."""

import dataclasses

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression as Liblinear
from sklearn.model_selection import StratifiedKFold, cross_validate
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import NearestCentroid

from leadline import config, models
from leadline.cells import Scale
from leadline.errors import UserError
from small import small_cells

EVERY = (
    config.LogregConfig(name="logreg", grid=[0.1, 1.0]),
    config.MajorityConfig(name="majority"),
    config.StratifiedConfig(name="stratified"),
    config.NearestCentroidConfig(name="nearest_centroid"),
    config.KnnPcaConfig(name="knn_pca"),
)


def halves(**changes):
    cells = small_cells(**changes)
    return cells.take(np.arange(0, len(cells), 2)), cells.take(np.arange(1, len(cells), 2))


def accuracy(model, cells):
    return float((model.predict_proba(cells).argmax(axis=1) == cells.labels_C).mean())


@pytest.mark.parametrize("chosen", EVERY, ids=lambda chosen: chosen.name)
def test_every_model_keeps_the_contract(chosen):
    train, test = halves(sizes=(40, 40, 40))
    before = train.fingerprint(), test.fingerprint()
    probas = []
    for _ in range(2):
        model = models.build(chosen, seed=3)
        fit = model.fit(train, None)
        probas.append(model.predict_proba(test))
    assert probas[0].shape == (60, 3) and probas[0].dtype == np.float64
    np.testing.assert_allclose(probas[0].sum(axis=1), 1, atol=1e-9)
    np.testing.assert_array_equal(probas[0], probas[1])
    assert fit.facts["parameters_total"] >= fit.facts["parameters_trainable"] > 0
    assert (train.fingerprint(), test.fingerprint()) == before
    assert chosen.name in models.BASELINES


@pytest.mark.parametrize("chosen", EVERY, ids=lambda chosen: chosen.name)
def test_every_model_copes_with_a_class_that_has_no_training_cells(chosen):
    train, test = halves(sizes=(40, 40, 40))
    train = train.take(np.flatnonzero(train.labels_C != 1))
    model = models.build(chosen, seed=3)
    model.fit(train, None)
    proba = model.predict_proba(test)
    assert proba.shape == (60, 3) and (proba[:, 1] == 0).all()


@pytest.mark.parametrize("chosen", [EVERY[0], *EVERY[3:]], ids=lambda chosen: chosen.name)
def test_models_on_expression_learn(chosen):
    train, test = halves(sizes=(40, 40, 40))
    model = models.build(chosen, seed=3)
    model.fit(train, None)
    assert accuracy(model, test) > 0.75


def test_majority_predicts_the_frequencies():
    train, test = halves(sizes=(40, 20, 20))
    model = models.build(config.MajorityConfig(name="majority"), seed=1)
    model.fit(train, None)
    share = np.bincount(train.labels_C) / len(train)
    np.testing.assert_allclose(model.predict_proba(test), np.tile(share, (len(test), 1)))


def test_stratified_draws_by_frequency_and_each_part_on_its_own():
    train, _ = halves(sizes=(4000, 1000))
    model = models.build(config.StratifiedConfig(name="stratified"), seed=1)
    model.fit(train, None)
    drawn = model.predict_proba(train)
    assert set(np.unique(drawn)) == {0.0, 1.0}
    assert drawn.mean(axis=0)[0] == pytest.approx(0.8, abs=0.03)
    np.testing.assert_array_equal(drawn, model.predict_proba(train))


def test_nearest_centroid_agrees_with_scikit_learn():
    train, test = halves(sizes=(40, 40, 40), signal=1.5)
    model = models.build(config.NearestCentroidConfig(name="nearest_centroid"), seed=1)
    model.fit(train, None)
    peer = NearestCentroid().fit(train.lognorm().toarray(), train.labels_C)
    expected = peer.predict(test.lognorm().toarray())
    np.testing.assert_array_equal(model.predict_proba(test).argmax(axis=1), expected)


def test_knn_takes_no_more_components_or_neighbours_than_there_are():
    train, test = halves(sizes=(4, 4))
    model = models.build(config.KnnPcaConfig(name="knn_pca"), seed=1)
    facts = model.fit(train, None).facts
    assert facts["components"] == 3 and facts["neighbours"] == 4
    assert model.predict_proba(test).shape == (4, 2)


def liblinear(value, seed):
    return OneVsRestClassifier(
        Liblinear(l1_ratio=1, solver="liblinear", C=value, random_state=seed)
    )


def test_logistic_regression_is_the_papers_procedure():
    train, test = halves(sizes=(30, 40, 50), signal=1.6)
    chosen = config.LogregConfig(name="logreg", grid=[0.01, 0.1, 1.0])
    model = models.build(chosen, seed=5)
    fit = model.fit(train, None)
    x, y = train.lognorm(), train.labels_C
    means = [
        cross_validate(liblinear(value, 0), x, y, cv=StratifiedKFold(5))["test_score"].mean()
        for value in chosen.grid
    ]
    assert fit.facts["cross_validation"]["accuracy"] == pytest.approx(means, abs=1e-12)
    assert fit.facts["C"] == chosen.grid[int(np.argmax(means))]
    expected = liblinear(fit.facts["C"], 5).fit(x, y).predict_proba(test.lognorm())
    np.testing.assert_array_equal(model.predict_proba(test), expected)


def test_a_fixed_c_needs_no_cross_validation():
    train, _ = halves(sizes=(40, 40))
    facts = models.build(config.LogregConfig(name="logreg", C=0.1), seed=1).fit(train, None).facts
    assert facts["C"] == 0.1 and facts["cross_validation"] is None
    assert facts["C_chosen_by"] == "configuration"


def test_a_c_on_the_edge_of_the_grid_is_said():
    train, _ = halves(sizes=(40, 40))
    chosen = config.LogregConfig(name="logreg", grid=[1e-4, 1.0])
    fit = models.build(chosen, seed=1).fit(train, None)
    assert "the chosen C = 1 lies on the edge of the grid" in fit.warnings


@pytest.mark.parametrize("n_classes", [2, 3])
def test_top_genes_are_those_with_the_largest_weights(n_classes):
    train, _ = halves(sizes=(40,) * n_classes)
    model = models.build(config.LogregConfig(name="logreg", C=1.0), seed=1)
    fit = model.fit(train, None)
    lines = [line.split(",") for line in fit.tables["top_genes.csv"].splitlines()]
    assert lines[0] == ["class", "rank", "gene", "weight"]
    assert {line[0] for line in lines[1:]} == {f"type {k}" for k in range(n_classes)}
    weights = [abs(float(line[3])) for line in lines[1:] if line[0] == "type 0"]
    assert weights == sorted(weights, reverse=True) and min(weights) > 0


def test_the_scale_can_be_chosen():
    train, test = halves(sizes=(40, 40))
    log2 = dataclasses.replace(
        train, matrix_CG=train.lognorm(Scale.LOG2_CP10K), scale=Scale.LOG2_CP10K
    )
    of_counts, of_log2 = (
        models.build(config.LogregConfig(name="logreg", C=0.1, input="log2_cp10k"), seed=1)
        for _ in range(2)
    )
    of_counts.fit(train, None)
    of_log2.fit(log2, None)
    np.testing.assert_allclose(of_counts.predict_proba(test), of_log2.predict_proba(test))


def test_one_class_is_refused():
    train, _ = halves(sizes=(40,))
    with pytest.raises(UserError, match="needs at least 2 classes.*got 20 cells, all 'type 0'"):
        models.build(config.LogregConfig(name="logreg"), seed=1).fit(train, None)


def test_too_few_cells_for_the_folds_are_refused():
    train, _ = halves(sizes=(6, 6))
    with pytest.raises(UserError, match="5-fold cross-validation needs a class with 5 cells"):
        models.build(config.LogregConfig(name="logreg"), seed=1).fit(train, None)
