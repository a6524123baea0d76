"""What a run costs beside its own computing, in warm processes; prints one JSON object.

Each launcher makes many runs that compute next to nothing: the majority control on the embedded
cells. The first run of a process pays for imports and for reading the cells and is given apart.
`cold` is the same run by a new `leadline run`, which every run would cost without warm workers.
Wall seconds are medians; CPU seconds are those of the processes that make the runs, per run.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from leadline.studies.launchers import build, choose
from leadline.studies.launchers.base import QueuedRun

TICKS = os.sysconf("SC_CLK_TCK")


def tasks(folder, count, model="majority"):
    for seed in range(1, count + 1):
        words = (f"model={model}", f"seed={seed}", f"runs_dir={folder}")
        yield QueuedRun(run_id=f"seed {seed}", words=words, runs_dir=str(folder))


def cpu_of(pid):
    """Give the CPU seconds of a process so far."""
    told = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(told[11]) + int(told[12])) / TICKS


def measure(words, count, folder, model="majority"):
    """Give seconds of the first run, and of each later one."""
    gaps, cpus = [], []
    with build(choose(words)[0]) as launcher:
        before = time.perf_counter()
        for outcome in launcher.run(tasks(folder, count, model), threading.Event()):
            assert outcome.state == "done", outcome
            now = time.perf_counter()
            gaps.append(now - before)
            before = now
            workers = getattr(launcher, "workers", {})
            pids = [worker.process.pid for worker in workers.values()] or [os.getpid()]
            cpus.append(sum(map(cpu_of, pids)))
    return {
        "runs": count,
        "first_wall_seconds": round(gaps[0], 3),
        "later_wall_seconds": round(statistics.median(gaps[1:]), 3),
        "later_cpu_seconds": round((cpus[-1] - cpus[0]) / (count - 1), 3),
    }


def cold(count, folder):
    """Give the median wall seconds of a run in a process of its own."""
    gaps = []
    for task in tasks(folder, count):
        before = time.perf_counter()
        command = [sys.executable, "-m", "leadline.cli", "run", *task.words]
        subprocess.run(command, check=True, capture_output=True)
        gaps.append(time.perf_counter() - before)
    return {"runs": count, "wall_seconds": round(statistics.median(gaps), 3)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="fewer runs")
    count = 10 if parser.parse_args().quick else 50
    one = ["hydra/launcher=local", "hydra.launcher.n_jobs=1"]
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        told = {
            "bench": "studies",
            "basic": measure([], count, top / "basic"),
            "local": measure(one, count, top / "local"),
            "cold": cold(3, top / "cold"),
        }
        measure([], 3, top / "logreg", "logreg")
        told["torch_imported_by_logreg"] = "torch" in sys.modules
    told["target_later_seconds"] = 0.3
    print(json.dumps(told))


if __name__ == "__main__":
    main()
