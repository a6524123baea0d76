"""The Leiden algorithm for modularity (Traag, Waltman, van Eck 2019), compiled and seeded.

Move cells while a move gains, split each cluster into well connected parts (`_refine`), make the
parts the vertices of a smaller graph and start again; the whole is repeated from its own result
until that does not change. Only integers of a generator of our own are drawn, so that a seed
gives the same clusters everywhere.

A graph is its rows' pointers, its neighbours, their weights, and the degree and the weight of
loops of each vertex. Shapes: V vertices, E directed edges.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from leadline.stats.embedding_inputs import Codes
from leadline.stats.jit import compiled

MAX_ROUNDS = 50
# As in igraph: a merge that gains g edges is drawn with weight exp(g / RANDOMNESS).
RANDOMNESS = 0.01


def leiden_labels(graph: sp.csr_array, resolution: float, seed: int) -> Codes:
    """Cluster until a round changes nothing; the labels are arbitrary integers."""
    pointers_V = graph.indptr.astype(np.int64)
    neighbours_E = graph.indices.astype(np.int64)
    weights_E = graph.data.astype(np.float64)
    degree_V = np.asarray(graph.sum(axis=1), dtype=np.float64).ravel()
    total = float(degree_V.sum())
    cluster_V = np.arange(graph.shape[0], dtype=np.int64)
    if total <= 0:
        return cluster_V
    state = np.array([seed], dtype=np.uint64)
    _next(state)
    best, best_V = -np.inf, cluster_V
    for _ in range(MAX_ROUNDS):
        cluster_V = _round(
            pointers_V, neighbours_E, weights_E, degree_V, cluster_V, resolution / total, state
        )
        quality = _quality(
            pointers_V, neighbours_E, weights_E, degree_V, cluster_V, resolution / total
        )
        if quality <= best + 1e-9 * total:
            break
        best, best_V = quality, cluster_V
    return np.asarray(best_V)


def _round(
    pointers_V: Codes,
    neighbours_E: Codes,
    weights_E: Any,
    degree_V: Any,
    cluster_V: Codes,
    penalty: float,
    state: Any,
) -> Codes:
    vertex_of_cell = np.arange(len(degree_V), dtype=np.int64)
    cluster_V = _numbered(cluster_V)
    while True:
        _move(pointers_V, neighbours_E, weights_E, degree_V, cluster_V, penalty, state)
        cluster_V = _numbered(cluster_V)
        n_clusters = int(cluster_V.max()) + 1
        if n_clusters == len(cluster_V):
            break
        part_V = _numbered(
            _refine(pointers_V, neighbours_E, weights_E, degree_V, cluster_V, penalty, state)
        )
        n_parts = int(part_V.max()) + 1
        if n_parts == len(part_V):  # nothing could be merged within the clusters
            part_V, n_parts = cluster_V, n_clusters
        cluster_of_part = np.empty(n_parts, dtype=np.int64)
        cluster_of_part[part_V] = cluster_V
        degree_of_part = np.bincount(part_V, weights=degree_V, minlength=n_parts)
        pointers_V, neighbours_E, weights_E = _merged(
            pointers_V, neighbours_E, weights_E, part_V, n_parts
        )
        vertex_of_cell = part_V[vertex_of_cell]
        degree_V, cluster_V = degree_of_part, cluster_of_part
    return np.asarray(cluster_V[vertex_of_cell])


@compiled
def _numbered(labels_V):  # type: ignore[no-untyped-def]
    """Give labels, which lie below the number of vertices, numbers without gaps in their order."""
    number = np.full(len(labels_V), -1, dtype=np.int64)
    for v in range(len(labels_V)):
        number[labels_V[v]] = 0
    following = 0
    for label in range(len(number)):
        if number[label] == 0:
            number[label] = following
            following += 1
    numbered_V = np.empty(len(labels_V), dtype=np.int64)
    for v in range(len(labels_V)):
        numbered_V[v] = number[labels_V[v]]
    return numbered_V


@compiled
def _merged(  # type: ignore[no-untyped-def]
    pointers_V, neighbours_E, weights_E, part_V, n_parts
):
    """Make the parts the vertices; weight within one changes no later choice, and is dropped."""
    first = np.zeros(n_parts + 1, dtype=np.int64)
    for v in range(len(part_V)):
        first[part_V[v] + 1] += 1
    first = np.cumsum(first)
    member, filled = np.empty(len(part_V), dtype=np.int64), first[:-1].copy()
    for v in range(len(part_V)):
        member[filled[part_V[v]]] = v
        filled[part_V[v]] += 1
    pointers = np.zeros(n_parts + 1, dtype=np.int64)
    neighbours, weights = np.empty(len(neighbours_E), dtype=np.int64), np.empty(len(weights_E))
    weight_to, touched = np.zeros(n_parts), np.empty(n_parts, dtype=np.int64)
    at = 0
    for p in range(n_parts):
        n_touched = 0
        for i in range(first[p], first[p + 1]):
            for e in range(pointers_V[member[i]], pointers_V[member[i] + 1]):
                q = part_V[neighbours_E[e]]
                if q == p:
                    continue
                if weight_to[q] == 0.0:
                    touched[n_touched] = q
                    n_touched += 1
                weight_to[q] += weights_E[e]
        for q in np.sort(touched[:n_touched]):
            neighbours[at], weights[at] = q, weight_to[q]
            weight_to[q] = 0.0
            at += 1
        pointers[p + 1] = at
    return pointers, neighbours[:at].copy(), weights[:at].copy()


@compiled
def _next(state):  # type: ignore[no-untyped-def]
    # splitmix64
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@compiled
def _shuffled(n, state):  # type: ignore[no-untyped-def]
    order = np.arange(n)
    for i in range(n - 1, 0, -1):
        j = np.int64(_next(state) % np.uint64(i + 1))
        order[i], order[j] = order[j], order[i]
    return order


@compiled
def _quality(  # type: ignore[no-untyped-def]
    pointers_V, neighbours_E, weights_E, degree_V, cluster_V, penalty
):
    degree = np.zeros(cluster_V.max() + 1)
    within = 0.0
    for v in range(len(degree_V)):
        degree[cluster_V[v]] += degree_V[v]
        for e in range(pointers_V[v], pointers_V[v + 1]):
            if cluster_V[neighbours_E[e]] == cluster_V[v]:
                within += weights_E[e]
    return within - penalty * (degree * degree).sum()


@compiled
def _move(  # type: ignore[no-untyped-def]
    pointers_V, neighbours_E, weights_E, degree_V, cluster_V, penalty, state
) -> None:
    """Move each vertex to the cluster that gains most; those whose neighbour moved come again."""
    n = len(degree_V)
    degree, size = np.zeros(n), np.zeros(n, dtype=np.int64)
    for v in range(n):
        degree[cluster_V[v]] += degree_V[v]
        size[cluster_V[v]] += 1
    empty = np.empty(n, dtype=np.int64)
    n_empty = 0
    for c in range(n - 1, -1, -1):
        if size[c] == 0:
            empty[n_empty] = c
            n_empty += 1
    queue, waiting = _shuffled(n, state), np.ones(n, dtype=np.bool_)
    head, n_waiting = 0, n
    weight_to, touched = np.zeros(n), np.empty(n, dtype=np.int64)
    while n_waiting > 0:
        v = queue[head]
        head = (head + 1) % n
        n_waiting -= 1
        waiting[v] = False
        own = cluster_V[v]
        n_touched = 0
        for e in range(pointers_V[v], pointers_V[v + 1]):
            u = neighbours_E[e]
            if u == v:
                continue
            c = cluster_V[u]
            if weight_to[c] == 0.0:
                touched[n_touched] = c
                n_touched += 1
            weight_to[c] += weights_E[e]
        degree[own] -= degree_V[v]
        size[own] -= 1
        best, best_gain = own, weight_to[own] - penalty * degree_V[v] * degree[own]
        margin = 1e-12 * (1.0 + abs(best_gain))
        for i in range(n_touched):
            c = touched[i]
            gain = weight_to[c] - penalty * degree_V[v] * degree[c]
            if gain > best_gain + margin:
                best, best_gain = c, gain
            weight_to[c] = 0.0
        if best_gain < -margin and size[own] > 0:  # alone is better than anywhere
            n_empty -= 1
            best = empty[n_empty]
        if best != own and size[own] == 0:
            empty[n_empty] = own
            n_empty += 1
        degree[best] += degree_V[v]
        size[best] += 1
        if best == own:
            continue
        cluster_V[v] = best
        for e in range(pointers_V[v], pointers_V[v + 1]):
            u = neighbours_E[e]
            if not waiting[u] and cluster_V[u] != best and u != v:
                waiting[u] = True
                queue[(head + n_waiting) % n] = u
                n_waiting += 1


@compiled
def _refine(  # type: ignore[no-untyped-def]
    pointers_V, neighbours_E, weights_E, degree_V, cluster_V, penalty, state
):
    """Merge single vertices within their cluster, at random among well connected parts."""
    n = len(degree_V)
    degree_of_cluster = np.zeros(n)
    for v in range(n):
        degree_of_cluster[cluster_V[v]] += degree_V[v]
    part, degree = np.arange(n), degree_V.copy()
    single = np.ones(n, dtype=np.bool_)
    outside = np.zeros(n)  # weight from a part to the rest of its cluster
    for v in range(n):
        for e in range(pointers_V[v], pointers_V[v + 1]):
            u = neighbours_E[e]
            if u != v and cluster_V[u] == cluster_V[v]:
                outside[v] += weights_E[e]
    weight_to, touched, gains = np.zeros(n), np.empty(n, dtype=np.int64), np.empty(n)
    for v in _shuffled(n, state):
        rest = degree_of_cluster[cluster_V[v]] - degree_V[v]
        if not single[v] or outside[v] < penalty * degree_V[v] * rest:
            continue
        n_touched = 0
        for e in range(pointers_V[v], pointers_V[v + 1]):
            u = neighbours_E[e]
            if u == v or cluster_V[u] != cluster_V[v]:
                continue
            p = part[u]
            if weight_to[p] == 0.0:
                touched[n_touched] = p
                n_touched += 1
            weight_to[p] += weights_E[e]
        n_good, largest = 0, 0.0
        for i in range(n_touched):
            p = touched[i]
            gain = weight_to[p] - penalty * degree_V[v] * degree[p]
            others = degree_of_cluster[cluster_V[v]] - degree[p]
            gains[i] = -1.0
            if gain >= 0.0 and outside[p] >= penalty * degree[p] * others:
                gains[i] = gain
                largest = max(largest, gain)
                n_good += 1
        chosen = -1
        if n_good > 0:
            total = 0.0
            for i in range(n_touched):
                if gains[i] >= 0.0:
                    total += np.exp((gains[i] - largest) / RANDOMNESS)
            uniform = np.float64(_next(state) >> np.uint64(11)) / 9007199254740992.0
            target, seen = uniform * total, 0.0
            for i in range(n_touched):
                if gains[i] >= 0.0:
                    chosen = touched[i]
                    seen += np.exp((gains[i] - largest) / RANDOMNESS)
                    if seen > target:
                        break
        if chosen >= 0:
            outside[chosen] += outside[v] - 2.0 * weight_to[chosen]
            degree[chosen] += degree_V[v]
            part[v] = chosen
            single[chosen] = False
            single[v] = False
        for i in range(n_touched):
            weight_to[touched[i]] = 0.0
    return part
