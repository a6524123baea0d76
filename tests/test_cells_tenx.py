"""What Cell Ranger writes is read alike from files and folders, new and old."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from cells_files import CELL_TYPES, make_counts, make_obs, write_tenx_folder, write_tenx_h5
from leadline.data.cells import Scale, read_cells
from leadline.data.cells.read import read_matrix_blocks
from leadline.errors import UserError


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_10x_files_and_folders_are_the_same_cells(tmp_path: Path, old: bool, ending: str) -> None:
    counts_CG = make_counts()
    file = write_tenx_h5(tmp_path / "cells.h5", counts_CG, old=old)
    folder = write_tenx_folder(tmp_path / "matrix", counts_CG, old=old)
    obs = make_obs().sample(frac=1, random_state=1)
    separator = "," if ending == "csv" else "\t"
    for place in (tmp_path, folder):
        obs.to_csv(place / f"obs.{ending}", sep=separator, index_label="barcode")
    prints = set()
    for path in (file, folder):
        cells = read_cells(path, name="mine", label="celltype")
        np.testing.assert_array_equal(cells.matrix_CG.toarray(), counts_CG)
        assert cells.scale is Scale.COUNTS
        assert cells.genes[:2].tolist() == ["GENE0", "GENE1"]
        assert [cells.classes[label] for label in cells.labels_C[:3]] == list(CELL_TYPES)
        prints.add(cells.fingerprint())
    assert len(prints) == 1
    assert read_cells(file, name="mine", gene_column="gene_ids").gene_kind == "ensembl"
    assert sum(block.nnz for block in read_matrix_blocks(file, rows=7)) == (counts_CG > 0).sum()


def test_10x_features_that_are_no_genes_are_dropped(tmp_path: Path) -> None:
    kinds = ["Gene Expression"] * 118 + ["Antibody Capture"] * 2
    cells = read_cells(write_tenx_h5(tmp_path / "c.h5", make_counts(), kinds), name="mine")
    np.testing.assert_array_equal(cells.matrix_CG.toarray(), make_counts()[:, :118])
    assert "dropped 2 of type Antibody Capture" in cells.notes[0]
    assert cells.genes.size == 118


def test_an_old_10x_file_with_two_genomes_is_read_by_name(tmp_path: Path) -> None:
    path = write_tenx_h5(tmp_path / "cells.h5", make_counts(), old=True)
    with h5py.File(path, "a") as file:
        file.copy("GRCh38", "mm10")
    assert read_cells(path, name="mine", layer="mm10").matrix_CG.shape == (60, 120)


def test_an_mtx_in_any_order_with_decimals(tmp_path: Path) -> None:
    folder = write_tenx_folder(tmp_path / "matrix", make_counts(), old=True)
    lines = (folder / "matrix.mtx").read_text().splitlines()
    head = [lines[0].replace("integer", "real"), *lines[1:3]]
    body = [line + ".0" for line in lines[:2:-1]]
    (folder / "matrix.mtx").write_text("\n".join(head + body) + "\n")
    cells = read_cells(folder, name="mine")
    np.testing.assert_array_equal(cells.matrix_CG.toarray(), make_counts())


def test_a_folder_has_no_blocks(tmp_path: Path) -> None:
    folder = write_tenx_folder(tmp_path / "matrix", make_counts())
    with pytest.raises(
        UserError, match="only HDF5 files can be read in blocks: got the 10x folder"
    ):
        next(read_matrix_blocks(folder))
