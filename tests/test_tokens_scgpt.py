"""scGPT's bins, draws and vocabulary; golden files are from the original's code (shared/golden)."""

import json
from pathlib import Path

import numpy as np
import pytest
import scgpt_originals
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from leadline.errors import UserError
from leadline.models.network import DrawKey
from leadline.models.scgpt import tokens, vocabulary
from leadline.models.scgpt.batches import Rules, ScgptBatches
from leadline.models.scgpt.vocabulary import Vocabulary
from small import small_cells

GOLDEN = Path(__file__).parent / "golden"
NOW = DrawKey(seed=3, epoch=1)


def mask_as_original(values_BL, share, rng):
    """Mask a share of each cell's tokens as the original does, `<cls>` not excepted."""
    masked_BL = values_BL.copy()
    for row_L in masked_BL:
        there = np.flatnonzero(row_L != tokens.PAD_VALUE)
        row_L[rng.choice(there, int(len(there) * share), replace=False)] = tokens.MASK_VALUE
    return masked_BL


@pytest.fixture(scope="module")
def binning():
    return np.load(GOLDEN / "scgpt_binning.npz")


@pytest.fixture(scope="module")
def tokenizer():
    return np.load(GOLDEN / "scgpt_tokenizer.npz")


def as_original(row, n_bins, uniform):
    """Bin one cell in the original's own words; `uniform` holds a number for each value."""
    bins, where = np.zeros(len(row), np.int64), row.nonzero()[0]
    edges = np.quantile(row[where], np.linspace(0, 1, n_bins - 1))
    left = np.digitize(row[where], edges)
    right = np.digitize(row[where], edges, right=True)
    bins[where] = np.ceil(uniform[: len(where)] * (right - left) + left)
    return bins, edges


# ---- bins


@pytest.mark.parametrize("seed", [0, 1])
def test_bins_and_edges_are_those_of_the_original(binning, seed):
    matrix = sparse.csr_array(binning["rows"])
    for n_bins, name in ((51, "binned"), (11, "binned11"), (51, "binned_f64rows")):
        binned = tokens.bin_cells(matrix, n_bins, np.random.RandomState(seed))
        np.testing.assert_array_equal(binned.toarray(), binning[f"{name}_seed{seed}"])
    np.testing.assert_array_equal(
        scgpt_originals.cell_edges(matrix, 51), binning[f"edges_seed{seed}"]
    )


@st.composite
def cells(draw):
    kind = draw(st.sampled_from(["counts", "logs", "floats", "few"]))
    size = draw(st.integers(1, 300))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = {
        "counts": rng.poisson(2.0, size),
        "logs": np.log1p(rng.poisson(1.0, size) * rng.random()),
        "floats": np.exp(rng.normal(0, 15, size)),
        "few": rng.integers(0, 3, size) * 1e-30,
    }[kind].astype(np.float32)
    values[rng.random(size) < draw(st.floats(0, 0.9))] = 0
    return values


@settings(max_examples=150, deadline=None)
@given(row=cells(), n_bins=st.integers(3, 256), seed=st.integers(0, 99))
def test_any_cell_is_binned_as_the_original_bins_it(row, n_bins, seed):
    matrix = sparse.csr_array(row[None, :])
    binned = tokens.bin_cells(matrix, n_bins, np.random.RandomState(seed)).toarray()[0]
    middle = tokens.bin_cells(matrix, n_bins).toarray()[0]
    if not row.any():
        assert not binned.any() and not middle.any()
        return
    uniform = np.random.RandomState(seed).random_sample(len(row))
    expected, edges = as_original(row, n_bins, uniform)
    np.testing.assert_array_equal(binned, expected)
    np.testing.assert_array_equal(scgpt_originals.cell_edges(matrix, n_bins)[0, 1:], edges)
    np.testing.assert_array_equal(middle, as_original(row, n_bins, np.full(len(row), 0.5))[0])
    assert (binned[row > 0] >= 1).all() and binned.max() <= n_bins - 1
    # Twice everything is the same cell; and equal values are equal tokens unless drawn.
    np.testing.assert_array_equal(
        tokens.bin_cells(sparse.csr_array(2 * row[None, :]), n_bins).toarray()[0], middle
    )
    for value in np.unique(row):
        assert len(set(middle[row == value].tolist())) == 1


def test_dividing_by_the_total_changes_no_bin():
    """The original normalises every cell before it bins, which is why we need not."""
    matrix = small_cells(n_genes=200).matrix_CG
    total = np.repeat(matrix.sum(axis=1), np.diff(matrix.indptr))
    scaled = sparse.csr_array(
        ((matrix.data * 1e4 / total).astype(np.float32), matrix.indices, matrix.indptr),
        shape=matrix.shape,
    )
    one, other = (tokens.bin_cells(m, 51, np.random.RandomState(0)) for m in (matrix, scaled))
    np.testing.assert_array_equal(one.data, other.data)


def test_negative_numbers_are_refused():
    matrix = sparse.csr_array(np.array([[1.0, -2.5, 3.0]], np.float32))
    with pytest.raises(UserError, match="zero means not seen: got stored values down to -2.5"):
        tokens.bin_ranges(matrix, 51)


# ---- tokens in the original's form


def test_padded_tokens_are_those_of_the_original(tokenizer):
    binned = sparse.csr_array(tokenizer["X_binned"])
    words = {"cls_id": int(tokenizer["cls_id"]), "pad_id": int(tokenizer["pad_id"])}
    for name, options in {
        "nz": {"max_length": 99},
        "z": {"max_length": 99, "all_genes": True},
        "trunc20_seed7": {"max_length": 20, "rng": np.random.RandomState(7)},
    }.items():
        ids, values = scgpt_originals.padded_tokens(
            binned, tokenizer["gene_ids"], **words, **options
        )
        np.testing.assert_array_equal(ids, tokenizer[f"{name}_genes"], name)
        np.testing.assert_array_equal(values, tokenizer[f"{name}_values"], name)
    masked = mask_as_original(tokenizer["nz_values"], 0.4, np.random.RandomState(11))
    np.testing.assert_array_equal(masked, tokenizer["mask04_seed11"])


# ---- packed tokens


def source_of(matrix, **changes):
    rules = {"bins": 51, "ties": "middle", "all_genes": False, "max_length": 3001, "cls_id": 500}
    rules |= changes
    return ScgptBatches(matrix, np.arange(matrix.shape[1]) + 100, Rules(**rules))


def cells_of(batch):
    """Give each cell's (gene ids, values), `<cls>` first."""
    ends = np.cumsum(batch["lengths"].numpy())[:-1]
    ids = batch["ids"].numpy()[batch["gene"].numpy()]
    values = batch["level"].numpy() + tokens.MASK_VALUE
    return list(zip(np.split(ids, ends), np.split(values, ends), strict=True))


@pytest.mark.parametrize("all_genes", [False, True])
def test_packed_tokens_hold_what_padded_ones_do(all_genes):
    matrix = small_cells(n_genes=60).matrix_CG
    rows = np.array([5, 0, 17])
    source = source_of(matrix, all_genes=all_genes)
    ids, values = scgpt_originals.padded_tokens(
        sparse.csr_array(tokens.bin_cells(matrix, 51)[rows]),
        np.arange(60) + 100,
        cls_id=500,
        pad_id=-1,
        max_length=99,
        all_genes=all_genes,
    )
    for place, (own_ids, own_values) in enumerate(cells_of(source.batch(rows, NOW))):
        there = ids[place] >= 0
        np.testing.assert_array_equal(own_ids, ids[place][there])
        np.testing.assert_array_equal(own_values, values[place][there])
        assert len(own_ids) == source.lengths_C[rows[place]]


@pytest.mark.parametrize("changes", [{"max_length": 8}, {"ties": "random"}])
def test_draws_follow_from_seed_and_row_alone(changes):
    source = source_of(small_cells(n_genes=60).matrix_CG, **changes)
    rows = np.array([5, 0, 17, 30])
    together = cells_of(source.batch(rows, NOW))
    for place, row in enumerate(rows):
        ((ids, values),) = cells_of(source.batch(np.array([row]), NOW))
        np.testing.assert_array_equal(ids, together[place][0])
        np.testing.assert_array_equal(values, together[place][1])
    # Once for a run, as in the original: another epoch changes nothing, another seed does.
    later = cells_of(source.batch(rows, DrawKey(seed=3, epoch=9)))
    other = cells_of(source.batch(rows, DrawKey(seed=4, epoch=1)))
    for mine, same in zip(together, later, strict=True):
        np.testing.assert_array_equal(np.stack(mine), np.stack(same))
    assert any(not np.array_equal(np.stack(a), np.stack(b)) for a, b in zip(together, other))  # noqa: B905


def test_random_ties_stay_between_the_lowest_and_the_highest_bin():
    matrix = small_cells(n_genes=60).matrix_CG
    low, high = tokens.bin_ranges(matrix, 51)
    batch = source_of(matrix, ties="random").batch(np.arange(60), NOW)
    drawn = np.concatenate([values[1:] for _, values in cells_of(batch)])
    assert (drawn >= np.minimum(low + 1, high)).all() and (drawn <= high).all()
    assert len(set((drawn[high - low > 5] - low[high - low > 5]).tolist())) > 3


def test_a_long_cell_keeps_cls_and_a_fair_sample():
    source = source_of(sparse.csr_array(np.ones((400, 40), np.float32)), max_length=11)
    batch = source.batch(np.arange(400), NOW)
    kept = [ids for ids, _ in cells_of(batch)]
    assert all(len(set(ids.tolist())) == 11 and ids[0] == 500 for ids in kept)
    counts = np.bincount(np.concatenate(kept), minlength=501)[100:140]
    # 100 expected of each, with a deviation of 8.7.
    assert counts.min() > 65 and counts.max() < 135


def test_the_encoder_leaves_the_callers_cells_alone():
    cells = small_cells(n_genes=60)
    before = cells.fingerprint()
    source_of(cells.matrix_CG).batch(np.arange(9), NOW)
    assert cells.fingerprint() == before


# ---- vocabulary


def test_a_vocabulary_is_read_in_the_order_of_its_numbers(tmp_path):
    path = tmp_path / "vocab.json"
    path.write_text(json.dumps({"B": 1, "<pad>": 2, "A": 0}))
    found = vocabulary.of_file(path)
    # As the original, append the special tokens that are lacking.
    assert found.names == ("A", "B", "<pad>", "<cls>", "<eoc>")
    assert found.numbers(["B", "x"]).tolist() == [1, -1]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "the vocabulary's file must exist"),
        ("{", "a vocabulary must be a JSON object"),
        ("[1]", "got a list"),
        ('{"A": 0, "B": 0}', "2 names whose numbers are not 0 to 1"),
        ('{"A": "0"}', "1 names whose numbers are not 0 to 0"),
    ],
)
def test_a_broken_vocabulary_is_refused(tmp_path, content, said):
    path = tmp_path / "vocab.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=said):
        vocabulary.of_file(path)


def named(genes, kind="symbol"):
    return small_cells(n_genes=len(genes), genes=np.array(genes), gene_kind=kind)


WORDS = ("CD4", "CD8A", "MS4A1", "orf1", "orf2", *vocabulary.SPECIAL)


@pytest.mark.parametrize(
    ("genes", "kind", "said"),
    [
        (["ENSG00000141510", "ENSG00000000003"], "ensembl", "data.gene_column="),
        (["Cd4", "Cd8a", "Ms4a1"], "symbol", "3 would be known in upper case"),
        (["X", "ORF1", "ORF2"], "symbol", "2 would be known in lower case"),
        (["Z1", "Z2", "CD4"], "symbol", "model.vocabulary=data"),
    ],
)
def test_cells_that_the_vocabulary_hardly_knows_are_refused_with_a_remedy(genes, kind, said):
    words, cells = Vocabulary(WORDS), named(genes, kind)
    coverage = vocabulary.cover(words, cells)
    with pytest.raises(UserError, match=said) as caught:
        vocabulary.require_coverage(coverage, words, cells, 0.5)
    assert f"of {len(genes)} genes" in str(caught.value)
    assert "model.min_coverage" in str(caught.value)


def test_coverage_counts_genes_and_expressed_entries():
    cells = named(["CD4", "Z1", "Z2", "Z3"])
    facts = vocabulary.cover(Vocabulary(("CD4", *vocabulary.SPECIAL)), cells).facts()
    expressed = np.bincount(cells.matrix_CG.indices, minlength=4)
    assert facts["genes_known"] == 1 and facts["share_of_genes"] == 0.25
    assert facts["share_of_expressed"] == pytest.approx(expressed[0] / expressed.sum())


def test_versions_of_ensembl_ids_do_not_count():
    words = Vocabulary(("ENSG00000141510", *vocabulary.SPECIAL))
    cells = named(["ENSG00000141510.18", "ENSG00000000003.2"], "ensembl")
    assert vocabulary.cover(words, cells).number_G.tolist() == [0, -1]
