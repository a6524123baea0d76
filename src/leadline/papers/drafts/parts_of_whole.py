"""Shares of a whole, over sentences: splits that miss 100 %, counts that are another share.

A paper says "95 % for training and 5 % for validation" in one place, how many cells it validated on
in another, and how many there are in a third; the three must fit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from leadline.papers.drafts.document import Address
from leadline.papers.drafts.inconsistency import Inconsistency, place_of
from leadline.papers.drafts.numbers import PrintedNumber, numbers_in
from leadline.papers.drafts.sentences import Sentence
from leadline.papers.drafts.vocabulary import StudyVocabulary

PARTS = {
    "training": r"train(?:ing|ed)?\b",
    "validation": r"validat(?:ion|e|ing)\b|held[- ]out",
    "test": r"test(?:ing|ed)?\b",
}
AFTER_SHARE = {
    name: re.compile(
        rf"\s?%\s*(?:of (?:the |all )?(?:data|cells|samples)\s*)?(?:(?:was|were|is|are)\s*)?"
        rf"(?:used\s*)?(?:(?:for|as|in)\s*)?(?:the\s*)?(?:{words})",
        re.IGNORECASE,
    )
    for name, words in PARTS.items()
}
COUNTED = re.compile(r"[\s-]+(?:[\w/-]+\s+){0,3}?(?:cells?|samples?|patients?|images?)\b", re.I)
PLACED = {
    name: re.compile(rf"(?<!-)\b(?:{words})[\s-]+(?:data[\s-]?)?sets?\b", re.IGNORECASE)
    for name, words in PARTS.items()
}
TOPICS = {
    "pre-training": re.compile(r"pre-?train", re.IGNORECASE),
    "fine-tuning": re.compile(r"fine-?tun", re.IGNORECASE),
}
LEAST_COUNT = 1000
LISTED = re.compile(
    r"\s+(?:(?:different|distinct)\s+)?(?:\w+\s+){1,2}?(?:types|classes|tissues|datasets|data sets|"
    r"donors|genes|studies|models)\s*\(([^()]{5,600})\)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartOfWhole:
    """A share or a count of cells: of which part (none: of the whole), and what it is about."""

    number: PrintedNumber
    sentence: Sentence
    part: str
    topics: frozenset[str]


def parts_of_wholes(
    sentences: Sequence[Sentence], words: StudyVocabulary
) -> Iterator[Inconsistency]:
    """Check splits, lists with their counts, and counts of parts against counts of wholes."""
    shares: list[PartOfWhole] = []
    counts: list[PartOfWhole] = []
    for sentence in sentences:
        text = sentence.text
        numbers = numbers_in(text)
        if not numbers:
            continue
        yield from _lists(sentence, numbers)
        topics = _topics(text, words)
        own = [
            PartOfWhole(number=each, sentence=sentence, part=part, topics=topics)
            for each in numbers
            if each.kind == "percent" and (part := _part_after(text, each))
        ]
        yield from _split(own)
        shares += own
        counts += [
            PartOfWhole(
                number=each,
                sentence=sentence,
                part=_part_beside(text, each, numbers),
                topics=topics,
            )
            for each in numbers
            if each.kind in ("count", "n")
            and each.value >= LEAST_COUNT
            and COUNTED.match(text, each.end)
        ]
    yield from _counts_of_parts(shares, counts)


def _topics(text: str, words: StudyVocabulary) -> frozenset[str]:
    named = {each.name for each in words.models_in(text)} | set(words.datasets_in(text))
    return frozenset(named | {name for name, found in TOPICS.items() if found.search(text)})


def _part_after(text: str, number: PrintedNumber) -> str:
    return next((name for name, found in AFTER_SHARE.items() if found.match(text, number.end)), "")


def _part_beside(text: str, number: PrintedNumber, numbers: Sequence[PrintedNumber]) -> str:
    """Name the set that a count is said to be of: up to the next number, else none."""
    following = [each.start for each in numbers if each.start > number.end]
    stretch = text[number.end : following[0] if following else len(text)]
    return next((name for name, found in PLACED.items() if found.search(stretch)), "")


def _split(shares: Sequence[PartOfWhole]) -> Iterator[Inconsistency]:
    """Check that the shares of one sentence, each of another part, come to 100 %."""
    parts = [each.part for each in shares]
    if len(shares) < 2 or len(set(parts)) < len(parts) or "training" not in parts:
        return
    low = sum(each.number.low for each in shares)
    high = sum(each.number.high for each in shares)
    whole = all(each.number.value == int(each.number.value) for each in shares)
    total = sum(each.number.value for each in shares)
    if not low <= 100 <= high or (whole and total != 100 and len(shares) == 2):
        listed = " and ".join(f"{each.number.text} % {each.part}" for each in shares)
        yield Inconsistency(said=f"{listed} come to {total:g} %", places=_places(shares))


def _places(parts: Sequence[PartOfWhole]) -> tuple[Address, ...]:
    return tuple(place_of(each.sentence.address, each.number) for each in parts)


def _counts_of_parts(
    shares: Sequence[PartOfWhole], counts: Sequence[PartOfWhole]
) -> Iterator[Inconsistency]:
    """Check each count of a part against the wholes that are about the same, and the share."""
    seen = set()
    for count in (each for each in counts if each.part):
        fitting = [
            each
            for each in shares
            if each.part == count.part and len(each.topics & count.topics) >= 2
        ]
        wholes = [each for each in counts if not each.part and each.topics & count.topics]
        if not fitting or not wholes:
            continue
        share = max(fitting, key=lambda each: len(each.topics & count.topics))
        closest = max(len(each.topics & (count.topics | share.topics)) for each in wholes)
        near = [
            each for each in wholes if len(each.topics & (count.topics | share.topics)) == closest
        ]
        if any(_fits(count, share, whole) for whole in wholes):
            continue
        key = (count.number.value, share.number.value)
        if closest < 2 or key in seen:
            continue
        seen.add(key)
        whole = near[0]
        implied = count.number.value / share.number.value * 100
        yield Inconsistency(
            said=f"{count.number.text} as {share.number.text} % for {count.part} are of "
            f"{implied:,.0f}, the text says {whole.number.text}",
            places=_places([count, share, whole]),
        )


def _fits(count: PartOfWhole, share: PartOfWhole, whole: PartOfWhole) -> bool:
    low = share.number.low / 100 * whole.number.low
    high = share.number.high / 100 * whole.number.high
    return low - 1 <= count.number.value <= high + 1


def _lists(sentence: Sentence, numbers: Sequence[PrintedNumber]) -> Iterator[Inconsistency]:
    """Count the items of "13 cell types (alpha, beta, …)"."""
    for number in numbers:
        listed = LISTED.match(sentence.text, number.end)
        if listed is None or number.kind not in ("count", "value") or not 2 < number.value <= 60:
            continue
        if re.search(r"\b(?:e\.?g|such as|including|etc|for example)\b|;|…", listed[1]):
            continue
        items = [each for each in re.split(r",\s*(?:and\s+)?|\s+and\s+", listed[1]) if each.strip()]
        if len(items) != number.value and len(items) > 2:
            yield Inconsistency(
                said=f"{number.text} are announced and {len(items)} listed",
                places=(place_of(sentence.address, number),),
            )
