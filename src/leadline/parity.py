"""A port against its original: anyone's weights and inputs → our outputs, as files."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from leadline import atomic
from leadline.models import scbert_parity, scgpt_parity
from leadline.npz import arrays_of


def main(words: Sequence[str]) -> None:
    """Read weights and inputs, write outputs; nothing is compared here.

    Raises
    ------
    UserError
        When the files are not what the model needs.
    """
    chosen = parser().parse_args(words)
    weights, inputs = arrays_of(chosen.weights), arrays_of(chosen.inputs)
    if chosen.model == "scbert":
        found = scbert_parity.outputs(
            weights, inputs, backend=chosen.backend, stabiliser=chosen.stabiliser
        )
    else:
        found = scgpt_parity.outputs(weights, inputs)
    atomic.write_arrays(chosen.out, found)


def parser() -> argparse.ArgumentParser:
    """Describe the words."""
    whole = argparse.ArgumentParser(prog="parity.py", description=main.__doc__.split("\n")[0])  # type: ignore[union-attr]
    models = whole.add_subparsers(dest="model", required=True)
    for name, module in (("scbert", scbert_parity), ("scgpt", scgpt_parity)):
        words = models.add_parser(
            name, description=module.outputs.__doc__, formatter_class=argparse.RawTextHelpFormatter
        )
        for place in ("weights", "inputs", "out"):
            words.add_argument(place, type=Path, help=f"the {place}, an .npz")
        if name == "scbert":
            words.add_argument("--backend", choices=scbert_parity.BACKENDS, default="auto")
            words.add_argument("--stabiliser", choices=scbert_parity.STABILISERS, default="batch")
    return whole
