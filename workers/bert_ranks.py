# /// script
# requires-python = ">=3.10"
# dependencies = ["torch", "transformers>=5"]
# ///
"""A BERT over genes ranked by expression, with random weights, as a worker of leadline.

It stands for the architecture of Geneformer (rank value encoding, no medians of a corpus), not
for its weights: pretrained=true is not applicable.
Made and tried with: python -m venv env && env/bin/pip install torch transformers
"""

import json
import os
import pickle
import sys
import zlib

import numpy as np
import torch
import transformers

VERSIONS = {"transformers": transformers.__version__, "torch": torch.__version__}
VOCABULARY, LONGEST, BATCH = 25_000, 256, 16


def load_model(request, genes):
    """Draw the weights; there are no others here."""
    if request["pretrained"]:
        unsupported("no weights of Geneformer come with this worker")
    torch.manual_seed(request["seed"])
    torch.set_num_threads(request["threads"])
    config = transformers.BertConfig(
        vocab_size=VOCABULARY, hidden_size=128, num_hidden_layers=3, num_attention_heads=4,
        intermediate_size=256, max_position_embeddings=LONGEST + 1,
    )  # fmt: skip
    return transformers.BertModel(config, add_pooling_layer=False).eval()


def embed(model, counts, genes):
    """Give the mean of the last layer over a cell's genes, most expressed first."""
    token = np.array([2 + zlib.crc32(gene.encode()) % (VOCABULARY - 2) for gene in genes.tolist()])
    tokens = np.zeros((len(counts), LONGEST), dtype=np.int64)
    tokens[:, 0] = 1
    for cell, values in enumerate(counts):
        ranked = np.lexsort((token, -values))[: int((values > 0).sum())][: LONGEST - 1]
        tokens[cell, 1 : 1 + len(ranked)] = token[ranked]
    found = []
    with torch.no_grad():
        for start in range(0, len(tokens), BATCH):
            some = torch.from_numpy(tokens[start : start + BATCH])
            shown = (some > 0).long()
            last = model(input_ids=some, attention_mask=shown).last_hidden_state
            weight = shown[:, :, None].float()
            found.append(((last * weight).sum(dim=1) / weight.sum(dim=1)).numpy())
    return np.concatenate(found)


def fit(model, counts, genes, labels, n_classes):
    """Refuse: fine-tuning is not tried here; leadline's probe reads the vectors."""
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
        unsupported("This BERT does not know " + step)
    if out:
        np.savez(os.path.join(folder, "out.npz"), ids=cells["ids"], **out)
    reply = {"schema": 1, "versions": VERSIONS}
    with open(os.path.join(folder, "reply.json"), "w") as file:
        json.dump(reply, file)


if __name__ == "__main__":
    main(sys.argv[1])
