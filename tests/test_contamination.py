"""Cells that are in a corpus too: found where planted, and not where there are none.

C cells, G genes.
"""

import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from cells_files import (
    ensembl_ids,
    gene_symbols,
    lognorm,
    make_counts,
    write_h5ad,
    write_tenx_folder,
    write_tenx_h5,
    zscores,
)
from leadline.config import FileData
from leadline.data.cells.files import open_hdf5
from leadline.data.cells.h5ad import obs_column
from leadline.data.overlap import compare, corpus_files, limit_of, read_target, shuffled
from leadline.data.overlap import fingerprints as prints
from leadline.data.overlap.corpus import ROWS
from leadline.data.overlap.gene_names import shared_genes
from leadline.errors import UserError

N_GENES = 600


def obs_of(n_cells, first=0, **columns):
    return pd.DataFrame(columns, index=[f"c{first + row}" for row in range(n_cells)])


def target_of(path, **words):
    dataset_id = words.pop("dataset_id", None)
    return read_target(FileData(name="cells", path=str(path), **words), path.parent, dataset_id)


def planted(tmp_path, *, share=0.01, n_cells=1000, n_corpus=2000, seed=0, to=None, genes=None):
    """Write data and a corpus that holds a share of them; give the paths and who is in it."""
    counts_CG = make_counts(n_cells + n_corpus, N_GENES, seed)
    rng = np.random.default_rng(seed)
    known = rng.choice(n_cells, round(share * n_cells), replace=False)
    corpus_CG = np.concatenate([counts_CG[n_cells:], counts_CG[known]])
    corpus_CG = corpus_CG[rng.permutation(len(corpus_CG))]
    corpus_CG = corpus_CG if to is None else to(corpus_CG)
    order = rng.permutation(N_GENES)[:genes]
    var = pd.DataFrame(index=np.array(gene_symbols(N_GENES))[order])
    data = write_h5ad(tmp_path / "data.h5ad", sparse.csr_array(counts_CG[:n_cells]),
                      obs=obs_of(n_cells))  # fmt: skip
    corpus = write_h5ad(
        tmp_path / "corpus.h5ad",
        sparse.csr_array(corpus_CG[:, order].astype(np.float32)),
        obs=obs_of(len(corpus_CG), 10_000),
        var=var,
    )
    return data, corpus, np.sort(known)


def found(data, corpus, **words):
    return compare(target_of(data, **words), corpus_files(corpus))


@pytest.mark.parametrize("seed", [0, 1])
def test_planted_cells_are_found_exactly_by_their_counts(tmp_path, seed):
    data, corpus, known = planted(tmp_path, seed=seed, genes=500)
    overlap = found(data, corpus)
    assert np.flatnonzero(overlap.counts.seen_C).tolist() == known.tolist()
    assert overlap.counts.judged == 1000 and overlap.corpus_cells == 2010
    # The order of genes is another, and a sixth of them is in the data alone.
    assert "500 shared genes" in overlap.notes[0]


@pytest.mark.parametrize(
    "to",
    [lognorm, lambda x: lognorm(x, base=2), lambda x: lognorm(x, total=2000),
     lambda x: lognorm(x).astype(np.float16), np.sqrt],
    ids=["ln", "log2", "other total", "half precision", "square root"],
)  # fmt: skip
def test_planted_cells_are_found_in_a_normalised_corpus(tmp_path, to):
    data, corpus, known = planted(tmp_path, to=to)
    overlap = found(data, corpus)
    assert overlap.counts.why_not == "no file of the corpus holds counts"
    assert abs(overlap.top_genes.seen / overlap.top_genes.judged - 0.01) <= 0.003
    assert set(known) >= set(np.flatnonzero(overlap.top_genes.seen_C)[:5])
    assert overlap.false_share < 1e-3 and overlap.n_shuffled >= 2000


def test_no_overlap_is_found_between_cells_of_one_type(tmp_path):
    data, corpus, _ = planted(tmp_path, share=0, n_cells=2000, n_corpus=3000)
    overlap = found(data, corpus)
    assert overlap.counts.seen == 0 and overlap.top_genes.seen < 2
    # A cell may have too few different values among its most expressed genes.
    assert overlap.counts.judged == 2000 and overlap.top_genes.judged > 1990


def test_no_overlap_is_found_between_halves_of_real_cells(tmp_path, pbmc_halves):
    overlap = found(*pbmc_halves)
    assert overlap.top_genes.judged > 300
    assert overlap.top_genes.seen == 0 and overlap.counts.seen == 0


@pytest.fixture
def pbmc_halves(tmp_path):
    from leadline.config.compose import compose
    from leadline.data.cache import load_once
    from small import saved

    cells = load_once(compose(["data=pbmc68k_reduced"]).data, tmp_path).cells
    rows = np.random.default_rng(0).permutation(len(cells))
    return [saved(cells.take(half), tmp_path / f"{at}.h5ad")
            for at, half in enumerate(np.split(rows, 2))]  # fmt: skip


@pytest.mark.parametrize(("n_genes", "binary"), [(100, False), (200, False), (200, True)])
def test_panels_of_few_genes_do_not_make_cells_of_one_type_the_same(tmp_path, n_genes, binary):
    rng = np.random.default_rng(1)
    rate_KG = rng.gamma(0.5, 1, n_genes) * rng.lognormal(0, 1.5, (8, n_genes)) + 0.02
    rate_KG *= 500 / rate_KG.sum(axis=1, keepdims=True)
    counts_CG = rng.poisson(rate_KG[rng.integers(0, 8, 6000)]).astype(np.float32)
    counts_CG = np.minimum(counts_CG, 1) if binary else counts_CG
    var = pd.DataFrame(index=gene_symbols(n_genes))
    for name, part in (("data", counts_CG[:1500]), ("corpus", counts_CG[1500:])):
        write_h5ad(tmp_path / name, sparse.csr_array(part), obs=obs_of(len(part)), var=var)
    overlap = found(tmp_path / "data", tmp_path / "corpus")
    assert overlap.top_genes.seen < 1.5 and overlap.counts.seen == 0
    assert overlap.top_genes.judged == (0 if binary else 1500)
    assert not binary or "too few to calibrate" in overlap.top_genes.why_not


@pytest.mark.slow
def test_estimates_are_right_over_many_draws(tmp_path):
    errors, false = [], []
    for seed in range(12):
        data, corpus, _ = planted(tmp_path, seed=seed, n_cells=2000, to=lognorm)
        overlap = found(data, corpus)
        errors.append(overlap.top_genes.seen / overlap.top_genes.judged - 0.01)
        data, corpus, _ = planted(tmp_path, share=0, seed=seed, n_cells=2000, to=lognorm)
        false.append(found(data, corpus).top_genes.seen / 2000)
    assert np.abs(errors).max() <= 0.003
    assert np.mean(false) < 1e-3


def test_cells_without_genes_enough_are_not_judged(tmp_path):
    counts_CG = make_counts(40, N_GENES)
    counts_CG[:10, 15:] = 0
    path = write_h5ad(tmp_path / "a.h5ad", counts_CG, obs=obs_of(40))
    overlap = found(path, path)
    assert overlap.counts.judged == overlap.top_genes.judged == 30
    assert overlap.counts.seen == 30 and not overlap.counts.seen_C[:10].any()


def test_z_scores_and_lone_cells_are_not_guessed_at(tmp_path):
    counts_CG = make_counts(60, N_GENES)
    data = write_h5ad(tmp_path / "a.h5ad", counts_CG, obs=obs_of(60))
    corpus = write_h5ad(tmp_path / "b.h5ad", zscores(lognorm(counts_CG)), obs=obs_of(60))
    overlap = found(data, corpus)
    assert "z-scores" in overlap.top_genes.why_not and overlap.top_genes.judged == 0
    few = write_h5ad(tmp_path / "few.h5ad", counts_CG[:4], obs=obs_of(4))
    overlap = found(few, data)
    assert "too few to calibrate" in overlap.top_genes.why_not and overlap.counts.seen == 4


def test_counts_are_recovered_from_logarithms_or_taken_from_another_matrix(tmp_path, pbmc_halves):
    counts_CG = make_counts(60, N_GENES)
    plain = write_h5ad(tmp_path / "plain.h5ad", counts_CG, obs=obs_of(60))
    logs = lognorm(counts_CG).astype(np.float32)
    raw = write_h5ad(tmp_path / "raw.h5ad", logs, obs=obs_of(60), raw_CG=counts_CG)
    layer = write_h5ad(tmp_path / "layer.h5ad", logs, obs=obs_of(60), layers={"n": counts_CG})
    depth = obs_of(60, n_counts=counts_CG.sum(axis=1))
    logged = write_h5ad(tmp_path / "logs.h5ad", logs, obs=depth)
    for data, corpus in ((plain, layer), (layer, plain), (logged, plain), (raw, raw)):
        assert found(data, corpus).counts.seen == 60, (data.name, corpus.name)
    assert corpus_files(raw)[0].layer == "raw"
    without = write_h5ad(tmp_path / "w.h5ad", lognorm(counts_CG, total=2345), obs=obs_of(60))
    assert "no counts" in found(without, plain).counts.why_not


@pytest.mark.parametrize("form", ["csc", "dense", "10x h5", "old 10x h5", "10x folder", "folder"])
def test_every_layout_of_a_corpus_is_read(tmp_path, form):
    counts_CG = make_counts(60, N_GENES)
    data = write_h5ad(tmp_path / "data.h5ad", counts_CG[:30], obs=obs_of(30))
    place = tmp_path / "corpus"
    if form == "10x folder":
        write_tenx_folder(place, counts_CG)
    elif form.endswith("10x h5"):
        write_tenx_h5(place, counts_CG, old=form.startswith("old"))
    elif form == "folder":
        place.mkdir()
        for at, part in enumerate(np.split(counts_CG, 2)):
            write_h5ad(place / f"{at}.h5ad", part, obs=obs_of(30))
    else:
        write_h5ad(place, sparse.csc_array(counts_CG) if form == "csc" else counts_CG,
                   obs=obs_of(60))  # fmt: skip
    overlap = found(data, place)
    assert overlap.counts.seen == 30 and overlap.corpus_cells == 60


def test_ten_x_data_are_looked_for(tmp_path):
    counts_CG = make_counts(60, N_GENES)
    corpus = write_h5ad(tmp_path / "corpus.h5ad", counts_CG, obs=obs_of(60))
    assert found(write_tenx_h5(tmp_path / "a.h5", counts_CG[:20]), corpus).counts.seen == 20
    assert found(write_tenx_folder(tmp_path / "a", counts_CG[:20]), corpus).counts.seen == 20


def test_memory_does_not_grow_with_the_corpus(tmp_path):
    data = target_of(write_h5ad(tmp_path / "d.h5ad", make_counts(40, 200), obs=obs_of(40)))
    peaks = []
    for blocks in (2, 8):
        n_cells = blocks * ROWS
        matrix = sparse.random_array((n_cells, 200), density=0.1, rng=0, format="csr")
        matrix.data = np.arange(matrix.nnz) % 5 + 1.0
        path = write_h5ad(tmp_path / f"{blocks}.h5ad", matrix, obs=obs_of(n_cells))
        corpus = corpus_files(path)
        compare(data, corpus)
        tracemalloc.start()
        assert compare(data, corpus).corpus_cells == n_cells
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


# Names of genes.


def named(tmp_path, name, counts_CG, **columns):
    var = pd.DataFrame({key: value for key, value in columns.items() if key != "index"})
    var.index = columns["index"]
    return write_h5ad(tmp_path / f"{name}.h5ad", counts_CG, obs=obs_of(len(counts_CG)), var=var)


def test_symbols_and_ensembl_ids_meet_through_a_column(tmp_path):
    counts_CG, symbols = make_counts(60, N_GENES), gene_symbols(N_GENES)
    ids, versions = ensembl_ids(N_GENES), ensembl_ids(N_GENES, ".7")
    by_symbol = named(tmp_path, "symbols", counts_CG, index=symbols)
    cellxgene = named(tmp_path, "cellxgene", counts_CG, index=ids, feature_name=symbols,
                      biotype=["gene"] * N_GENES)  # fmt: skip
    versioned = named(tmp_path, "versioned", counts_CG, index=symbols, gene_ids=versions)
    bare = named(tmp_path, "bare", counts_CG, index=ids)
    for data, corpus in (
        (by_symbol, cellxgene),
        (cellxgene, by_symbol),
        (versioned, bare),
        (bare, versioned),
    ):
        overlap = found(data, corpus)
        assert overlap.counts.seen == 60 and "600 shared genes" in overlap.notes[0]


def test_names_that_do_not_meet_are_refused_in_three_parts(tmp_path):
    counts_CG = make_counts(60, N_GENES)
    one = named(tmp_path, "one", counts_CG, index=gene_symbols(N_GENES))
    other = named(tmp_path, "other", counts_CG, index=ensembl_ids(N_GENES))
    message = "must share at least 50 genes: got 0: genes of the data are symbol names .GENE0., "
    with pytest.raises(UserError, match=f"{message}those of the corpus ensembl .*; name a "):
        found(one, other)
    with pytest.raises(UserError, match="--corpus-genes must name a column of var: got symbol"):
        corpus_files(other, genes="symbol")


def test_a_name_that_is_there_twice_is_nobodys(tmp_path):
    counts_CG, names = make_counts(60, N_GENES), gene_symbols(N_GENES)
    data = named(tmp_path, "data", counts_CG, index=names)
    twice = [*names[:-1], names[0]]
    corpus = named(tmp_path, "corpus", counts_CG, index=ensembl_ids(N_GENES), feature_name=twice)
    overlap = found(data, corpus)
    assert overlap.counts.seen == 60 and "598 shared genes" in overlap.notes[0]


@given(st.permutations(range(70)), st.integers(0, 20))
def test_shared_genes_do_not_depend_on_order_or_on_genes_of_one_side(order, more):
    names = np.array(gene_symbols(70))
    other = np.array([*names[list(order)], *(f"OTHER{i}" for i in range(more))])
    shared = shared_genes({"a": names}, {"b": other})
    assert sorted(shared.names) == sorted(names)
    for place, name in enumerate(other):
        at = shared.corpus_G[place]
        assert (at >= 0) == (place < 70)
        assert at < 0 or shared.names[at] == name


# Numbers that stand for a cell.


counts_of_cells = st.lists(
    st.lists(st.integers(0, 5), min_size=80, max_size=80), min_size=1, max_size=5
)


@settings(max_examples=25, deadline=None)
@given(counts_of_cells, st.randoms(use_true_random=False))
def test_hashes_know_counts_and_not_the_order_of_genes(counts, random):
    counts_CG = np.array(counts, np.float32)
    order = list(range(80))
    random.shuffle(order)
    words = prints.gene_words(80)
    straight = prints.on_shared(sparse.csr_array(counts_CG), np.arange(80))
    turned = prints.on_shared(sparse.csr_array(counts_CG[:, order]), np.array(order))
    hash_C, enough_C = prints.count_hashes(straight, words)
    assert np.array_equal(hash_C, prints.count_hashes(turned, words)[0])
    assert np.array_equal(enough_C, (counts_CG > 0).sum(axis=1) >= prints.FEWEST_EXPRESSED)
    same = (counts_CG[:, None] == counts_CG[None]).all(axis=2)
    assert np.array_equal(hash_C[:, None] == hash_C[None], same)
    signature_CH, _ = prints.minhashes(straight, prints.hash_tables(80))
    assert np.array_equal(signature_CH, prints.minhashes(turned, prints.hash_tables(80))[0])


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 1e4), st.sampled_from(["log", "sqrt", "none"]))
def test_signatures_do_not_depend_on_the_scale(seed, factor, shape):
    counts_CG = make_counts(5, 500, seed)
    bent = {"log": np.log1p, "sqrt": np.sqrt, "none": np.asarray}[shape](counts_CG * factor)
    table = prints.hash_tables(500)
    signatures = [
        prints.minhashes(prints.on_shared(sparse.csr_array(matrix), np.arange(500)), table)[0]
        for matrix in (counts_CG, bent.astype(np.float32))
    ]
    assert np.array_equal(*signatures)


def test_agreement_of_signatures_is_the_share_of_common_genes():
    rng = np.random.default_rng(0)
    matrix_CG = np.zeros((2, 300), np.float32)
    matrix_CG[0, :100], matrix_CG[1, 50:150] = 1, 1
    shares = []
    for seed in range(40):
        cells = prints.on_shared(sparse.csr_array(matrix_CG), rng.permutation(300))
        first, second = prints.minhashes(cells, prints.hash_tables(300, seed))[0]
        shares.append((first == second).mean())
    assert abs(np.mean(shares) - 1 / 3) < 4 * np.sqrt(2 / 9 / 128 / 40)


def test_ties_are_taken_whole_or_not_at_all():
    matrix = np.zeros((3, 500), np.float32)
    matrix[0, :400] = 1
    matrix[1, :400], matrix[1, :150] = 1, 2
    matrix[2, :200] = np.arange(1, 201)
    cells = prints.on_shared(sparse.csr_array(matrix), np.arange(500))
    sizes, levels = np.zeros((2, 3), np.int64)
    tables, signature_CH = prints.hash_tables(500), np.zeros((3, prints.N_HASHES), np.uint32)
    prints.sign(cells.values_N, cells.genes_N, cells.indptr, tables.gene_SH, tables.level_LH,
                prints.TOP_GENES, prints.TIE, signature_CH, sizes, levels)  # fmt: skip
    assert sizes.tolist() == [400, 150, 200] and levels.tolist() == [1, 1, 200]


@settings(max_examples=10, deadline=None)
@given(st.integers(8, 90), st.integers(0, 1000))
def test_shuffled_cells_keep_the_values_of_each_gene(n_cells, seed):
    counts_CG = make_counts(n_cells, 60, seed)
    (first_CG, *_) = shuffled(sparse.csr_array(counts_CG), seed)
    made_CG = first_CG.toarray()
    assert np.array_equal(np.sort(made_CG, axis=0), np.sort(counts_CG, axis=0))
    assert not (made_CG[:, None] == counts_CG[None]).all(axis=2).any()


@given(st.lists(st.floats(0, 1), max_size=3000))
def test_fewer_than_one_in_a_thousand_shuffled_cells_pass(agreements):
    agreement_N = np.array(agreements)
    limit = limit_of(agreement_N)
    if limit is not None:
        assert limit >= 0.79 and (agreement_N > limit).sum() < max(1, 0.001 * len(agreement_N))


# Data set and join id.


def test_a_join_id_counts_only_with_its_data_set(tmp_path):
    counts_CG, other_CG = make_counts(20, N_GENES), make_counts(20, N_GENES, seed=1)
    ids = [f"id{row}" for row in range(20)]
    sets = pd.Categorical(["one"] * 10 + ["two"] * 10)
    corpus = write_h5ad(tmp_path / "corpus.h5ad", other_CG,
                        obs=obs_of(20, dataset_id=sets, observation_joinid=ids))  # fmt: skip
    data = write_h5ad(tmp_path / "data.h5ad", counts_CG, obs=obs_of(20, observation_joinid=ids))
    overlap = found(data, corpus)
    assert "unique only within a data set" in overlap.join_ids.why_not
    assert overlap.join_ids.judged == 0
    assert found(data, corpus, dataset_id="one").join_ids.seen == 10
    assert found(data, corpus, dataset_id="three").join_ids.seen == 0
    assert found(data, corpus, dataset_id="two").join_ids.seen_C[10:].all()
    bare = write_h5ad(tmp_path / "bare.h5ad", other_CG, obs=obs_of(20))
    assert "does not have both" in found(data, bare, dataset_id="one").join_ids.why_not
    assert "no column" in found(bare, corpus).join_ids.why_not


def test_cells_without_an_id_are_not_one_another(tmp_path):
    counts_CG, ids = make_counts(20, N_GENES), ["a", *[None] * 19]
    obs = obs_of(20, dataset_id=["one"] * 20, observation_joinid=pd.Categorical(ids))
    path = write_h5ad(tmp_path / "a.h5ad", counts_CG, obs=obs)
    overlap = found(path, path)
    assert overlap.join_ids.seen == overlap.join_ids.judged == 1


def test_columns_of_obs_are_read_in_pieces(tmp_path):
    obs = obs_of(20, word=pd.Series([f"w{i}" for i in range(20)], dtype=object).to_numpy(),
                 few=pd.Categorical(["a", None] * 10))  # fmt: skip
    path = write_h5ad(tmp_path / "a.h5ad", make_counts(20), obs=obs)
    with open_hdf5(path) as file:
        assert obs_column(file, "word", 3, 5).tolist() == ["w3", "w4"]
        assert obs_column(file, "few", 0, 3).tolist() == ["a", "nan", "a"]
