"""The L1 path on a GPU: every class of every fold at every small C, advanced in one batch.

FISTA with restarts: each step is two matrix products that all problems share. It pays where C is
small, so that few steps are needed; at large C the Newton path on the CPU is the better tool.

Shapes: C cells, G columns (genes, then the constant 1), B problems.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

STEPS_BETWEEN_CHECKS = 20
POWER_ITERATIONS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchFit:
    """Weights of each problem (intercept last), with their certificate."""

    coef_BG: NDArray[np.float64]
    objective_B: NDArray[np.float64]
    gap_B: NDArray[np.float64]
    kkt_B: NDArray[np.float64]
    steps_B: NDArray[np.int64]


def fit_batch(
    matrix_CG: sparse.csr_array,
    target_BC: NDArray[np.float64],
    weight_BC: NDArray[np.float64],
    cs_B: Sequence[float] | NDArray[np.float64],
    *,
    tol: float,
    max_steps: int,
    device: str,
) -> BatchFit:
    """Minimise |w|_1 + |b| + C * sum_i s_i log(1 + exp(-y_i (x_i w + b))) for each problem.

    `target_BC` is +1 or -1; a weight of 0 leaves a cell out, which is how folds differ. A problem
    stops when its duality gap is at most `tol` times its objective, or after `max_steps`.
    """
    problems = Problems(matrix_CG, target_BC, weight_BC, np.asarray(cs_B, dtype=float), device)
    n_problems, n_columns = len(target_BC), matrix_CG.shape[1] + 1
    coef = torch.zeros((n_problems, n_columns), dtype=torch.float64, device=device)
    steps = np.zeros(n_problems, dtype=np.int64)
    active = torch.arange(n_problems, device=device)
    state = Momentum(coef.clone())
    while len(active) and steps.max(initial=0) < max_steps:
        part = problems.take(active)
        state.advance(part, min(STEPS_BETWEEN_CHECKS, max_steps - int(steps.max(initial=0))))
        coef[active] = state.weight_BG
        steps[active.cpu().numpy()] += STEPS_BETWEEN_CHECKS
        objective, gap, _ = part.certify(state.weight_BG)
        going = gap > tol * objective
        active, state = active[going], state.take(going)
    objective, gap, kkt = problems.certify(coef)
    return BatchFit(
        coef_BG=coef.cpu().numpy(),
        objective_B=objective.cpu().numpy(),
        gap_B=gap.cpu().numpy(),
        kkt_B=kkt.cpu().numpy(),
        steps_B=steps,
    )


class Problems:
    """The data that all problems share, and what each asks of them."""

    def __init__(
        self,
        matrix_CG: sparse.csr_array,
        target_BC: NDArray[np.float64],
        weight_BC: NDArray[np.float64],
        cs_B: NDArray[np.float64],
        device: str,
    ) -> None:
        ones = sparse.csr_array(np.ones((matrix_CG.shape[0], 1), dtype=np.float32))
        joined = sparse.csr_array(sparse.hstack([matrix_CG, ones])).astype(np.float64)
        self.cells_CG = on_device(joined, device)
        self.columns_GC = on_device(sparse.csr_array(joined.T), device)
        self.target_BC = torch.as_tensor(target_BC, device=device)
        cost_BC = np.asarray(weight_BC) * cs_B[:, None]
        self.cost_BC = torch.as_tensor(cost_BC, device=device)
        # The curvature of the loss is at most a quarter of that of the weighted squares.
        self.bound_B = self.cost_BC.amax(dim=1) * largest_eigenvalue(self.cells_CG, device) / 4

    def take(self, rows: torch.Tensor) -> Problems:
        """Give some of the problems; the data stay shared."""
        part = object.__new__(Problems)
        part.cells_CG, part.columns_GC = self.cells_CG, self.columns_GC
        part.target_BC, part.cost_BC = self.target_BC[rows], self.cost_BC[rows]
        part.bound_B = self.bound_B[rows]
        return part

    def slope(self, weight_BG: torch.Tensor) -> torch.Tensor:
        """Give the gradient of the loss."""
        return self._slope_of(self._margin(weight_BG))

    def certify(self, weight_BG: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Give objective, duality gap and worst violation of the optimality conditions."""
        margin_BC = self._margin(weight_BG)
        slope_BG = self._slope_of(margin_BC)
        loss_BC = torch.nn.functional.softplus(-margin_BC)
        objective = weight_BG.abs().sum(dim=1) + (self.cost_BC * loss_BC).sum(dim=1)
        feasible = (1.0 / slope_BG.abs().amax(dim=1).clamp(min=1e-300)).clamp(max=1.0)
        share_BC = feasible[:, None] * torch.sigmoid(-margin_BC)
        entropy_BC = torch.special.xlogy(share_BC, share_BC)
        entropy_BC += torch.special.xlogy(1 - share_BC, 1 - share_BC)
        dual = -(self.cost_BC * entropy_BC).sum(dim=1)
        off_BG = torch.where(
            weight_BG != 0,
            (slope_BG + weight_BG.sign()).abs(),
            (slope_BG.abs() - 1.0).clamp(min=0.0),
        )
        return objective, objective - dual, off_BG.amax(dim=1)

    def _margin(self, weight_BG: torch.Tensor) -> torch.Tensor:
        return self.target_BC * torch.sparse.mm(self.cells_CG, weight_BG.T).T

    def _slope_of(self, margin_BC: torch.Tensor) -> torch.Tensor:
        residual_BC = -self.target_BC * self.cost_BC * torch.sigmoid(-margin_BC)
        return torch.sparse.mm(self.columns_GC, residual_BC.T).T


class Momentum:
    """Weights, and where the last step would carry them: the state of FISTA."""

    def __init__(self, weight_BG: torch.Tensor) -> None:
        self.weight_BG, self.ahead_BG = weight_BG, weight_BG.clone()
        self.pace_B = torch.ones(len(weight_BG), dtype=torch.float64, device=weight_BG.device)

    def take(self, rows: torch.Tensor) -> Momentum:
        """Keep some of the problems."""
        part = Momentum(self.weight_BG[rows])
        part.ahead_BG, part.pace_B = self.ahead_BG[rows], self.pace_B[rows]
        return part

    def advance(self, problems: Problems, steps: int) -> None:
        """Take proximal steps; momentum that points uphill is dropped, problem by problem."""
        size_B1 = 1.0 / problems.bound_B[:, None]
        for _ in range(steps):
            moved = self.ahead_BG - size_B1 * problems.slope(self.ahead_BG)
            new = moved.sign() * (moved.abs() - size_B1).clamp(min=0.0)
            uphill = ((self.ahead_BG - new) * (new - self.weight_BG)).sum(dim=1) > 0
            pace = torch.where(uphill, torch.ones_like(self.pace_B), self.pace_B)
            next_pace = (1.0 + torch.sqrt(1.0 + 4.0 * pace**2)) / 2.0
            carry = torch.where(uphill, torch.zeros_like(pace), (pace - 1.0) / next_pace)
            self.ahead_BG = new + carry[:, None] * (new - self.weight_BG)
            self.weight_BG, self.pace_B = new, next_pace


def on_device(matrix: sparse.csr_array, device: str) -> Any:
    """Lay a sparse matrix out for torch's products."""
    entries = matrix.tocoo()
    places = np.stack([entries.row, entries.col]).astype(np.int64)
    tensor = torch.sparse_coo_tensor(
        torch.as_tensor(places),
        torch.as_tensor(entries.data),
        matrix.shape,
        device=device,
        check_invariants=False,
    )
    return tensor.coalesce()


def largest_eigenvalue(cells_CG: Any, device: str) -> float:
    """Bound the largest eigenvalue of the squared matrix, by power iteration with a margin."""
    generator = torch.Generator(device="cpu").manual_seed(0)
    start = torch.rand((cells_CG.shape[1], 1), generator=generator, dtype=torch.float64)
    vector = start.to(device)
    value = 0.0
    for _ in range(POWER_ITERATIONS):
        vector = vector / vector.norm()
        image = torch.sparse.mm(cells_CG, vector)
        value = float((image**2).sum())
        vector = torch.sparse.mm(cells_CG.t(), image)
    return 1.05 * value
