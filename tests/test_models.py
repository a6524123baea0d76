"""The baseline and the controls do what their names say."""

import numpy as np
import pytest
from sklearn.neighbors import NearestCentroid

from leadline import config, models
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
    assert not models.learns_by_epochs(chosen)


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
