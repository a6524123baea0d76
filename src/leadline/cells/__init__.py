"""Cells: a matrix of expression with genes, labels and batches, whatever file it came from.

Shapes: C cells, G genes, K classes.
"""

from leadline.cells.matrix import Cells, Scale
from leadline.cells.reader import read_cells

__all__ = ["Cells", "Scale", "read_cells"]
