"""scBERT's data path: microseconds for each cell from sparse tokens to a batch; prints JSON.

`by_the_letter` takes each cell out of a sparse matrix of float32, makes it dense, caps it, turns it
into int64 and appends the CLS, as the original is described; `ratio` sets it against ours. Targets:
10 microseconds for a batch of tokens, where the original was measured at 105 to 146.
"""

import argparse
import json
import platform
import time

import numpy as np
import torch
from scipy import sparse

from leadline.data.cells import Cells, Scale
from leadline.models.network import DrawKey
from leadline.models.scbert.pretraining import ScbertMaskedBatches
from leadline.models.scbert.tokens import tokenise

MOMENT = DrawKey(seed=1, epoch=1)


def cells_like_zheng(n_cells, n_genes, expressed):
    """Make counts with about so many expressed genes in each cell."""
    rng = np.random.default_rng(0)
    weight = rng.gamma(0.2, 1.0, n_genes) + 1e-6
    share = np.minimum(expressed * weight / weight.sum(), 0.95)
    blocks = [
        sparse.csr_array((rng.random((500, n_genes)) < share).astype(np.float32))
        for _ in range(-(-n_cells // 500))
    ]
    matrix = sparse.vstack(blocks, format="csr")[:n_cells]
    matrix.data = rng.geometric(0.6, matrix.nnz).astype(np.float32)
    return Cells(
        name="bench",
        matrix_CG=sparse.csr_array(matrix),
        scale=Scale.COUNTS,
        library_C=np.asarray(matrix.sum(axis=1)).ravel().astype(np.float64),
        genes=np.array([f"G{i}" for i in range(n_genes)]),
        ids=np.array([f"cell{i}" for i in range(n_cells)]),
    )


def by_the_letter(log2_CG, rows):
    sequences = []
    for row in rows:
        values = log2_CG[[row]].toarray()[0]
        values[values > 5] = 5
        tokens = torch.from_numpy(values).long()
        sequences.append(torch.cat((tokens, torch.tensor([0]))))
    return torch.stack(sequences)


def per_cell(work, n_cells, batch, rounds):
    """Time a function of rows: least and median over rounds, wall and CPU, in microseconds."""
    rng, found = np.random.default_rng(1), []
    for _ in range(rounds):
        order = rng.permutation(n_cells)[: min(n_cells, 1600) // batch * batch]
        pieces = order.reshape(-1, batch)
        wall, cpu = time.perf_counter(), time.process_time()
        for rows in pieces:
            work(rows)
        took = np.array([time.perf_counter() - wall, time.process_time() - cpu])
        found.append(1e6 * took / len(order))
    wall, cpu = np.array(found).T
    return {"wall_us": round(float(np.median(wall)), 2), "cpu_us": round(float(np.median(cpu)), 2)}


def main():
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--cells", type=int, default=4000)
    words.add_argument("--genes", type=int, default=16_906)
    words.add_argument("--expressed", type=int, default=550)
    words.add_argument("--rounds", type=int, default=5)
    chosen = words.parse_args()
    torch.set_num_threads(1)
    cells = cells_like_zheng(chosen.cells, chosen.genes, chosen.expressed)
    began, began_cpu = time.perf_counter(), time.process_time()
    tokens = tokenise(cells)
    tokenising = {
        "wall_us": round(1e6 * (time.perf_counter() - began) / len(cells), 2),
        "cpu_us": round(1e6 * (time.process_time() - began_cpu) / len(cells), 2),
    }
    log2_CG = cells.lognorm(Scale.LOG2_CP10K)
    everything = ScbertMaskedBatches(tokens, collapsed=False)
    counts = ScbertMaskedBatches(tokens, collapsed=True)
    ways = {
        "by_the_letter": lambda rows: by_the_letter(log2_CG, rows),
        "tokens": lambda rows: torch.from_numpy(tokens.dense(rows)),
        "histogram": tokens.histograms,
        "masked_tokens": lambda rows: everything.batch(rows, MOMENT),
        "masked_histogram": lambda rows: counts.batch(rows, MOMENT),
    }
    result = {
        "processor": platform.processor() or platform.machine(),
        "cells": len(cells),
        "genes": chosen.genes,
        "tokens_per_cell": round(tokens.matrix_CL.nnz / len(cells), 1),
        "cells_to_tokens_once": tokenising,
    }
    for batch in (1, 3, 8, 32):
        found = {
            name: per_cell(way, len(cells), batch, chosen.rounds) for name, way in ways.items()
        }
        ratio = found["by_the_letter"]["cpu_us"] / found["tokens"]["cpu_us"]
        result[f"batch_{batch}"] = found | {"ratio": round(ratio, 1)}
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
