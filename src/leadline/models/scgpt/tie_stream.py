"""The random numbers with which scGPT's script bins: one stream from the run's seed.

The script seeds numpy, bins the training cells of the file, then the test cells, one number for
each value of a gene that the vocabulary knows, and only then draws few labels and the hold-out. So
the bins of every cell follow from its place, and the hold-out from the sum (`data.splits.draws`).

Legend: C cells of all parts, G genes of the cells, N values of some cells.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leadline.config import ScgptConfig
from leadline.data.cells import Cells
from leadline.data.splits.split import Split, values_of_cells
from leadline.models.scgpt import vocabulary


class TieStream:
    """Where in the stream each cell's numbers stand."""

    def __init__(
        self, cells: Cells, split: Split, binned_G: NDArray[np.bool_], *, seed: int
    ) -> None:
        pool = np.concatenate([split.train, np.setdiff1d(split.val, split.test), split.unlabelled])
        order = np.concatenate([np.sort(pool), split.test])
        count_C = values_of_cells(cells, binned_G)[order]
        self.seed, self.total = seed, int(count_C.sum())
        ends_C = count_C.cumsum()
        self.span = {
            name: (int(end - count), int(end))
            for name, count, end in zip(cells.ids[order].tolist(), count_C, ends_C, strict=True)
        }

    def numbers(
        self, ids: NDArray[np.str_], count_C: NDArray[np.int64]
    ) -> NDArray[np.float64] | None:
        """Give the numbers of these cells, which have so many values each.

        None if the script did not bin them all: cells of another file, whatever they are called.
        """
        spans = [self.span.get(name, (0, -1)) for name in ids.tolist()]
        if [end - start for start, end in spans] != count_C.tolist():
            return None
        stream_N = np.random.RandomState(self.seed).random_sample(self.total)
        return np.concatenate([stream_N[:0], *(stream_N[start:end] for start, end in spans)])


def binned_genes(
    cells: Cells, config: ScgptConfig, first_weights: Path | None
) -> NDArray[np.bool_]:
    """Mark the genes that the model's vocabulary knows; only a released folder brings its own."""
    if first_weights is not None and first_weights.is_dir():
        known = vocabulary.of_file(first_weights / vocabulary.FILE)
    else:
        known = vocabulary.chosen(config, cells)
    return np.asarray(vocabulary.cover(known, cells).number_G >= 0)
