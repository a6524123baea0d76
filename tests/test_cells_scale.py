"""The scale of a matrix is recognised from its numbers, whatever the libraries and genes."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse

from cells_files import lognorm, make_counts, make_obs, write_h5ad, zscores
from leadline.data.cells import Scale, read_cells
from leadline.data.cells.scale import recognise

SEEDS = st.integers(0, 2**32 - 1)
DEPTHS = st.sampled_from([800, 3_000, 20_000])
SUBSETS = st.sampled_from([1.0, 0.5, 0.2])
LOGS = [(np.e, Scale.LN_CP10K), (2.0, Scale.LOG2_CP10K)]


def draw_counts(seed: int, depth: int, n_cells: int = 40, n_genes: int = 1_500) -> NDArray:
    """Negative binomial counts: libraries of random size, most genes rare, no empty cell."""
    rng = np.random.default_rng(seed)
    rates_G = rng.gamma(0.4, 1.0, n_genes)
    rates_G /= rates_G.sum()
    sizes_C = depth * rng.lognormal(0.0, 0.5, n_cells)
    counts_CG = rng.poisson(sizes_C[:, None] * rates_G * rng.gamma(2.0, 0.5, (n_cells, n_genes)))
    counts_CG[:, 0] += 1
    return counts_CG.astype(np.float64)


def some_genes(values_CG: NDArray, share: float, seed: int) -> sparse.csr_array:
    rng = np.random.default_rng(seed)
    kept = np.sort(rng.permutation(values_CG.shape[1])[: int(share * values_CG.shape[1])])
    return sparse.csr_array(values_CG[:, kept].astype(np.float32))


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, depth=DEPTHS, share=SUBSETS)
def test_counts(seed: int, depth: int, share: float) -> None:
    assert recognise(some_genes(draw_counts(seed, depth), share, seed)).scale is Scale.COUNTS


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, depth=DEPTHS, share=SUBSETS, log=st.sampled_from(LOGS))
def test_log_of_counts_per_10k(seed: int, depth: int, share: float, log: tuple) -> None:
    base, scale = log
    found = recognise(some_genes(lognorm(draw_counts(seed, depth), base), share, seed))
    assert found.scale is scale
    assert ("sums to 10,000" in found.how) == (share == 1.0)


@settings(max_examples=40, deadline=None)
@given(
    seed=SEEDS,
    depth=DEPTHS,
    share=SUBSETS,
    log=st.sampled_from(LOGS),
    noise=st.sampled_from(["float16", "3 decimals", "1e-3 relative"]),
)
def test_noisy_logs(seed: int, depth: int, share: float, log: tuple, noise: str) -> None:
    base, scale = log
    values_CG = lognorm(draw_counts(seed, depth), base)
    if noise == "float16":
        values_CG = values_CG.astype(np.float16)
    elif noise == "3 decimals":
        values_CG = np.round(values_CG, 3)
    else:
        values_CG *= 1 + 1e-3 * np.random.default_rng(seed).uniform(-1, 1, values_CG.shape)
    assert recognise(some_genes(values_CG, share, seed)).scale is scale


@settings(max_examples=40, deadline=None)
@given(
    seed=SEEDS,
    depth=DEPTHS,
    share=SUBSETS,
    base=st.sampled_from([np.e, 2.0]),
    total=st.sampled_from([1e6, 1e5, 5e3, 2e4, "median"]),
)
def test_logs_of_other_totals(
    seed: int, depth: int, share: float, base: float, total: float | str
) -> None:
    counts_CG = draw_counts(seed, depth)
    # A median of exactly 10,000 would be counts per 10,000, so it is moved off.
    each = float(np.median(counts_CG.sum(axis=1))) + 0.37 if isinstance(total, str) else total
    found = recognise(some_genes(lognorm(counts_CG, base, each), share, seed))
    assert found.scale is Scale.LOG_OTHER


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, depth=DEPTHS, share=SUBSETS)
def test_log10_is_another_log(seed: int, depth: int, share: float) -> None:
    values_CG = lognorm(draw_counts(seed, depth), 10.0)
    assert recognise(some_genes(values_CG, share, seed)).scale is Scale.LOG_OTHER


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, depth=DEPTHS, share=SUBSETS)
def test_normalised_without_a_logarithm(seed: int, depth: int, share: float) -> None:
    counts_CG = draw_counts(seed, depth)
    values_CG = counts_CG / counts_CG.sum(axis=1, keepdims=True) * 1e4
    found = recognise(some_genes(values_CG, share, seed))
    assert found.scale is Scale.OTHER
    assert "without a logarithm" in found.how


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, depth=DEPTHS, share=SUBSETS, clipped=st.booleans())
def test_zscores(seed: int, depth: int, share: float, clipped: bool) -> None:
    values_CG = zscores(lognorm(draw_counts(seed, depth)))
    if clipped:
        values_CG = np.minimum(values_CG, 4.0)
    assert recognise(some_genes(values_CG, share, seed)).scale is Scale.ZSCORED


def test_a_few_genes_filtered_after_normalisation() -> None:
    values_CG = lognorm(draw_counts(1, 3_000))
    rare = np.argsort(values_CG.sum(axis=0))[:600]
    part_CG = sparse.csr_array(np.delete(values_CG, rare, axis=1).astype(np.float32))
    found = recognise(part_CG)
    assert (found.scale, "whole number" in found.how) == (Scale.LN_CP10K, True)


@pytest.mark.parametrize(
    ("change", "how"),
    [
        (lambda logs: logs - 0.5, "do not have means near 0"),
        (lambda logs: np.random.default_rng(0).uniform(0.1, 9, logs.shape), "no logarithm of"),
        (lambda logs: np.where(logs > 0, 3e-4, 0), "no logarithm of"),
        (lambda logs: np.where(logs > 0, -1.0, 0), "all values are integers"),
        (lambda logs: np.where(logs > 0, np.nan, 0), "not finite"),
    ],
)
def test_other_numbers(change, how: str) -> None:
    found = recognise(sparse.csr_array(change(lognorm(make_counts())).astype(np.float32)))
    assert found.scale is Scale.OTHER
    assert how in found.how


def test_binary_counts_are_counts_with_a_warning() -> None:
    found = recognise(sparse.csr_array((make_counts() > 0).astype(np.float32)))
    assert found.scale is Scale.COUNTS
    assert "binarised" in found.how


def test_noise_on_counts_is_rounded_away(tmp_path: Path) -> None:
    noisy_CG = make_counts() * (1 + 1e-5)
    cells = read_cells(write_h5ad(tmp_path / "cells.h5ad", noisy_CG), name="mine")
    assert cells.scale is Scale.COUNTS
    np.testing.assert_array_equal(cells.matrix_CG.toarray(), make_counts())
    assert any("within 0.001 of an integer were rounded" in note for note in cells.notes)


def test_a_declared_scale_overrules_and_says_so(tmp_path: Path) -> None:
    path = write_h5ad(tmp_path / "cells.h5ad", lognorm(make_counts()))
    right = read_cells(path, name="mine", scale="ln_cp10k")
    assert "as data.scale=ln_cp10k says" in right.notes[0]
    wrong = read_cells(path, name="mine", scale=Scale.LOG2_CP10K)
    assert wrong.scale is Scale.LOG2_CP10K
    assert "the numbers contradict it, they look like ln of 1 + counts" in wrong.notes[0]
    path = write_h5ad(tmp_path / "other.h5ad", np.sqrt(make_counts()))
    unknown = read_cells(path, name="mine", scale="log_other")
    assert "the numbers alone do not show it" in unknown.notes[0]
    assert np.isnan(unknown.library_C).all()


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, depth=DEPTHS, share=SUBSETS, base=st.sampled_from([np.e, 2.0]))
def test_inferred_libraries_are_right_or_unknown(
    tmp_path_factory: pytest.TempPathFactory, seed: int, depth: int, share: float, base: float
) -> None:
    counts_CG = draw_counts(seed, depth)
    part_CG = some_genes(lognorm(counts_CG, base), share, seed)
    path = write_h5ad(tmp_path_factory.mktemp("a") / "cells.h5ad", part_CG, obs=make_obs(40))
    cells = read_cells(path, name="mine")
    known_C = np.isfinite(cells.library_C)
    assert known_C.mean() > 0.9
    np.testing.assert_array_equal(cells.library_C[known_C], counts_CG.sum(axis=1)[known_C])
    if known_C.all():
        expected = some_genes(counts_CG, share, seed).toarray()
        np.testing.assert_array_equal(cells.counts().toarray(), expected)


def test_libraries_come_from_a_column_that_fits(tmp_path: Path) -> None:
    counts_CG = draw_counts(3, 3_000)
    logs_CG = np.round(lognorm(counts_CG), 3)  # too coarse to infer from
    sizes_C = counts_CG.sum(axis=1)
    obs = make_obs(40).assign(n_counts=sizes_C * 1.37, total_counts=sizes_C)
    path = write_h5ad(tmp_path / "cells.h5ad", logs_CG, obs=obs)
    cells = read_cells(path, name="mine")
    np.testing.assert_array_equal(cells.library_C, sizes_C)
    assert any("n_counts was ignored as library size" in note for note in cells.notes)
    assert any("from obs column total_counts" in note for note in cells.notes)
    np.testing.assert_array_equal(cells.counts().toarray(), counts_CG)
    path = write_h5ad(tmp_path / "none.h5ad", logs_CG, obs=make_obs(40))
    unknown = read_cells(path, name="mine")
    assert np.isnan(unknown.library_C).all()
    assert any("library sizes are unknown" in note for note in unknown.notes)


def test_libraries_of_counts_are_their_sums_or_a_named_column(tmp_path: Path) -> None:
    counts_CG = make_counts()
    sizes_C = counts_CG.sum(axis=1) + 100
    obs = make_obs().assign(n_counts=sizes_C, nUMI="many")
    path = write_h5ad(tmp_path / "cells.h5ad", counts_CG, obs=obs)
    cells = read_cells(path, name="mine")
    np.testing.assert_array_equal(cells.library_C, counts_CG.sum(axis=1))
    assert any("data.library_column=n_counts counts them too" in note for note in cells.notes)
    cells = read_cells(path, name="mine", library_column="n_counts")
    np.testing.assert_array_equal(cells.library_C, sizes_C)


def test_a_recognised_column_that_is_no_number_is_ignored(tmp_path: Path) -> None:
    obs = make_obs().assign(n_counts="many")
    path = write_h5ad(tmp_path / "cells.h5ad", lognorm(make_counts()), obs=obs)
    assert any("n_counts was ignored: 60" in note for note in read_cells(path, name="m").notes)
