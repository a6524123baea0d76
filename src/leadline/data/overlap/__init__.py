"""Which cells are in another collection too, such as the corpus that a model was pretrained on.

Shapes: C cells, B cells of one block, G genes of a file, S genes that both sides have, N stored
values, H hash functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from leadline.data.cells import Scale
from leadline.data.overlap import fingerprints as prints
from leadline.data.overlap.corpus import (
    DATA_SET,
    JOIN_ID,
    CellCorpus,
    CorpusBlock,
    CorpusFile,
    corpus_files,
)
from leadline.data.overlap.gene_names import FEWEST_SHARED, SharedGenes, shared_genes
from leadline.data.overlap.target import TargetCells, read_target
from leadline.errors import UserError

__all__ = [
    "CellCorpus",
    "CellOverlap",
    "OverlapComparison",
    "CorpusFile",
    "TargetCells",
    "compare",
    "corpus_files",
    "read_target",
]

# Shuffled cells may pass for cells of the corpus in fewer than this share.
MOST_FALSE = 1e-3
# Cells less alike than this are not the same one, however different the shuffled ones are.
LEAST_ALIKE = 0.8
FEWEST_SHUFFLED, MOST_SHUFFLED = 2000, 20_000
# Values change places among so many cells, or up to twice as many; among fewer than the least a
# shuffled cell would be one that was measured.
GROUP, SMALLEST_GROUP = 32, 8
N_DIRECTIONS = 16
# On these scales values of a cell do not stand in the order of its counts.
UNORDERED = (Scale.ZSCORED,)


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlapComparison:
    """What one way of comparing found of each cell; `why_not` says why it was not used."""

    seen_C: NDArray[np.bool_]
    judged_C: NDArray[np.bool_]
    why_not: str = ""

    @property
    def seen(self) -> int:
        """Count the cells that are in the corpus."""
        return int(self.seen_C.sum())

    @property
    def judged(self) -> int:
        """Count the cells of which it can tell."""
        return int(self.judged_C.sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class CellOverlap:
    """What all ways of comparing found.

    `threshold` is the agreement above which most expressed genes count as those of one cell, None
    where shuffled cells leave none; `false_share` is the share of shuffled cells above it.
    """

    n_cells: int
    corpus_cells: int
    counts: OverlapComparison
    top_genes: OverlapComparison
    join_ids: OverlapComparison
    threshold: float | None
    false_share: float
    n_shuffled: int
    notes: tuple[str, ...]


def compare(target: TargetCells, corpora: Sequence[CellCorpus], *, seed: int = 0) -> CellOverlap:
    """Look for cells in every part of a corpus, holding one block of it at a time.

    Raises
    ------
    UserError
        When no part shares genes enough with the cells.
    """
    search = Search(target, seed)
    refused: list[UserError] = []
    for corpus in corpora:
        try:
            shared = shared_genes(target.namings, corpus.namings)
        except UserError as error:
            refused.append(error)
            search.notes.append(
                f"{corpus.name}: fewer than {FEWEST_SHARED} shared genes, compared by ids alone"
            )
            search.by_ids_alone(corpus)
            continue
        search.notes.append(f"{corpus.name}: {shared.how}")
        search.through(corpus, shared)
    by_ids = target.keys_C is not None and search.named_blocks > 0
    if refused and len(refused) == len(corpora) and not by_ids:
        raise refused[0]
    return search.result()


@dataclass(slots=True)
class Search:
    """The state of one pass over a corpus."""

    target: TargetCells
    seed: int
    notes: list[str] = field(default_factory=list)
    corpus_cells: int = 0
    named_blocks: int = 0
    counted_files: int = 0
    ordered_files: int = 0
    same_counts_C: NDArray[np.bool_] = field(init=False)
    enough_counts_C: NDArray[np.bool_] = field(init=False)
    same_id_C: NDArray[np.bool_] = field(init=False)
    best_T: NDArray[np.float64] = field(init=False)
    enough_top_T: NDArray[np.bool_] = field(init=False)
    both_TG: sparse.csr_array = field(init=False)

    def __post_init__(self) -> None:
        n_cells = len(self.target.cells)
        self.same_counts_C, self.enough_counts_C, self.same_id_C = np.zeros((3, n_cells), bool)
        own_CG = self.target.cells.matrix_CG
        self.both_TG = sparse.csr_array(
            sparse.vstack([own_CG, *shuffled(own_CG, self.seed)], format="csr")
        )
        self.best_T = np.zeros(self.both_TG.shape[0])
        self.enough_top_T = np.zeros(self.both_TG.shape[0], bool)

    def by_ids_alone(self, corpus: CellCorpus) -> None:
        """Go through a corpus whose genes are others."""
        for block in corpus.blocks():
            self.corpus_cells += block.matrix_BG.shape[0]
            self.match_ids(block)

    def through(self, corpus: CellCorpus, shared: SharedGenes) -> None:
        """Go through a corpus; everything but the findings depends on the genes it shares."""
        by_counts = self.target.counts_known and corpus.scale is Scale.COUNTS
        by_top = not {corpus.scale, self.target.cells.scale} & {*UNORDERED}
        self.counted_files += by_counts
        self.ordered_files += by_top
        both = prints.on_shared(self.both_TG, shared.target_G)
        if by_counts:
            word_S = prints.gene_words(len(shared))
            own = prints.on_shared(self.target.cells.matrix_CG, shared.target_G)
            hash_C, enough_C = prints.count_hashes(own, word_S)
            self.enough_counts_C |= enough_C
            wanted = np.unique(hash_C[enough_C])
            found = np.zeros(0, np.uint64)
        if by_top:
            tables = prints.hash_tables(len(shared))
            signature_TH, enough_T = prints.minhashes(both, tables)
            self.enough_top_T |= enough_T
            key_TB = prints.band_keys(signature_TH)
            # Cells with too few genes stay out of the search.
            own_T = np.flatnonzero(enough_T)
            order_BT = own_T[np.argsort(key_TB[own_T], axis=0, kind="stable")].T.copy()
            sorted_BT = np.sort(key_TB[own_T], axis=0).T.copy()
        for block in corpus.blocks():
            self.corpus_cells += block.matrix_BG.shape[0]
            self.match_ids(block)
            cells = prints.on_shared(block.matrix_BG, shared.corpus_G)
            if by_counts:
                hash_B, enough_B = prints.count_hashes(cells, word_S)
                found = np.union1d(found, np.intersect1d(hash_B[enough_B], wanted))
            if by_top:
                signature_BH, enough_B = prints.minhashes(cells, tables)
                signature_BH = signature_BH[enough_B]
                key_BB = prints.band_keys(signature_BH)
                bounds = [
                    np.stack(
                        [
                            np.searchsorted(sorted_BT[band], key_BB[:, band], side=side)
                            for band in range(prints.BANDS)
                        ],
                        axis=1,
                    )
                    for side in ("left", "right")
                ]
                prints.most_alike(signature_BH, *bounds, order_BT, signature_TH, self.best_T)
        if by_counts:
            self.same_counts_C |= enough_C & np.isin(hash_C, found)

    def match_ids(self, block: CorpusBlock) -> None:
        """Look for data set and join id together."""
        if block.keys_B is not None:
            self.named_blocks += 1
            if self.target.keys_C is not None:
                self.same_id_C |= np.isin(self.target.keys_C, block.keys_B)

    def result(self) -> CellOverlap:
        """Sum up what was found."""
        n_cells = len(self.target.cells)
        none_C = np.zeros(n_cells, bool)
        shuffled_N = self.best_T[n_cells:][self.enough_top_T[n_cells:]]
        limit = limit_of(shuffled_N)
        alike_C = none_C if limit is None else self.best_T[:n_cells] > limit
        no_top = self.no_top_genes(len(shuffled_N), limit)
        false_share = 0.0
        if limit is None or no_top:
            limit = None
        else:
            false_share = float((shuffled_N > limit).mean())
        no_ids = self.target.no_keys
        if not no_ids and not self.named_blocks:
            no_ids = f"the corpus does not have both {DATA_SET} and {JOIN_ID}"
        keys_C = self.target.keys_C
        return CellOverlap(
            n_cells=n_cells,
            corpus_cells=self.corpus_cells,
            counts=OverlapComparison(
                seen_C=self.same_counts_C,
                judged_C=self.enough_counts_C,
                why_not=self.no_counts(),
            ),
            top_genes=OverlapComparison(
                seen_C=none_C if limit is None else alike_C,
                judged_C=none_C if limit is None else self.enough_top_T[:n_cells],
                why_not=no_top,
            ),
            join_ids=OverlapComparison(
                seen_C=self.same_id_C,
                judged_C=none_C if no_ids or keys_C is None else keys_C != "",
                why_not=no_ids,
            ),
            threshold=limit,
            false_share=false_share,
            n_shuffled=len(shuffled_N),
            notes=tuple(self.notes),
        )

    def no_counts(self) -> str:
        """Say why counts were not compared, if they were not."""
        if not self.target.counts_known:
            return "the data hold no counts, and none can be recovered"
        if not self.counted_files:
            return "no file of the corpus holds counts"
        if not self.enough_counts_C.any():
            return f"no cell expresses {prints.FEWEST_EXPRESSED} of the shared genes"
        return ""

    def no_top_genes(self, n_shuffled: int, limit: float | None) -> str:
        """Say why most expressed genes were not compared, if they were not."""
        if not self.ordered_files:
            return "z-scores do not tell which genes a cell expresses most"
        if not n_shuffled:
            return f"fewer than {SMALLEST_GROUP} cells with genes enough, too few to calibrate by"
        if limit is None:
            return "shuffled cells agree with the corpus as well as cells could"
        return ""


def shuffled(matrix_CG: sparse.csr_array, seed: int) -> list[sparse.csr_array]:
    """Give cells that nobody measured: values of a gene change places among cells that are alike.

    Each gene keeps its values in each group of cells; each shuffled cell has about as much of every
    cell of its group.
    """
    n_cells, n_genes = matrix_CG.shape
    if n_cells < SMALLEST_GROUP:
        return []
    rng = np.random.default_rng(seed)
    made = []
    chosen = np.sort(rng.permutation(n_cells)[:MOST_SHUFFLED])
    for _ in range(max(1, -(-FEWEST_SHUFFLED // n_cells))):
        groups = alike(matrix_CG[chosen], rng)
        sizes = np.array([len(group) for group in groups])
        size_C = np.repeat(sizes, sizes)
        first_C = np.repeat(np.cumsum(sizes) - sizes, sizes)
        part = matrix_CG[chosen[np.concatenate(groups)]].tocoo()
        row_N, gene_N = part.coords
        # Within a group, all values of a gene move on by the same number of cells.
        shift_N = rng.integers(0, 1 << 30, n_genes)[gene_N]
        at_N = (row_N - first_C[row_N] + shift_N) % size_C[row_N] + first_C[row_N]
        made.append(sparse.csr_array((part.data, (at_N, gene_N)), shape=part.shape))
    return made


def alike(matrix_CG: sparse.csr_array, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Part cells into groups of like composition and depth.

    Groups are halved by the random direction of expression, or the depth, in which they differ
    most, until they have fewer than twice GROUP cells.
    """
    cells_CG = matrix_CG.copy()
    cells_CG.data = np.log1p(np.maximum(cells_CG.data, 0))
    length_C = np.sqrt(np.asarray((cells_CG * cells_CG).sum(axis=1)).ravel()) + 1e-9
    along_CD = cells_CG @ rng.standard_normal((matrix_CG.shape[1], N_DIRECTIONS))
    depth_C = np.log1p(np.diff(matrix_CG.indptr))
    along_CD = np.column_stack([along_CD / length_C[:, None], depth_C])
    whole, groups = [np.arange(len(length_C))], []
    while whole:
        group = whole.pop()
        if len(group) < 2 * GROUP:
            groups.append(group)
            continue
        widest = int(along_CD[group].std(axis=0).argmax())
        order = group[np.argsort(along_CD[group, widest], kind="stable")]
        whole += [order[: len(order) // 2], order[len(order) // 2 :]]
    return groups


def limit_of(shuffled_N: NDArray[np.float64]) -> float | None:
    """Give the agreement that fewer than the allowed share of shuffled cells exceed.

    None where it is complete agreement, which nothing exceeds.
    """
    allowed = int(np.ceil(MOST_FALSE * len(shuffled_N))) - 1
    highest = np.sort(shuffled_N)[::-1]
    # What agrees in just LEAST_ALIKE of the numbers still counts.
    limit = max(LEAST_ALIKE - 1e-9, float(highest[max(allowed, 0)]) if len(highest) else 0.0)
    return limit if limit < 1 else None
