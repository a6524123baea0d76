"""All scores of one embedding, and differences between two on the same cells."""

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.stats import ortho_group

from leadline.errors import UserError
from leadline.stats import reconstruction
from leadline.stats.embedding_differences import RunDraws, embedding_difference
from leadline.stats.embedding_metrics import pcr
from leadline.stats.zero_shot import pcr_of_expression, score_frozen

FAST = {"n_clusterings": 1, "n_halves": 2}
RNG = np.random.default_rng(0)
LABEL, BATCH = np.repeat([0, 1, 2], 30), np.tile([0, 1], 45)
VECTORS = RNG.normal(size=(90, 6)) + 2.5 * RNG.normal(size=(3, 6))[LABEL]
# Scores that depend on ties or on the order of cells only through clusterings and folds.
STEADY = ("asw_label", "graph_connectivity", "clisi", "ilisi", "asw_batch", "pcr_batch")


# Shrinking would score embeddings for minutes and explain no more.
@settings(max_examples=3, deadline=None, phases=[Phase.generate])
@given(scale=st.floats(0.01, 100), seed=st.integers(0, 99))
def test_turning_and_scaling_change_nothing(scale, seed):
    turned = scale * VECTORS @ ortho_group.rvs(6, random_state=seed)
    before, after = (score_frozen(x, LABEL, BATCH, **FAST).values for x in (VECTORS, turned))
    for name in before:
        if name.startswith("linear"):
            continue  # it scales each dimension by itself, as scikit-learn's pipeline does
        assert after[name] == pytest.approx(before[name], abs=1e-5), name


def test_the_order_of_cells_and_the_names_of_labels_change_nothing():
    order = np.random.default_rng(1).permutation(90)
    names = np.array(["z", "a", "m"])[LABEL]
    before = score_frozen(VECTORS, LABEL, BATCH, **FAST).values
    after = score_frozen(VECTORS[order], names[order], BATCH[order], **FAST).values
    for name in STEADY:
        assert after[name] == pytest.approx(before[name], abs=1e-9), name


def test_noise_is_at_chance_and_knows_no_batch():
    rng = np.random.default_rng(3)
    label, batch = rng.integers(0, 4, 500), rng.integers(0, 2, 500)
    found = score_frozen(rng.normal(size=(500, 20)), label, batch, **FAST).values
    for rule in ("oracle", "fixed", "label_free"):
        assert abs(found[f"ami_{rule}"]) < 0.02 and abs(found[f"ari_{rule}"]) < 0.02
        assert 0.15 < found[f"avg_bio_{rule}"] < 0.22
    assert abs(found["batch_probe_excess"]) < 0.15 and found["linear_accuracy"] < 0.35


@pytest.mark.parametrize(
    ("vectors", "label", "batch", "lacking"),
    [
        (VECTORS, LABEL * 0, BATCH, "avg_bio_oracle"),
        (VECTORS, np.arange(90), BATCH, "avg_bio_oracle"),
        (VECTORS, LABEL, BATCH * 0, "ilisi"),
        (VECTORS, LABEL, LABEL, "batch_probe_accuracy"),
        (VECTORS * 0, LABEL, BATCH, "pcr_batch"),
        (np.repeat(VECTORS[:30], 3, axis=0), LABEL, BATCH, None),
        (VECTORS[:, :1], LABEL, None, None),
    ],
)
def test_what_is_not_defined_is_a_message_and_never_nan(vectors, label, batch, lacking):
    found = score_frozen(vectors, label, batch, pcr_before=0.5, **FAST)
    assert np.isfinite(list(found.values.values())).all()
    for draws in (*found.halves.values(), *found.clusterings.values()):
        assert np.isfinite(draws).all()
    assert not set(found.values) & set(found.undefined)
    if lacking is not None:
        assert lacking in found.undefined and ": got " in found.undefined[lacking]


def test_few_cells_are_refused():
    with pytest.raises(UserError, match="this score needs at least 20 cells: got 10"):
        score_frozen(VECTORS[:10], LABEL[:10], **FAST)


def test_pcr_of_a_sparse_matrix_is_that_of_the_dense_one():
    counts = np.random.default_rng(2).poisson(1.0 + BATCH[:, None], size=(90, 12))
    found = pcr_of_expression(sparse.csr_array(counts.astype(np.float32)), BATCH)
    assert found == pytest.approx(pcr(counts, BATCH))
    with pytest.raises(UserError, match="PCR needs expression that varies"):
        pcr_of_expression(sparse.csr_array(np.ones((90, 3))), BATCH)


def test_reconstruction_is_judged_by_the_gene_mean_of_other_folds():
    rng = np.random.default_rng(8)
    bins = np.where(rng.random((40, 15)) < 0.8, rng.integers(1, 51, (40, 15)), 0)
    fold, everything = np.arange(40) % 4, np.ones(bins.shape, dtype=bool)
    floors = reconstruction.floor_predictions(bins, fold)
    found = reconstruction.reconstruction_errors(
        bins, floors["gene_mean_out_of_fold"], fold, everything
    )
    assert found["score"] == 0 and found["mse"] == found["floor_gene_mean_out_of_fold"]
    assert reconstruction.reconstruction_errors(bins, bins, fold, everything)["score"] == 1
    # Of hidden positions alone: what is said of shown ones does not count.
    hidden = (bins > 0) & (rng.random(bins.shape) < 0.2)
    told = np.where(hidden, bins, 0)
    assert reconstruction.reconstruction_errors(bins, told, fold, hidden)["mse"] == 0


def hits(rng, rate, cells=400):
    draws = (rng.random(cells) < rate).astype(float)
    return RunDraws(value=float(draws.mean()), draws=draws, over_cells=True)


def test_a_difference_over_cells_is_that_of_a_paired_t_test():
    from scipy.stats import ttest_rel

    rng = np.random.default_rng(4)
    a, b = hits(rng, 0.8), hits(rng, 0.7)
    found, known = embedding_difference([a], [b]), ttest_rel(a.draws, b.draws)
    assert found.estimate == pytest.approx(a.value - b.value)
    assert found.p == pytest.approx(known.pvalue)
    interval = known.confidence_interval(0.95)
    assert found.interval.low == pytest.approx(interval.low)
    assert embedding_difference([a], [a]).p is None and embedding_difference([a], [a]).runs == (
        1,
        1,
    )


def test_donors_widen_an_interval_and_cells_of_other_embeddings_are_refused():
    rng = np.random.default_rng(5)
    donor = np.repeat(np.arange(8), 50)
    draws = (rng.random(400) < np.where(donor % 2, 0.9, 0.5)).astype(float)
    run = RunDraws(value=float(draws.mean()), draws=draws, over_cells=True)
    cells = embedding_difference([run]).interval
    donors = embedding_difference([run], unit_C=donor).interval
    assert donors.half_width > 2 * cells.half_width
    with pytest.raises(UserError, match="an interval over donors needs two donors"):
        embedding_difference([run], unit_C=donor * 0)
    with pytest.raises(UserError, match="compared on the same cells and halves"):
        embedding_difference([run], [hits(rng, 0.5, cells=300)])


def test_the_interval_covers_with_runs_and_cells_both_at_random():
    # Both sides have a rate of 0.7 on average; each of five runs has its own luck.
    rng = np.random.default_rng(6)
    covered = []
    for _ in range(400):
        ease = rng.normal(0, 0.1, 300)
        sides = []
        for n_runs in (1, 5):
            luck = rng.normal(0, 0.03, n_runs) if n_runs > 1 else np.zeros(1)
            told = [(rng.random(300) < 0.7 + each + ease).astype(float) for each in luck]
            sides.append([RunDraws(value=float(x.mean()), draws=x, over_cells=True) for x in told])
        covered.append(embedding_difference(*sides).interval.contains(0.0))
    assert 0.92 < np.mean(covered) < 0.985
