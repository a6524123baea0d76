"""What runs of task=zero_shot say: scores of frozen embeddings with intervals, and differences.

Each score is that of a run's record; intervals come from the draws beside it, so that arms are
compared on the same halves and the same cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from leadline.config import registry
from leadline.errors import UserError
from leadline.report import figures
from leadline.report.answer import by_verdict, capitalised, listed, p_text, scaled, spaced
from leadline.report.chapter import TaskPart
from leadline.report.compare.embeddings import (
    CONTEXT,
    MODEL,
    PRETRAINING,
    ArmDifference,
    EmbeddingArm,
    arms_of,
    differences,
)
from leadline.report.figures import EmbeddingMap, LadderRow
from leadline.report.study import Facts, StudyResults
from leadline.report.zero_shot_tables import (
    BATCH,
    BIO,
    differences_table,
    ladder_table,
    reconstruction_table,
    runs_table,
)
from leadline.stats import metrics
from leadline.stats.embedding_differences import (
    embedding_difference,
)
from leadline.stats.embedding_inputs import principal_components
from leadline.stats.zero_shot import HEADLINE

EMBEDDINGS = "embeddings.npz"
# A network of fewer parameters says nothing of a published model.
TINY = 1_000_000
MAPPED_CELLS, MOST_MAPS = 3000, 9
# Components that UMAP starts from.
MAPPED_FROM = 50


def part_of(study: StudyResults, runs: Sequence[Facts], out: Path) -> TaskPart:
    """Give all that a page says of these runs."""
    arms = arms_of(study, runs)
    found = differences(study, arms)
    tables = [differences_table(study, found), ladder_table(arms, "zero_shot", "Ladder", BIO)]
    if any("batch_probe_accuracy" in facts["metrics"]["test"] for facts in runs):
        tables.append(ladder_table(arms, "zero_shot_batch", "Ladder: batches", BATCH))
    tables += [reconstruction_table(arms), runs_table(study, runs, out)]
    builders: dict[str, Any] = {"zero_shot_ladder": partial(figures.ladder, _rows(arms))}
    if found:
        builders["zero_shot_differences"] = partial(
            figures.contrasts,
            [_compared(each) for each in found],
            family=f"{len(found)} tests",
            title="What pretraining, context and the model add",
        )
    builders["zero_shot_maps"] = partial(figures.embedding_maps, _maps(study, arms))
    return TaskPart.of(answer(arms, found), tables, builders)


def answer(arms: Sequence[EmbeddingArm], found: Sequence[ArmDifference]) -> str:
    """Answer in at most 25 words; then for what it holds, and all that is said of each model."""
    score = HEADLINE[0]
    places = listed(dict.fromkeys(arm.place for arm in arms))
    basis = f"{metrics.title(score)} of frozen embeddings on {places}; 95 % sure, corrected."
    said = [sentences(found, score), *_beside(arms, found)]
    return f"{_short(arms, found)}\n{basis}\n{' '.join(text for text in said if text)}"


def _short(arms: Sequence[EmbeddingArm], found: Sequence[ArmDifference]) -> str:
    """Say for which models pretraining is shown to help, and which are shown to beat baselines."""
    score = HEADLINE[0]

    def named(asks: str, verdict: str) -> list[str]:
        mine = [each for each in found if (each.asks, each.score) == (asks, score)]
        return [spaced(each.a.name) for each in mine if each.verdict == verdict]

    words = {PRETRAINING: "Pretraining", MODEL: "The model"}
    said = by_verdict(
        {
            f"{word} {told}": named(asks, verdict)
            for asks, word in words.items()
            for verdict, told in (
                ("better", "helps in" if asks == PRETRAINING else "beats what needs none in"),
                ("worse", "harms in" if asks == PRETRAINING else "is behind what needs none in"),
                ("open", "is not shown to help in" if asks == PRETRAINING else ""),
            )
            if told
        }
    )
    if said:
        return said
    scored = [(value, arm) for arm in arms if (value := arm.mean(score)) is not None]
    if not scored:
        return "No embedding has labels that can be told apart."
    value, best = max(scored, key=lambda pair: pair[0])
    return f"{capitalised(spaced(best.name))} has the highest {metrics.title(score)}, {value:.3f}."


def sentences(found: Sequence[ArmDifference], score: str) -> str:
    """Say what pretraining and the model are worth under one score, model by model."""
    said = []
    for place in dict.fromkeys(each.a.place for each in found):
        here = [each for each in found if each.a.place == place and each.score == score]
        clauses = []
        for name in dict.fromkeys(each.a.name for each in here):
            clause = _clause([each for each in here if each.a.name == name])
            clauses += [f"in {name} {clause}"] if clause else []
        if clauses:
            said.append(f"{place} by {metrics.title(score)}: {'; '.join(clauses)}.")
    return " ".join(f"On {sentence}" for sentence in said)


def _clause(mine: Sequence[ArmDifference]) -> str:
    said = [
        f"pretraining adds {_told(each)} over random weights"
        for each in mine
        if each.asks == PRETRAINING
    ]
    free = [each for each in mine if each.asks == MODEL]
    if free:
        hardest = max(free, key=lambda each: each.b.mean(each.score) or 0.0)
        names = ", ".join(each.b.name for each in free)
        of = f"{hardest.b.name}, the best of {names}" if len(free) > 1 else names
        said.append(f"{'' if said else 'the model adds '}{_told(hardest)} over {of}")
    return " and ".join(said)


def _told(each: ArmDifference) -> str:
    interval = each.found.interval
    if interval is None or each.corrected is None:
        return scaled(each.found.estimate, each.score)
    low, high = (
        scaled(end, each.score).removesuffix(" points") for end in (interval.low, interval.high)
    )
    estimate = scaled(each.found.estimate, each.score)
    return f"{estimate} ({low} to {high}, {p_text(each.corrected)})"


def _beside(arms: Sequence[EmbeddingArm], found: Sequence[ArmDifference]) -> list[str]:
    """Say chance, where the probe disagrees, and how small the networks are."""
    said = []
    for arm in arms:
        if arm.model == "noise" and (chance := arm.mean(HEADLINE[0])) is not None:
            said.append(f"Chance on {arm.place}: {metrics.title(HEADLINE[0])} {chance:.3f}, not 0.")
    said.append(sentences(found, "linear_accuracy"))
    said += [
        f"The layers of {each.a.name} add {_told(each)} over the mere bag of its genes."
        for each in found
        if each.asks == CONTEXT and each.score == HEADLINE[0]
    ]
    if found:
        said.append(
            f"Brackets: 95 % interval, p after Holm’s correction over {len(found)} comparisons."
        )
    tiny = {
        arm.name: int(facts["fit"]["parameters_total"])
        for arm in arms
        for facts in arm.runs
        if registry.named(arm.model).kind == "network"
        and 0 < int(facts["fit"].get("parameters_total") or 0) < TINY
    }
    if tiny:
        most = max(tiny.values())
        said.append(
            f"The networks have at most {most:,} parameters and were pretrained, if at all, on few "
            "cells: nothing here speaks for a published model."
        )
    return [text for text in said if text]


def _rows(arms: Sequence[EmbeddingArm]) -> list[LadderRow]:
    rows = []
    for score in HEADLINE:
        for arm in arms:
            value, runs = arm.mean(score), arm.of(score)
            if value is None or not runs:
                continue
            interval = embedding_difference(runs).interval
            rows.append(
                LadderRow(
                    panel=metrics.title(score),
                    arm=f"{arm.model}/{arm.name}",
                    label=arm.name,
                    place=arm.place,
                    value=value,
                    low=None if interval is None else interval.low,
                    high=None if interval is None else interval.high,
                    runs=tuple(run.value for run in runs),
                    chance=arm.model == "noise",
                )
            )
    return rows


def _compared(each: ArmDifference) -> figures.Compared:
    interval = each.found.interval
    return figures.Compared(
        group=f"{each.a.place}, {metrics.title(each.score)}",
        label=f"{each.a.name} − {each.b.name}",
        estimate=each.found.estimate,
        low=None if interval is None else interval.low,
        high=None if interval is None else interval.high,
        verdict=each.verdict,
        p="" if each.corrected is None else p_text(each.corrected)[2:].removeprefix("= "),
    )


def _maps(study: StudyResults, arms: Sequence[EmbeddingArm]) -> list[EmbeddingMap]:
    """Reduce one run of each arm to two components; noise and depth have no map worth a look."""
    telling = [arm for arm in arms if arm.model not in ("noise", "depth")]
    found = []
    for arm in telling[:MOST_MAPS]:
        path = study.runs_dir / arm.runs[0]["run_id"] / EMBEDDINGS
        with np.load(path, allow_pickle=False) as stored:
            vectors, label = stored["embedding"], stored["label"]
            classes = stored["classes"].tolist()
        rows = np.arange(len(vectors))
        if len(rows) > MAPPED_CELLS:
            rows = np.sort(np.random.default_rng(0).choice(rows, MAPPED_CELLS, replace=False))
        try:
            at = principal_components(vectors[rows], MAPPED_FROM if figures.has_umap() else 2)
        except UserError:
            continue
        if at.shape[1] >= 2:
            found.append(
                EmbeddingMap(
                    title=arm.name,
                    at_CD=at,
                    label_C=np.asarray(label)[rows],
                    classes=tuple(str(name) for name in classes),
                )
            )
    return found
