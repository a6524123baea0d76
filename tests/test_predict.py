"""`leadline predict`: a finished run on cells without labels."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from leadline import cli
from leadline.data.cells import Scale, genes
from leadline.models import novelty
from leadline.runs import record
from small import saved, small_cells

SIZES = (120, 100, 80)
MODELS = {
    "logreg": ["model.C=1"],
    "nearest_centroid": [],
    "knn_pca": ["model.components=5"],
    "mlp": ["train.epochs=2", "train.device=cpu"],
    "scbert": ["model.size=tiny", "train.epochs=1", "train.device=cpu"],
    "scgpt": ["model.size=tiny", "train.epochs=1", "train.device=cpu"],
}


def half(which):
    """Give every second cell of one population: those to train on, or those to name."""
    whole = small_cells(SIZES)
    return whole.take(np.arange(which, len(whole), 2))


def run(path, runs, *words):
    made = ["data=h5ad", f"data.path={path}", "data.label=celltype", f"runs_dir={runs}"]
    assert cli.main(["run", *made, *words]) == cli.GOOD


def folder_of(runs, model):
    (folder,) = runs.glob(f"{model}-*")
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Give a folder of runs of several models on one file, and that file."""
    place = tmp_path_factory.mktemp("made")
    path = saved(half(0), place / "cells.h5ad")
    for model, words in MODELS.items():
        run(path, place / "runs", f"model={model}", *words)
    return place / "runs", path


def predict(runs, model, cells, out, *words, expect=cli.GOOD):
    named = ["--run", str(folder_of(runs, model)), "--cells", str(cells), "--out", str(out)]
    assert cli.main(["predict", *named, *words]) == expect
    if expect != cli.GOOD:
        return []
    with open(out, newline="") as file:
        return list(csv.DictReader(file))


def probabilities(rows, classes):
    return np.array([[float(row[name]) for name in classes] for row in rows])


@pytest.mark.parametrize("model", sorted(MODELS))
def test_of_its_own_reported_cells_a_run_says_what_its_record_says(model, made, tmp_path, capsys):
    runs, path = made
    before = {p: p.stat().st_mtime_ns for p in folder_of(runs, model).rglob("*")}
    rows = predict(runs, model, path, tmp_path / "labels.csv", "--threshold", "0")
    assert capsys.readouterr().out == f"{tmp_path / 'labels.csv'}\n"
    parts, classes = record.read_predictions(folder_of(runs, model))
    said = parts["test"]
    place = {row["cell"]: row for row in rows}
    mine = [place[name] for name in said.ids.tolist()]
    assert [row["label"] for row in mine] == [classes[k] for k in said.predicted_C]
    np.testing.assert_allclose(probabilities(mine, classes), said.proba_CK, atol=2e-3)
    assert {p: p.stat().st_mtime_ns for p in folder_of(runs, model).rglob("*")} == before


def test_a_network_without_kept_weights_is_fitted_again(made, tmp_path, capsys):
    _, path = made
    runs = tmp_path / "runs"
    run(path, runs, "model=mlp", *MODELS["mlp"], "train.keep_best=false")
    assert not (folder_of(runs, "mlp") / "checkpoints").exists()
    capsys.readouterr()
    again = predict(runs, "mlp", path, tmp_path / "again.csv")
    assert "kept no weights: fitting it again" in capsys.readouterr().err
    assert again == predict(made[0], "mlp", path, tmp_path / "kept.csv")
    assert record.verify(folder_of(runs, "mlp")) == []
    assert not (folder_of(runs, "mlp") / "checkpoints").exists()


def test_genes_are_matched_by_name_whatever_their_order(made, tmp_path, capsys):
    runs, path = made
    cells = half(0)
    order = np.random.default_rng(1).permutation(len(cells.genes))
    extra = sparse.csr_array(np.ones((len(cells), 1), np.float32))
    shuffled = replace(
        cells,
        labels_C=None,
        matrix_CG=sparse.csr_array(sparse.hstack([cells.matrix_CG[:, order], extra])),
        genes=np.array([*cells.genes[order], "UNKNOWN"]),
    )
    other = saved(shuffled, tmp_path / "shuffled.h5ad")
    # The unknown gene belongs to each cell's total: values move a little, neighbours hardly.
    first = predict(runs, "knn_pca", path, tmp_path / "a.csv", "--threshold", "0")
    second = predict(runs, "knn_pca", other, tmp_path / "b.csv", "--threshold", "0")
    same = [a["label"] == b["label"] for a, b in zip(first, second, strict=True)]
    assert np.mean(same) > 0.95
    assert "40 of the run's 40 genes are in the file; 1 of the file's genes are not used" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize("scale", [Scale.COUNTS, Scale.LN_CP10K, Scale.LOG2_CP10K])
def test_scales_are_brought_together(scale):
    counts = small_cells(SIZES)
    given = (
        counts
        if scale is Scale.COUNTS
        else replace(counts, matrix_CG=counts.lognorm(scale), scale=scale)
    )
    for wanted in (Scale.COUNTS, Scale.LN_CP10K, Scale.LOG2_CP10K):
        found = genes.align(given, counts.genes[::-1], wanted, 1.0).cells
        told = Scale.LN_CP10K if wanted is Scale.COUNTS else wanted
        np.testing.assert_allclose(
            found.lognorm(told).toarray()[:, ::-1], counts.lognorm(told).toarray(), rtol=1e-5
        )
    assert given.matrix_CG is (counts.matrix_CG if scale is Scale.COUNTS else given.matrix_CG)


def test_versions_of_ensembl_ids_do_not_count_and_missing_genes_are_zero():
    cells = half(0)
    ids = np.array([f"ENSG{i:011d}" for i in range(40)])
    new = replace(cells, genes=np.array([f"{name}.{i}" for i, name in enumerate(ids)]))
    kept = replace(new, matrix_CG=new.matrix_CG[:, :30], genes=new.genes[:30])
    found = genes.align(kept, ids, Scale.COUNTS, 0.5)
    assert (found.present, found.missing, found.unused) == (30, 10, 0)
    expected = np.hstack([cells.matrix_CG.toarray()[:, :30], np.zeros((len(cells), 10))])
    np.testing.assert_array_equal(found.cells.matrix_CG.toarray(), expected)
    assert "the other 10 count as zero" in found.describe()


def test_too_few_genes_are_refused(made, tmp_path, capsys):
    runs, _ = made
    cells = half(0)
    few = replace(cells, matrix_CG=cells.matrix_CG[:, :10], genes=cells.genes[:10])
    path = saved(few, tmp_path / "few.h5ad")
    predict(runs, "logreg", path, tmp_path / "x.csv", expect=cli.MISTAKE)
    assert "must hold at least 50% of the genes that the run knows: got 10 of 40" in (
        capsys.readouterr().err
    )
    assert not (tmp_path / "x.csv").exists()
    assert predict(runs, "logreg", path, tmp_path / "x.csv", "--min-genes", "0.2")


def test_other_kinds_of_gene_names_are_named(made, tmp_path, capsys):
    runs, _ = made
    ids = np.array([f"ENSG{i:011d}" for i in range(40)])
    path = saved(replace(half(0), genes=ids), tmp_path / "ensembl.h5ad")
    predict(runs, "logreg", path, tmp_path / "x.csv", expect=cli.MISTAKE)
    shown = capsys.readouterr().err
    assert (
        "the run's genes are symbol names (G0), the file's are ensembl (ENSG00000000000)" in shown
    )
    assert "data.gene_column=" in shown


def test_cells_below_the_threshold_stay_unassigned(made, tmp_path, capsys):
    runs, path = made
    rows = predict(runs, "logreg", path, tmp_path / "all.csv", "--threshold", "0.9")
    for row in rows:
        assert (row["label"] == "unassigned") == (float(row["probability"]) < 0.9)
    assert "unassigned, and " in capsys.readouterr().err
    predict(runs, "logreg", path, tmp_path / "all.csv", "--threshold", "1")
    assert "threshold 1: " in capsys.readouterr().err


def test_cells_of_the_same_kind_raise_no_warning_and_shifted_ones_do(made, tmp_path, capsys):
    runs, _ = made
    whole = half(1)
    predict(runs, "logreg", saved(whole, tmp_path / "fresh.h5ad"), tmp_path / "a.csv")
    assert "warning" not in capsys.readouterr().err
    order = np.random.default_rng(0).permutation(len(whole.genes))
    shifted = saved(replace(whole, matrix_CG=whole.matrix_CG[:, order]), tmp_path / "shifted.h5ad")
    rows = predict(runs, "logreg", shifted, tmp_path / "b.csv")
    shown = capsys.readouterr().err
    assert "warning: " in shown and "cosine similarity with the nearest class mean" in shown
    assert np.mean([row["unlike_training_cells"] == "1" for row in rows]) > 0.5


def test_likeness_leaves_each_training_cell_out_of_its_own_mean():
    cells = small_cells((12, 9, 1))
    dense = cells.lognorm().toarray().astype(np.float64)
    means = np.stack([dense[cells.labels_C == k].mean(axis=0) for k in range(3)])
    naive = []
    for centre in (np.zeros(len(cells.genes)), means.mean(axis=0)):
        seen = [nearest_without(i, dense, cells.labels_C, centre) for i in range(len(dense))]
        naive.append(np.quantile(seen, novelty.TAIL / 2))
    for matrix in (dense, cells.lognorm()):
        found = novelty.fit_novelty(matrix, cells.labels_C)
        assert [found.floor, found.centred_floor] == pytest.approx(naive, abs=1e-5)
    back = novelty.Novelty.of(found.arrays())
    np.testing.assert_allclose(back.means_HD, found.means_HD, rtol=1e-3)
    assert (back.floor, back.centred_floor) == (found.floor, found.centred_floor)


def nearest_without(i, dense, labels, centre):
    """Give the best cosine of cell i, seen from a centre, with the means of the other cells."""
    others = np.arange(len(dense)) != i
    best = -1.0
    for k in range(labels.max() + 1):
        if (others & (labels == k)).any():
            mean, cell = dense[others & (labels == k)].mean(axis=0) - centre, dense[i] - centre
            best = max(best, mean @ cell / np.linalg.norm(mean) / np.linalg.norm(cell))
    return best


def test_cells_of_an_unknown_type_are_unlike():
    cells = small_cells((200, 200, 200), n_genes=100)
    known, new = np.flatnonzero(cells.labels_C < 2), np.flatnonzero(cells.labels_C == 2)
    found = novelty.fit_novelty(cells.lognorm()[known], cells.labels_C[known])
    assert found.is_novel(cells.lognorm()[new]).mean() > 0.5


def test_likeness_holds_its_promise_on_fresh_cells():
    whole = small_cells((1500, 1500), n_genes=60)
    half = np.arange(len(whole)) % 2 == 0
    train, fresh = whole.take(np.flatnonzero(half)), whole.take(np.flatnonzero(~half))
    unlike = novelty.fit_novelty(train.lognorm(), train.labels_C).is_novel(fresh.lognorm())
    assert 0.002 < unlike.mean() < 0.03
    assert not novelty.is_suspicious(unlike)


@pytest.mark.parametrize(
    ("unlike", "cells", "expected"), [(0, 0, False), (1, 5, False), (3, 5, True), (9, 100, False),
                                      (10, 100, True), (90, 1000, False)]
)  # fmt: skip
def test_a_warning_needs_many_cells_and_more_than_chance(unlike, cells, expected):
    assert novelty.is_suspicious(np.arange(cells) < unlike) is expected


def test_training_cells_that_moved_are_named(made, tmp_path, capsys):
    _, path = made
    mine = Path(saved(half(0), tmp_path / "mine.h5ad"))
    runs = tmp_path / "runs"
    run(mine, runs, "model=nearest_centroid")
    mine.rename(tmp_path / "moved.h5ad")
    predict(runs, "nearest_centroid", path, tmp_path / "x.csv", expect=cli.MISTAKE)
    assert "which does not exist" in capsys.readouterr().err
    where = ["--training", str(tmp_path / "moved.h5ad")]
    assert predict(runs, "nearest_centroid", path, tmp_path / "x.csv", *where)
    other = saved(small_cells(SIZES, seed=9), tmp_path / "other.h5ad")
    where = ["--training", str(other)]
    predict(runs, "nearest_centroid", path, tmp_path / "x.csv", *where, expect=cli.MISTAKE)
    assert "the cells that the run was trained on must still be there, unchanged" in (
        capsys.readouterr().err
    )


def test_controls_that_do_not_look_are_refused(made, tmp_path, capsys):
    _, path = made
    for model in ("majority", "stratified"):
        run(path, tmp_path / "runs", f"model={model}")
        predict(tmp_path / "runs", model, path, tmp_path / "x.csv", expect=cli.MISTAKE)
        assert "predict needs a model that looks at the cell" in capsys.readouterr().err


def test_a_model_that_does_not_repeat_its_record_is_refused(made, tmp_path, capsys, monkeypatch):
    from leadline.models.controls import NearestCentroid

    runs, path = made
    whole = NearestCentroid.predict_proba
    monkeypatch.setattr(NearestCentroid, "predict_proba", lambda *a: whole(*a)[:, ::-1])
    predict(runs, "nearest_centroid", path, tmp_path / "x.csv", expect=cli.MISTAKE)
    assert "a model that is made again must repeat its record: got" in capsys.readouterr().err


def test_only_whole_runs_are_used(made, tmp_path, capsys):
    _, path = made
    run(path, tmp_path / "runs", "model=logreg", "model.C=1")
    folder = folder_of(tmp_path / "runs", "logreg")
    weights = (folder / "model.npz").read_bytes()
    (folder / "model.npz").write_bytes(weights[:-1])
    predict(tmp_path / "runs", "logreg", path, tmp_path / "x.csv", expect=cli.MISTAKE)
    assert "model.npz differ from what DONE says" in capsys.readouterr().err
    (folder / "DONE").unlink()
    predict(tmp_path / "runs", "logreg", path, tmp_path / "x.csv", expect=cli.MISTAKE)
    assert "only a finished run can be used" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--run", "nothing"], "a run is named by its folder or its id: got 'nothing'"),
        (["--out", "/nowhere/x.csv"], "--out must lie in a folder that exists"),
        (["--cells", "/nowhere.h5ad"], "which does not exist"),
        (["data.layr=raw"], "settings of the new file are data.KEY=VALUE: got 'data.layr=raw'"),
        (["data.layer=nothing"], "data.layer must name a matrix of the file"),
    ],
)
def test_mistakes_are_one_line(words, message, made, tmp_path, capsys):
    runs, path = made
    usual = {"--run": str(folder_of(runs, "logreg")), "--cells": str(path)}
    usual |= {"--out": str(tmp_path / "x.csv")}
    if words[0].startswith("--"):
        usual[words[0]], words = words[1], []
    named = [text for pair in usual.items() for text in pair]
    assert cli.main(["predict", *named, *words, "--runs", str(runs)]) == cli.MISTAKE
    shown = capsys.readouterr().err
    assert message in shown and len(shown.splitlines()) == 1
