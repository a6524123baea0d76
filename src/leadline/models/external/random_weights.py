"""Proves that a worker's weights are random when it is asked for random weights."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leadline.data.cells import Cells
from leadline.errors import NotApplicable, UserError
from leadline.models.external.exchange import Exchange, WorkerRequest, private_folder

# Cells that are asked about, and the share of the answers' size that counts as rounding.
CELLS, ROUNDING = 60, 1e-4


def prove_random(exchange: Exchange, cells: Cells, seed: int, answer: str) -> dict[str, Any]:
    """Ask with pretrained, with random and with other random weights; refuse what contradicts.

    Nothing is asked where the run wants pretrained weights.
    """
    if exchange.config.pretrained:
        return {}
    some = sample(cells)
    ask = embedding_of if answer == "embed" else probabilities_of
    random = ask(exchange, some, pretrained=False, seed=seed)
    again = ask(exchange, some, pretrained=False, seed=seed, fresh=True)
    other = ask(exchange, some, pretrained=False, seed=seed + 1)
    found = {"same_seed": away(random, again), "another_seed": away(random, other)}
    # A model without pretrained weights has nothing that its random ones could be.
    with contextlib.suppress(NotApplicable):
        known = ask(exchange, some, pretrained=True, seed=0)
        found["pretrained"] = away(random, known)
    rule = "model.pretrained=false asks a worker for random weights, drawn by the seed"
    if found["same_seed"] > ROUNDING:
        raise UserError(
            rule,
            got=f"answers {found['same_seed']:.2g} apart with the same seed",
            remedy="seed every generator with request['seed'], or exit with 99",
        )
    if found["another_seed"] <= ROUNDING:
        raise UserError(
            rule,
            got="the same answers with two seeds",
            remedy="draw the weights by request['seed'], or exit with 99 where there are none",
        )
    if found.get("pretrained", 1.0) <= ROUNDING:
        raise UserError(
            rule,
            got="the answers of the pretrained weights",
            remedy="load no weights when request['pretrained'] is false, or exit with 99",
        )
    return found


def sample(cells: Cells) -> Cells:
    """Take the first cells, alike of each class where labels are known."""
    if cells.labels_C is None:
        return cells.take(np.arange(min(CELLS, len(cells))))
    rank_C = np.empty(len(cells), dtype=np.int64)
    for k in np.unique(cells.labels_C):
        mine = np.flatnonzero(cells.labels_C == k)
        rank_C[mine] = np.arange(len(mine))
    return cells.take(np.sort(np.argsort(rank_C, kind="stable")[:CELLS]))


def embedding_of(
    exchange: Exchange, cells: Cells, *, pretrained: bool, seed: int, fresh: bool = False
) -> NDArray[np.float32]:
    """Ask for vectors; `fresh` takes no kept answer."""
    bare = replace(cells, labels_C=None, given_C=None, classes=())
    request = WorkerRequest(step="embed", pretrained=pretrained, seed=seed)
    if not fresh:
        answer = exchange.ask(bare, request)
    else:
        with private_folder(exchange.cache) as folder:
            answer = exchange.ask_in(folder, bare, request)
    assert answer.values_NW is not None
    return answer.values_NW


def probabilities_of(
    exchange: Exchange, cells: Cells, *, pretrained: bool, seed: int, fresh: bool = False
) -> NDArray[np.float32]:
    """Fit on labelled cells and ask for probabilities of the same cells; none are kept."""
    assert cells.labels_C is not None
    classes = tuple(cells.classes[k] for k in np.unique(cells.labels_C))
    bare = replace(cells, labels_C=None, given_C=None, classes=())
    with private_folder(exchange.cache) as folder:
        request = WorkerRequest(step="fit", pretrained=pretrained, seed=seed, classes=classes)
        exchange.ask_in(folder, cells, request)
        answer = exchange.ask_in(folder, bare, replace(request, step="predict"))
    assert answer.values_NW is not None
    return answer.values_NW


def away(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Give the largest difference relative to the largest value; 2 for another width."""
    if one.shape != other.shape:
        return 2.0
    size = max(float(np.abs(one).max()), float(np.abs(other).max()), 1e-12)
    return float(np.abs(one - other).max()) / size
