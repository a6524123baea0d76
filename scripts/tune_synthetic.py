"""Print how well L1 logistic regression does on the synthetic sets, one JSON line per setting.

Zheng-like: log2(1 + CP10k), stratified 80/20 split with random_state 2022. MS-like: ln(1 + CP10k),
training part → test part. Both: one-vs-rest liblinear, C=0.1 unless --c says otherwise.
Example: tune_synthetic.py zheng --n-cells 10000 --strength 0.6 0.8 1.0
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.multiclass import OneVsRestClassifier

from leadline.data.cells import Cells, Scale, read_cells
from leadline.data.datasets.synthetic.ms import MS_SHIFT, MS_STRENGTH, write_ms_like
from leadline.data.datasets.synthetic.zheng import ZHENG_STRENGTH, write_zheng_like


def zheng(**setting: float) -> tuple[Cells, np.ndarray, np.ndarray]:
    with tempfile.TemporaryDirectory() as folder:
        path = write_zheng_like(Path(folder) / "cells.h5ad", **setting)
        cells = read_cells(path, name="zheng_like", label="celltype")
    rows, labels = np.arange(len(cells)), cells.labels_C
    return cells, *train_test_split(rows, test_size=0.2, stratify=labels, random_state=2022)


def ms(**setting: float) -> tuple[Cells, np.ndarray, np.ndarray]:
    with tempfile.TemporaryDirectory() as folder:
        path = write_ms_like(Path(folder) / "cells.h5ad", **setting)
        cells = read_cells(path, name="ms_like", label="celltype", split="split")
    return cells, *(np.flatnonzero(cells.given_C == part) for part in ("train", "test"))


def measure(
    cells: Cells, train: np.ndarray, test: np.ndarray, scale: Scale, c: float, folds: int
) -> dict[str, float]:
    matrix_CG = cells.lognorm(scale).astype(np.float64)
    labels = cells.labels_C
    start = time.process_time()
    # liblinear's own default seed is the global state.
    model = LogisticRegression(l1_ratio=1, solver="liblinear", C=c, random_state=0)
    model = OneVsRestClassifier(model)
    found = {"c": c, "train": train.size, "test": test.size}
    if folds:
        scores = cross_val_score(model, matrix_CG[train], labels[train], cv=folds)
        found["cv_accuracy"] = round(float(scores.mean()), 4)
    predicted = model.fit(matrix_CG[train], labels[train]).predict(matrix_CG[test])
    found["accuracy"] = round(float(np.mean(predicted == labels[test])), 4)
    found["macro_f1"] = round(float(f1_score(labels[test], predicted, average="macro")), 4)
    return found | {"cpu_s": round(time.process_time() - start)}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", choices=["zheng", "ms"])
    parser.add_argument("--quick", action="store_true", help="zheng: 10,000 cells")
    parser.add_argument("--n-cells", type=int, default=68_450, help="zheng")
    parser.add_argument("--strength", type=float, nargs="+", help="tuned value by default")
    parser.add_argument("--shift", type=float, default=MS_SHIFT, help="ms")
    parser.add_argument("--c", type=float, nargs="+", default=[0.1])
    parser.add_argument("--seed", type=int, nargs="+", default=[0])
    parser.add_argument("--folds", type=int, default=0, help="cross-validate the training part")
    return parser.parse_args()


def main() -> None:
    words = arguments()
    is_zheng = words.dataset == "zheng"
    for strength in words.strength or [ZHENG_STRENGTH if is_zheng else MS_STRENGTH]:
        for seed in words.seed:
            setting = {"strength": strength, "seed": seed}
            if is_zheng:
                setting["n_cells"] = 10_000 if words.quick else words.n_cells
                data, scale = zheng(**setting), Scale.LOG2_CP10K
            else:
                setting["shift"] = words.shift
                data, scale = ms(**setting), Scale.LN_CP10K
            for c in words.c:
                print(json.dumps(setting | measure(*data, scale, c, words.folds)), flush=True)


if __name__ == "__main__":
    main()
