"""Positions that another program gave the cells, as a model of their own."""

import csv
import re
from dataclasses import replace

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from leadline import cli
from leadline.config import EmbeddingConfig
from leadline.data.embeddings import digest, read_npz, read_obsm
from leadline.errors import UserError
from leadline.models.external.embedding import Probe
from leadline.runs import record
from small import saved, small_cells


def positions(cells, seed=0, spread=0.5):
    """Give clouds of points, one for each class, and one dimension that never varies."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(0, 1, (len(cells.classes), 6))
    cloud = centres[cells.labels_C] + rng.normal(0, spread, (len(cells), 6))
    return np.hstack([cloud, np.full((len(cells), 1), 3.0)]).astype(np.float32)


@pytest.fixture
def cells():
    return small_cells((40, 40, 40))


def run(path, tmp_path, *words, expect=cli.GOOD):
    data = ["data=h5ad", f"data.path={path}", "data.label=celltype"]
    before = set((tmp_path / "runs").glob("*-*"))
    words = [*data, "model=embedding", *words, f"runs_dir={tmp_path / 'runs'}"]
    assert cli.main(["run", *words]) == expect
    return set((tmp_path / "runs").glob("*-*")) - before


@pytest.mark.parametrize("probe", ["logreg", "knn"])
def test_a_probe_finds_what_positions_hold(probe, cells, tmp_path):
    path = saved(cells, tmp_path / "cells.h5ad", obsm={"X_scVI": positions(cells)})
    (folder,) = run(path, tmp_path, "model.key=X_scVI", f"model.probe={probe}")
    facts = record.read_facts(folder)
    assert facts["metrics"]["test"]["accuracy"] > 0.85
    assert facts["fit"]["dimensions"] == 7 and facts["fit"]["probe"] == probe
    assert any("whether their model saw the reported cells" in text for text in facts["warnings"])
    # Points without any signal leave chance.
    noise = np.random.default_rng(0).normal(size=(len(cells), 7))
    path = saved(cells, tmp_path / "cells.h5ad", obsm={"X_scVI": noise})
    (folder,) = run(path, tmp_path, "model.key=X_scVI", f"model.probe={probe}")
    assert record.read_facts(folder)["metrics"]["test"]["accuracy"] < 0.6


def test_positions_are_found_by_the_names_of_cells(cells, tmp_path):
    path = saved(cells, tmp_path / "cells.h5ad")
    held = positions(cells)
    order = np.random.default_rng(0).permutation(len(cells))
    ids = np.array([*cells.ids[order], "another"])
    np.savez(tmp_path / "z.npz", ids=ids, embedding=np.vstack([held[order], held[:1]]))
    np.testing.assert_array_equal(read_npz(tmp_path / "z.npz", cells.ids), held)
    (folder,) = run(path, tmp_path, f"model.file={tmp_path / 'z.npz'}")
    assert record.read_facts(folder)["metrics"]["test"]["accuracy"] > 0.85


def test_a_run_is_named_by_the_content_of_its_positions(cells, tmp_path, capsys):
    held = positions(cells)
    path = saved(cells, tmp_path / "cells.h5ad", obsm={"a": held})
    (first,) = run(path, tmp_path, "model.key=a")
    (tmp_path / "moved").mkdir()
    moved = saved(cells, tmp_path / "moved" / "cells.h5ad", obsm={"a": held})
    assert not run(moved, tmp_path, "model.key=a")
    assert "is done already" in capsys.readouterr().err
    other = saved(cells, tmp_path / "cells.h5ad", obsm={"a": held + 1})
    (second,) = run(other, tmp_path, "model.key=a")
    assert first.name != second.name
    facts = [record.read_facts(folder) for folder in (first, second)]
    # The cells are the same to every other model: runs on them can be paired.
    assert facts[0]["data"]["fingerprint"] == facts[1]["data"]["fingerprint"]
    assert digest(held) in (first / "config.yaml").read_text()


def test_a_new_file_is_named_by_the_probe(cells, tmp_path, capsys):
    half = [cells.take(np.arange(which, len(cells), 2)) for which in (0, 1)]
    held = positions(cells)
    old = saved(half[0], tmp_path / "old.h5ad", obsm={"Z": held[0::2]})
    new = saved(replace(half[1], labels_C=None), tmp_path / "new.h5ad", obsm={"Z": held[1::2]})
    (folder,) = run(old, tmp_path, "model.key=Z", "model.C=1")
    words = ["predict", "--run", str(folder), "--cells", str(new), "--out"]
    capsys.readouterr()
    assert cli.main([*words, str(tmp_path / "a.csv")]) == cli.GOOD
    with open(tmp_path / "a.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    truth = [cells.classes[k] for k in half[1].labels_C]
    assert np.mean([r["label"] == t for r, t in zip(rows, truth, strict=True)]) > 0.8
    assert "warning" not in capsys.readouterr().err
    np.savez(tmp_path / "far.npz", ids=half[1].ids, embedding=-3 * held[1::2])
    far = ["--positions", str(tmp_path / "far.npz")]
    assert cli.main([*words, str(tmp_path / "b.csv"), *far]) == cli.GOOD
    assert "warning: " in capsys.readouterr().err
    np.savez(tmp_path / "narrow.npz", ids=half[1].ids, embedding=held[1::2, :3])
    narrow = ["--positions", str(tmp_path / "narrow.npz")]
    assert cli.main([*words, str(tmp_path / "c.csv"), *narrow]) == cli.MISTAKE
    assert "must have the dimensions that the probe was fitted on: got 3 instead of 7" in (
        capsys.readouterr().err
    )


def test_a_run_on_a_file_of_positions_asks_for_those_of_the_new_cells(cells, tmp_path, capsys):
    path = saved(cells, tmp_path / "cells.h5ad")
    np.savez(tmp_path / "z.npz", ids=cells.ids, embedding=positions(cells))
    (folder,) = run(path, tmp_path, f"model.file={tmp_path / 'z.npz'}", "model.C=1")
    words = ["predict", "--run", str(folder), "--cells", str(path), "--out"]
    assert cli.main([*words, str(tmp_path / "a.csv")]) == cli.MISTAKE
    assert "a run on positions from a file needs those of the new cells" in capsys.readouterr().err
    named = ["--positions", str(tmp_path / "z.npz")]
    assert cli.main([*words, str(tmp_path / "a.csv"), *named]) == cli.GOOD


@pytest.mark.parametrize(
    "kind", ["dense", "sparse", "table"], ids=["dense", "sparse", "table of pandas"]
)
def test_every_layout_of_obsm_is_read(kind, cells, tmp_path):
    held = positions(cells)
    stored = {
        "dense": held,
        "sparse": sparse.csr_matrix(held),
        "table": pd.DataFrame(held, index=cells.ids, columns=[f"d{i}" for i in range(7)]),
    }[kind]
    path = saved(cells, tmp_path / "cells.h5ad", obsm={"Z": stored})
    found = read_obsm(path, "Z")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, held)


def broken_npz(path, **changes):
    whole = {"ids": np.array(["a", "b"]), "embedding": np.zeros((2, 2))} | changes
    np.savez(path, **{key: value for key, value in whole.items() if value is not None})
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ids": np.array(["a", "a"])}, "must hold each cell once: got 1 repeated names"),
        ({"ids": np.array(["a", "x"])}, "a position for every cell: got 1 of 2 cells without one"),
        ({"embedding": None}, "an .npz with the arrays ids and embedding: got"),
        ({"embedding": np.full((2, 2), np.nan)}, "finite numbers: got NaN or infinity in 2 of 2"),
        ({"embedding": np.zeros((3, 2))}, "a row of numbers for each cell: got shape (3, 2)"),
        ({"embedding": np.zeros(2)}, "a row of numbers for each cell: got shape (2,)"),
        ({"embedding": np.array([["x"], ["y"]])}, "a row of numbers for each cell"),
        ({"embedding": np.array([[{}], [{}]])}, "objects, which need pickle"),
    ],
)
def test_files_of_positions_that_cannot_be_used(changes, message, tmp_path):
    path = broken_npz(tmp_path / "z.npz", **changes)
    with pytest.raises(UserError, match=re.escape(message)):
        read_npz(path, np.array(["a", "b"]))


def test_a_file_of_positions_that_is_none(tmp_path):
    with pytest.raises(UserError, match="which does not exist"):
        read_npz(tmp_path / "nothing.npz", np.array(["a"]))
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(UserError, match="with the arrays ids and embedding"):
        read_npz(tmp_path / "text.npz", np.array(["a"]))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "model=embedding needs positions of the cells: got neither model.key nor model.file"),
        (["model.key=X_scvi"], "must name an entry of obsm: got 'X_scvi', which cells.h5ad does"),
        (["model.key=X_scVI", "model.file=z.npz"], "positions of cells come from one place"),
        (["model.key=bad"], "obsm['bad'] of cells.h5ad must hold finite numbers: got NaN"),
        (["model.key=X_scVI", "model.probe=mlp"], "model.probe must be one of logreg, knn"),
    ],
)
def test_mistakes_are_one_line(words, message, cells, tmp_path, capsys):
    held = positions(cells)
    bad = held.copy()
    bad[3, 0] = np.nan
    path = saved(cells, tmp_path / "cells.h5ad", obsm={"X_scVI": held, "bad": bad})
    run(path, tmp_path, *words, expect=cli.MISTAKE)
    shown = capsys.readouterr().err
    assert message in shown and len(shown.splitlines()) == 1


def test_rows_of_obsm_are_counted(cells, tmp_path):
    path = saved(cells, tmp_path / "cells.h5ad", obsm={"Z": positions(cells)})
    with h5py.File(path, "a") as file:
        short = file["obsm/Z"][:-1]
        del file["obsm/Z"]
        file["obsm/Z"] = short
        for name, value in (("encoding-type", "array"), ("encoding-version", "0.2.0")):
            file["obsm/Z"].attrs[name] = value
    with pytest.raises(UserError, match="a row of numbers for each cell"):
        read_obsm(path, "Z")


def test_the_probe_is_scaled_by_its_training_cells_and_changes_nothing(cells):
    held = positions(cells)
    whole = replace(cells, positions_CD=held)
    train, rest = whole.take(np.arange(0, 120, 2)), whole.take(np.arange(1, 120, 2))
    probe = Probe(EmbeddingConfig(name="embedding", key="Z", C=1.0))
    probe.fit(train, None)
    before = held.copy()
    said = probe.predict_proba(rest)
    np.testing.assert_array_equal(whole.positions_CD, before)
    np.testing.assert_allclose(said.sum(axis=1), 1)
    # Other units of a dimension change nothing.
    scaled = replace(whole, positions_CD=(held * np.array([1, 9, 1, 1, 1, 1, 1])).astype("f4"))
    again = Probe(EmbeddingConfig(name="embedding", key="Z", C=1.0))
    again.fit(scaled.take(np.arange(0, 120, 2)), None)
    found = again.predict_proba(scaled.take(np.arange(1, 120, 2)))
    np.testing.assert_allclose(found, said, atol=1e-4)


def test_one_class_and_tiny_classes(cells):
    whole = replace(cells, positions_CD=positions(cells))
    probe = Probe(EmbeddingConfig(name="embedding", key="Z"))
    with pytest.raises(UserError, match="a classifier needs at least 2 classes"):
        probe.fit(whole.take(np.flatnonzero(cells.labels_C == 0)), None)
    few = np.array([np.flatnonzero(cells.labels_C == k)[0] for k in range(3)])
    fit = probe.fit(whole.take(few), None)
    assert fit.facts["C"] == 1.0 and fit.facts["C_chosen_by"] == "configuration"
    two = probe.fit(whole.take(np.array([*few[:2], *np.flatnonzero(cells.labels_C == 0)])), None)
    assert "cross-validation" in two.facts["C_chosen_by"]
    assert not probe.predict_proba(whole)[:, 2].any()


def test_the_embedding_of_anndata_is_not_read_for_other_models(cells, tmp_path):
    bad = np.full((len(cells), 2), np.nan)
    path = saved(cells, tmp_path / "cells.h5ad", obsm={"bad": bad})
    assert "bad" in anndata.read_h5ad(path).obsm
    data = ["data=h5ad", f"data.path={path}", "data.label=celltype", "model=nearest_centroid"]
    assert cli.main(["run", *data, f"runs_dir={tmp_path / 'runs'}"]) == cli.GOOD
