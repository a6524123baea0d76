import time

import anndata
import numpy as np
import pytest
from scipy import sparse

from leadline.data.cells import write as writer_module
from leadline.data.cells.write import H5adWriter
from leadline.errors import UserError

GENES = [f"G{gene}" for gene in range(30)]


def counts(n_cells=100, seed=0, dtype=np.uint16):
    return sparse.csr_array(
        np.random.default_rng(seed).poisson(0.4, (n_cells, len(GENES))).astype(dtype)
    )


def write(path, matrix, obs, *, step, ids=None, **options):
    with H5adWriter(path, GENES, **options) as writer:
        for start in range(0, matrix.shape[0], step):
            rows = slice(start, start + step)
            names = None if ids is None else ids[rows]
            writer.append(matrix[rows], {name: v[rows] for name, v in obs.items()}, names)


@pytest.fixture
def obs():
    rng = np.random.default_rng(1)
    # "late" is first seen in the last block, and sorts before the others.
    types = np.where(np.arange(100) < 95, rng.choice(["T", "λ-B"], 100), "A, late")
    return {"celltype": types, "age": rng.normal(size=100), "plate": rng.integers(0, 9, 100)}


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_anndata_reads_what_was_written(tmp_path, obs, dtype):
    matrix, ids = counts(dtype=dtype), np.array([f"ACGT-{row}" for row in range(100)])
    path = tmp_path / "cells.h5ad"
    write(path, matrix, obs, step=7, ids=ids, dtype=dtype, uns={"source": "a test"})
    read = anndata.read_h5ad(path)
    assert read.X.dtype == dtype
    np.testing.assert_array_equal(read.X.toarray(), matrix.toarray())
    assert read.X.indices.dtype == read.X.indptr.dtype == np.int32
    assert read.var_names.tolist() == GENES
    assert read.obs_names.tolist() == ids.tolist()
    assert read.obs["celltype"].cat.categories.tolist() == ["A, late", "T", "λ-B"]
    assert read.obs["celltype"].tolist() == obs["celltype"].tolist()
    np.testing.assert_array_equal(read.obs["age"], obs["age"])
    np.testing.assert_array_equal(read.obs["plate"], obs["plate"])
    assert read.uns["source"] == "a test"


def test_bytes_depend_on_the_cells_alone(tmp_path, obs, monkeypatch):
    monkeypatch.setattr(writer_module, "CHUNK", 64)
    files = []
    for step in (1, 13, 100):
        files.append(tmp_path / f"{step}.h5ad")
        write(files[-1], counts(), obs, step=step, dtype=np.uint16)
        time.sleep(0.6)  # a time stamp in the file would show
    assert files[0].read_bytes() == files[1].read_bytes() == files[2].read_bytes()


def test_blocks_are_neither_kept_nor_changed(tmp_path):
    block = sparse.csr_array(
        (np.array([2, 1, 0, 3], np.uint16), np.array([5, 1, 2, 5]), np.array([0, 4])), (1, 30)
    )
    before = [block.data.copy(), block.indices.copy(), block.indptr.copy()]
    path = tmp_path / "cells.h5ad"
    with H5adWriter(path, GENES, dtype=np.uint16) as writer:
        writer.append(block)
        for array, old in zip((block.data, block.indices, block.indptr), before, strict=True):
            np.testing.assert_array_equal(array, old)
        block.data[:] = 9
    read = anndata.read_h5ad(path).X
    assert read.indices.tolist() == [1, 5]
    assert read.data.tolist() == [1, 5]


def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path, obs):
    path = tmp_path / "cells.h5ad"
    path.write_bytes(b"the old file")
    with pytest.raises(KeyboardInterrupt), H5adWriter(path, GENES) as writer:
        writer.append(counts(dtype=np.float32))
        raise KeyboardInterrupt
    assert [file.name for file in tmp_path.iterdir()] == ["cells.h5ad"]
    assert path.read_bytes() == b"the old file"


def test_a_folder_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError), H5adWriter(tmp_path / "file" / "cells.h5ad", GENES):
        pass
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_no_cells_are_a_file_too(tmp_path):
    with H5adWriter(tmp_path / "cells.h5ad", GENES):
        pass
    assert anndata.read_h5ad(tmp_path / "cells.h5ad").shape == (0, 30)


@pytest.mark.parametrize(
    ("value", "shown"), [(70_000.0, "70000"), (0.5, "0.5"), (-1.0, "-1"), (np.nan, "nan")]
)
def test_counts_that_do_not_fit_are_refused(tmp_path, value, shown):
    block = sparse.csr_array(([value], ([0], [3])), shape=(1, 30))
    with (
        pytest.raises(UserError, match=f"must fit uint16 exactly: got {shown}; store"),
        H5adWriter(tmp_path / "cells.h5ad", GENES, dtype=np.uint16) as writer,
    ):
        writer.append(block)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"obs": {}}, r"same obs columns.* got \[\] after \['celltype'\]"),
        ({"obs": {"celltype": np.zeros(100)}}, "each of texts or of numbers"),
        ({"obs": {"celltype": ["T"]}}, r"got shape \(1,\) in celltype for 100 cells; cut"),
        ({"ids": ["a"]}, r"got shape \(1,\) in ids for 100 cells"),
        ({"ids": ["a"] * 100}, "ids always or never"),
        ({"matrix": sparse.csr_array((100, 29))}, "got 29 columns for 30 genes; pass"),
    ],
)
def test_blocks_that_do_not_match_are_refused(tmp_path, second, message):
    obs = {"celltype": ["T"] * 100}
    with (
        pytest.raises(UserError, match=message),
        H5adWriter(tmp_path / "cells.h5ad", GENES) as writer,
    ):
        writer.append(counts(), obs)
        writer.append(second.get("matrix", counts()), second.get("obs", obs), second.get("ids"))


def test_genes_and_dtype_are_checked(tmp_path):
    with pytest.raises(UserError, match="got 1 repeated names among 3; sum"):
        H5adWriter(tmp_path / "cells.h5ad", ["A", "B", "A"])
    with pytest.raises(UserError, match="got float64; pass one of these as dtype="):
        H5adWriter(tmp_path / "cells.h5ad", GENES, dtype=np.float64)
