"""What pretrained models are said to have seen: the registry, and the five levels of knowing it.

The facts with their sources stand in corpora.yaml beside this file.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from leadline.errors import UserError, nearest

FILE = Path(__file__).with_name("corpora.yaml")


class SeenLevel(StrEnum):
    """How it is known whether a pretrained model has seen the reported cells."""

    HASH = "proved by hash"
    ACCESSION = "likely by accession"
    DATA_SET = "stated by data set"
    DATE = "clean by date"
    UNKNOWN = "cannot be known"


# What each level says, for readers who meet it for the first time.
MEANINGS = {
    SeenLevel.HASH: "cells were compared one by one by a hash of their content",
    SeenLevel.ACCESSION: "ids, or the most expressed genes, say that cells are the same; "
    "their counts were not compared, or differ",
    SeenLevel.DATA_SET: "a source says that the data set is in the corpus",
    SeenLevel.DATE: "the cells became public after the corpus was closed",
    SeenLevel.UNKNOWN: "nothing at hand decides it: take them for seen",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A level, and in half a sentence what it rests on."""

    level: SeenLevel
    why: str

    def __str__(self) -> str:
        return f"{self.level} ({self.why})"


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainingCorpus:
    """What a released model was pretrained on, as far as a source says so.

    `closed` is a day after which no cell came in; `contains` maps data sets to the sources that
    say they are in it.
    """

    model: str
    title: str
    corpus: str
    source: str
    closed: datetime.date | None = None
    contains: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """Since when a data set is public, and who says so."""

    public: datetime.date
    source: str


@cache
def corpora() -> dict[str, PretrainingCorpus]:
    """Give the models of the registry by name."""
    found = {}
    for name, row in _registry()["models"].items():
        row = {"contains": {}, **row}
        found[name] = PretrainingCorpus(model=name, **row)
    return found


@cache
def publications() -> dict[str, Publication]:
    """Give the data sets of which the registry knows since when they are public."""
    return {name: Publication(**row) for name, row in _registry()["datasets"].items()}


def corpus_of(model: str) -> PretrainingCorpus:
    """Give one model of the registry.

    Raises
    ------
    UserError
        When it is not there.
    """
    if model not in corpora():
        raise UserError(
            "--model must name a model of the registry of pretraining corpora",
            got=repr(model),
            remedy=nearest(model, corpora()),
        )
    return corpora()[model]


def stated(
    corpus: PretrainingCorpus,
    dataset: str | None,
    *,
    public: datetime.date | None = None,
    closed: datetime.date | None = None,
) -> Seen:
    """Say what registry and dates tell of a data set; what the user says of dates comes first."""
    if dataset in corpus.contains:
        return Seen(
            level=SeenLevel.DATA_SET,
            why=f"{dataset} is in the corpus: {corpus.contains[str(dataset)].strip()}",
        )
    known = publications().get(dataset or "")
    since = public or (known.public if known else None)
    return by_date(since, closed or corpus.closed, f"the corpus of {corpus.model}")


def by_date(public: datetime.date | None, closed: datetime.date | None, corpus: str) -> Seen:
    """Compare the day on which cells became public with that on which a corpus was closed."""
    if public is None:
        return Seen(level=SeenLevel.UNKNOWN, why="nobody says since when the cells are public")
    if closed is None:
        return Seen(level=SeenLevel.UNKNOWN, why=f"nobody says when {corpus} was closed")
    if public > closed:
        return Seen(
            level=SeenLevel.DATE,
            why=f"public since {public}, after {corpus} was closed ({closed} at the latest)",
        )
    return Seen(
        level=SeenLevel.UNKNOWN,
        why=f"public since {public}, before {corpus} was closed ({closed} at the latest)",
    )


def _registry() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return found
