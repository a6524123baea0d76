"""A class of the user's as a run sees it: fitted on cells, asked for probabilities, checked.

Shapes: C cells, G genes, K classes, H classes that have training cells.
"""

from __future__ import annotations

import inspect
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leadline.config import PythonConfig, python_class
from leadline.data.cells import Cells, Scale
from leadline.errors import UserError
from leadline.models.base import EXPRESSION, FitResult, expression

# How far from 1 the probabilities of a cell may add up to; float16 softmaxes stay below it.
FARTHEST_FROM_ONE = 5e-3
SOURCE = "model_source.py"


class OwnModel:
    """Hands cells to a class that knows nothing of leadline."""

    def __init__(self, config: PythonConfig, *, seed: int) -> None:
        if config.target is None:
            raise UserError(
                "model=python needs a class",
                got="no name of one",
                remedy="for class Mine in my_model.py write model=python:my_model.Mine",
            )
        self.config, self.seed, self.found = config, seed, python_class.import_class(config.target)
        if config.source != self.found.digest:
            raise UserError(
                "a run of your own model belongs to one version of its file",
                got=f"{self.found.file}, which is not what it was ({config.source})",
                remedy="put that file back, or run again under the new one",
            )
        self.arguments = self._arguments()
        counts = frozenset({Scale.COUNTS, Scale.LN_CP10K, Scale.LOG2_CP10K})
        self.accepts = counts if config.input == "counts" else EXPRESSION

    def fit(self, train: Cells, selection: Cells | None) -> FitResult:
        """Make the model and let it learn; it never sees the cells that are reported on."""
        if not hasattr(self.found.kind, "predict_proba") or not hasattr(self.found.kind, "fit"):
            raise UserError(
                "task=classify needs a model with the methods fit(X, y) and predict_proba(X)",
                got=f"{self.config.target}, which only embeds",
                remedy="add them, or add task=zero_shot",
            )
        assert train.labels_C is not None
        self.present, index_C = np.unique(train.labels_C, return_inverse=True)
        known = {
            "genes": train.genes,
            "classes": [train.classes[k] for k in self.present],
            "batch": train.batch_C,
            "seed": self.seed,
        }
        with warnings.catch_warnings(record=True) as caught, seeded(self.seed):
            warnings.simplefilter("always")
            self.model = self.found.kind(**self.arguments)
            asked = taken(self.model.fit, known)
            self.model.fit(self._input(train), index_C.astype(np.int64), **asked)
        count = getattr(self.model, "parameters_total", None)
        return FitResult(
            facts={
                "parameters_total": None if count is None else int(count),
                "parameters_trainable": None if count is None else int(count),
                "class": self.config.target,
                "source": self.found.digest,
                "arguments": {key: str(value) for key, value in self.arguments.items()},
                "fit_was_told": sorted(asked),
            },
            tables=self.source(),
            warnings=sorted({str(item.message).splitlines()[0] for item in caught}),
        )

    def predict_proba(self, cells: Cells) -> NDArray[np.float64]:
        """Ask the model; classes without training cells get 0."""
        with warnings.catch_warnings(), seeded(self.seed):
            warnings.simplefilter("ignore")
            said = self.model.predict_proba(self._input(cells))
        proba = np.zeros((len(cells), len(cells.classes)))
        proba[:, self.present] = checked(said, len(cells), len(self.present))
        return proba

    def embed(self, cells: Cells) -> NDArray[np.float32]:
        """Ask the model, fresh from its constructor, for a vector of each cell."""
        if not hasattr(self.found.kind, "embed"):
            raise UserError(
                "task=zero_shot needs a model with the method embed(X)",
                got=f"{self.config.target} without it",
                remedy="add one that gives a row of numbers for each row of X, without training",
            )
        known = {"genes": cells.genes, "batch": cells.batch_C, "seed": self.seed}
        with warnings.catch_warnings(), seeded(self.seed):
            warnings.simplefilter("ignore")
            model = self.found.kind(**self.arguments)
            given = model.embed(self._input(cells), **taken(model.embed, known))
        return checked_vectors(given, len(cells))

    def _arguments(self) -> dict[str, Any]:
        """Give what the constructor is told: options, the seed, and that nothing is pretrained."""
        options = dict(self.config.options or {})
        takes = accepted(self.found.kind)
        unknown = [key for key in options if takes is not None and key not in takes]
        if unknown:
            raise UserError(
                f"model.options holds arguments of {self.config.target}",
                got=", ".join(unknown),
                remedy=f"its constructor takes {', '.join(sorted(takes or ())) or 'none'}",
            )
        for name in ("seed", "random_state"):
            if name in (takes or ()):
                options.setdefault(name, self.seed)
        if not self.config.pretrained:
            if "pretrained" not in (takes or ()):
                raise UserError(
                    "model.pretrained=false needs a class whose constructor takes `pretrained`",
                    got=str(self.config.target),
                    remedy="add pretrained=True to its arguments, or leave the setting out",
                )
            options["pretrained"] = False
        return options

    def _input(self, cells: Cells) -> Any:
        counts = self.config.input == "counts"
        matrix_CG = cells.counts() if counts else expression(cells, self.config.input)
        return matrix_CG.toarray() if self.config.dense else matrix_CG

    def source(self) -> dict[str, str]:
        """Keep the file with the record, so that the run can be understood without it."""
        if self.found.file.suffix != ".py":
            return {}
        return {SOURCE: self.found.file.read_text(encoding="utf-8")}


def accepted(call: Callable[..., Any]) -> set[str] | None:
    """Name the arguments of a call; None if it takes any, or does not say."""
    try:
        parameters = inspect.signature(call).parameters
    except (TypeError, ValueError):
        return None
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return None
    return set(parameters)


def taken(call: Callable[..., Any], known: dict[str, Any]) -> dict[str, Any]:
    """Give those of the known values that a method asks for by name."""
    return {key: known[key] for key in accepted(call) or () if key in known}


def checked(said: Any, n_cells: int, n_classes: int) -> NDArray[np.float64]:
    """Refuse what are no probabilities."""
    try:
        proba_CH = np.asarray(said, dtype=np.float64)
    except (TypeError, ValueError):
        proba_CH = np.empty(0)
    if proba_CH.shape != (n_cells, n_classes):
        raise UserError(
            "predict_proba gives one row for each cell and one column for each class of y",
            got=f"shape {np.shape(said)} for {n_cells:,} cells and {n_classes} classes",
            remedy="order the columns as the numbers in y, 0 to "
            f"{n_classes - 1}; return numpy, not a tensor on a GPU",
        )
    wrong_C = ~np.isfinite(proba_CH).all(axis=1) | (proba_CH < 0).any(axis=1)
    if wrong_C.any():
        raise UserError(
            "probabilities are finite and not below 0",
            got=f"{wrong_C.sum():,} of {n_cells:,} rows that break it, first "
            f"{np.round(proba_CH[wrong_C][0][:5], 4).tolist()}",
            remedy="put a softmax over the scores",
        )
    sum_C = proba_CH.sum(axis=1)
    off_C = np.abs(sum_C - 1) > FARTHEST_FROM_ONE
    if off_C.any():
        raise UserError(
            "the probabilities of a cell add up to 1",
            got=f"{off_C.sum():,} of {n_cells:,} rows that do not, first {sum_C[off_C][0]:.6g}",
            remedy="divide each row by its sum, or put a softmax over the scores",
        )
    return np.asarray(proba_CH / sum_C[:, None])


def checked_vectors(given: Any, n_cells: int) -> NDArray[np.float32]:
    """Refuse what is no finite vector for each cell."""
    try:
        vectors_CD = np.asarray(given, dtype=np.float32)
    except (TypeError, ValueError):
        vectors_CD = np.empty(0, np.float32)
    if vectors_CD.ndim != 2 or len(vectors_CD) != n_cells or not np.isfinite(vectors_CD).all():
        raise UserError(
            "embed gives one row of finite numbers for each cell",
            got=f"shape {np.shape(given)} for {n_cells:,} cells"
            + (", not all finite" if vectors_CD.ndim == 2 and len(vectors_CD) == n_cells else ""),
            remedy="return numpy, not a tensor on a GPU, and no nan",
        )
    return vectors_CD


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global generators that others' code may draw from; put them back afterwards."""
    torch = sys.modules.get("torch")
    python, numpy = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    try:
        if torch is None:
            yield
        else:
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
