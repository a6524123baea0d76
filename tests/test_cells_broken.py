"""Every file that cannot be read gets a message of its own, whose remedy works."""

import os
from pathlib import Path

import anndata
import numpy as np
import pytest

from cells_broken import BROKEN
from cells_files import (
    gene_symbols,
    lognorm,
    make_counts,
    make_obs,
    write_h5ad,
    write_tenx_h5,
    zscores,
)
from leadline.data.cells import Scale, read_cells, require_scale
from leadline.data.cells.read import read_matrix_blocks
from leadline.errors import UserError


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_have_messages_of_their_own(name: str, tmp_path: Path) -> None:
    broken = BROKEN[name](tmp_path)
    with pytest.raises(UserError, match=broken.message) as caught:
        read_cells(broken.path, name="mine", **broken.arguments)
    assert "\n" not in str(caught.value)
    assert caught.value.remedy


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_h5ad(tmp_path / "cells.h5ad", make_counts())
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(UserError, match="must be readable: .* without permission.*chmod u[+]r"):
        read_cells(path, name="mine")


def test_negative_counts_are_refused_even_if_declared(tmp_path: Path) -> None:
    values_CG = lognorm(make_counts())
    path = write_h5ad(tmp_path / "z.h5ad", zscores(values_CG), layers={"counts": make_counts()})
    with pytest.raises(UserError, match="must not be negative.*data.layer=counts holds counts"):
        read_cells(path, name="mine", scale="counts")


def test_the_remedy_for_empty_cells_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    counts_CG = make_counts()
    counts_CG[[4, 9]] = 0
    write_h5ad(tmp_path / "cells.h5ad", make_counts(), layers={"counts": counts_CG})
    with pytest.raises(UserError) as caught:
        read_cells("cells.h5ad", name="mine", layer="counts")
    _run_python(caught.value.remedy)
    assert len(read_cells("no_empty_cells.h5ad", name="mine", layer="counts")) == 58


@pytest.mark.parametrize("layer", [None, "raw"])
@pytest.mark.filterwarnings("ignore:.*names are not unique")
def test_the_remedy_for_repeated_genes_works(
    layer: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    adata = anndata.AnnData(make_counts(), obs=make_obs())
    adata.var_names = ["ACTB", "ACTB", *gene_symbols()[2:]]
    adata.raw = adata
    adata.write_h5ad("cells.h5ad")
    with pytest.raises(UserError, match=r"1 names .* \(ACTB\)") as caught:
        read_cells("cells.h5ad", name="mine", layer=layer)
    _run_python(caught.value.remedy)
    assert "ACTB-1" in read_cells("unique.h5ad", name="mine").genes


def test_the_remedy_for_repeated_genes_in_a_column_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    broken = BROKEN["duplicate_genes"](tmp_path)
    with pytest.raises(UserError) as caught:
        read_cells(broken.path, name="mine", **broken.arguments)
    assert read_cells(broken.path, name="mine", gene_column="gene_id").gene_kind == "ensembl"
    _run_python(caught.value.remedy)
    assert read_cells("unique.h5ad", name="mine").genes.tolist()[:2] == ["ACTB", "ACTB-1"]


def test_repeated_symbols_of_a_10x_file_have_ids_beside_them(tmp_path: Path) -> None:
    import h5py

    path = write_tenx_h5(tmp_path / "cells.h5", make_counts())
    with h5py.File(path, "a") as file:
        file["matrix/features/name"][1] = file["matrix/features/name"][0]
    with pytest.raises(UserError, match="data.gene_column=gene_ids, or .*read_10x_h5"):
        read_cells(path, name="mine")
    assert read_cells(path, name="mine", gene_column="gene_ids").gene_kind == "ensembl"


def test_require_scale_names_the_layer_that_will_do(tmp_path: Path) -> None:
    logs_CG = lognorm(make_counts()).astype(np.float32)
    path = write_h5ad(tmp_path / "cells.h5ad", zscores(logs_CG), raw_CG=logs_CG)
    cells = read_cells(path, name="mine")
    require_scale(cells, {Scale.ZSCORED}, "logreg")
    expected = (
        r"scgpt needs counts or ln of 1 \+ counts per 10,000: got z-scores in X of mine \(it has "
        r"negative .*\); the file also holds what it needs: data.layer=raw \(ln of 1"
    )
    with pytest.raises(UserError, match=expected):
        require_scale(cells, {Scale.COUNTS, Scale.LN_CP10K}, "scgpt")
    with pytest.raises(UserError, match="no other layer of the file will do.*data.scale=counts"):
        require_scale(cells, {Scale.COUNTS}, "scgpt")


def test_blocks_refuse_what_the_reader_refuses(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        next(read_matrix_blocks(tmp_path / "none.h5ad"))
    with pytest.raises(UserError, match="without matrix.mtx"):
        next(read_matrix_blocks(tmp_path))


def _run_python(remedy: str) -> None:
    exec(remedy.split("in Python: ")[1], {})
