"""From the cells of a knock-out screen to one response per perturbation, and its tests.

Expression is a matrix of cells by genes, dense or scipy sparse, log-normalised unless said
otherwise. C cells, G genes, P perturbations, B batches (gem groups), L labels: perturbations and
control.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse, special

from leadline.data.perturbed_genes import CONTROL, shorten
from leadline.errors import UserError

Array = NDArray[np.float64]
Convention = Literal["matched", "unmatched", "pooled"]

MIN_CELLS = 10
VALUES_AT_A_TIME = 1 << 24


def normalise_log1p(counts: Any, total: float = 1e4) -> Any:
    """Scale every cell to the same total over the genes given, then log(1 + x).

    Sparse stays sparse. The total is that of the panel's genes, not of the whole transcriptome.
    """
    totals_C = np.asarray(counts.sum(axis=1), dtype=float).ravel()
    factor_C = np.divide(total, totals_C, out=np.zeros_like(totals_C), where=totals_C > 0)
    if sparse.issparse(counts):
        scaled = sparse.csr_matrix(counts, dtype=float).multiply(factor_C[:, None]).tocsr()
        scaled.data = np.log1p(scaled.data)
        return scaled
    return np.log1p(np.asarray(counts, dtype=float) * factor_C[:, None])


@dataclass(frozen=True, slots=True, kw_only=True)
class Responses:
    """Mean change of expression of each perturbation against control.

    `delta_PG` has a row of nan where no response could be formed. `flags_P` names what is wrong
    with a perturbation ("few_cells", "batch_without_control", "no_control"); `kept_P` are those
    that may be used.
    """

    perturbations_P: NDArray[Any]
    delta_PG: Array
    cells_P: NDArray[np.int64]
    effective_cells_P: Array
    flags_P: tuple[tuple[str, ...], ...]
    convention: Convention
    messages: tuple[str, ...]

    @property
    def kept_P(self) -> NDArray[np.bool_]:
        """Mark perturbations with enough cells and a response."""
        bad = {"few_cells", "no_cells", "no_control"}
        return np.array([not bad.intersection(flags) for flags in self.flags_P], dtype=bool)


def responses(
    expression: Any,
    perturbation_C: ArrayLike,
    batch_C: ArrayLike | None = None,
    *,
    convention: Convention = "matched",
    control: str = CONTROL,
    perturbations: Sequence[str] | None = None,
    min_cells: int = MIN_CELLS,
) -> Responses:
    """Compute the mean response of every perturbation.

    `matched`: per batch, perturbed less control **of that batch**, then the mean over batches.
    `unmatched`: mean of batch means less the same of control, whatever its batches. `pooled`: all
    cells together. Batches weigh equally in the first two, so one cell of a batch can count as
    much as five hundred of another: `effective_cells_P` is the number of cells whose plain mean
    would have the same variance.
    """
    label_C, names_P = _labels(perturbation_C, perturbations, control)
    together = batch_C is None or convention == "pooled"
    batch = np.zeros(len(label_C), dtype=int) if together else np.asarray(batch_C)
    code_C = np.unique(batch, return_inverse=True)[1]
    cells_LB = _cells_by_batch(label_C, code_C, len(names_P) + 1)
    present_PB, control_B = cells_LB[:-1] > 0, cells_LB[-1] > 0
    matched = convention == "matched"
    used_PB = present_PB & control_B if matched else present_PB
    delta_PG = _mean_of_batch_means(expression, label_C, code_C, cells_LB[:-1], used_PB)
    reference_PB = used_PB if matched else np.broadcast_to(control_B, used_PB.shape)
    control_code_C = np.where(label_C == len(names_P), code_C, -1)
    control_BG = _group_sums(expression, control_code_C, cells_LB.shape[1])
    control_BG /= np.maximum(cells_LB[-1], 1)[:, None]
    delta_PG -= (reference_PB / np.maximum(reference_PB.sum(axis=1), 1)[:, None]) @ control_BG
    delta_PG[~used_PB.any(axis=1)] = np.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse_P = np.where(used_PB, 1.0 / cells_LB[:-1], 0.0).sum(axis=1)
        effective_P = np.nan_to_num(used_PB.sum(axis=1) ** 2 / inverse_P)
    flags = _flags(cells_LB[:-1], present_PB, used_PB, min_cells)
    return Responses(
        perturbations_P=names_P,
        delta_PG=delta_PG,
        cells_P=cells_LB[:-1].sum(axis=1).astype(np.int64),
        effective_cells_P=effective_P,
        flags_P=flags,
        convention=convention,
        messages=_flag_messages(names_P, flags, min_cells),
    )


def _flags(
    cells_PB: Array, present_PB: Any, used_PB: Any, min_cells: int
) -> tuple[tuple[str, ...], ...]:
    """Name what is wrong with each perturbation."""
    flags = []
    for cells_B, present_B, used_B in zip(cells_PB, present_PB, used_PB, strict=True):
        own = ["few_cells"] if cells_B.sum() < min_cells else []
        if not used_B.any():
            own.append("no_control" if present_B.any() else "no_cells")
        elif used_B.sum() < present_B.sum():
            own.append("batch_without_control")
        flags.append(tuple(own))
    return tuple(flags)


def _flag_messages(
    names_P: NDArray[Any], flags: Sequence[tuple[str, ...]], min_cells: int
) -> tuple[str, ...]:
    words = {
        "few_cells": f"have fewer than {min_cells} cells and are left out",
        "no_cells": "have no cell and are left out",
        "no_control": "have no control cell in any of their batches and are left out",
        "batch_without_control": "have cells in a batch without control, which do not count",
    }
    said = []
    for flag, text in words.items():
        named = [str(name) for name, own in zip(names_P, flags, strict=True) if flag in own]
        if named:
            said.append(f"{len(named)} perturbations {text}: {shorten(named)}")
    return tuple(said)


def _labels(
    perturbation_C: ArrayLike, perturbations: Sequence[str] | None, control: str
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Code the cells: place in the list of perturbations, last for control, −1 for any other."""
    word_C = np.asarray(perturbation_C).astype(str)
    if not (word_C == control).any():
        raise UserError(
            "Some cells are controls",
            got=f"no cell called {control!r} among {len(np.unique(word_C))} perturbations",
            remedy="name the control of the screen",
        )
    listed = perturbations if perturbations is not None else sorted({*word_C.tolist()} - {control})
    names_P = np.array(listed, dtype=str)
    code = {name: at for at, name in enumerate(names_P.tolist())} | {control: len(names_P)}
    return np.array([code.get(word, -1) for word in word_C.tolist()], dtype=np.int64), names_P


def _cells_by_batch(label_C: Any, batch_C: Any, labels: int) -> Array:
    """Count the cells of each label in each batch."""
    counts_LB = np.zeros((labels, batch_C.max(initial=0) + 1))
    np.add.at(counts_LB, (label_C[label_C >= 0], batch_C[label_C >= 0]), 1.0)
    return counts_LB


def _group_sums(
    expression: Any, group_C: Any, groups: int, weight_C: Any = None, *, squared: bool = False
) -> Array:
    """Sum the cells of each group, weighted or not; cells with a negative group are in none.

    `squared` sums the squares of expression. Sparse values are added up some at a time: a product
    with a sparse indicator would take several times as long, and another copy of the screen.
    """
    weights_C = np.ones(len(group_C)) if weight_C is None else np.asarray(weight_C, dtype=float)
    if not sparse.issparse(expression):
        dense = np.asarray(expression, dtype=float)
        cells = np.flatnonzero(group_C >= 0)
        shape = (groups, len(group_C))
        indicator = sparse.csr_matrix((weights_C[cells], (group_C[cells], cells)), shape=shape)
        return np.asarray(indicator @ (dense**2 if squared else dense))
    rows = expression.tocsr()
    genes = rows.shape[1]
    total = np.zeros(groups * genes)
    start = 0
    while start < len(group_C):
        most = int(rows.indptr[start]) + VALUES_AT_A_TIME
        stop = max(start + 1, int(np.searchsorted(rows.indptr, most, side="right")) - 1)
        low, high = rows.indptr[start], rows.indptr[stop]
        cell_N = np.repeat(np.arange(start, stop), np.diff(rows.indptr[start : stop + 1]))
        value_N = rows.data[low:high].astype(float)
        value_N = (value_N**2 if squared else value_N) * weights_C[cell_N]
        group_N = np.asarray(group_C)[cell_N]
        kept_N = group_N >= 0
        place_N = group_N[kept_N] * genes + rows.indices[low:high][kept_N]
        total += np.bincount(place_N, weights=value_N[kept_N], minlength=len(total))
        start = stop
    return total.reshape(groups, genes)


def _mean_of_batch_means(
    expression: Any, label_C: Any, batch_C: Any, cells_PB: Array, used_PB: Any
) -> Array:
    """Average each perturbation's batch means, as one weighted sum over its cells.

    A table of all means by perturbation and batch would not fit into memory for a large screen.
    """
    counted_C = (label_C >= 0) & (label_C < len(cells_PB))
    counted_C[counted_C] = used_PB[label_C[counted_C], batch_C[counted_C]]
    label, batch = label_C[counted_C], batch_C[counted_C]
    weight_C = np.zeros(len(label_C))
    weight_C[counted_C] = 1.0 / (cells_PB[label, batch] * used_PB.sum(axis=1)[label])
    group_C = np.where(counted_C, label_C, -1)
    return _group_sums(expression, group_C, len(cells_PB), weight_C)


@dataclass(frozen=True, slots=True, kw_only=True)
class WelchTable:
    """Welch's t of every perturbation and gene, its two-sided p, and p adjusted over the genes."""

    t_PG: Array
    p_PG: Array
    adjusted_PG: Array


def welch(
    expression: Any,
    perturbation_C: ArrayLike,
    *,
    against: Literal["control", "other_perturbed"] = "other_perturbed",
    control: str = CONTROL,
    perturbations: Sequence[str] | None = None,
) -> WelchTable:
    """Test each perturbation against control, or against all **other** perturbed cells.

    Only the second sets apart what is particular to a knock-out from what all perturbed cells
    share; it is what `wmse` weighs by. Both groups without variance, or a group with fewer than
    two cells: t = 0, p = 1. Take cells that are not those of the response where possible.
    """
    label_C, names_P = _labels(perturbation_C, perturbations, control)
    if against == "other_perturbed":
        # Perturbations that are not asked for are still other perturbed cells.
        words = np.asarray(perturbation_C).astype(str)
        stranger_C = (label_C < 0) & (words != control)
        label_C = np.where(stranger_C, len(names_P) + 1, label_C)
    labels = len(names_P) + 2
    cells_L = np.bincount(label_C[label_C >= 0], minlength=labels).astype(float)
    sums_LG = _group_sums(expression, label_C, labels)
    squares_LG = _group_sums(expression, label_C, labels, squared=True)
    own = slice(0, len(names_P))
    if against == "control":
        other = (cells_L[[-2]], sums_LG[[-2]], squares_LG[[-2]])
    else:
        perturbed = np.arange(labels) != len(names_P)
        other = (
            cells_L[perturbed].sum() - cells_L[own],
            sums_LG[perturbed].sum(axis=0) - sums_LG[own],
            squares_LG[perturbed].sum(axis=0) - squares_LG[own],
        )
    t_PG, p_PG = _welch_from_sums((cells_L[own], sums_LG[own], squares_LG[own]), other)
    return WelchTable(t_PG=t_PG, p_PG=p_PG, adjusted_PG=adjust_rows(p_PG))


def _moments(group: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
    """Return mean, squared standard error and degrees of freedom from n, Σx and Σx²."""
    cells_P1 = group[0][:, None]
    mean_PG = group[1] / np.maximum(cells_P1, 1)
    sum_PG = group[2] - cells_P1 * mean_PG**2
    # What is left of equal values after rounding is no variance.
    sum_PG = np.where(sum_PG <= 1e-12 * group[2], 0.0, sum_PG)
    free_P1 = np.maximum(cells_P1 - 1, 1)
    return mean_PG, sum_PG / free_P1 / np.maximum(cells_P1, 1), free_P1


def _welch_from_sums(
    own: tuple[Array, Array, Array], other: tuple[Array, Array, Array]
) -> tuple[Array, Array]:
    mean_a, error_a, free_a = _moments(own)
    mean_b, error_b, free_b = _moments(other)
    error = error_a + error_b
    enough = (own[0][:, None] >= 2) & (other[0][:, None] >= 2) & (error > 0)
    safe = np.where(enough, error, 1.0)
    t_PG = np.where(enough, (mean_a - mean_b) / np.sqrt(safe), 0.0)
    spread = error_a**2 / free_a + error_b**2 / free_b
    free_PG = safe**2 / np.where(enough, spread, 1.0)
    p_PG = np.where(enough, 2 * special.stdtr(free_PG, -np.abs(t_PG)), 1.0)
    return t_PG, p_PG


def adjust_rows(p_PG: Array) -> Array:
    """Adjust the p values of each row by Benjamini and Hochberg."""
    genes = p_PG.shape[1]
    order = np.argsort(p_PG, axis=1, kind="stable")
    scaled = np.take_along_axis(p_PG, order, axis=1) * genes / np.arange(1, genes + 1)
    smallest = np.minimum.accumulate(scaled[:, ::-1], axis=1)[:, ::-1]
    adjusted = np.empty_like(p_PG)
    np.put_along_axis(adjusted, order, np.minimum(smallest, 1.0), axis=1)
    return adjusted


def response_weights(t_PG: Array) -> Array:
    """Weigh genes by ((|t| − min)/(max − min))² of each row; all alike where no t stands out."""
    size = np.abs(t_PG)
    low, high = size.min(axis=1, keepdims=True), size.max(axis=1, keepdims=True)
    flat = high == low
    return np.where(flat, 1.0, ((size - low) / np.where(flat, 1.0, high - low)) ** 2)
