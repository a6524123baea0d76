"""Passages → sentences and clauses with their places; abbreviations do not end a sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from leadline.papers.drafts.document import Address, Passage

ENDS = re.compile(
    r"[.!?][”\"'’)\]]*(?:\^\{[^}]*\})?"
    # Names of models and molecules begin sentences in small letters: scBERT, mRNA.
    r"(?=\s+[\"“‘'(\[]?(?:[A-Z0-9*↵(\[]|[a-z]{1,3}[A-Z]))"
)
ABBREVIATIONS = re.compile(
    r"(?:\b(?:e\.?g|i\.?e|cf|vs|al|etc|ca|approx|resp|figs?|tabs?|eqs?|refs?|secs?|supp|suppl|no|nos|"
    r"dr|prof|st|min|max|vol|pp|ed|eds|s\.d|c\.i)|\b[A-Z](?:\.[A-Z])*)\.$",
    re.IGNORECASE,
)
INITIAL = re.compile(r"(?<![A-Za-z])[A-Z]\.$")
CLAUSE_ENDS = re.compile(r";\s+(?:and\s+|while\s+|but\s+)?")
# What runs on for longer is cut at a space: it is no sentence, and must not be slow to read.
LONGEST_SENTENCE = 1500
# A longer bracket is not waited for to close.
LONGEST_BRACKET = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """A sentence, or one of its clauses, with where it stands."""

    address: Address
    passage: Passage

    @property
    def text(self) -> str:
        """Give its words."""
        return self.address.quote


def sentences_of(passage: Passage) -> list[Sentence]:
    """Split a passage; a full stop inside brackets or after an abbreviation ends nothing."""
    text, begin, made = passage.text, 0, []
    for found in ENDS.finditer(text):
        lead = text[max(begin, found.start() - LONGEST_BRACKET) : found.start() + 1]
        if _is_abbreviation(lead[-12:]) or _is_open(lead):
            continue
        made.append(_sentence(passage, begin, found.end()))
        begin = found.end()
    made.append(_sentence(passage, begin, len(text)))
    return [part for each in made if each.text for part in _cut(each)]


def clauses_of(sentence: Sentence) -> Iterator[Sentence]:
    """Split a sentence at semicolons outside brackets."""
    text, begin = sentence.text, 0
    start = sentence.address.start
    for found in CLAUSE_ENDS.finditer(text):
        if not _is_open(text[max(begin, found.start() - LONGEST_BRACKET) : found.start()]):
            yield _sentence(sentence.passage, start + begin, start + found.start())
            begin = found.end()
    yield _sentence(sentence.passage, start + begin, sentence.address.end)


def _cut(sentence: Sentence) -> Iterator[Sentence]:
    begin, end = sentence.address.start, sentence.address.end
    while end - begin > LONGEST_SENTENCE:
        at = sentence.passage.text.rfind(" ", begin + 1, begin + LONGEST_SENTENCE)
        at = at if at > begin else begin + LONGEST_SENTENCE
        yield _sentence(sentence.passage, begin, at)
        begin = at
    yield sentence if begin == sentence.address.start else _sentence(sentence.passage, begin, end)


def _is_abbreviation(lead: str) -> bool:
    # "Figure 2A." or "cells from B." end sentences less often than initials stand in names.
    return ABBREVIATIONS.search(lead) is not None and (
        len(lead.rstrip(".").split()[-1]) > 1 or INITIAL.search(lead) is not None
    )


def _is_open(lead: str) -> bool:
    tail = lead[-LONGEST_BRACKET:]
    return tail.count("(") > tail.count(")")


def _sentence(passage: Passage, begin: int, end: int) -> Sentence:
    raw = passage.text[begin:end]
    begin += len(raw) - len(raw.lstrip())
    quote = raw.strip()
    address = Address(path=passage.path, start=begin, end=begin + len(quote), quote=quote)
    return Sentence(address=address, passage=passage)
