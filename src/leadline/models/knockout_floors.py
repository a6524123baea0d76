"""Predictions of unseen knock-outs that need no model, out of fold: what any model has to beat.

P perturbations, G genes of the response.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leadline.data.perturbed_genes import folds_by_gene, gene_of_guide, targets, vector_rows
from leadline.data.screens import Screen, single
from leadline.models.gene_regression import ALPHAS, KS, OutOfFold, cross_predict, fit_features
from leadline.stats.perturbation_floors import (
    ADDITIVE,
    IDEALISED,
    LINEAR,
    NO_CHANGE,
    OWN_GENE,
    PCA_CONTROL,
    PCA_WIDTH,
    RANDOM,
    TRAIN_MEAN,
    additive,
    linear_model,
    own_gene_effect,
    pca_of_control,
    random_vectors,
    shuffled_vectors,
    training_means,
)

Array = NDArray[np.float64]

# Fewer perturbations get the smaller grid of k, as published for the screen with 105 of them.
MANY, FEW_KS = 500, (5, 10, 15, 20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """Floors by name: one prediction each, or several draws, and the training means."""

    predictions: Mapping[str, Sequence[Array]]
    mean_PG: Array


def folds_of(screen: Screen, repeat: int = 0) -> NDArray[np.int64]:
    """Give each perturbation its fold; all names of a gene share it."""
    chosen = screen.settings
    return folds_by_gene(
        screen.perturbations_P.tolist(),
        folds=chosen.folds,
        seed=chosen.fold_seed + repeat,
        canonical=gene_of_guide,
        separator=chosen.separator,
        control=screen.control,
    )


def predicted(screen: Screen, vectors_PD: Array, fold_P: Any, **more: Any) -> OutOfFold:
    """Predict held-out perturbations from vectors by the head that the settings name."""
    chosen = screen.settings
    ks = KS if len(screen.perturbations_P) >= MANY else FEW_KS
    grid = chosen.grid or (ks if chosen.head == "knn" else ALPHAS)
    return cross_predict(
        vectors_PD,
        screen.response_PG,
        fold_P,
        head=chosen.head,  # type: ignore[arg-type]
        grid=grid,
        components=chosen.components,
        **more,
    )


def rows_of(screen: Screen, genes: Sequence[str], vectors_GD: Any) -> tuple[Array, tuple[str, ...]]:
    """Look up the vector of each perturbation, the sum over its genes; nan where one lacks."""
    table = {
        gene: row
        for gene, row in zip(genes, np.asarray(vectors_GD, dtype=float), strict=True)
        if np.isfinite(row).all()
    }
    # A file may know a gene by its old symbol, where the perturbation has its current one.
    for gene in list(table):
        table.setdefault(gene_of_guide(gene), table[gene])
    return vector_rows(
        screen.perturbations_P.tolist(),
        table,
        canonical=gene_of_guide,
        separator=screen.settings.separator,
        control=screen.control,
    )


def baseline(screen: Screen, fold_P: NDArray[np.int64], seed: int) -> Baseline:
    """Predict by every floor of a screen; all but the shuffled vectors, which need some."""
    y_PG, chosen = screen.response_PG, screen.settings
    mean_PG = training_means(y_PG, fold_P)
    loadings = pca_of_control(screen.control_KG, PCA_WIDTH)
    control_PD, _ = rows_of(screen, screen.cells.genes.tolist(), loadings)
    found: dict[str, list[Array]] = {
        NO_CHANGE: [np.zeros_like(y_PG)],
        TRAIN_MEAN: [mean_PG],
        OWN_GENE: [own_gene_effect(y_PG, fold_P, screen.target_P)],
        LINEAR: [linear_model(y_PG, fold_P, screen.target_P)],
    }
    if np.isfinite(control_PD).all(axis=1).any():
        found[PCA_CONTROL] = [predicted(screen, control_PD, fold_P).predictions_PG]
    found[RANDOM] = [
        predicted(
            screen, random_vectors(len(y_PG), PCA_WIDTH, seed=seed + draw), fold_P
        ).predictions_PG
        for draw in range(chosen.draws)
    ]
    if chosen.head == "knn":
        answer_PD = fit_features(y_PG, chosen.components, scaled=False).transform(y_PG)
        seen = predicted(screen, answer_PD, fold_P, scaled=False, rotated=False)
        found[IDEALISED] = [seen.predictions_PG]
    doubled = sum_of_singles(screen, fold_P, mean_PG)
    if doubled is not None:
        found[ADDITIVE] = [doubled]
    return Baseline(
        predictions={name: [single(each) for each in parts] for name, parts in found.items()},
        mean_PG=mean_PG,
    )


def shuffled(screen: Screen, vectors_PD: Array, fold_P: Any, seed: int) -> list[Array]:
    """Predict from the same vectors, permuted among the genes that have one."""
    return [
        single(
            predicted(screen, shuffled_vectors(vectors_PD, seed=seed + draw), fold_P).predictions_PG
        )
        for draw in range(screen.settings.draws)
    ]


def sum_of_singles(screen: Screen, fold_P: Any, mean_PG: Array) -> Array | None:
    """Predict doubles whose singles are both in training by their sum, others by the mean."""
    split = screen.settings.separator
    place = {name: at for at, name in enumerate(screen.perturbations_P.tolist())}
    result_PG, any_found = mean_PG.copy(), False
    for at, name in enumerate(screen.perturbations_P.tolist()):
        genes = targets(name, separator=split, control=screen.control)
        known = [place[gene] for gene in genes if gene in place]
        if len(genes) == 2 and len(known) == 2 and all(fold_P[k] != fold_P[at] for k in known):
            result_PG[at] = additive(screen.response_PG, [known])[0]
            any_found = True
    return result_PG if any_found else None
