"""The baseline: liblinear class by class, the exact optimum, and what is said of either."""

import csv
import dataclasses
import io

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression as Liblinear
from sklearn.model_selection import (
    StratifiedGroupKFold,
    StratifiedKFold,
    cross_validate,
)
from sklearn.multiclass import OneVsRestClassifier

from leadline.config import LogregConfig
from leadline.config.compose import compose
from leadline.data.cells import Scale
from leadline.errors import UserError
from leadline.models import build
from leadline.models.logreg import gpu
from leadline.models.logreg.cross_validation import Cache, CrossValidation
from leadline.models.logreg.l1.fista import fit_batch
from leadline.models.logreg.l1.path import decision
from leadline.models.logreg.solvers import solve
from small import small_cells


def config(**changes):
    return LogregConfig(**({"name": "logreg"} | changes))


def halves(**changes):
    cells = small_cells(**changes)
    return cells.take(np.arange(0, len(cells), 2)), cells.take(np.arange(1, len(cells), 2))


def fitted(train, seed=1, cache=None, threads=1, **changes):
    model = build(config(**changes), seed=seed, cache=cache, threads=threads)
    return model, model.fit(train, None)


def liblinear(value, seed, **changes):
    return OneVsRestClassifier(
        Liblinear(l1_ratio=1, solver="liblinear", C=value, random_state=seed, **changes)
    )


@pytest.mark.parametrize("n_classes", [2, 3])
def test_liblinear_class_by_class_is_scikit_learns_wrapper(n_classes):
    train, test = halves(sizes=(30, 40, 50)[:n_classes], signal=1.6)
    grid = [0.01, 0.1, 1.0]
    model, fit = fitted(train, seed=5, solver="liblinear", grid=grid)
    x, y = train.lognorm(), train.labels_C
    means = [
        cross_validate(liblinear(value, 0), x, y, cv=StratifiedKFold(5))["test_score"].mean()
        for value in grid
    ]
    assert fit.facts["cross_validation"]["accuracy"] == pytest.approx(means, abs=1e-12)
    assert fit.facts["C"] == grid[int(np.argmax(means))]
    expected = liblinear(fit.facts["C"], 5).fit(x, y).predict_proba(test.lognorm())
    np.testing.assert_allclose(model.predict_proba(test), expected, atol=1e-12)


@pytest.mark.filterwarnings("ignore:Liblinear failed to converge")
def test_the_path_agrees_with_liblinear_where_that_converges():
    cells = embedded()
    for value in (0.01, 0.1, 1.0):
        probas = []
        for solver, rounds in (("path", None), ("liblinear", 10_000)):
            model, fit = fitted(
                cells, solver=solver, C=value, tolerance=1e-8, max_iterations=rounds
            )
            probas.append(model.predict_proba(cells))
            assert fit.facts["certificate"]["converged"]
        same = probas[0].argmax(axis=1) == probas[1].argmax(axis=1)
        assert same.mean() >= 0.999


def embedded():
    from leadline.data import datasets

    return datasets.load(compose([]).data, None)


@pytest.mark.slow
def test_both_solvers_choose_the_same_c_where_liblinear_converged():
    grid = [0.001, 0.01, 0.1]
    for seed in (1, 2, 3):
        rows = np.random.default_rng(seed).permutation(700)
        train = embedded().take(rows[:560])
        _, ours = fitted(train, grid=grid)
        _, theirs = fitted(train, grid=grid, solver="liblinear")
        assert all(theirs.facts["cross_validation"]["converged"])
        assert ours.facts["C"] == theirs.facts["C"]


def test_liblinear_that_stops_early_is_said_to_have_done_so():
    _, fit = fitted(embedded(), solver="liblinear", C=1e4)
    assert not fit.facts["certificate"]["converged"]
    assert any("is short of the optimum: its duality gap is up to" in w for w in fit.warnings)
    _, exact = fitted(embedded(), solver="path", C=1e4)
    assert exact.facts["certificate"]["converged"] and not exact.warnings
    ours, theirs = (found.facts["certificate"]["objective"] for found in (exact, fit))
    assert ours < 0.7 * theirs


def test_an_unconverged_path_says_so():
    train, _ = halves(sizes=(40, 40, 40), signal=1.5)
    _, fit = fitted(train, grid=[1.0, 1000.0], max_iterations=1, tolerance=1e-12)
    assert not fit.facts["certificate"]["converged"]
    assert any("scored solutions short of the optimum" in text for text in fit.warnings)


def test_the_certificate_is_in_the_record():
    train, _ = halves(sizes=(40, 40, 40))
    model, fit = fitted(train, C=1.0)
    found = fit.facts["certificate"]
    assert found["converged"] and 0 <= found["largest_relative_gap"] <= 1e-4
    assert found["nonzero_weights"] == np.count_nonzero(model.solution.coef_R[-1].toarray())
    assert found["largest_kkt_violation"] < 0.05 and found["objective"] > found["gap"]


def test_a_fixed_c_needs_no_cross_validation_and_gives_the_same_solution():
    train, test = halves(sizes=(40, 40, 40))
    chosen, fit = fitted(train, grid=[0.1, 1.0])
    fixed, facts = fitted(train, grid=[0.1, 1.0], C=fit.facts["C"])
    assert facts.facts["cross_validation"] is None
    assert facts.facts["C_chosen_by"] == "configuration"
    np.testing.assert_array_equal(chosen.predict_proba(test), fixed.predict_proba(test))


def test_the_order_of_cells_does_not_matter_to_the_path():
    """The paper's ten replicates differ only in order; for the exact optimum they are one."""
    train, test = halves(sizes=(40, 40, 40))
    shuffled = train.take(np.random.default_rng(0).permutation(len(train)))
    first, second = (fitted(cells, C=1.0)[0] for cells in (train, shuffled))
    np.testing.assert_array_equal(first.predict_proba(test), second.predict_proba(test))


def test_threads_do_not_change_a_bit():
    train, test = halves(sizes=(40, 40, 40))
    first, second = (fitted(train, threads=n)[0] for n in (1, 2))
    np.testing.assert_array_equal(first.predict_proba(test), second.predict_proba(test))


def test_what_was_solved_is_not_solved_again(tmp_path, monkeypatch):
    train, test = halves(sizes=(40, 40, 40))
    model, fit = fitted(train, seed=1, cache=tmp_path)
    assert len(list((tmp_path / "logreg").iterdir())) == 6  # five folds and the final fit
    fresh = model.predict_proba(test)

    def no_more(*_, **__):
        pytest.fail("solved again")

    monkeypatch.setattr("leadline.models.logreg.cross_validation.solve", no_more)
    again, same = fitted(train, seed=2, cache=tmp_path)
    np.testing.assert_array_equal(again.predict_proba(test), fresh)
    assert same.facts == fit.facts


@pytest.mark.parametrize(
    "changes", [{"tolerance": 1e-6}, {"class_weight": "balanced"}, {"input": "log2_cp10k"}]
)
def test_other_settings_are_other_sub_problems(changes, tmp_path):
    train, _ = halves(sizes=(40, 40))
    fitted(train, C=1.0, cache=tmp_path)
    fitted(train, C=1.0, cache=tmp_path, **changes)
    fitted(train.take(np.arange(30)), C=1.0, cache=tmp_path)
    assert len(list((tmp_path / "logreg").iterdir())) == 3


def test_a_damaged_entry_is_computed_anew(tmp_path):
    train, test = halves(sizes=(40, 40))
    before = fitted(train, C=1.0, cache=tmp_path)[0].predict_proba(test)
    (entry,) = (tmp_path / "logreg").iterdir()
    good = entry.read_bytes()
    for content in (b"", b"PK broken", good[:200]):
        entry.write_bytes(content)
        after = fitted(train, C=1.0, cache=tmp_path)[0].predict_proba(test)
        np.testing.assert_array_equal(before, after)
    assert entry.read_bytes() == good


def test_liblinear_shares_nothing(tmp_path):
    train, _ = halves(sizes=(40, 40))
    fitted(train, C=1.0, cache=tmp_path, solver="liblinear")
    assert not (tmp_path / "logreg").exists()
    assert Cache(None).get("x") is None


def test_the_edge_of_the_grid_is_said():
    train, _ = halves(sizes=(40, 40))
    _, fit = fitted(train, grid=[1e-4, 1.0])
    assert "the chosen C = 1 lies on the edge of the grid" in fit.warnings
    _, single = fitted(train, grid=[1.0])
    assert not any("edge" in text for text in single.warnings)


def test_the_curve_says_what_is_as_good_as_the_best():
    accuracy = np.array([[0.5, 0.5], [0.8, 0.9], [0.84, 0.9]])
    choice = CrossValidation(
        grid_R=np.array([0.1, 1.0, 10.0]),
        accuracy_RF=accuracy,
        converged_RF=np.array([[True] * 2, [True] * 2, [True, False]]),
    )
    facts = choice.facts()
    assert choice.best == 10 and facts["within_one_standard_error_of_the_best"] == [1.0, 10.0]
    assert facts["standard_error"] == pytest.approx(accuracy.std(axis=1, ddof=1) / np.sqrt(2))
    assert facts["converged"] == [True, True, False]
    assert any("at C = 10 scored solutions short" in text for text in choice.warnings())


def test_among_equals_the_smallest_c_is_chosen():
    choice = CrossValidation(
        grid_R=np.array([0.1, 1.0]),
        accuracy_RF=np.full((2, 5), 0.7),
        converged_RF=np.ones((2, 5), dtype=bool),
    )
    assert choice.best == 0.1


def test_folds_can_keep_batches_together():
    batch = np.array([f"b{i % 6}" for i in range(120)])
    cells = small_cells(sizes=(40, 40, 40), batch_C=batch)
    _, fit = fitted(cells, cv="group", folds=3, grid=[0.1])
    x, y = cells.lognorm(), cells.labels_C
    scores = []
    for train, held in StratifiedGroupKFold(3).split(x, y, batch):
        assert set(batch[train]).isdisjoint(batch[held])
        peer = liblinear(0.1, 0, tol=1e-8, max_iter=10_000).fit(x[train], y[train])
        scores.append(peer.score(x[held], y[held]))
    assert fit.facts["cross_validation"]["accuracy"] == pytest.approx([np.mean(scores)])


def test_balanced_weights_are_scikit_learns():
    train, test = halves(sizes=(60, 20, 10), signal=1.6)
    counts = np.bincount(train.labels_C)
    weights = (len(train) / (3 * counts))[train.labels_C]
    exact, _ = fitted(train, C=0.5, class_weight="balanced", tolerance=1e-10)
    peer = Liblinear(l1_ratio=1, solver="liblinear", C=0.5, tol=1e-8, max_iter=10_000)
    for k in range(3):
        peer.fit(train.lognorm(), train.labels_C == k, sample_weight=weights)
        ours = exact.solution.coef_R[-1].toarray()[k]
        np.testing.assert_allclose(ours[:-1], peer.coef_.ravel(), atol=1e-4)
    model, _ = fitted(train, C=0.5, class_weight="balanced", solver="liblinear", tolerance=1e-8)
    same = exact.predict_proba(test).argmax(axis=1) == model.predict_proba(test).argmax(axis=1)
    assert same.mean() == 1


@pytest.mark.parametrize("changes", [{"multinomial": True}, {"l1_ratio": 0.5}])
def test_the_variants_learn_and_differ(changes):
    train, test = halves(sizes=(40, 40, 40))
    plain, variant = fitted(train, C=0.5)[0], fitted(train, C=0.5, **changes)[0]
    proba = variant.predict_proba(test)
    assert (proba.argmax(axis=1) == test.labels_C).mean() > 0.75
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    assert np.abs(proba - plain.predict_proba(test)).max() > 0.01


@pytest.mark.parametrize("n_classes", [2, 3])
def test_top_genes_are_those_with_the_largest_weights(n_classes):
    train, _ = halves(sizes=(40,) * n_classes)
    _, fit = fitted(train, C=1.0)
    lines = list(csv.reader(io.StringIO(fit.tables["top_genes.csv"])))
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
        fitted(cells, C=0.1, input="log2_cp10k")[0].predict_proba(test) for cells in (train, log2)
    )
    np.testing.assert_allclose(of_counts, of_log2)


def test_the_cells_are_not_changed():
    train, test = halves(sizes=(40, 40, 40))
    before = train.fingerprint(), test.fingerprint()
    fitted(train)[0].predict_proba(test)
    assert (train.fingerprint(), test.fingerprint()) == before


@pytest.mark.parametrize(
    "sizes",
    [(40, 40), (60, 60, 2), (6,) * 50, (400, 400), (12, 12)],
    ids=["2 classes", "a class with one cell", "50 classes", "n >> p", "n < p"],
)
def test_every_shape_of_problem_works(sizes):
    train, test = halves(sizes=sizes)
    train = dataclasses.replace(train, batch_C=None)
    model, fit = fitted(train, grid=[0.1, 1.0], folds=2)
    assert fit.facts["certificate"]["converged"]
    np.testing.assert_allclose(model.predict_proba(test).sum(axis=1), 1)


def test_constant_and_empty_genes_do_no_harm():
    train, test = halves(sizes=(40, 40))
    for value in (0.0, 3.0):
        matrix = train.lognorm().toarray()
        matrix[:, 5] = value
        changed = dataclasses.replace(
            train, matrix_CG=type(train.matrix_CG)(matrix), scale=Scale.LN_CP10K
        )
        model, fit = fitted(changed, C=1.0)
        assert fit.facts["certificate"]["converged"]
        assert model.solution.coef_R[-1].toarray()[0, 5] == 0 or value


@pytest.mark.parametrize("solver", ["path", "liblinear"])
def test_one_class_is_refused(solver):
    train, _ = halves(sizes=(40,))
    with pytest.raises(UserError, match="needs at least 2 classes.*got 20 cells, all 'type 0'"):
        fitted(train, solver=solver)


@pytest.mark.parametrize(
    ("sizes", "changes", "message"),
    [
        ((6, 6), {}, "5-fold cross-validation needs a class with 5 cells"),
        ((60, 60), {"cv": "group"}, "model.cv=group needs batches: got none"),
    ],
)
def test_what_cannot_be_cross_validated_is_explained(sizes, changes, message):
    train, _ = halves(sizes=sizes)
    with pytest.raises(UserError, match=message):
        fitted(train, **changes)


def test_too_few_batches_are_explained():
    train = small_cells(batch_C=np.array([f"b{i % 3}" for i in range(60)]))
    with pytest.raises(UserError, match="as many batches as folds, 5: got 3 batches"):
        fitted(train, cv="group")


def test_a_fold_of_one_class_is_explained():
    labels = np.array([0] * 20 + [1] * 4)
    batch = np.array(["a"] * 10 + ["b"] * 10 + ["c"] * 4)
    cells = small_cells(sizes=(20, 4), labels_C=labels.astype(np.int32), batch_C=batch)
    with pytest.raises(UserError, match="must train on at least 2 classes: got 1 of 3 folds"):
        fitted(cells, cv="group", folds=3)


def test_a_batch_on_a_device_finds_the_same_optimum(monkeypatch):
    """On a machine without a GPU the device is the CPU, by the very code that a GPU would run."""
    train, test = halves(sizes=(40, 40, 40), signal=1.6)
    settings = {"grid": [0.01, 0.1, 1.0, 10.0], "tolerance": 1e-7}
    plain, fit = fitted(train, **settings)
    monkeypatch.setattr("leadline.models.logreg.gpu.fit_batch", on_cpu)
    model = build(config(**settings), seed=1, device="a gpu")
    found = model.fit(train, None)
    ours, theirs = (one.facts["cross_validation"] for one in (fit, found))
    assert theirs["accuracy"] == pytest.approx(ours["accuracy"]) and all(theirs["converged"])
    assert found.facts["C"] == fit.facts["C"]


def on_cpu(*args, device, **kwargs):
    assert device == "a gpu"
    return fit_batch(*args, device="cpu", **kwargs)


@pytest.mark.parametrize("class_weight", ["none", "balanced"])
@pytest.mark.parametrize("n_classes", [2, 4])
def test_the_batch_agrees_with_the_path_fold_by_fold(n_classes, class_weight):
    train, _ = halves(sizes=(30, 40, 50, 60)[:n_classes], signal=1.6)
    matrix, labels = train.lognorm(), train.labels_C
    folds = [np.arange(0, len(train), 2), np.arange(5, len(train))]
    chosen = config(class_weight=class_weight, tolerance=1e-8)
    batched = gpu.solve_folds(
        matrix, labels, [0.01, 0.1, 1.0, 10.0], folds, chosen, threads=1, device="cpu"
    )
    for fold, fit in zip(folds, batched, strict=True):
        exact = solve(matrix, labels, fit.cs_R, fold, chosen, seed=0, threads=1)
        np.testing.assert_allclose(fit.objective_RJ, exact.objective_RJ, rtol=1e-7)
        for r in range(4):
            np.testing.assert_allclose(
                decision(matrix, fit, r), decision(matrix, exact, r), atol=2e-3
            )
        assert fit.converged_RJ.all() and fit.kkt_RJ.max() < 1e-3


def test_what_the_batch_leaves_open_is_done_by_the_path(monkeypatch):
    train, _ = halves(sizes=(40, 40, 40), signal=1.6)
    monkeypatch.setattr(gpu, "STEPS", 1)
    data = (train.lognorm(), train.labels_C, [0.1, 1.0], [np.arange(len(train))], config())
    (fit,) = gpu.solve_folds(*data, threads=1, device="cpu")
    assert fit.converged_RJ.all()


def test_the_certificate_of_a_batch_is_an_upper_bound():
    train, _ = halves(sizes=(40, 40), signal=1.6)
    target = np.where(train.labels_C == 1, 1.0, -1.0)[None, :]
    data = (train.lognorm(), target, np.ones_like(target), [0.5])
    best = fit_batch(*data, tol=1e-12, max_steps=20_000, device="cpu").objective_B
    for steps in (20, 40, 100):
        early = fit_batch(*data, tol=1e-12, max_steps=steps, device="cpu")
        assert 0 <= early.objective_B - best <= early.gap_B
