"""Counts: parameters of architectures, cells of data sets, as far as numbers betray them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from leadline.errors import UserError, nearest
from leadline.papers.claims.result import Part, Verdict
from leadline.papers.claims.schema import Check, Count
from leadline.report.compare.arms import Condition
from leadline.report.compare.evidence import Evidence

# scBERT: genes of the Panglao list and one more position; the head reads all of them.
GENES, POSITIONS = 16_906, 16_907
SCBERT_WIDTH, SCBERT_INNER, SCBERT_FORWARD = 200, 640, 800
SCBERT_HEAD = (512, 128)
# scGPT's whole-human checkpoint.
VOCABULARY, WIDTH, LAYERS, FORWARD, DECODER_LAYERS = 60_697, 512, 12, 512, 3


def count_parameters(model: str, classes: int, trained: str) -> int:
    """Count the parameters of a model that are trained.

    `trained` is `all`; for scBERT `published` (last layer, final norm, head); for scGPT
    `published_freeze` (all but the embeddings, as the script that says "freeze" does) or
    `decoders` (all before the decoders frozen, as the prose says).
    """
    known = {
        ("logreg", "all"): logistic_regression,
        ("scbert", "published"): scbert_finetuned,
        ("scgpt", "all"): scgpt,
        ("scgpt", "published_freeze"): scgpt_without_embeddings,
        ("scgpt", "decoders"): scgpt_decoders,
    }
    if (model, trained) not in known:
        raise UserError(
            "parameters can be counted of known architectures",
            got=f"{model}, {trained}",
            remedy=nearest(f"{model}, {trained}", [", ".join(names) for names in known]),
        )
    return known[model, trained](classes)


def logistic_regression(classes: int) -> int:
    """Count one weight per gene and class, one intercept per class."""
    return classes * (GENES + 1)


def scbert_finetuned(classes: int) -> int:
    """Count last Performer layer, final norm and classification head."""
    return _scbert_layer() + 2 * SCBERT_WIDTH + _scbert_head(classes)


def _scbert_layer() -> int:
    attention = 3 * SCBERT_WIDTH * SCBERT_INNER + _linear(SCBERT_INNER, SCBERT_WIDTH)
    forward = _linear(SCBERT_WIDTH, SCBERT_FORWARD) + _linear(SCBERT_FORWARD, SCBERT_WIDTH)
    return attention + forward + 2 * 2 * SCBERT_WIDTH


def _scbert_head(classes: int) -> int:
    first, second = SCBERT_HEAD
    convolution = SCBERT_WIDTH + 1
    return (
        convolution + _linear(POSITIONS, first) + _linear(first, second) + _linear(second, classes)
    )


def scgpt(classes: int) -> int:
    """Count embeddings, transformer and decoders: everything."""
    embeddings = VOCABULARY * WIDTH + 2 * WIDTH
    values = _linear(1, WIDTH) + _linear(WIDTH, WIDTH) + 2 * WIDTH
    return embeddings + values + scgpt_without_embeddings(classes)


def scgpt_without_embeddings(classes: int) -> int:
    """Count transformer and decoders."""
    attention = _linear(WIDTH, 3 * WIDTH) + _linear(WIDTH, WIDTH)
    forward = _linear(WIDTH, FORWARD) + _linear(FORWARD, WIDTH)
    return LAYERS * (attention + forward + 4 * WIDTH) + scgpt_decoders(classes)


def scgpt_decoders(classes: int) -> int:
    """Count the decoder of expression and the classifier."""
    expression = 2 * _linear(WIDTH, WIDTH) + _linear(WIDTH, 1)
    hidden = (DECODER_LAYERS - 1) * (_linear(WIDTH, WIDTH) + 2 * WIDTH)
    return expression + hidden + _linear(WIDTH, classes)


def _linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


# Printed means of runs have six decimals.
HALF_UNIT_OF_MEANS = 5e-7


def count_parts(evidence: Evidence, check: Check) -> Iterator[Part]:
    """Compare each count with the one that is claimed, or their order with the listed one."""
    found = {count.name: _count(evidence, count) for count in check.counts}
    if check.criterion == "counts_ordered":
        yield _ordered(found)
        return
    for count in check.counts:
        number = found[count.name]
        if number is None:
            reason = f"no numbers of {count.dataset} {count.model} tell {count.name}"
            yield Part(label=count.name, verdict=Verdict.NOT_RUN, reason=reason)
            continue
        equal = number == count.expected
        yield Part(
            label=count.name,
            verdict=Verdict.HOLDS if equal else Verdict.FAILS,
            reason=f"{number:,.0f}" if equal else f"{number:,.2f} instead of {count.expected:,.0f}",
            estimate=number,
            numbers={count.name: number},
            margin=float(equal),
        )


def _ordered(found: dict[str, float | None]) -> Part:
    numbers = {name: number for name, number in found.items() if number is not None}
    values, label = list(numbers.values()), " < ".join(found)
    rising = all(x < y for x, y in zip(values, values[1:], strict=False))
    return Part(
        label=label,
        verdict=Verdict.HOLDS if rising else Verdict.FAILS,
        reason=" < ".join(f"{value:,.0f}" for value in values),
        estimate=values[0],
        numbers=numbers,
    )


def _count(evidence: Evidence, count: Count) -> float | None:
    if count.of == "parameters":
        return float(count_parameters(count.model, count.classes, count.trained))
    if count.of == "cells_of_bins":
        return cells_of_bins(evidence, count.dataset)
    cell = Condition(
        count.dataset, count.model, count.arm, count.fraction, count.metric, count.artefact
    )
    if count.of == "value":
        values = evidence.side(cell).values
        return float(values[0]) if values.size else None
    return _cells_of_scores(evidence, cell, count.expected or 0.0)


def _cells_of_scores(evidence: Evidence, cell: Condition, cells: float) -> float | None:
    """Give the claimed number of cells if every score is a whole number of them, else 0.

    A score known to within w tells n cells from n + 1 as long as w n is well below a half;
    scores for which it is not, say nothing and are left out.
    """
    side = evidence.side(cell)
    scores, widths = side.values, side.widths
    if not side.has_runs:
        if side.printed_mean is None:
            return None
        scores, widths = np.array([side.printed_mean]), np.array([HALF_UNIT_OF_MEANS])
    total = cells * (1 if side.has_runs else side.n)
    telling = widths * total < 0.1
    if not telling.any():
        return None
    rest = np.abs(scores * total - np.round(scores * total))
    return cells if bool((rest <= widths * total + 1e-6)[telling].all()) else 0.0


def cells_of_bins(evidence: Evidence, dataset: str) -> float | None:
    """Divide the entries of a histogram over bins of width one by the genes of each cell."""
    entries = [
        float(row["value"])
        for key, rows in evidence.runs.items()
        if key[0] == dataset and str(key[4]).startswith("count_in_[")
        for row in rows
    ]
    return round(sum(entries) / GENES, 2) if entries else None
