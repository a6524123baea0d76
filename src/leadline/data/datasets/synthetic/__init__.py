"""Synthetic cells whose difficulty is known: files of raw counts, of any size, from a seed.

    write_zheng_like(path, n_cells=68_450, n_genes=16_906, seed=0)
    write_ms_like(path, n_train=7_844, n_test=13_468, n_genes=3_000, n_classes=18, seed=0)

Both stream an `.h5ad` (X: counts, uint16 CSR; obs `celltype`; for MS-like also `split` and
`batch`) in bounded memory, return its path, and call `progress(cells_done)` after every chunk.
The same arguments give the same bytes until RECIPE rises, so keep it in the names of cached
files. A cell depends on its row, the seed and the shape of the genes, never on how many cells are
made: a larger set begins with the smaller one (MS-like: within each split). How the constants were
tuned, and what these cells do not resemble: docs/synthetic.md.
"""

from leadline.data.datasets.synthetic.ms import write_ms_like
from leadline.data.datasets.synthetic.sampling import RECIPE
from leadline.data.datasets.synthetic.zheng import write_zheng_like

__all__ = ["RECIPE", "write_ms_like", "write_zheng_like"]
