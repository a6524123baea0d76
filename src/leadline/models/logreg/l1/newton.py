"""The engine of the L1 path: one fold, all its classes in lockstep, C from small to large.

Shapes: C cells, G columns (genes, then the constant 1), J problems, R values of C, W columns of a
working set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import logsumexp

from leadline.models.logreg.l1 import kernels
from leadline.models.logreg.l1.columns import ColumnMatrix
from leadline.models.logreg.l1.objective import (
    Certificate,
    Floats,
    Settings,
    dual_value,
    softmax_entropy,
    violations,
)

Each = Callable[[Callable[[Any], None], Iterable[Any]], None]  # call a function on every item

NEW_COLUMNS = 50  # so many violators, or as many as the support, may enter in a round
INNER = 0.3  # a working set is left when it violates this share of the worst violation
NEWTON_STEPS = 6  # on one working set, at most
PATIENCE = 20  # rounds without a smaller violation before a problem is given up
MEMORY = 5  # rounds of a multinomial fit between two extrapolations
LOOSE = 1e-2  # relative gap on the way to the first C
BLOCKS = 16  # ranges of columns that threads take in turn


class Path:
    """Weights and scores of every problem of one fold, moved from one C to the next."""

    def __init__(
        self,
        columns: ColumnMatrix,
        sign_JC: Floats,
        share_C: Floats,
        settings: Settings,
        each: Each,
    ) -> None:
        self.columns, self.sign_JC, self.share_C = columns, sign_JC, share_C
        self.settings, self.each = settings, each
        self.weight_JG = np.zeros((len(sign_JC), columns.indptr.size - 1))
        self.score_JC = np.zeros(sign_JC.shape)
        self._recent: list[tuple[Floats, Floats]] = []
        self._least_J = np.zeros(len(sign_JC))
        self._idle_J = np.zeros(len(sign_JC), np.int64)
        self._trail: list[tuple[float, Floats, Floats]] = []

    def solve(self, strength: float) -> tuple[sparse.csr_array, Certificate]:
        """Solve every problem at one value of C, from where the last one ended."""
        cost_C = strength * self.share_C
        problems = len(self.weight_JG)
        self._set_out(strength, cost_C)
        found = Certificate(
            np.zeros(problems), np.zeros(problems), np.zeros(problems),
            np.zeros(problems, np.int64), np.zeros(problems, np.bool_),
        )  # fmt: skip
        active = np.arange(problems)
        self._least_J[:], self._idle_J[:], self._recent = np.inf, 0, []
        round_ = self._round_together if self.settings.multinomial else self._round
        for left in range(self.settings.max_iter, -1, -1):
            active = round_(active, cost_C, found, left > 0)
            if active.size == 0:
                break
        self._trail = [*self._trail[-1:], (strength, self.weight_JG.copy(), self.score_JC.copy())]
        return sparse.csr_array(self.weight_JG), found

    def approach(self, first: float) -> None:
        """Walk roughly from the smallest C that lets a weight in to the first that is asked for.

        A few loose solutions and their warm starts cost less than one cold start.
        """
        slope_JG = self._slopes(-0.5 * self.sign_JC * self.share_C)
        asked, self.settings = self.settings, replace(self.settings, tol=LOOSE)
        strength = 10.0 * asked.l1 / max(float(np.abs(slope_JG).max()), 1e-300)
        while strength < first / 3.0:
            self.solve(strength)
            strength *= 10.0
        self.settings = asked

    def _set_out(self, strength: float, cost_C: Floats) -> None:
        """Follow the line through the last two solutions, by log C, where that starts lower.

        At large C the weights grow with log C, so the line is nearly the path itself.
        """
        if len(self._trail) < 2:
            return
        (c0, weight0_JG, score0_JC), (c1, weight1_JG, score1_JC) = self._trail
        reach = np.log(strength / c1) / np.log(c1 / c0)
        weight_JG = weight1_JG + reach * (weight1_JG - weight0_JG)
        score_JC = score1_JC + reach * (score1_JC - score0_JC)
        stay_J = self._objectives(self.weight_JG, self.score_JC, cost_C)
        better_J = self._objectives(weight_JG, score_JC, cost_C) < stay_J
        self.weight_JG[better_J], self.score_JC[better_J] = weight_JG[better_J], score_JC[better_J]

    def _objectives(self, weight_JG: Floats, score_JC: Floats, cost_C: Floats) -> Floats:
        l1, l2 = self.settings.l1, self.settings.l2
        penalty_J = np.array([kernels.penalty(weight_G, l1, l2) for weight_G in weight_JG])
        if self.settings.multinomial:
            true_C = np.where(self.sign_JC > 0, score_JC, 0.0).sum(axis=0)
            loss = cost_C @ (logsumexp(score_JC, axis=0) - true_C)
            return np.full(penalty_J.size, loss + penalty_J.sum())
        still_C = np.zeros(cost_C.size)
        pairs = zip(score_JC, self.sign_JC, strict=True)
        return penalty_J + [
            kernels.loss_along(score_C, still_C, 0.0, sign_C, cost_C) for score_C, sign_C in pairs
        ]

    def _slopes(self, residual_JC: Floats) -> Floats:
        """Correlate every column with every residual: one read of the columns for all."""
        width, cells = residual_JC.shape
        lanes_BC8 = np.zeros((-(-width // 8), cells, 8))
        for a, residual_C in enumerate(residual_JC):
            lanes_BC8[a // 8, :, a % 8] = residual_C
        slope_GJ = np.empty((self.weight_JG.shape[1], width))

        def correlate(block: tuple[int, int]) -> None:
            kernels.correlate_lanes(*self.columns.arrays, *block, lanes_BC8, slope_GJ)

        self.each(correlate, self.columns.blocks(BLOCKS))
        return np.ascontiguousarray(slope_GJ.T)

    def _round(
        self, active_A: NDArray[np.int64], cost_C: Floats, found: Certificate, move: bool
    ) -> NDArray[np.int64]:
        """Certify each active problem, improve those that need it; return which go on."""
        settings = self.settings
        loss_A, residual_AC = np.empty(active_A.size), np.empty((active_A.size, cost_C.size))

        def residual(a: int) -> None:
            j, spare_C = active_A[a], np.empty(cost_C.size)
            loss_A[a] = kernels.curvature(
                self.score_JC[j], self.sign_JC[j], cost_C, residual_AC[a], spare_C
            )

        self.each(residual, range(active_A.size))
        slope_AG = self._slopes(residual_AC)
        go_on_A = np.zeros(active_A.size, np.bool_)

        def advance(a: int) -> None:
            j = active_A[a]
            weight_G = self.weight_JG[j]
            value = loss_A[a] + kernels.penalty(weight_G, settings.l1, settings.l2)
            bound = dual_value(
                slope_AG[a], lambda t: kernels.entropy(residual_AC[a], cost_C, t), settings
            )
            found.objective_J[j], found.gap_J[j] = value, value - bound
            off_G = violations(slope_AG[a], weight_G, settings)
            self._note(found, j, float(off_G.max()))
            found.converged_J[j] = settings.satisfied(value, value - bound, found.kkt_J[j])
            go_on_A[a] = move and not found.converged_J[j] and self._idle_J[j] < PATIENCE
            if go_on_A[a]:
                found.iterations_J[j] += self._refine(
                    j, off_G, slope_AG[a], self.score_JC[j], cost_C
                )

        self.each(advance, range(active_A.size))
        return active_A[go_on_A]

    def _round_together(
        self, active_A: NDArray[np.int64], cost_C: Floats, found: Certificate, move: bool
    ) -> NDArray[np.int64]:
        """Certify the multinomial problem, then improve one class after the other.

        For fixed scores of the other classes the softmax loss is a logistic loss with an offset,
        so each class takes the same Newton steps as one against the rest.
        """
        settings = self.settings
        hit_JC = self.sign_JC > 0
        residual_JC = cost_C * (np.exp(self.score_JC - logsumexp(self.score_JC, axis=0)) - hit_JC)
        slope_JG = self._slopes(residual_JC)
        value = self._objectives(self.weight_JG, self.score_JC, cost_C)[0]
        bound = dual_value(
            slope_JG, lambda t: softmax_entropy(residual_JC, hit_JC, cost_C, t), settings
        )
        found.objective_J[:], found.gap_J[:] = value, value - bound
        off_JG = violations(slope_JG, self.weight_JG, settings)
        for j in active_A:
            self._note(found, j, float(off_JG[j].max()))
        found.converged_J[:] = settings.satisfied(value, value - bound, off_JG.max())
        if found.converged_J[0] or not move or (self._idle_J >= PATIENCE).all():
            return active_A[:0]
        for j in active_A:
            others_C = logsumexp(np.delete(self.score_JC, j, axis=0), axis=0)
            score_C = self.score_JC[j] - others_C
            found.iterations_J[j] += self._refine(
                j, off_JG[j], None, score_C, cost_C, float(off_JG.max())
            )
            self.score_JC[j] = score_C + others_C
        self._extrapolate(cost_C)
        return active_A

    def _extrapolate(self, cost_C: Floats) -> None:
        """Leap to where the last rounds are heading (Anderson), if the objective is lower there.

        Turns between classes come nearer by a constant factor only; at large C it is close to 1.
        """
        self._recent.append((self.weight_JG.copy(), self.score_JC.copy()))
        if len(self._recent) <= MEMORY:
            return
        weight_MJG = np.array([weight_JG for weight_JG, _ in self._recent])
        moves_MD = np.diff(weight_MJG, axis=0).reshape(MEMORY, -1)
        square_MM = moves_MD @ moves_MD.T
        square_MM += 1e-12 * np.trace(square_MM) * np.eye(MEMORY)
        if np.trace(square_MM) > 0.0:
            mix_M = np.linalg.solve(square_MM, np.ones(MEMORY))
            mix_M /= mix_M.sum()
            weight_JG = np.tensordot(mix_M, weight_MJG[1:], axes=1)
            score_JC = sum(m * score for m, (_, score) in zip(mix_M, self._recent[1:], strict=True))
            now = self._objectives(self.weight_JG, self.score_JC, cost_C)[0]
            if self._objectives(weight_JG, score_JC, cost_C)[0] < now:
                self.weight_JG, self.score_JC = weight_JG, score_JC
        self._recent = []

    def _refine(
        self,
        j: int,
        off_G: Floats,
        slope_G: Floats | None,
        score_C: Floats,
        cost_C: Floats,
        worst: float | None = None,
    ) -> int:
        """Take Newton steps of one problem on its support and its worst violators.

        Return how many.
        """
        settings, weight_G = self.settings, self.weight_JG[j]
        support = np.flatnonzero(weight_G)
        new = np.flatnonzero((weight_G == 0.0) & (off_G > 0.0))
        most = max(NEW_COLUMNS, support.size)
        if new.size > most:
            new = new[np.argpartition(-off_G[new], most)[:most]]
        columns_W = np.sort(np.concatenate([support, new]))
        if columns_W.size == 0:
            self._idle_J[j] += 1
            return 0
        if slope_G is None:  # the other classes moved since the gradient was read
            residual_C, slope_W = np.empty(cost_C.size), np.empty(columns_W.size)
            kernels.curvature(score_C, self.sign_JC[j], cost_C, residual_C, np.empty(cost_C.size))
            kernels.correlate(*self.columns.arrays, columns_W, residual_C, slope_W)
        else:
            slope_W = slope_G[columns_W]
        steps = kernels.refine(
            *self.columns.arrays, columns_W, slope_W + settings.l2 * weight_G[columns_W],
            weight_G, score_C, self.sign_JC[j], cost_C, settings.l1, settings.l2,
            INNER * (off_G.max() if worst is None else worst), NEWTON_STEPS,
        )  # fmt: skip
        if steps < 0:
            self._idle_J[j] = PATIENCE
        return abs(int(steps))

    def _note(self, found: Certificate, j: int, off: float) -> None:
        """Note the violation, and for how many rounds it has not fallen: rounding ends a path."""
        found.kkt_J[j] = off
        self._idle_J[j] += 1
        if off < 0.9 * self._least_J[j]:
            self._idle_J[j], self._least_J[j] = 0, off
