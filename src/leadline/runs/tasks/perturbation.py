"""Perturbation probe: what vectors of genes know of knock-outs that were never seen.

A simple, fixed head predicts the response to a knock-out from the vector of the gene, for genes
that are in no training fold. Nothing of a network is trained; it sees control cells alone. The
record's predictions are out of fold, and every score is that of the stored numbers.

Shapes: C cells, P perturbations, G genes of the response, D dimensions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leadline.config import RunConfig, registry, science
from leadline.config.perturbation import PerturbationSettings
from leadline.data.cells import Cells
from leadline.data.perturbed_genes import gene_of_guide, genes_seen
from leadline.data.screens import Screen, duplicate_of, screen_of, single
from leadline.data.splits.split import Split, enough_genes, told_of
from leadline.distributed import World
from leadline.errors import UserError
from leadline.models.base import FitResult, GeneEmbedder, GeneVectors
from leadline.models.gene_regression import OutOfFold
from leadline.models.knockout_floors import (
    Baseline,
    baseline,
    folds_of,
    predicted,
    rows_of,
    shuffled,
)
from leadline.processes import StopRequest
from leadline.runs.tasks.base import ComputedRun, Job, Learner, SplitCells, Task, setting_of
from leadline.runs.tasks.zero_shot import overlaps
from leadline.runs.tracking import Tracker
from leadline.stats.perturbation_floors import (
    ADDITIVE,
    QUANTILES,
    SHUFFLED,
    TRAIN_MEAN,
    bootstrap_distances,
    shuffled_vectors,
    skill,
    split_halves,
    training_means,
)
from leadline.stats.perturbation_metrics import (
    HEADLINE,
    Calibration,
    calibrate,
    discrimination_l1,
    l2,
    mean_score,
    pearson_mean,
    score,
    wmse,
)

Array = NDArray[np.float64]

# What the record holds: out-of-fold predictions, and one score a perturbation of all that is
# compared.
PREDICTIONS, SCORES = "perturbation_predictions.npz", "perturbation_scores.npz"
# Bootstrap draws for each split of the cells into halves.
DRAWS_A_SPLIT = 5
# Above so many products, discrimination is asked of the first draw of a floor alone.
MANY_PRODUCTS = 2e9
# The seed of random and shuffled vectors is that of the first draw.
FLOOR_SEED = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredScreen:
    """What all arms of a screen share: its responses, floors, ceilings, and metrics with a vote."""

    screen: Screen
    fold_P: NDArray[np.int64]
    floors: Baseline
    floor_scores: Mapping[str, Mapping[str, Array]]
    floor_draws: Mapping[str, Array]
    halves_SP: Array
    bootstrap_SP: Array
    published_SP: Array
    calibration: Mapping[str, Calibration]


# That of the last screen, for the arms of a study that one process computes.
_latest: dict[str, MeasuredScreen] = {}


class Perturbation(Task):
    """Predicts unseen knock-outs; its product is the out-of-fold predictions."""

    __slots__ = ()

    def requires(self, config: RunConfig) -> None:
        """Refuse models without vectors of genes, and settings that ask for another task."""
        row = registry.of(config.model)
        if not row.embeds_genes:
            known = [name for name, each in registry.ROWS.items() if each.embeds_genes]
            raise UserError(
                "task=perturbation needs a model that gives genes vectors",
                got=f"model={config.model.name}",
                remedy=f"use one of {', '.join(known)}",
            )
        if config.data.label is None:
            raise UserError(
                "task=perturbation needs to know what was done to each cell",
                got="no data.label",
                remedy="name the column of perturbations with data.label=",
            )
        refused = {
            f"data.fraction={config.data.fraction:g}": config.data.fraction != 1,
            f"data.variable_genes={config.data.variable_genes}": (
                config.data.variable_genes is not None
            ),
        }
        for got, wrong in refused.items():
            if wrong:
                raise UserError(
                    "task=perturbation reads all genes of all cells",
                    got=got,
                    remedy="leave it out; task_settings.genes says how many genes are predicted",
                )
        if getattr(config.model, "vectors", None) == "":
            raise UserError(
                "model=gene_vectors needs a file",
                got="no model.vectors",
                remedy="name an .npz with the arrays genes and vectors",
            )

    def requires_of_model(self, model: Learner, config: RunConfig) -> None:
        """Refuse a model that has no vectors of genes."""
        if registry.of(config.model).kind != "network" and not isinstance(model, GeneEmbedder):
            raise UserError(
                "task=perturbation needs a model with the method embed_genes",
                got=type(model).__name__,
                remedy="add it, and embeds_genes=True to its row",
            )

    def split(self, cells: Cells, config: RunConfig) -> Split:
        """Report on all cells; folds are over perturbations and drawn later."""
        if cells.labels_C is None:
            raise UserError(
                "task=perturbation needs to know what was done to each cell",
                got="cells without labels",
                remedy="name the column of perturbations with data.label=",
            )
        rows, poor = enough_genes(cells, config.data.min_genes)
        none = rows[:0]
        told = told_of(poor, config.data.min_genes)
        return Split(train=none, val=none, test=rows, unlabelled=none, dropped=poor, warnings=told)

    def fit_and_predict(
        self, job: Job, parts: SplitCells, world: World, notice: StopRequest, tracker: Tracker
    ) -> ComputedRun:
        """Form responses, ask for vectors, predict each fold from the others, and judge."""
        cells, chosen = parts.held_back["test"], settings_of(job.config)
        shared = measured(job, cells, chosen)
        screen, fold_P = shared.screen, shared.fold_P
        found = vectors_of(job, screen, world, notice, tracker)
        vectors_PD, coverage = rows_of(screen, found.genes, found.vectors_GD)
        messages = [*screen.messages, *coverage]
        has_P = np.asarray(np.isfinite(vectors_PD).all(axis=1))
        if not has_P.any():
            raise UserError(
                "Some perturbed genes have a vector",
                got=f"none of {len(has_P)}; the vectors are called {', '.join(found.genes[:3])}, "
                f"the perturbations {', '.join(screen.perturbations_P[:3])}",
                remedy="name genes as the screen does, or data.gene_column= that holds symbols",
            )
        mixed_seed = job.config.seed + 1000
        if chosen.shuffled:
            vectors_PD = shuffled_vectors(vectors_PD, seed=job.config.seed)
        own = [
            predicted(screen, vectors_PD, folds_of(screen, repeat))
            for repeat in range(chosen.repeats)
        ]
        messages += own[0].messages
        p_PG = single(own[0].predictions_PG)
        mixed = shuffled(screen, vectors_PD, fold_P, mixed_seed)
        floors, draws = floor_scores(
            shared.screen, fold_P, Baseline(predictions={SHUFFLED: mixed}, mean_PG=p_PG), draws=True
        )
        scores = whole_scores(screen, p_PG, shared.floors.mean_PG)
        scores["l2_without_target"] = l2_without_target(screen, p_PG)
        values, place = summary(shared, scores, has_P)
        fit = FitResult(
            facts={
                "parameters_total": 0,
                "parameters_trainable": 0,
                **found.facts,
                "dimensions": int(vectors_PD.shape[1]),
                "perturbation": {
                    **screen.facts,
                    **place,
                    "coverage": float(has_P.mean()),
                    "head": chosen.head,
                    "chosen": own[0].chosen_F.tolist(),
                    "components": own[0].components_F.tolist(),
                    "l2_of_repeats": [
                        mean_score("l2", l2(screen.response_PG, single(each.predictions_PG)))
                        for each in own
                    ],
                    "calibration": told(shared.calibration),
                    "doubles_seen": doubles_by_seen(shared, scores),
                },
            },
            arrays={
                PREDICTIONS: kept(shared, own[0], p_PG),
                SCORES: per_perturbation(shared, scores, has_P, floors, draws),
            },
            warnings=messages,
        )
        return ComputedRun(fit=fit, scores={"test": values})

    def warnings(
        self, job: Job, computed: ComputedRun, scores: Mapping[str, Mapping[str, float]]
    ) -> list[str]:
        """Say what the vectors had seen, which metrics have no vote, and an empty scale."""
        said = overlaps(job)
        facts = computed.fit.facts["perturbation"]
        mute = [name for name, row in facts["calibration"].items() if not row["has_vote"]]
        if mute:
            said.append(
                "a duplicate of the experiment does not beat the train mean, so these have no "
                f"vote: {', '.join(mute)}"
            )
        if "skill" not in scores["test"]:
            said.append(
                "no skill: floor and ceiling are less than two standard errors apart, so that no "
                "model could be told from the train mean"
            )
        return said

    def log_line(self, scores: Mapping[str, float]) -> str:
        """Write L2 beside its floor, and the skill."""
        skilled = f", skill {scores['skill']:.3f}" if "skill" in scores else ""
        return f"L2 {scores['l2']:.4f}{skilled}, coverage {scores['coverage']:.0%}"


def settings_of(config: RunConfig) -> PerturbationSettings:
    """Give the task's own settings; those of a configuration without any are the defaults."""
    found = config.task_settings
    return found if isinstance(found, PerturbationSettings) else PerturbationSettings()


def vectors_of(
    job: Job, screen: Screen, world: World, notice: StopRequest, tracker: Tracker
) -> GeneVectors:
    """Ask the model for vectors of genes; it is shown control cells, a network not all of them."""
    control = screen.cells.take(np.flatnonzero(screen.control_C))
    if not job.by_epochs:
        assert isinstance(job.model, GeneEmbedder)
        return job.model.embed_genes(control)
    from leadline.models.network import TorchModel
    from leadline.training.frozen import frozen_gene_vectors

    chosen = settings_of(job.config)
    most = chosen.control_cells
    if len(control) > most:
        order = np.random.default_rng(job.config.protocol.split_seed).permutation(len(control))
        control = control.take(np.sort(order[:most]))
    assert isinstance(job.model, TorchModel)
    setting = setting_of(job, world, notice, tracker)
    return frozen_gene_vectors(job.model, control, setting, chosen.vectors)


def measured(job: Job, cells: Cells, chosen: PerturbationSettings) -> MeasuredScreen:
    """Form responses, floors and ceilings, or take those of another arm on the same screen."""
    key = json.dumps(
        [
            job.named.data_fingerprint,
            job.split.fingerprint(),
            job.config.data.label,
            {k: v for k, v in science(chosen).items() if k not in ("vectors", "shuffled")},
        ]
    )
    # Arms differ in their vectors alone, so nothing below may ask the screen's settings for those.
    if key not in _latest:
        _latest.clear()
        _latest[key] = _measured(screen_of(cells, chosen))
    return _latest[key]


def _measured(screen: Screen) -> MeasuredScreen:
    chosen, fold_P = screen.settings, folds_of(screen)
    floors = baseline(screen, fold_P, FLOOR_SEED)
    scores, draws = floor_scores(screen, fold_P, floors)
    names, seed = screen.perturbations_P.tolist(), chosen.fold_seed
    cells = (screen.expression_CG, screen.word_C, screen.batch_C)
    number = chosen.splits * DRAWS_A_SPLIT
    duplicate = duplicate_of(screen, seed)
    both_P = duplicate.both_P
    first_PG = duplicate.first_PG[both_P]
    return MeasuredScreen(
        screen=screen,
        fold_P=fold_P,
        floors=floors,
        floor_scores=scores,
        floor_draws=draws,
        halves_SP=split_halves(*cells, perturbations=names, seed=seed, splits=chosen.splits).l2_SP,
        bootstrap_SP=bootstrap_distances(*cells, perturbations=names, seed=seed, draws=number),
        published_SP=bootstrap_distances(
            *cells,
            perturbations=names,
            seed=seed,
            draws=number,
            batches_too=True,
            control=screen.control,
        ),
        calibration=calibrate(
            first_PG,
            duplicate.second_PG[both_P],
            training_means(first_PG, fold_P[both_P]),
            weights=duplicate.weights_PG[both_P],
            adjusted_p=duplicate.adjusted_PG[both_P],
            target=screen.target_P[both_P],
        ),
    )


def whole_scores(screen: Screen, p_PG: Array, mean_PG: Array) -> dict[str, Array]:
    """Score a prediction by every metric, one value a perturbation."""
    return score(
        screen.response_PG,
        p_PG,
        mean_PG,
        weights=screen.weights_PG,
        adjusted_p=screen.adjusted_PG,
        target=screen.target_P,
    )


def floor_scores(
    screen: Screen, fold_P: NDArray[np.int64], floors: Baseline, *, draws: bool = False
) -> tuple[dict[str, dict[str, Array]], dict[str, Array]]:
    """Score floors by the headline metrics: means over draws, and the L2 of each draw."""
    y_PG = screen.response_PG
    mean_PG = training_means(y_PG, fold_P) if draws else floors.mean_PG
    large = len(y_PG) * y_PG.size > MANY_PRODUCTS
    found, of_draws = {}, {}
    for name, parts in floors.predictions.items():
        told_apart = parts[:1] if large else parts
        found[name] = {
            "l2": np.mean([l2(y_PG, p) for p in parts], axis=0),
            "l2_without_target": np.mean([l2_without_target(screen, p) for p in parts], axis=0),
            "wmse": np.mean([wmse(y_PG, p, screen.weights_PG) for p in parts], axis=0),
            "pearson_mean": np.mean([pearson_mean(y_PG, p, mean_PG) for p in parts], axis=0),
            "discrimination_l1": np.mean(
                [discrimination_l1(y_PG, p, screen.target_P) for p in told_apart], axis=0
            ),
        }
        of_draws[name] = np.array([l2(y_PG, p).mean() for p in parts])
    return found, of_draws


def l2_without_target(screen: Screen, p_PG: Array) -> Array:
    """Leave the drop of the perturbed gene itself out of the distance: it is known beforehand."""
    known = np.flatnonzero(screen.target_P >= 0)
    other_PG = p_PG.copy()
    columns = screen.target_P[known]
    other_PG[known, columns] = screen.response_PG[known, columns]
    return l2(screen.response_PG, other_PG)


def summary(
    shared: MeasuredScreen, scores: Mapping[str, Array], has_P: NDArray[np.bool_]
) -> tuple[dict[str, float], dict[str, Any]]:
    """Average scores over perturbations, and place them between floor and ceiling."""
    plain = [name for name in scores if name != "l2_without_target"]
    values = {name: mean_score(name, scores[name]) for name in plain}
    values["l2_without_target"] = float(scores["l2_without_target"].mean())
    values["l2_with_vector"] = float(scores["l2"][has_P].mean())
    values["coverage"] = float(has_P.mean())
    ceiling_P = shared.halves_SP.mean(axis=0)
    both_P = np.isfinite(ceiling_P)
    floor_P = shared.floor_scores[TRAIN_MEAN]["l2"]
    place: dict[str, Any] = {
        "floors": {
            name: {metric: mean_score(metric, each[metric]) for metric in HEADLINE}
            for name, each in shared.floor_scores.items()
        },
        "ceilings": {
            "halves": float(ceiling_P[both_P].mean()) if both_P.any() else None,
            "bootstrap_median": _quantile(shared.bootstrap_SP, QUANTILES[0]),
            "published_limit": _quantile(shared.published_SP, QUANTILES[1]),
        },
    }
    if both_P.any():
        gap_P = (floor_P - ceiling_P)[both_P]
        error = float(np.hypot(gap_P.std(ddof=1) / np.sqrt(len(gap_P)), _of_splits(shared, both_P)))
        found = skill(
            float(floor_P[both_P].mean()),
            float(scores["l2"][both_P].mean()),
            float(ceiling_P[both_P].mean()),
            error,
        )
        place["scale_error"] = error
        if np.isfinite(found):
            values["skill"] = found
    return values, place


def _of_splits(shared: MeasuredScreen, both_P: NDArray[np.bool_]) -> float:
    return float(shared.halves_SP[:, both_P].mean(axis=1).std(ddof=1))


def _quantile(distance_SP: Array, at: float) -> float:
    return float(np.nanmean(np.quantile(distance_SP, at, axis=0)))


def told(calibration: Mapping[str, Calibration]) -> dict[str, dict[str, Any]]:
    """Write what the train mean and a duplicate reach under each metric, for the record."""
    return {
        name: {
            "train_mean": row.of_mean,
            "duplicate": row.of_duplicate,
            "has_vote": bool(row.has_vote),
        }
        for name, row in calibration.items()
    }


def seen_P(screen: Screen, fold_P: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count, for each perturbation, its genes that were knocked out alone in training folds."""
    return genes_seen(
        screen.perturbations_P.tolist(),
        fold_P,
        canonical=gene_of_guide,
        separator=screen.settings.separator,
        control=screen.control,
    )


def doubles_by_seen(shared: MeasuredScreen, scores: Mapping[str, Array]) -> list[dict[str, Any]]:
    """Compare model, train mean and sum of the singles on doubles, by how many genes were seen."""
    screen = shared.screen
    if not screen.facts["doubles"]:
        return []
    count_P = seen_P(screen, shared.fold_P)
    double_P = np.array(
        [screen.settings.separator in name for name in screen.perturbations_P.tolist()]
    )
    rows: list[dict[str, Any]] = []
    for seen in (2, 1, 0):
        mine = double_P & (count_P == seen)
        if not mine.any():
            continue
        row = {
            "seen": seen,
            "perturbations": int(mine.sum()),
            "model": float(scores["l2"][mine].mean()),
            "train_mean": float(shared.floor_scores[TRAIN_MEAN]["l2"][mine].mean()),
        }
        if seen == 2 and ADDITIVE in shared.floor_scores:
            row["additive"] = float(shared.floor_scores[ADDITIVE]["l2"][mine].mean())
        rows.append(row)
    return rows


def kept(shared: MeasuredScreen, own: OutOfFold, p_PG: Array) -> dict[str, NDArray[Any]]:
    """Give the primary record: responses, folds, and predictions out of fold."""
    screen = shared.screen
    return {
        "perturbations": screen.perturbations_P,
        "genes": screen.genes_G,
        "response": screen.response_PG.astype(np.float32),
        "predicted": p_PG.astype(np.float32),
        "weights": screen.weights_PG.astype(np.float32),
        "fold": shared.fold_P,
        "target": screen.target_P,
        "has_vector": own.has_vector_P,
    }


def per_perturbation(
    shared: MeasuredScreen,
    scores: Mapping[str, Array],
    has_P: NDArray[np.bool_],
    mixed: Mapping[str, Mapping[str, Array]],
    mixed_draws: Mapping[str, Array],
) -> dict[str, NDArray[Any]]:
    """Lay out one score a perturbation: of the model, of each floor, of the ceilings."""
    arrays: dict[str, NDArray[Any]] = {
        "perturbations": shared.screen.perturbations_P,
        "fold": shared.fold_P,
        "has_vector": has_P,
        "seen": seen_P(shared.screen, shared.fold_P),
    }
    arrays |= {f"model_{name}": values for name, values in scores.items()}
    both: dict[str, Mapping[str, Array]] = {**shared.floor_scores, **mixed}
    for name, each in both.items():
        arrays |= {f"floor_{name}_{metric}": values for metric, values in each.items()}
    draws: dict[str, Array] = {**shared.floor_draws, **mixed_draws}
    arrays |= {f"draws_{name}": values for name, values in draws.items() if len(values) > 1}
    arrays["ceiling_halves"] = shared.halves_SP.mean(axis=0)
    arrays["ceiling_halves_splits"] = np.nanmean(shared.halves_SP, axis=1)
    arrays["ceiling_bootstrap"] = np.quantile(shared.bootstrap_SP, QUANTILES[0], axis=0)
    arrays["ceiling_published"] = np.quantile(shared.published_SP, QUANTILES[1], axis=0)
    return arrays
