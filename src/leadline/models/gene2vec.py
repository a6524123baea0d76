"""An embedding of genes as a result of its own: built from a corpus, judged on other cells.

Legend: G genes, W width of the embedding.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leadline.config import Gene2vecConfig
from leadline.data.cells import Cells
from leadline.models import gene2vec__tokens_gene2vec as gene2vec
from leadline.models.scbert.tokens import ACCEPTED, Tokens, read_genes, tokenise

# Pairs among so many genes, those that are expressed in most cells, are enough to compare tables.
GENES_COMPARED = 2000


class GeneEmbedding:
    """Learns which genes are expressed together."""

    accepts = ACCEPTED

    def __init__(self, config: Gene2vecConfig) -> None:
        self.config = config

    def build(self, corpus: Cells) -> gene2vec.Built:
        """Embed the genes of a corpus."""
        self.tokens = self._tokens(corpus)
        return gene2vec.build(self.tokens, self.config.width, self.config.method)

    @property
    def genes(self) -> NDArray[np.str_]:
        """Give the genes in the order of the embedding."""
        return self.tokens.genes

    def facts(self, built: gene2vec.Built) -> dict[str, Any]:
        """Give what the record says of it."""
        alignment = self.tokens.alignment
        return {
            "parameters_total": built.table_GW.size,
            "parameters_trainable": built.table_GW.size,
            "genes_expressed": built.expressed,
            "genes_embedded": len(self.tokens.genes),
            "association_kept": built.energy,
            **({} if alignment is None else {"genes": alignment.report()}),
        }

    def agreement(self, table_GW: NDArray[np.float32], cells: Cells) -> dict[str, float]:
        """Correlate what goes together in other cells with what the embedding says of it.

        Beside it the same of the association in the corpus itself, before it was embedded.
        """
        other = self._tokens(cells)
        expressed_G = np.bincount(self.tokens.matrix_CL.indices, minlength=len(other.genes))
        chosen = np.sort(np.argsort(-expressed_G, kind="stable")[:GENES_COMPARED])
        pairs = np.triu_indices(len(chosen), 1)
        found = gene2vec.association(picked(other, chosen), self.config.method)[pairs]
        whole = gene2vec.association(picked(self.tokens, chosen), self.config.method)[pairs]
        said = (table_GW[chosen] @ table_GW[chosen].T)[pairs]
        return {
            "gene2vec_agreement": correlation(said, found),
            "gene2vec_agreement_of_association": correlation(whole, found),
        }

    def _tokens(self, cells: Cells) -> Tokens:
        own = self.config.genes == "own"
        reference = None if own else read_genes(Path(self.config.genes))
        return tokenise(
            cells,
            reference,
            least_overlap=self.config.least_overlap,
            total=self.config.total,
        )


def picked(tokens: Tokens, chosen: NDArray[np.int64]) -> Tokens:
    """Take some genes, and the CLS."""
    columns = np.append(chosen, len(tokens.genes))
    return Tokens(matrix_CL=tokens.matrix_CL[:, columns], genes=tokens.genes[chosen])


def correlation(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Give Pearson's correlation, 0 where one of the two does not vary."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])
