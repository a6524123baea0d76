"""Scores of embeddings: golden values, laws, and what undefined scores say."""

import importlib.util
import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    adjusted_mutual_info_score,
    adjusted_rand_score,
    normalized_mutual_info_score,
    silhouette_samples,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from leadline.errors import UserError
from leadline.stats import clustering, embedding_probes, reconstruction
from leadline.stats import embedding_metrics as em
from leadline.stats.neighbours import (
    nearest_in_other_groups,
    nearest_others,
    neighbours_within,
)

HERE = Path(__file__).parent
GOLDEN = HERE / "golden" / "zero_shot.npz"
SETS = ("pbmc", "mix3", "mix5")
few = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 10_000)


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as stored:
        return {name: stored[name] for name in stored.files}


def parity_main():
    path = HERE.parent / "scripts" / "parity_zero_shot.py"
    spec = importlib.util.spec_from_file_location("parity_zero_shot", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    out = tmp_path_factory.mktemp("parity") / "out.npz"
    parity_main()(GOLDEN, out)
    with np.load(out) as stored:
        return {name: stored[name] for name in stored.files}


def example(seed, n=60, dims=5, labels=3, batches=2):
    rng = np.random.default_rng(seed)
    label = rng.permutation(np.arange(n) % labels)
    batch = rng.permutation(np.arange(n) % batches)
    vectors = rng.normal(size=(n, dims)) + 2 * rng.normal(size=(labels, dims))[label]
    return vectors + rng.normal(size=(batches, dims))[batch], label, batch


def all_scores(vectors, label, batch):
    near = nearest_others(vectors, 20)
    graph = clustering.umap_graph(near.first(14))
    values = dict(em.score_embedding(vectors, label, batch).values)
    values["purity"] = em.knn_purity(near, label).mean()
    values["edges"] = graph.sum() / len(label)
    return values


# --- golden ------------------------------------------------------------------------------------


def test_every_golden_value(golden, ours):
    names = [name for name in golden if "::value::" in name]
    assert len(names) > 80
    for name in names:
        tolerance = 1e-5 if "lisi" in name else 1e-6
        assert ours[name] == pytest.approx(golden[name], abs=tolerance), name


@pytest.mark.parametrize("part", SETS)
def test_golden_neighbours_graph_probes_and_clusters(golden, ours, part):
    np.testing.assert_array_equal(ours[f"{part}::knn_index"], golden[f"{part}::knn_index"])
    np.testing.assert_allclose(
        ours[f"{part}::knn_distance"], golden[f"{part}::knn_distance"], atol=1e-5
    )
    np.testing.assert_array_equal(ours[f"{part}::graph_indices"], golden[f"{part}::graph_indices"])
    np.testing.assert_allclose(
        ours[f"{part}::graph_data"], golden[f"{part}::graph_data"], atol=1e-5
    )
    np.testing.assert_array_equal(ours[f"{part}::probe_knn15"], golden[f"{part}::probe_knn15"])
    assert (ours[f"{part}::probe_linear"] != golden[f"{part}::probe_linear"]).sum() <= 1
    for r in ("0.2", "0.5", "1.0", "2.0"):
        reached = ours[f"{part}::value::own_modularity@{r}"]
        assert reached >= golden[f"{part}::value::modularity@{r}"] - 0.01


def test_resolutions_of_the_specification(golden):
    vectors, label = golden["pbmc::pca20"], golden["pbmc::label"]
    near = nearest_others(vectors, 90)
    graph = clustering.umap_graph(near.first(14))
    clusters = clustering.clusters_at(graph)
    assert clustering.oracle_resolution(clusters, label) == 0.4
    stability = clustering.label_free_stability(
        near,
        vectors,
        {r: clusters[r] for r in (0.1, 0.2, 1.0)},
        np.random.default_rng(0),
        n_subsamples=3,
    )
    found = clusters[clustering.label_free_resolution(stability)]
    assert em.normalised_mutual_information(found, label) == pytest.approx(0.642, abs=0.001)


def test_parity_without_labels_batches_folds_or_graph(golden, tmp_path):
    np.savez(tmp_path / "in.npz", **{"a::pca20": golden["mix5::pca20"], "b::bins": np.eye(4)})
    parity_main()(tmp_path / "in.npz", tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as stored:
        assert "a::value::modularity@1.0" in stored and "a::leiden_1.0" in stored
        assert "b::value::mse_global_mean" in stored
        assert not any("asw" in name for name in stored.files)


# --- against other code and plain loops --------------------------------------------------------


@few
@given(seeds, st.integers(1, 3))
def test_neighbours_equal_a_plain_sort_with_ties_and_copies(seed, dims):
    vectors = np.random.default_rng(seed).integers(0, 4, size=(40, dims)).astype(float)
    square = ((vectors[:, None] - vectors[None]) ** 2).sum(-1)
    np.fill_diagonal(square, np.inf)
    near = nearest_others(vectors, 7)
    order = np.argsort(square, axis=1, kind="stable")[:, :7]
    np.testing.assert_array_equal(near.index_CK, order)
    fold = np.arange(40) % 3
    apart = np.where(fold[:, None] == fold, np.inf, square)
    found = nearest_in_other_groups(vectors, fold, 7).index_CK
    np.testing.assert_array_equal(found, np.argsort(apart, axis=1, kind="stable")[:, :7])


@few
@given(seeds)
def test_neighbours_of_a_subsample_need_no_search(seed):
    vectors, _, _ = example(seed, n=80)
    kept = np.sort(np.random.default_rng(seed).choice(80, 40, replace=False))
    for long in (10, 60):
        found = neighbours_within(nearest_others(vectors, long), kept, 6, vectors)
        np.testing.assert_array_equal(found.index_CK, nearest_others(vectors[kept], 6).index_CK)


@few
@given(seeds, st.integers(1, 6), st.integers(1, 30))
def test_agreement_of_partitions_equals_scikit_learn(seed, first, second):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, first, 30), rng.integers(0, second, 30)
    if len(set(a)) > 1 and len(set(b)) > 1:
        ours = em.adjusted_mutual_information(a, b)
        assert ours == pytest.approx(adjusted_mutual_info_score(a, b), abs=1e-9)
    assert em.adjusted_rand_index(a, b) == pytest.approx(adjusted_rand_score(a, b), abs=1e-12)
    ours = em.normalised_mutual_information(a, b)
    assert ours == pytest.approx(normalized_mutual_info_score(a, b), abs=1e-12)


@few
@given(seeds, st.sampled_from(["euclidean", "cosine"]))
def test_silhouettes_equal_scikit_learn(seed, metric):
    vectors, label, _ = example(seed)
    label[0] = 9  # a label of one cell
    vectors[5] = vectors[6]
    theirs = silhouette_samples(vectors, label, metric=metric)
    np.testing.assert_allclose(em.silhouettes(vectors, label, metric), theirs, atol=1e-7)


@pytest.mark.parametrize("labels", [2, 4])
def test_linear_probe_equals_scikit_learn(labels):
    vectors, label, _ = example(3, n=120, dims=8, labels=labels)
    vectors = np.c_[vectors, vectors[:, 0] * 1.01, np.full(120, 3.3)]
    fold = embedding_probes.stratified_folds(label, np.random.default_rng(0))
    expected = np.empty(120, dtype=int)
    for each in range(5):
        theirs = make_pipeline(StandardScaler(), LogisticRegression(tol=1e-10, max_iter=5000))
        theirs.fit(vectors[fold != each], label[fold != each])
        expected[fold == each] = theirs.predict(vectors[fold == each])
    assert (embedding_probes.linear_predictions(vectors, label, fold) != expected).sum() <= 1


# --- laws --------------------------------------------------------------------------------------


@few
@given(seeds)
def test_permutation_rotation_and_scale_change_no_score(seed):
    rng = np.random.default_rng(seed)
    vectors, label, batch = example(seed)
    expected = all_scores(vectors, label, batch)
    order = rng.permutation(len(label))
    rotation = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    for other in (
        all_scores(vectors[order], label[order], batch[order]),
        all_scores(vectors @ rotation, label, batch),
        all_scores(vectors * 1e-4, label, batch),
        all_scores(vectors * 3e5, label, batch),
        all_scores(vectors, np.array(["z", "y", "x"])[label], 7 - 2 * batch),
    ):
        assert other == pytest.approx(expected, abs=1e-5)


@few
@given(seeds)
def test_clusters_are_seeded_and_renamed_by_size(seed):
    vectors, _, _ = example(seed, n=90)
    graph = clustering.umap_graph(nearest_others(vectors, 14))
    found = clustering.leiden_clusters(graph, 1.0, seed)
    np.testing.assert_array_equal(found, clustering.leiden_clusters(graph, 1.0, seed))
    assert (np.diff(np.bincount(found)) <= 0).all()
    one = clustering.modularity(graph, np.zeros(90))
    assert clustering.modularity(graph, found) >= max(one, 0.0) - 1e-12


def test_noise_is_at_chance():
    rng = np.random.default_rng(0)
    vectors, label, batch = rng.normal(size=(1500, 20)), np.arange(1500) % 6, np.arange(1500) // 750
    graph = clustering.umap_graph(nearest_others(vectors, 14))
    for resolution in (0.5, 2.0):
        found = clustering.leiden_clusters(graph, resolution)
        assert abs(em.adjusted_mutual_information(found, label)) < 0.02
        assert abs(em.adjusted_rand_index(found, label)) < 0.02
    probe = embedding_probes.knn_batch_probe(vectors, batch, label, rng)
    assert abs(probe.accuracy - 0.5) < 0.05 and probe.majority == pytest.approx(0.5, abs=0.01)


def test_dimension_lifts_asw_batch_but_not_the_probe():
    rng = np.random.default_rng(1)
    batch, label = np.arange(400) % 2, np.zeros(400)
    wide = rng.normal(size=(400, 500))
    wide[:, 0] += 6 * batch
    assert em.asw_batch(wide[:, :2], batch, label) < 0.4 < 0.95 < em.asw_batch(wide, batch, label)
    assert embedding_probes.knn_batch_probe(wide[:, :20], batch, label, rng).accuracy > 0.99
    scores = em.score_embedding(wide, np.arange(400) // 200, batch).values
    assert scores["asw_batch"] < scores["asw_batch_raw"]


DEGENERATE = {
    "constant": (np.ones((30, 4)), np.arange(30) % 3, np.arange(30) % 2),
    "zeros": (np.zeros((30, 4)), np.arange(30) % 3, np.arange(30) % 2),
    "copies": (np.repeat(np.eye(3), 10, axis=0), np.arange(30) // 10, np.arange(30) % 2),
    "one batch": (None, np.arange(30) % 3, np.zeros(30)),
    "one label": (None, np.zeros(30), np.arange(30) % 2),
    "single cells": (None, np.arange(30), np.arange(30) % 2),
    "batch is label": (None, np.arange(30) % 3, np.arange(30) % 3),
    "batch a cell": (None, np.arange(30) % 3, np.arange(30)),
    "four cells": (np.random.default_rng(1).normal(size=(4, 3)), [0, 0, 1, 1], [0, 1, 0, 1]),
    "one dimension": (np.arange(30.0)[:, None], np.arange(30) % 3, np.arange(30) % 2),
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_never_nan(name):
    vectors, label, batch = DEGENERATE[name]
    vectors = np.random.default_rng(0).normal(size=(30, 60)) if vectors is None else vectors
    scores = em.score_embedding(vectors, label, batch)
    assert all(np.isfinite(value) for value in scores.values.values())
    assert all("nan" not in line for line in scores.undefined.values())
    near = nearest_others(vectors, 90)
    graph = clustering.umap_graph(near.first(14))
    assert np.isfinite(graph.data).all()
    found = clustering.leiden_clusters(graph)
    for score in (
        em.adjusted_mutual_information,
        em.adjusted_rand_index,
        em.normalised_mutual_information,
    ):
        assert np.isfinite(score(found, label))
    fold = np.arange(len(label)) % 2
    for predict in (embedding_probes.knn_predictions, embedding_probes.linear_predictions):
        predicted = predict(vectors, label, fold)
        assert np.isfinite(embedding_probes.macro_f1(np.asarray(label), predicted))


def test_what_is_undefined_says_why():
    rng = np.random.default_rng(0)
    vectors, label, batch = example(0)
    one = np.zeros(60)
    near = nearest_others(vectors, 20)
    for call, words in (
        (lambda: em.asw_label(vectors, one), "ASW label needs at least two labels"),
        (lambda: em.asw_label(vectors, np.arange(60)), "a label with two cells"),
        (lambda: em.asw_batch(vectors, one, label), "ASW batch needs at least two batches"),
        (lambda: em.bras(vectors, label, label), "BRAS needs a label with cells of two batches"),
        (lambda: em.pcr(vectors, one), "PCR needs at least two batches"),
        (lambda: em.pcr(vectors * 0 + 7.1, batch), "PCR needs an embedding that varies"),
        (lambda: em.pcr(vectors, one, categorical=False), "PCR needs a covariate that varies"),
        (lambda: em.pcr_comparison(0.0, 0.0), "needs batch variance before"),
        (lambda: em.ilisi(near, one), "iLISI needs at least two batches"),
        (lambda: em.clisi(near, one), "cLISI needs at least two labels"),
        (lambda: em.asw_label(vectors, label[:-1]), "column has 60 values, one a cell"),
        (lambda: em.asw_label(np.full((60, 2), np.nan), label), "an embedding must be finite"),
        (lambda: em.asw_label(vectors, np.full(60, np.nan)), "each cell needs a label"),
        (lambda: nearest_others(vectors[:1], 3), "at least 2 cells"),
        (lambda: clustering.leiden_clusters(clustering.umap_graph(near), 0), "above 0"),
        (lambda: clustering.label_free_resolution({}), "a clustering with two clusters"),
        (lambda: embedding_probes.donor_folds(one, rng), "folds by donor need two donors"),
        (lambda: embedding_probes.leave_one_batch_out(one), "at least two batches"),
        (lambda: reconstruction.reconstruction_score(1.0, 0.0), "a floor with an error"),
        (lambda: reconstruction.floor_errors(np.zeros((3, 3))), "a visible bin above 0"),
    ):
        with pytest.raises(UserError, match=words):
            call()


# --- folds and reconstruction ------------------------------------------------------------------


@few
@given(seeds, st.integers(2, 5))
def test_folds_are_stratified_and_keep_donors_together(seed, n_folds):
    rng = np.random.default_rng(seed)
    label, donor = rng.integers(0, 3, 60), rng.integers(0, 8, 60)
    fold = embedding_probes.stratified_folds(label, rng, n_folds)
    for each in range(3):
        sizes = np.bincount(fold[label == each], minlength=n_folds)
        assert sizes.max() - sizes.min() <= 1
    fold = embedding_probes.donor_folds(donor, rng, n_folds)
    assert len(np.unique(fold)) == n_folds
    assert all(len(set(fold[donor == each])) == 1 for each in set(donor))


@few
@given(seeds)
def test_masked_bins_inform_no_prediction_of_their_cell(seed):
    rng = np.random.default_rng(seed)
    bins = rng.integers(0, 51, size=(30, 12))
    fold = np.arange(30) % 3
    mask = next(reconstruction.masks(bins, rng))
    assert not mask[bins == 0].any() and mask.any()
    cell = 4
    changed = bins.copy()
    changed[cell, mask[cell]] = rng.integers(1, 51, int(mask[cell].sum()))
    pairs = [reconstruction.floor_predictions(each, fold, mask) for each in (bins, changed)]
    for name in pairs[0]:
        np.testing.assert_allclose(pairs[0][name][cell], pairs[1][name][cell], err_msg=name)


def test_uniform_bins_have_the_uniform_floor():
    bins = np.tile(np.arange(1, 51), (40, 1))
    assert reconstruction.floor_errors(bins)["mse_global_mean"] == reconstruction.uniform_floor()
    assert reconstruction.uniform_floor() == pytest.approx(208.25)


def test_ranks():
    first = reconstruction.scaled_ranks([2, 0, 2, 1], 5)
    np.testing.assert_allclose(first, [0.75, 0.25, 0.75, 0, 0])
    same, other = np.stack([first, first]), np.stack([first, np.roll(first, 1)])
    found = reconstruction.rank_correlations(same, other)
    assert found[0] == pytest.approx(1) and found[1] < 1
    floor = reconstruction.mean_rank_floor(other)
    assert floor[0, 0] == pytest.approx(0.75) and (floor[other == 0] == 0).all()
    with pytest.raises(UserError, match="gene tokens lie between"):
        reconstruction.scaled_ranks([5], 5)


def test_label_ties_of_the_vote_go_to_the_lower_class():
    vectors = np.array([[0.0], [1.0], [-1.0], [9.0]])
    found = embedding_probes.knn_predictions(vectors, [2, 1, 0, 1], [0, 1, 1, 1], k=2)
    assert found[0] == 0
    assert all(a == b for a, b in itertools.pairwise(sorted(found[1:])))


def test_scib_metrics_gives_the_same_where_the_definition_is_the_same():
    """An oracle, in the extra `oracle`; scib-metrics computes in single precision."""
    oracle = pytest.importorskip("scib_metrics")
    with np.load(GOLDEN) as stored:
        vectors, label, batch = (stored[f"mix5::{name}"] for name in ("pca20", "label", "batch"))
    theirs = {
        "asw_label": oracle.silhouette_label(vectors, label),
        "asw_batch": oracle.silhouette_batch(vectors, label, batch),
        "bras": oracle.bras(vectors, label, batch),
    }
    ours = em.score_embedding(vectors, label, batch).values
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(float(value), abs=1e-5), name
