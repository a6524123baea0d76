"""The compiled loops over scBERT's tokens: how many of each there are, and which are chosen.

Legend: N tokens of all cells, cell by cell; B cells, each from start_B[cell] to start_B[cell + 1];
T kinds of tokens; K places that are chosen.
"""

from __future__ import annotations

import numpy as np

from leadline.stats.jit import compiled

# The draw at which a cell's choice ends is looked for among those with the same leading bits.
LEADING_BITS = 10


@compiled
def count_tokens(cell_N, token_N, counts_BT):  # type: ignore[no-untyped-def]
    """Count each token in each cell."""
    for place in range(len(cell_N)):
        counts_BT[cell_N[place], token_N[place]] += 1


@compiled
def choose_lowest(draw_N, start_B, wanted_B, bits, place_K):  # type: ignore[no-untyped-def]
    """Find the places of so many lowest draws of each cell; of equal draws the first ones.

    Draws have so many bits. There is room in `place_K` for all that is wanted and one more.
    """
    shift = np.uint64(max(bits - LEADING_BITS, 0))
    found = 0
    count_H = np.empty(1 << LEADING_BITS, np.int64)
    for cell in range(len(wanted_B)):
        wanted = wanted_B[cell]
        if wanted == 0:
            continue
        draw_M = draw_N[start_B[cell] : start_B[cell + 1]]
        count_H[:] = 0
        for draw in draw_M:
            count_H[draw >> shift] += 1
        head = np.uint64(0)
        while count_H[head] < wanted:
            wanted -= count_H[head]
            head += np.uint64(1)
        near_M = np.sort(draw_M[(draw_M >> shift) == head])
        last = near_M[wanted - 1]
        equal = wanted - np.searchsorted(near_M, last)
        for place in range(len(draw_M)):
            place_K[found] = start_B[cell] + place
            tie = draw_M[place] == last and equal > 0
            equal -= tie
            found += draw_M[place] < last or tie
