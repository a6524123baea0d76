# /// script
# requires-python = ">=3.10"
# dependencies = ["celltypist==1.7.1", "scikit-learn<1.8"]
# ///
"""CellTypist as a worker of leadline, trained on the labels it is given.

It has no pretraining that could be taken away: pretrained=false is not applicable.
Its scores are one class against the rest; a row is divided by its sum.
Made and tried with: python -m venv env && env/bin/pip install celltypist "scikit-learn<1.8"
"""

import json
import os
import pickle
import sys

import celltypist
import numpy as np

VERSIONS = {"celltypist": celltypist.__version__, "numpy": np.__version__}


def lognorm(counts):
    """Give ln(1 + counts per 10,000)."""
    return np.log1p(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1) * 1e4)


def load_model(request, genes):
    """Refuse to be without pretraining."""
    if not request["pretrained"]:
        unsupported("CellTypist is trained on labels alone")


def embed(model, counts, genes):
    """Refuse: CellTypist names cells and gives them no vectors."""
    unsupported("CellTypist gives cells no vectors")


def fit(model, counts, genes, labels, n_classes):
    """Train its logistic regression."""
    names = np.array([f"{k:04d}" for k in range(n_classes)])
    return celltypist.train(
        lognorm(counts),
        labels=names[labels],
        genes=genes.tolist(),
        check_expression=False,
        n_jobs=1,
    )


def predict(fitted, counts, genes):
    """Give its scores, divided by their sum; genes are found by name."""
    place = {gene: column for column, gene in enumerate(genes.tolist())}
    columns = [place[gene] for gene in fitted.features]
    scaled = np.minimum(fitted.scaler.transform(lognorm(counts)[:, columns]), 10)
    known = fitted.classifier.decision_function(scaled)
    scores = 1 / (1 + np.exp(-known.reshape(len(counts), -1)))
    if scores.shape[1] == 1:
        scores = np.hstack([1 - scores, scores])
    return scores / scores.sum(axis=1, keepdims=True)


def unsupported(why):
    """End with exit code 99: not applicable."""
    print(why)
    sys.exit(99)


def dense(cells):
    """Give cells x genes as an array."""
    counts = np.zeros(cells["shape"], dtype=np.float32)
    row = np.repeat(np.arange(len(counts)), np.diff(cells["indptr"]))
    counts[row, cells["indices"]] = cells["data"]
    return counts


def main(folder):
    """Read request.json and cells.npz; write out.npz and then reply.json."""
    with open(os.path.join(folder, "request.json")) as file:
        request = json.load(file)
    cells = np.load(os.path.join(folder, "cells.npz"), allow_pickle=False)
    counts, genes, step = dense(cells), cells["genes"], request["step"]
    state = os.path.join(folder, "state.pkl")
    if step == "embed":
        out = {"embedding": embed(load_model(request, genes), counts, genes)}
    elif step == "fit":  # the reported cells are handed over after this has ended
        model = load_model(request, genes)
        fitted = fit(model, counts, genes, cells["labels"], len(request["classes"]))
        with open(state, "wb") as file:
            pickle.dump(fitted, file)
        out = {}
    elif step == "predict":
        with open(state, "rb") as file:
            out = {"probabilities": predict(pickle.load(file), counts, genes)}
    else:
        unsupported("CellTypist does not know " + step)
    if out:
        np.savez(os.path.join(folder, "out.npz"), ids=cells["ids"], **out)
    reply = {"schema": 1, "versions": VERSIONS}
    with open(os.path.join(folder, "reply.json"), "w") as file:
        json.dump(reply, file)


if __name__ == "__main__":
    main(sys.argv[1])
