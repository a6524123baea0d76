"""A neighbour graph with UMAP's weights, its modularity, and at which resolution to cut it.

The weights are those of scanpy's `neighbors` (`n_neighbors=15` there is 14 others here). The
clustering itself is in `leiden`. Three ways to choose the resolution, to be shown side by side:
`oracle` (best NMI with the labels, as published), 1 (fixed), `label_free` (most stable).

Shapes: C cells, K neighbours, R resolutions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from leadline.errors import UserError
from leadline.stats.embedding_inputs import Codes, Floats, checked_codes
from leadline.stats.leiden import leiden_labels
from leadline.stats.neighbours import Neighbours, neighbours_within
from leadline.stats.partitions import adjusted_rand_index, normalised_mutual_information

GRAPH_NEIGHBOURS = 14
ORACLE_RESOLUTIONS = tuple(round(0.1 * step, 1) for step in range(1, 21))
LABEL_FREE_RESOLUTIONS = (0.1, *(round(0.2 * step, 1) for step in range(1, 11)))
BISECTIONS = 64
ENTROPY_TOLERANCE = 1e-5
SMALLEST_BANDWIDTH = 1e-3  # as a share of the mean distance


def umap_graph(neighbours: Neighbours) -> sp.csr_array:
    """Weigh each edge by UMAP's fuzzy union of the two cells' Gaussian memberships.

    Each cell's nearest neighbour at a distance above 0 has weight 1; the bandwidth makes the
    weights of a cell sum to log2 of its neighbours and itself.
    """
    distance_CK = neighbours.distance_CK
    n_cells, k = distance_CK.shape
    nearest_C = np.where(distance_CK > 0, distance_CK, np.inf).min(axis=1)
    nearest_C[~np.isfinite(nearest_C)] = 0.0
    beyond_CK = np.maximum(distance_CK - nearest_C[:, None], 0.0)
    bandwidth_C = _bandwidths(beyond_CK, np.log2(k + 1))
    # The cell itself, at distance 0, counts in both means: that is how umap-learn has it.
    own_C = distance_CK.sum(axis=1) / (k + 1)
    floor_C = SMALLEST_BANDWIDTH * np.where(nearest_C > 0, own_C, own_C.mean())
    bandwidth_C = np.maximum(bandwidth_C, floor_C)
    scale_C = np.where(bandwidth_C > 0, bandwidth_C, 1.0)
    weight_CK = np.exp(-beyond_CK / scale_C[:, None])
    pointers = np.arange(0, n_cells * k + 1, k)
    directed = sp.csr_array(
        (weight_CK.ravel(), neighbours.index_CK.ravel(), pointers), shape=(n_cells, n_cells)
    )
    mirrored = directed.T.tocsr()
    union = sp.csr_array(directed + mirrored - directed * mirrored)
    union.eliminate_zeros()
    union.sort_indices()
    return union


def neighbour_graph(neighbours: Neighbours) -> sp.csr_array:
    """Build the directed graph of each cell's neighbours, all weights 1."""
    n_cells, k = neighbours.index_CK.shape
    pointers = np.arange(0, n_cells * k + 1, k)
    ones = np.ones(n_cells * k)
    graph = sp.csr_array((ones, neighbours.index_CK.ravel(), pointers), shape=(n_cells, n_cells))
    graph.sort_indices()
    return graph


def modularity(graph: sp.csr_array, cluster_C: npt.ArrayLike, resolution: float = 1.0) -> float:
    """Share of weight inside clusters less `resolution` times what random edges would have."""
    cluster = checked_codes(cluster_C, graph.shape[0], "cluster")
    total = float(graph.sum())
    if total <= 0:
        raise UserError(
            "modularity needs a graph with edges", got="none", remedy="use more cells or neighbours"
        )
    edges = graph.tocoo()
    within = float(edges.data[cluster[edges.coords[0]] == cluster[edges.coords[1]]].sum())
    degree_C = np.asarray(graph.sum(axis=1)).ravel()
    per_cluster = np.bincount(cluster, weights=degree_C)
    return within / total - resolution * float((per_cluster**2).sum()) / total**2


def leiden_clusters(graph: sp.csr_array, resolution: float = 1.0, seed: int = 0) -> Codes:
    """Cluster a symmetric weighted graph by modularity (Leiden, until nothing changes).

    The same seed gives the same clusters on any machine; clusters are numbered by falling size,
    equal ones by their first cell.
    """
    if not (np.isfinite(resolution) and resolution > 0):
        raise UserError(
            "a resolution is a number above 0", got=str(resolution), remedy="pass for example 1.0"
        )
    raw_C = leiden_labels(graph, resolution, seed)
    _, first, inverse, size = np.unique(
        raw_C, return_index=True, return_inverse=True, return_counts=True
    )
    rank = np.empty(len(size), dtype=np.int64)
    rank[np.lexsort((first, -size))] = np.arange(len(size))
    return np.asarray(rank[inverse])


def clusters_at(
    graph: sp.csr_array, resolutions: Sequence[float] = ORACLE_RESOLUTIONS, seed: int = 0
) -> dict[float, Codes]:
    """Cluster at each resolution."""
    return {each: leiden_clusters(graph, each, seed) for each in resolutions}


def oracle_resolution(clusters: Mapping[float, npt.ArrayLike], labels_C: npt.ArrayLike) -> float:
    """Choose the resolution of the best NMI with the labels, ties to the smaller.

    It uses the labels that a user of a zero-shot model does not have; it is what was published.
    """
    labels = checked_codes(labels_C)
    score = {each: normalised_mutual_information(clusters[each], labels) for each in clusters}
    return max(sorted(score), key=lambda each: score[each])


def label_free_stability(
    neighbours: Neighbours,
    vectors_CD: npt.ArrayLike,
    clusters: Mapping[float, npt.ArrayLike],
    rng: np.random.Generator,
    n_subsamples: int = 10,
    share: float = 0.8,
    seed: int = 0,
) -> dict[float, float]:
    """Mean ARI between the clusters of all cells and those of subsamples, at each resolution.

    Pass a long list of neighbours (90): the graph of a subsample is taken from it. Resolutions
    that leave all cells in one cluster are out.
    """
    n_cells = len(neighbours.index_CK)
    several = {r: np.asarray(c) for r, c in clusters.items() if len(np.unique(c)) > 1}
    agreement: dict[float, list[float]] = {each: [] for each in several}
    for _ in range(n_subsamples):
        kept = np.sort(rng.choice(n_cells, max(2, round(share * n_cells)), replace=False))
        graph = umap_graph(neighbours_within(neighbours, kept, GRAPH_NEIGHBOURS, vectors_CD))
        for each, cluster_C in several.items():
            found_S = leiden_clusters(graph, each, seed)
            agreement[each].append(adjusted_rand_index(found_S, cluster_C[kept]))
    return {each: float(np.mean(values)) for each, values in agreement.items()}


def label_free_resolution(stability: Mapping[float, float]) -> float:
    """Choose the most stable resolution, ties to the larger."""
    if not stability:
        raise UserError(
            "a stable resolution needs a clustering with two clusters",
            got="one cluster at every resolution",
            remedy="report the clusters at resolution 1",
        )
    return max(sorted(stability, reverse=True), key=lambda each: stability[each])


def _bandwidths(beyond_CK: Floats, target: float) -> Floats:
    low_C = np.zeros(len(beyond_CK))
    high_C = np.full(len(beyond_CK), np.inf)
    # Start at the scale of the distances, so that the scale of the embedding does not matter.
    start_C = beyond_CK.mean(axis=1)
    middle_C = np.where(start_C > 0, start_C, 1.0)
    open_C: npt.NDArray[Any] = np.ones(len(beyond_CK), dtype=bool)
    for _ in range(BISECTIONS):
        sum_C = np.exp(-beyond_CK / middle_C[:, None]).sum(axis=1)
        open_C &= np.abs(sum_C - target) >= ENTROPY_TOLERANCE
        if not open_C.any():
            break
        above_C = sum_C > target
        high_C = np.where(open_C & above_C, middle_C, high_C)
        low_C = np.where(open_C & ~above_C, middle_C, low_C)
        halved_C = np.where(np.isfinite(high_C), (low_C + high_C) / 2, middle_C * 2)
        middle_C = np.where(open_C, halved_C, middle_C)
    return middle_C
