"""Time the L1 path against scikit-learn's liblinear on the same problems; print one JSON object.

(a) one fold, the whole grid of C; (b) the cross-validations of one dataset: fractions, seeds,
folds, C, and the final fits; (c) one fit of many cells at C = 0.1.

Both sides get two worker processes or threads in (b) and one in (a) and (c). liblinear repeats at
fraction 1 what its callers repeat: the folds are unshuffled, so every seed runs the same
cross-validation. It is measured once and counted once per seed (`counted_times`); the path solves
it once, as the cache of `model.solver=path` does.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import problems
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.multiclass import OneVsRestClassifier

from leadline.models.logreg.l1.objective import objective
from leadline.models.logreg.l1.path import decision, fit_path

GRID = [1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3, 1e4]


def liblinear(matrix_CG: Any, labels_C: Any, c: float, seed: int = 0) -> dict[str, Any]:
    """Fit the paper's model; return its weights and the seconds it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    one = LogisticRegression(l1_ratio=1.0, solver="liblinear", C=c, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = OneVsRestClassifier(one).fit(matrix_CG, labels_C)
    seconds = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    coef_JG = np.array([np.r_[each.coef_[0], each.intercept_] for each in model.estimators_])
    return {"coef": coef_JG, **seconds}


def timed_path(*arguments: Any, **options: Any) -> tuple[list[Any], dict[str, float]]:
    """Run `fit_path` and return its fits and the seconds they took."""
    wall, cpu = time.perf_counter(), time.process_time()
    fits = fit_path(*arguments, **options)
    return fits, {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def first_fold(matrix_CG: Any, labels_C: Any) -> tuple[Any, Any]:
    return next(iter(StratifiedKFold(5).split(labels_C, labels_C)))


def compare(fit: Any, at: int, coef_JG: Any, fitted: tuple[Any, Any], held: Any) -> dict[str, Any]:
    """Put one solution of each side together: objectives per class, and their predictions."""
    matrix_CG, labels_C = fitted
    sign_CJ = np.where(labels_C[:, None] == fit.problems_J, 1.0, -1.0)
    theirs_J = objective(matrix_CG, sign_CJ, coef_JG, fit.cs_R[at])
    ours_J = objective(matrix_CG, sign_CJ, fit.coef_R[at].toarray(), fit.cs_R[at])
    theirs_C = (held @ coef_JG[:, :-1].T + coef_JG[:, -1]).argmax(axis=1)
    return {
        "C": float(fit.cs_R[at]),
        "objective_liblinear": float(theirs_J.sum()),
        "objective_path": float(ours_J.sum()),
        "worst_class_excess_of_path": float((ours_J / theirs_J - 1.0).max()),
        "largest_relative_gap_of_path": float((fit.gap_RJ[at] / fit.objective_RJ[at]).max()),
        "converged": bool(fit.converged_RJ[at].all()),
        "same_predictions": float((decision(held, fit, at).argmax(axis=1) == theirs_C).mean()),
    }


def one_fold(cells: int) -> dict[str, Any]:
    """Problem (a)."""
    matrix_CG, labels_C = problems.sclerosis_like(cells)
    fitted, held = first_fold(matrix_CG, labels_C)
    train = matrix_CG[fitted], labels_C[fitted]
    [fit], path = timed_path(matrix_CG, labels_C, GRID, rows=[fitted])
    dense_CG = train[0].toarray()  # what a user hands to scikit-learn
    each_R = [liblinear(dense_CG, train[1], c) for c in GRID]
    return summary(
        {"wall": sum(e["wall"] for e in each_R), "cpu": sum(e["cpu"] for e in each_R)},
        path,
        fits=[compare(fit, r, e["coef"], train, matrix_CG[held]) for r, e in enumerate(each_R)],
    )


def many_cells(cells: int) -> dict[str, Any]:
    """Problem (c)."""
    matrix_CG, labels_C = problems.zheng_like(cells)
    [fit], path = timed_path(matrix_CG, labels_C, [0.1], threads=2)
    print(f"(c) path: {path}; liblinear now takes minutes", file=sys.stderr, flush=True)
    each = liblinear(matrix_CG, labels_C, 0.1)
    return summary(
        {"wall": each["wall"], "cpu": each["cpu"]},
        path,
        fits=[compare(fit, 0, each["coef"], (matrix_CG, labels_C), matrix_CG)],
    )


def summary(liblinear: dict[str, float], path: dict[str, float], **more: Any) -> dict[str, Any]:
    """Give both times and their ratios."""
    ratio = {unit: liblinear[unit] / path[unit] for unit in ("wall", "cpu")}
    return {"liblinear_seconds": liblinear, "path_seconds": path, "ratio": ratio, **more}


def held_score(job: tuple[Any, ...]) -> dict[str, Any]:
    """Fit and score liblinear on one fold at one C, in a worker process."""
    matrix_CG, labels_C, fitted, held, c, seed = job
    found = liblinear(matrix_CG[fitted], labels_C[fitted], c, seed)
    coef_JG = found.pop("coef")
    score_CJ = matrix_CG[held] @ coef_JG[:, :-1].T + coef_JG[:, -1]
    found["accuracy"] = float((score_CJ.argmax(axis=1) == labels_C[held]).mean())
    return found


def cross_validated(pool: Any, matrix_CG: Any, labels_C: Any, grid: list[float]) -> dict[str, Any]:
    """Choose C on both sides: 5 unshuffled folds, then the final fit at the chosen C."""
    folds = list(StratifiedKFold(5).split(labels_C, labels_C))
    every = np.arange(labels_C.size)
    dense_CG = matrix_CG.toarray()
    wall = time.perf_counter()
    jobs = [(dense_CG, labels_C, *fold, c, 0) for c in grid for fold in folds]
    scored = list(pool.map(held_score, jobs))
    theirs_R = np.reshape([each["accuracy"] for each in scored], (len(grid), 5)).mean(axis=1)
    last = pool.submit(
        held_score, (dense_CG, labels_C, every, every, grid[int(theirs_R.argmax())], 1)
    ).result()
    liblinear = {
        "wall": time.perf_counter() - wall,
        "cpu": sum(each["cpu"] for each in scored) + last["cpu"],
    }
    wall, cpu = time.perf_counter(), time.process_time()
    fits = fit_path(matrix_CG, labels_C, grid, rows=[fold for fold, _ in folds], threads=2)
    ours_R = np.zeros(len(grid))
    for fit, (_, held) in zip(fits, folds, strict=True):
        held_CG = matrix_CG[held]
        for r in range(len(grid)):
            right = decision(held_CG, fit, r).argmax(axis=1) == labels_C[held]
            ours_R[r] += right.mean() / 5
    fit_path(matrix_CG, labels_C, grid[: int(ours_R.argmax()) + 1], threads=2)
    path = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    converged = all(fit.converged_RJ.all() for fit in fits)
    return {
        "liblinear_seconds": liblinear,
        "path_seconds": path,
        "chosen_C": {"liblinear": grid[theirs_R.argmax()], "path": grid[ours_R.argmax()]},
        "accuracy": {"liblinear": theirs_R.tolist(), "path": ours_R.tolist()},
        "all_converged": converged,
    }


def whole_grid(cells: int, fractions: list[float], seeds: int, grid: list[float]) -> dict[str, Any]:
    """Problem (b)."""
    matrix_CG, labels_C = problems.sclerosis_like(cells)
    runs = []
    with ProcessPoolExecutor(2) as pool:
        for fraction in fractions:
            repeats = 1 if fraction == 1.0 else seeds
            for seed in range(1, repeats + 1):
                rows = np.arange(cells)
                if fraction < 1.0:
                    rows, _ = train_test_split(
                        rows, train_size=fraction, stratify=labels_C, random_state=seed
                    )
                run = cross_validated(pool, matrix_CG[rows], labels_C[rows], grid)
                counted = seeds if fraction == 1.0 else 1
                runs.append({"fraction": fraction, "seed": seed, "counted_times": counted, **run})
    theirs = {
        unit: sum(run["counted_times"] * run["liblinear_seconds"][unit] for run in runs)
        for unit in ("wall", "cpu")
    }
    ours = {unit: sum(run["path_seconds"][unit] for run in runs) for unit in ("wall", "cpu")}
    return summary(theirs, ours, runs=runs)


def compile_seconds() -> float:
    """Compile (or load) every kernel on a toy problem; report it apart from the rest."""
    start = time.perf_counter()
    matrix_CG, labels_C = problems.sclerosis_like(400)
    fit_path(matrix_CG, labels_C, [1.0], threads=2)
    fit_path(matrix_CG.tocsc(), labels_C, [0.1], multinomial=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="(a) at 1,961 cells, reduced (b)")
    quick = parser.parse_args().quick
    report: dict[str, Any] = {
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "load": os.getloadavg(),
            "python": platform.python_version(),
        },
        "quick": quick,
        "compile_seconds": compile_seconds(),
        "a_1961": one_fold(1961),
    }
    if quick:
        report["b"] = whole_grid(1961, [0.25, 1.0], 3, GRID)
    else:
        report["a_7844"] = one_fold(7844)
        report["b"] = whole_grid(7844, [0.25, 1.0], 3, GRID)
        report["c"] = many_cells(54760)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
