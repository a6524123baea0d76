"""Time the heads of the perturbation probe at the size of a published screen; print JSON.

    python scripts/bench/perturbation.py
    python scripts/bench/perturbation.py --perturbations 400 --genes 1000

The nearest-neighbour head predicts 5 folds, each k chosen by 5 inner folds. The Lasso path is set
against scikit-learn's loop over genes and α on `--lasso-genes` of the genes, at the same tolerance;
`largest_difference` is that of the two solutions' predictions. Memory is the peak of the process,
which holds the responses as well.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from leadline.models.gene_regression import (
    ALPHAS,
    KS,
    cross_predict,
    fit_features,
    lasso_path,
)

FOLDS = 5


def peak_mib() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = call()
    return round(time.perf_counter() - start, 2), result


def problem(perturbations: int, genes: int, width: int) -> tuple[Any, Any, Any]:
    """Draw vectors, responses that follow from a few of their directions, and folds."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(perturbations, width))
    law = rng.normal(size=(8, genes)) * 0.02
    responses = vectors[:, :8] @ law + rng.normal(scale=0.06, size=(perturbations, genes))
    return vectors, responses.astype(np.float32), np.arange(perturbations) % FOLDS


def of_scikit_learn(x_ND: Any, y_NG: Any, alphas: Any) -> Any:
    """Fit each gene at each α on its own, as the published code does."""
    from sklearn.linear_model import Lasso

    coef = np.empty((len(alphas), x_ND.shape[1], y_NG.shape[1]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for a, alpha in enumerate(alphas):
            for g in range(y_NG.shape[1]):
                coef[a, :, g] = (
                    Lasso(alpha, tol=1e-10, max_iter=100_000).fit(x_ND, y_NG[:, g]).coef_
                )
    return coef


def lasso(vectors: Any, responses: Any, count: int, alphas: Any) -> dict[str, Any]:
    """Compare the path of all genes at once with the loop, on one training set."""
    train = np.arange(len(vectors)) % FOLDS != 0
    features = fit_features(vectors[train], 100)
    x_ND, y_NG = features.transform(vectors[train]), responses[train, :count].astype(np.float64)
    lasso_path(x_ND[:50], y_NG[:50, :4], alphas)  # compile first
    ours, path = timed(lambda: lasso_path(x_ND, y_NG, alphas))
    theirs, coef = timed(lambda: of_scikit_learn(x_ND, y_NG, alphas))
    apart = max(np.abs(x_ND @ (path.coef_ADG[a] - coef[a])).max() for a in range(len(alphas)))
    return {
        "genes": count,
        "seconds": ours,
        "scikit_learn_seconds": theirs,
        "times_faster": round(theirs / max(ours, 1e-9), 1),
        "largest_difference": float(apart),
        "non_zero": int((coef != 0).sum()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--perturbations", type=int, default=2386)
    parser.add_argument("--genes", type=int, default=6640)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--lasso-genes", type=int, default=300)
    parser.add_argument(
        "--whole-lasso", action="store_true", help="time all folds of the Lasso too"
    )
    asked = parser.parse_args()
    vectors, responses, fold = problem(asked.perturbations, asked.genes, asked.width)
    few = min(60, asked.perturbations)
    cross_predict(vectors[:few, :20], responses[:few, :8], fold[:few], grid=[5])  # compile first
    before = peak_mib()
    knn, found = timed(lambda: cross_predict(vectors, responses, fold, head="knn", grid=KS))
    after = peak_mib()
    print(f"kNN {knn} s, {after} MiB", file=sys.stderr, flush=True)
    result: dict[str, Any] = {
        "perturbations": asked.perturbations,
        "genes": asked.genes,
        "width": asked.width,
        "cores": len(os.sched_getaffinity(0)),
        "load_at_the_end": os.getloadavg()[0],
        "knn": {"seconds": knn, "peak_mib": after, "peak_before_mib": before,
                "chosen": found.chosen_F.tolist()},
    }  # fmt: skip
    # With small α most coefficients are not zero, with larger ones most are.
    result["lasso_path"] = lasso(vectors, responses, min(asked.lasso_genes, asked.genes), ALPHAS)
    if asked.whole_lasso:
        seconds, _ = timed(lambda: cross_predict(vectors, responses, fold, head="lasso"))
        result["lasso_seconds"] = seconds
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
