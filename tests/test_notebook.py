"""The Python interface: an AnnData in memory → runs, studies, predictions, without changing it."""

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import leadline as ll
from leadline.data.cells import read_cells
from leadline.data.cells.in_memory import write_in_memory
from leadline.errors import UserError
from small import small_cells


def an_anndata(sizes=(40, 30, 30), n_genes=60):
    cells = small_cells(sizes, n_genes=n_genes)
    obs = pd.DataFrame(
        {
            "cell_type": np.array(cells.classes)[cells.labels_C],
            "donor": [f"d{at % 4}" for at in range(len(cells))],
        },
        index=[f"c{at}" for at in range(len(cells))],
    )
    return anndata.AnnData(
        X=sparse.csr_matrix(cells.matrix_CG), obs=obs, var=pd.DataFrame(index=cells.genes)
    )


def parts_of(adata):
    dense = [
        np.asarray(m.todense() if sparse.issparse(m) else m)
        for m in (adata.X, *adata.layers.values())
    ]
    return dense, adata.obs.copy(), adata.var.copy(), list(adata.uns)


def assert_unchanged(adata, before):
    dense, obs, var, uns = parts_of(adata)
    for now, then in zip(dense, before[0], strict=True):
        np.testing.assert_array_equal(now, then)
    pd.testing.assert_frame_equal(obs, before[1])
    pd.testing.assert_frame_equal(var, before[2])
    assert uns == before[3]


def as_view(adata):
    return adata[10:90, 5:]


def dense_float64(adata):
    adata.X = np.asarray(adata.X.todense(), dtype=np.float64)
    return adata


def counts_of_int(adata):
    adata.X = sparse.csc_matrix(adata.X.astype(np.int64))
    return adata


def categories(adata):
    adata.obs["cell_type"] = adata.obs["cell_type"].astype("category")
    adata.obs["donor"] = adata.obs["donor"].astype("string")
    return adata


@pytest.mark.parametrize("change", [as_view, dense_float64, counts_of_int, categories])
def test_every_kind_of_anndata_is_written_as_it_is_and_left_alone(tmp_path, change):
    adata = change(an_anndata())
    before = parts_of(adata)
    path = write_in_memory(adata, tmp_path, label="cell_type", batch="donor")
    assert_unchanged(adata, before)
    cells = read_cells(path, name="mine", label="cell_type", batch="donor")
    np.testing.assert_array_equal(cells.matrix_CG.todense(), before[0][0].astype(np.float32))
    assert [cells.classes[code] for code in cells.labels_C] == before[1]["cell_type"].tolist()
    assert cells.ids.tolist() == before[1].index.tolist()
    assert write_in_memory(adata, tmp_path, label="cell_type", batch="donor") == path
    assert len(list(tmp_path.iterdir())) == 1


def test_layers_raw_and_backed_objects_are_read(tmp_path):
    adata = an_anndata()
    counts = adata.X.copy()
    adata.raw = adata.copy()
    adata.layers["counts"] = counts
    adata.X = counts.multiply(0.5).tocsr()
    for layer in ("counts", "raw"):
        path = write_in_memory(adata, tmp_path, label="cell_type", batch=None, layer=layer)
        got = read_cells(path, name="mine", label="cell_type").matrix_CG
        np.testing.assert_array_equal(got.todense(), counts.todense())
    adata.write_h5ad(tmp_path / "backed.h5ad")
    backed = anndata.read_h5ad(tmp_path / "backed.h5ad", backed="r")
    path = write_in_memory(backed, tmp_path / "b", label="cell_type", batch=None)
    got = read_cells(path, name="mine", label="cell_type").matrix_CG
    np.testing.assert_allclose(got.todense(), 0.5 * counts.todense())
    backed.file.close()


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(12)))
def test_the_order_of_cells_and_their_labels_stay_together(tmp_path_factory, order):
    folder = tmp_path_factory.mktemp("order")
    adata = an_anndata((6, 6), n_genes=20)[list(order)]
    cells = read_cells(
        write_in_memory(adata, folder, label="cell_type", batch=None), name="x", label="cell_type"
    )
    assert [cells.classes[code] for code in cells.labels_C] == adata.obs["cell_type"].tolist()


def test_other_columns_come_along(tmp_path):
    adata = an_anndata()
    adata.obs["total"] = np.arange(len(adata)) + 5000.0
    path = write_in_memory(adata, tmp_path, label="cell_type", batch=None, others=["total"])
    assert anndata.read_h5ad(path).obs["total"].tolist() == adata.obs["total"].tolist()


def test_what_is_no_anndata_or_lacks_a_column_is_refused(tmp_path):
    with pytest.raises(UserError, match="cells in memory must be an AnnData: got list"):
        write_in_memory([1, 2], tmp_path, label=None, batch=None)
    with pytest.raises(UserError, match="layer must name a matrix of the AnnData: got 'cuonts'"):
        write_in_memory(an_anndata(), tmp_path, label=None, batch=None, layer="cuonts")
    with pytest.raises(UserError, match="got raw, which it does not have"):
        write_in_memory(an_anndata(), tmp_path, label=None, batch=None, layer="raw")
    with pytest.raises(UserError, match="did you mean cell_type"):
        write_in_memory(an_anndata(), tmp_path, label="cell_typ", batch=None)
    holed = an_anndata()
    holed.obs.loc["c3", "cell_type"] = np.nan
    with pytest.raises(UserError, match="cell_type"):
        write_in_memory(holed, tmp_path, label="cell_type", batch=None)
    assert not list(tmp_path.iterdir())


def test_a_run_shows_its_scores_and_names_new_cells(tmp_path):
    adata = an_anndata()
    before = parts_of(adata)
    run = ll.run(data=adata, label="cell_type", runs_dir=tmp_path, settings={"model.grid": [1.0]})
    assert_unchanged(adata, before)
    assert 0 <= run.metrics["accuracy"] <= 1
    said = run.predictions
    assert set(said.index) <= set(adata.obs_names)
    assert (said["truth"] == said["predicted"]).mean() == pytest.approx(run.metrics["accuracy"])
    np.testing.assert_allclose(said.iloc[:, 2:].sum(axis=1), 1, atol=2e-3)
    assert len(repr(run).splitlines()) <= 6 and "accuracy" in repr(run)
    assert "<script" not in run._repr_html_() and "accuracy" in run._repr_html_()
    labels = ll.predict(run, adata[:7])
    assert labels.index.tolist() == adata.obs_names[:7].tolist()
    table = ll.predict(run, adata[:7], probabilities=True)
    assert {"label", "probability"} < set(table.columns)
    # The same call finds the run done, and the same cells.
    again = ll.run(data=adata, label="cell_type", runs_dir=tmp_path, settings={"model.grid": [1.0]})
    assert again == run
    assert len(ll.read_runs(tmp_path)) > 3


def test_cells_in_memory_get_an_answer(tmp_path):
    adata = an_anndata()
    study = ll.compare(
        adata, label="cell_type", models=["nearest_centroid", "majority"], seeds=2,
        runs_dir=tmp_path / "runs", settings={"data.fraction": 1.0},
    )  # fmt: skip
    assert "logistic regression" in study.answer or "nearest centroid" in study.answer.lower()
    assert study.page.is_file() and set(study.runs["arm"]) == {
        "logreg", "majority", "nearest_centroid",
    }  # fmt: skip
    assert len(repr(study).splitlines()) <= 6 and study.answer in repr(study)
    shown = study._repr_html_()
    assert "data:image/svg+xml" in shown and "<script" not in shown
    assert {"verdict", "arm"} <= set(study.verdicts.columns)


def test_a_budget_stops_in_time_and_the_same_call_goes_on(tmp_path):
    arguments = {"label": "cell_type", "models": ["majority"], "seeds": 2}
    arguments |= {"runs_dir": tmp_path / "runs", "settings": {"data.fraction": 1.0}}
    with pytest.raises(UserError, match="a report needs at least one finished run"):
        ll.compare(an_anndata(), budget=0, **arguments)
    done = ll.compare(an_anndata(), budget="10 min", **arguments)
    assert set(done.runs["arm"]) == {"logreg", "majority"}


def test_ctrl_c_leaves_a_study_that_the_same_call_finishes(tmp_path, monkeypatch):
    from leadline.cli import ablate

    whole = ablate.sweep

    def interrupted(runs, launcher, *, stop, **more):
        first = whole(runs[:3], launcher, stop=stop, **more)
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.wait(30)
        return first + whole(runs[3:], launcher, stop=stop, **more)

    arguments = {"label": "cell_type", "models": ["majority"], "seeds": 2}
    arguments |= {"runs_dir": tmp_path / "runs", "settings": {"data.fraction": 1.0}}
    monkeypatch.setattr(ablate, "sweep", interrupted)
    begun = ll.compare(an_anndata(), **arguments)
    before = len(begun.runs["run_id"].unique())
    monkeypatch.setattr(ablate, "sweep", whole)
    done = ll.compare(an_anndata(), **arguments)
    assert before == 3 < len(done.runs["run_id"].unique()) and done.page == begun.page


@pytest.mark.parametrize("kind", ["view", "backed", "raw", "int", "string"])
def test_the_caller_s_object_is_the_same_to_the_last_bit(tmp_path, kind):
    adata = an_anndata()
    adata.uns["more"] = {"colours": np.array(["#fff", "#000"])}
    adata.obsm["X_pca"] = np.random.default_rng(0).normal(size=(len(adata), 2))
    layer = None
    if kind == "view":
        adata = adata[5:80, 3:]
    elif kind == "raw":
        adata.raw, layer = adata.copy(), "raw"
    elif kind == "int":
        adata = counts_of_int(adata)
    elif kind == "string":
        adata = categories(adata)
    elif kind == "backed":
        adata.write_h5ad(tmp_path / "cells.h5ad")
        adata = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    before = digest_of(adata)
    write_in_memory(adata, tmp_path / "runs", label="cell_type", batch="donor", layer=layer)
    assert digest_of(adata) == before
    assert adata.is_view == (kind == "view") and adata.isbacked == (kind == "backed")
    if kind == "backed":
        assert adata.file.is_open
        adata.file.close()


def digest_of(adata):
    """Digest every array of an object, with its type."""
    said = hashlib.sha256()

    def add(array):
        for part in (
            [array.data, array.indices, array.indptr] if sparse.issparse(array) else [array]
        ):
            part = np.asarray(part)
            said.update(str(part.dtype).encode() + str(part.shape).encode())
            said.update(repr(part.tolist()).encode() if part.dtype == object else part.tobytes())

    matrix = adata.X
    add(matrix[:] if adata.isbacked else matrix)
    for frame in (adata.obs, adata.var):
        add(frame.index.to_numpy())
        for name in frame:
            said.update(f"{name} {frame[name].dtype}".encode())
            add(frame[name].to_numpy())
    for layer in (*adata.layers.values(), *adata.obsm.values()):
        add(layer)
    if adata.raw is not None:
        add(adata.raw.X)
    said.update(repr(dict(adata.uns)).encode())
    return said.hexdigest()


def test_mistakes_are_exceptions_with_a_rule_and_a_remedy(tmp_path):
    with pytest.raises(UserError, match="models must be arms of the study own_data: got 'scbertt'"):
        ll.compare(an_anndata(), label="cell_type", models=["scbertt"], runs_dir=tmp_path)
    with pytest.raises(UserError, match="budget must be a length of time: got 'soon'"):
        ll.study("quickstart", budget="soon", runs_dir=tmp_path)
    with pytest.raises(AttributeError, match="no attribute 'comparee'"):
        ll.comparee  # noqa: B018


def test_the_interface_is_listed_and_importing_it_loads_nothing_heavy():
    assert set(ll.__all__) <= set(dir(ll))
    heavy = "numpy,pandas,torch,hydra,anndata,matplotlib,sklearn"
    code = f"import leadline, sys; print([m for m in '{heavy}'.split(',') if m in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def test_report_can_be_called_before_and_after_its_package_was_imported():
    code = """
import leadline as ll
def refused():
    try:
        ll.report("never_run")
    except ll_errors.UserError as error:
        print(type(error).__name__)
import leadline.errors as ll_errors
refused()
import leadline.report.write
refused()
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second = said.stdout.split()
    assert first == second


@pytest.mark.slow
def test_the_notebook_of_the_docs_runs_and_holds_no_outputs(tmp_path, monkeypatch):
    nbformat = pytest.importorskip("nbformat")
    from nbclient import NotebookClient

    path = Path(__file__).parents[1] / "docs" / "notebook.ipynb"
    notebook = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    monkeypatch.chdir(tmp_path)
    NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    shown = [out for cell in notebook.cells for out in cell.get("outputs", ())]
    pages = [out["data"]["text/html"] for out in shown if "text/html" in out.get("data", {})]
    assert any("logistic regression" in page and "<img" in page for page in pages)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) == 5
