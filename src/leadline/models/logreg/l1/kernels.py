"""Compiled loops of the L1 path solver: columns, curvature, the quadratic model, Newton steps.

Every kernel is free of global state, releases the interpreter lock and adds in an order that does
not depend on the number of threads: the bits of a fit are the same for any. Gradients, losses and
weights are float64; only a quadratic model that need not be careful is summed in float32.

One file, because numba's cache watches the file of a kernel and not those that it calls.

Legend: C cells of the fold, G columns (genes, then the constant 1), A problems in flight, B blocks
of eight of them, W columns of a working set, S columns of its support, M cells that a model keeps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from leadline.stats.jit import compiled

MIN_STEP = 1e-10  # a line search that gets here has met the rounding of the objective
FINE = 1e-12  # relative change of an objective that its rounding may hide
DROPPED_CURVATURE = 0.02  # cells below this share of the mean curvature are left out of a model
MODEL_ACCURACY = 0.03  # violation left in a model, as a share of the one it starts from
GRAM_ENTRIES = 64_000_000  # size of the dense block of working columns that we are ready to hold
GRAM_WORTH = 2_000.0  # multiply-adds of a Gram matrix that are worth one entry of its columns
GRAM_CHUNK = 512  # cells whose working columns stay in the cache
GRAM_SWEEPS = 500
CHOLESKY_AFTER = 6  # sweeps with an unchanged support before it is solved directly
COLUMN_SWEEPS = 5  # more find the support no better, and conjugate gradients the weights sooner
CONJUGATE_EVERY = 4  # sweeps
CONJUGATE_STEPS = 25


def summing(function: Callable[..., Any]) -> Any:
    """Compile a loop of sums that may be reordered into vector lanes (never across threads)."""
    return compiled(function, fastmath=True)


# --- passes over columns -----------------------------------------------------------------------


@compiled
def correlate_lanes(data, indices, indptr, first, last, residual_BC8, out_GA):  # type: ignore[no-untyped-def]
    """Correlate the columns first..last with eight residuals per read: B blocks of eight."""
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
def keep_curved(hessian_C, dropped, place_C):  # type: ignore[no-untyped-def]
    """Give the cells that bend the loss a place; the rest hold a small share of the curvature.

    Most cells of a one-vs-rest problem are decided: their p (1 - p) is nothing, and a quadratic
    model without them is as good. The gradient always has all cells.
    """
    least = dropped * hessian_C.mean()
    kept = 0
    for i in range(hessian_C.size):
        place_C[i] = -1
        if hessian_C[i] >= least and hessian_C[i] > 0.0:
            place_C[i] = kept
            kept += 1
    return kept


@compiled
def densify(data, indices, indptr, columns_W, place_C, hessian_C, block_WM, spare_W):  # type: ignore[no-untyped-def]
    """Fill the dense block of working columns; `spare_W` gets the diagonal of the other cells."""
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
def gram_tile(a0, a1, a2, a3, b0, b1, b2, b3, zero, out_44):  # type: ignore[no-untyped-def]
    """Add sixteen inner products at once: each load is used four times."""
    s00 = s01 = s02 = s03 = s10 = s11 = s12 = s13 = zero
    s20 = s21 = s22 = s23 = s30 = s31 = s32 = s33 = zero
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
def gram(block_WM, bend_M, out_WW, zero):  # type: ignore[no-untyped-def]
    """Write B diag(bend) B'; B has a multiple of four rows (padded with zeros).

    Lanes of the type of `zero`, float64 between chunks of cells.
    """
    width, cells = block_WM.shape
    for first in range(0, cells, GRAM_CHUNK):
        last = min(first + GRAM_CHUNK, cells)
        four_4M = np.full((4, last - first), zero)
        for a in range(0, width, 4):
            for k in range(4):
                four_4M[k] = block_WM[a + k, first:last] * bend_M[first:last]
            for b in range(0, a + 4, 4):
                # Rows are sliced one by one: a slice of the block would hide that they are dense.
                gram_tile(
                    four_4M[0], four_4M[1], four_4M[2], four_4M[3],
                    block_WM[b, first:last], block_WM[b + 1, first:last],
                    block_WM[b + 2, first:last], block_WM[b + 3, first:last],
                    zero, out_WW[a : a + 4, b : b + 4],
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
def model_columns(data, indices, indptr, columns_W, ridge_W, step_W, drift_M):  # type: ignore[no-untyped-def]
    """Write the change of score; return the quadratic form of the step."""
    drift_M[:] = 0.0
    combine(data, indices, indptr, columns_W, step_W, drift_M)
    form = np.sum(ridge_W * step_W * step_W)
    for i in range(drift_M.size):
        form += np.float64(drift_M[i]) * drift_M[i]
    return form


@compiled
def conjugate(  # type: ignore[no-untyped-def]
    data, indices, indptr, columns_W, cells, ridge_W, bend_W, slope_W, enough, steps
):
    """Return about the step that makes the slope zero: conjugate gradients on sparse columns."""
    width = columns_W.size
    step_W, rest_W = np.zeros(width), -slope_W
    eased_W = rest_W / bend_W
    way_W, size = eased_W.copy(), np.sum(rest_W * eased_W)
    product_W, drift_M = np.empty(width), np.empty(cells)
    for _ in range(steps):
        form = model_columns(data, indices, indptr, columns_W, ridge_W, way_W, drift_M)
        correlate(data, indices, indptr, columns_W, drift_M, product_W)
        product_W += ridge_W * way_W
        step_W += (size / form) * way_W
        rest_W -= (size / form) * product_W
        if np.max(np.abs(rest_W)) <= enough:
            break
        eased_W = rest_W / bend_W
        last, size = size, np.sum(rest_W * eased_W)
        way_W = eased_W + (size / last) * way_W
    return step_W


@compiled
def solve_columns(  # type: ignore[no-untyped-def]
    data, indices, indptr, ridge_W, bend_W, slope_W, drift_M, start_W, weight_W, l1, enough
):
    """Move the support towards the minimum of the model on its orthant, in place.

    Weights that would change sign stop at zero; the step is halved until the model falls.
    """
    support = np.flatnonzero(weight_W)
    ridge_S, old_S = ridge_W[support], weight_W[support]
    slope_S = np.empty(support.size)
    correlate(data, indices, indptr, support, drift_M, slope_S)
    slope_S += slope_W[support] + ridge_S * (old_S - start_W[support])
    signed_S = slope_S + l1 * np.sign(old_S)
    step_S = conjugate(
        data, indices, indptr, support, drift_M.size, ridge_S, bend_W[support], signed_S,
        0.5 * enough, CONJUGATE_STEPS,
    )  # fmt: skip
    change_M = np.empty(drift_M.size)
    for _ in range(3):
        new_S = np.where((old_S + step_S) * old_S > 0.0, old_S + step_S, 0.0)
        form = model_columns(data, indices, indptr, support, ridge_S, new_S - old_S, change_M)
        if np.sum(signed_S * (new_S - old_S)) + 0.5 * form < 0.0:
            weight_W[support] = new_S
            drift_M += change_M
            return
        step_S *= 0.5


@compiled
def bent_columns(data, indices, indptr, columns_W, hessian_C, place_C, spare_W):  # type: ignore[no-untyped-def]
    """Copy the working columns of the cells that have a place, times the root of their curvature.

    A model visits its columns dozens of times: it pays to leave out the decided cells, and to
    hold the rest side by side. `spare_W` gets the diagonal of the cells left out.
    """
    starts = np.zeros(columns_W.size + 1, np.int64)
    for k in range(columns_W.size):
        count = 0
        for at in range(indptr[columns_W[k]], indptr[columns_W[k] + 1]):
            count += place_C[indices[at]] >= 0
        starts[k + 1] = starts[k] + count
    bent, cells = np.empty(starts[-1], np.float32), np.empty(starts[-1], np.int32)
    root_C = np.sqrt(hessian_C)
    for k in range(columns_W.size):
        to, spare = starts[k], 0.0
        for at in range(indptr[columns_W[k]], indptr[columns_W[k] + 1]):
            i = indices[at]
            if place_C[i] >= 0:
                bent[to], cells[to] = root_C[i] * data[at], place_C[i]
                to += 1
            else:
                spare += hessian_C[i] * data[at] * data[at]
        spare_W[k] = spare
    return bent, cells, starts


@compiled
def descend_columns(  # type: ignore[no-untyped-def]
    data, indices, indptr, cells, ridge_W, slope_W, weight_W, l1, enough, sweeps
):
    """Minimise the quadratic model on sparse columns, in place.

    Coordinate descent finds the support, conjugate gradients its weights, in turn.
    """
    drift_M = np.zeros(cells)  # change of score so far, times the root of the curvature
    start_W = weight_W.copy()
    bend_W = ridge_W.copy()
    for k in range(weight_W.size):
        for at in range(indptr[k], indptr[k + 1]):
            bend_W[k] += np.float64(data[at]) * data[at]
    everywhere = True
    for sweep in range(sweeps):
        worst = 0.0
        for k in range(weight_W.size):
            old = weight_W[k]
            if old == 0.0 and not everywhere:
                continue
            first, last = indptr[k], indptr[k + 1]
            slope = slope_W[k] + ridge_W[k] * (old - start_W[k])
            slope += sparse_dot(data, indices, first, last, drift_M)
            off = violation(slope, old, l1)
            worst = max(worst, off)
            if off <= 0.1 * enough:
                continue
            change = soft(old, slope, bend_W[k], l1) - old
            weight_W[k] = old + change
            for at in range(first, last):
                drift_M[indices[at]] += change * data[at]
        if worst <= enough:
            if everywhere:
                return
            everywhere = True
        else:
            everywhere = sweep % CONJUGATE_EVERY == CONJUGATE_EVERY - 1
            if everywhere:
                solve_columns(
                    data, indices, indptr, ridge_W, bend_W, slope_W, drift_M, start_W, weight_W,
                    l1, enough,
                )  # fmt: skip


# --- one refinement of one problem -------------------------------------------------------------


@compiled
def model_gram(data, indices, indptr, columns_W, hessian_C, place_C, kept, l2, ease, zero):  # type: ignore[no-untyped-def]
    """Return the matrix of the quadratic model on the working columns, in the type of `zero`."""
    width = columns_W.size
    block_WM = np.full(((width + 3) // 4 * 4, kept), zero)
    spare_W = np.zeros(width)
    densify(data, indices, indptr, columns_W, place_C, hessian_C, block_WM, spare_W)
    model_WW = np.zeros((block_WM.shape[0], block_WM.shape[0]))
    gram(block_WM, hessian_C[place_C >= 0], model_WW, zero)
    for k in range(width):
        model_WW[k, k] += spare_W[k] + l2 + ease * model_WW[k, k]
    return model_WW[:width, :width].copy()


@compiled
def minimise_model(  # type: ignore[no-untyped-def]
    data, indices, indptr, columns_W, hessian_C, slope_W, weight_W, l1, l2, enough, careful
):
    """Minimise the quadratic model over the working columns, in place of `weight_W`.

    A Gram matrix where it is cheap (few or dense columns), else the columns themselves. A model
    that need not be careful drops decided cells and is summed in float32.
    """
    width, entries = columns_W.size, 0
    for column in columns_W:
        entries += indptr[column + 1] - indptr[column]
    place_C = np.empty(hessian_C.size, np.int32)
    kept = keep_curved(hessian_C, 0.0 if careful else DROPPED_CURVATURE, place_C)
    if width * kept > GRAM_ENTRIES or width * width * kept > GRAM_WORTH * entries:
        ridge_W = np.empty(width)
        bent, cells, starts = bent_columns(
            data, indices, indptr, columns_W, hessian_C, place_C, ridge_W
        )
        descend_columns(
            bent, cells, starts, kept, ridge_W + l2, slope_W, weight_W, l1, enough, COLUMN_SWEEPS
        )
        return
    if careful:
        model_WW = model_gram(
            data, indices, indptr, columns_W, hessian_C, place_C, kept, l2, 0.0, 0.0
        )
    else:
        model_WW = model_gram(
            data, indices, indptr, columns_W, hessian_C, place_C, kept, l2, 1e-7, np.float32(0.0)
        )
    descend_gram(model_WW, slope_W, weight_W, l1, enough, GRAM_SWEEPS)


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
def search(  # type: ignore[no-untyped-def]
    score_C, direction_C, sign_C, cost_C, old_W, step_W, loss, promise, l1, l2
):
    """Return the part of the step to take: 1 if it keeps its promise, 0 if none is found."""
    before = loss + penalty(old_W, l1, l2)
    if promise >= -FINE * before:
        return 1.0  # near the optimum the objective cannot judge a Newton step, and need not
    reach = 1.0
    while reach > MIN_STEP:
        after = loss_along(score_C, direction_C, reach, sign_C, cost_C)
        after += penalty(old_W + reach * step_W, l1, l2)
        if after <= before + 0.01 * reach * promise:
            return reach
        reach *= 0.5
    return 0.0


@compiled
def refine(  # type: ignore[no-untyped-def]
    data, indices, indptr, columns_W, slope_W, weight_G, score_C, sign_C, cost_C, l1, l2, enough,
    steps,
):  # fmt: skip
    """Take Newton steps on the working columns; return how many, negative if a search failed.

    Each minimises a quadratic model with the L1 term kept exact, then searches along the line.
    `weight_G` and `score_C` are changed in place.
    """
    cells = score_C.size
    residual_C, hessian_C = np.empty(cells), np.empty(cells)
    last_off, fine, careful = np.inf, False, False
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
        if fine and careful and off >= last_off:
            return taken
        careful |= off > 0.25 * last_off
        last_off = off
        if taken:
            live = np.flatnonzero((old_W != 0.0) | (np.abs(slope_W) > 0.8 * l1))
            columns_W, slope_W, old_W = columns_W[live], slope_W[live], old_W[live]
        new_W, drift_W = old_W.copy(), slope_W.copy()
        minimise_model(
            data, indices, indptr, columns_W, hessian_C, drift_W, new_W, l1, l2,
            max(MODEL_ACCURACY * off, 0.1 * enough), careful,
        )  # fmt: skip
        step_W = new_W - old_W
        direction_C = np.zeros(cells)
        combine(data, indices, indptr, columns_W, step_W, direction_C)
        # What the model promises, to first order.
        promise = l1 * np.sum(np.abs(new_W) - np.abs(old_W)) + np.sum(slope_W * step_W)
        promise += 0.5 * l2 * np.sum(step_W * step_W)
        fine = promise >= -FINE * (loss + penalty(old_W, l1, l2))
        reach = search(score_C, direction_C, sign_C, cost_C, old_W, step_W, loss, promise, l1, l2)
        if reach == 0.0:
            return -taken - 1
        weight_G[columns_W] = new_W if reach == 1.0 else old_W + reach * step_W
        score_C += reach * direction_C
    return steps
