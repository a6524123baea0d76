"""Cells: a matrix of expression with genes, labels and batches, whatever file it came from.

Shapes: C cells, G genes, K classes.
"""

from leadline.cells.describe import Outline, could_be_labels, describe_file, outline
from leadline.cells.matrix import Cells, Scale
from leadline.cells.reader import matrix_blocks, read_cells
from leadline.cells.refusals import require_scale
from leadline.cells.variable import keep_variable

__all__ = [
    "Cells",
    "Outline",
    "Scale",
    "could_be_labels",
    "describe_file",
    "keep_variable",
    "matrix_blocks",
    "outline",
    "read_cells",
    "require_scale",
]
