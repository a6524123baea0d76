"""Where the positions of a dataset's cells come from, and what they are called in a run's name."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from leadline.config import DataConfig, EmbeddingConfig
from leadline.data.cells import Cells
from leadline.data.datasets.load import files
from leadline.data.embeddings import Positions, read_npz, read_obsm
from leadline.errors import UserError


def positions_of(
    cells: Cells, data: DataConfig, data_dir: Path, model: EmbeddingConfig
) -> Positions:
    """Read the positions of a dataset's cells, in their order."""
    if model.file is not None:
        return read_npz(Path(model.file).expanduser(), cells.ids)
    if model.key is None:
        raise UserError(
            "model=embedding needs positions of the cells",
            got="neither model.key nor model.file",
            remedy="name a key of obsm (model.key=X_scVI) or an .npz (model.file=positions.npz)",
        )
    # Several files of one dataset are stacked in this order.
    found = [read_obsm(path, model.key) for path in files(data, data_dir)]
    widths = sorted({part.shape[1] for part in found})
    if len(widths) > 1:
        raise UserError(
            f"obsm[{model.key!r}] must have as many dimensions in each file of a dataset",
            got=" and ".join(map(str, widths)),
            remedy="make both with one model",
        )
    return np.concatenate(found)


def digest(positions_CD: Positions) -> str:
    """SHA-256 of positions, in the order of the cells."""
    content = f"{positions_CD.shape}".encode() + positions_CD.astype("<f4").tobytes()
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def placed(
    cells: Cells, data: DataConfig, data_dir: Path, model: EmbeddingConfig
) -> tuple[Cells, EmbeddingConfig]:
    """Give the cells with their positions, and the configuration that knows them by content."""
    positions_CD = positions_of(cells, data, data_dir, model)
    with_positions = replace(cells, positions_CD=positions_CD)
    return with_positions, replace(model, digest=digest(positions_CD))
