"""Checks that need a whole table: totals, percentages, GRIM by row, and p against means."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from leadline.papers.drafts.document import Address, PaperTable, TableCell
from leadline.papers.drafts.draft import DraftClaim
from leadline.papers.drafts.grid import is_numeric
from leadline.papers.drafts.inconsistency import Inconsistency, place_of
from leadline.papers.drafts.numbers import (
    CONFIDENCE,
    DEVIATION,
    PrintedNumber,
    number_of_cell,
)
from leadline.papers.drafts.printed_tests import (
    grim,
    interval_without_mean,
    no_whole_number,
    p_of_two_means,
    share_of_count,
)
from leadline.papers.drafts.vocabulary import StudyVocabulary

TOTAL = re.compile(r"\b(?:total|all|overall|sum)\b", re.IGNORECASE)
SIZE = re.compile(r"\bn\b|\b(?:number of )?(?:cells|samples|patients|items|subjects)\b", re.I)
RATE = re.compile(r"accurac|%|percent|proportion|rate|share|recall|sensitivity", re.IGNORECASE)
PERCENT_HEAD = re.compile(r"%|percent", re.IGNORECASE)
P_HEAD = re.compile(r"^\s*p\b|\bp[-\s]?values?\b", re.IGNORECASE)
RUNS = re.compile(
    r"\b(\d{1,4})\s+(?:different\s+)?(?:random\s+)?"
    r"(?:seeds|runs|parameter|replicates|repetitions|initiali[sz]ations|times)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableValue:
    """The first number of a cell, with the names of its row and column."""

    table: PaperTable
    cell: TableCell
    row_name: str
    column_name: str
    number: PrintedNumber
    others: tuple[PrintedNumber, ...]

    @property
    def spread(self) -> PrintedNumber | None:
        """Give what stands after ±."""
        kinds = ("sd", "half_width", "spread")
        return next((each for each in self.others if each.kind in kinds), None)


def stub_columns(table: PaperTable) -> int:
    """Count the leading columns that name rows: of header cells, or without any number."""
    count = 0
    width = len(table.grid[0]) if table.grid else 0
    for k in range(width - 1):
        cells = [line[k] for line in table.grid[table.header_rows :]]
        said = [cell for cell in cells if cell is not None and cell.text]
        names = [cell for cell in said if cell.is_header or not is_numeric(cell.text)]
        if not said or len(names) < len(said):
            break
        count += 1
    return count


def values_of(table: PaperTable) -> Iterator[TableValue]:
    """Give every number below the header rows and right of the names of rows."""
    stubs = stub_columns(table)
    group = ""
    for i in range(table.header_rows, len(table.grid)):
        line = table.grid[i]
        distinct = {id(cell) for cell in line if cell is not None}
        first = next((cell for cell in line if cell is not None), None)
        if len(distinct) == 1 and first is not None and first.columns > 1:
            group = first.text
            continue
        names = [cell.text for cell in line[:stubs] if cell is not None and cell.text]
        row_name = " / ".join(dict.fromkeys(filter(None, [group, *names])))
        for cell in line[stubs:]:
            if cell is None or cell.row != i:
                continue
            numbers = number_of_cell(cell.text)
            if numbers:
                yield TableValue(
                    table=table,
                    cell=cell,
                    row_name=row_name,
                    column_name=table.column_name(cell.column),
                    number=_typed(numbers[0], table.column_name(cell.column)),
                    others=tuple(numbers[1:]),
                )


def _typed(number: PrintedNumber, column: str) -> PrintedNumber:
    """Let the head of a column say what its plain numbers are."""
    if number.kind != "value":
        return number
    if P_HEAD.search(column):
        low, high = (0.0, number.value) if number.relation == "<" else (number.low, number.high)
        return replace(number, kind="p", low=low, high=high)
    return replace(number, kind="percent") if PERCENT_HEAD.search(column) else number


def address_of(cell: TableCell) -> Address:
    """Give the address of a whole cell."""
    return Address(path=cell.path, start=0, end=len(cell.text), quote=cell.text)


def percentages_and_totals(table: PaperTable) -> Iterator[Inconsistency]:
    """Check each cell, rates against the n of their row, and rows that are called totals."""
    values = list(values_of(table))
    for value in values:
        numbers = (value.number, *value.others)
        for said, involved in (
            *interval_without_mean(numbers),
            *grim(numbers),
            *share_of_count(value.cell.text, numbers),
        ):
            whole = address_of(value.cell)
            yield Inconsistency(
                said=f"{said} ({table.label or table.path}, {value.row_name}, {value.column_name})",
                places=tuple(place_of(whole, each) for each in involved),
            )
    yield from _rates_of_rows(values)
    yield from _totals(table, values)


def _rates_of_rows(values: Sequence[TableValue]) -> Iterator[Inconsistency]:
    for rate in values:
        if not RATE.search(rate.column_name) or rate.spread is not None or rate.others:
            continue
        size = next(
            (
                each
                for each in values
                if each.cell.row == rate.cell.row
                and SIZE.search(each.column_name)
                and each.number.value == int(each.number.value)
                and each is not rate
            ),
            None,
        )
        if size is None or rate.number.value == int(rate.number.value):
            continue
        if said := no_whole_number(rate.number, size.number.value):
            yield Inconsistency(
                said=f"{said} ({rate.table.label or rate.table.path}, {rate.row_name})",
                places=(address_of(rate.cell), address_of(size.cell)),
            )


def _totals(table: PaperTable, values: Sequence[TableValue]) -> Iterator[Inconsistency]:
    """Compare the row of totals with the sum of the others, column by column of counts."""
    totals = [each for each in values if TOTAL.search(each.row_name.rpartition(" / ")[2])]
    if len({each.cell.row for each in totals}) != 1:
        return
    for total in totals:
        column = [each for each in values if each.cell.column == total.cell.column]
        parts = [each for each in column if each.cell.row < total.cell.row]
        whole = all(
            each.number.value == int(each.number.value) and not each.others for each in parts
        )
        is_percent = total.number.kind == "percent"
        if (
            len(parts) < 2
            or not (whole or is_percent)
            or RATE.search(total.column_name)
            and not is_percent
        ):
            continue
        if is_percent and not 99 <= total.number.value <= 101:
            continue
        low = sum(each.number.low if is_percent else each.number.value for each in parts)
        high = sum(each.number.high if is_percent else each.number.value for each in parts)
        if not low - 1e-9 <= total.number.value <= high + 1e-9:
            summed = f"{sum(each.number.value for each in parts):g}"
            yield Inconsistency(
                said=f"{table.label or table.path}, {total.column_name}: the parts come to "
                f"{summed}, {total.row_name} is {total.number.text}",
                places=(address_of(total.cell), *(address_of(each.cell) for each in parts)),
            )


def printed_p(
    claims: Sequence[DraftClaim], values: Sequence[TableValue], words: StudyVocabulary
) -> Iterator[Inconsistency]:
    """Check a p in prose against mean, interval and n of the two arms in a table.

    The arms and metrics are those of the draft claim; there must be one p a metric, in order.
    """
    by_place: dict[tuple[str, str], list[TableValue]] = {}
    for value in values:
        if value.spread is None:
            continue
        context = value.table.caption
        arms = {each.name for each in words.arms_in(value.row_name, context)}
        changed = {each for each in arms if not each.endswith("/reference")}
        for arm in changed or arms:
            for metric in words.metrics_in(value.column_name):
                by_place.setdefault((arm, metric), []).append(value)
    for claim in claims:
        printed = [each for each in claim.numbers if each.kind == "p" and each.relation == "="]
        if not printed or len(printed) != len(claim.metrics) or not claim.a:
            continue
        other = claim.b or f"{claim.a.partition('/')[0]}/reference"
        for metric, p in zip(claim.metrics, printed, strict=True):
            sides = [
                [
                    each
                    for each in by_place.get((arm, metric), [])
                    if not claim.artefacts or each.table.label in claim.artefacts
                ]
                for arm in (claim.a, other)
            ]
            pairs = [
                (x, y) for x in sides[0] for y in sides[1] if x.table is y.table and x is not y
            ]
            if len(pairs) == 1:
                yield from _against(claim, p, *pairs[0])


def _against(
    claim: DraftClaim, p: PrintedNumber, a: TableValue, b: TableValue
) -> Iterator[Inconsistency]:
    runs = RUNS.search(a.table.caption)
    spread = _spread_of(a.table.caption)
    if runs is None or not spread or a.spread is None or b.spread is None:
        return
    n = int(runs[1])
    if n < 2:
        return
    low, high = p_of_two_means(a.number, a.spread, b.number, b.spread, n, spread)
    if high < p.low or low > p.high:
        yield Inconsistency(
            said=f"{a.cell.text} and {b.cell.text} over {n} runs each have p {low:.2g} to "
            f"{high:.2g}, not {p.text} ({a.table.label}, {a.column_name})",
            places=(
                place_of(claim.sentence.address, p), address_of(a.cell), address_of(b.cell),
            ),
        )  # fmt: skip


def _spread_of(caption: str) -> str:
    """Say what the caption calls the numbers after ±; nothing where it says nothing."""
    if DEVIATION.search(caption):
        return "sd"
    return "half_width" if CONFIDENCE.search(caption) else ""
