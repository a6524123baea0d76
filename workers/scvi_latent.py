# /// script
# requires-python = ">=3.10"
# dependencies = ["scvi-tools"]
# ///
"""scVI as a worker of leadline: trained without labels on the very cells that it embeds.

It is no frozen model: vectors depend on all cells that are asked about, the reported ones too,
which `leadline worker check` finds. It has no pretraining to take away.
Made and tried with: python -m venv env && env/bin/pip install scvi-tools
"""

import json
import os
import pickle
import sys

import anndata
import numpy as np
import scvi

VERSIONS = {"scvi-tools": scvi.__version__, "numpy": np.__version__}


def load_model(request, genes):
    """Seed it."""
    if not request["pretrained"]:
        unsupported("scVI is trained on the cells themselves")
    scvi.settings.seed = request["seed"]
    return request


def embed(request, counts, genes):
    """Train the autoencoder, and give the mean of each cell's latent vector."""
    cells = anndata.AnnData(counts)
    scvi.model.SCVI.setup_anndata(cells)
    model = scvi.model.SCVI(cells, n_latent=request["options"].get("n_latent", 10))
    epochs = request["options"].get("epochs", 20)
    model.train(max_epochs=epochs, accelerator="cpu", enable_progress_bar=False, logger=False)
    return model.get_latent_representation().astype(np.float32)


def fit(model, counts, genes, labels, n_classes):
    """Refuse: leadline's probe reads the vectors."""
    unsupported("only embed")


def predict(fitted, counts, genes):
    """Refuse, as fit does."""
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
        unsupported("scVI does not know " + step)
    if out:
        np.savez(os.path.join(folder, "out.npz"), ids=cells["ids"], **out)
    reply = {"schema": 1, "versions": VERSIONS}
    with open(os.path.join(folder, "reply.json"), "w") as file:
        json.dump(reply, file)


if __name__ == "__main__":
    main(sys.argv[1])
