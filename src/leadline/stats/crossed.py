"""What may be said of a comparison: verdicts, what they speak for, and their warnings."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy.typing as npt

from leadline.errors import UserError
from leadline.stats.difference import (
    VarianceParts,
    equivalence_interval,
    interval,
    over_folds,
    p_above_lower,
    p_below_upper,
    p_difference,
    parts,
    resplit_parts,
)
from leadline.stats.influence import Influences, average_subsets, influences
from leadline.stats.tests import holm

FEW_DONORS, HOPELESS_DONORS, LEAST_DONOR_DF = 5, 3, 4.0
RARE_CELLS, VERY_RARE_CELLS = 10, 5


class SpeaksFor(enum.Enum):
    """The cells that a verdict holds for, decided by the data."""

    CELLS = "fresh cells like these"
    DONORS = "fresh cells of fresh donors"
    THESE_DONORS = "fresh cells of these donors"
    THIS_DONOR = "fresh cells of this donor"


def speaks_for(donors: int | None, *, any_trained_on: bool = False) -> SpeaksFor:
    """Say what cells a verdict speaks for.

    Parameters
    ----------
    donors
        Number of batches among the held-out cells; None where there is no batch column.
    any_trained_on
        Whether a training or selection cell is of any of these batches.
    """
    if donors is None:
        return SpeaksFor.CELLS
    if any_trained_on:
        return SpeaksFor.THESE_DONORS
    return SpeaksFor.DONORS if donors >= 2 else SpeaksFor.THIS_DONOR


@dataclass(frozen=True, slots=True, kw_only=True)
class Warn:
    """A warning that goes with a verdict: a name that a table can hold, and a sentence."""

    name: str
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossedComparison:
    """One comparison: a less b, in words of the metric where higher is better or not.

    `tested` is false where an arm is one run of a model with luck: interval and p are then of
    these trained models, over cells alone.
    """

    parts: VarianceParts
    low: float
    high: float
    p: float
    p_above_lower: float
    p_below_upper: float
    equivalence_low: float
    equivalence_high: float
    margin: float
    tested: bool
    higher_is_better: bool
    speaks: SpeaksFor
    warnings: tuple[Warn, ...] = ()

    @property
    def p_equivalent(self) -> float:
        """P of two one-sided tests at the margin."""
        return max(self.p_above_lower, self.p_below_upper)

    @property
    def of_these_donors(self) -> tuple[float, float]:
        """The 95 % interval over cells alone, for fresh cells of the donors that are there."""
        return interval(over_cells_alone(self.parts))

    @property
    def words(self) -> str:
        """What the comparison speaks for."""
        if not self.tested:
            return f"this trained model, not the next, on {self.speaks.value}"
        return f"fresh runs on {self.speaks.value}"


def over_cells_alone(found: VarianceParts) -> VarianceParts:
    """Leave donors out of a comparison, so that it speaks for fresh cells of these donors."""
    return replace(found, v_donors=0.0, df_donors=math.inf, donors=0)


def too_few_donors(found: VarianceParts) -> bool:
    """Say whether donors are the units, and so few that nothing can be told of fresh ones."""
    return 0 < found.donors <= HOPELESS_DONORS


def compare_arms(
    a: Influences,
    b: Influences,
    *,
    paired: bool = False,
    margin: float = 0.01,
    luck_a: bool = True,
    luck_b: bool = True,
    speaks: SpeaksFor | None = None,
    folds: int | None = None,
) -> CrossedComparison:
    """Compare two arms over fresh runs and fresh cells.

    Parameters
    ----------
    luck_a, luck_b
        Whether the arm's model has luck; one row without is complete, one run with it is not.
    folds
        In how many folds each cell was held out once; None where all rows share a training file.
    """
    tested = not ((luck_a and a.rows == 1) or (luck_b and b.rows == 1))
    found = parts(a, b, paired=paired) if tested else parts(_mean_row(a), _mean_row(b))
    if folds is not None:
        found = over_folds(found, folds)
    known = SpeaksFor.DONORS if a.donors >= 2 else SpeaksFor.CELLS
    return _comparison(
        found,
        margin,
        tested=tested,
        higher_is_better=a.higher_is_better,
        speaks=speaks or known,
        warnings=tuple(_warnings(a, b, found, luck_a, luck_b)),
    )


def compare_resplits(
    scores_a: npt.ArrayLike,
    scores_b: npt.ArrayLike,
    *,
    test_cells: float,
    training_cells: float,
    step: float,
    margin: float = 0.01,
    higher_is_better: bool = True,
) -> CrossedComparison:
    """Compare two arms split by split, where each run reports on cells of its own."""
    found = resplit_parts(
        scores_a, scores_b, test_cells=test_cells, training_cells=training_cells, step=step
    )
    return _comparison(
        found, margin, tested=True, higher_is_better=higher_is_better, speaks=SpeaksFor.CELLS
    )


def _comparison(found: VarianceParts, margin: float, **about: Any) -> CrossedComparison:
    """Compute intervals and levels of an estimated difference."""
    low, high = interval(found)
    equivalence_low, equivalence_high = equivalence_interval(found, margin)
    return CrossedComparison(
        parts=found,
        low=low,
        high=high,
        p=p_difference(found),
        p_above_lower=p_above_lower(found, margin),
        p_below_upper=p_below_upper(found, margin),
        equivalence_low=equivalence_low,
        equivalence_high=equivalence_high,
        margin=margin,
        **about,
    )


def family_verdicts(family: Mapping[str, CrossedComparison], alpha: float = 0.05) -> dict[str, str]:
    """Give each comparison of a declared family its verdict.

    better, worse: p after Holm below alpha. equivalent: p of the equivalence tests, Holm over the
    family's, below alpha and no difference shown. untested: an arm's luck is unknown. Else open.
    """
    tested = {name: one for name, one in family.items() if one.tested}
    if not tested:
        return dict.fromkeys(family, "untested")
    differences = holm({name: one.p for name, one in tested.items()})
    equivalences = holm({name: one.p_equivalent for name, one in tested.items()})
    said = dict.fromkeys(family, "untested")
    for name, one in tested.items():
        ahead = (one.parts.estimate > 0) == one.higher_is_better
        if differences[name] < alpha:
            said[name] = "better" if ahead else "worse"
        else:
            said[name] = "equivalent" if equivalences[name] < alpha else "open"
    return said


def variance_shares(found: VarianceParts) -> dict[str, float]:
    """Share of the variance by source: runs of a and b (or of pairs), cells or donors, noise."""
    by_source = {}
    if found.paired:
        by_source["runs"] = max(found.v_runs - found.v_interaction, 0.0)
    else:
        by_source["runs_a"] = max(found.v_runs_a - found.v_interaction_a, 0.0)
        by_source["runs_b"] = max(found.v_runs_b - found.v_interaction_b, 0.0)
    if found.v_donors > found.v_competence:
        by_source["donors"] = found.v_donors
    else:
        by_source["cells"] = found.v_competence
    by_source["noise"] = found.v_interaction
    total = sum(by_source.values())
    return {name: v / total if total else 0.0 for name, v in by_source.items()}


def largest_hidden_collapse_rate(runs: int, alpha: float = 0.05) -> float:
    """Give the collapse rate that `runs` runs without a collapsed one do not exclude."""
    if runs < 1:
        raise UserError("a rate needs runs", got=f"{runs}", remedy="pass the number of runs")
    return float(1 - alpha ** (1 / runs))


def judge(
    truth: Any,
    preds_a: Any,
    preds_b: Any,
    donors: Any = None,
    *,
    metric: str = "accuracy",
    paired: bool = False,
    margin: float = 0.01,
    subset_a: Any = None,
    subset_b: Any = None,
) -> dict[str, Any]:
    """Judge two arms from arrays; one row of predictions is a model without luck."""
    a = influences(truth, preds_a, metric, donors_N=donors)
    b = influences(truth, preds_b, metric, donors_N=donors)
    if subset_a is not None and subset_b is not None:
        (a, names_a), (b, names_b) = average_subsets(a, subset_a), average_subsets(b, subset_b)
        if paired and names_a != names_b:
            raise UserError(
                "arms paired by labelled subset must have the same subsets",
                got=f"{names_a} and {names_b}",
                remedy="leave out the subsets of one arm only, or compare unpaired",
            )
    said = compare_arms(a, b, paired=paired, margin=margin, luck_a=False, luck_b=False)
    names = ("estimate", "v_runs", "df_runs", "v_cells", "df_cells", "v_interaction")
    more = ("low", "high", "p", "p_above_lower", "p_below_upper", "p_equivalent")
    found = {name: getattr(said.parts, name) for name in (*names, "v_donors", "df_donors", "step")}
    found |= {name: getattr(said, name) for name in more}
    found |= {name: getattr(said, name) for name in ("equivalence_low", "equivalence_high")}
    return found | {"verdict": family_verdicts({"": said})[""]}


def _mean_row(arm: Influences) -> Influences:
    """Take the trained models of an arm as they are: one row, so that no run variance is meant."""
    return replace(
        arm,
        scores_R=arm.scores_R.mean(keepdims=True),
        z_RU=arm.mean_z_U[None],
        without_RD=arm.mean_without_D[None],
    )


def _warnings(
    a: Influences, b: Influences, found: VarianceParts, luck_a: bool, luck_b: bool
) -> list[Warn]:
    said = []
    if a.donors >= 2:
        if a.donors <= HOPELESS_DONORS:
            said.append(Warn(
                name="few_donors",
                sentence=f"for fresh donors it cannot be told from {a.donors}",
            ))  # fmt: skip
        elif a.donors <= FEW_DONORS or found.df_donors < LEAST_DONOR_DF:
            sentence = f"{a.donors} donors, {found.df_donors + 1:.1f} that count, tell little"
            said.append(Warn(name="few_donors", sentence=sentence))
    rare = {k: n for k, n in a.class_sizes.items() if n < RARE_CELLS}
    if rare:
        very = [f"{k} ({n})" for k, n in rare.items() if n < VERY_RARE_CELLS]
        sentence = f"{len(rare)} classes have fewer than {RARE_CELLS} held-out cells"
        if very:
            sentence += f"; intervals may be too narrow for {', '.join(very)}"
        said.append(Warn(name="rare_classes", sentence=sentence))
    for arm, luck, name in ((a, luck_a, "a"), (b, luck_b, "b")):
        if luck and arm.identical:
            sentence = f"the {arm.rows} runs of {name} call every cell alike: one row, no luck seen"
            said.append(Warn(name="dependent_replicates", sentence=sentence))
    return said
