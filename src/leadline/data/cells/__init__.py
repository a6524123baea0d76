"""Cells: a matrix of expression with genes, labels and batches, whatever file it came from.

Shapes: C cells, G genes, K classes.
"""

from leadline.data.cells.cells import Cells, Scale
from leadline.data.cells.checks import require_scale
from leadline.data.cells.genes import keep_variable
from leadline.data.cells.read import Outline, could_be_labels, describe_file, outline, read_cells

__all__ = [
    "Cells",
    "Outline",
    "Scale",
    "could_be_labels",
    "describe_file",
    "keep_variable",
    "outline",
    "read_cells",
    "require_scale",
]
