"""Verdicts from cells to page: models of known truth go through `ablate` and `report`."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy import sparse

from leadline import cli
from leadline.report import study_figures
from small import saved, small_cells

# The first genes tell the type of a cell, the last two how easily each of two models names it.
MODELS = """
import numpy as np

TYPES = 5


class Reader:
    '''Names a cell rightly as often as one of its genes says; which cells, the seed decides.'''

    def __init__(self, seed, gene, lead=0.0):
        self.seed, self.gene, self.lead = seed, gene, lead

    def fit(self, X, y):
        self.luck = np.random.default_rng([self.seed, self.gene]).normal(0, 0.1)

    def predict_proba(self, X):
        rng = np.random.default_rng([self.seed, self.gene, 7])
        truth = X[:, :TYPES].argmax(axis=1)
        ease = 1.6 + self.lead + self.luck + (X[:, self.gene] - 100) / 10
        right = rng.random(len(X)) < 1 / (1 + np.exp(-ease))
        calls = np.where(right, truth, (truth + rng.integers(1, TYPES, len(X))) % TYPES)
        return np.eye(TYPES)[calls]
"""
SHARES = np.array([0.3, 0.25, 0.2, 0.15, 0.1])
TRAINING, FOR_TRAINING, METRICS, MANY = 100, 3, ("accuracy", "macro_f1"), 40
TITLES = ("accuracy", "macro-F1")


@pytest.fixture(autouse=True)
def models(tmp_path, monkeypatch):
    """Put the models where `python:` finds them; records of a test need not survive a power cut."""
    (tmp_path / "known_truth.py").write_text(MODELS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.fsync", lambda handle: None)
    monkeypatch.setattr(study_figures, "draw_all", lambda *_: ([], {}))


def cells_of(path, rng, cells, donors):
    """Write cells on which two models are equally good in expectation, and good at unlike ones."""
    total = cells + TRAINING
    donor_N = rng.integers(donors + FOR_TRAINING, size=total)
    truth_N = rng.choice(len(SHARES), size=total, p=SHARES)
    ease = 100 + 10 * rng.normal(0, 1.2, (total, 2))
    if donors:
        ease += 10 * rng.normal(0, 0.8, (donors + FOR_TRAINING, 2))[donor_N]
    # Noise of its own in each gene: one that encoded the type would be refused.
    told = rng.poisson(20, (total, len(SHARES))) + 80 * np.eye(len(SHARES))[truth_N]
    genes = np.column_stack([told, np.maximum(ease, 0).round()])
    made = replace(
        small_cells((total,), n_genes=7),
        matrix_CG=sparse.csr_array(genes.astype(np.float32)),
        library_C=genes.sum(axis=1),
        labels_C=truth_N.astype(np.int32),
        classes=tuple("vwxyz"),
    )
    batch = [f"donor {each}" for each in donor_N] if donors else None
    return saved(made, path, label="cell_type", batch=batch)


def pair(name, rng, *, cells, donors=0, lead=0.0):
    """Run both models with five seeds, write the page, and read the verdict of each metric."""
    path = cells_of(Path(f"{name}.h5ad"), rng, cells, donors)
    base = {
        "data": "h5ad", "data.path": str(path), "data.label": "cell_type",
        "model": "python:known_truth.Reader", "model.input": "counts",
        "protocol.test_fraction": cells / (cells + TRAINING),
    }  # fmt: skip
    if donors:
        base |= {"data.batch": "protocol", "protocol.reported": "group"}
        base["protocol.test_fraction"] = donors / (donors + FOR_TRAINING)
    study = {
        "question": "Are they equally good?",
        "reference": "one",
        "base": base,
        "arms": {
            "one": {"model.options": {"gene": 5}},
            "other": {"model.options": {"gene": 6, "lead": lead}},
        },
        "grid": {"seed": [1, 2, 3, 4, 5]},
        "compare": {"family": "pair", "tests": ["crossed", "welch"], "metrics": list(METRICS)},
    }
    Path(f"{name}.yaml").write_text(yaml.safe_dump(study))
    assert cli.main(["ablate", f"{name}.yaml", f"runs_dir={name}"]) == cli.GOOD
    assert cli.main(["report", name, "--runs", name, "--out", f"{name}-page"]) == cli.GOOD
    text = Path(f"{name}-page/tables/{name}_comparisons.csv").read_text()
    return {row["metric"]: row for row in csv.DictReader(text.splitlines())}


def told_apart(pairs):
    return {m: sum(p[m]["verdict"] in ("better", "worse") for p in pairs) for m in TITLES}


@pytest.mark.slow
@pytest.mark.parametrize("donors", [0, 12, 5])
def test_equally_good_models_are_not_told_apart_on_the_page(donors):
    rng = np.random.default_rng([donors, 8])
    pairs = [pair(f"pair{at}", rng, cells=300, donors=donors) for at in range(MANY)]
    # 5 % of 40 are two; more than six would happen once in 300 tries.
    assert max(told_apart(pairs).values()) <= 6
    whom = "fresh cells of fresh donors" if donors else "fresh cells like these"
    assert {p["accuracy"]["speaks for"] for p in pairs} == {f"fresh runs on {whom}"}
    # The test over runs, of the same records, sees ground where there is none.
    over_runs = [float(p["accuracy"]["same cells only"].split()[1].strip(";")) for p in pairs]
    assert sum(p < 0.05 for p in over_runs) > max(told_apart(pairs).values())


@pytest.mark.parametrize("donors", [0, 12])
def test_a_planted_lead_is_found_on_the_page(donors):
    rng = np.random.default_rng([donors, 9])
    # Five points of accuracy; fresh donors, on whom models differ, need more.
    found = pair("lead", rng, cells=1000, donors=donors, lead=1.6 if donors else 0.55)
    assert found["accuracy"]["verdict"] == "better"
    assert 0.02 < float(found["accuracy"]["difference"]) < 0.2
