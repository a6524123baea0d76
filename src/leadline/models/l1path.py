"""L1 logistic regression along a whole grid of C: all classes, all folds, one column layout.

For each class against the rest, with the intercept b penalised like any weight:
minimise  |w|_1 + |b| + C * sum_i s_i log(1 + exp(-y_i (x_i w + b))).

The path goes from small to large C. At each C all classes advance in rounds: one read of the
columns gives every class its full gradient, hence its duality gap; a class whose gap is too wide
takes Newton steps on its working set (`l1kernels.refine`) and meets the others in the next round.

Shapes: C cells, G columns (genes, then the constant 1), K classes, J problems (one per class; one
in all if there are two classes), R values of the regularisation C, F folds.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from leadline.errors import UserError
from leadline.models import l1kernels as kernels

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class PathFit:
    """The solutions of one fold along the grid, with the certificate of each.

    Attributes
    ----------
    cs_R
        The grid, ascending.
    coef_R
        Weights for each C, CSR of J x (genes + 1); the intercept is the last column.
    problems_J
        The class code that each row of weights tells from the rest. Two classes make one problem,
        that of the second class. Classes without a training cell have none.
    n_classes
        K, including the classes that the fold lacks.
    objective_RJ, gap_RJ, kkt_RJ
        Objective, duality gap (an upper bound of the distance to the optimum) and the largest
        violation of the optimality conditions. A multinomial fit has one problem in all, whose
        figures stand in every column.
    converged_RJ
        Whether gap <= tol * objective.
    """

    cs_R: Floats
    coef_R: list[sparse.csr_array]
    problems_J: NDArray[np.int64]
    classes: NDArray[np.int64]
    n_classes: int
    multinomial: bool
    objective_RJ: Floats
    gap_RJ: Floats
    kkt_RJ: Floats
    nnz_RJ: NDArray[np.int64]
    iterations_RJ: NDArray[np.int64]
    converged_RJ: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Columns:
    """The cells of one fold as columns: float32 values, int32 row numbers, the constant 1 last."""

    data: NDArray[np.float32]
    indices: NDArray[np.int32]
    indptr: NDArray[np.int64]

    @property
    def arrays(self) -> tuple[Any, Any, Any]:
        """Give what a kernel takes."""
        return self.data, self.indices, self.indptr


def columns_of(matrix_CG: Any, rows: NDArray[np.int64] | None) -> Columns:
    m = matrix_CG if rows is None else matrix_CG[rows]
    n = m.shape[0]
    a = sparse.csc_matrix(m)
    a.sort_indices()
    data = np.concatenate([a.data.astype(np.float32), np.ones(n, np.float32)])
    indices = np.concatenate([a.indices.astype(np.int32), np.arange(n, dtype=np.int32)])
    return Columns(data, indices, np.append(a.indptr, a.indptr[-1] + n).astype(np.int64))


import time

STATS = {}


class Path:
    def __init__(self, columns, sign_JC, share_C, l1, l2, tol, max_iter, run, threads):
        self.columns, self.sign_JC, self.share_C = columns, sign_JC, share_C
        self.l1, self.l2, self.tol, self.max_iter, self.run = l1, l2, tol, max_iter, run
        J, C = sign_JC.shape
        G = columns.indptr.size - 1
        self.weight_JG = np.zeros((J, G))
        self.score_JC = np.zeros((J, C))
        self.before = None
        # equal work per block
        cuts = np.searchsorted(columns.indptr, np.linspace(0, columns.indptr[-1], 8 * threads + 1))
        cuts[0], cuts[-1] = 0, G
        self.blocks = list(itertools.pairwise(cuts))

    def gradients(self, active, cost_C):
        residual = np.zeros((-(-len(active) // 8), self.score_JC.shape[1], 8))
        loss = np.empty(len(active))

        def one(a):
            r, h = np.empty(residual.shape[1]), np.empty(residual.shape[1])
            loss[a] = kernels.curvature(
                self.score_JC[active[a]], self.sign_JC[active[a]], cost_C, r, h
            )
            residual[a // 8, :, a % 8] = r

        self.run(one, range(len(active)))
        out = np.empty((self.weight_JG.shape[1], len(active)))
        self.run(
            lambda b: kernels.correlate_lanes(*self.columns.arrays, b[0], b[1], residual, out),
            self.blocks,
        )
        return loss, residual, out

    def solve(self, c, ratio):
        cost_C = c * self.share_C
        J = len(self.weight_JG)
        res = {n: np.zeros(J) for n in ("objective", "gap", "kkt", "iterations", "converged")}
        if self.before is not None and ratio is not None:
            nw, nz = self.weight_JG.copy(), self.score_JC.copy()
            for j in range(J):
                w2 = self.weight_JG[j] + ratio * (self.weight_JG[j] - self.before[0][j])
                z2 = self.score_JC[j] + ratio * (self.score_JC[j] - self.before[1][j])
                r, h = np.empty(z2.size), np.empty(z2.size)
                p1 = kernels.curvature(
                    self.score_JC[j], self.sign_JC[j], cost_C, r, h
                ) + kernels.penalty(self.weight_JG[j], self.l1, self.l2)
                p2 = kernels.curvature(z2, self.sign_JC[j], cost_C, r, h) + kernels.penalty(
                    w2, self.l1, self.l2
                )
                if p2 < p1:
                    STATS["extra"] = STATS.get("extra", 0) + 1
                    nw[j], nz[j] = w2, z2
            self.before = self.weight_JG, self.score_JC
            self.weight_JG, self.score_JC = nw, nz
        else:
            self.before = self.weight_JG.copy(), self.score_JC.copy()
        active = list(range(J))
        for it in range(self.max_iter):
            t = time.perf_counter()
            loss, residual, slope = self.gradients(active, cost_C)
            STATS["grad"] = STATS.get("grad", 0) + time.perf_counter() - t
            done = [False] * len(active)

            def advance(a):
                j = active[a]
                w, g, r = self.weight_JG[j], slope[:, a].copy(), residual[a // 8, :, a % 8].copy()
                P = loss[a] + kernels.penalty(w, self.l1, self.l2)
                gap = P - dual(g, r, cost_C, self.l1, self.l2)
                q = g + self.l2 * w
                viol = np.where(
                    w != 0, np.abs(q + np.sign(w) * self.l1), np.maximum(np.abs(q) - self.l1, 0)
                )
                res["objective"][j], res["gap"][j], res["kkt"][j] = P, gap, viol.max()
                if gap <= self.tol * P:
                    done[a] = True
                    res["converged"][j] = 1
                    return
                support = np.flatnonzero(w)
                cand = np.flatnonzero((w == 0) & (viol > 0))
                m = max(kernels.GROW, int(kernels.GROWF * support.size))
                if cand.size > m:
                    cand = cand[np.argpartition(-viol[cand], m)[:m]]
                W = np.concatenate([support, np.sort(cand)])
                t = time.perf_counter()
                k = kernels.refine(
                    *self.columns.arrays,
                    W,
                    w,
                    self.score_JC[j],
                    self.sign_JC[j],
                    cost_C,
                    self.l1,
                    self.l2,
                    kernels.INNER * viol.max(),
                    kernels.STEPS,
                )
                STATS["refine"] = STATS.get("refine", 0) + time.perf_counter() - t
                res["iterations"][j] += abs(k)
                if k < 0 and abs(k) == 1:
                    done[a] = True

            self.run(advance, range(len(active)))
            STATS["rounds"] = STATS.get("rounds", 0) + 1
            active = [j for j, d in zip(active, done) if not d]
            if not active:
                break
        return res


kernels.GROW, kernels.GROWF, kernels.INNER, kernels.STEPS = 50, 1.0, 0.1, 6


def dual(g, r, cost_C, l1, l2):
    worst = np.abs(g).max()
    best = -np.inf
    for t in {min(1.0, l1 / worst), 1.0 if l2 else min(1.0, l1 / worst)}:
        v = kernels.entropy(r, cost_C, t)
        if l2:
            v -= (np.maximum(t * np.abs(g) - l1, 0) ** 2).sum() / (2 * l2)
        best = max(best, v)
    return best


def fit_path(X, y, cs, rows=None, weights=None, l1_ratio=1.0, tol=1e-4, max_iter=100, threads=2):
    K = y.max() + 1
    out = []
    with ThreadPoolExecutor(threads) as pool:
        run = (
            (lambda f, xs: list(pool.map(f, xs)))
            if threads > 1
            else (lambda f, xs: [f(x) for x in xs])
        )
        for r in rows or [None]:
            t = time.perf_counter()
            columns = columns_of(X, r)
            STATS["columns"] = time.perf_counter() - t
            yy = y if r is None else y[r]
            sign = np.where(yy[None] == np.arange(K)[:, None], 1.0, -1.0)
            path = Path(
                columns, sign, np.ones(yy.size), l1_ratio, 1 - l1_ratio, tol, max_iter, run, threads
            )
            fits = []
            prev = None
            for i, c in enumerate(cs):
                t = time.process_time()
                ratio = np.log(cs[i] / cs[i - 1]) / np.log(cs[i - 1] / cs[i - 2]) if i > 1 else None
                rs = path.solve(c, ratio)
                fits.append((path.weight_JG.copy(), rs))
                rs["t"] = time.process_time() - t
            out.append(fits)
    return out
