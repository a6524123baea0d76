"""What `leadline worker check` finds: a worker is asked about a few cells in many ways."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from scipy import sparse

from leadline.data.cells import Cells
from leadline.errors import NotApplicable, UserError
from leadline.models.external import random_weights
from leadline.models.external.exchange import Exchange, WorkerFailed, WorkerRequest
from leadline.models.invariance import dependences, with_genes

CELLS = 20
Finding = tuple[bool, str]


def check_worker(exchange: Exchange, cells: Cells) -> Iterator[Finding]:
    """Give what is good and what is wrong, a line each, as it is found.

    `exchange` keeps no answers; `cells` have labels.
    """
    bare = replace(cells, labels_C=None, given_C=None, classes=())
    answer, request = None, WorkerRequest(step="embed")
    for pretrained in (True, False):
        request = replace(request, pretrained=pretrained)
        try:
            answer = exchange.ask(bare, request)
            break
        except NotApplicable:
            told = f"pretrained={str(pretrained).lower()}"
            yield True, f"embed with {told}: not applicable"
        except (UserError, WorkerFailed) as error:
            yield False, f"embed: {error}"
            return
    if answer is not None and answer.values_NW is not None:
        width = answer.values_NW.shape[1]
        versions = answer.facts.get("versions") or {}
        yield True, f"embed: {len(bare)} cells, {width} numbers each"
        yield bool(versions), "versions are told" if versions else "versions: reply.json has none"
        yield from on_odd_cells(exchange, bare, request, width)
        yield from in_company(exchange, bare, request)
        yield random_or_not(exchange, bare, "embed")
    yield fitting(exchange, cells)


def on_odd_cells(
    exchange: Exchange, cells: Cells, request: WorkerRequest, width: int
) -> Iterator[Finding]:
    """Ask about cells with half of the genes, and about one that expresses none."""
    half = with_genes(cells, np.arange(0, len(cells.genes), 2))
    matrix = sparse.csr_array(cells.matrix_CG.toarray() * (np.arange(len(cells)) > 0)[:, None])
    library_C = cells.library_C * (np.arange(len(cells)) > 0)
    empty = replace(cells, matrix_CG=matrix, library_C=library_C)
    for what, asked in (("half of the genes", half), ("a cell without a gene", empty)):
        try:
            answer = exchange.ask(asked, request)
        except (UserError, WorkerFailed) as error:
            yield False, f"{what}: {error}"
            continue
        assert answer.values_NW is not None
        same = answer.values_NW.shape[1] == width
        other = f"a width of {answer.values_NW.shape[1]} instead of {width}"
        yield same, f"{what}: answered" if same else f"{what}: {other}"


def in_company(exchange: Exchange, cells: Cells, request: WorkerRequest) -> Iterator[Finding]:
    """Ask about cells in another order and other company."""

    def ask(asked: Cells) -> np.ndarray:
        values = exchange.ask(asked, request).values_NW
        assert values is not None
        return values

    try:
        for found in dependences(ask, cells, vectors=True, genes=True):
            yield not found.found, found.line()
    except (UserError, WorkerFailed, ValueError) as error:
        yield False, f"cells in other company: {error}"


def random_or_not(exchange: Exchange, cells: Cells, answer: str) -> Finding:
    """Prove that random weights are random, or hear that there are none."""
    asked = Exchange(
        replace(exchange.config, pretrained=False), log=exchange.log, grace=exchange.grace
    )
    try:
        random_weights.prove_random(asked, cells, 1, answer)
    except NotApplicable:
        return True, "pretrained=false: not applicable, in plan, summary and page"
    except (UserError, WorkerFailed) as error:
        return False, f"pretrained=false: {error}"
    return True, "pretrained=false: random weights, drawn by the seed"


def fitting(exchange: Exchange, cells: Cells) -> Finding:
    """Let it fit and predict, with pretrained weights or, if there are none, with random ones."""
    for pretrained in (True, False):
        try:
            found = random_weights.probabilities_of(exchange, cells, pretrained=pretrained, seed=1)
        except NotApplicable:
            continue
        except (UserError, WorkerFailed) as error:
            return False, f"fit_predict: {error}"
        return True, f"fit_predict: {len(found)} cells, {found.shape[1]} classes"
    return True, "fit_predict: not applicable"
