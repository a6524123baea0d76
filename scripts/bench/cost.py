"""What one run costs by model and size: wall and CPU seconds, peak memory; prints one JSON object.

Every run is a `leadline run` of its own on one core, with the defaults of its model, read back
from its record; wall seconds include the start of Python, which the record does not know. The
published sizes make one pass over a few made-up cells, three steps of training. --quick leaves
networks out.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

SMALL = "data=pbmc68k_reduced"
BASELINES = {"logreg": ("model=logreg", SMALL), "mlp": ("model=mlp", SMALL)}
# Epochs are alike, so a few of the slower ones tell enough.
NETWORKS = {
    f"{name} {size}": (f"model={name}", f"model.size={size}", f"train.epochs={epochs}", SMALL)
    for name in ("scbert", "scgpt")
    for size, epochs in (("tiny", 20), ("small", 2))
}
# Genes, and how many of them a cell expresses, as in the paper's data.
CELLS, SHAPES = 30, {"pbmc": (16_906, 800), "ms": (3_000, 600)}
ONE_PASS = ("data=h5ad", "data.label=label", "train.epochs=1", "train.batch_size=8")
PAPER = {
    "scbert paper": ("model=scbert", "train=scbert_paper", "data.path=pbmc.h5ad"),
    "scbert paper without gene2vec": (
        *("model=scbert", "model.gene2vec=false", "train=scbert_paper", "data.path=pbmc.h5ad"),
    ),
    # Half precision is for GPUs.
    "scgpt paper": (*("model=scgpt", "train=scgpt_paper", "train.amp=none", "data.path=ms.h5ad"),),
}


def make_cells(path, genes, expressed):
    """Write a file of cells without any biology."""
    rng = np.random.default_rng(0)
    counts = sparse.random(CELLS, genes, expressed / genes, "csr", rng=rng, dtype=np.float32)
    counts.data = rng.integers(1, 9, counts.nnz).astype(np.float32)
    obs = pd.DataFrame({"label": ["a", "b"] * (CELLS // 2)}, index=map(str, range(CELLS)))
    var = pd.DataFrame(index=[f"G{at}" for at in range(genes)])
    anndata.AnnData(counts, obs, var).write_h5ad(path)


def cost(words, folder):
    """Make one run; give what it cost, and what of."""
    command = [sys.executable, "-m", "leadline.cli", "run", *words, "train.threads=1"]
    before = time.perf_counter()
    said = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=True).stdout
    wall = time.perf_counter() - before
    record = folder / said.splitlines()[-1]
    facts = json.loads((record / "record.json").read_text())
    epochs = record / "epochs.csv"
    spent, counted = facts["cost"], facts["split"]["cells"]
    return {
        "words": " ".join(words),
        "cells": facts["data"]["cells"],
        "genes": facts["data"]["genes"],
        "training_cells": counted["train"],
        "epochs": len(epochs.read_text().splitlines()) - 1 if epochs.exists() else 0,
        "parameters": facts["fit"].get("parameters_total"),
        "wall_seconds": round(wall, 1),
        "cpu_seconds": round(spent["cpu_seconds"], 1),
        "peak_memory_mib": round(spent["peak_memory_mib"]),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    chosen = parser.parse_args()
    cases = dict(BASELINES)
    if not chosen.quick:
        cases |= NETWORKS | {name: (*words, *ONE_PASS) for name, words in PAPER.items()}
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    found = {"cores": os.cpu_count(), "memory_gib": round(memory), "runs": {}}
    with tempfile.TemporaryDirectory() as folder:
        for name, shape in SHAPES.items():
            make_cells(Path(folder) / f"{name}.h5ad", *shape)
        for name, words in cases.items():
            found["runs"][name] = cost(words, Path(folder))
            print(name, found["runs"][name], file=sys.stderr)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
