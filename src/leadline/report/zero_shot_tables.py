"""The tables of frozen embeddings: ladder, batches, differences, reconstruction, runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from leadline.report.compare.embeddings import ArmDifference, EmbeddingArm
from leadline.report.study import Facts, StudyResults
from leadline.report.study_tables import link_to
from leadline.report.tables import Table, Value
from leadline.stats import metrics
from leadline.stats.embedding_differences import embedding_difference
from leadline.stats.zero_shot import HEADLINE

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
