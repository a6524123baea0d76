"""Every layout of the same cells gives the same Cells."""

import warnings
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from cells_files import (
    CELL_TYPES,
    ensembl_ids,
    gene_symbols,
    lognorm,
    make_counts,
    make_obs,
    write_h5ad,
    zscores,
)
from leadline.data.cells import Scale, read_cells
from leadline.data.cells import matrix_blocks as stored
from leadline.data.cells.genes import kind_of_genes, match_keys
from leadline.data.cells.obs import ids_of
from leadline.data.cells.read import read_matrix_blocks


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_cells=st.integers(1, 40),
    n_genes=st.integers(1, 40),
    dtype=st.sampled_from(["float32", "float64", "int64", "uint16", "int8"]),
    step=st.sampled_from([1, 7, 100, 1 << 19]),
)
def test_dense_csr_and_csc_are_the_same_cells(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    n_cells: int,
    n_genes: int,
    dtype: str,
    step: int,
) -> None:
    folder = tmp_path_factory.mktemp("cells")
    counts_CG = make_counts(n_cells, n_genes, seed).astype(dtype)
    prints = set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stored, "STEP", step)
        for make in (np.asarray, sparse.csr_array, sparse.csc_array):
            path = write_h5ad(folder / f"{make.__name__}.h5ad", make(counts_CG))
            cells = read_cells(path, name="mine", label="celltype", batch="donor")
            assert cells.matrix_CG.has_canonical_format
            assert cells.matrix_CG.dtype == np.float32
            assert cells.matrix_CG.indices.dtype == cells.matrix_CG.indptr.dtype == np.int32
            prints.add(cells.fingerprint())
            blocks = list(read_matrix_blocks(path, rows=3))
            assert all(block.shape[0] == 3 for block in blocks[:-1])
            np.testing.assert_array_equal(sparse.vstack(blocks).toarray(), counts_CG)
    assert len(prints) == 1
    np.testing.assert_array_equal(cells.matrix_CG.toarray(), counts_CG)
    np.testing.assert_array_equal(cells.library_C, counts_CG.sum(axis=1, dtype=np.float64))


def test_half_precision_is_read(tmp_path: Path) -> None:
    path = write_h5ad(tmp_path / "cells.h5ad", make_counts().astype(np.float16))
    np.testing.assert_array_equal(read_cells(path, name="m").matrix_CG.toarray(), make_counts())


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_chunked_dense_is_read_in_whole_chunks(tmp_path: Path, compression: str | None) -> None:
    path = write_h5ad(tmp_path / "cells.h5ad", make_counts())
    with h5py.File(path, "a") as file:
        del file["X"]
        file.create_dataset("X", data=make_counts(), chunks=(7, 13), compression=compression)
    np.testing.assert_array_equal(read_cells(path, name="mine").matrix_CG.toarray(), make_counts())


def test_untidy_sparse_matrices_are_tidied(tmp_path: Path) -> None:
    """Wide indices, any order, a stored zero and an entry in two parts: read as anndata would."""
    counts_CG = make_counts()
    matrix = sparse.csr_array(counts_CG)
    coordinates = sparse.coo_array(matrix)
    rows, genes, values = coordinates.row, coordinates.col, coordinates.data
    zero = np.flatnonzero(counts_CG.ravel() == 0)[0]
    rows = np.concatenate([rows, [0 + zero // 120, 5]])
    genes = np.concatenate([genes, [zero % 120, 0]])
    values = np.concatenate([values, [0, 2]]).astype(np.float64)
    order = np.random.default_rng(0).permutation(values.size)
    counts_CG[5, 0] += 2
    prints = set()
    for kind, major, minor in (("csr", rows, genes), ("csc", genes, rows)):
        path = write_h5ad(tmp_path / "cells.h5ad", matrix)
        sort = order[np.argsort(major[order], kind="stable")]
        lengths = np.bincount(major, minlength=(60, 120)[kind == "csc"])
        with h5py.File(path, "a") as file:
            group = file["X"]
            group.attrs["encoding-type"] = f"{kind}_matrix"
            for part, array in (
                ("data", values[sort]),
                ("indices", minor[sort].astype(np.int64)),
                ("indptr", np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)),
            ):
                del group[part]
                group[part] = array
        cells = read_cells(path, name="mine")
        np.testing.assert_array_equal(cells.matrix_CG.toarray(), counts_CG)
        assert cells.matrix_CG.has_canonical_format
        assert (cells.matrix_CG.data != 0).all()
        prints.add(cells.fingerprint())
    assert len(prints) == 1


def test_layers_and_raw_with_genes_of_its_own(tmp_path: Path) -> None:
    counts_CG = make_counts()
    logs_CG = lognorm(counts_CG)
    layers = {"counts": sparse.csc_array(counts_CG), "log2": lognorm(counts_CG, 2.0)}
    path = write_h5ad(
        tmp_path / "a.h5ad",
        zscores(logs_CG),
        obs=make_obs().assign(n_counts=counts_CG.sum(axis=1)),
        layers=layers,
        raw_CG=logs_CG,
    )
    cells = read_cells(path, name="mine")
    assert (cells.scale, cells.layer) == (Scale.ZSCORED, "X")
    assert dict(cells.other_layers) == {
        "raw": Scale.LN_CP10K,
        "counts": Scale.COUNTS,
        "log2": Scale.LOG2_CP10K,
    }
    raw = read_cells(path, name="mine", layer="raw")
    assert (raw.scale, raw.genes[0]) == (Scale.LN_CP10K, "GENE0.raw")
    np.testing.assert_array_equal(raw.counts().toarray(), counts_CG)
    counts = read_cells(path, name="mine", layer="counts")
    assert (counts.scale, counts.genes[0]) == (Scale.COUNTS, "GENE0")
    assert ("X", Scale.ZSCORED) in counts.other_layers
    np.testing.assert_array_equal(next(read_matrix_blocks(path, "counts")).toarray(), counts_CG)


def test_a_layer_called_raw_needs_no_raw(tmp_path: Path) -> None:
    path = write_h5ad(tmp_path / "a.h5ad", make_counts(), layers={"raw": make_counts()})
    assert read_cells(path, name="mine", layer="raw").genes[0] == "GENE0"


def test_labels_batches_and_parts(tmp_path: Path) -> None:
    obs = make_obs()
    obs["celltype"] = pd.Categorical(obs["celltype"], ["T cell", "Treg", "Monocyte", "B cell"])
    obs["part"] = ["Training", "TEST", "valid", "reference", "query", "heldout"] * 10
    path = write_h5ad(tmp_path / "cells.h5ad", make_counts(), obs=obs)
    cells = read_cells(path, name="mine", label="celltype", batch="donor", split="part")
    assert cells.classes == CELL_TYPES
    assert [cells.classes[label] for label in cells.labels_C[:3]] == list(CELL_TYPES)
    assert cells.labels_C.dtype == np.int32
    assert cells.batch_C[:3].tolist() == ["donor0", "donor1", "donor0"]
    expected = ["train", "test", "validation", "train", "test", "test"]
    assert cells.given_C[:6].tolist() == expected
    assert cells.name == "mine"


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        ([0, 1, 10], ("0", "1", "10")),
        ([0.0, 1.0, 2.0], ("0", "1", "2")),
        ([0.5, 1.0, 2.0], ("0.5", "1.0", "2.0")),
        ([True, False, True], ("False", "True")),
    ],
)
def test_numeric_labels_become_texts(tmp_path: Path, values: list, classes: tuple) -> None:
    path = write_h5ad(tmp_path / "a.h5ad", make_counts(), obs=make_obs().assign(k=values * 20))
    assert read_cells(path, name="mine", label="k").classes == classes


def test_repeated_cell_names_get_numbers() -> None:
    obs = pd.DataFrame(index=["a", "b", "a", "a-1", "a", "b"])
    ids, notes = ids_of(obs)
    assert ids.tolist() == ["a", "b", "a-2", "a-1", "a-3", "b-1"]
    assert notes == ("3 of 6 cell names were repeated and got a number appended",)
    assert ids_of(pd.DataFrame(index=["a", "b"]))[1] == ()
    assert obs.index.tolist() == ["a", "b", "a", "a-1", "a", "b"]


@pytest.mark.filterwarnings("ignore:.*names are not unique")
def test_repeated_cell_names_in_a_file(tmp_path: Path) -> None:
    obs = make_obs().rename(index={"cell1": "cell0"})
    path = write_h5ad(tmp_path / "cells.h5ad", make_counts(), obs=obs)
    cells = read_cells(path, name="mine", label="celltype")
    assert cells.ids[:3].tolist() == ["cell0", "cell0-1", "cell2"]


def test_gene_names_and_their_kinds(tmp_path: Path) -> None:
    var = pd.DataFrame({"feature_name": gene_symbols()}, index=ensembl_ids(version=".7"))
    path = write_h5ad(tmp_path / "cells.h5ad", make_counts(), var=var)
    cells = read_cells(path, name="mine")
    assert (cells.gene_kind, cells.genes[1]) == ("ensembl", "ENSG00000000001.7")
    assert any("data.gene_column=feature_name holds symbols" in note for note in cells.notes)
    cells = read_cells(path, name="mine", gene_column="feature_name")
    assert (cells.gene_kind, cells.genes[1]) == ("symbol", "GENE1")
    assert any("genes are symbols from var column feature_name" in n for n in cells.notes)


def test_kinds_of_genes() -> None:
    assert kind_of_genes(np.array(["ENSMUSG00000051951", "ENSG00000141510.18", "x"])) == "ensembl"
    assert kind_of_genes(np.array(["MT-ND1", "HLA-A", "RP11-34P13.7", "C1orf112"])) == "symbol"
    assert kind_of_genes(np.array(["0", "1", "2"])) == "other"
    keys = match_keys(np.array(["ENSG00000141510.18", "RP11-34P13.7"]))
    assert keys.tolist() == ["ENSG00000141510", "RP11-34P13.7"]


def test_a_file_of_anndata_before_0_7(tmp_path: Path) -> None:
    """Compound obs and var, categories in uns, raw.X at the root, h5sparse attributes."""
    counts_CG = make_counts()
    matrix = sparse.csr_array(lognorm(counts_CG).astype(np.float32))
    with h5py.File(tmp_path / "old.h5ad", "w") as file:
        file["X"] = zscores(lognorm(counts_CG)).astype(np.float32)
        group = file.create_group("raw.X")
        group.attrs["h5sparse_format"], group.attrs["h5sparse_shape"] = "csr", matrix.shape
        for part in ("data", "indices", "indptr"):
            group[part] = getattr(matrix, part)
        obs = np.zeros(60, dtype=[("index", "S8"), ("celltype", "i1"), ("n_counts", "f4")])
        obs["index"] = [f"cell{row}" for row in range(60)]
        obs["celltype"] = np.arange(60) % 3
        obs["n_counts"] = counts_CG.sum(axis=1)
        file["obs"] = obs
        file["uns/celltype_categories"] = np.array(CELL_TYPES, dtype="S")
        for name in ("var", "raw.var"):
            file[name] = np.array([(g.encode(),) for g in gene_symbols()], [("index", "S9")])
    cells = read_cells(tmp_path / "old.h5ad", name="mine", label="celltype", layer="raw")
    assert cells.classes == CELL_TYPES
    assert (cells.scale, cells.ids[1], cells.genes[1]) == (Scale.LN_CP10K, "cell1", "GENE1")
    np.testing.assert_array_equal(cells.counts().toarray(), counts_CG)
    assert read_cells(tmp_path / "old.h5ad", name="mine").other_layers == (("raw", Scale.LN_CP10K),)


def test_reading_changes_no_file(tmp_path: Path) -> None:
    path = write_h5ad(tmp_path / "cells.h5ad", make_counts())
    before = path.read_bytes()
    path.chmod(0o444)
    first, again = (read_cells(path, name="mine", label="celltype") for _ in range(2))
    assert first.fingerprint() == again.fingerprint()
    assert path.read_bytes() == before


def test_importing_cells_does_not_import_anndata() -> None:
    import subprocess
    import sys

    code = (
        "import sys, leadline.data.cells; sys.exit(bool({'anndata', 'pandas'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_our_own_writer_is_read_back(tmp_path: Path) -> None:
    from leadline.data.cells.write import H5adWriter

    counts_CG = make_counts()
    with H5adWriter(tmp_path / "cells.h5ad", gene_symbols(), dtype=np.uint16) as writer:
        for start in (0, 30):
            part = make_obs()[start : start + 30]
            writer.append(
                sparse.csr_array(counts_CG[start : start + 30]),
                obs={"celltype": part["celltype"].to_list()},
            )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cells = read_cells(tmp_path / "cells.h5ad", name="mine", label="celltype")
        assert anndata.io.read_h5ad(tmp_path / "cells.h5ad").shape == (60, 120)
    np.testing.assert_array_equal(cells.matrix_CG.toarray(), counts_CG)
    assert cells.classes == CELL_TYPES
