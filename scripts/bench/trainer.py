"""Overhead of the trainer over a bare loop of the same steps; prints one JSON object.

The bare loop cuts the same batches, runs the same network with the same dropout, and takes the
same clipped Adam steps; it checks nothing, tells nobody and keeps nothing. Both run in turns in
one process and one thread, and end with the same weights to the last bit. The ratio is that of
the shortest times of many short turns, which other work on the machine disturbs least.
Checkpoints are timed on their own: what share of a run they are depends on how long its epochs
are.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from scipy import sparse
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_

from leadline import training
from leadline.config import MlpConfig, TrainConfig
from leadline.data.cells import Cells, Scale
from leadline.models.dropout import CellDropout, keep, set_cells
from leadline.models.mlp import Mlp
from leadline.models.network import DrawKey
from leadline.runs.record import CheckpointFolder
from leadline.training.fit import batch_of, order_of, steps_of


def some_cells(n_cells, n_genes, density=0.1, n_classes=10):
    rng = np.random.default_rng(0)
    matrix = sparse.random_array((n_cells, n_genes), density=density, rng=rng, dtype=np.float32)
    return Cells(
        name="bench",
        matrix_CG=sparse.csr_array(matrix),
        scale=Scale.LN_CP10K,
        library_C=np.full(n_cells, 1e4),
        genes=np.array([f"G{g}" for g in range(n_genes)]),
        ids=np.array([f"cell{c}" for c in range(n_cells)]),
        labels_C=rng.integers(0, n_classes, n_cells).astype(np.int32),
        classes=tuple(f"type {k}" for k in range(n_classes)),
    )


def bare(model, cells, config, epochs):
    """Train as a short script would."""
    torch.manual_seed(1)
    network = model.build(cells)
    network.train()
    source = model.encode(cells)
    optimiser = torch.optim.Adam(network.parameters(), lr=config.lr, fused=True)
    for epoch in range(1, epochs + 1):
        order = order_of(len(cells), seed=1, epoch=epoch, order="shuffled")
        for step in range(steps_of(len(cells), config.batch_size)):
            rows = batch_of(order, step, config.batch_size)
            set_cells(network, seed=1, epoch=epoch, rows=rows)
            batch = source.batch(rows, DrawKey(seed=1, epoch=epoch))
            loss = cross_entropy(model.logits(network, batch), batch["labels"])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            clip_grad_norm_(network.parameters(), config.clip)
            optimiser.step()
    return network


class Discards:
    """Takes checkpoints and keeps none: only steps are timed."""

    def write(self, name, fill):
        """Keep nothing."""

    def open(self, name):
        """Have nothing."""
        return None

    def keep_only(self, *names):
        """Have nothing to throw away."""


def ours(model, cells, config):
    """Train with the trainer."""
    learner = training.Classifier(
        model, training.FitSettings(train=config, seed=1, vault=Discards())
    )
    learner.fit(cells, None)
    return learner.network


def checkpoint_seconds(model, cells, config):
    """Give the size and the seconds of one checkpoint on disk."""
    with tempfile.TemporaryDirectory() as folder:
        vault = CheckpointFolder(Path(folder))
        setting = training.FitSettings(train=config, seed=1, vault=vault)
        learner = training.FitLoop(
            training.Classification(model, np.ones(len(cells.classes)), labels="truth"),
            model.build(cells),
            model.encode(cells),
            None,
            setting,
            ids=cells.ids,
        )
        learner.stepper.take(np.arange(32), 1, 1e-3)
        found = statistics.median(seconds(learner.save)[0][0] for _ in range(3))
        size = sum(path.stat().st_size for path in vault.folder.iterdir())
    return {"checkpoint_mib": size / 2**20, "checkpoint_seconds": found}


def seconds(function, *arguments):
    """Give (wall, CPU) seconds and the result."""
    began, cpu = time.perf_counter(), time.process_time()
    result = function(*arguments)
    return (time.perf_counter() - began, time.process_time() - cpu), result


def dropout_ratio(n_cells=32, elements=4096, repeats=200):
    """Set drawing a mask for each cell against torch's own draw."""
    torch.set_num_threads(1)
    network = torch.nn.Sequential(CellDropout(0.5))
    set_cells(network, seed=1, epoch=1, rows=np.arange(n_cells))
    x = torch.ones(n_cells, elements)
    draws = {
        "cell_dropout": lambda: keep(network[0].key_2B, elements, 0.5),
        "torch_dropout": lambda: torch.nn.functional.dropout(x, 0.5),
    }
    found = {}
    for name, draw in draws.items():
        found[name] = statistics.median(seconds(draw)[0][1] for _ in range(repeats)) * 1e6
    return {f"{name}_us": round(value, 1) for name, value in found.items()}


def compare(n_cells, n_genes, hidden, epochs, turns):
    torch.set_num_threads(1)
    model = Mlp(MlpConfig(name="mlp", hidden=[hidden]))
    cells = some_cells(n_cells, n_genes)
    config = TrainConfig(epochs=epochs, batch_size=32, threads=1)
    times = {"bare": [], "trainer": []}
    for _ in range(turns + 1):
        plain_seconds, plain = seconds(bare, model, cells, config, epochs)
        our_seconds, network = seconds(ours, model, cells, config)
        times["bare"].append(plain_seconds)
        times["trainer"].append(our_seconds)
    with torch.no_grad():
        pairs = zip(plain.parameters(), network.parameters(), strict=True)
        farthest = max(float((a - b).abs().max()) for a, b in pairs)
    # The first turn warms up.
    (bare_wall, bare_cpu), (wall, cpu) = (
        np.min(np.array(values[1:]), axis=0) for values in times.values()
    )
    steps = epochs * steps_of(n_cells, 32)
    return {
        "cells": n_cells,
        "genes": n_genes,
        "hidden": hidden,
        "steps": steps,
        "bare_cpu_ms_per_step": bare_cpu / steps * 1e3,
        "trainer_cpu_ms_per_step": cpu / steps * 1e3,
        "overhead": cpu / bare_cpu - 1,
        "overhead_wall": wall / bare_wall - 1,
        "largest_difference_of_weights": farthest,
        **checkpoint_seconds(model, cells, config),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer steps and turns")
    chosen = parser.parse_args()
    turns = 3 if chosen.quick else 9
    report = {"target": "overhead <= 0.05", "dropout": dropout_ratio()}
    # Cells, genes, width, epochs.
    for name, size in {"small": (4000, 1000, 256, 4), "paper": (2000, 16_906, 512, 1)}.items():
        report[name] = compare(*size, turns)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
