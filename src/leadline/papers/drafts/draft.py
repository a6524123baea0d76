"""A paper's sentences → draft claims: quoted, with what they are about as far as they say it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from leadline.papers.drafts.comparisons import ComparisonWord, comparison_words, criterion_of
from leadline.papers.drafts.document import PaperText, Passage
from leadline.papers.drafts.numbers import Mention, PrintedNumber, mentions, numbers_in
from leadline.papers.drafts.sentences import Sentence, clauses_of, sentences_of
from leadline.papers.drafts.vocabulary import NamedPlace, StudyVocabulary

SHARE_OF_LABELS = re.compile(
    r"[\s%]*(?:(?:,|or|and|to|[\d.]+|%)\s*)*of (?:the|its|their|all|our)?\s*(?:\w+\s){0,2}?"
    r"(?:training|labels?|labell?ed|data\b)",
    re.IGNORECASE,
)
FEW_LABELS = re.compile(r"few[- ]shot|(?:few|limited|less) (?:labels|training data)", re.IGNORECASE)
SETTING = re.compile(r"\b(?:c|C|alpha|lambda|k|λ|α)\s*=\s*$")
COUNTED_THINGS = re.compile(
    r"[\s-]+(?:[\w+/’'-]+\s+){0,2}?(?:cells?|genes?|parameters?)\b|\s+in the (?:test|train\w*)",
    re.IGNORECASE,
)
# Counts below are of seeds and folds, not of cells.
LEAST_COUNT = 100
# The key to the stars of a figure is no result.
KEY_TO_STARS = re.compile(r"\*\s*:?\s*p\s*(?:-?values?)?\s*[<≤]", re.IGNORECASE)
# A share of one that is smaller is a learning rate or a penalty.
LEAST_SCORE = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftClaim:
    """What one sentence claims. Empty is what the sentence does not say.

    `fractions` is None where nothing is said of few labels.
    """

    id: str
    kind: str
    sentence: Sentence
    artefacts: tuple[str, ...]
    criterion: str
    a: str
    b: str
    datasets: tuple[str, ...]
    metrics: tuple[str, ...]
    fractions: tuple[float, ...] | None
    numbers: tuple[PrintedNumber, ...]


def draft_claims(paper: PaperText, words: StudyVocabulary) -> list[DraftClaim]:
    """Draft a claim of every sentence that compares and has a number or names a table or figure.

    A sentence that only states a score, a setting or a count of cells is a draft of its own kind.
    """
    found: list[DraftClaim] = []
    for passage in paper.passages:
        if passage.kind in ("heading", "footnote"):
            continue
        for sentence in sentences_of(passage):
            for claim in _of_sentence(sentence, words, len(found) + 1):
                found.append(claim)
    return found


def _of_sentence(sentence: Sentence, words: StudyVocabulary, number: int) -> Iterator[DraftClaim]:
    if KEY_TO_STARS.search(sentence.text):
        return
    named = mentions(sentence.text)
    parts = [each for each in clauses_of(sentence) if comparison_words(each.text)]
    if len(parts) < 2:
        parts = [sentence]
    for part in parts:
        compared = comparison_words(part.text)
        numbers = numbers_in(part.text)
        artefacts = _artefacts(named, sentence.passage)
        if compared and (artefacts or _results(part.text, numbers)):
            yield _draft(number, "comparison", part, artefacts, compared, numbers, words)
            number += 1
        elif _states_a_value(part.text, numbers, words):
            yield _draft(number, "value", part, artefacts, compared, numbers, words)
            number += 1


def _artefacts(named: Sequence[Mention], passage: Passage) -> tuple[str, ...]:
    own = [passage.artefact] if passage.kind == "caption" and passage.artefact else []
    return tuple(dict.fromkeys([*(each.artefact for each in named), *own]))


def _results(text: str, numbers: Sequence[PrintedNumber]) -> list[PrintedNumber]:
    """Give the numbers that can be a result: a p, a score, a percentage, a large count."""
    return [
        each
        for each in numbers
        if each.kind in ("p", "statistic", "mean", "percent", "interval", "sd", "half_width")
        or (each.kind == "value" and ("." in each.text or "," in each.text))
        or (each.kind in ("count", "n") and each.value >= LEAST_COUNT)
    ]


def _states_a_value(text: str, numbers: Sequence[PrintedNumber], words: StudyVocabulary) -> bool:
    if any(SETTING.search(text[: each.start]) for each in numbers):
        return True
    for each in numbers:
        if (
            each.kind == "count"
            and each.value >= LEAST_COUNT
            and COUNTED_THINGS.match(text, each.end)
        ):
            return True
    scores = [
        each
        for each in numbers
        if each.kind in ("mean", "percent")
        or (each.kind == "value" and LEAST_SCORE < each.value < 1)
    ]
    return bool(scores and words.metrics_in(text)) and any(
        not SHARE_OF_LABELS.match(text, each.end) for each in scores
    )


def _draft(
    number: int,
    kind: str,
    sentence: Sentence,
    artefacts: tuple[str, ...],
    compared: list[ComparisonWord],
    numbers: list[PrintedNumber],
    words: StudyVocabulary,
) -> DraftClaim:
    text = sentence.text
    arms = words.arms_in(text, sentence.passage.text)
    results = _results(text, numbers)
    counts_alone = bool(results) and all(each.kind in ("count", "n") for each in results)
    is_judged = kind == "comparison" and not counts_alone
    criterion = criterion_of(text, compared) if is_judged else ""
    a, b = _sides(arms, compared, criterion)
    b = b if kind == "comparison" else ""
    return DraftClaim(
        id=f"D{number:03d}",
        kind=kind,
        sentence=sentence,
        artefacts=artefacts,
        criterion=criterion,
        a=a,
        b=b,
        datasets=tuple(words.datasets_in(text)),
        metrics=tuple(words.metrics_in(text)),
        fractions=_fractions(text, numbers),
        numbers=tuple(numbers),
    )


def _sides(
    arms: Sequence[NamedPlace], compared: Sequence[ComparisonWord], criterion: str
) -> tuple[str, str]:
    """Choose a and b: of `below`, a is the one that does worse; of others, the first named.

    An arm that leaves something out is compared with the model itself where the sentence names it.
    """
    names = list(dict.fromkeys(each.name for each in arms))
    # "With a batch size of 32, scBERT …" names one arm, not two.
    named = {name.partition("/")[0] for name in names if not name.endswith(("/reference",))}
    if not any("/no_" in name for name in names):
        arms = [
            each
            for each in arms
            if not (each.name.endswith("/reference") and each.name.partition("/")[0] in named)
        ]
        names = list(dict.fromkeys(each.name for each in arms))
    changed = [name for name in names if "/no_" in name]
    if changed:
        whole = f"{changed[0].partition('/')[0]}/reference"
        return changed[0], whole if whole in names else ""
    word = next((each for each in compared if each.sense in ("better", "worse")), None)
    if word is None:
        return (names + ["", ""])[0], (names + ["", ""])[1]
    before = [each.name for each in arms if each.start < word.start]
    after = [each.name for each in arms if each.start >= word.start]
    first, second = (
        before[-1] if before else "",
        next((n for n in after if n not in before[-1:]), ""),
    )
    if not second and len(dict.fromkeys(before)) == 2:
        first, second = list(dict.fromkeys(before))
    first_is_better = (word.sense == "better") != word.is_passive
    if not criterion.endswith("below"):
        return first, second
    return (second, first) if first_is_better else (first, second)


def _fractions(text: str, numbers: Sequence[PrintedNumber]) -> tuple[float, ...] | None:
    found = [
        round(each.share, 6)
        for each in numbers
        if each.kind in ("percent", "value")
        and 0 < each.value <= 100
        and SHARE_OF_LABELS.match(text, each.end)
        and (each.kind == "percent" or re.search(r"%", text[each.end : each.end + 20]))
    ]
    shares = tuple(dict.fromkeys(x / 100 if x > 1 else x for x in found))
    if shares:
        return shares
    return () if FEW_LABELS.search(text) else None
