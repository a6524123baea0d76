"""The same comparisons in our layout: n, difference, interval, test, effect size, flags."""

from __future__ import annotations

from collections.abc import Mapping

from leadline.papers.boiarsky.tables import word
from leadline.papers.claims import Cell as Place
from leadline.papers.claims import ClaimsFile, Difference, Evidence, PValue, adjusted, members
from leadline.report.tables.table import Cell, Table

TITLES = {
    "table1": "Table 1, compared: scBERT less logistic regression on PBMC",
    "table2": "Table 2, compared: ablations of scBERT less scBERT on PBMC",
    "full_data": "Supplementary Table 4, compared: scGPT less logistic regression with all labels",
    "table_s5": "Supplementary Table 5, compared: scGPT without pre-training less with it",
    "figure2": "Figure 2, compared: scBERT less logistic regression on PBMC",
    "figure3": "Figure 3, compared: scGPT less logistic regression",
}
COLUMNS = (
    "data set",
    "labels",
    "metric",
    "a",
    "b",
    "n a",
    "n b",
    "mean a",
    "mean b",
    "a - b",
    "95 % from",
    "95 % to",
    "test",
    "p",
    "p (Holm)",
    "p (Student)",
    "p (printed)",
    "Hedges g",
    "flags",
)
NOTES = (
    "Interval and p are of the named test: Welch's, or one_sample where b is one number of a "
    "deterministic model; a range of p, and Student's interval, where the runs are not public. "
    "p (Holm) is corrected for every row of this table. p (printed) is the paper's, which is "
    "Student's, uncorrected.",
)


def our_tables(evidence: Evidence, file: ClaimsFile) -> list[Table]:
    """Compare every pair of every family, and the masked accuracy with the most common bin."""
    tables = [_family(evidence, file, name) for name in file.families]
    return [*tables, _masked(evidence)]


def _family(evidence: Evidence, file: ClaimsFile, name: str) -> Table:
    family = file.families[name]
    corrected = adjusted(evidence, name, family, file.setting)
    rows = [
        _row(a, b, found, corrected.get((a, b), {}))
        for (a, b), found in members(evidence, family, file.setting).items()
    ]
    return Table(
        name=f"{name}_compared",
        title=TITLES.get(name, family.why),
        columns=COLUMNS,
        rows=rows,
        notes=[f"Family: {family.why}.", *NOTES],
    )


def _row(
    a: Place,
    b: Place,
    found: Difference | None,
    corrected: Mapping[str, PValue],
) -> list[Cell]:
    names: list[Cell] = [
        word(a.dataset),
        f"{a.fraction:.0%}",
        word(a.metric),
        f"{a.model}/{a.arm}",
        f"{b.model}/{b.arm}",
    ]
    if found is None:
        # A pair that cannot be tested may still have runs on one side.
        return [*names, *[None] * (len(COLUMNS) - len(names) - 1), "not run"]
    test = "one_sample" if "welch" not in found.tests and "one_sample" in found.p else "welch"
    interval, value = found.interval, found.tests.get(test)
    holm = corrected.get("welch_holm")
    return [
        *names,
        found.a.n,
        found.b.n,
        found.a.mean,
        found.b.mean,
        found.estimate,
        None if interval is None else interval.low,
        None if interval is None else interval.high,
        None if value is None else test,
        _number_or_range(value),
        _number_or_range(holm),
        found.p.get("student"),
        found.printed_p,
        None if found.effect is None else found.effect.estimate,
        ", ".join(dict.fromkeys(flag.id for flag in found.flags)),
    ]


def _number_or_range(value: PValue | None) -> Cell:
    if value is None:
        return None
    return str(value) if value.p is None else value.p


def _masked(evidence: Evidence) -> Table:
    rows: list[list[Cell]] = []
    metrics = (
        "masking_accuracy",
        "heuristic_accuracy_most_common_bin",
        "frac_cells_predict_most_common_bin",
    )
    for arm in ("reference", "no_gene2vec"):
        places = [Place("panglao", "scbert", arm, 1.0, metric, "Table 3") for metric in metrics]
        model, rule, share = (evidence.side(place).recomputed for place in places)
        gain = None if model is None or rule is None else model - rule
        rows.append([f"scbert/{arm}", model, rule, gain, share])
    return Table(
        name="table3_compared",
        title="Table 3, compared: the model against always naming the cell's most common bin",
        columns=[
            "arm",
            "masked accuracy",
            "most common bin",
            "gain",
            "cells given their most common bin",
        ],
        rows=rows,
        notes=["One pass over 67,880 cells each: there is no spread over runs to test with."],
    )
