"""The tables of predicted knock-outs: claims, ladder, differences, calibration, doubles, runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from leadline.report.compare.knockouts import KnockoutArm, KnockoutClaim, floors_of, votes_of
from leadline.report.study import Facts, StudyResults
from leadline.report.study_tables import link_to
from leadline.report.tables import Grey, Table, Value
from leadline.stats import metrics
from leadline.stats.perturbation_floors import SHUFFLED, TRAIN_MEAN
from leadline.stats.perturbation_metrics import HEADLINE
from leadline.stats.perturbation_skill import Skill, skill_of

CEILINGS = {
    "ceiling_halves": "noise of the measurement (split halves)",
    "ceiling_bootstrap": "noise of the measurement (bootstrap median, control fixed)",
    "ceiling_published": "published “limit” (bootstrap, quantile .9, control drawn too)",
}


def skill_in(arm: KnockoutArm) -> Skill:
    """Place an arm or a floor between the train mean and the noise of the measurement, by L2."""
    stored = arm.scores[0]
    return skill_of(
        stored[f"floor_{TRAIN_MEAN}_l2"],
        arm.values_P("l2"),
        stored["ceiling_halves"],
        splits_S=stored["ceiling_halves_splits"],
    )


def claims_table(found: Sequence[KnockoutClaim]) -> Table:
    """Give what is shown: one row for each comparison, over all headline metrics."""
    rows: list[list[Value]] = []
    for claim in found:
        first = claim.first
        voting = [part.metric for part in claim.parts if part.has_vote]
        agreeing = claim.agreeing("worse" if claim.verdict == "worse" else "better")
        rows.append(
            [
                first.a.name,
                first.b.name,
                first.asks,
                first.a.place,
                claim.verdict,
                ", ".join(metrics.title(name) for name in agreeing) or "none",
                f"{len(agreeing)} of {len(voting)}",
                first.estimate,
                first.low,
                first.high,
                first.corrected,
                f"{first.won} of {first.folds}",
                first.p_folds,
                claim.on_common,
                claim.common,
            ]
        )
    return Table(
        name="perturbation_claims",
        title="What is shown",
        columns=[
            *("arm", "against", "asks", "data set", "verdict", "metrics that agree"),
            *("of those with a vote", "L2 difference", "95 % from", "95 % to", "p (Holm)"),
            *("folds won", "p by folds", "L2 on common genes", "common genes"),
        ],
        rows=rows,
        notes=[
            "Better or worse counts as shown only if L2 and at least two of the other three "
            "headline metrics (weighted MSE, Pearson against the training mean, discrimination) "
            "say so after Holm’s correction. p by folds: Nadeau and Bengio, since folds share "
            "their training perturbations; the folds won are no independent observations. Genes "
            "without a vector are predicted by the train mean, so that an embedding with poor "
            "coverage is pulled to the floor, never below it: the last two columns leave them out."
        ],
        printed=("arm", "against", "data set", "verdict", "of those with a vote", "L2 difference",
                 "p (Holm)", "folds won"),
    )  # fmt: skip


def differences_table(found: Sequence[KnockoutClaim]) -> Table:
    """Give every comparison under every headline metric."""
    rows: list[list[Value]] = []
    for part in (part for claim in found for part in claim.parts):
        numbers: list[float | None] = [part.estimate, part.low, part.high, part.p]
        grey: list[Value] = [x if part.has_vote else Grey(x) for x in numbers]
        rows.append(
            [
                part.a.name,
                part.b.name,
                part.a.place,
                metrics.title(part.metric),
                part.verdict,
                *grey,
                part.corrected,
                f"{part.won} of {part.folds}",
                part.p_folds,
            ]
        )
    return Table(
        name="perturbation_differences",
        title="Differences by metric",
        columns=[
            *("arm", "against", "data set", "metric", "verdict", "difference", "95 % from"),
            *("95 % to", "p", "p (Holm)", "folds won", "p by folds"),
        ],
        rows=rows,
        notes=[
            "Mean of the arm less mean of the other. Paired bootstrap over perturbations (10,000 "
            "draws); where an arm has several runs, a t interval that adds their spread. L2 and "
            "weighted MSE are better when they are lower. Grey and untested: a metric that has no "
            "vote on these data. Holm’s correction is over all rows of a data set and head."
        ],
        printed=("arm", "against", "data set", "metric", "verdict", "difference", "p (Holm)"),
    )


def ladder_table(arms: Sequence[KnockoutArm]) -> Table:
    """Give floors, arms and ceilings of each place with their scores; grey without a vote."""
    rows: list[list[Value]] = []
    for place in dict.fromkeys(arm.place for arm in arms):
        here = [arm for arm in arms if arm.place == place]
        votes = votes_of(here[0])
        common_P = np.all([arm.has_vector_P for arm in here], axis=0)
        # Shuffled vectors are an arm's own; all other floors are the same in every record.
        floors = [each for each in floors_of(here[0]) if each.floor != SHUFFLED]
        mixed = [each for arm in here for each in floors_of(arm) if each.floor == SHUFFLED]
        names = [each.name for each in floors] + [
            f"{each.name} of {arm.name}" for each, arm in zip(mixed, here, strict=True)
        ]
        for name, floor in zip(names, [*floors, *mixed], strict=True):
            rows.append(_ladder_row(name, "floor", floor, votes, common_P))
        rows += [_ladder_row(arm.name, "arm", arm, votes, common_P) for arm in here]
        for key, title in CEILINGS.items():
            values_P = here[0].scores[0][key]
            known = np.isfinite(values_P)
            mean = float(values_P[known].mean()) if known.any() else None
            rows.append([title, "ceiling", place, None, None, mean, *[None] * 9])
    return Table(
        name="perturbation_ladder",
        title="Floors, arms and ceilings",
        columns=[
            *("arm", "kind", "data set", "runs", "coverage", "L2", "skill", "95 % from", "95 % to"),
            *("L2 on common genes", "L2 without the perturbed gene"),
            *(metrics.title(name) for name in HEADLINE if name != "l2"),
            "spread of L2 over seeds of folds",
        ],
        rows=rows,
        notes=[
            "Skill: (train mean − arm)/(train mean − noise of the measurement) by L2, with a "
            "bootstrap over perturbations; a perfect model has 1, the train mean 0, and there is "
            "none where floor and ceiling are less than two standard errors apart. Random and "
            "shuffled vectors under nearest neighbours are worse than the train mean by "
            "construction (σ²/k), so that to beat them says nothing. Grey: a metric under which a "
            "duplicate of the experiment does not beat the train mean, and which has no vote. "
            "Common genes: those with a vector in every arm. Spread: standard deviation over "
            "seeds of the folds, which no interval here contains."
        ],
        printed=("arm", "kind", "coverage", "L2", "skill", "95 % from", "95 % to"),
    )


def _ladder_row(
    name: str, kind: str, arm: KnockoutArm, votes: dict[str, bool], common_P: np.ndarray
) -> list[Value]:
    found = skill_in(arm)
    l2_P = arm.values_P("l2")
    spread = None
    if kind == "arm":
        repeats = [facts["fit"]["perturbation"]["l2_of_repeats"] for facts in arm.runs]
        mean_R = np.mean(repeats, axis=0)
        spread = float(mean_R.std(ddof=1)) if len(mean_R) > 1 else None
    others: list[Value] = []
    for metric in HEADLINE:
        if metric != "l2":
            value = arm.mean(metric)
            others.append(value if votes.get(metric) else Grey(value))
    l2 = arm.mean("l2")
    return [
        name,
        kind,
        arm.place,
        len(arm.runs) if kind == "arm" else None,
        float(arm.has_vector_P.mean()) if kind == "arm" else None,
        l2 if votes.get("l2") else Grey(l2),
        *((found.value, found.low, found.high) if found.exists else (None, None, None)),
        float(l2_P[common_P].mean()) if common_P.any() else None,
        arm.mean("l2_without_target"),
        *others,
        spread,
    ]


def calibration_table(arms: Sequence[KnockoutArm]) -> Table:
    """Say which metrics see more than the average response on these data."""
    rows: list[list[Value]] = []
    for place in dict.fromkeys(arm.place for arm in arms):
        arm = next(arm for arm in arms if arm.place == place)
        told = arm.runs[0]["fit"]["perturbation"]["calibration"]
        for name, row in told.items():
            numbers: list[float] = [row["train_mean"], row["duplicate"]]
            shown: list[Value] = [x if row["has_vote"] else Grey(x) for x in numbers]
            vote = "yes" if row["has_vote"] else "no"
            headline = "headline" if name in HEADLINE else ""
            rows.append([place, metrics.title(name), headline, *shown, vote])
    return Table(
        name="perturbation_calibration",
        title="Which metrics can tell a duplicate from the average response",
        columns=["data set", "metric", "kind", "train mean", "duplicate", "has a vote"],
        rows=rows,
        notes=[
            "Half of the cells of each perturbation, predicted by the other half (a duplicate of "
            "the experiment) and by the mean of training responses. A metric whose duplicate does "
            "not beat the mean cannot tell a perfect model from no model here."
        ],
    )


def doubles_table(arms: Sequence[KnockoutArm]) -> Table:
    """Compare arms on doubles by how many of their genes were knocked out alone in training."""
    rows: list[list[Value]] = []
    for arm in arms:
        for row in arm.runs[0]["fit"]["perturbation"]["doubles_seen"]:
            numbers = [row["model"], row["train_mean"], row.get("additive")]
            rows.append([arm.name, arm.place, row["seen"], row["perturbations"], *numbers])
    return Table(
        name="perturbation_doubles",
        title="Combinations, by genes seen alone in training",
        columns=[
            *("arm", "data set", "genes seen", "perturbations", "L2 of the arm"),
            *("L2 of the train mean", "L2 of the sum of the singles"),
        ],
        rows=rows,
        notes=["The vector of a combination is the sum of those of its genes."],
    )


def runs_table(study: StudyResults, runs: Sequence[Facts], out: Path) -> Table:
    """List every run, linked to its record."""
    rows: list[list[Value]] = [
        [
            link_to(facts["run_id"], study.runs_dir, out),
            facts["arm"],
            facts["dataset"],
            int(facts["seed"]),
            int(facts["fit"]["perturbation"]["perturbations"]),
            int(facts["fit"]["perturbation"]["response_genes"]),
            facts["metrics"]["test"]["coverage"],
            facts["metrics"]["test"]["l2"],
            facts["metrics"]["test"].get("skill"),
            facts["cost"]["wall_seconds"],
            len(facts.get("warnings", ())),
        ]
        for facts in runs
    ]
    return Table(
        name="perturbation_runs",
        title="Runs of predicted knock-outs",
        columns=[
            *("run", "arm", "data set", "seed", "perturbations", "genes", "coverage", "L2"),
            *("skill", "seconds", "warnings"),
        ],
        rows=rows,
        notes=["Each name leads to the folder of its record, which holds the predictions."],
    )
