"""`leadline predict`."""

from __future__ import annotations

import argparse

from leadline.errors import UserError, nearest


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


DATA = ("layer", "scale", "gene_column", "library_column")


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
