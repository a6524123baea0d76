"""New cells → a table of labels: the story, top to bottom.

Shapes: C cells, K classes.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leadline import files
from leadline.config import EmbeddingConfig, FileData, RunConfig
from leadline.data.cells import Cells, read_cells, require_scale
from leadline.data.cells.genes import Aligned, align
from leadline.data.embeddings import positions_of
from leadline.errors import UserError
from leadline.models import novelty
from leadline.models.base import EXPRESSION
from leadline.progress import say
from leadline.runs import record
from leadline.runs.load_model import LoadedModel, fitted, looked_at
from leadline.runs.records import configuration, find_run, require_done

UNASSIGNED = "unassigned"
LABELS_SHOWN = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a user asks for.

    Attributes
    ----------
    run
        A record's folder, its id, or the beginning of its id in `runs_dir`.
    threshold
        Cells whose highest probability lies below it stay unassigned.
    min_genes
        The share of the run's genes that the new file must hold.
    positions
        An .npz with positions of the new cells, for runs of model=embedding.
    training
        Where the run's own cells lie now.
    data
        How the new file is to be read: layer, scale, gene_column, library_column.
    """

    run: str
    cells: Path
    out: Path
    runs_dir: Path = Path("runs")
    threshold: float = 0.5
    min_genes: float = 0.5
    positions: Path | None = None
    training: Path | None = None
    data: Mapping[str, str]


def annotate(request: Request) -> Path:
    """Name the types of new cells with a finished run; give the path of the table.

    Raises
    ------
    UserError
        When the run cannot name cells, or the cells and the run do not go together.
    """
    if not request.out.parent.is_dir():
        raise UserError(
            "--out must lie in a folder that exists",
            got=str(request.out),
            remedy=f"mkdir -p {request.out.parent}",
        )
    folder = find_run(request.run, request.runs_dir)
    require_done(folder)
    config = moved(configuration(folder), request.training)
    new = read_new(request, config)
    model = fitted(folder, config)
    aligned = on_the_genes_of(model, new, config, request)
    proba_CK = model.model.predict_proba(aligned.cells)
    unlike_C = novel_cells(model, aligned.cells, config)
    labels = called(proba_CK, model.classes, request.threshold)
    files.write_text(request.out, table(new.ids, labels, proba_CK, unlike_C, model.classes))
    for line in account(labels, aligned, unlike_C, config):
        say(line)
    say(at_threshold(folder, request.threshold))
    return request.out


def moved(config: RunConfig, training: Path | None) -> RunConfig:
    """Give the configuration with the place where the run's own cells lie now."""
    if training is None:
        return config
    return replace(config, data=replace(config.data, path=str(training)))


def read_new(request: Request, config: RunConfig) -> Cells:
    """Read the new cells; labels, if they have any, are not looked at."""
    cells = read_cells(request.cells, name=request.cells.name, **request.data)
    if not isinstance(config.model, EmbeddingConfig):
        return cells
    if config.model.file is not None and request.positions is None:
        raise UserError(
            "a run on positions from a file needs those of the new cells",
            got="no --positions",
            remedy="make them with the same program and name the .npz: --positions new.npz",
        )
    where = str(request.positions) if request.positions else None
    source = replace(config.model, file=where, key=None if where else config.model.key)
    file = FileData(name="new", path=str(request.cells))
    return replace(cells, positions_CD=positions_of(cells, file, Path(), source))


def on_the_genes_of(model: LoadedModel, new: Cells, config: RunConfig, request: Request) -> Aligned:
    """Give the new cells what the model reads, in its order."""
    if isinstance(config.model, EmbeddingConfig):
        require_dimensions(new, model)
        cells = replace(new, classes=model.classes)
        return Aligned(cells=cells, present=0, missing=0, unused=len(new.genes))
    require_scale(new, EXPRESSION, config.model.name)
    aligned = align(new, model.genes, model.scale, request.min_genes)
    return replace(aligned, cells=replace(aligned.cells, classes=model.classes))


def require_dimensions(new: Cells, model: LoadedModel) -> None:
    """Refuse positions from another space."""
    assert new.positions_CD is not None
    wanted, found = model.likeness.means_HD.shape[1], new.positions_CD.shape[1]
    if wanted != found:
        raise UserError(
            "new positions must have the dimensions that the probe was fitted on",
            got=f"{found} instead of {wanted}",
            remedy="make them with the program and model that made the others",
        )


def novel_cells(model: LoadedModel, cells: Cells, config: RunConfig) -> NDArray[np.bool_]:
    """Mark the cells that look unlike the training cells."""
    return model.likeness.is_novel(looked_at(cells, config))


def called(
    proba_CK: NDArray[np.float64], classes: tuple[str, ...], threshold: float
) -> NDArray[np.str_]:
    """Give each cell its most probable class, or none where that is not probable enough."""
    names = np.array(classes, dtype=np.str_)[proba_CK.argmax(axis=1)]
    return np.where(proba_CK.max(axis=1) < threshold, UNASSIGNED, names)


def table(
    ids: NDArray[np.str_],
    labels: NDArray[np.str_],
    proba_CK: NDArray[np.float64],
    unlike_C: NDArray[np.bool_],
    classes: tuple[str, ...],
) -> str:
    """Lay the answer out as CSV: one row a cell, one column a class."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["cell", "label", "probability", "unlike_training_cells", *classes])
    for cell, label, proba_K, odd in zip(ids, labels, proba_CK, unlike_C, strict=True):
        said = [f"{value:.4f}" for value in proba_K]
        writer.writerow([cell, label, f"{proba_K.max():.4f}", int(odd), *said])
    return buffer.getvalue()


def account(
    labels: NDArray[np.str_], aligned: Aligned, unlike_C: NDArray[np.bool_], config: RunConfig
) -> list[str]:
    """Say what was done, and what to be careful about."""
    counts = Counter(labels.tolist()).most_common()
    shown = ", ".join(f"{label} {count:,}" for label, count in counts[:LABELS_SHOWN])
    more = f", and {len(counts) - LABELS_SHOWN} more" if len(counts) > LABELS_SHOWN else ""
    lines = [f"{len(labels):,} cells: {shown}{more}"]
    if not isinstance(config.model, EmbeddingConfig):
        lines.append(aligned.describe())
    share = unlike_C.mean() if len(unlike_C) else 0.0
    line = f"{share:.1%} of the cells are less like the training cells than 99 % of those are"
    if novelty.is_suspicious(unlike_C):
        line = (
            f"warning: {line} (cosine similarity with the nearest class mean); the labels may "
            "mean nothing for them: another tissue, species, chemistry or scale?"
        )
    return [*lines, line]


def at_threshold(folder: Path, threshold: float) -> str:
    """Say what the threshold would have done to the cells that the run reported on."""
    parts, _ = record.read_predictions(folder)
    said = parts["test"]
    kept_C = said.proba_CK.max(axis=1) >= threshold
    if not kept_C.any():
        return f"threshold {threshold:g}: it would have left all of the run's own reported cells"
    right = (said.predicted_C == said.truth_C)[kept_C].mean()
    return (
        f"threshold {threshold:g}: of the run's own reported cells it leaves "
        f"{1 - kept_C.mean():.1%} unassigned, and {right:.1%} of the others are right"
    )
