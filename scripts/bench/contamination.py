"""Looking for cells in a corpus: cells a second, memory, and what is found of a planted share.

Zheng-like cells; the corpus has `--planted` of the data's cells. Each form of the corpus (counts,
and their logarithms) is gone through in a process of its own, so that its memory is its own.
"""

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from leadline.config import FileData
from leadline.data.cells import read_cells
from leadline.data.cells.write import H5adWriter
from leadline.data.datasets.synthetic.zheng import write_zheng_like
from leadline.data.overlap import compare, corpus_files, read_target


def write(path, cells, rows, matrix_CG):
    with H5adWriter(path, cells.genes, dtype=np.float32) as writer:
        for part in np.array_split(rows, max(1, len(rows) // 2000)):
            writer.append(matrix_CG[part], {}, np.array([f"{path.stem}{row}" for row in part]))


def search(folder, form):
    """Compare data and corpus as `leadline contamination` does."""
    target = read_target(FileData(name="data", path=str(folder / "data.h5ad")), folder)
    corpus = corpus_files(folder / f"{form}.h5ad")
    # The first call compiles.
    few = target.take(np.arange(50))
    compare(few, corpus_files(folder / "data.h5ad"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began, began_cpu = time.perf_counter(), time.process_time()
    found = compare(target, corpus)
    cpu = time.process_time() - began_cpu
    return {
        "cells": found.n_cells,
        "corpus_cells": found.corpus_cells,
        "wall_seconds": round(time.perf_counter() - began, 1),
        "cpu_seconds": round(cpu, 1),
        "corpus_cells_per_cpu_second": round(found.corpus_cells / cpu),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "mib_before": round(before / 1024),
        "by_counts": found.counts.why_not or found.counts.seen / found.counts.judged,
        "by_top_genes": found.top_genes.seen / max(1, found.top_genes.judged),
        "least_agreement": found.threshold,
        "false_share": found.false_share,
    }


def main():
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--cells", type=int, default=10_000)
    words.add_argument("--corpus-cells", type=int, default=58_000)
    words.add_argument("--genes", type=int, default=16_906)
    words.add_argument("--planted", type=float, default=0.01)
    words.add_argument("--quick", action="store_true", help="a tenth of the cells")
    chosen = words.parse_args()
    n_cells, n_corpus = chosen.cells, chosen.corpus_cells
    if chosen.quick:
        n_cells, n_corpus = n_cells // 10, n_corpus // 10
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        made = folder / "made.h5ad"
        write_zheng_like(made, n_cells=n_cells + n_corpus, n_genes=chosen.genes, seed=0)
        cells = read_cells(made, name="made")
        rng = np.random.default_rng(0)
        rows = rng.permutation(n_cells + n_corpus)
        known = rows[: round(chosen.planted * n_cells)]
        in_corpus = rng.permutation(np.concatenate([rows[n_cells:], known]))
        counts_CG = cells.counts()
        write(folder / "data.h5ad", cells, rows[:n_cells], counts_CG)
        write(folder / "counts.h5ad", cells, in_corpus, counts_CG)
        write(folder / "logarithms.h5ad", cells, in_corpus, cells.lognorm())
        del cells, counts_CG
        context = multiprocessing.get_context("spawn")
        for form in ("counts", "logarithms"):
            with context.Pool(1) as pool:
                print(json.dumps({"form": form, **pool.apply(search, (folder, form))}, indent=1))


if __name__ == "__main__":
    main()
