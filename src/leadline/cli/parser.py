"""`leadline predict`."""

from __future__ import annotations

import argparse
from pathlib import Path

from leadline.errors import UserError, nearest

SUMMARY = "name the types of new cells with a finished run"
HELP = """\
The table has a row for each cell: its label, the probability of that label, whether it looks
unlike the training cells, and the probability of each class. Genes are matched by name; those
that the new file lacks count as zero. DATA are settings of the new file: data.layer,
data.scale, data.gene_column, data.library_column. docs/predict.md tells the rest.

example: leadline predict --run RUN --cells new.h5ad --out labels.csv
"""
DATA = ("layer", "scale", "gene_column", "library_column")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    add = parser.add_argument
    add("data", nargs="*", metavar="DATA", help="how to read the new file, as data.KEY=VALUE")
    add("--run", required=True, metavar="RUN", help="a record: its folder or its id")
    add("--cells", required=True, type=Path, metavar="FILE", help="an .h5ad, 10x .h5 or 10x folder")
    add("--out", required=True, type=Path, metavar="FILE", help="the table to write, CSV")
    add("--runs", type=Path, default=Path("runs"), metavar="DIR", help="where RUN is an id of")
    add("--threshold", type=share, default=0.5, metavar="P", help="below it: unassigned (0.5)")
    add("--min-genes", type=share, default=0.5, metavar="SHARE", help="of the run's genes (0.5)")
    add("--positions", type=Path, metavar="NPZ", help="of the new cells, for model=embedding")
    add("--training", type=Path, metavar="FILE", help="the run's own cells, if they moved")


def share(text: str) -> float:
    """Read a number between 0 and 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError
    return value


def call(chosen: argparse.Namespace) -> int:
    """Write the table."""
    data = settings(chosen.data)
    from leadline.runs.predict import Request, annotate

    print(
        annotate(
            Request(
                run=chosen.run,
                cells=chosen.cells,
                out=chosen.out,
                runs_dir=chosen.runs,
                threshold=chosen.threshold,
                min_genes=chosen.min_genes,
                positions=chosen.positions,
                training=chosen.training,
                data=data,
            )
        )
    )
    return 0


def settings(words: list[str]) -> dict[str, str]:
    """Read data.KEY=VALUE words."""
    found = {}
    for word in words:
        key, equals, value = word.partition("=")
        name = key.removeprefix("data.")
        if not equals or not key.startswith("data.") or name not in DATA:
            raise UserError(
                "settings of the new file are data.KEY=VALUE",
                got=repr(word),
                remedy=nearest(key, [f"data.{known}" for known in DATA]),
            )
        found[name] = value
    return found
