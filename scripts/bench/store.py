"""Random batches of scBERT's tokens from a store, beside other ways of reading them; prints JSON.

    python scripts/bench/store.py --folder /tmp/bench                 a million synthetic cells
    python scripts/bench/store.py --folder /tmp/bench --cells 20000   in a minute

`anndata_backed` reads the rows of each batch from the `.h5ad` that the store was built from, which
is compressed; `anndata_backed_plain` from an uncompressed one of `--in-memory` cells; and
`by_the_letter` takes cell after cell out of that many cells in memory with `toarray`, caps it and
makes it int64, as the original is described. Batches are of 32 cells drawn from all, with one
process and one thread. `store_first_touch` is measured before anything else has read the store in
this process, `store_tokens` after one pass over it, as in all epochs but the first. Ratios are of
processor time, for other work on a machine takes none of it; wall time stands beside. Targets:
ratio 20 against anndata, 10 against the original; 2 GiB for the build, 3.2 bytes a value, 10
microseconds a cell.

What lies in the folder from an earlier call is used again; then the build has no figures.
"""

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

import anndata
import numpy as np
import torch
from scipy import sparse
from tokens import by_the_letter

from leadline.data.cells import Scale
from leadline.data.cells.read import read_matrix_blocks
from leadline.data.datasets.synthetic.zheng import write_zheng_like
from leadline.data.token_store import open_store
from leadline.models.network import DrawKey
from leadline.models.scbert.pretraining import ScbertMaskedBatches
from leadline.models.scbert.tokens import scbert_tokens

BATCH = 32
MOMENT = DrawKey(seed=1, epoch=1)


def backed(path):
    matrix = anndata.read_h5ad(path, backed="r").X
    return lambda rows: matrix[np.sort(rows)].toarray(), matrix.shape[0]


def per_cell(work, n_cells, batches):
    """Give the median over batches of the time of a batch, in microseconds a cell."""
    rng, found = np.random.default_rng(1), []
    for number in range(batches + 3):
        rows = rng.choice(n_cells, BATCH, replace=False)
        wall, cpu = time.perf_counter(), time.process_time()
        work(rows)
        # The first ones open files and load compiled code.
        if number >= 3:
            found.append((time.perf_counter() - wall, time.process_time() - cpu))
    wall, cpu = 1e6 * np.median(found, axis=0) / BATCH
    return {"wall_us": round(float(wall), 2), "cpu_us": round(float(cpu), 2)}


def built(file, folder):
    """Build the store in a process of its own; give its seconds and its memory."""
    if (folder / "STORE.json").exists():
        return None
    words = [sys.executable, "-m", "leadline.cli", "store", "build", str(file)]
    began = time.perf_counter()
    subprocess.run([*words, "--out", str(folder)], check=True, stdout=subprocess.DEVNULL)
    told = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "wall_seconds": round(time.perf_counter() - began, 1),
        "cpu_seconds": round(told.ru_utime + told.ru_stime, 1),
        "peak_gib": round(told.ru_maxrss / 2**20, 3),
    }


def main():
    words = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    words.add_argument("--folder", type=Path, required=True)
    words.add_argument("--cells", type=int, default=1_000_000)
    words.add_argument("--genes", type=int, default=16_906)
    words.add_argument("--in-memory", type=int, default=50_000)
    words.add_argument("--batches", type=int, default=200)
    chosen = words.parse_args()
    torch.set_num_threads(1)
    chosen.folder.mkdir(parents=True, exist_ok=True)
    name = f"{chosen.cells}x{chosen.genes}"
    file, folder = chosen.folder / f"{name}.h5ad", chosen.folder / f"{name}.store"
    if not file.exists():
        write_zheng_like(file, n_cells=chosen.cells, n_genes=chosen.genes)
    build = built(file, folder)

    store = open_store(folder)
    cells = store.cells("bench")
    tokens = scbert_tokens(None, cells)
    counts = ScbertMaskedBatches(tokens, collapsed=True)
    some = min(chosen.in_memory, len(cells))
    blocks, held = [], 0
    for block in read_matrix_blocks(file):
        blocks.append(block)
        held += block.shape[0]
        if held >= some:
            break
    counts_CG = sparse.csr_array(sparse.vstack(blocks, format="csr"))[:some]
    plain = chosen.folder / f"{some}x{chosen.genes}-plain.h5ad"
    if not plain.exists():
        anndata.AnnData(X=sparse.csr_matrix(counts_CG)).write_h5ad(plain)
    factor_C = 1e4 / np.asarray(counts_CG.sum(axis=1)).ravel()
    log2_CG = counts_CG.copy()
    log2_CG.data = np.log2(1 + log2_CG.data * np.repeat(factor_C, np.diff(log2_CG.indptr)))
    log2_CG.data = log2_CG.data.astype(np.float32)

    first_touch = per_cell(tokens.dense, len(cells), chosen.batches)
    tokens.matrix_CL.gene_counts()
    ways = {
        "store_tokens": (lambda rows: torch.from_numpy(tokens.dense(rows)), len(cells)),
        "store_masked_counts": (lambda rows: counts.batch(rows, MOMENT), len(cells)),
        "by_the_letter": (lambda rows: by_the_letter(log2_CG, rows), some),
        "anndata_backed": backed(file),
        "anndata_backed_plain": backed(plain),
    }
    found = {
        way: per_cell(work, n_cells, chosen.batches if "backed" not in way else 20)
        for way, (work, n_cells) in ways.items()
    }
    found = {"store_first_touch": first_touch, **found}
    size = sum(path.stat().st_size for path in folder.iterdir())
    ours = found["store_tokens"]
    result = {
        "processor": platform.processor() or platform.machine(),
        "cells": len(cells),
        "genes": len(cells.genes),
        "scale": str(Scale(cells.scale)),
        "values": store.manifest["values"],
        "bytes_a_value": round(size / store.manifest["values"], 3),
        "build": build,
        "microseconds_a_cell": found,
        "ratios": {
            way: {kind: round(found[way][kind] / ours[kind], 1) for kind in ("cpu_us", "wall_us")}
            for way in ("by_the_letter", "anndata_backed", "anndata_backed_plain")
        },
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
