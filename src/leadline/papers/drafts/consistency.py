"""Numbers of one paper that cannot all be right: each with the places that disagree.

A finding is never more than arithmetic on what is printed; roundings are always granted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from leadline.papers.drafts.consistency_tables import (
    TableValue,
    percentages_and_totals,
    printed_p,
    values_of,
)
from leadline.papers.drafts.document import Address, PaperText
from leadline.papers.drafts.draft import DraftClaim
from leadline.papers.drafts.inconsistency import Inconsistency, place_of
from leadline.papers.drafts.numbers import PrintedNumber, mentions, numbers_in
from leadline.papers.drafts.parts_of_whole import parts_of_wholes
from leadline.papers.drafts.printed_tests import (
    grim,
    interval_of_sd,
    interval_without_mean,
    p_of_statistic,
    share_of_count,
)
from leadline.papers.drafts.sentences import Sentence, sentences_of
from leadline.papers.drafts.vocabulary import StudyVocabulary

DIFFERENCE_BEFORE = re.compile(
    r"\b(?:by|difference|gap|drop|gain|loss|lead|increase|decrease|improvement)\b[^.;,]{0,15}$",
    re.I,
)
POINTS_AFTER = re.compile(r"\s?%?\s*(?:percentage\s+)?points?\b", re.IGNORECASE)
# Pairs of more cells are not tried.
MOST_COMPARED = 300
# In prose these are results that a table should have.
IN_TABLES = ("value", "mean", "percent", "p")


def inconsistencies(
    paper: PaperText, claims: Sequence[DraftClaim], words: StudyVocabulary
) -> list[Inconsistency]:
    """Check text against tables, tests against their degrees of freedom, counts against shares."""
    values = [value for table in paper.tables for value in values_of(table)]
    sentences = [
        sentence
        for passage in paper.passages
        if passage.kind != "heading"
        for sentence in sentences_of(passage)
    ]
    found: list[Inconsistency] = []
    for sentence in sentences:
        numbers = numbers_in(sentence.text)
        if numbers:
            found += _within(sentence, numbers)
            found += _without_a_cell(sentence, numbers, values, paper)
    for table in paper.tables:
        found += percentages_and_totals(table)
    found += printed_p(claims, values, words)
    found += parts_of_wholes(sentences, words)
    return found


def _within(sentence: Sentence, numbers: Sequence[PrintedNumber]) -> Iterator[Inconsistency]:
    """Check the numbers of one sentence against each other."""
    for said, involved in (
        *p_of_statistic(numbers),
        *interval_without_mean(numbers),
        *interval_of_sd(numbers),
        *grim(numbers),
        *share_of_count(sentence.text, numbers),
    ):
        yield Inconsistency(
            said=said, places=tuple(place_of(sentence.address, each) for each in involved)
        )


def _without_a_cell(
    sentence: Sentence,
    numbers: Sequence[PrintedNumber],
    values: Sequence[TableValue],
    paper: PaperText,
) -> Iterator[Inconsistency]:
    """Find results in prose that no cell of the tables that the sentence names rounds to."""
    labels = {table.label for table in paper.tables}
    named = {each.artefact for each in mentions(sentence.text)} & labels
    if not named or sentence.passage.kind != "paragraph":
        return
    cells = [each for each in values if each.table.label in named]
    for number in numbers:
        is_result = number.kind in IN_TABLES and number.relation == "="
        if not is_result or not _is_printed_result(number):
            continue
        if number.kind == "p" and not any(each.number.kind == "p" for each in cells):
            continue
        if not any(_agrees(number, each.number) for each in cells) and not (
            _is_difference(sentence.text, number) and _is_of_two(number, cells)
        ):
            elsewhere = {each.table.label for each in values if _agrees(number, each.number)}
            told = f", but in {' and '.join(sorted(elsewhere))}" if elsewhere else ""
            said = f"{number.text} stands in no cell of {' or '.join(sorted(named))}{told}"
            tables = tuple(
                Address(path=table.path, start=0, end=0, quote="")
                for table in paper.tables
                if table.label in named
            )
            yield Inconsistency(said=said, places=(place_of(sentence.address, number), *tables))


def _is_printed_result(number: PrintedNumber) -> bool:
    # A whole number in prose may be an epoch, a size, a rank.
    return number.kind in ("p", "percent") or "." in number.text or "·" in number.text


def _agrees(prose: PrintedNumber, cell: PrintedNumber) -> bool:
    """Say whether a cell could have been rounded to the number in prose, as share or as percent."""
    if "p" in (prose.kind, cell.kind) and prose.kind != cell.kind:
        return False
    for factor in (1.0, 100.0, 0.01):
        low, high = cell.low * factor, cell.high * factor
        slack = 1e-9 * max(abs(low), abs(high), 1e-12)
        if low <= prose.high + slack and high >= prose.low - slack:
            return True
        # The sign may be in a word: "dropped by 0.06".
        if -high <= prose.high + slack and -low >= prose.low - slack:
            return True
    return False


def _is_difference(text: str, number: PrintedNumber) -> bool:
    """Say whether the words around a number call it a difference: by 0.06, 6 points, a gap of."""
    before, after = text[max(0, number.start - 40) : number.start], text[number.end :]
    return DIFFERENCE_BEFORE.search(before) is not None or POINTS_AFTER.match(after) is not None


def _is_of_two(number: PrintedNumber, cells: Sequence[TableValue]) -> bool:
    """Say whether two cells of one column or row differ by so much."""
    for i, first in enumerate(cells[:MOST_COMPARED]):
        for second in cells[i + 1 : MOST_COMPARED]:
            beside = first.cell.column == second.cell.column or first.cell.row == second.cell.row
            if first.table is not second.table or not beside:
                continue
            a, b = first.number, second.number
            difference = replace(
                a, value=a.value - b.value, low=a.low - b.high, high=a.high - b.low
            )
            if _agrees(number, difference):
                return True
    return False


def as_lines(found: Sequence[Inconsistency]) -> list[str]:
    """Give each with its places, for a terminal."""
    return [f"{each.said} ({'; '.join(map(_where, each.places))})" for each in found]


def _where(address: Address) -> str:
    letters = f" {address.start}-{address.end}" if address.end else ""
    return f"{address.path}{letters}"
