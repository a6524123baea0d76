"""What runs of task=zero_shot say: scores of frozen embeddings with intervals, and differences.

Each score is that of a run's record; intervals come from the draws beside it, so that arms are
compared on the same halves and the same cells.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from leadline import stats
from leadline.config import registry
from leadline.errors import UserError
from leadline.report import figures, study_figures
from leadline.report.answer import p_text, scaled
from leadline.report.chapter import TaskPart
from leadline.report.figures import EmbeddingMap, LadderRow
from leadline.report.study import Facts, StudyResults
from leadline.report.study_tables import link_to
from leadline.report.tables import Table, Value
from leadline.stats import metrics
from leadline.stats.embedding_differences import (
    EmbeddingDifference,
    RunDraws,
    embedding_difference,
)
from leadline.stats.embedding_inputs import principal_components
from leadline.stats.zero_shot import HEADLINE

ALPHA = 0.05
# What the record of such a run holds beside its scores.
EMBEDDINGS, DRAWS = "embeddings.npz", "score_draws.npz"
# Baselines that cost nothing and know no other cells: what a model has to beat.
FREE = ("random_projection", "hvg", "pca")
PRETRAINING, CONTEXT, MODEL = "worth of pretraining", "worth of context", "worth of the model"
BIO = (
    *("avg_bio_oracle", "avg_bio_label_free", "avg_bio_fixed", "nmi_oracle", "ami_oracle"),
    *("ari_oracle", "asw_label", "graph_connectivity", "clisi", "knn_accuracy", "linear_accuracy"),
    *("knn_new_batch_accuracy", "linear_new_batch_accuracy"),
)
BATCH = (
    *("avg_bio_label_free", "batch_probe_accuracy", "batch_probe_majority", "asw_batch"),
    *("asw_batch_raw", "bras", "bras_raw", "ilisi", "ilisi_raw", "pcr_batch", "pcr_comparison"),
    "avg_batch",
)
FLOORS = (
    *("gene_mean_out_of_fold", "gene_mean_in_sample", "global_mean", "cell_mean"),
    *("gene_and_cell", "neighbour_mean"),
)
# A network of fewer parameters says nothing of a published model.
TINY = 1_000_000
MAPPED_CELLS, MOST_MAPS = 3000, 9
# Components that UMAP starts from.
MAPPED_FROM = 50


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
        return str(self.settings.get("model.pretrained") or "false").lower() != "false"

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
    drawn, skipped = study_figures.drawn(builders)
    return TaskPart(
        answer=answer(arms, found),
        tables=tuple(table for table in tables if table.rows),
        drawings=tuple(drawn),
        skipped=skipped,
    )


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


def differences_table(study: StudyResults, found: Sequence[ArmDifference]) -> Table:
    """Give every difference with its interval and verdict."""
    rows: list[list[Value]] = []
    for each in found:
        interval = each.found.interval
        rows.append(
            [
                each.a.name,
                each.b.name,
                each.asks,
                each.a.place,
                metrics.title(each.score),
                each.verdict,
                each.found.estimate,
                None if interval is None else interval.low,
                None if interval is None else interval.high,
                each.found.p,
                each.corrected,
                *each.found.runs,
            ]
        )
    return Table(
        name="zero_shot_differences",
        title="What pretraining, context and the model add",
        columns=[
            *("arm", "against", "asks", "data set", "score", "verdict", "difference"),
            *("95 % from", "95 % to", "p", "p (Holm)", "runs", "runs against"),
        ],
        rows=rows,
        notes=[
            "Mean of the arm less mean of the other, on the same cells. Intervals hold for fresh "
            "cells (halves without replacement for AvgBIO, means over cells for probes) and, where "
            "an arm has several runs, for fresh random weights or projections; a checkpoint is one "
            f"number. p (Holm) is corrected over the {len(found)} rows. “batch told by 15-NN” is "
            "better when it is lower, and means nothing for an embedding without cell types."
        ],
        printed=("arm", "against", "score", "verdict", "difference", "95 % from", "95 % to",
                 "p (Holm)"),
    )  # fmt: skip


def ladder_table(
    arms: Sequence[EmbeddingArm], name: str, title: str, scores: Sequence[str]
) -> Table:
    """Give the scores of each arm, with half of the 95 % interval of those that are compared."""
    shown = [score for score in scores if any(arm.mean(score) is not None for arm in arms)]
    rows: list[list[Value]] = []
    for arm in arms:
        widths = {int(facts["fit"]["dimensions"]) for facts in arm.runs}
        row: list[Value] = [arm.name, arm.place, len(arm.runs), max(widths)]
        for score in shown:
            row.append(arm.mean(score))
            if score in HEADLINE:
                row.append(_half(arm, score))
        rows.append(row)
    columns = ["arm", "data set", "runs", "dimensions"]
    for score in shown:
        told = metrics.title(score)
        columns += [told, f"± {told}"] if score in HEADLINE else [told]
    few = ("arm", "dimensions", *(metrics.title(score) for score in shown[:6]))
    return Table(
        name=name,
        title=title,
        columns=columns,
        rows=rows,
        notes=[
            "Means over runs. oracle: the resolution with the best NMI, as published, which needs "
            "the labels; resolution 1: fixed; label-free: the most stable one. Noise shows what "
            "each score gives by chance. ±: half of the 95 % interval over fresh cells and runs."
            if scores is BIO
            else "Batch scores rise with the number of dimensions, so embeddings wider than 50 are "
            "reduced to 50 components, and the raw value stands beside. Read no batch score "
            "without the bio score of its row: noise mixes best. docs/zero_shot_metrics.md gives "
            "the convention of each number."
        ],
        printed=few,
    )


def reconstruction_table(arms: Sequence[EmbeddingArm]) -> Table:
    """Give the error of each network that was asked for bins, beside its floors."""
    prefix = "reconstruction_"
    rows: list[list[Value]] = []
    for arm in arms:
        for kind in ("masked", "unmasked"):
            error = arm.mean(f"{prefix}{kind}_mse")
            if error is None:
                continue
            floors = [arm.mean(f"{prefix}{kind}_floor_{name}") for name in FLOORS]
            score = arm.mean(f"{prefix}{kind}_score")
            rows.append([arm.name, arm.place, kind, score, error, *floors])
    return Table(
        name="zero_shot_reconstruction",
        title="Reconstruction of bins, and its floors",
        columns=[
            *("arm", "data set", "positions", "score", "error of the network"),
            *(name.replace("_", " ") for name in FLOORS),
        ],
        rows=rows,
        notes=[
            "Mean squared error over non-zero bins; score: 1 − error/error of the mean bin per "
            "gene out of fold, so that 0 is what the average of each gene knows. unmasked: as "
            "published, where the bin that is asked for is shown. Bins are uniform by "
            "construction, so the global mean holds no information (208.25 for 51 bins, less ties)."
        ],
    )


def runs_table(study: StudyResults, runs: Sequence[Facts], out: Path) -> Table:
    """List every run, linked to its record."""
    rows: list[list[Value]] = [
        [
            link_to(facts["run_id"], study.runs_dir, out),
            facts["arm"],
            facts["dataset"],
            int(facts["seed"]),
            int(facts["split"]["cells"]["test"]),
            *(facts["metrics"]["test"].get(score) for score in HEADLINE),
            facts["cost"]["wall_seconds"],
            len(facts.get("warnings", ())),
        ]
        for facts in runs
    ]
    titles = [metrics.title(score) for score in HEADLINE]
    return Table(
        name="zero_shot_runs",
        title="Runs of frozen embeddings",
        columns=["run", "arm", "data set", "seed", "cells", *titles, "seconds", "warnings"],
        rows=rows,
        notes=["Each name leads to the folder of its record, which holds the vectors."],
    )


def _half(arm: EmbeddingArm, score: str) -> float | None:
    runs = arm.of(score)
    interval = embedding_difference(runs).interval if runs else None
    return None if interval is None else interval.half_width


def answer(arms: Sequence[EmbeddingArm], found: Sequence[ArmDifference]) -> str:
    """Answer in a sentence for each model, then say what must be known beside it."""
    said = sentences(found, HEADLINE[0])
    if not said:
        score = HEADLINE[0]
        scored = [(value, arm) for arm in arms if (value := arm.mean(score)) is not None]
        if not scored:
            return "No embedding has labels that can be told apart."
        value, best = max(scored, key=lambda pair: pair[0])
        said = f"{best.name} has the highest {metrics.title(score)}, {value:.3f}."
    return f"{said}\n{' '.join(_beside(arms, found))}"


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
