"""L1 logistic regression, one class against the rest: fit, certificate, predictions.

Shapes: C cells, G genes, K classes, J problems.
"""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leadline.config import LogregConfig
from leadline.data.cells import Cells, Scale
from leadline.models import novelty as likeness
from leadline.models.base import EXPRESSION, FitResult, expression, require_two_classes
from leadline.models.logreg.cross_validation import Cache, TrainingProblem, packed, unpacked
from leadline.models.logreg.l1.path import PathFit, predict_proba
from leadline.models.novelty import Novelty

FILE = "model.npz"
FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Weights, and what must be known of the training cells to use them on others."""

    genes: NDArray[np.str_]
    classes: tuple[str, ...]
    scale: Scale
    input: str
    solution: PathFit
    likeness: Novelty

    def predict_proba(self, cells: Cells) -> NDArray[np.float64]:
        """Give class probabilities of cells that have these genes in this order."""
        found = predict_proba(expression(cells, self.input), self.solution, -1)
        proba = np.zeros((len(cells), len(self.classes)))
        proba[:, : found.shape[1]] = found
        return proba


def to_arrays(train: Cells, solution: PathFit, wanted: str) -> dict[str, NDArray[Any]]:
    """Lay a solution out with the genes, classes and class means of its training cells."""
    assert train.labels_C is not None
    return {
        "format": np.array(FORMAT),
        "genes": train.genes,
        "class_names": np.array(train.classes, dtype=np.str_),
        "scale": np.array(str(train.scale)),
        "input": np.array(wanted),
        **packed(solution),
        **likeness.fit_novelty(expression(train, "as_given"), train.labels_C).arrays(),
    }


def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> Kept:
    """Make a fitted model of what `to_arrays` laid out."""
    return Kept(
        genes=arrays["genes"],
        classes=tuple(arrays["class_names"].tolist()),
        scale=Scale(str(arrays["scale"])),
        input=str(arrays["input"]),
        solution=unpacked(arrays),
        likeness=Novelty.of(arrays),
    )


TOP_GENES = 50


class LogisticRegression:
    """The baseline, with C fixed or cross-validated."""

    accepts = EXPRESSION

    def __init__(
        self,
        config: LogregConfig,
        *,
        seed: int,
        threads: int = 1,
        cache: Path | None = None,
        device: str = "cpu",
        stream: np.random.RandomState | None = None,
    ) -> None:
        """Take the settings; `stream` is what liblinear's last fit draws from, if not the seed."""
        self.config, self.seed, self.threads, self.device = config, seed, threads, device
        self.stream = stream
        self.cache = Cache(None if cache is None else cache / "logreg")

    def fit(self, train: Cells, selection: Cells | None) -> FitResult:
        """Choose C on the training cells unless it is given, then fit on all of them."""
        require_two_classes(train)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            problem = TrainingProblem(
                train,
                self.config,
                self.cache,
                seed=self.seed,
                threads=self.threads,
                device=self.device,
                stream=self.stream,
            )
            choice = None if self.config.C is not None else problem.choose()
            value = self.config.C if choice is None else choice.best
            assert value is not None
            self.solution = problem.solve_all(value)
        notes = sorted({str(item.message).splitlines()[0] for item in caught})
        if choice is not None:
            notes += choice.warnings()
        gap = float((self.solution.gap_RJ[-1] / self.solution.objective_RJ[-1]).max())
        if not self.solution.converged_RJ[-1].all():
            notes.append(
                f"the solution at C = {value:g} is short of the optimum: its duality gap is up to "
                f"{gap:.2g} of the objective"
            )
        weight_JG = self.solution.coef_R[-1].toarray()
        return FitResult(
            facts={
                "parameters_total": weight_JG.size,
                "parameters_trainable": weight_JG.size,
                "C": value,
                "C_chosen_by": "configuration" if choice is None else "cross-validation",
                "cross_validation": None if choice is None else choice.facts(),
                "certificate": certificate(self.solution, self.config.solver),
            },
            tables={"top_genes.csv": top_genes(train, self.solution, weight_JG[:, :-1])},
            arrays={FILE: to_arrays(train, self.solution, self.config.input)},
            warnings=notes,
        )

    def predict_proba(self, cells: Cells) -> NDArray[np.float64]:
        """Give each class's sigmoid, divided by their sum; 0 for classes without training cells."""
        proba = np.zeros((len(cells), len(cells.classes)))
        found = predict_proba(expression(cells, self.config.input), self.solution, -1)
        proba[:, : found.shape[1]] = found
        return proba


def certificate(fit: PathFit, solver: str) -> dict[str, Any]:
    """Say how good the final solution is, over all its problems, as JSON values."""
    # The figures of a multinomial fit stand in every column: it is one problem.
    problems = slice(0, 1) if fit.multinomial else slice(None)
    objective, gap = fit.objective_RJ[-1, problems], fit.gap_RJ[-1, problems]
    return {
        "solver": solver,
        "objective": float(objective.sum()),
        "gap": float(gap.sum()),
        "largest_relative_gap": float((gap / objective).max()),
        "largest_kkt_violation": float(fit.kkt_RJ[-1].max()),
        "nonzero_weights": int(fit.nnz_RJ[-1].sum()),
        "iterations": int(fit.iterations_RJ[-1, problems].sum()),
        "converged": bool(fit.converged_RJ[-1].all()),
    }


def top_genes(train: Cells, fit: PathFit, weight_JG: NDArray[np.float64]) -> str:
    """List the genes that speak most for and against each class, as CSV."""
    problems = fit.problems_J
    if len(problems) < len(fit.present):
        # Two classes share one row of weights: it speaks for the second, against the first.
        weight_JG, problems = np.vstack([-weight_JG, weight_JG]), fit.present
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["class", "rank", "gene", "weight"])
    for k, weight_G in zip(problems, weight_JG, strict=True):
        order = np.argsort(-np.abs(weight_G), kind="stable")[:TOP_GENES]
        for rank, gene in enumerate(order[weight_G[order] != 0], start=1):
            writer.writerow([train.classes[k], rank, train.genes[gene], f"{weight_G[gene]:.6g}"])
    return buffer.getvalue()
