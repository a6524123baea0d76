"""McNemar's test for every two runs of one seed: which model is right where the other is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from leadline import stats
from leadline.errors import UserError
from leadline.report.compare import cells
from leadline.report.compare.study import MCNEMAR, Comparison
from leadline.report.study import Study
from leadline.report.tables import Cell, Table

COLUMNS = (
    *("arm", "against", "data set", "labels", "seed", "only the arm is right"),
    *("only the other is right", "cells", "difference in accuracy", "p", "p (Holm)", "method"),
)


def mcnemar_table(study: Study, found: Sequence[Comparison]) -> Table:
    """Test two runs of each shared seed wherever two arms are compared; empty if nobody asked."""
    rows = list(_rows(study, found)) if MCNEMAR in study.tests else []
    family = {str(at): row["p"] for at, row in enumerate(rows) if "p" in row}
    for at, corrected in (stats.holm(family) if family else {}).items():
        rows[int(at)]["p (Holm)"] = corrected
    said: list[list[Cell]] = [[row.get(name) for name in COLUMNS] for row in rows]
    return Table(
        name=MCNEMAR,
        title="McNemar’s test",
        columns=list(COLUMNS),
        rows=said,
        notes=[
            "Two trained models on the same cells, one row for each seed that both arms have: what "
            f"fresh runs would give is not asked. p (Holm) is corrected over the {len(family)} "
            "tests of this table."
        ],
    )


def _rows(study: Study, found: Sequence[Comparison]) -> Iterator[dict[str, Any]]:
    for each in found:
        # Which is right does not depend on the metric, so one is enough.
        if each.a.metric != study.metrics[0]:
            continue
        place = {
            "arm": each.a.arm,
            "against": each.b.arm,
            "data set": each.a.dataset,
            "labels": f"{each.a.fraction:.0%}",
        }
        partners = dict(zip(each.b.seeds, each.b.records, strict=True))
        shared = [pair for pair in zip(each.a.seeds, each.a.records, strict=True)
                  if pair[0] in partners]  # fmt: skip
        if not shared:
            yield {**place, "method": "not tested: no seed that both arms have"}
        for seed, facts in shared:
            try:
                test = cells.mcnemar(facts, partners[seed], study.runs_dir)
            except UserError as error:
                yield {**place, "seed": seed, "method": f"not tested: {error.rule}"}
                continue
            yield {
                **place,
                "seed": seed,
                "only the arm is right": test.only_a_right,
                "only the other is right": test.only_b_right,
                "cells": test.cells,
                "difference in accuracy": test.estimate,
                "p": test.p,
                "method": test.method,
            }
