"""Every published comparison under every analysis that somebody might have made of its runs.

Nothing is trained: a comparison has the runs that were printed, and what varies is how they are
tested. Comparisons that one sentence of the paper is about make a family: scBERT against its two
ablations (Table 2), and scBERT against logistic regression at four shares of the labels (Figure 2).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from leadline import stats
from leadline.errors import UserError
from leadline.papers.boiarsky import runs
from leadline.report.compare.arms import ArmRuns, Condition
from leadline.report.compare.evidence import Evidence
from leadline.report.multiverse import MultiverseQuestion
from leadline.report.tables import Table, Value
from leadline.stats import metrics
from leadline.stats.inputs import Floats, pair_by_seed
from leadline.stats.universes import Universe

ALPHA = 0.05
DATASET, MEASURES = "zheng68k", ("accuracy", "macro_f1")
SHARES = (0.1, 0.25, 0.5, 0.75)
# The switches of an analysis with their values, the paper's own first.
SWITCHES = {
    "test": ("student", "welch", "permutation"),
    "pairs": ("no", "yes"),
    "ddof": ("1", "0"),
    "replicate": ("run", "constant"),
    "seeds": ("all", "shared"),
    "correction": ("none", "holm"),
}
PAPER = {name: values[0] for name, values in SWITCHES.items()}
# Of analyses more than one may be right; where one is better, its reason is told.
TAGS = {"test": "N", "pairs": "N", "ddof": "N", "replicate": "N", "seeds": "E", "correction": "N"}
REASONS = {
    "test": "Welch’s test does not assume equal variances; a permutation test assumes no law",
    "pairs": "runs of one seed share their split: pairing takes its luck out",
    "ddof": "n − 1: with n the interval is 5 % too short for ten runs",
    "replicate": "at all labels logistic regression does not vary: its runs are one number",
    "seeds": "all runs that were printed, or those whose seed both arms have",
    "correction": "a family of tests needs a correction (Holm)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedComparison:
    """Two published arms under one metric, and the family that they are told in."""

    family: str
    a: ArmRuns
    b: ArmRuns

    @property
    def label(self) -> str:
        """Name the comparison."""
        share = "" if self.a.fraction == 1 else f" {self.a.fraction:.0%}"
        return f"{self.a.name} less {self.b.name}{share}, {metrics.title(self.a.metric)}"


@cache
def comparisons() -> tuple[PublishedComparison, ...]:
    """Give the comparisons whose runs are printed, family by family."""
    evidence = Evidence.of(runs())

    def side(model: str, arm: str, share: float, metric: str, artefact: str) -> ArmRuns:
        return evidence.side(Condition(DATASET, model, arm, share, metric, artefact))

    found = [
        PublishedComparison(
            family="ablations",
            a=side("scbert", "reference", 1.0, metric, "Table 2"),
            b=side("scbert", other, 1.0, metric, "Table 2"),
        )
        for other in ("no_gene2vec", "no_pretraining")
        for metric in MEASURES
    ]
    found += [
        PublishedComparison(
            family="few_shot",
            a=side("scbert", "reference", share, metric, "Figure 2"),
            b=side("logreg", "logreg", share, metric, "Figure 2"),
        )
        for share in SHARES
        for metric in MEASURES
    ]
    found += [
        PublishedComparison(
            family="all_labels",
            a=side("scbert", "reference", 1.0, metric, "Table 1"),
            b=side("logreg", "logreg", 1.0, metric, "Table 1"),
        )
        for metric in MEASURES
    ]
    return tuple(each for each in found if each.a.has_runs and each.b.has_runs)


def analyses() -> list[dict[str, str]]:
    """List the analyses that are possible; a pair has one variance, and one partner."""
    every: list[dict[str, str]] = [{}]
    for name, values in SWITCHES.items():
        every = [{**each, name: value} for each in every for value in values]
    return [each for each in every if possible(each)]


def possible(choices: Mapping[str, str]) -> bool:
    """Say whether the choices make an analysis, and one that no other repeats."""
    if choices["pairs"] == "yes":
        # Of pairs Student's test is the paired t-test, and only shared seeds have a partner.
        sound = choices["test"] != "welch" and choices["seeds"] == "shared"
        return sound and choices["replicate"] == "run" and choices["ddof"] == "1"
    if choices["test"] == "permutation":
        return choices["replicate"] == "run" and choices["ddof"] == "1"
    return choices["replicate"] == "run" or choices["test"] == "student"


def p_of(each: PublishedComparison, choices: Mapping[str, str]) -> tuple[float, float] | None:
    """Give difference and uncorrected p of one analysis; None where it cannot be made."""
    rng = np.random.default_rng(1)
    a, b = each.a.values, each.b.values
    try:
        if choices["pairs"] == "yes":
            a, b, _ = pair_by_seed(a, b, each.a.seeds, each.b.seeds)
            test = stats.paired_t if choices["test"] == "student" else None
            result = stats.paired_permutation(a, b, rng) if test is None else test(a, b)
            return result.estimate, result.p
        if choices["seeds"] == "shared":
            a, b, _ = pair_by_seed(a, b, each.a.seeds, each.b.seeds)
        if choices["replicate"] == "constant":
            return _against_constant(a, b, each, choices) if each.b.fixed else None
        if choices["test"] == "permutation":
            found = stats.permutation(a, b, rng)
            return found.estimate, found.p
        found = (stats.student if choices["test"] == "student" else stats.welch)(a, b)
    except UserError:
        return None
    assert found.df is not None
    factor = _shrunk(choices, a, b)
    return found.estimate, _t_p(found.statistic * factor, found.df)


def _against_constant(
    a: Floats, b: Floats, each: PublishedComparison, choices: Mapping[str, str]
) -> tuple[float, float]:
    found = stats.one_sample(a, float(b.mean()))
    assert found.df is not None
    return found.estimate, _t_p(found.statistic * _shrunk(choices, a, a), found.df)


def _shrunk(choices: Mapping[str, str], a: Floats, b: Floats) -> float:
    """Give by how much t grows when variances are divided by n: for arms of equal size, exactly."""
    n = min(a.size, b.size)
    return math.sqrt(n / (n - 1)) if choices["ddof"] == "0" else 1.0


def _t_p(statistic: float, df: float) -> float:
    from scipy.special import stdtr

    return float(2 * stdtr(df, -abs(statistic)))


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysedFamily:
    """What every analysis finds in every comparison of a family: difference and p, corrected."""

    family: str
    comparisons: tuple[PublishedComparison, ...]
    analyses: tuple[Mapping[str, str], ...]
    p: tuple[tuple[float | None, ...], ...]

    def significant(self, **choices: str) -> int:
        """Count the comparisons that one analysis finds, as the paper counts: p < .05."""
        wanted = {**PAPER, **choices}
        at = list(self.analyses).index(wanted)
        return sum(p is not None and p < ALPHA for p in self.p[at])


@cache
def analysed() -> tuple[AnalysedFamily, ...]:
    """Make every analysis of every comparison; Holm's correction is over the family."""
    found = []
    for family in dict.fromkeys(each.family for each in comparisons()):
        members = tuple(each for each in comparisons() if each.family == family)
        made, values = [], []
        for choices in analyses():
            results = [p_of(each, choices) for each in members]
            if all(result is None for result in results):
                continue
            p = [None if result is None else result[1] for result in results]
            if choices["correction"] == "holm":
                known = {str(at): each for at, each in enumerate(p) if each is not None}
                corrected = stats.holm(known)
                p = [corrected.get(str(at)) for at in range(len(p))]
            made.append(choices)
            values.append(tuple(p))
        found.append(
            AnalysedFamily(
                family=family, comparisons=members, analyses=tuple(made), p=tuple(values)
            )
        )
    return tuple(found)


def flips_table() -> Table:
    """Say of each comparison in how many analyses it is significant, and whether that flips."""
    rows: list[list[Value]] = []
    for family in analysed():
        own = list(family.analyses).index(PAPER)
        for at, each in enumerate(family.comparisons):
            p = [row[at] for row in family.p if row[at] is not None]
            found = sum(value < ALPHA for value in p if value is not None)
            said = family.p[own][at]
            flips = 0 if said is None else len(p) - found if said < ALPHA else found
            rows.append(
                [
                    each.label, family.family, each.a.mean - each.b.mean, said, len(p), found,
                    found / len(p), flips, _deciding(family, at),
                ]
            )  # fmt: skip
    return Table(
        name="multiverse_flips",
        title="Which verdicts hang on an analysis",
        columns=["comparison", "family", "difference", "p as the paper tests", "analyses",
                 "significant", "share", "flips", "alone flips it"],
        rows=rows,
        notes=[
            "Flips: analyses whose verdict at .05 is another than that of the paper’s own "
            "(Student, unpaired, every run, no correction). Alone flips it: choices that do so "
            "while all others stay the paper’s.",
        ],
    )  # fmt: skip


def _deciding(family: AnalysedFamily, at: int) -> str:
    own = family.p[list(family.analyses).index(PAPER)][at]
    if own is None:
        return ""
    found = []
    for choices, p in zip(family.analyses, family.p, strict=True):
        changed = {name: value for name, value in choices.items() if value != PAPER[name]}
        value = p[at]
        if len(changed) == 1 and value is not None and (value < ALPHA) != (own < ALPHA):
            found += [f"{name}={value}" for name, value in changed.items()]
    return ", ".join(found)


def counts_table() -> Table:
    """Count for each analysis the comparisons of each family that it finds."""
    rows: list[list[Value]] = []
    for family in analysed():
        for choices, p in zip(family.analyses, family.p, strict=True):
            made = [value for value in p if value is not None]
            found = sum(value < ALPHA for value in made)
            rows.append([family.family, *choices.values(), found, len(made)])
    return Table(
        name="multiverse_analyses",
        title="What each analysis finds",
        columns=["family", *SWITCHES, "significant", "of"],
        rows=rows,
        notes=[f"{name}: {reason}." for name, reason in REASONS.items()],
    )


def votes_table() -> Table:
    """Share of significant verdicts by family: each analysis one vote, each training one vote."""
    rows: list[list[Value]] = []
    for family in analysed():
        by_training = [
            [row[at] < ALPHA for row in family.p if row[at] is not None]  # type: ignore[operator]
            for at in range(len(family.comparisons))
        ]
        every = [verdict for verdicts in by_training for verdict in verdicts]
        one_each = [sum(verdicts) / len(verdicts) for verdicts in by_training]
        rows.append(
            [
                family.family, len(by_training), len(every), sum(every) / len(every),
                sum(one_each) / len(one_each),
            ]
        )  # fmt: skip
    return Table(
        name="multiverse_votes",
        title="Both weightings",
        columns=["family", "trainings", "universes", "significant, one vote a universe",
                 "one vote a training"],
        rows=rows,
        notes=["Analyses of one training share its runs: they are no independent evidence."],
    )  # fmt: skip


def questions() -> list[MultiverseQuestion]:
    """Give the families as curves over shared seeds: of each metric, comparisons by analyses."""
    found = []
    titles = {"few_shot": "share of labels", "ablations": "ablation"}
    for family, switch in titles.items():
        for metric in MEASURES:
            members = [
                each for each in comparisons() if each.family == family and each.a.metric == metric
            ]
            groups: dict[str, list[PublishedComparison]] = {}
            for each in members:
                # Two ablations are two effects: they share no curve.
                groups.setdefault(each.b.arm if family == "ablations" else family, []).append(each)
            for group, chosen in groups.items():
                universes = [
                    universe for each in chosen for universe in _universes(each, metric, switch)
                ]
                others = chosen[0].b.name
                found.append(
                    MultiverseQuestion(
                        name=f"{family}_{group}_{metric}",
                        title=f"scBERT less {others}, {metrics.title(metric)} ({family})",
                        arms=("scBERT", others),
                        metric=metric,
                        universes=universes,
                        tags={"test": "N", "ddof": "N", switch: "E"},
                        # What the paper claims: ablations and small shares of labels cost scBERT.
                        direction=1 if family == "ablations" else -1,
                    )
                )
    return found


def _universes(each: PublishedComparison, metric: str, switch: str) -> list[Universe]:
    scores: list[dict[Hashable, float]] = [
        {seed: float(v) for seed, v in zip(s.seeds, s.values, strict=True) if seed is not None}
        for s in (each.a, each.b)
    ]
    pairs = {
        seed: (scores[0].get(seed, math.nan), scores[1].get(seed, math.nan))
        for seed in dict.fromkeys((*scores[0], *scores[1]))
    }
    place = f"{each.a.fraction:.0%}" if switch == "share of labels" else each.b.arm
    return [
        Universe(
            choices={"test": test, "ddof": str(ddof), switch: place},
            runs=pairs,
            metric=metric,
            test=test,
            ddof=ddof,
            analysis=("test", "ddof"),
        )
        for test in ("student", "welch", "paired_t")
        for ddof in (1, 0)
    ]


def all_tables() -> Sequence[Table]:
    """Give every table of the published multiverse that is no curve's."""
    return [flips_table(), counts_table(), votes_table()]
