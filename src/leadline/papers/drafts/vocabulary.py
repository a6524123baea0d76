"""The words of a paper for arms, metrics and data sets → the names of records and studies."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from leadline.config.registry import ROWS
from leadline.errors import UserError
from leadline.papers.claims.schema import parse
from leadline.stats import metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperWords:
    """Names and, for each, the regular expressions of what papers call it."""

    models: dict[str, list[str]] = field(default_factory=dict)
    arms: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    datasets: dict[str, list[str]] = field(default_factory=dict)
    metrics: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedPlace:
    """A name, and where a text says it."""

    name: str
    start: int
    end: int


Pattern = re.Pattern[str]


class StudyVocabulary:
    """Finds what a text names; where words overlap, the longest counts."""

    def __init__(self, words: Sequence[PaperWords]) -> None:
        self.models = _merged([each.models for each in words])
        self.datasets = _merged([each.datasets for each in words])
        self.metrics = _merged([each.metrics for each in words])
        models = dict.fromkeys(model for each in words for model in each.arms)
        self.arms = {
            model: _merged([each.arms.get(model, {}) for each in words]) for model in models
        }

    def models_in(self, text: str) -> list[NamedPlace]:
        """Find models in their order."""
        return _places(self.models, text)

    def datasets_in(self, text: str) -> list[str]:
        """Name the data sets that a text names, each once."""
        return list(dict.fromkeys(each.name for each in _places(self.datasets, text)))

    def metrics_in(self, text: str) -> list[str]:
        """Name the metrics that a text names, each once."""
        return list(dict.fromkeys(each.name for each in _places(self.metrics, text)))

    def arms_in(self, text: str, context: str = "") -> list[NamedPlace]:
        """Find arms in their order, each as model/arm.

        A model by itself is its reference. Words for an arm that several models have belong to the
        model that the text names, else to the only one that its context names, else to none.
        """
        named = self.models_in(text)
        found = [
            NamedPlace(
                name=f"{each.name}/{self._reference(each.name)}", start=each.start, end=each.end
            )
            for each in named
        ]
        around = {each.name for each in named if each.name in self.arms} or {
            each.name for each in self.models_in(context) if each.name in self.arms
        }
        changed = []
        for model, words in self.arms.items():
            for place in _places(words, text):
                owners = [other for other in self.arms if place.name in self.arms[other]]
                if model in around and len(around) == 1 or owners == [model]:
                    changed.append(
                        NamedPlace(name=f"{model}/{place.name}", start=place.start, end=place.end)
                    )
        # The gene2vec of "without gene2vec" is no model beside scBERT.
        own = [
            each
            for each in found
            if all(each.end <= other.start or each.start >= other.end for other in changed)
        ]
        return sorted([*own, *changed], key=lambda each: (each.start, each.end))

    def _reference(self, model: str) -> str:
        # A model without arms of its own is a baseline, which studies name after itself.
        return "reference" if model in self.arms else model


def _merged(groups: Sequence[Mapping[str, Sequence[str]]]) -> dict[str, Pattern]:
    words: dict[str, list[str]] = {}
    for group in groups:
        for name, given in group.items():
            words.setdefault(name, []).extend(given)
    made = {}
    for name, given in words.items():
        if not given:
            continue
        try:
            made[name] = re.compile("|".join(f"(?:{each})" for each in given), re.IGNORECASE)
        except re.error as error:
            raise UserError(
                "words of a vocabulary must be regular expressions",
                got=f"{', '.join(given)} for {name} ({error})",
                remedy="escape what is meant as it stands",
            ) from error
    return made


def _places(words: Mapping[str, Pattern], text: str) -> list[NamedPlace]:
    every = [
        NamedPlace(name=name, start=found.start(), end=found.end())
        for name, pattern in words.items()
        for found in pattern.finditer(text)
        if found.end() > found.start()
    ]
    every.sort(key=lambda each: (each.start - each.end, each.start))
    kept: list[NamedPlace] = []
    for place in every:
        if all(place.end <= other.start or place.start >= other.end for other in kept):
            kept.append(place)
    return sorted(kept, key=lambda each: each.start)


def vocabulary(
    words: Path | None = None, arms: Mapping[str, Sequence[str]] | None = None
) -> StudyVocabulary:
    """Give the shipped words, with those of a file and the arms of a study added.

    `arms` names the arms of a study by model; an arm is looked for as it is written.
    """
    given = [_titles(), shipped_words()]
    if words is not None:
        given.append(read_words(words))
    if arms:
        said = {
            model: {name: [r"\b" + re.escape(name).replace("_", "[ _-]") + r"\b"] for name in names}
            for model, names in arms.items()
        }
        given.append(PaperWords(arms=said))
    return StudyVocabulary(given)


@cache
def shipped_words() -> PaperWords:
    """Read the vocabulary that comes with leadline."""
    text = files("leadline.papers.drafts").joinpath("vocabulary.yaml").read_text(encoding="utf-8")
    return parse(PaperWords, yaml.safe_load(text), "vocabulary.yaml")


def read_words(path: Path) -> PaperWords:
    """Read a user's vocabulary."""
    return parse(PaperWords, read_yaml_file(path, "a vocabulary"), path.name)


def read_yaml_file(path: Path, what: str) -> Any:
    """Read YAML that a person writes; `what` is what messages call it."""
    # libyaml parses ten times faster; wheels have it, some source builds do not.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{what} must be a file that can be read",
            got=f"{path} ({getattr(error, 'strerror', None) or 'no UTF-8'})",
            remedy="look at the path",
        ) from error
    except yaml.YAMLError as error:
        said = " ".join(str(error).split())[:120]
        raise UserError(
            f"{what} must be YAML", got=f"{path.name}: {said}", remedy="correct the file"
        ) from error


def _titles() -> PaperWords:
    """Take the titles of models and metrics for words."""
    return PaperWords(
        models={
            name: [rf"\b{re.escape(row.title)}\b"]
            for name, row in ROWS.items()
            if row.kind in ("network", "estimator")
        },
        metrics={
            name: [rf"\b{re.escape(row.title)}\b"]
            for name, row in metrics.ROWS.items()
            if name not in ("accuracy",)
        },
    )
