"""Make the embedded pbmc68k_reduced.h5ad from the copy that scanpy ships (dev only)."""

from pathlib import Path

import numpy as np
import scanpy
from scipy import sparse

from leadline.data.cells.write import H5adWriter

OUT = (
    Path(__file__).resolve().parents[1] / "src/leadline/data/datasets/embedded/pbmc68k_reduced.h5ad"
)
SOURCE = "Zheng et al. 2017, doi:10.1038/ncomms14049; reduced by scanpy (BSD-3-Clause)"


def main() -> None:
    adata = scanpy.datasets.pbmc68k_reduced()
    matrix_CG = sparse.csr_array(adata.raw.X)  # ln(1 + counts per 10k), values kept bit for bit
    genes = adata.raw.var_names.to_numpy(dtype=np.str_)
    obs = {
        "bulk_labels": adata.obs["bulk_labels"].to_numpy(dtype=np.str_),
        "n_counts": adata.obs["n_counts"].to_numpy(),
    }
    with H5adWriter(OUT, genes, gzip_level=9, uns={"source": SOURCE}) as writer:
        writer.append(matrix_CG, obs, ids=adata.obs_names.to_numpy(dtype=np.str_))
    print(f"{OUT}: {OUT.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
