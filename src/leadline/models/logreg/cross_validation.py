"""The training cells of one run as a solver sees them, and what was solved of them before.

Shapes: C cells, G genes, J problems, R values of the regularisation C.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from leadline.config import LogregConfig
from leadline.data.cells import Cells
from leadline.models.base__models_expression import expression
from leadline.models.logreg.cache import Cache, key_of
from leadline.models.logreg.cross_validation__models_logreg_choice import Choice, Rows, make_folds
from leadline.models.logreg.l1.path import PathFit, decision
from leadline.models.logreg.solvers import solve
from leadline.progress import progress

CERTIFIED = ("objective_RJ", "gap_RJ", "kkt_RJ", "nnz_RJ", "iterations_RJ", "converged_RJ")


class Problem:
    """One run's training cells, labels and settings, ready to be solved.

    The path's optimum does not depend on the order of cells, so they are put into the order of
    their ids: runs that differ only in order share one solution. liblinear's result does depend on
    it, as the paper's ten "replicates" show, so it gets them as they come and shares nothing.
    """

    def __init__(
        self,
        train: Cells,
        config: LogregConfig,
        cache: Cache,
        *,
        seed: int,
        threads: int,
        device: str,
    ) -> None:
        self.config, self.seed, self.threads, self.device = config, seed, threads, device
        self.train = train
        ordered = config.solver == "path"
        self.order = np.argsort(train.ids, kind="stable") if ordered else np.arange(len(train))
        self.cache = cache if ordered else Cache(None)
        sorted_cells = train.take(self.order)
        assert sorted_cells.labels_C is not None
        self.labels_C = sorted_cells.labels_C
        self.matrix_CG = expression(sorted_cells, config.input)
        self.fingerprint = sorted_cells.fingerprint() if self.cache.folder else ""

    def choose(self) -> Choice:
        """Cross-validate every value of the grid."""
        grid = sorted(set(self.config.grid))
        place = np.argsort(self.order)
        pairs = [
            (place[fitted], place[held]) for fitted, held in make_folds(self.train, self.config)
        ]
        if self.config.solver == "path":
            pairs = [(np.sort(fitted), np.sort(held)) for fitted, held in pairs]
        keys = [self._key(fitted, grid) for fitted, _ in pairs]
        found = [self.cache.get(key) for key in keys]
        missing = [f for f, known in enumerate(found) if known is None]
        with progress("cross-validation", len(pairs)) as advance:
            advance(len(pairs) - len(missing))
            fits = self._fits([pairs[f][0] for f in missing], grid)
            for f, fit in zip(missing, fits, strict=True):
                scored = found[f] = self._score(fit, pairs[f][1])
                self.cache.put(keys[f], scored)
                advance(1)
        return Choice(
            grid_R=np.array(grid),
            accuracy_RF=np.stack([known["accuracy_R"] for known in found if known], axis=1),
            converged_RF=np.stack([known["converged_R"] for known in found if known], axis=1),
        )

    def solve_all(self, value: float) -> PathFit:
        """Solve at one C, warm from the smaller values of the grid; the answer comes last."""
        smaller = [c for c in sorted(set(self.config.grid)) if c < value]
        grid = [*smaller, value] if self.config.solver == "path" else [value]
        rows = np.arange(len(self.labels_C))
        key = self._key(rows, grid)
        found = self.cache.get(key)
        if found is None:
            found = packed(self._solve(rows, grid, seed=self.seed))
            self.cache.put(key, found)
        return unpacked(found)

    def _fits(self, folds: list[Rows], grid: list[float]) -> Iterator[PathFit]:
        """Solve the grid for each fold, one after the other or on a device in one batch."""
        plain = self.config.l1_ratio == 1 and not self.config.multinomial
        if self.device != "cpu" and self.config.solver == "path" and plain and folds:
            from leadline.models.logreg.solvers__models_logreg_gpu import solve_folds

            data = (self.matrix_CG, self.labels_C, grid, folds, self.config)
            yield from solve_folds(*data, threads=self.threads, device=self.device)
        else:
            # The paper's scripts cross-validate with seed 0 and fit with the run's seed.
            yield from (self._solve(rows, grid, seed=0) for rows in folds)

    def _solve(self, rows: Rows, grid: list[float], *, seed: int) -> PathFit:
        data = (self.matrix_CG, self.labels_C, grid, rows, self.config)
        return solve(*data, seed=seed, threads=self.threads)

    def _score(self, fit: PathFit, held: Rows) -> dict[str, NDArray[Any]]:
        """Score the cells that a fold held out, at each C."""
        held_CG, truth_C = self.matrix_CG[held], self.labels_C[held]
        said = [decision(held_CG, fit, r).argmax(axis=1) for r in range(len(fit.cs_R))]
        return {
            "accuracy_R": np.array([(predicted_C == truth_C).mean() for predicted_C in said]),
            "converged_R": np.asarray(fit.converged_RJ.all(axis=1)),
        }

    def _key(self, rows: Rows, grid: list[float]) -> str:
        config = self.config
        settings = {
            "grid": grid,
            "input": config.input,
            "tolerance": config.tolerance,
            "max_iterations": config.max_iterations,
            "class_weight": config.class_weight,
            "l1_ratio": config.l1_ratio,
            "multinomial": config.multinomial,
            "device": self.device,
        }
        return key_of(self.fingerprint, rows, settings)


def packed(fit: PathFit) -> dict[str, NDArray[Any]]:
    """Lay the last solution of a path out as arrays."""
    coef = fit.coef_R[-1]
    return {
        "c": fit.cs_R[-1:],
        "data": coef.data,
        "indices": coef.indices,
        "indptr": coef.indptr,
        "shape": np.array(coef.shape),
        "present": fit.present,
        "problems_J": fit.problems_J,
        "classes": np.array(fit.classes),
        "multinomial": np.array(fit.multinomial),
        **{name: getattr(fit, name)[-1:] for name in CERTIFIED},
    }


def unpacked(arrays: Mapping[str, NDArray[Any]]) -> PathFit:
    """Make a solution of what `packed` laid out."""
    return PathFit(
        cs_R=arrays["c"],
        coef_R=[
            sparse.csr_array(
                (arrays["data"], arrays["indices"], arrays["indptr"]),
                shape=tuple(arrays["shape"].tolist()),
            )
        ],
        present=arrays["present"],
        problems_J=arrays["problems_J"],
        classes=int(arrays["classes"]),
        multinomial=bool(arrays["multinomial"]),
        **{name: arrays[name] for name in CERTIFIED},
    )
