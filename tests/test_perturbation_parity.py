"""scripts/parity.py perturbation: every golden value from its inputs, and from fewer of them."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
GOLDEN = HERE / "golden" / "perturbation.npz"
INPUTS = {
    *("cells::counts", "cells::perturbation", "cells::batch", "cells::perturbations", "Y"),
    *("vectors", "has_vector", "fold", "random_vectors", "weights", "k_grid", "alpha_grid"),
    *("n_pca", "additive::pairs", "halves::a", "halves::b"),
}


def computed(tmp_path, capsys, inputs):
    np.savez(tmp_path / "in.npz", **inputs)
    path = HERE.parent / "scripts" / "parity_perturbation.py"
    spec = importlib.util.spec_from_file_location("parity_perturbation", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(tmp_path / "in.npz", tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as stored:
        return {name: stored[name] for name in stored.files}, capsys.readouterr().err


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as stored:
        return {name: stored[name] for name in stored.files}


def test_every_golden_value_comes_from_the_inputs(golden, tmp_path, capsys):
    found, said = computed(tmp_path, capsys, {name: golden[name] for name in INPUTS})
    assert set(golden) - INPUTS <= set(found) and said == ""
    for name in set(golden) - INPUTS:
        atol = 1e-6 if name.startswith("pred::") else 1e-8
        np.testing.assert_allclose(found[name], golden[name], atol=atol, rtol=0, err_msg=name)


def test_what_is_missing_is_left_out_and_the_rest_stays(golden, tmp_path, capsys):
    fewer = {"cells::batch", "cells::perturbations", "random_vectors", "weights", "halves::b"}
    fewer |= {"additive::pairs", "has_vector", "k_grid", "alpha_grid", "n_pca"}
    inputs = {name: golden[name] for name in INPUTS - fewer}
    found, said = computed(tmp_path, capsys, inputs)
    # Without batches all cells are one, and matched, unmatched and pooled responses are the same.
    for name in ("matched", "unmatched", "pooled"):
        np.testing.assert_allclose(found[f"cells::delta_{name}"], golden["cells::delta_pooled"])
    assert found["cells::perturbations"].tolist() == golden["cells::perturbations"].tolist()
    assert not any("random" in name or "wmse" in name or "halves" in name for name in found)
    assert {"pred::vectors_lasso", "metric::vectors_knn::l2"} <= set(found)
    # 48 training perturbations allow k = 20 of the published grid alone.
    assert set(found["chosen::vectors_knn"]) == {20.0} and said == ""


def test_neither_cells_nor_control_nor_enough_genes_is_an_error(golden, tmp_path, capsys):
    found, _ = computed(
        tmp_path, capsys, {name: golden[name] for name in ("halves::a", "halves::b")}
    )
    assert set(found) == {"halves::l2", "halves::l2_of_mean_of_halves", "halves::pearson"}
    perturbed = golden["cells::perturbation"].astype(str) != "control"
    few = {name: golden[name][:10] for name in ("Y", "vectors", "has_vector", "fold")}
    cells = {f"cells::{name}": golden[f"cells::{name}"][perturbed]
             for name in ("counts", "perturbation", "batch")}  # fmt: skip
    found, said = computed(tmp_path, capsys, few | cells | {"pred::mine": np.zeros((10, 40))})
    assert "Some cells are controls" in said and "at least 10 training perturbations" in said
    assert "metric::train_mean::l2" in found and "metric::mine::mae" in found
