"""What runs of task=perturbation say: skill between floor and ceiling, and what is shown."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from leadline.config import registry
from leadline.report import figures
from leadline.report.answer import by_verdict, listed, p_text, scaled, spaced
from leadline.report.chapter import TaskPart
from leadline.report.compare.knockouts import (
    FLOOR,
    PRETRAINING,
    KnockoutArm,
    KnockoutClaim,
    arms_of,
    claims,
    floors_of,
    votes_of,
)
from leadline.report.figures import LadderRow
from leadline.report.perturbation_tables import (
    calibration_table,
    claims_table,
    differences_table,
    doubles_table,
    ladder_table,
    runs_table,
    skill_in,
)
from leadline.report.study import Facts, StudyResults
from leadline.stats import metrics
from leadline.stats.perturbation_floors import IDEALISED, NO_CHANGE, SHUFFLED, TRAIN_MEAN

# A network of fewer parameters says nothing of a published model.
TINY = 1_000_000
CAPTION = (
    "Share of the way from the train mean (0, dashed) to the noise of the measurement (1), by L2: "
    "the bar is the mean of an arm or a floor, the line its 95 % interval over perturbations."
)


def part_of(study: StudyResults, runs: Sequence[Facts], out: Path) -> TaskPart:
    """Give all that a page says of these runs."""
    arms = arms_of(study, runs)
    found = claims(study, arms)
    tables = [
        claims_table(found),
        ladder_table(arms),
        calibration_table(arms),
        doubles_table(arms),
        differences_table(found),
        runs_table(study, runs, out),
    ]
    builders: dict[str, Any] = {
        "perturbation_skill": partial(
            figures.ladder, _rows(arms), title="Skill between floor and ceiling", caption=CAPTION
        ),
        "perturbation_differences": partial(
            figures.contrasts,
            [_drawn(claim) for claim in found],
            family="all comparisons and headline metrics of a data set and head",
            title="Differences in L2: lower is better",
        ),
    }
    return TaskPart.of(answer(arms, found), tables, builders)


def answer(arms: Sequence[KnockoutArm], found: Sequence[KnockoutClaim]) -> str:
    """Answer in at most 25 words; then for what it holds, and all that is said of each screen."""
    said = []
    for place in dict.fromkeys(arm.place for arm in arms):
        here = [arm for arm in arms if arm.place == place]
        mine = [claim for claim in found if claim.first.a.place == place]
        said.append(f"On {place}: {_best(here)}; {_floor(mine)}.")
        said += [f"{_pretraining(claim)}." for claim in mine if claim.first.asks == PRETRAINING]
    places = listed(dict.fromkeys(arm.place for arm in arms))
    basis = (
        "Responses to unseen knock-outs, by L2 and two of three further metrics, for fresh "
        f"perturbations of {places}; 95 % sure, corrected."
    )
    return f"{_short(found)}\n{basis}\n{' '.join([*said, *_beside(arms)])}"


def _short(found: Sequence[KnockoutClaim]) -> str:
    """Name the arms that are shown to beat the train mean, and those that pretraining helps."""

    def named(asks: str, *verdicts: str) -> list[str]:
        mine = [claim for claim in found if claim.first.asks == asks]
        return [spaced(each.first.a.name) for each in mine if each.verdict in verdicts]

    over, helped = named(FLOOR, "better"), named(PRETRAINING, "better")
    harmed = [name for name in named(PRETRAINING, "worse") if name not in helped]
    said = by_verdict(
        {
            "Shown to beat the mean of seen knock-outs:": over,
            "Pretraining helps": helped,
            "Pretraining harms": harmed,
            "Pretraining is not shown to help": [
                name for name in named(PRETRAINING, "open") if name not in {*helped, *harmed}
            ],
        }
    )
    return said if over else f"Nothing is shown to beat the mean of seen knock-outs. {said}".strip()


def _best(here: Sequence[KnockoutArm]) -> str:
    placed = [(found, arm) for arm in here if (found := skill_in(arm)).exists]
    if not placed:
        return "no skill can be told, since a perfect model would be no better than the train mean"
    found, best = max(placed, key=lambda pair: pair[0].value)
    return (
        f"{best.name} has the highest skill, {found.value:.2f} ({found.low:.2f} to "
        f"{found.high:.2f}; 0 is the train mean, 1 the noise of the measurement)".replace("-", "−")
    )


def _floor(mine: Sequence[KnockoutClaim]) -> str:
    over = [claim for claim in mine if claim.first.asks == FLOOR]
    names = [claim.first.a.name for claim in over if claim.verdict == "better"]
    if not names:
        return "no arm is shown to beat the train mean"
    rest = len(over) - len(names)
    others = f", {rest} other arms are not" if rest > 1 else ", one other arm is not" * rest
    return f"shown to beat the train mean: {', '.join(names)}{others}"


def _pretraining(claim: KnockoutClaim) -> str:
    first, verdict = claim.first, claim.verdict
    p = "" if first.corrected is None else f", {p_text(first.corrected)} after Holm"
    low, high = (scaled(end, "l2") for end in (first.low, first.high))
    word = {"better": "helps", "worse": "harms", "open": "is not shown to help"}[verdict]
    return (
        f"Pretraining of {first.a.name} {word}: L2 {scaled(first.estimate, 'l2')} against "
        f"{first.b.name} ({low} to {high}{p}), {first.won} of {first.folds} folds won"
    )


def _beside(arms: Sequence[KnockoutArm]) -> list[str]:
    """Say which metrics have no vote, how many genes have vectors, and how small networks are."""
    said = []
    for place in dict.fromkeys(arm.place for arm in arms):
        here = [arm for arm in arms if arm.place == place]
        mute = [name for name, vote in votes_of(here[0]).items() if not vote]
        if mute:
            named = ", ".join(metrics.title(name) for name in mute)
            said.append(f"On {place} without a vote, in grey: {named}.")
    coverage = {arm.name: float(arm.has_vector_P.mean()) for arm in arms}
    if min(coverage.values()) < 1:
        told = ", ".join(f"{name} {share:.0%}" for name, share in coverage.items() if share < 1)
        said.append(f"Coverage of the perturbed genes: {told}; 100 % in the others.")
    else:
        said.append("Coverage of the perturbed genes: 100 % in every arm.")
    said.append("Random vectors are worse than the train mean by construction.")
    sizes = {
        int(facts["fit"].get("parameters_total") or 0)
        for arm in arms
        for facts in arm.runs
        if registry.named(arm.model).kind == "network"
    }
    if sizes and max(sizes) < TINY:
        said.append(
            f"The networks have at most {max(sizes):,} parameters and were pretrained, if at all, "
            "on few cells: nothing here speaks for a published model."
        )
    return said


def _rows(arms: Sequence[KnockoutArm]) -> list[LadderRow]:
    rows = []
    for place in dict.fromkeys(arm.place for arm in arms):
        here = [arm for arm in arms if arm.place == place]
        beside = (SHUFFLED, NO_CHANGE, IDEALISED)
        floors = [each for each in floors_of(here[0]) if each.floor not in beside]
        for arm in [*floors, *here]:
            found = skill_in(arm)
            if not found.exists:
                continue
            rows.append(
                LadderRow(
                    panel="skill",
                    arm=f"{arm.model}/{arm.name}",
                    label=arm.name,
                    place=place,
                    value=found.value,
                    low=found.low,
                    high=found.high,
                    runs=(found.value,),
                    chance=arm.floor == TRAIN_MEAN,
                )
            )
    return rows


def _drawn(claim: KnockoutClaim) -> figures.Compared:
    first = claim.first
    return figures.Compared(
        group=f"{first.a.place}, L2",
        label=f"{first.a.name} − {first.b.name}",
        estimate=first.estimate,
        low=first.low,
        high=first.high,
        verdict=first.verdict,
        p="" if first.corrected is None else p_text(first.corrected)[2:].removeprefix("= "),
    )
