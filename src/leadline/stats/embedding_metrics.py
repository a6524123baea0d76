"""Scores of an embedding against labels and batches; `docs/zero_shot_metrics.md` has the sources.

Exact, in double precision, the same for cells in any order and for a rotated, moved or scaled
embedding (BRAS looks at angles and does not allow moving). A score that these cells cannot have
is a `UserError` that says why, never nan; `score_embedding` collects both.

Shapes: C cells, D dimensions, K neighbours, G groups.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components
from scipy.special import gammaincc

from leadline.errors import UserError
from leadline.stats.clustering import GRAPH_NEIGHBOURS, umap_graph
from leadline.stats.embedding_inputs import (
    Codes,
    Floats,
    checked_codes,
    checked_vectors,
    principal_components,
    require_groups,
)
from leadline.stats.neighbours import Neighbours, nearest_others
from leadline.stats.partitions import (
    adjusted_mutual_information,
    adjusted_rand_index,
    normalised_mutual_information,
)
from leadline.stats.silhouettes import asw_batch, asw_label, bras, silhouettes

__all__ = [
    "Scores",
    "adjusted_mutual_information",
    "adjusted_rand_index",
    "asw_batch",
    "asw_label",
    "avg_batch",
    "avg_bio",
    "bras",
    "clisi",
    "graph_connectivity",
    "ilisi",
    "kbet_acceptance",
    "knn_purity",
    "lisi",
    "normalised_mutual_information",
    "pcr",
    "pcr_comparison",
    "score_embedding",
    "silhouettes",
]

LISI_NEIGHBOURS = 90
PERPLEXITY = 30.0
BATCH_DIMENSIONS = 50
BISECTIONS = 100


def graph_connectivity(graph: sp.csr_array, label_C: npt.ArrayLike) -> float:
    """Mean over labels of the share of their cells in the largest connected component.

    Components are strong: `umap_graph` is symmetric and gives scib's number, `neighbour_graph` is
    directed and gives that of scib-metrics.
    """
    label = checked_codes(label_C, graph.shape[0])
    shares = []
    for each in range(int(label.max()) + 1):
        cells = np.flatnonzero(label == each)
        _, component = connected_components(graph[cells][:, cells], connection="strong")
        shares.append(float(np.bincount(component).max()) / len(cells))
    return float(np.mean(shares))


def pcr(
    vectors_CD: npt.ArrayLike,
    covariate_C: npt.ArrayLike,
    *,
    categorical: bool = True,
    n_components: int | None = None,
) -> float:
    """Principal component regression: share of variance that a covariate explains.

    With all components, the default, this is the sum of squares between groups over the total,
    and needs no components. scib keeps 50. A number (log counts) explains by its linear R².
    """
    vectors = (
        checked_vectors(vectors_CD)
        if n_components is None
        else principal_components(vectors_CD, n_components)
    )
    scale = float(np.abs(vectors).max())
    vectors -= vectors.mean(axis=0)
    total = float((vectors**2).sum())
    if total <= (1e-12 * scale) ** 2 * vectors.size:
        raise UserError(
            "PCR needs an embedding that varies",
            got="the same vector for every cell",
            remedy="find out why the model tells no cells apart",
        )
    if categorical:
        group = checked_codes(covariate_C, len(vectors), "batch")
        n_groups = require_groups(group, "PCR", "batches")
        member = sp.csr_array(
            (np.ones(len(group)), (group, np.arange(len(group)))), shape=(n_groups, len(group))
        )
        explained = float(((member @ vectors) ** 2 / np.bincount(group)[:, None]).sum())
    else:
        value = checked_vectors(np.asarray(covariate_C, dtype=np.float64).reshape(-1, 1))[:, 0]
        checked_codes(value, len(vectors), "covariate")
        spread = value - value.mean()
        square = float(spread @ spread)
        if square <= (1e-12 * float(np.abs(value).max())) ** 2 * len(value):
            raise UserError(
                "PCR needs a covariate that varies",
                got="one value for every cell",
                remedy="leave it out for these cells",
            )
        explained = float(((spread @ vectors) ** 2).sum()) / square
    return min(1.0, explained / total)


def pcr_comparison(before: float, after: float) -> float:
    """Share of the batch variance of the unintegrated data that is gone; 0 if it grew."""
    if not before > 0:
        raise UserError(
            "a comparison of PCR needs batch variance before",
            got=str(before),
            remedy="there is no batch effect to remove; report the PCR itself",
        )
    return max(0.0, (before - after) / before)


def lisi(neighbours: Neighbours, group_C: npt.ArrayLike, perplexity: float = PERPLEXITY) -> Floats:
    """Effective number of groups around each cell (local inverse Simpson index).

    Neighbours weigh exp(−β·distance), β such that the weights have the perplexity asked for. With
    fewer than three times as many cells, the cell itself counted, it falls to a third of them.
    """
    group = checked_codes(group_C, len(neighbours.index_CK), "group")
    weight_CK = _weights_of_perplexity(
        neighbours.distance_CK, min(perplexity, (neighbours.k + 1) / 3)
    )
    near_CK = group[neighbours.index_CK]
    simpson_C = np.zeros(len(group))
    for each in range(int(group.max()) + 1):
        simpson_C += np.where(near_CK == each, weight_CK, 0.0).sum(axis=1) ** 2
    return 1 / simpson_C


def ilisi(neighbours: Neighbours, batch_C: npt.ArrayLike, perplexity: float = PERPLEXITY) -> float:
    """Median LISI of the batches, moved to 0 (apart) … 1 (mixed)."""
    batch = checked_codes(batch_C, len(neighbours.index_CK), "batch")
    n_batches = require_groups(batch, "iLISI", "batches")
    return (float(np.median(lisi(neighbours, batch, perplexity))) - 1) / (n_batches - 1)


def clisi(neighbours: Neighbours, label_C: npt.ArrayLike, perplexity: float = PERPLEXITY) -> float:
    """Median LISI of the labels, turned to 0 (mixed) … 1 (apart)."""
    label = checked_codes(label_C, len(neighbours.index_CK))
    n_labels = require_groups(label, "cLISI", "labels")
    return (n_labels - float(np.median(lisi(neighbours, label, perplexity)))) / (n_labels - 1)


def knn_purity(neighbours: Neighbours, label_C: npt.ArrayLike) -> Floats:
    """Share of each cell's neighbours with its own label."""
    label = checked_codes(label_C, len(neighbours.index_CK))
    return (label[neighbours.index_CK] == label[:, None]).mean(axis=1)


def kbet_acceptance(
    neighbours: Neighbours, batch_C: npt.ArrayLike, n_cells: int = 50, level: float = 0.05
) -> float:
    """Share of neighbourhoods (with the cell itself) whose batches a χ² test accepts.

    For information: near 0 or 1 on small sets, and left out of the page.
    """
    batch = checked_codes(batch_C, len(neighbours.index_CK), "batch")
    n_batches = require_groups(batch, "kBET", "batches")
    near_CK = np.concatenate([batch[:, None], batch[neighbours.index_CK[:, : n_cells - 1]]], axis=1)
    expected_G = np.bincount(batch) / len(batch) * near_CK.shape[1]
    counts_CG = np.stack([(near_CK == each).sum(axis=1) for each in range(n_batches)], axis=1)
    statistic_C = ((counts_CG - expected_G) ** 2 / expected_G).sum(axis=1)
    return float((gammaincc((n_batches - 1) / 2, statistic_C / 2) >= level).mean())


def avg_bio(nmi: float, ari: float, asw: float) -> float:
    """Mean of NMI, ARI and ASW label; noise scores near .17, not 0. Say with which resolution."""
    return (nmi + ari + asw) / 3


def avg_batch(asw: float, pcr_score: float) -> float:
    """Mean of ASW batch and the comparison of PCR, the batch score of the publication's prose."""
    return (asw + pcr_score) / 2


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores by name, and for those that these cells cannot have a line that says why."""

    values: dict[str, float] = field(default_factory=dict)
    undefined: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, score: Callable[[], float]) -> None:
        """Take a score or the message in its place."""
        try:
            self.values[name] = score()
        except UserError as error:
            self.undefined[name] = str(error)


def score_embedding(
    vectors_CD: npt.ArrayLike,
    label_C: npt.ArrayLike,
    batch_C: npt.ArrayLike | None = None,
    neighbours: Neighbours | None = None,
) -> Scores:
    """Score all that needs no clustering; batch scores on 50 components and, `_raw`, without.

    `neighbours`: the 90 nearest others, if they are there already.
    """
    vectors = checked_vectors(vectors_CD, minimum=4)
    label = checked_codes(label_C, len(vectors))
    near = neighbours or nearest_others(vectors, LISI_NEIGHBOURS)
    scores = Scores()
    scores.add("asw_label", lambda: asw_label(vectors, label))
    graph = umap_graph(near.first(GRAPH_NEIGHBOURS))
    scores.add("graph_connectivity", lambda: graph_connectivity(graph, label))
    scores.add("clisi", lambda: clisi(near, label))
    if batch_C is None:
        return scores
    batch = checked_codes(batch_C, len(vectors), "batch")
    scores.add("pcr_batch", lambda: pcr(vectors, batch))
    wide = vectors.shape[1] > BATCH_DIMENSIONS
    _add_batch_scores(scores, "_raw" if wide else "", vectors, batch, label, near)
    if wide:
        reduced = principal_components(vectors, BATCH_DIMENSIONS)
        _add_batch_scores(
            scores, "", reduced, batch, label, nearest_others(reduced, LISI_NEIGHBOURS)
        )
    return scores


def _add_batch_scores(
    scores: Scores, suffix: str, vectors: Floats, batch: Codes, label: Codes, near: Neighbours
) -> None:
    scores.add(f"asw_batch{suffix}", lambda: asw_batch(vectors, batch, label))
    scores.add(f"bras{suffix}", lambda: bras(vectors, batch, label))
    scores.add(f"ilisi{suffix}", lambda: ilisi(near, batch))


def _weights_of_perplexity(distance_CK: Floats, perplexity: float) -> Floats:
    """Bisect each cell's β; weights sum to 1. Scaled by the mean, so that no exponent overflows."""
    beyond_CK = distance_CK - distance_CK.min(axis=1, keepdims=True)
    mean_C = beyond_CK.mean(axis=1, keepdims=True)
    beyond_CK = beyond_CK / np.where(mean_C > 0, mean_C, 1.0)
    target = np.log(max(perplexity, 1.0))
    low_C, high_C = np.zeros(len(beyond_CK)), np.full(len(beyond_CK), np.inf)
    beta_C = np.ones(len(beyond_CK))
    weight_CK = np.empty_like(beyond_CK)
    rows = np.arange(len(beyond_CK))
    for _ in range(BISECTIONS):
        weight = np.exp(-beta_C[rows, None] * beyond_CK[rows])
        sum_R = weight.sum(axis=1)
        entropy_R = np.log(sum_R) + beta_C[rows] * (weight * beyond_CK[rows]).sum(axis=1) / sum_R
        weight_CK[rows] = weight / sum_R[:, None]
        rows, entropy_R = _unfinished(rows, entropy_R, target)
        if len(rows) == 0:
            break
        low_C[rows] = np.where(entropy_R > target, beta_C[rows], low_C[rows])
        high_C[rows] = np.where(entropy_R > target, high_C[rows], beta_C[rows])
        beta_C[rows] = np.where(
            np.isfinite(high_C[rows]),
            (low_C[rows] + high_C[rows]) / 2,
            np.minimum(beta_C[rows] * 2, 1e12),
        )
    return weight_CK


def _unfinished(rows: Codes, entropy_R: Floats, target: float) -> tuple[Codes, Floats]:
    going = np.abs(entropy_R - target) > 1e-10
    return rows[going], entropy_R[going]
