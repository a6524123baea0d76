"""Which cells of the training pool are labelled, and which of those select.

The paper's draws are reproduced bit for bit with the generator that they used.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leadline.config import ProtocolConfig
from leadline.errors import UserError

Rows = NDArray[np.int64]

# The fractions of the paper's scBERT runs, in the order in which one random stream serves them.
STREAM = (1.0, 0.75, 0.5, 0.25, 0.1)
NUMBERS_AT_A_TIME = 10_000_000


def draw_labelled(
    labels_C: NDArray[np.int32], pool: Rows, rule: str, fraction: float, seed: int
) -> Rows:
    """Draw the share of the pool whose labels may be used, in the order in which it is used."""
    n_labelled = round(len(pool) * fraction)
    n_classes = len(np.unique(labels_C[pool]))
    if n_labelled < 2:
        raise UserError(
            "the labelled fraction must hold at least 2 cells",
            got=f"data.fraction={fraction:g} of {len(pool)} cells",
            remedy="raise data.fraction",
        )
    if rule == "random":
        return draw_at_random(pool, n_labelled, seed)[0]
    if rule == "random_stream":
        return draw_from_stream(pool, fraction, np.random.RandomState(seed))
    if fraction == 1:
        return pool
    if rule == "stratified_nested":
        return draw_nested(labels_C, pool, fraction, np.random.default_rng(seed))
    smallest = np.bincount(labels_C[pool])
    n_labelled = int(len(pool) * fraction)  # scikit-learn rounds down
    if n_labelled < n_classes or len(pool) - n_labelled < n_classes or (smallest == 1).any():
        raise UserError(
            "protocol.fewshot=stratified needs 2 cells of each class and room for all classes",
            got=f"{n_labelled} labelled cells for {n_classes} classes",
            remedy="use protocol.fewshot=stratified_nested, which keeps one cell of each class, "
            "or raise data.fraction",
        )
    from sklearn.model_selection import train_test_split

    labelled, _ = train_test_split(
        pool, train_size=fraction, stratify=labels_C[pool], random_state=seed, shuffle=True
    )
    return labelled


def draw_at_random(pool: Rows, count: int, seed: int) -> tuple[Rows, np.random.RandomState]:
    """Draw regardless of class; give the stream as well, as the draw leaves it.

    The legacy generator is the paper's: its draws are reproduced bit for bit.
    """
    stream = np.random.RandomState(seed)
    return stream.choice(pool, count, replace=False), stream


def draw_from_stream(pool: Rows, fraction: float, rng: Any) -> Rows:
    """Draw as the paper's scBERT script: one stream serves the fractions from all to a tenth."""
    if fraction not in STREAM:
        raise UserError(
            "protocol.fewshot=random_stream knows the paper's fractions 1, 0.75, 0.5, 0.25, 0.1",
            got=f"data.fraction={fraction:g}",
            remedy="choose one of them, or another protocol.fewshot",
        )
    for step in STREAM[: STREAM.index(fraction) + 1]:
        labelled = rng.choice(pool, round(len(pool) * step), replace=False)
    return labelled


def draw_nested(
    labels_C: NDArray[np.int32], pool: Rows, fraction: float, rng: np.random.Generator
) -> Rows:
    """Draw by class so that a smaller fraction is a subset of a larger one with the same seed.

    Every class keeps at least one cell. The order is that of the pool.
    """
    chosen = []
    for k in np.unique(labels_C[pool]):
        members = rng.permutation(pool[labels_C[pool] == k])
        chosen.append(members[: max(1, round(len(members) * fraction))])
    return pool[np.isin(pool, np.concatenate(chosen))]


def draw_selection(
    labels_C: NDArray[np.int32],
    labelled: Rows,
    given_val: Rows,
    test: Rows,
    protocol: ProtocolConfig,
    seed: int,
    binned: int = 0,
) -> tuple[Rows, Rows]:
    """Separate the cells on which an epoch or a setting is chosen from those that train.

    `binned` counts the random numbers that scGPT's script draws before, one for each value.
    """
    if protocol.selection == "none":
        return labelled, labelled[:0]
    if protocol.selection == "reported":
        return labelled, test
    if len(given_val):
        return labelled, given_val
    n_val = max(1, round(len(labelled) * protocol.selection_fraction))
    if protocol.selection not in ("holdout", "holdout_scgpt"):
        return hold_out_by_class(labels_C, labelled, n_val, seed)
    stream = np.random.RandomState(seed)
    if protocol.selection == "holdout_scgpt":
        # scikit-learn rounds up, and takes the global stream where binning has left it (D31).
        n_val = math.ceil(len(labelled) * protocol.selection_fraction)
        pass_over(stream, binned)
    if n_val >= len(labelled):
        raise nothing_to_select_on(labelled, protocol.selection_fraction)
    order = stream.permutation(len(labelled))
    return labelled[order[n_val:]], labelled[order[:n_val]]


def pass_over(stream: np.random.RandomState, count: int) -> None:
    """Draw so many uniform numbers and forget them."""
    for start in range(0, count, NUMBERS_AT_A_TIME):
        stream.random_sample(min(NUMBERS_AT_A_TIME, count - start))


def hold_out_by_class(
    labels_C: NDArray[np.int32], labelled: Rows, n_val: int, seed: int
) -> tuple[Rows, Rows]:
    """Hold out this many cells, classes in proportion; a class never gives its last cell away."""
    classes, cells_K = np.unique(labels_C[labelled], return_counts=True)
    share_K = cells_K * (n_val / len(labelled))
    held_K = np.minimum(np.floor(share_K).astype(int), cells_K - 1)
    # What rounding down left over goes to the classes that lost most by it, larger ones first.
    order = np.lexsort((-cells_K, -(share_K - held_K)))
    able = order[held_K[order] < cells_K[order] - 1]
    held_K[able[: n_val - held_K.sum()]] += 1
    if not held_K.any():
        raise nothing_to_select_on(labelled, n_val / len(labelled))
    # A stream of its own, so that the draw does not repeat that of the labelled cells.
    rng = np.random.default_rng([seed, 1])
    held = [
        rng.permutation(labelled[labels_C[labelled] == k])[:count]
        for k, count in zip(classes, held_K, strict=True)
    ]
    is_held = np.isin(labelled, np.concatenate(held))
    return labelled[~is_held], labelled[is_held]


def nothing_to_select_on(labelled: Rows, share: float) -> UserError:
    """Explain that too few labelled cells are left to choose an epoch or a setting on."""
    return UserError(
        "training and the selection set both need cells",
        got=f"{share:.2g} of {len(labelled)} labelled cells to select on",
        remedy="change protocol.selection_fraction, or raise data.fraction",
    )
