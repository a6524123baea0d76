"""Genes that two collections share, whatever each of them calls its genes.

Shapes: G genes of a file, S genes that both have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from leadline.data.cells.genes import kind_of_genes, match_keys
from leadline.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

# Below so many shared genes cells cannot be told apart.
FEWEST_SHARED = 50
INDEX = "var index"

# One name of each gene, by where the names stand.
Namings = Mapping[str, NDArray[np.str_]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedGenes:
    """Where the genes that both sides have stand in each; -1 for a gene of one side alone."""

    names: NDArray[np.str_]
    target_G: NDArray[np.int64]
    corpus_G: NDArray[np.int64]
    how: str

    def __len__(self) -> int:
        return len(self.names)


def namings_of(var: pd.DataFrame, column: str | None = None) -> dict[str, NDArray[np.str_]]:
    """Give the names that a table of genes has for them: its index, and columns of names.

    Symbols and Ensembl ids count as names; `column` leaves only that one.
    """
    if column is not None:
        return {column: var[column].astype(str).to_numpy(dtype=np.str_)}
    found = {INDEX: var.index.to_numpy(dtype=np.str_)}
    for name in var.columns:
        values = var[name].astype(str).to_numpy(dtype=np.str_)
        # Columns of few values describe genes (biotype, chromosome); they do not name them.
        named = len(set(values.tolist())) > 0.9 * len(values)
        if len(values) and named and kind_of_genes(values) != "other":
            found[str(name)] = values
    return found


def shared_genes(target: Namings, corpus: Namings) -> SharedGenes:
    """Choose the naming of each side under which most genes are shared.

    A name that one side has twice belongs to no gene: its counts could not be assigned.

    Raises
    ------
    UserError
        When no pair of namings shares enough genes.
    """
    unique = [{where: _unique(names) for where, names in side.items()} for side in (target, corpus)]
    pairs = [(ours, theirs) for ours in unique[0] for theirs in unique[1]]
    ours, theirs = max(pairs, key=lambda pair: len(unique[0][pair[0]].keys() & unique[1][pair[1]]))
    places = unique[0][ours], unique[1][theirs]
    names = sorted(places[0].keys() & places[1])
    if len(names) < FEWEST_SHARED:
        kinds = [kind_of_genes(side[where]) for side, where in ((target, ours), (corpus, theirs))]
        raise UserError(
            f"data and corpus must share at least {FEWEST_SHARED} genes",
            got=f"{len(names)}: genes of the data are {kinds[0]} names ({target[ours][0]}), those "
            f"of the corpus {kinds[1]} ({corpus[theirs][0]})",
            remedy="name a column of var with data.gene_column= or --corpus-genes",
        )
    sides = []
    for place, naming in zip(places, (target[ours], corpus[theirs]), strict=True):
        place_G = np.full(len(naming), -1, np.int64)
        place_G[[place[name] for name in names]] = np.arange(len(names))
        sides.append(place_G)
    return SharedGenes(
        names=np.array(names, dtype=np.str_),
        target_G=sides[0],
        corpus_G=sides[1],
        how=f"{len(names):,} shared genes, by {ours} of the data and {theirs} of the corpus",
    )


def _unique(names: NDArray[np.str_]) -> dict[str, int]:
    keys = match_keys(names).tolist()
    times = Counter(keys)
    return {key: place for place, key in enumerate(keys) if times[key] == 1}
