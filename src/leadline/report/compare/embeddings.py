"""Frozen embeddings of a study: the runs of each arm with their draws, and differences of arms.

Intervals come from the draws beside the records, so that arms are compared on the same halves and
the same cells.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from leadline import stats
from leadline.config import registry
from leadline.report.compare.arms import starts_from_weights
from leadline.report.study import Facts, StudyResults
from leadline.stats import metrics
from leadline.stats.embedding_differences import (
    EmbeddingDifference,
    RunDraws,
    embedding_difference,
)
from leadline.stats.zero_shot import HEADLINE

ALPHA = 0.05
# What the record of such a run holds beside its scores.
DRAWS = "score_draws.npz"
# Baselines that cost nothing and know no other cells: what a model has to beat.
FREE = ("random_projection", "hvg", "pca")
PRETRAINING, CONTEXT, MODEL = "worth of pretraining", "worth of context", "worth of the model"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingArm:
    """The runs of one arm on the same cells, with the draws of their scores."""

    name: str
    model: str
    place: str
    runs: tuple[Facts, ...]
    draws: tuple[Mapping[str, Any], ...]
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def pretrained(self) -> bool:
        """Say whether its network starts from weights."""
        return starts_from_weights(self.settings)

    @property
    def bag_of_genes(self) -> bool:
        """Say whether no layer of its network was asked."""
        return self.settings.get("task_settings.vectors") == "bag_of_genes"

    def mean(self, score: str) -> float | None:
        """Average a score over runs; None unless each has it."""
        values = [facts["metrics"]["test"].get(score) for facts in self.runs]
        return None if None in values else float(np.mean(values))

    def of(self, score: str) -> list[RunDraws]:
        """Give a score of each run with its draws; empty where there are none."""
        found = []
        for facts, draws in zip(self.runs, self.draws, strict=True):
            value = facts["metrics"]["test"].get(score)
            kind = next((each for each in ("cells", "halves") if f"{each}_{score}" in draws), None)
            if value is None or kind is None:
                return []
            found.append(
                RunDraws(
                    value=float(value), draws=draws[f"{kind}_{score}"], over_cells=kind == "cells"
                )
            )
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmDifference:
    """A score of one arm less that of another, corrected over all that were asked."""

    a: EmbeddingArm
    b: EmbeddingArm
    score: str
    asks: str
    found: EmbeddingDifference
    corrected: float | None = None

    @property
    def verdict(self) -> str:
        """Say which is better, or that neither is shown to be."""
        if self.corrected is None:
            return "untested"
        if self.corrected >= ALPHA:
            return "open"
        higher = self.found.estimate > 0
        return "better" if higher is not metrics.lower_is_better(self.score) else "worse"


def arms_of(study: StudyResults, runs: Iterable[Facts]) -> list[EmbeddingArm]:
    """Gather the runs of each arm on each set of cells, in the order of the study."""
    grouped: dict[tuple[str, str], list[Facts]] = {}
    for facts in runs:
        place = f"{facts['dataset']} {facts['split']['fingerprint'][:6]}"
        grouped.setdefault((place, str(facts["arm"])), []).append(facts)
    datasets = {place.rpartition(" ")[0] for place, _ in grouped}
    places = {place for place, _ in grouped}
    return [
        EmbeddingArm(
            name=arm,
            model=str(found[0]["model"]),
            # The fingerprint is told only where one data set was drawn from in several ways.
            place=place.rpartition(" ")[0] if len(datasets) == len(places) else place,
            runs=tuple(found),
            draws=tuple(_draws(study, facts) for facts in found),
            settings=study.configs.get(found[0]["run_id"], {}),
        )
        for (place, arm), found in grouped.items()
    ]


def _draws(study: StudyResults, facts: Facts) -> dict[str, Any]:
    path = study.runs_dir / facts["run_id"] / DRAWS
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def differences(study: StudyResults, arms: Sequence[EmbeddingArm]) -> list[ArmDifference]:
    """Compare the declared pairs under each headline score; Holm over all of them."""
    found = []
    for place in dict.fromkeys(arm.place for arm in arms):
        here = {arm.name: arm for arm in arms if arm.place == place}
        for a, b in pairs_of(study, here):
            for score in HEADLINE:
                left, right = here[a].of(score), here[b].of(score)
                if left and right:
                    outcome = embedding_difference(left, right)
                    asks = question_of(here[a], here[b])
                    found.append(
                        ArmDifference(a=here[a], b=here[b], score=score, asks=asks, found=outcome)
                    )
    family = {str(at): each.found.p for at, each in enumerate(found) if each.found.p is not None}
    for at, corrected in (stats.holm(family) if family else {}).items():
        found[int(at)] = replace(found[int(at)], corrected=corrected)
    return found


def pairs_of(study: StudyResults, arms: Mapping[str, EmbeddingArm]) -> list[tuple[str, str]]:
    """Give the declared pairs; without any, each arm with weights against all others."""
    declared = [pair for pair in study.pairs if pair[0] in arms and pair[1] in arms]
    if declared:
        return list(dict.fromkeys(declared))
    asking = [arm for arm in arms.values() if registry.named(arm.model).kind != "projection"]
    return [
        (a.name, b.name)
        for a in asking
        if a.pretrained or registry.named(a.model).kind == "external"
        for b in arms.values()
        if b.name != a.name and b.model not in ("noise", "depth")
    ]


def question_of(a: EmbeddingArm, b: EmbeddingArm) -> str:
    """Say what a pair of arms asks."""
    if a.model == b.model and a.pretrained and not b.pretrained:
        return PRETRAINING
    if a.model == b.model and b.bag_of_genes:
        return CONTEXT
    return MODEL if b.model in FREE else f"against {b.name}"
