"""Files of cells that must be refused, each with the arguments that fail and its message.

`BROKEN[name](folder)` makes one in an empty folder. The end-to-end tests use them as well.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pandas as pd
from scipy import sparse

from cells_files import (
    N_CELLS,
    N_GENES,
    ensembl_ids,
    gene_symbols,
    lognorm,
    make_counts,
    make_obs,
    write_h5ad,
    write_tenx_folder,
    write_tenx_h5,
)


class Broken(NamedTuple):
    """A file that must be refused, the arguments of read_cells, and a part of the message."""

    path: Path
    arguments: dict[str, Any]
    message: str


BROKEN: dict[str, Callable[[Path], Broken]] = {}


def _broken(make: Callable[[Path], Broken]) -> Callable[[Path], Broken]:
    BROKEN[make.__name__] = make
    return make


def _with_value(folder: Path, value: float) -> Path:
    counts_CG = make_counts()
    counts_CG[3, :2] = value
    counts_CG[7, 5] = value
    return write_h5ad(folder / "cells.h5ad", sparse.csr_array(counts_CG))


def _with_obs(folder: Path, **columns: Any) -> Path:
    return write_h5ad(folder / "cells.h5ad", make_counts(), obs=make_obs().assign(**columns))


@_broken
def missing_file(folder: Path) -> Broken:
    write_h5ad(folder / "cells.h5ad", make_counts())
    return Broken(folder / "cell.h5ad", {}, r"does not exist; \S+ holds cells.h5ad; correct data")


@_broken
def plain_folder(folder: Path) -> Broken:
    (folder / "sub").mkdir()
    path = write_h5ad(folder / "sub" / "cells.h5ad", make_counts())
    return Broken(path.parent, {}, r"without matrix.mtx\[.gz\]; name .*data.path=\S+cells.h5ad")


@_broken
def empty_folder(folder: Path) -> Broken:
    return Broken(folder, {}, "a 10x folder holds matrix.mtx")


@_broken
def zarr_store(folder: Path) -> Broken:
    (folder / "cells.zarr").mkdir()
    return Broken(folder / "cells.zarr", {}, r"anndata.io.read_zarr\('cells.zarr'\)")


@_broken
def empty_file(folder: Path) -> Broken:
    (folder / "cells.h5ad").touch()
    return Broken(folder / "cells.h5ad", {}, "cells.h5ad, an empty file; download it again")


@_broken
def text_called_h5ad(folder: Path) -> Broken:
    (folder / "cells.h5ad").write_text("<html>404</html>")
    return Broken(folder / "cells.h5ad", {}, "which is not an HDF5 file; download it again")


@_broken
def truncated_h5ad(folder: Path) -> Broken:
    path = write_h5ad(folder / "cells.h5ad", make_counts())
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return Broken(path, {}, r"a whole file: got cells.h5ad, cut off after \S+ of \S+ bytes; copy")


@_broken
def damaged_h5ad(folder: Path) -> Broken:
    path = folder / "cells.h5ad"
    write_h5ad(path, make_counts())
    with h5py.File(path, "a") as file:
        values = file["X"][:]
        del file["X"]
        file.create_dataset("X", data=values, compression="gzip", chunks=values.shape)
        place = file["X"].id.get_chunk_info(0).byte_offset
    with path.open("r+b") as file:
        file.seek(place)
        file.write(b"\0" * 64)
    return Broken(path, {}, "a whole file: got cells.h5ad, which HDF5 cannot read")


def _foreign(ending: str, message: str) -> None:
    def make(folder: Path) -> Broken:
        (folder / f"cells{ending}").write_text("a,b\n1,2\n")
        return Broken(folder / f"cells{ending}", {}, message)

    BROKEN["foreign" + ending] = make


for _ending, _message in (
    (".csv", r"anndata.io.read_csv\('cells.csv'\).write_h5ad"),
    (".tsv.gz", r"read_csv\('cells.tsv.gz', delimiter='\\t'\)"),
    (".txt", "read_csv"),
    (".rds", r"zellkonverter::writeH5AD\(.*readRDS\('cells.rds'\)"),
    (".loom", "read_loom.*loompy"),
    (".mtx", "name the folder that holds it"),
    (".h5ad.gz", "gunzip -k cells.h5ad.gz"),
):
    _foreign(_ending, _message)


@_broken
def other_hdf5(folder: Path) -> Broken:
    with h5py.File(folder / "cells.h5", "w") as file:
        file["weights"] = np.zeros(3)
    return Broken(folder / "cells.h5", {}, "an HDF5 file with weights at its root; save the cells")


@_broken
def no_matrix(folder: Path) -> Broken:
    path = write_h5ad(folder / "cells.h5ad", make_counts(), layers={"counts": make_counts()})
    with h5py.File(path, "a") as file:
        del file["X"]
    return Broken(path, {}, "must hold a matrix X: .* without one; .*data.layer=: counts")


@_broken
def unknown_layer(folder: Path) -> Broken:
    path = write_h5ad(folder / "cells.h5ad", make_counts(), layers={"counts": make_counts()})
    return Broken(path, {"layer": "count"}, "data.layer must .* got count, .*did you mean counts")


@_broken
def unknown_scale(folder: Path) -> Broken:
    path = write_h5ad(folder / "cells.h5ad", make_counts())
    return Broken(path, {"scale": "count"}, "data.scale must be one of .*did you mean counts")


@_broken
def no_cells(folder: Path) -> Broken:
    path = write_h5ad(folder / "cells.h5ad", sparse.csr_array((0, 5), dtype=np.float32))
    return Broken(path, {}, "must have cells and genes: got 0 cells and 5 genes")


@_broken
def no_genes(folder: Path) -> Broken:
    path = write_h5ad(folder / "cells.h5ad", np.zeros((5, 0), dtype=np.float32))
    return Broken(path, {}, "must have cells and genes: got 5 cells and 0 genes")


@_broken
def not_a_number(folder: Path) -> Broken:
    path = _with_value(folder, np.nan)
    return Broken(path, {}, r"got 3 NaN values in 2 of 60 cells \(first: cell3\); repeat the step")


@_broken
def infinite(folder: Path) -> Broken:
    path = _with_value(folder, np.inf)
    return Broken(path, {}, r"got 3 infinite values in 2 of 60 cells \(first: cell3\)")


@_broken
def negative_counts(folder: Path) -> Broken:
    path = _with_value(folder, -2.0)
    return Broken(path, {}, r"must not be negative: got 3 negative values in 2 of 60 cells")


@_broken
def empty_cells(folder: Path) -> Broken:
    counts_CG = make_counts()
    counts_CG[[4, 9]] = 0
    path = write_h5ad(folder / "cells.h5ad", counts_CG)
    return Broken(path, {}, r"only zeros in 2 of 60 cells \(first: cell4\); in Python")


@_broken
def unknown_label(folder: Path) -> Broken:
    message = "data.label must .* got cell_type, .*mean celltype.* celltype, depth, donor, part"
    return Broken(_with_obs(folder), {"label": "cell_type"}, message)


@_broken
def unknown_batch(folder: Path) -> Broken:
    return Broken(_with_obs(folder), {"batch": "plate"}, "data.batch must name a column of obs")


@_broken
def unknown_split(folder: Path) -> Broken:
    return Broken(_with_obs(folder), {"split": "parts"}, "data.split must .*did you mean part?")


@_broken
def continuous_label(folder: Path) -> Broken:
    message = "a column of classes: got depth with 60 different numbers in 60 cells"
    return Broken(_with_obs(folder), {"label": "depth"}, message)


@_broken
def identifiers_as_label(folder: Path) -> Broken:
    path = _with_obs(folder, barcode=[f"AC{row}" for row in range(N_CELLS)])
    return Broken(path, {"label": "barcode"}, "got barcode with 60 different texts in 60 cells")


@_broken
def missing_labels(folder: Path) -> Broken:
    labels = make_obs()["celltype"].to_list()
    labels[5], labels[8], labels[9] = None, "", "nan"
    message = r"data.label=celltype must .* got 3 of 60 cells without one \(first: cell5\)"
    return Broken(_with_obs(folder, celltype=labels), {"label": "celltype"}, message)


@_broken
def missing_batches(folder: Path) -> Broken:
    batches = [np.nan, *range(N_CELLS - 1)]
    message = "data.batch=plate must have a value for every cell: got 1 of 60"
    return Broken(_with_obs(folder, plate=batches), {"batch": "plate"}, message)


@_broken
def unknown_parts(folder: Path) -> Broken:
    parts = ["train", "holdout", "test"] * 20
    message = r"data.split=part may hold only train.* got 1 other values \(holdout\)"
    return Broken(_with_obs(folder, part=parts), {"split": "part"}, message)


@_broken
def no_test_cells(folder: Path) -> Broken:
    message = "must give some cells to test: got only train for 60 cells; call"
    return Broken(_with_obs(folder, part="train"), {"split": "part"}, message)


@_broken
def no_training_cells(folder: Path) -> Broken:
    message = "must give some cells to train: got only test for 60 cells"
    return Broken(_with_obs(folder, part="test"), {"split": "part"}, message)


def _with_var(folder: Path, **columns: Any) -> Path:
    var = pd.DataFrame(columns, index=gene_symbols())
    return write_h5ad(folder / "cells.h5ad", make_counts(), var=var)


@_broken
def duplicate_genes(folder: Path) -> Broken:
    symbols = ["ACTB", "ACTB", "TP53", "TP53", *gene_symbols()[4:]]
    path = _with_var(folder, symbol=symbols, gene_id=ensembl_ids())
    message = (
        r"gene names must be unique: got 2 names .* var column symbol \(ACTB, TP53\); "
        "name another column with data.gene_column=gene_id, or in Python"
    )
    return Broken(path, {"gene_column": "symbol"}, message)


@_broken
def unnamed_genes(folder: Path) -> Broken:
    path = _with_var(folder, symbol=["", *gene_symbols()[1:]])
    message = "every gene must have a name: got 1 of 120 empty names in var column symbol"
    return Broken(path, {"gene_column": "symbol"}, message)


@_broken
def unknown_gene_column(folder: Path) -> Broken:
    path = _with_var(folder, symbol=gene_symbols())
    return Broken(path, {"gene_column": "symbols"}, "a column of var: .*did you mean symbol?")


@_broken
def unknown_library_column(folder: Path) -> Broken:
    path = _with_obs(folder)
    return Broken(path, {"library_column": "n_counts"}, "data.library_column must name a column")


@_broken
def library_of_texts(folder: Path) -> Broken:
    message = "got 60 of 60 values that are not positive numbers"
    return Broken(_with_obs(folder), {"library_column": "donor"}, message)


@_broken
def library_too_small(folder: Path) -> Broken:
    message = "data.library_column=depth must hold .*60 of 60 cells with more counts"
    return Broken(_with_obs(folder), {"library_column": "depth"}, message)


@_broken
def library_of_another_matrix(folder: Path) -> Broken:
    path = write_h5ad(folder / "cells.h5ad", lognorm(make_counts()).astype(np.float32))
    message = "data.library_column=depth must hold .*does not turn into integer counts"
    return Broken(path, {"library_column": "depth"}, message)


@_broken
def text_matrix(folder: Path) -> Broken:
    path = write_h5ad(folder / "cells.h5ad", make_counts())
    with h5py.File(path, "a") as file:
        del file["X"]
        file["X"] = np.full((N_CELLS, N_GENES), b"x")
    return Broken(path, {}, "must hold numbers: got X of cells.h5ad of type")


def _malformed(folder: Path, change: Callable[[h5py.Group], None]) -> Path:
    path = write_h5ad(folder / "cells.h5ad", sparse.csr_array(make_counts()))
    with h5py.File(path, "a") as file:
        change(file["X"])
    return path


@_broken
def index_outside(folder: Path) -> Broken:
    def change(group: h5py.Group) -> None:
        group["indices"][3] = N_GENES

    return Broken(_malformed(folder, change), {}, "got an index outside 0 to 119; write the file")


@_broken
def short_indptr(folder: Path) -> Broken:
    def change(group: h5py.Group) -> None:
        indptr = group["indptr"][:-1]
        del group["indptr"]
        group["indptr"] = indptr

    return Broken(_malformed(folder, change), {}, r"an indptr that does not fit \(60, 120\)")


@_broken
def falling_indptr(folder: Path) -> Broken:
    def change(group: h5py.Group) -> None:
        group["indptr"][2] = 0

    return Broken(_malformed(folder, change), {}, "indptr and indices that contradict")


@_broken
def unknown_encoding(folder: Path) -> Broken:
    def change(group: h5py.Group) -> None:
        group.attrs["encoding-type"] = "coo_matrix"

    return Broken(_malformed(folder, change), {}, "got a group encoded as coo")


@_broken
def cube(folder: Path) -> Broken:
    path = write_h5ad(folder / "cells.h5ad", make_counts())
    with h5py.File(path, "a") as file:
        del file["X"]
        file["X"] = np.zeros((2, 2, 2))
    return Broken(path, {}, "got an array of 3 dimensions")


@_broken
def wrong_obs_length(folder: Path) -> Broken:
    path = write_h5ad(folder / "cells.h5ad", make_counts())
    with h5py.File(path, "a") as file:
        del file["X"]
        file["X"] = make_counts()[:-1]
    return Broken(path, {}, "obs must have one row per cell of X of cells.h5ad: got 60 rows")


@_broken
def tenx_without_obs(folder: Path) -> Broken:
    path = write_tenx_h5(folder / "cells.h5", make_counts())
    message = "a table obs.csv or obs.tsv next to the matrix: got none in .*save one there"
    return Broken(path, {"label": "celltype"}, message)


@_broken
def tenx_other_barcodes(folder: Path) -> Broken:
    path = write_tenx_h5(folder / "cells.h5", make_counts())
    make_obs().rename(index=lambda name: f"{name}-1").to_csv(folder / "obs.csv")
    message = "must hold the barcodes of cells.h5: got cell0-1 where the matrix has cell0"
    return Broken(path, {"label": "celltype"}, message)


@_broken
def tenx_repeated_barcodes(folder: Path) -> Broken:
    path = write_tenx_h5(folder / "cells.h5", make_counts())
    pd.concat([make_obs(), make_obs()[:2]]).to_csv(folder / "obs.csv")
    message = "must hold each barcode once: got 2 repeated, such as cell0"
    return Broken(path, {"label": "celltype"}, message)


@_broken
def tenx_partial_labels(folder: Path) -> Broken:
    path = write_tenx_h5(folder / "cells.h5", make_counts())
    make_obs()[:50].to_csv(folder / "obs.csv")
    return Broken(path, {"label": "celltype"}, r"10 of 60 cells without one \(first: cell50\)")


@_broken
def tenx_layer(folder: Path) -> Broken:
    path = write_tenx_h5(folder / "cells.h5", make_counts())
    return Broken(path, {"layer": "raw"}, "cells.h5 has one matrix; leave data.layer out")


@_broken
def tenx_folder_layer(folder: Path) -> Broken:
    path = write_tenx_folder(folder / "matrix", make_counts())
    return Broken(path, {"layer": "raw"}, "matrix has one matrix; leave data.layer out")


@_broken
def tenx_two_genomes(folder: Path) -> Broken:
    path = write_tenx_h5(folder / "cells.h5", make_counts(), old=True)
    with h5py.File(path, "a") as file:
        file.copy("GRCh38", "mm10")
    return Broken(path, {}, "one genome must be chosen: got cells.h5 with GRCh38, mm10; name")


@_broken
def tenx_unknown_genome(folder: Path) -> Broken:
    path = tenx_two_genomes(folder).path
    return Broken(path, {"layer": "hg19"}, "one matrix but GRCh38, mm10; choose one of GRCh38")


@_broken
def tenx_antibodies_only(folder: Path) -> Broken:
    kinds = ["Antibody Capture"] * N_GENES
    path = write_tenx_h5(folder / "cells.h5", make_counts(), kinds)
    return Broken(path, {}, "type Gene Expression: got 120 of type Antibody Capture")


@_broken
def tenx_incomplete_folder(folder: Path) -> Broken:
    path = write_tenx_folder(folder / "matrix", make_counts())
    (path / "barcodes.tsv.gz").unlink()
    return Broken(path, {}, "a 10x folder must hold .* without barcodes.tsv; copy the whole")


@_broken
def tenx_mixed_folder(folder: Path) -> Broken:
    path = write_tenx_folder(folder / "matrix", make_counts(), old=True)
    (path / "barcodes.tsv").write_text("cell0\ncell1\n")
    return Broken(path, {}, "120 x 60 for 120 genes and 2 barcodes in matrix; take the three")


def _changed_mtx(folder: Path, change: Callable[[list[str]], list[str]]) -> Path:
    path = write_tenx_folder(folder / "matrix", make_counts(), old=True)
    lines = (path / "matrix.mtx").read_text().splitlines(keepends=True)
    (path / "matrix.mtx").write_text("".join(change(lines)))
    return path


@_broken
def mtx_cut_off(folder: Path) -> Broken:
    path = _changed_mtx(folder, lambda lines: lines[:100])
    return Broken(path, {}, r"whole Matrix Market file of counts: got \d+ of the \S+ entries")


@_broken
def mtx_cut_off_gzip(folder: Path) -> Broken:
    path = write_tenx_folder(folder / "matrix", make_counts())
    matrix = path / "matrix.mtx.gz"
    matrix.write_bytes(matrix.read_bytes()[:2000])
    return Broken(path, {}, "whole Matrix Market file of counts: got .*copy or download")


@_broken
def mtx_words(folder: Path) -> Broken:
    path = _changed_mtx(folder, lambda lines: [*lines[:-1], "1 one 1\n"])
    return Broken(path, {}, "whole Matrix Market file of counts: got")


@_broken
def mtx_outside(folder: Path) -> Broken:
    path = _changed_mtx(folder, lambda lines: [*lines[:-1], "1 61 1\n"])
    return Broken(path, {}, "got an entry outside 120 x 60")


@_broken
def mtx_without_header(folder: Path) -> Broken:
    return Broken(_changed_mtx(folder, lambda lines: []), {}, "got a header without three sizes")


@_broken
def mtx_symmetric(folder: Path) -> Broken:
    path = _changed_mtx(
        folder, lambda lines: [lines[0].replace("general", "symmetric"), *lines[1:]]
    )
    return Broken(path, {}, "got the header '%%MatrixMarket matrix coordinate integer symmetric'")


@_broken
def mtx_pattern(folder: Path) -> Broken:
    path = _changed_mtx(folder, lambda lines: [lines[0].replace("integer", "pattern"), *lines[1:]])
    return Broken(path, {}, "got entries of type pattern")
