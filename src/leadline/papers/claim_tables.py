"""Claims and discrepancies as tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from leadline.papers.boiarsky.tables import word
from leadline.papers.claims import (
    ArmComparison,
    ClaimsFile,
    Discrepancy,
    Evidence,
    Points,
    PValue,
    Result,
    Verdict,
    adjusted,
    differences,
    members,
)
from leadline.papers.claims import Condition as Place
from leadline.report.compare.fresh_cells import NAME
from leadline.report.tables import Table, Value


def verdicts_table(results: Sequence[Result]) -> Table:
    """Give every claim with its verdict and the numbers of the part that decided."""
    rows: list[list[Value]] = []
    for result in results:
        interval, (test, p) = result.interval, main_p(result)
        ends = (None, None) if interval is None else (interval.low, interval.high)
        rows.append(
            [
                result.id,
                str(result.verdict),
                result.statement,
                result.artefact,
                result.estimate,
                *ends,
                test,
                p,
                fresh_p(result),
                ", ".join(result.fails_under),
            ]
        )
    return Table(
        name="claims",
        title="Claims and their verdicts",
        columns=[
            "claim",
            "verdict",
            "statement",
            "artefact",
            "estimate",
            "95 % from",
            "95 % to",
            "test",
            "p",
            "p (fresh cells)",
            "fails under",
        ],
        rows=rows,
        notes=[
            summary(results),
            "p (fresh cells) is of fresh runs and fresh cells of the part that decides: from the "
            "least that it can be to the most, where only scores are known. The interval is then "
            "of the runs alone: of the same cells only.",
        ],
    )


def reasons_table(results: Sequence[Result]) -> Table:
    """Give for every claim what decided it, and what a reader must know beside."""
    rows: list[list[Value]] = [
        [
            result.id,
            str(result.verdict),
            result.decided_by,
            result.reason,
            "; ".join(dict.fromkeys(raised.flag.sentence for raised in result.flags)),
            ", ".join(result.discrepancies),
        ]
        for result in results
    ]
    return Table(
        name="reasons",
        title="Why each verdict",
        columns=["claim", "verdict", "decided by", "reason", "flags", "discrepancies"],
        rows=rows,
    )


def main_p(result: Result) -> tuple[str | None, float | None]:
    """Name the test that a reader should look at first, and its p.

    The better test that contradicts, if one does; else the one over fresh cells, if that is known;
    else Welch's or what stands in its place.
    """
    against = [name for test in result.fails_under for name in (test, f"{test}_at_most")]
    order = (*against, NAME, "welch", "one_sample", "student", *result.p)
    test = next((test for test in order if test in result.p), None)
    return test, None if test is None else result.p[test]


def fresh_p(result: Result) -> Value:
    """Give p over fresh runs and cells: a number, or its two ends; None where there is none."""
    ends = result.p.get(f"{NAME}_at_least"), result.p.get(f"{NAME}_at_most")
    if ends[0] is None or ends[1] is None:
        return result.p.get(NAME)
    return str(PValue(None, ends[0], ends[1]))


def summary(results: Sequence[Result]) -> str:
    """Count verdicts in one line."""
    counts = Counter(result.verdict for result in results)
    words = {
        Verdict.HOLDS: "hold",
        Verdict.FRAGILE: "are fragile",
        Verdict.FAILS: "fail",
        Verdict.NOT_RUN: "were not run",
    }
    said = ", ".join(f"{counts[verdict]} {word}" for verdict, word in words.items())
    return f"{len(results)} claims: {said}."


def numbers_table(results: Sequence[Result]) -> Table:
    """Give every published number beside the recomputed one."""
    rows: list[list[Value]] = []
    for result in results:
        missed = differences(result)
        remarks = _remarks(result)
        for label in dict.fromkeys((*result.published, *result.recomputed)):
            rows.append(
                [
                    result.id,
                    label,
                    result.published.get(label),
                    result.recomputed.get(label),
                    missed.get(label),
                    remarks.get(label, ""),
                ]
            )
    return Table(
        name="numbers",
        title="Published and recomputed numbers",
        columns=["claim", "number", "published", "recomputed", "difference", "remark"],
        rows=rows,
        notes=["A p that was printed is Student's, and so is the recomputed one."],
    )


def _remarks(result: Result) -> dict[str, str]:
    why = "; ".join(f"{name}: {what}" for name, what in result.reasons.items())
    remarks = dict.fromkeys(result.outside_tolerance, "farther than tolerated")
    for raised in result.flags:
        if raised.flag.id == "printed_p_not_reproduced":
            remarks |= {f"{part}, p": f"{raised.flag.sentence} ({why})" for part in raised.parts}
    return remarks


def discrepancies_table(
    discrepancies: Sequence[Discrepancy], worth: Mapping[str, Sequence[Points]]
) -> Table:
    """Give every discrepancy, the switch that realises either side, and its worth in points."""
    rows: list[list[Value]] = []
    for each in discrepancies:
        switches = "; ".join(
            f"{switch.key}: "
            + ", ".join(
                f"{name} {value}"
                for name in ("code", "prose", "upstream", "corrected")
                if (value := getattr(switch, name)) is not None
            )
            for switch in each.switch
        )
        points = "; ".join(
            f"{found.what}: {'not known' if found.points is None else f'{found.points:+.2f}'}"
            for found in worth[each.id]
        )
        rows.append(
            [
                each.id,
                each.weight,
                each.status,
                each.what,
                each.evidence,
                each.consequence,
                switches or f"none: {each.switch_reason}",
                points or f"none: {each.worth_reason}",
            ]
        )
    return Table(
        name="discrepancies",
        title="Discrepancies of prose, code and notebooks",
        columns=[
            "id",
            "weight",
            "status",
            "what",
            "evidence",
            "consequence",
            "switch",
            "worth in points",
        ],
        rows=rows,
        notes=["weight: A can change a conclusion, B a number, C is documentation."],
    )


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
    "p (fresh cells)",
    "p (Student)",
    "p (printed)",
    "Hedges g",
    "flags",
)
NOTES = (
    "Interval and p are of the named test: crossed, over fresh runs and fresh cells, where there "
    "are predictions; else, of the same cells only, Welch's, or one_sample where b is one number "
    "of a deterministic model; a range of p, and Student's interval, where the runs are not "
    "public. p (fresh cells) is of fresh runs and cells: where only scores are known, from the "
    "least that it can be to the most. p (Holm) is corrected for every row of this table. "
    "p (printed) is the paper's, which is Student's, uncorrected.",
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
    found: ArmComparison | None,
    corrected: Mapping[str, PValue],
) -> list[Value]:
    names: list[Value] = [
        word(a.dataset),
        f"{a.fraction:.0%}",
        word(a.metric),
        f"{a.model}/{a.arm}",
        f"{b.model}/{b.arm}",
    ]
    if found is None:
        # A pair that cannot be tested may still have runs on one side.
        return [*names, *[None] * (len(COLUMNS) - len(names) - 1), "not run"]
    test = "one_sample" if "welch" not in found.tests and "one_sample" in found.tests else "welch"
    test = NAME if found.test == NAME else test
    interval, value = found.interval, found.tests.get(test)
    holm = corrected.get(f"{NAME}_holm" if test == NAME else "welch_holm")
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
        _number_or_range(found.tests.get(NAME)),
        found.p_of("student"),
        found.printed_p,
        None if found.effect is None else found.effect.estimate,
        ", ".join(dict.fromkeys(flag.id for flag in found.flags)),
    ]


def _number_or_range(value: PValue | None) -> Value:
    if value is None:
        return None
    return str(value) if value.p is None else value.p


def _masked(evidence: Evidence) -> Table:
    rows: list[list[Value]] = []
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
