"""The compiled loop of scGPT's quantile bins: interpolate a cell's edges, place its values.

Legend: N stored values of all cells, C cells, Q edges of a cell, U those that
differ, B buckets.
"""

from __future__ import annotations

import numpy as np
from numba import njit

# Where a value's bin is looked up first: by the leading bits of its distance to the least value.
BUCKETS = 512


def _compiled(function):  # type: ignore[no-untyped-def]
    """Compile without the interpreter lock, cached on disk where the disk allows it."""
    try:
        return njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:  # a read-only install without a home: compile anew in each process
        return njit(nogil=True, error_model="numpy")(function)


@_compiled
def place_values(values_N, sorted_N, indptr, part_Q, low_N, high_N, edges_CQ):  # type: ignore[no-untyped-def]
    """Fill the lowest and the highest bin of each value, and edges where there is room for them.

    Values are float32 above zero, so that their bits, read as integers, sort as they do; `part_Q`
    says which quantiles the edges are.
    """
    bits_N, sorted_bits_N = values_N.view(np.uint32), sorted_N.view(np.uint32)
    n_edges = len(part_Q)
    edge_U, single_U = np.empty(n_edges), np.empty(n_edges, np.float32)
    single_bits_U = single_U.view(np.uint32)
    below_U, up_to_U = np.empty(n_edges, np.uint8), np.empty(n_edges, np.uint8)
    start_B = np.empty(BUCKETS + 1, np.uint8)
    for cell in range(len(indptr) - 1):
        begin, end = indptr[cell], indptr[cell + 1]
        size = end - begin
        if size == 0:
            continue
        # As numpy.quantile: the difference of neighbours in their own precision, the rest double.
        different = 0
        for edge in range(n_edges):
            virtual = (size - 1) * part_Q[edge]
            below = int(virtual)
            part = virtual - below
            lower, upper = sorted_N[begin + below], sorted_N[begin + min(below + 1, size - 1)]
            gap = np.float64(np.float32(upper - lower))
            if part < 0.5:
                found = np.float64(lower) + gap * part
            else:
                found = np.float64(upper) - gap * (1.0 - part)
            if different == 0 or found != edge_U[different - 1]:
                edge_U[different], single_U[different] = found, np.float32(found)
                below_U[different] = edge
                different += 1
            up_to_U[different - 1] = edge + 1
            if len(edges_CQ) > 0:
                edges_CQ[cell, edge + 1] = found
        # Edges in an earlier bucket are at most the value; those in its own are compared.
        least, most = sorted_bits_N[begin], sorted_bits_N[end - 1]
        shift = np.uint32(0)
        while (most - least) >> shift >= BUCKETS:
            shift += np.uint32(1)
        bucket = 0
        for edge in range(different):
            place = (min(max(single_bits_U[edge], least), most) - least) >> shift
            while bucket <= place:
                start_B[bucket] = edge
                bucket += 1
        while bucket <= BUCKETS:
            start_B[bucket] = different
            bucket += 1
        for at in range(begin, end):
            value = np.float64(values_N[at])
            here = np.int64(start_B[(bits_N[at] - least) >> shift])
            while here < different and edge_U[here] <= value:
                here += 1
            high_N[at] = up_to_U[here - 1]
            low_N[at] = below_U[here - 1] if edge_U[here - 1] == value else up_to_U[here - 1]
