"""The training cells of one run as a solver sees them, and what was solved of them before.

Shapes: C cells, G genes, J problems, R values of the regularisation C.
"""

from __future__ import annotations

import copy
import hashlib
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from leadline import files
from leadline.config import LogregConfig
from leadline.data.cells import Cells
from leadline.errors import UserError
from leadline.models.base import expression
from leadline.models.logreg.l1.path import PathFit, decision
from leadline.models.logreg.solvers import solve
from leadline.progress import progress

# Part of every key: raise it when a solver gives other numbers for the same problem.
VERSION = 1

Arrays = Mapping[str, NDArray[Any]]


class Cache:
    """A folder of solutions; without a folder nothing is kept."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def get(self, key: str) -> Arrays | None:
        """Give what was kept under this key."""
        if self.folder is None:
            return None
        try:
            with np.load(self.folder / f"{key}.npz", allow_pickle=False) as stored:
                return dict(stored)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):
            return None

    def put(self, key: str, arrays: Arrays) -> None:
        """Keep arrays under this key; two writers at once write the same."""
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            files.write_arrays(self.folder / f"{key}.npz", arrays)


def key_of(problem: str, rows: NDArray[np.int64], settings: Mapping[str, Any]) -> str:
    """Name a sub-problem: the fingerprint of its cells, the rows it trains on, the settings."""
    digest = hashlib.sha256(problem.encode())
    digest.update(rows.astype("<i8").tobytes())
    digest.update(json.dumps({"version": VERSION, **settings}, sort_keys=True).encode())
    return digest.hexdigest()


Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossValidation:
    """How C was chosen: accuracy of each value in each fold, and whether its fits converged."""

    grid_R: NDArray[np.float64]
    accuracy_RF: NDArray[np.float64]
    converged_RF: NDArray[np.bool_]

    @property
    def best(self) -> float:
        """The value with the highest mean accuracy; the smallest among equals."""
        return float(self.grid_R[np.argmax(self.accuracy_RF.mean(axis=1))])

    def facts(self) -> dict[str, Any]:
        """Give the curve as JSON values."""
        mean_R = self.accuracy_RF.mean(axis=1)
        error_R = self.accuracy_RF.std(axis=1, ddof=1) / np.sqrt(self.accuracy_RF.shape[1])
        near_R = mean_R >= mean_R.max() - error_R[np.argmax(mean_R)]
        return {
            "C": self.grid_R.tolist(),
            "accuracy": mean_R.tolist(),
            "standard_error": error_R.tolist(),
            "converged": self.converged_RF.all(axis=1).tolist(),
            "within_one_standard_error_of_the_best": self.grid_R[near_R].tolist(),
        }

    def warnings(self) -> list[str]:
        """Say what makes the choice doubtful."""
        found = []
        if len(self.grid_R) > 1 and self.best in (self.grid_R[0], self.grid_R[-1]):
            found.append(f"the chosen C = {self.best:g} lies on the edge of the grid")
        open_R = self.grid_R[~self.converged_RF.all(axis=1)]
        if len(open_R):
            values = ", ".join(f"{value:g}" for value in open_R)
            found.append(
                f"cross-validation at C = {values} scored solutions short of the optimum: these "
                "accuracies, and a choice between them, are partly those of the stopping rule"
            )
        return found


def make_folds(train: Cells, config: LogregConfig) -> list[tuple[Rows, Rows]]:
    """Cut the training cells into (fitted, held out) pairs, unshuffled, in their order."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    assert train.labels_C is not None
    check_folds(train, config)
    place_C = np.zeros((len(train), 1))
    if config.cv == "group":
        cut = StratifiedGroupKFold(config.folds).split(place_C, train.labels_C, train.batch_C)
    else:
        cut = StratifiedKFold(config.folds).split(place_C, train.labels_C)
    folds = [(fitted, held) for fitted, held in cut if len(held)]
    alone = [f for f, (fitted, _) in enumerate(folds) if len(np.unique(train.labels_C[fitted])) < 2]
    if alone:
        raise UserError(
            "each fold of the cross-validation must train on at least 2 classes",
            got=f"{len(alone)} of {len(folds)} folds with one",
            remedy="raise data.fraction, lower model.folds, or fix model.C=0.1",
        )
    return folds


def check_folds(train: Cells, config: LogregConfig) -> None:
    """Refuse cells that cannot be cut into so many folds."""
    assert train.labels_C is not None
    largest = int(np.bincount(train.labels_C).max())
    if config.cv == "stratified" and largest < config.folds:
        raise UserError(
            f"choosing C by {config.folds}-fold cross-validation needs a class with "
            f"{config.folds} cells",
            got=f"at most {largest} training cells in a class",
            remedy="raise data.fraction, lower model.folds, or fix model.C=0.1",
        )
    if config.cv == "group" and train.batch_C is None:
        raise UserError(
            "model.cv=group needs batches",
            got="none",
            remedy="name their column with data.batch=",
        )
    if train.batch_C is not None and config.cv == "group":
        n_batches = len(np.unique(train.batch_C))
        if n_batches < config.folds:
            raise UserError(
                f"model.cv=group needs as many batches as folds, {config.folds}",
                got=f"{n_batches} batches among the training cells",
                remedy="lower model.folds, or use model.cv=stratified",
            )


CERTIFIED = ("objective_RJ", "gap_RJ", "kkt_RJ", "nnz_RJ", "iterations_RJ", "converged_RJ")


class TrainingProblem:
    """One run's training cells, labels and settings, ready to be solved.

    The path's optimum does not depend on the order of cells, so they are put into the order of
    their ids: runs that differ only in order share one solution. liblinear draws the order in which
    it goes through weights, and stops before that is forgotten: the paper's ten "replicates" differ
    by its seed (the order of cells changes rounding alone). It gets cells as they come and shares
    nothing. `stream` is what its last fit draws from, if not from the seed.
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
        stream: np.random.RandomState | None = None,
    ) -> None:
        self.config, self.threads, self.device = config, threads, device
        self.seed = seed if stream is None else copy.deepcopy(stream)
        self.train = train
        ordered = config.solver == "path"
        self.order = np.argsort(train.ids, kind="stable") if ordered else np.arange(len(train))
        self.cache = cache if ordered else Cache(None)
        sorted_cells = train.take(self.order)
        assert sorted_cells.labels_C is not None
        self.labels_C = sorted_cells.labels_C
        self.matrix_CG = expression(sorted_cells, config.input)
        self.fingerprint = sorted_cells.fingerprint() if self.cache.folder else ""

    def choose(self) -> CrossValidation:
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
        return CrossValidation(
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
            from leadline.models.logreg.gpu import solve_folds

            data = (self.matrix_CG, self.labels_C, grid, folds, self.config)
            yield from solve_folds(*data, threads=self.threads, device=self.device)
        else:
            # The paper's scripts cross-validate with seed 0 and fit with the run's seed.
            yield from (self._solve(rows, grid, seed=0) for rows in folds)

    def _solve(
        self, rows: Rows, grid: list[float], *, seed: int | np.random.RandomState
    ) -> PathFit:
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
