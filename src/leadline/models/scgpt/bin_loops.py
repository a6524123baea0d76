"""The compiled loop of scGPT's quantile bins: interpolate a cell's edges, place its values.

Legend: N stored values of all cells, M of one cell, C cells, R cells of one piece, Q edges of a
cell, U those that differ, B buckets.
"""

from __future__ import annotations

import numpy as np

from leadline.stats.jit import compiled

# Where a value's bin is looked up first: by the leading bits of its distance to the least value.
BUCKETS = 512
# Unsigned, so that no index is taken for one that counts from the end.
ONE = np.uint64(1)


@compiled
def lay_out(values_N, indptr, start, sorted_RM):  # type: ignore[no-untyped-def]
    """Lay the values of some cells out as rows, infinity behind the shorter ones."""
    for row in range(len(sorted_RM)):
        value_M = values_N[indptr[start + row] : indptr[start + row + 1]]
        sorted_RM[row, : len(value_M)] = value_M
        sorted_RM[row, len(value_M) :] = np.inf


@compiled
def place_values(values_N, indptr, start, sorted_RM, part_Q, low_N, high_N, edges_CQ):  # type: ignore[no-untyped-def]
    """Fill the lowest and the highest bin of each value, and edges where there is room for them.

    Values are float32 above zero, so that their bits, read as integers, sort as they do; `part_Q`
    says which quantiles the edges are. The sorted rows are those of the cells from `start` on.
    """
    n_edges = len(part_Q)
    # Edges that differ are counted from 1; before and behind them stands what no value reaches.
    edge_U = np.empty(n_edges + 2)
    single_U = np.empty(n_edges + 2, np.float32)
    single_bits_U = single_U.view(np.uint32)
    below_U, up_to_U = np.zeros(n_edges + 2, np.uint8), np.zeros(n_edges + 2, np.uint8)
    start_B = np.empty(BUCKETS, np.uint8)
    for row in range(len(sorted_RM)):
        cell = start + row
        value_M = values_N[indptr[cell] : indptr[cell + 1]]
        sorted_M = sorted_RM[row, : len(value_M)]
        low_M = low_N[indptr[cell] : indptr[cell + 1]]
        high_M = high_N[indptr[cell] : indptr[cell + 1]]
        bits_M, sorted_bits_M = value_M.view(np.uint32), sorted_M.view(np.uint32)
        size = len(value_M)
        if size == 0:
            continue
        # As numpy.quantile: the difference of neighbours in their own precision, the rest double.
        different = 0
        edge_U[0] = -1.0
        for edge in range(n_edges):
            virtual = (size - 1) * part_Q[edge]
            below = int(virtual)
            part = virtual - below
            lower, upper = sorted_M[below], sorted_M[min(below + 1, size - 1)]
            gap = np.float64(np.float32(upper - lower))
            if part < 0.5:
                found = np.float64(lower) + gap * part
            else:
                found = np.float64(upper) - gap * (1.0 - part)
            if found != edge_U[different]:
                different += 1
                edge_U[different], single_U[different] = found, np.float32(found)
                below_U[different] = edge
            up_to_U[different] = edge + 1
            if len(edges_CQ) > 0:
                edges_CQ[cell, edge + 1] = found
        edge_U[different + 1] = np.inf
        # Edges in an earlier bucket are at most the value; those in its own are compared.
        least, most = sorted_bits_M[0], sorted_bits_M[size - 1]
        shift = np.uint32(0)
        while (most - least) >> shift >= BUCKETS:
            shift += np.uint32(1)
        buckets = np.int64((most - least) >> shift) + 1
        bucket = 0
        for edge in range(1, different + 1):
            place = (min(max(single_bits_U[edge], least), most) - least) >> shift
            while bucket <= place:
                start_B[bucket] = edge - 1
                bucket += 1
        while bucket < buckets:
            start_B[bucket] = different
            bucket += 1
        for at in range(size):
            value = np.float64(value_M[at])
            here = np.uint64(start_B[np.uint64((bits_M[at] - least) >> shift)])
            while edge_U[here + ONE] <= value:
                here += ONE
            high_M[at] = up_to_U[here]
            low_M[at] = below_U[here] if edge_U[here] == value else up_to_U[here]
