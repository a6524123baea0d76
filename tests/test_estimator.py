"""`ll.models.L1Path`: the exact path, judged by scikit-learn's own checks of estimators."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import leadline as ll
from leadline.models.logreg.estimator import L1Path


@parametrize_with_checks([L1Path(), L1Path(C=1.0, multinomial=True, l1_ratio=0.5)])
def test_scikit_learn_s_own_checks(estimator, check):
    check(estimator)


def problem(seed=0, classes=3, cells=120, genes=30):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, cells)
    X = rng.normal(size=(cells, genes))
    X[np.arange(cells), y] += 3
    return X, np.array([f"type {code}" for code in y])


def test_it_is_offered_by_the_package_and_a_part_of_pipelines():
    assert ll.models.L1Path is L1Path
    X, y = problem()
    fitted = make_pipeline(StandardScaler(), ll.models.L1Path(C=1.0)).fit(X, y)
    assert fitted.score(X, y) > 0.9
    again = clone(fitted[-1]).set_params(C=0.5)
    assert again.get_params()["C"] == 0.5


def test_its_weights_are_those_of_liblinear_at_the_optimum():
    X, y = problem(classes=2)
    ours = L1Path(C=0.3, tol=1e-10).fit(X, y)
    theirs = LogisticRegression(
        C=0.3, l1_ratio=1, solver="liblinear", tol=1e-10, max_iter=10_000, intercept_scaling=1
    ).fit(X, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-4)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=1e-4)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-4)
    assert (ours.gap_ <= 1e-8 * 120).all()


def test_the_smallest_of_the_best_c_is_chosen_and_sparse_is_dense():
    X, y = problem()
    chosen = L1Path(Cs=(1e3, 1e-3, 1.0)).fit(X, y)
    best = max(chosen.scores_)
    assert chosen.C_ == sorted((1e-3, 1.0, 1e3))[list(chosen.scores_).index(best)]
    other = L1Path(Cs=(1e-3, 1.0, 1e3)).fit(sparse.csr_array(X), y)
    np.testing.assert_allclose(other.coef_, chosen.coef_, atol=1e-6)
    assert other.C_ == chosen.C_ and list(other.classes_) == ["type 0", "type 1", "type 2"]


def test_what_cannot_be_fitted_is_refused():
    X, y = problem()
    with pytest.raises(ValueError, match="at least two classes: got 1 class"):
        L1Path().fit(X, np.zeros(len(X)))
    with pytest.raises(ValueError, match="choosing C needs a class of at least 2 samples"):
        L1Path().fit(X[:2], [0, 1])
