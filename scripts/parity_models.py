"""A port against its original: anyone's weights and inputs → our outputs, as files.

scripts/parity.py scbert|scgpt.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from leadline import files
from leadline.files import arrays_of
from leadline.models.scbert import parity
from leadline.models.scgpt import parity as scgpt_parity


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
        found = parity.outputs(
            weights, inputs, backend=chosen.backend, stabiliser=chosen.stabiliser
        )
    else:
        found = scgpt_parity.outputs(weights, inputs)
    files.write_arrays(chosen.out, found)


def parser() -> argparse.ArgumentParser:
    """Describe the words."""
    whole = argparse.ArgumentParser(prog="parity.py", description=main.__doc__.split("\n")[0])  # type: ignore[union-attr]
    models = whole.add_subparsers(dest="model", required=True)
    for name, module in (("scbert", parity), ("scgpt", scgpt_parity)):
        words = models.add_parser(
            name, description=module.outputs.__doc__, formatter_class=argparse.RawTextHelpFormatter
        )
        for place in ("weights", "inputs", "out"):
            words.add_argument(place, type=Path, help=f"the {place}, an .npz")
        if name == "scbert":
            words.add_argument("--backend", choices=parity.BACKENDS, default="auto")
            words.add_argument("--stabiliser", choices=parity.STABILISERS, default="batch")
    return whole
