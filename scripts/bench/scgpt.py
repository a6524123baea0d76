"""scGPT against the way its original describes it, in turns in one process and one thread.

Binning and tokenising are held against a loop over cells, the network against torch's
TransformerEncoder with the same weights, fed with batches that are padded as the original pads
them: to the longest cell of the set. (`to_batch`: to the longest of the batch.) Results are
compared before anything is timed. Prints one JSON object; ratios above 1 mean that ours is
faster, or needs less memory.
"""

import argparse
import ctypes
import json
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import scgpt_originals
import torch
from problems import sclerosis_like
from torch import nn
from torch.nn.functional import cross_entropy

from leadline.config import ScgptConfig
from leadline.data.cells import Cells, Scale
from leadline.models.dropout import set_cells
from leadline.models.network import DrawKey
from leadline.models.scgpt import tokens
from leadline.models.scgpt.model import Scgpt
from leadline.models.scgpt.network import ValueDecoder

sys.path.insert(0, str(Path(__file__).parents[1]))

BINS, PAD, NOW = 51, 0, DrawKey(seed=1, epoch=1)
TARGETS = {"binning": 20, "tokenising": 10, "evaluation": 1.5, "training": 1.3, "memory": 1.0}


def some_cells(n_cells):
    matrix, labels = sclerosis_like(max(n_cells, 200))
    return Cells(
        name="bench",
        matrix_CG=matrix[:n_cells],
        scale=Scale.LN_CP10K,
        library_C=np.full(n_cells, 1e4),
        genes=np.array([f"G{g}" for g in range(matrix.shape[1])]),
        ids=np.array([f"cell{c}" for c in range(n_cells)]),
        labels_C=labels[:n_cells].astype(np.int32),
        classes=tuple(f"type {k}" for k in range(18)),
    )


def seconds(function):
    """Give (wall, CPU) seconds and the result."""
    began, cpu = time.perf_counter(), time.process_time()
    result = function()
    return (time.perf_counter() - began, time.process_time() - cpu), result


def compare(theirs, ours, turns):
    """Time both in turns; the shortest turn of each counts. The first turn warms up."""
    times = {"theirs": [], "ours": []}
    for _ in range(turns + 1):
        for name, function in (("theirs", theirs), ("ours", ours)):
            times[name].append(seconds(function)[0])
    best = {name: np.min(np.array(found[1:]), axis=0) for name, found in times.items()}
    return {
        "ratio": best["theirs"][1] / best["ours"][1],
        "ratio_wall": best["theirs"][0] / best["ours"][0],
        "theirs_cpu_seconds": best["theirs"][1],
        "ours_cpu_seconds": best["ours"][1],
    }


# ---- preprocessing, as the original describes it


def bins_by_cell(matrix, rng):
    """Bin cell by cell."""
    binned, edges = [], []
    for row in matrix.toarray():
        if row.max() == 0:
            binned.append(np.zeros_like(row, dtype=np.int64))
            edges.append(np.zeros(BINS))
            continue
        where = row.nonzero()[0]
        values = row[where]
        own = np.quantile(values, np.linspace(0, 1, BINS - 1))
        left, right = np.digitize(values, own), np.digitize(values, own, right=True)
        digits = rng.random_sample(len(values)) * (right - left) + left
        found = np.zeros_like(row, dtype=np.int64)
        found[where] = np.ceil(digits).astype(np.int64)
        binned.append(found)
        edges.append(np.concatenate([[0], own]))
    return np.stack(binned), np.stack(edges)


def tokens_by_cell(binned, ids, cls, longest):
    """Tokenise and pad cell by cell, into tensors."""
    cells = []
    for row in binned:
        where = np.nonzero(row)[0]
        genes, values = np.insert(ids[where], 0, cls), np.insert(row[where], 0, 0)
        cells.append((torch.from_numpy(genes).long(), torch.from_numpy(values).float()))
    longest = min(max(len(genes) for genes, _ in cells), longest)
    padded = []
    for genes, values in cells:
        lack = longest - len(genes)
        padded.append(
            (
                torch.cat([genes, torch.full((lack,), PAD, dtype=genes.dtype)]),
                torch.cat([values, torch.full((lack,), -2, dtype=values.dtype)]),
            )
        )
    return torch.stack([g for g, _ in padded]), torch.stack([v for _, v in padded])


def preprocessing(n_cells, turns):
    cells = some_cells(n_cells)
    matrix = cells.matrix_CG
    ids = np.arange(matrix.shape[1]) + 5
    expected, edges = bins_by_cell(matrix, np.random.RandomState(0))
    binned = tokens.bin_cells(matrix, BINS, np.random.RandomState(0))
    assert (binned.toarray() == expected).all()
    assert (scgpt_originals.cell_edges(matrix, BINS) == edges).all()
    theirs = tokens_by_cell(expected, ids, 3, 3001)
    ours = scgpt_originals.padded_tokens(binned, ids, cls_id=3, pad_id=PAD, max_length=3001)
    assert all((a.numpy() == b).all() for a, b in zip(theirs, ours, strict=True))
    model = Scgpt(ScgptConfig(name="scgpt", size="tiny"))
    model.build(cells)
    source = model.encode(cells)
    pieces = np.array_split(np.arange(n_cells), max(n_cells // 32, 1))
    report = {
        "binning": compare(
            lambda: bins_by_cell(matrix, np.random.RandomState(0)),
            lambda: tokens.bin_cells(matrix, BINS),
            turns,
        ),
        "binning_with_random_ties": compare(
            lambda: bins_by_cell(matrix, np.random.RandomState(0)),
            lambda: tokens.bin_cells(matrix, BINS, np.random.RandomState(0)),
            turns,
        ),
        "tokenising": compare(
            lambda: tokens_by_cell(expected, ids, 3, 3001),
            lambda: [source.batch(rows, NOW) for rows in pieces],
            turns,
        ),
    }
    for found in report.values():
        for name in ("theirs", "ours"):
            found[f"{name}_us_per_cell"] = found.pop(f"{name}_cpu_seconds") / n_cells * 1e6
    return report


# ---- the network


class Values(nn.Module):
    """The value encoder, token by token."""

    def __init__(self, width, dropout):
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(1, width), nn.Linear(width, width)
        self.norm, self.dropout = nn.LayerNorm(width), nn.Dropout(dropout)

    def forward(self, values):
        """Embed values."""
        x = torch.relu(self.linear1(values.unsqueeze(-1).clamp(max=512)))
        return self.dropout(self.norm(self.linear2(x)))


class Genes(nn.Module):
    """The gene encoder, token by token."""

    def __init__(self, vocabulary, width):
        super().__init__()
        self.embedding, self.enc_norm = nn.Embedding(vocabulary, width), nn.LayerNorm(width)

    def forward(self, ids):
        """Embed genes."""
        return self.enc_norm(self.embedding(ids))


class Straightforward(nn.Module):
    """The same network from torch's own parts; the value decoder runs along, as published."""

    def __init__(self, sizes, pad_id, cls_decoder):
        super().__init__()
        self.pad_id = pad_id
        self.encoder = Genes(sizes.vocabulary, sizes.width)
        self.value_encoder = Values(sizes.width, sizes.dropout)
        layer = nn.TransformerEncoderLayer(
            sizes.width, sizes.heads, sizes.hidden, sizes.dropout, batch_first=True
        )
        self.transformer_encoder = nn.TransformerEncoder(layer, sizes.layers)
        self.decoder = ValueDecoder(sizes.width, sizes.width)
        self.cls_decoder = cls_decoder

    def forward(self, ids, values):
        """Give logits."""
        x = self.encoder(ids) + self.value_encoder(values)
        x = self.transformer_encoder(x, src_key_padding_mask=ids == self.pad_id)
        self.decoder(x.flatten(0, 1))
        return self.cls_decoder(x[:, 0])


def padded_cells(batch, pad_id, longest):
    """Give one of our batches as padded ids and values."""
    lengths = batch["lengths"].tolist()
    ids = torch.full((len(lengths), longest), pad_id)
    values = torch.full((len(lengths), longest), -2.0)
    gene, value = batch["ids"][batch["gene"]], batch["level"].float() - 1
    for row, (g, v) in enumerate(zip(gene.split(lengths), value.split(lengths), strict=True)):
        ids[row, : len(g)], values[row, : len(v)] = g, v
    return ids, values


def peak_mib(function):
    """Give the memory that a call adds at its peak, or None where Linux does not tell."""
    try:
        # What earlier calls gave back is not this one's.
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        before = status("VmRSS")
        function()
        return (status("VmHWM") - before) / 1024
    except OSError:
        return None


def status(name):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    raise OSError(name)


def network(options, n_cells, batch_size, turns):
    """Time evaluation of some cells and training on the first batch of them."""
    cells = some_cells(n_cells)
    torch.manual_seed(0)
    model = Scgpt(ScgptConfig(name="scgpt", **options))
    ours = model.build(cells)
    source = model.encode(cells)
    pad_id = model.vocabulary.number("<pad>")
    theirs = Straightforward(model.sizes, pad_id, ours.cls_decoder)
    loaded = theirs.load_state_dict(ours.state_dict(), strict=False)
    assert not loaded.missing_keys and not loaded.unexpected_keys, loaded
    rows = [np.arange(s, min(s + batch_size, n_cells)) for s in range(0, n_cells, batch_size)]
    batches = [source.batch(r, NOW) for r in rows]

    def padded(longest):
        return [padded_cells(batch, pad_id, longest(batch)) for batch in batches]

    to_set = padded(lambda _: int(source.lengths_C.max()))
    to_batch = padded(lambda batch: int(batch["lengths"].max()))
    labels = torch.from_numpy(cells.labels_C[rows[0]]).long()

    def evaluate_theirs(fed):
        theirs.eval()
        with torch.no_grad():
            return torch.cat([theirs(*batch) for batch in fed])

    def evaluate_ours():
        ours.eval()
        order = np.argsort(-source.lengths_C, kind="stable")
        pieces = [order[s : s + batch_size] for s in range(0, n_cells, batch_size)]
        with torch.no_grad():
            found = torch.cat([model.logits(ours, source.batch(r, NOW)) for r in pieces])
        return found[np.argsort(order)]

    def train_theirs(fed=to_set):
        theirs.train()
        theirs.zero_grad()
        cross_entropy(theirs(*fed[0]), labels).backward()

    def train_ours():
        ours.train()
        ours.zero_grad()
        set_cells(ours, seed=1, epoch=1, rows=rows[0])
        cross_entropy(model.logits(ours, source.batch(rows[0], NOW)), labels).backward()

    # Ours names no class that the few cells here do not have.
    found = evaluate_ours()
    there = found.isfinite()
    difference = float((evaluate_theirs(to_set) - found)[there].abs().max())
    return {
        "options": options,
        "cells": n_cells,
        "batch_size": batch_size,
        "mean_tokens": float(source.lengths_C.mean()),
        "longest": int(source.lengths_C.max()),
        "largest_difference_of_logits": difference,
        "evaluation": compare(lambda: evaluate_theirs(to_set), evaluate_ours, turns),
        "evaluation_to_batch": compare(lambda: evaluate_theirs(to_batch), evaluate_ours, turns),
        "training": compare(train_theirs, train_ours, turns),
        "training_to_batch": compare(lambda: train_theirs(to_batch), train_ours, turns),
        "memory": {
            "evaluation_theirs_mib": peak_mib(lambda: evaluate_theirs(to_set)),
            "evaluation_ours_mib": peak_mib(evaluate_ours),
            "training_theirs_mib": peak_mib(train_theirs),
            "training_ours_mib": peak_mib(train_ours),
        },
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer cells, a smaller network")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    report = {"targets": TARGETS}
    report |= preprocessing(200 if chosen.quick else 1000, 15)
    sizes = {"quick": ({"size": "small"}, 12, 4, 1), "paper": ({"size": "paper"}, 4, 2, 1)}
    report["network"] = network(*sizes["quick" if chosen.quick else "paper"])
    json.dump(report, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
