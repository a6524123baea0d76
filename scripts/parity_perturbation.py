"""Compute every value of the golden file of the perturbation probe from its inputs.

    python scripts/parity_perturbation.py IN.npz OUT.npz

With `cells::counts` and `cells::perturbation` come responses, tests and weights; with `Y` and
`fold` the predictions of every floor and of every head whose vectors are there, and their metrics;
with `halves::a` and `halves::b` the noise of a duplicate; with `additive::pairs` sums of singles.
Other inputs may be missing: `cells::batch` (all cells are one batch then), `cells::perturbations`
(all but control), `has_vector` (rows of nan), `weights`, and the grids (those of the publication).
A `pred::` of another name is scored as it is.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from leadline.data import perturbations
from leadline.errors import UserError
from leadline.models import gene_regression
from leadline.stats import perturbation_floors, perturbation_metrics

CONVENTIONS = ("unmatched", "matched", "pooled")
Values = dict[str, Any]


def put(values: Values, name: str, compute: Callable[[], Any]) -> Any:
    """Keep a value, or say why these inputs do not have it."""
    try:
        values[name] = compute()
    except UserError as error:
        print(f"{name}: {error}", file=sys.stderr)
    return values.get(name)


def in_double(array: Any) -> Any:
    return np.asarray(array).astype(np.float64)


def of_cells(given: Mapping[str, Any]) -> Values:
    """Form responses of cells, test each perturbation against control, weigh its genes."""
    values: Values = {}
    expression = perturbations.normalise_log1p(in_double(given["cells::counts"]))
    word_C = given["cells::perturbation"].astype(str)
    batch_C, listed = given.get("cells::batch"), given.get("cells::perturbations")
    asked: dict[str, Any] = {"perturbations": None if listed is None else listed.astype(str)}
    for name in CONVENTIONS:
        found = put(
            values,
            f"cells::delta_{name}",
            lambda n=name: (
                perturbations.responses(expression, word_C, batch_C, convention=n, **asked).delta_PG
            ),
        )
        if found is None:
            return values
    if listed is None:
        values["cells::perturbations"] = np.unique(word_C[word_C != perturbations.CONTROL])
    table = perturbations.welch(expression, word_C, against="control", **asked)
    values["cells::welch_t"], values["cells::welch_p"] = table.t_PG, table.p_PG
    values["cells::welch_p_bh"] = table.adjusted_PG
    values["cells::weights"] = perturbations.response_weights(table.t_PG)
    return values


def heads_of(given: Mapping[str, Any], y_PG: Any) -> Values:
    """Predict held-out folds from each set of vectors under each head, and from the answer."""
    values: Values = {}
    fold_P = given["fold"]
    width = int(given["n_pca"]) if "n_pca" in given else gene_regression.COMPONENTS
    grids = {
        "knn": [int(k) for k in given.get("k_grid", gene_regression.KS)],
        "lasso": [float(alpha) for alpha in given.get("alpha_grid", gene_regression.ALPHAS)],
    }
    for prefix, name in (("vectors", "vectors"), ("random", "random_vectors")):
        if name not in given:
            continue
        vectors_PD = in_double(given[name])
        if prefix == "vectors" and "has_vector" in given:
            vectors_PD[~given["has_vector"].astype(bool)] = np.nan
        for head, grid in grids.items():
            try:
                found = gene_regression.cross_predict(
                    vectors_PD,
                    y_PG,
                    fold_P,
                    head=head,  # type: ignore[arg-type]
                    grid=grid,
                    components=width,
                )
            except UserError as error:
                print(f"pred::{prefix}_{head}: {error}", file=sys.stderr)
                continue
            values[f"chosen::{prefix}_{head}"] = found.chosen_F
            values[f"pred::{prefix}_{head}"] = found.predictions_PG
    put(
        values,
        "pred::idealised_knn",
        lambda: (
            gene_regression.cross_predict(
                gene_regression.fit_features(y_PG, width, scaled=False).transform(y_PG),
                y_PG,
                fold_P,
                grid=grids["knn"],
                components=width,
                scaled=False,
                rotated=False,
            ).predictions_PG
        ),
    )
    return values


def of_responses(given: Mapping[str, Any]) -> Values:
    """Predict held-out folds, and score every prediction."""
    y_PG, fold_P = in_double(given["Y"]), given["fold"]
    mean_PG = perturbation_floors.training_means(y_PG, fold_P)
    values: Values = {
        "train_mean_per_fold": mean_PG,
        "pred::no_change": np.zeros_like(y_PG),
        "pred::train_mean": mean_PG,
    } | heads_of(given, y_PG)
    brought = {name: given[name] for name in given if name.startswith("pred::")}
    weights = in_double(given["weights"]) if "weights" in given else None
    for name, predicted in (brought | values).items():
        if not name.startswith("pred::"):
            continue
        try:
            found = perturbation_metrics.score(y_PG, in_double(predicted), mean_PG, weights=weights)
        except UserError as error:
            print(f"{name.replace('pred', 'metric', 1)}: {error}", file=sys.stderr)
            continue
        said = name.removeprefix("pred::")
        values |= {f"metric::{said}::{metric}": value for metric, value in found.items()}
    return values


def of_halves(given: Mapping[str, Any]) -> Values:
    """Say how far two measurements of the same perturbations are apart."""
    a_PG, b_PG = in_double(given["halves::a"]), in_double(given["halves::b"])
    apart_P = perturbation_metrics.l2(a_PG, b_PG)
    return {
        "halves::l2": apart_P,
        "halves::l2_of_mean_of_halves": apart_P / 2,
        "halves::pearson": perturbation_metrics.pearson(a_PG, b_PG),
    }


def main(in_path: str | Path, out_path: str | Path) -> None:
    with np.load(in_path, allow_pickle=False) as stored:
        given = {name: stored[name] for name in stored.files}
    values: Values = {}
    if {"cells::counts", "cells::perturbation"} <= set(given):
        values |= of_cells(given)
    if {"Y", "fold"} <= set(given):
        values |= of_responses(given)
    if {"Y", "additive::pairs"} <= set(given):
        sums = perturbation_floors.additive(in_double(given["Y"]), given["additive::pairs"])
        values["additive::prediction"] = sums
    if {"halves::a", "halves::b"} <= set(given):
        values |= of_halves(given)
    np.savez_compressed(out_path, **{name: np.asarray(value) for name, value in values.items()})


if __name__ == "__main__":
    try:
        main(*sys.argv[1:3])
    except UserError as error:
        sys.exit(print(error, file=sys.stderr) or 2)
