"""Time and peak memory of making, loading and splitting synthetic cells; prints one JSON object.

Each stage runs in a process of its own. Memory is the peak above what the imports alone take;
`ratio` sets it against the arrays of the matrix in memory (float32 values, int32 indices).
"""

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

from leadline.config.compose import compose
from leadline.data.cells import read_cells
from leadline.data.datasets.synthetic.zheng import write_zheng_like
from leadline.runs.prepare import split_cells


def make(path, n_cells):
    write_zheng_like(path, n_cells=n_cells)
    return {"file_mib": path.stat().st_size / 2**20}


def load(path, _):
    matrix = read_cells(path, name="zheng_like", label="celltype").matrix_CG
    arrays = sum(part.nbytes for part in (matrix.data, matrix.indices, matrix.indptr))
    return {"matrix_mib": arrays / 2**20, "values": int(matrix.nnz)}


def load_and_split(path, _):
    cells = read_cells(path, name="zheng_like", label="celltype")
    began = time.perf_counter()
    split = split_cells(cells, compose(["data=zheng_like"]))
    fingerprint_began = time.perf_counter()
    cells.fingerprint()
    return {
        "split_seconds": fingerprint_began - began,
        "fingerprint_seconds": time.perf_counter() - fingerprint_began,
        "sizes": split.sizes(),
    }


def measured(stage, path, n_cells, results):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, cpu = time.perf_counter(), time.process_time()
    found = stage(path, n_cells)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    results.put(
        found
        | {
            "wall_seconds": time.perf_counter() - wall,
            "cpu_seconds": time.process_time() - cpu,
            "peak_mib_above_imports": peak / 1024,
        }
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="5,000 cells instead of 68,450")
    parser.add_argument("--cells", type=int, default=68_450)
    chosen = parser.parse_args()
    n_cells = 5_000 if chosen.quick else chosen.cells
    report = {"cells": n_cells, "genes": 16_906}
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        for stage in (make, load, load_and_split):
            results = spawn.Queue()
            arguments = (stage, Path(folder) / "cells.h5ad", n_cells, results)
            process = spawn.Process(target=measured, args=arguments)
            process.start()
            report[stage.__name__] = results.get()
            process.join()
    for stage in ("load", "load_and_split"):
        peak, matrix = report[stage]["peak_mib_above_imports"], report["load"]["matrix_mib"]
        report[stage]["ratio"] = peak / matrix
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
