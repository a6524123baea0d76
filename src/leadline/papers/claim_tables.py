"""Claims and discrepancies as tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from leadline.papers.claims import Discrepancy, Points, Result, Verdict, differences
from leadline.report.tables.table import Cell, Table


def verdicts_table(results: Sequence[Result]) -> Table:
    """Give every claim with its verdict and the numbers of the part that decided."""
    rows: list[list[Cell]] = []
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
            "fails under",
        ],
        rows=rows,
        notes=[summary(results)],
    )


def reasons_table(results: Sequence[Result]) -> Table:
    """Give for every claim what decided it, and what a reader must know beside."""
    rows: list[list[Cell]] = [
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

    The better test that contradicts, if one does; else Welch's or what stands in its place.
    """
    order = (*result.fails_under, "welch", "one_sample", "student", *result.p)
    test = next((test for test in order if test in result.p), None)
    return test, None if test is None else result.p[test]


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
    rows: list[list[Cell]] = []
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
    rows: list[list[Cell]] = []
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
