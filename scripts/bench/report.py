"""Seconds and memory that the report of many records takes.

Writes made-up records (13,690 cells each with --cells 13690, as on PBMC; --records 10000 of them),
makes their report in a process of its own, and prints one JSON object. --quick makes 60 records.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

ARMS = ("reference", "no_pretraining", "no_gene2vec", "no_pretraining_frozen", "logreg")
FRACTIONS = (0.1, 0.25, 0.5, 0.75, 1.0)


def make(runs: Path, seeds: int, datasets: int, cells: int) -> int:
    from records import write_manifest, write_run

    made = []
    for arm in ARMS:
        for data in range(datasets):
            for fraction in FRACTIONS:
                for seed in range(1, seeds + 1):
                    model = "logreg" if arm == "logreg" else "scbert"
                    accuracy = 0.6 + 0.2 * fraction + 0.01 * (seed % 3)
                    words = {"dataset": f"cells{data}", "cells": cells, "epochs": 10}
                    run_id = write_run(
                        runs, arm=arm, model=model, seed=seed, accuracy=accuracy,
                        fraction=fraction, **words,
                    )  # fmt: skip
                    made.append((run_id, arm))
    against = {arm: None if arm == "reference" else "reference" for arm in ARMS}
    write_manifest(runs, "many", against, made)
    return len(made)


def measure(runs: Path, out: Path) -> dict[str, float]:
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "leadline.cli", "report", "--runs", str(runs), "--out", str(out)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    wall = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "wall_seconds": round(wall, 2),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 2),
        "peak_mib": round(used.ru_maxrss / 1024, 1),
        "page_mib": round((out / "index.html").stat().st_size / 2**20, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="60 records")
    parser.add_argument("--cells", type=int, help="reported cells of each run")
    parser.add_argument("--records", type=int, default=500, help="records, in fifties")
    chosen = parser.parse_args()
    # Ten thousand predictions of a thousand cells would be more of a test of the disk.
    cells = chosen.cells or (200 if chosen.records > 500 else 1000)
    seeds, datasets = (3, 1) if chosen.quick else (max(1, chosen.records // 50), 2)
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder) / "runs"
        records = make(runs, seeds, datasets, cells)
        found = measure(runs, Path(folder) / "out")
        print(json.dumps({"records": records, "cells": cells, **found}))


if __name__ == "__main__":
    main()
