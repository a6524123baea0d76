"""Cells of a knock-out screen as what is predicted: responses, weights of genes, duplicates.

C cells, P perturbations, G genes of the response.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leadline.config.perturbation import PerturbationSettings
from leadline.data.cells import Cells, Scale
from leadline.data.perturbations import (
    response_weights,
    responses,
    welch,
)
from leadline.data.perturbed_genes import (
    control_of,
    gene_of_guide,
    merge_names,
    shorten,
    targets,
)
from leadline.errors import UserError

Array = NDArray[np.float64]

# Whole-cell totals that differ from those of the file's genes by less are the same.
SAME_TOTAL = 0.99
FEWEST_PERTURBATIONS = 10
SEPARATORS = ("+", "_", ",", "|", ";")


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """What a screen tells of its perturbations.

    `response_PG` and `weights_PG` are rounded to float32, as a record holds them; `target_P` is
    the column of the perturbed gene or −1; `changed_PG` marks genes with an adjusted p below .05;
    `control_C` marks control cells. `control_KG` is the expression of control cells in all genes of
    `cells`, `expression_CG` that of all cells in the genes of the response.
    """

    cells: Cells
    expression_CG: Any
    control_KG: Any
    word_C: NDArray[np.str_]
    batch_C: NDArray[Any] | None
    control: str
    perturbations_P: NDArray[np.str_]
    genes_G: NDArray[np.str_]
    response_PG: Array
    weights_PG: Array
    adjusted_PG: Array
    target_P: NDArray[np.int64]
    settings: PerturbationSettings
    facts: Mapping[str, Any]
    messages: tuple[str, ...]

    @property
    def control_C(self) -> NDArray[np.bool_]:
        """Mark control cells."""
        return np.asarray(self.word_C == self.control)


def screen_of(cells: Cells, settings: PerturbationSettings) -> Screen:
    """Form the response of every perturbation that has enough cells and a control."""
    assert cells.labels_C is not None
    given_C = np.array(cells.classes, dtype=np.str_)[cells.labels_C]
    control = settings.control if settings.control != "auto" else control_of(cells.classes)
    word_C, said = merge_names(
        given_C, canonical=gene_of_guide, separator=settings.separator, control=control
    )
    messages = [f"{len(said)} names changed: {shorten(said)}"] if said else []
    messages += other_separators(word_C, cells.genes, settings.separator)
    expression_CG, told = expression_of(cells)
    messages += told
    batch_C = cells.batch_C
    if batch_C is None and settings.response != "pooled":
        messages.append("no data.batch: control is that of all cells, whatever their batch")
    found = responses(
        expression_CG,
        word_C,
        batch_C,
        convention=settings.response,  # type: ignore[arg-type]
        control=control,
        min_cells=settings.min_cells,
    )
    messages += found.messages
    kept_P = found.kept_P
    if kept_P.sum() < FEWEST_PERTURBATIONS:
        raise UserError(
            f"task=perturbation needs at least {FEWEST_PERTURBATIONS} perturbations with "
            f"{settings.min_cells} cells and a control",
            got=f"{int(kept_P.sum())} of {len(kept_P)}"
            + (f" ({'; '.join(found.messages)})" if found.messages else ""),
            remedy="check data.label, data.batch and task_settings.control, or lower "
            "task_settings.min_cells",
        )
    share = float(np.median((found.effective_cells_P / np.maximum(found.cells_P, 1))[kept_P]))
    if share < 0.8:
        messages.append(
            f"batches weigh equally: the median perturbation counts as {share:.0%} of its cells"
        )
    names_P = found.perturbations_P[kept_P].astype(np.str_)
    column_G = columns_of(expression_CG, word_C == control, settings.genes)
    genes_G = cells.genes[column_G]
    control_KG = expression_CG[np.flatnonzero(word_C == control)]
    if len(column_G) < len(cells.genes):
        expression_CG = expression_CG[:, column_G]
    table = welch(expression_CG, word_C, control=control, perturbations=names_P.tolist())
    target_P = target_columns(names_P, genes_G, settings, control)
    unmeasured = int((target_P < 0).sum()) - doubles(names_P, settings, control)
    if unmeasured:
        messages.append(f"{unmeasured} perturbed genes are not among those of the response")
    return Screen(
        cells=cells,
        expression_CG=expression_CG,
        control_KG=control_KG,
        word_C=word_C.astype(np.str_),
        batch_C=None if settings.response == "pooled" else batch_C,
        control=control,
        perturbations_P=names_P,
        genes_G=genes_G,
        response_PG=single(found.delta_PG[kept_P][:, column_G]),
        weights_PG=single(response_weights(table.t_PG)),
        adjusted_PG=table.adjusted_PG,
        target_P=target_P,
        settings=settings,
        facts={
            "control": control,
            "control_cells": int((word_C == control).sum()),
            "perturbations": len(names_P),
            "left_out": int((~kept_P).sum()),
            "doubles": doubles(names_P, settings, control),
            "response_genes": len(genes_G),
            "cells_per_perturbation": float(np.median(found.cells_P[kept_P])),
            "effective_share_of_cells": share,
        },
        messages=tuple(messages),
    )


def other_separators(word_C: NDArray[Any], genes: NDArray[np.str_], separator: str) -> list[str]:
    """Say which names look like combinations of measured genes under another separator."""
    known, names = set(genes.tolist()), set(np.unique(word_C).tolist())
    said = []
    for other in SEPARATORS:
        found = [name for name in sorted(names - known) if other in name.strip(other)]
        pairs = [name for name in found if known.issuperset(name.split(other))]
        if other != separator and pairs:
            said.append(
                f"{len(pairs)} names look like combinations ({shorten(pairs, 2)}): if they are, "
                f"add task_settings.separator={other}"
            )
    return said


def single(values: Any) -> Array:
    """Round to float32, as a record holds numbers, and compute with doubles."""
    return np.asarray(values).astype(np.float32).astype(np.float64)


def expression_of(cells: Cells) -> tuple[Any, list[str]]:
    """Give ln(1 + counts per 10,000 of the file's genes), and what had to be taken as it is."""
    if cells.scale is Scale.COUNTS:
        totals_C = np.asarray(cells.matrix_CG.sum(axis=1), dtype=float).ravel()
        share = float(np.nanmedian(totals_C / cells.library_C))
        said = (
            f"normalised over the {len(cells.genes):,} genes of the file, which hold {share:.0%} "
            "of a cell's counts"
        )
        # In place of whole-cell totals those of the file's genes; indices stay shared.
        own = replace(cells, library_C=np.where(totals_C > 0, totals_C, 1.0))
        return own.lognorm(Scale.LN_CP10K), [said] if share < SAME_TOTAL else []
    if cells.scale in (Scale.LN_CP10K, Scale.LOG2_CP10K):
        return cells.lognorm(Scale.LN_CP10K), []
    if cells.scale is Scale.LOG_OTHER:
        said = "expression is taken as it is: logarithms of another total than 10,000"
        return cells.matrix_CG, [said]
    raise UserError(
        "task=perturbation reads counts or log-normalised expression",
        got=f"a matrix on the scale {cells.scale}",
        remedy="name a layer that holds counts with data.layer=",
    )


def columns_of(expression_CG: Any, control_C: Any, count: int | None) -> NDArray[np.int64]:
    """Choose all genes, or those most expressed in control cells, in the order of the file."""
    genes = expression_CG.shape[1]
    if count is None or count >= genes:
        return np.arange(genes)
    mean_G = np.asarray(expression_CG[np.flatnonzero(control_C)].mean(axis=0)).ravel()
    return np.sort(np.argsort(-mean_G, kind="stable")[:count])


def doubles(names_P: NDArray[np.str_], settings: PerturbationSettings, control: str) -> int:
    """Count the perturbations of several genes."""
    return sum(
        len(targets(name, separator=settings.separator, control=control)) > 1
        for name in names_P.tolist()
    )


def target_columns(
    names_P: NDArray[np.str_],
    genes_G: NDArray[np.str_],
    settings: PerturbationSettings,
    control: str,
) -> NDArray[np.int64]:
    """Find the column of each perturbed gene under its own or current symbol; −1 for none."""
    place = {gene_of_guide(gene): at for at, gene in enumerate(genes_G.tolist())}
    place |= {gene: at for at, gene in enumerate(genes_G.tolist())}
    found = []
    for name in names_P.tolist():
        genes = targets(name, separator=settings.separator, control=control)
        found.append(place.get(genes[0], -1) if len(genes) == 1 else -1)
    return np.array(found, dtype=np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate:
    """Responses of two halves of the cells, and weights and p from the second.

    `both_P` marks the perturbations that have a response in each half.
    """

    first_PG: Array
    second_PG: Array
    weights_PG: Array
    adjusted_PG: Array
    both_P: NDArray[np.bool_]


def duplicate_of(screen: Screen, seed: int) -> Duplicate:
    """Halve the cells of each perturbation within its batches; both halves keep the control."""
    names = screen.perturbations_P.tolist()
    group_C = np.unique(screen.word_C, return_inverse=True)[1]
    if screen.batch_C is not None:
        batches, code_C = np.unique(screen.batch_C, return_inverse=True)
        group_C = group_C * len(batches) + code_C
    order = np.lexsort((np.random.default_rng(seed).random(len(group_C)), group_C))
    first = np.searchsorted(group_C[order], group_C[order])
    half_C = np.empty(len(group_C), dtype=np.int64)
    half_C[order] = (np.arange(len(order)) - first) % 2
    parts, table = [], None
    for half in (0, 1):
        rows = np.flatnonzero((half_C == half) | screen.control_C)
        own = screen.expression_CG[rows], screen.word_C[rows]
        parts.append(
            responses(
                *own,
                None if screen.batch_C is None else screen.batch_C[rows],
                convention=screen.settings.response,  # type: ignore[arg-type]
                control=screen.control,
                perturbations=names,
                min_cells=1,
            ).delta_PG
        )
        table = welch(*own, control=screen.control, perturbations=names)
    assert table is not None
    return Duplicate(
        first_PG=parts[0],
        second_PG=parts[1],
        weights_PG=response_weights(table.t_PG),
        adjusted_PG=table.adjusted_PG,
        both_P=np.asarray(np.isfinite(parts[0] + parts[1]).all(axis=1)),
    )
