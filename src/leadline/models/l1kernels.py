"""Compiled loops of the L1 path solver: columns, curvature, the quadratic model, one refinement.

Every kernel is free of global state, releases the interpreter lock and adds in float64, in an
order that does not depend on the number of threads: the bits of a fit are the same for any.

Legend: C cells of the fold, G columns (genes, then the constant 1), A classes in flight, W columns
of a working set, M cells with a curvature worth keeping.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

MIN_STEP = 1e-10  # a line search that gets here has met the rounding of the objective
DROPPED_CURVATURE = float(os.environ.get("DROPPED_CURVATURE", "0.02"))  # share of the curvature that may be left out of the quadratic model
GRAM_CELLS = 64_000_000  # entries of a dense block of working columns that we are ready to hold
SWEEPS_PER_GRAM = float(os.environ.get("SWEEPS_PER_GRAM", "60.0"))  # sweeps over sparse columns that cost as much as a Gram matrix saves
GRAM_CHUNK = int(os.environ.get("GRAM_CHUNK", "512"))
RIDGE = float(os.environ.get("RIDGE", "1e-7"))
GRAM_SWEEPS = 500
COLUMN_SWEEPS = int(os.environ.get("COLUMN_SWEEPS", "20"))
MODEL_ACCURACY = float(os.environ.get("MODEL_ACCURACY", "0.01"))
CHOLESKY_AFTER = int(os.environ.get("CHOLESKY_AFTER", "6"))  # sweeps with an unchanged support before the support is solved directly


def compiled(function: Callable[..., Any], fastmath: bool = False) -> Any:
    """Compile without the interpreter lock, cached on disk where the disk allows it."""
    options = {"nogil": True, "error_model": "numpy", "fastmath": fastmath}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # a read-only install without a home: compile anew in each process
        return njit(**options)(function)


def summing(function: Callable[..., Any]) -> Any:
    """Compile a loop of sums that may be reordered into vector lanes (never across threads)."""
    return compiled(function, fastmath=True)


# --- the shared layout -------------------------------------------------------------------------


@compiled
def count_columns(indices, indptr, rows, counts_G):  # type: ignore[no-untyped-def]
    """Count the entries of each column among the chosen rows of a row layout."""
    for row in rows:
        for at in range(indptr[row], indptr[row + 1]):
            counts_G[indices[at]] += 1


@compiled
def rows_to_columns(data, indices, indptr, rows, next_G, out, out_rows):  # type: ignore[no-untyped-def]
    """Write the chosen rows of a row layout as columns; no temporary copy of the matrix."""
    for new in range(rows.size):
        for at in range(indptr[rows[new]], indptr[rows[new] + 1]):
            column = indices[at]
            out[next_G[column]] = data[at]
            out_rows[next_G[column]] = new
            next_G[column] += 1


@compiled
def subset_columns(data, indices, indptr, place_C, out, out_rows, out_ptr):  # type: ignore[no-untyped-def]
    """Write the rows with a place (>= 0) of a column layout as a smaller column layout."""
    end = 0
    for column in range(indptr.size - 1):
        for at in range(indptr[column], indptr[column + 1]):
            place = place_C[indices[at]]
            if place >= 0:
                out[end] = data[at]
                out_rows[end] = place
                end += 1
        out_ptr[column + 1] = end


# --- passes over columns -----------------------------------------------------------------------


@compiled
def correlate_lanes(data, indices, indptr, first, last, residual_BC8, out_GA):  # type: ignore[no-untyped-def]
    """Correlate the columns first..last with eight residuals per read: B blocks of eight classes."""
    for column in range(first, last):
        for block in range(residual_BC8.shape[0]):
            residual_C8 = residual_BC8[block]
            s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
            for at in range(indptr[column], indptr[column + 1]):
                value = np.float64(data[at])
                row_8 = residual_C8[indices[at]]
                s0 += value * row_8[0]
                s1 += value * row_8[1]
                s2 += value * row_8[2]
                s3 += value * row_8[3]
                s4 += value * row_8[4]
                s5 += value * row_8[5]
                s6 += value * row_8[6]
                s7 += value * row_8[7]
            lanes = (s0, s1, s2, s3, s4, s5, s6, s7)
            for a in range(min(8, out_GA.shape[1] - 8 * block)):
                out_GA[column, 8 * block + a] = lanes[a]


@compiled
def sparse_dot(data, indices, first, last, values):  # type: ignore[no-untyped-def]
    """Return the inner product of one column with a vector; four sums, to hide their latency."""
    s0 = s1 = s2 = s3 = 0.0
    even = first + (last - first) // 4 * 4
    for at in range(first, even, 4):
        s0 += data[at] * values[indices[at]]
        s1 += data[at + 1] * values[indices[at + 1]]
        s2 += data[at + 2] * values[indices[at + 2]]
        s3 += data[at + 3] * values[indices[at + 3]]
    for at in range(even, last):
        s0 += data[at] * values[indices[at]]
    return (s0 + s1) + (s2 + s3)


@compiled
def correlate(data, indices, indptr, columns_W, residual_C, out_W):  # type: ignore[no-untyped-def]
    """Correlate some columns with one residual."""
    for k in range(columns_W.size):
        first, last = indptr[columns_W[k]], indptr[columns_W[k] + 1]
        out_W[k] = sparse_dot(data, indices, first, last, residual_C)


@compiled
def combine(data, indices, indptr, columns_W, step_W, out_C):  # type: ignore[no-untyped-def]
    """Add to `out_C` the columns times their steps."""
    for k in range(columns_W.size):
        step = step_W[k]
        if step != 0.0:
            for at in range(indptr[columns_W[k]], indptr[columns_W[k] + 1]):
                out_C[indices[at]] += step * data[at]


# --- the logistic loss -------------------------------------------------------------------------


@compiled
def curvature(score_C, sign_C, cost_C, residual_C, hessian_C):  # type: ignore[no-untyped-def]
    """Return the loss; write its derivative and second derivative by score."""
    loss = 0.0
    for i in range(score_C.size):
        margin = sign_C[i] * score_C[i]
        small = math.exp(-abs(margin))
        share = 1.0 / (1.0 + small)
        wrong = small * share if margin > 0 else share
        loss += cost_C[i] * (max(-margin, 0.0) + math.log1p(small))
        residual_C[i] = -cost_C[i] * sign_C[i] * wrong
        hessian_C[i] = cost_C[i] * small * share * share
    return loss


@compiled
def loss_along(score_C, direction_C, step, sign_C, cost_C):  # type: ignore[no-untyped-def]
    """Return the loss at score + step * direction."""
    loss = 0.0
    for i in range(score_C.size):
        margin = sign_C[i] * (score_C[i] + step * direction_C[i])
        loss += cost_C[i] * (max(-margin, 0.0) + math.log1p(math.exp(-abs(margin))))
    return loss


@compiled
def entropy(residual_C, cost_C, scale):  # type: ignore[no-untyped-def]
    """Return the value of the dual's smooth part at the scaled residuals."""
    value = 0.0
    for i in range(residual_C.size):
        if cost_C[i] > 0.0:
            share = scale * abs(residual_C[i]) / cost_C[i]
            if share > 0.0:
                value -= cost_C[i] * share * math.log(share)
            if share < 1.0:
                value -= cost_C[i] * (1.0 - share) * math.log1p(-share)
    return value


# --- the quadratic model -----------------------------------------------------------------------


@compiled
def violation(gradient, weight, l1):  # type: ignore[no-untyped-def]
    """Return how far one coordinate is from its optimality condition."""
    if weight == 0.0:
        return max(abs(gradient) - l1, 0.0)
    return abs(gradient + math.copysign(l1, weight))


@compiled
def soft(weight, gradient, bend, l1):  # type: ignore[no-untyped-def]
    """Return the minimiser of one coordinate of the quadratic model."""
    target = weight - gradient / bend
    edge = l1 / bend
    if target > edge:
        return target - edge
    return target + edge if target < -edge else 0.0


@compiled
def keep_curved(hessian_C, place_C):  # type: ignore[no-untyped-def]
    """Number the cells that bend the loss; the rest hold at most a small share of the curvature.

    Most cells of a one-vs-rest problem are decided: their p (1 - p) is nothing, and a quadratic
    model without them is as good. The gradient always has all cells.
    """
    least = DROPPED_CURVATURE * hessian_C.mean()
    kept = 0
    for i in range(hessian_C.size):
        place_C[i] = -1
        if hessian_C[i] >= least and hessian_C[i] > 0.0:
            place_C[i] = kept
            kept += 1
    return kept


@compiled
def densify(data, indices, indptr, columns_W, place_C, hessian_C, block_WM, spare_W):  # type: ignore[no-untyped-def]
    """Fill the dense block of working columns; `spare_W` gets the diagonal of the cells left out."""
    for k in range(columns_W.size):
        spare = 0.0
        for at in range(indptr[columns_W[k]], indptr[columns_W[k] + 1]):
            i = indices[at]
            if place_C[i] >= 0:
                block_WM[k, place_C[i]] = data[at]
            else:
                spare += hessian_C[i] * data[at] * data[at]
        spare_W[k] = spare


@summing
def dot(left, right):  # type: ignore[no-untyped-def]
    """Return the inner product."""
    total = 0.0
    for i in range(left.size):
        total += left[i] * right[i]
    return total


@summing
def gram_tile(a0, a1, a2, a3, b0, b1, b2, b3, out_44):  # type: ignore[no-untyped-def]
    """Add sixteen inner products at once: each load is used four times."""
    s00 = s01 = s02 = s03 = s10 = s11 = s12 = s13 = np.float32(0.0)
    s20 = s21 = s22 = s23 = s30 = s31 = s32 = s33 = np.float32(0.0)
    for i in range(a0.size):
        x0, x1, x2, x3 = a0[i], a1[i], a2[i], a3[i]
        u0, u1, u2, u3 = b0[i], b1[i], b2[i], b3[i]
        s00 += x0 * u0
        s01 += x0 * u1
        s02 += x0 * u2
        s03 += x0 * u3
        s10 += x1 * u0
        s11 += x1 * u1
        s12 += x1 * u2
        s13 += x1 * u3
        s20 += x2 * u0
        s21 += x2 * u1
        s22 += x2 * u2
        s23 += x2 * u3
        s30 += x3 * u0
        s31 += x3 * u1
        s32 += x3 * u2
        s33 += x3 * u3
    out_44[0, 0] += s00
    out_44[0, 1] += s01
    out_44[0, 2] += s02
    out_44[0, 3] += s03
    out_44[1, 0] += s10
    out_44[1, 1] += s11
    out_44[1, 2] += s12
    out_44[1, 3] += s13
    out_44[2, 0] += s20
    out_44[2, 1] += s21
    out_44[2, 2] += s22
    out_44[2, 3] += s23
    out_44[3, 0] += s30
    out_44[3, 1] += s31
    out_44[3, 2] += s32
    out_44[3, 3] += s33


@compiled
def gram(block_WM, bend_M, out_WW):  # type: ignore[no-untyped-def]
    """Write B diag(bend) B'; B has a multiple of four rows (padded with zeros).

    Float32 lanes, float64 between chunks of cells: the model only has to bend as the loss does.
    """
    width, cells = block_WM.shape
    out_WW[:] = 0.0
    for first in range(0, cells, GRAM_CHUNK):
        chunk_WM = block_WM[:, first : first + GRAM_CHUNK]
        four_4M = np.empty((4, chunk_WM.shape[1]), np.float32)
        for a in range(0, width, 4):
            for k in range(4):
                four_4M[k] = chunk_WM[a + k] * bend_M[first : first + GRAM_CHUNK]
            for b in range(0, a + 4, 4):
                gram_tile(
                    four_4M[0], four_4M[1], four_4M[2], four_4M[3],
                    chunk_WM[b], chunk_WM[b + 1], chunk_WM[b + 2], chunk_WM[b + 3],
                    out_WW[a : a + 4, b : b + 4],
                )  # fmt: skip
    for a in range(width):
        for b in range(a):
            out_WW[b, a] = out_WW[a, b]


@compiled
def solve_support(model_WW, slope_W, weight_W, l1, support):  # type: ignore[no-untyped-def]
    """Move to the minimum of the model on one orthant, or to the first zero met on the way."""
    size = support.size
    factor = np.empty((size, size))
    step = np.empty(size)
    for i in range(size):
        for j in range(i + 1):
            rest = model_WW[support[i], support[j]] - dot(factor[i, :j], factor[j, :j])
            if i > j:
                factor[i, j] = rest / factor[j, j]
            elif rest <= 1e-12 * model_WW[support[i], support[i]]:
                return False
            else:
                factor[i, i] = math.sqrt(rest)
    for i in range(size):
        slope = slope_W[support[i]] + math.copysign(l1, weight_W[support[i]])
        step[i] = (-slope - dot(factor[i, :i], step[:i])) / factor[i, i]
    for i in range(size - 1, -1, -1):
        step[i] /= factor[i, i]
        for j in range(i):
            step[j] -= factor[i, j] * step[i]
    reach, hit = 1.0, -1
    for i in range(size):
        if weight_W[support[i]] * (weight_W[support[i]] + step[i]) < 0.0:
            limit = -weight_W[support[i]] / step[i]
            if limit < reach:
                reach, hit = limit, i
    for i in range(size):
        old = weight_W[support[i]]
        weight_W[support[i]] = 0.0 if i == hit else old + reach * step[i]
        slope_W += (weight_W[support[i]] - old) * model_WW[support[i]]
    return True


@compiled
def descend_gram(model_WW, slope_W, weight_W, l1, enough, sweeps):  # type: ignore[no-untyped-def]
    """Minimise the quadratic model by coordinate descent on its matrix, in place.

    Once the support has settled, one linear solve replaces the hundreds of sweeps that a large C
    would need.
    """
    steady, everywhere = 0, True
    for _ in range(sweeps):
        worst, moved = 0.0, False
        for k in range(weight_W.size):
            old = weight_W[k]
            if old == 0.0 and not everywhere:
                continue
            off = violation(slope_W[k], old, l1)
            worst = max(worst, off)
            if off <= 0.1 * enough:
                continue
            new = soft(old, slope_W[k], model_WW[k, k], l1)
            moved |= (new == 0.0) != (old == 0.0) or new * old < 0.0
            if new != old:
                weight_W[k] = new
                slope_W += (new - old) * model_WW[k]
        if worst <= enough:
            if everywhere:
                return
            everywhere = True
            continue
        everywhere = False
        steady = 0 if moved else steady + 1
        if steady >= CHOLESKY_AFTER:
            everywhere = solve_support(model_WW, slope_W, weight_W, l1, np.flatnonzero(weight_W))
            steady = 0 if everywhere else -sweeps


@compiled
def descend_columns(  # type: ignore[no-untyped-def]
    data, indices, indptr, columns_W, bend_M, ridge_W, slope_W, weight_W, l1, enough, sweeps
):
    """Minimise the quadratic model by coordinate descent on sparse columns, in place."""
    drift_M = np.zeros(bend_M.size)  # curvature times change of score, so far
    start_W = weight_W.copy()
    bend_W = ridge_W.copy()
    for k in range(columns_W.size):
        for at in range(indptr[columns_W[k]], indptr[columns_W[k] + 1]):
            bend_W[k] += bend_M[indices[at]] * data[at] * data[at]
    everywhere = True
    for _ in range(sweeps):
        worst = 0.0
        for k in range(columns_W.size):
            old = weight_W[k]
            if old == 0.0 and not everywhere:
                continue
            first, last = indptr[columns_W[k]], indptr[columns_W[k] + 1]
            slope = slope_W[k] + ridge_W[k] * (old - start_W[k])
            slope += sparse_dot(data, indices, first, last, drift_M)
            off = violation(slope, old, l1)
            worst = max(worst, off)
            if off <= 0.1 * enough:
                continue
            change = soft(old, slope, bend_W[k], l1) - old
            weight_W[k] = old + change
            for at in range(first, last):
                drift_M[indices[at]] += change * data[at] * bend_M[indices[at]]
        if worst <= enough:
            if everywhere:
                return
            everywhere = True
        else:
            everywhere = False


# --- one refinement of one problem -------------------------------------------------------------


@compiled
def model_gram(data, indices, indptr, columns_W, place_C, kept, hessian_C, l2):  # type: ignore[no-untyped-def]
    """Return the matrix of the quadratic model on the working columns."""
    width = columns_W.size
    padded = (width + 3) // 4 * 4
    block_WM = np.zeros((padded, kept), np.float32)
    spare_W = np.zeros(width)
    densify(data, indices, indptr, columns_W, place_C, hessian_C, block_WM, spare_W)
    model_WW = np.empty((padded, padded))
    gram(block_WM, hessian_C[place_C >= 0], model_WW)
    largest = 0.0
    for k in range(width):
        model_WW[k, k] += spare_W[k] + l2
        largest = max(largest, model_WW[k, k])
    for k in range(width):
        model_WW[k, k] += RIDGE * largest
    return model_WW[:width, :width].copy()


@compiled
def minimise_model(  # type: ignore[no-untyped-def]
    data, indices, indptr, columns_W, hessian_C, slope_W, weight_W, l1, l2, enough
):
    """Minimise the quadratic model over the working columns, in place of `weight_W`.

    A Gram matrix where it is cheap (few or dense columns, few undecided cells), else the columns.
    """
    place_C = np.empty(hessian_C.size, np.int32)
    kept = keep_curved(hessian_C, place_C)
    width, entries = columns_W.size, 0
    for column in columns_W:
        entries += indptr[column + 1] - indptr[column]
    if width * kept <= GRAM_CELLS and width * width * kept <= 96.0 * SWEEPS_PER_GRAM * entries:
        model_WW = model_gram(data, indices, indptr, columns_W, place_C, kept, hessian_C, l2)
        descend_gram(model_WW, slope_W, weight_W, l1, enough, GRAM_SWEEPS)
        return
    ridge_W = np.full(width, l2)
    descend_columns(
        data, indices, indptr, columns_W, hessian_C, ridge_W, slope_W, weight_W, l1, enough,
        COLUMN_SWEEPS,
    )  # fmt: skip


@compiled
def penalty(weight_W, l1, l2):  # type: ignore[no-untyped-def]
    """Return the elastic-net penalty."""
    total = 0.0
    for weight in weight_W:
        total += l1 * abs(weight) + 0.5 * l2 * weight * weight
    return total


@compiled
def worst_violation(slope_W, weight_W, l1):  # type: ignore[no-untyped-def]
    """Return the largest distance from the optimality conditions."""
    worst = 0.0
    for k in range(weight_W.size):
        worst = max(worst, violation(slope_W[k], weight_W[k], l1))
    return worst


@compiled
def refine(  # type: ignore[no-untyped-def]
    data, indices, indptr, columns_W, slope_W, weight_G, score_C, sign_C, cost_C, l1, l2, enough, steps
):
    """Take Newton steps on the working columns; return how many, negative if rounding stopped it.

    Each minimises a quadratic model with the L1 term kept exact, then searches along the line.
    `weight_G` and `score_C` are changed in place.
    """
    cells = score_C.size
    residual_C, hessian_C = np.empty(cells), np.empty(cells)
    for taken in range(steps):
        loss = curvature(score_C, sign_C, cost_C, residual_C, hessian_C)
        old_W = weight_G[columns_W]
        if taken:
            slope_W = np.empty(columns_W.size)
            correlate(data, indices, indptr, columns_W, residual_C, slope_W)
            slope_W += l2 * old_W
        off = worst_violation(slope_W, old_W, l1)
        if off <= enough:
            return taken
        if taken:
            live = np.flatnonzero((old_W != 0.0) | (np.abs(slope_W) > 0.8 * l1))
            columns_W, slope_W, old_W = columns_W[live], slope_W[live], old_W[live]
        new_W, drift_W = old_W.copy(), slope_W.copy()
        minimise_model(
            data, indices, indptr, columns_W, hessian_C, drift_W, new_W, l1, l2,
            max(MODEL_ACCURACY * off, 0.1 * enough),
        )  # fmt: skip
        step_W = new_W - old_W
        direction_C = np.zeros(cells)
        combine(data, indices, indptr, columns_W, step_W, direction_C)
        before = loss + penalty(old_W, l1, l2)
        # The promise of the model to first order; the search asks for a hundredth of it.
        promise = penalty(new_W, l1, l2) - penalty(old_W, l1, l2)
        promise += np.sum((slope_W - l2 * old_W) * step_W)
        reach = 1.0
        while True:
            after = loss_along(score_C, direction_C, reach, sign_C, cost_C)
            after += penalty(old_W + reach * step_W, l1, l2)
            if after <= before + 0.01 * reach * promise:
                break
            reach *= 0.5
            if reach < MIN_STEP:
                return -taken - 1
        weight_G[columns_W] = new_W if reach == 1.0 else old_W + reach * step_W
        score_C += reach * direction_C
    return steps
