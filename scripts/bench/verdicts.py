"""Time verdicts over fresh runs and cells: 80 comparisons of 13,690 cells and 10 runs an arm.

Prints JSON. Reading predictions is not counted: calls are made up and held in memory. 41 arms, each
of 40 against the first, under accuracy and macro-F1.
"""

from __future__ import annotations

import json
import time

import numpy as np

from leadline.stats.crossed import compare_arms, family_verdicts
from leadline.stats.influence import influences

ARMS, RUNS, CELLS, CLASSES = 41, 10, 13_690, 11
METRICS = ("accuracy", "macro_f1")


def main() -> None:
    """Make up the calls, compare, and say how long each part took."""
    rng = np.random.default_rng(1)
    truth_N = rng.integers(0, CLASSES, CELLS)
    arms = []
    for _ in range(ARMS):
        wrong_RN = rng.random((RUNS, CELLS)) < 0.2
        arms.append(np.where(wrong_RN, rng.integers(0, CLASSES, (RUNS, CELLS)), truth_N))
    started, cpu = time.perf_counter(), time.process_time()
    of_arms = {metric: [influences(truth_N, calls, metric) for calls in arms] for metric in METRICS}
    influences_done = time.perf_counter()
    said = {}
    for metric, found in of_arms.items():
        family = {str(at): compare_arms(arm, found[0]) for at, arm in enumerate(found[1:])}
        said |= {f"{metric} {name}": word for name, word in family_verdicts(family).items()}
    ended = time.perf_counter()
    print(
        json.dumps(
            {
                "comparisons": len(said),
                "cells": CELLS,
                "runs_an_arm": RUNS,
                "seconds": round(ended - started, 3),
                "seconds_of_influences": round(influences_done - started, 3),
                "cpu_seconds": round(time.process_time() - cpu, 3),
            }
        )
    )


if __name__ == "__main__":
    main()
