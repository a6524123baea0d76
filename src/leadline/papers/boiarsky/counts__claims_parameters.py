"""How many parameters a model trains, counted from its architecture without building it."""

from __future__ import annotations

from leadline.errors import UserError, nearest

# scBERT: genes of the Panglao list and one more position; the head reads all of them.
GENES, POSITIONS = 16_906, 16_907
SCBERT_WIDTH, SCBERT_INNER, SCBERT_FORWARD = 200, 640, 800
SCBERT_HEAD = (512, 128)
# scGPT's whole-human checkpoint.
VOCABULARY, WIDTH, LAYERS, FORWARD, DECODER_LAYERS = 60_697, 512, 12, 512, 3


def count(model: str, classes: int, trained: str) -> int:
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
