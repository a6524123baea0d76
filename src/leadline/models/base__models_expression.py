"""Which numbers a model on expression reads."""

from __future__ import annotations

from scipy import sparse

from leadline.data.cells import Cells, Scale

# z-scores are not among them: they were computed over all cells, the reported ones too.
EXPRESSION = frozenset({Scale.COUNTS, Scale.LN_CP10K, Scale.LOG2_CP10K, Scale.LOG_OTHER})


def expression(cells: Cells, wanted: str) -> sparse.csr_array:
    """Give log-normalised expression; `as_given` keeps a log scale as it comes."""
    return cells.lognorm(None if wanted == "as_given" else Scale(wanted))
