"""The L1 path against conditions of optimality, other solvers, and every odd shape of data."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier

from leadline.errors import UserError
from leadline.models.logreg.l1 import kernels
from leadline.models.logreg.l1.objective import duality_gap, gradient, objective
from leadline.models.logreg.l1.path import decision, fit_path, predict_proba
from leadline.stats import jit

GRID = [1e-3, 1e-2, 0.1, 1.0, 10.0, 1e2, 1e3, 1e4]
TIGHT = 1e-15  # out of reach: the path goes on until rounding stops it


def problem(seed: int, cells: int, genes: int, classes: int, density: float = 0.5):
    """Return log-like float32 expression with some signal, and codes that cover every class."""
    rng = np.random.default_rng(seed)
    labels_C = np.concatenate([np.arange(classes), rng.integers(0, classes, cells - classes)])
    centre_KG = rng.normal(0, 1, (classes, genes)) * (rng.random((classes, genes)) < 0.5)
    matrix_CG = np.abs(centre_KG[labels_C] + rng.normal(0, 1, (cells, genes)))
    matrix_CG *= rng.random((cells, genes)) < density
    return matrix_CG.astype(np.float32), labels_C


def target(labels_C, fit):
    return np.where(labels_C[:, None] == fit.problems_J, 1.0, -1.0)


def violation(X, labels_C, fit, at, weights=None, l1_ratio=1.0):
    """Return the largest violation of the conditions of optimality, in plain float64."""
    coef_JG = fit.coef_R[at].toarray()
    slope_JG = gradient(
        X, target(labels_C, fit), coef_JG, fit.cs_R[at], weights=weights,
        multinomial=fit.multinomial,
    )  # fmt: skip
    slope_JG = slope_JG + (1 - l1_ratio) * coef_JG
    at_zero_JG = np.maximum(np.abs(slope_JG) - l1_ratio, 0)
    return np.where(coef_JG != 0, np.abs(slope_JG + l1_ratio * np.sign(coef_JG)), at_zero_JG).max()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 10**6),
    cells=st.integers(6, 60),
    genes=st.integers(1, 40),
    classes=st.integers(2, 5),
    density=st.sampled_from([0.05, 0.4, 1.0]),
    l1_ratio=st.sampled_from([1.0, 1.0, 0.5]),
    weighted=st.booleans(),
)
def test_every_c_meets_the_conditions_of_optimality(
    seed, cells, genes, classes, density, l1_ratio, weighted
):
    X, labels_C = problem(seed, cells, genes, classes, density)
    weights = np.random.default_rng(seed).uniform(0.1, 3, cells) if weighted else None
    [fit] = fit_path(X, labels_C, GRID, weights=weights, l1_ratio=l1_ratio, tol=TIGHT)
    for at, c in enumerate(GRID):
        coef_JG = fit.coef_R[at].toarray()
        options = {"weights": weights, "l1_ratio": l1_ratio}
        assert violation(X, labels_C, fit, at, **options) <= 1e-6
        value_J = objective(X, target(labels_C, fit), coef_JG, c, **options)
        gap_J = duality_gap(X, target(labels_C, fit), coef_JG, c, **options)
        np.testing.assert_allclose(fit.objective_RJ[at], value_J, rtol=1e-9)
        np.testing.assert_allclose(fit.gap_RJ[at], gap_J, atol=1e-8 * value_J.max())


def test_the_gap_bounds_the_distance_from_the_optimum():
    X, labels_C = problem(3, 80, 50, 4)
    for l1_ratio in (1.0, 0.3):
        [best] = fit_path(X, labels_C, GRID, l1_ratio=l1_ratio, tol=TIGHT)
        for tol in (0.3, 1e-2, 1e-4):
            [rough] = fit_path(X, labels_C, GRID, l1_ratio=l1_ratio, tol=tol)
            excess_RJ = rough.objective_RJ - best.objective_RJ
            assert (rough.gap_RJ >= excess_RJ - 1e-9 * best.objective_RJ).all()
            assert (rough.gap_RJ <= tol * rough.objective_RJ).all() and rough.converged_RJ.all()


def test_a_fit_that_is_cut_short_says_so():
    X, labels_C = problem(4, 80, 50, 4)
    [fit] = fit_path(X, labels_C, [10.0], tol=1e-8, max_iter=1)
    assert not fit.converged_RJ.any()
    assert (fit.gap_RJ > 1e-8 * fit.objective_RJ).all()


@pytest.mark.parametrize(("cells", "genes", "classes"), [(90, 30, 3), (40, 120, 4), (120, 10, 2)])
def test_it_is_liblinear_at_a_tight_tolerance(cells, genes, classes):
    X, labels_C = problem(5, cells, genes, classes)
    grid = [0.01, 0.1, 1.0]
    [fit] = fit_path(X, labels_C, grid, tol=1e-9)
    for at, c in enumerate(grid):
        one = LogisticRegression(
            l1_ratio=1.0, solver="liblinear", C=c, tol=1e-8, max_iter=5000, random_state=0
        )
        model = OneVsRestClassifier(one).fit(X.astype(np.float64), labels_C)
        theirs_JG = np.array([np.r_[e.coef_[0], e.intercept_] for e in model.estimators_])
        np.testing.assert_allclose(fit.coef_R[at].toarray(), theirs_JG, atol=2e-4)
        np.testing.assert_allclose(predict_proba(X, fit, at), model.predict_proba(X), atol=2e-4)
        theirs_J = objective(X, target(labels_C, fit), theirs_JG, c)
        np.testing.assert_allclose(fit.objective_RJ[at], theirs_J, rtol=1e-6)


def test_dense_row_and_column_input_give_the_same_bits_and_stay_untouched():
    X, labels_C = problem(6, 60, 40, 3)
    rows = [np.arange(0, 60, 2), np.arange(45)]
    # The same matrix in another order of entries, doubled and halved: sums to the same values.
    loose = sparse.coo_array(X)
    inputs = [X, np.asfortranarray(X), X.astype(np.float64), sparse.csr_array(X),
              sparse.csc_array(X), sparse.csc_matrix(X), loose]  # fmt: skip
    inputs.append(sparse.csr_array(X).astype(np.float64)[:, ::-1][:, ::-1])
    copies = [item.copy() for item in inputs]
    fits = [fit_path(item, labels_C, GRID, rows=rows) for item in inputs]
    for item, copy in zip(inputs, copies, strict=True):
        np.testing.assert_array_equal(
            item.toarray() if sparse.issparse(item) else item,
            copy.toarray() if sparse.issparse(copy) else copy,
        )
    for other in fits[1:]:
        for left, right in zip(fits[0], other, strict=True):
            assert_same_bits(left, right)


def assert_same_bits(left, right):
    np.testing.assert_array_equal(left.objective_RJ, right.objective_RJ)
    np.testing.assert_array_equal(left.gap_RJ, right.gap_RJ)
    for a, b in zip(left.coef_R, right.coef_R, strict=True):
        np.testing.assert_array_equal(a.toarray(), b.toarray())


@pytest.mark.parametrize("multinomial", [False, True])
@pytest.mark.parametrize("classes", [2, 11])
def test_threads_do_not_change_bits(classes, multinomial):
    X, labels_C = problem(7, 150, 60, classes)
    rows = [np.arange(0, 150, 2), np.arange(100), np.arange(20, 150)]
    options = {"rows": rows, "multinomial": multinomial}
    grid = GRID[:4] if multinomial else GRID
    ones = fit_path(X, labels_C, grid, threads=1, **options)
    for threads in (2, 3):
        many = fit_path(X, labels_C, grid, threads=threads, **options)
        for left, right in zip(ones, many, strict=True):
            assert_same_bits(left, right)


def test_folds_are_separate_fits():
    X, labels_C = problem(8, 90, 40, 4)
    rows = [np.arange(60), np.arange(89, 20, -1)]
    weights = np.random.default_rng(0).uniform(0.5, 2, 90)
    for fold, fit in zip(
        rows, fit_path(X, labels_C, GRID, rows=rows, weights=weights), strict=True
    ):
        [alone] = fit_path(X[fold], labels_C[fold], GRID, weights=weights[fold])
        assert_same_bits(fit, alone)


def test_a_weight_of_two_is_a_cell_twice_and_zero_is_none():
    X, labels_C = problem(9, 60, 30, 3)
    weights = np.random.default_rng(1).integers(0, 3, 60).astype(float)
    weights[:3] = 1.0
    [fit] = fit_path(X, labels_C, GRID[:6], weights=weights, tol=1e-9)
    again = np.repeat(np.arange(60), weights.astype(int))
    [copied] = fit_path(X[again], labels_C[again], GRID[:6], tol=1e-9)
    np.testing.assert_allclose(fit.objective_RJ, copied.objective_RJ, rtol=1e-7)


def test_the_grid_may_be_given_in_any_order():
    X, labels_C = problem(10, 40, 20, 3)
    [up], [down] = fit_path(X, labels_C, GRID), fit_path(X, labels_C, GRID[::-1])
    np.testing.assert_array_equal(up.cs_R, GRID)
    assert_same_bits(up, down)


@pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
@pytest.mark.parametrize("classes", [2, 4])
def test_multinomial_meets_its_conditions_of_optimality(classes, l1_ratio):
    X, labels_C = problem(11, 60, 25, classes)
    # Above C = 10 turns between classes creep, and the fit says that it did not converge.
    grid = GRID[:5]
    [fit] = fit_path(X, labels_C, grid, multinomial=True, l1_ratio=l1_ratio, tol=1e-6)
    options = {"l1_ratio": l1_ratio, "multinomial": True}
    for at, c in enumerate(grid):
        coef_JG = fit.coef_R[at].toarray()
        value = objective(X, target(labels_C, fit), coef_JG, c, **options)
        gap = duality_gap(X, target(labels_C, fit), coef_JG, c, **options)
        assert fit.converged_RJ[at].all() and gap <= 1.1e-6 * value
        np.testing.assert_allclose(fit.objective_RJ[at], value[0], rtol=1e-9)
        assert violation(X, labels_C, fit, at, l1_ratio=l1_ratio) <= 1e-3
    np.testing.assert_allclose(predict_proba(X, fit, 2).sum(axis=1), 1.0)


def test_multinomial_is_saga_on_a_constant_feature():
    X, labels_C = problem(12, 60, 8, 3)
    # saga leaves the intercept free; a constant feature without one is our penalised intercept.
    with_one = np.hstack([X, np.ones((60, 1))]).astype(np.float64)
    for l1_ratio in (1.0, 0.5):
        [fit] = fit_path(X, labels_C, [1.0], multinomial=True, l1_ratio=l1_ratio, tol=1e-9)
        saga = LogisticRegression(
            l1_ratio=l1_ratio, solver="saga", fit_intercept=False, tol=1e-8, max_iter=20000,
            random_state=0,
        ).fit(with_one, labels_C)  # fmt: skip
        theirs = objective(
            X, target(labels_C, fit), saga.coef_, 1.0, l1_ratio=l1_ratio, multinomial=True
        )
        np.testing.assert_allclose(fit.objective_RJ[0, 0], theirs[0], rtol=1e-5)
        assert fit.objective_RJ[0, 0] <= theirs[0] * (1 + 1e-8)
        np.testing.assert_allclose(
            predict_proba(X, fit, 0), saga.predict_proba(with_one), atol=1e-3
        )


def test_odd_data_work():
    rng = np.random.default_rng(13)
    X, labels_C = problem(13, 80, 30, 3)
    X[:, 0], X[:, 1] = 0.0, 2.5  # an all-zero column and a constant gene
    X[:, 2] = X[:, 3]  # twins
    labels_C[labels_C == 2] = 0
    labels_C[5] = 2  # a class with one cell
    [fit] = fit_path(X, labels_C, GRID)
    assert fit.converged_RJ.all() and fit.coef_R[-1].shape == (3, 31)
    assert all(coef_JG[:, [0]].nnz == 0 for coef_JG in fit.coef_R)
    many, codes_C = rng.random((100, 12)).astype(np.float32), np.arange(100) % 50
    [fit] = fit_path(many, codes_C, GRID)  # 50 classes
    assert fit.converged_RJ.all() and decision(many, fit, 7).shape == (100, 50)
    long, codes_C = problem(14, 3000, 2, 3)  # n much larger than p
    assert fit_path(long, codes_C, GRID)[0].converged_RJ.all()
    nothing = sparse.csr_array((40, 7), dtype=np.float32)  # only the intercept can speak
    [fit] = fit_path(nothing, np.arange(40) % 3, GRID)
    assert fit.converged_RJ.all()


def test_integers_and_booleans_are_numbers():
    X, labels_C = problem(15, 40, 10, 2)
    counts = np.rint(X).astype(np.int64)
    [fit] = fit_path(counts, labels_C, [1.0])
    [same] = fit_path(counts.astype(np.float32), labels_C.astype(np.int16), [1.0])
    assert_same_bits(fit, same)
    assert fit_path(X > 0, labels_C, [1.0])[0].converged_RJ.all()


def test_two_classes_are_one_problem_and_absent_classes_get_nothing():
    X, labels_C = problem(16, 90, 20, 4)
    [fit] = fit_path(X, labels_C, GRID, rows=[np.flatnonzero(labels_C != 1)])
    assert fit.problems_J.tolist() == [0, 2, 3] and fit.classes == 4
    chance_CK = predict_proba(X, fit, 3)
    assert (chance_CK[:, 1] == 0).all() and np.isneginf(decision(X, fit, 3)[:, 1]).all()
    np.testing.assert_allclose(chance_CK.sum(axis=1), 1.0)
    pair = np.flatnonzero((labels_C == 1) | (labels_C == 3))
    [fit] = fit_path(X, labels_C, GRID, rows=[pair])
    assert fit.problems_J.tolist() == [3]
    score_CK = decision(X, fit, 3)
    np.testing.assert_array_equal(score_CK[:, 1], -score_CK[:, 3])
    np.testing.assert_allclose(predict_proba(X, fit, 3)[:, 3], 1 / (1 + np.exp(-score_CK[:, 3])))
    [fit] = fit_path(X, labels_C, GRID, rows=[pair], multinomial=True)
    assert fit.problems_J.tolist() == [1, 3] and (predict_proba(X, fit, 3)[:, [0, 2]] == 0).all()


def test_a_cell_that_every_class_refuses_still_has_a_class():
    X, labels_C = problem(17, 60, 5, 3)
    [fit] = fit_path(X, labels_C, [1e4])
    far = np.zeros((1, 5))
    for sign in np.ndindex(3, 3, 3, 3, 3):
        far = 1e6 * (np.array([sign]) - 1.0)
        chance_CK = predict_proba(far, fit, 0)
        assert np.isfinite(chance_CK).all()
        np.testing.assert_allclose(chance_CK.sum(axis=1), 1.0)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"y": np.zeros(30, int)}, "two classes"),
        ({"y": np.zeros(29, int)}, "match cells"),
        ({"y": np.full(30, "T cell")}, "class codes"),
        ({"y": np.arange(30) % 3 - 1}, "class codes"),
        ({"cs": [0.0, 1.0]}, "above 0"),
        ({"cs": []}, "above 0"),
        ({"l1_ratio": 0.0}, "l1_ratio"),
        ({"weights": -np.ones(30)}, "weights"),
        ({"rows": [np.array([0, 0, 1])]}, "must differ"),
        ({"rows": [np.array([0, 3, 6])]}, "two classes"),
        ({"rows": [np.array([0, 40])]}, "rows"),
        ({"rows": [np.array([0, -1])]}, "rows"),
        ({"X": np.full((30, 4), np.nan, np.float32)}, "finite"),
        ({"X": np.full((30, 4), 1e200)}, "finite"),
        ({"X": np.full((30, 4), "a")}, "numbers"),
        ({"tol": 0.0}, "tol"),
        ({"threads": 0}, "threads"),
    ],
)
def test_mistakes_are_named(change, rule):
    X, labels_C = problem(18, 30, 4, 3)
    arguments = {"X": X, "y": np.arange(30) % 3, "cs": GRID} | change
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # numpy's word on casting 1e200
        with pytest.raises(UserError, match=rule):
            fit_path(**arguments)


def test_sparse_and_gram_models_find_the_same_optimum(monkeypatch):
    """The two ways to minimise the quadratic model, called on the same step."""
    X, labels_C = problem(19, 200, 30, 2)
    csc = sparse.csc_array(X)
    columns = csc.data, csc.indices.astype(np.int32), csc.indptr.astype(np.int64)
    rng = np.random.default_rng(0)
    hessian_C, start_W = rng.uniform(0.1, 0.25, 200), rng.normal(0, 0.1, 30)
    model_WW = (X.T * hessian_C) @ X + 0.01 * np.eye(30)
    slope_W = rng.normal(0, 3, 30)
    ridge_W = np.full(30, 0.01)
    by_gram, by_columns = start_W.copy(), start_W.copy()
    kernels.descend_gram(model_WW.copy(), slope_W.copy(), by_gram, 1.0, 1e-9, 500)
    bent = kernels.bent_columns(
        *columns, np.arange(30), hessian_C, np.arange(200, dtype=np.int32), np.zeros(30)
    )
    kernels.descend_columns(*bent, 200, ridge_W, slope_W.copy(), by_columns, 1.0, 1e-9, 2000)
    # The columns of a model are float32.
    np.testing.assert_allclose(by_gram, by_columns, atol=1e-6)


def test_cells_left_out_of_a_model_keep_their_curvature_on_its_diagonal():
    X, _ = problem(20, 100, 12, 2)
    csc = sparse.csc_array(X)
    hessian_C = np.random.default_rng(1).uniform(0.0, 0.25, 100)
    place_C = np.empty(100, np.int32)
    kept = kernels.keep_curved(hessian_C, 0.5, place_C)
    assert 0 < kept < 100
    spare_W = np.empty(12)
    columns = csc.data, csc.indices.astype(np.int32), csc.indptr.astype(np.int64)
    data, rows, starts = kernels.bent_columns(*columns, np.arange(12), hessian_C, place_C, spare_W)
    bent_MW = sparse.csc_array((data, rows, starts), shape=(kept, 12)).toarray()
    left_out = place_C < 0
    root_C1 = np.sqrt(hessian_C)[:, None]
    np.testing.assert_allclose(bent_MW, (root_C1 * X)[~left_out], rtol=1e-6)
    np.testing.assert_allclose(spare_W, ((root_C1 * X)[left_out] ** 2).sum(axis=0))


def test_kernels_compile_where_nothing_can_be_cached(monkeypatch):
    real = jit.njit

    def read_only(**options):
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return real(**options)

    monkeypatch.setattr(jit, "njit", read_only)
    assert jit.compiled(lambda x: x + 1)(1) == 2
