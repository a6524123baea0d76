# /// script
# requires-python = ">=3.9"
# dependencies = ["numpy"]
# ///
"""scFoundation as a worker of leadline. Not run here: a skeleton, whose HERE is to be filled in.

Its code expects 19,264 genes in a fixed order; missing ones are 0.
Random initialisation: none known to us; the constructor of its encoder gives one.
As it stands it answers no question: load_model ends with 99.

Exit code 0: answered; 99: this question does not apply to the model; any other: failed.
Only this file, numpy and the model are needed. Replace the lines that are marked HERE.
"""

import json
import os
import pickle
import sys

import numpy as np


def load_model(request, genes):
    """Make the model: pretrained, or with random weights drawn by the seed."""
    if request["pretrained"]:
        # HERE: load your weights.
        unsupported("scFoundation was not run here: this worker is a skeleton")
    # HERE: the same architecture with random weights, drawn by request["seed"].
    unsupported("scFoundation was not run here: this worker is a skeleton")


def embed(model, counts, genes):
    """Give a row of numbers for each cell. HERE."""


def fit(model, counts, genes, labels, n_classes):
    """Fine-tune, or leave this to leadline's probe. HERE."""
    unsupported("only embed")


def predict(fitted, counts, genes):
    """Give a row for each cell and a column for each class. HERE."""
    unsupported("only embed")


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
        unsupported("scFoundation does not know " + step)
    if out:
        np.savez(os.path.join(folder, "out.npz"), ids=cells["ids"], **out)
    reply = {"schema": 1, "versions": {"numpy": np.__version__}}
    with open(os.path.join(folder, "reply.json"), "w") as file:
        json.dump(reply, file)


if __name__ == "__main__":
    main(sys.argv[1])
