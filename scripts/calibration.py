"""How often a comparison errs: studies are simulated whose truth is known, and judged.

    python scripts/calibration.py [MODULE:FUNCTION|folds|looks|margins] [--quick] [--studies N]

FUNCTION is called as judge(truth, preds_a, preds_b, donors, metric=..., margin=0.01) and returns
p, low, high and verdict. `welch`, today's test over runs alone, is always judged beside it on the
same draws. `folds` compares ways of judging cross-validation (calibration_folds.py), `margins`
equivalence and "not above" (calibration_margins.py). `looks` judges studies whose seeds are added
until it is decided or precise, and beside them one that stops after any seed at p < .05. Prints a
table and then JSON.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.stats
from scipy.special import ndtr

from leadline.stats.crossed import compare_arms, family_verdicts
from leadline.stats.difference import interval, parts
from leadline.stats.influence import Influences, influences
from leadline.stats.looks import LOOKS, MOST_RUNS, p_over_looks, precise_enough

Judge = Callable[..., dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One population of cells, donors, models and seeds; both arms have one law but for `lead`."""

    name: str
    cells: int = 1000
    runs: tuple[int, int] = (5, 5)
    classes: int = 6
    metric: str = "accuracy"
    luck: float = 0.1  # sd of a run's skill, on the probit scale
    competence: float = 0.8  # sd of a model's skill for a cell
    donors: int = 0
    donor_skill: float = 0.3  # sd of a model's skill for a donor
    collapse: float = 0.0  # share of the runs that call one class only
    lead: float = 0.0  # share of the cells on which a is right and b wrong


SETTINGS = (
    Setting(name="equal, 3 runs", runs=(3, 3)),
    Setting(name="equal, 10 runs", runs=(10, 10)),
    Setting(name="equal, 10 runs, 140 cells", cells=140, runs=(10, 10)),
    Setting(name="equal, no luck, 140 cells", cells=140, runs=(1, 1), luck=0.0),
    Setting(name="equal, 10 donors", donors=10),
    Setting(name="equal, 3 donors, 3 runs", donors=3, runs=(3, 3)),
    Setting(name="equal, macro-F1", metric="macro_f1"),
    Setting(name="equal, a fifth of the runs collapses", collapse=0.2),
    Setting(name="lead of 1 point, 10 runs, 1,500 cells", cells=1500, runs=(10, 10), lead=0.01),
    Setting(name="lead of 6 points", lead=0.06),
    Setting(name="lead of 8 points, 10 donors", donors=10, lead=0.08, donor_skill=0.1),
)


def draw(setting: Setting, random: np.random.Generator) -> tuple[Any, list[Any], Any]:
    """Draw the truth (N,), the calls (R, N) of both arms, and donors (N,) or None."""
    n, k = setting.cells, setting.classes
    shares = np.geomspace(1, 0.1, k)
    truth = random.choice(k, n, p=shares / shares.sum())
    skill_N = 1.5 + 1.2 * random.standard_normal(n)
    donors = None
    if setting.donors:
        donors = np.concatenate(
            [
                np.arange(setting.donors),
                random.integers(0, setting.donors, n - setting.donors),
            ]
        )
    leads = random.random(n) < setting.lead
    arms = []
    for arm, runs in enumerate(setting.runs):
        own_N = skill_N + setting.competence * random.standard_normal(n)
        if donors is not None:
            own_N = own_N + (setting.donor_skill * random.standard_normal(setting.donors))[donors]
        luck_R = setting.luck * random.standard_normal((runs, 1))
        right_RN = random.random((runs, n)) < ndtr(own_N + luck_R)
        right_RN[:, leads] = arm == 0
        calls_RN = np.where(right_RN, truth, (truth + 1) % k)
        failed_R = random.random(runs) < setting.collapse
        calls_RN[failed_R] = np.where(leads, calls_RN[failed_R], 0)
        arms.append(calls_RN)
    return truth, arms, donors


def welch(
    truth: Any, a: Any, b: Any, donors: Any = None, *, metric: str, margin: float
) -> dict[str, Any]:
    """Judge by runs alone: Welch's test, interval and equivalence, on the same cells."""
    found = parts(*(influences(truth, calls, metric) for calls in (a, b)))
    if not found.v_runs:
        return {"p": 1.0, "low": -1.0, "high": 1.0, "verdict": "untested"}
    error, estimate = np.sqrt(found.v_runs), found.estimate
    p = float(2 * scipy.stats.t.sf(abs(estimate) / error, found.df_runs))
    half, near = (scipy.stats.t.isf(x, found.df_runs) * error for x in (0.025, 0.05))
    verdict = "equivalent" if abs(estimate) + near < margin else "open"
    if p < 0.05:
        verdict = "better" if estimate > 0 else "worse"
    return {"p": p, "low": estimate - half, "high": estimate + half, "verdict": verdict}


def rates(
    judges: dict[str, Judge], setting: Setting, studies: int, seed: int
) -> dict[str, dict[str, float]]:
    """Count what each judge says of the same studies."""
    random = np.random.default_rng([seed, *setting.name.encode()])
    counts = {
        name: dict.fromkeys(("false", "covered", "found", "equivalent"), 0.0) for name in judges
    }
    for _ in range(studies):
        truth, (a, b), donors = draw(setting, random)
        for name, judge in judges.items():
            said = judge(truth, a, b, donors, metric=setting.metric, margin=0.01)
            counted(counts[name], said, setting)
    return {n: {key: x / studies for key, x in count.items()} for n, count in counts.items()}


def counted(count: dict[str, float], said: dict[str, Any], setting: Setting) -> None:
    """Count whether a verdict is false, right, and its interval covers."""
    verdict = said["verdict"]
    wrong = ("better", "worse") if setting.lead == 0 else ("worse",)
    count["false"] += verdict in wrong
    count["covered"] += said["low"] <= setting.lead <= said["high"]
    count["found"] += verdict == "better" and setting.lead > 0
    count["equivalent"] += verdict == "equivalent"


LOOKED_AT = (
    Setting(name="equal", runs=(20, 20)),
    Setting(name="equal, little luck", runs=(20, 20), luck=0.02),
    Setting(name="equal, much luck", runs=(20, 20), luck=0.3),
    Setting(name="equal, 140 cells", cells=140, runs=(20, 20)),
    Setting(name="equal, against one run without luck", runs=(20, 1), luck=0.0),
    Setting(name="equal, 10 donors", donors=10, runs=(20, 20)),
    Setting(name="lead of 6 points", runs=(20, 20), lead=0.06),
    Setting(name="lead of 6 points, much luck", runs=(20, 20), lead=0.06, luck=0.3),
)
EVERY_SEED = range(3, MOST_RUNS + 1)


def first_runs(arm: Influences, count: int) -> Influences:
    """Keep the first runs of an arm."""
    return replace(
        arm,
        scores_R=arm.scores_R[:count],
        z_RU=arm.z_RU[:count],
        without_RD=arm.without_RD[:count],
    )


def at_looks(a: Influences, b: Influences, looks: Iterable[int]) -> Iterator[tuple[int, Any]]:
    """Compare the first runs of both arms, look after look."""
    for seeds in looks:
        yield seeds, compare_arms(first_runs(a, seeds), first_runs(b, seeds), luck_b=b.rows > 1)


def until_decided(a: Influences, b: Influences) -> dict[str, Any]:
    """Add seeds until a verdict is shown at a declared look: `--until decided`."""
    p: dict[int, float] = {}
    p_same: dict[int, float] = {}
    for seeds, found in at_looks(a, b, LOOKS):
        p[seeds], p_same[seeds] = found.p, found.p_equivalent
        low, high = interval(found.parts, LOOKS[seeds])
        said = {"seeds": seeds, "low": low, "high": high, "verdict": "open"}
        if p_over_looks(p) < 0.05:
            return said | {"verdict": "better" if found.parts.estimate > 0 else "worse"}
        if p_over_looks(p_same) < 0.05:
            return said | {"verdict": "equivalent"}
    return said


def until_precise(a: Influences, b: Influences) -> dict[str, Any]:
    """Add seeds until they narrow the interval little, then test once: `--until precise`."""
    stages = at_looks(a, b, LOOKS)
    seeds, found = next(
        stage for stage in stages if stage[0] == MOST_RUNS or precise_enough(stage[1].parts)
    )
    verdict = family_verdicts({"": found})[""]
    return {"seeds": seeds, "low": found.low, "high": found.high, "verdict": verdict}


def until_significant(a: Influences, b: Influences) -> dict[str, Any]:
    """Add one seed after the other and stop at p < .05: what must not be done."""
    stages = at_looks(a, b, EVERY_SEED)
    seeds, found = next(stage for stage in stages if stage[0] == MOST_RUNS or stage[1].p < 0.05)
    verdict = family_verdicts({"": found})[""]
    return {"seeds": seeds, "low": found.low, "high": found.high, "verdict": verdict}


RULES = {"decided": until_decided, "precise": until_precise, "p < .05": until_significant}


def rates_of_rules(setting: Setting, studies: int, seed: int) -> dict[str, dict[str, float]]:
    """Count what each rule says of the same studies, and the seeds that it took."""
    random = np.random.default_rng([seed, *setting.name.encode()])
    keys = ("false", "covered", "found", "equivalent", "seeds")
    counts = {name: dict.fromkeys(keys, 0.0) for name in RULES}
    for _ in range(studies):
        truth, arms, donors = draw(setting, random)
        a, b = (influences(truth, calls, setting.metric, donors_N=donors) for calls in arms)
        for name, rule in RULES.items():
            said = rule(a, b)
            counted(counts[name], said, setting)
            counts[name]["seeds"] += said["seeds"]
    return {n: {key: x / studies for key, x in count.items()} for n, count in counts.items()}


def load(name: str) -> Judge:
    """Import MODULE:FUNCTION."""
    module, _, function = name.partition(":")
    judge: Judge = getattr(importlib.import_module(module), function)
    return judge


def main(words: Sequence[str] | None = None) -> None:
    """Print how often the judge, and Welch beside it, errs, covers and finds."""
    words = sys.argv[1:] if words is None else words
    if words[:1] == ["folds"]:
        import calibration_folds

        calibration_folds.main(words[1:])
        return
    if words[:1] == ["margins"]:
        import calibration_margins

        calibration_margins.main(words[1:])
        return
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("judge", nargs="?", default="leadline.stats.crossed:judge")
    parser.add_argument("--quick", action="store_true", help="200 studies a setting, not 1,000")
    parser.add_argument("--studies", type=int)
    parser.add_argument("--only", default="", help="settings whose name holds this")
    parser.add_argument("--seed", type=int, default=20_261_124)
    given = parser.parse_args(words)
    studies = given.studies or (200 if given.quick else 1000)
    looks = given.judge == "looks"
    more = " | seeds" if looks else ""
    print(
        f"| {studies} studies each | test | false finding | coverage | found | equivalent{more} |"
    )
    print("|---" * (7 if looks else 6) + "|")
    judges = {} if looks else {"welch": welch, "judge": load(given.judge)}
    found = {}
    for setting in LOOKED_AT if looks else SETTINGS:
        if given.only not in setting.name:
            continue
        if looks:
            found[setting.name] = rates_of_rules(setting, studies, given.seed)
        else:
            found[setting.name] = rates(judges, setting, studies, given.seed)
        for name, rate in found[setting.name].items():
            cells = " | ".join(
                f"{x:.1f}" if key == "seeds" else f"{x:.3f}" for key, x in rate.items()
            )
            print(f"| {setting.name} | {name} | {cells} |", flush=True)
    print(json.dumps({"judge": given.judge, "studies": studies, "rates": found}))


if __name__ == "__main__":
    main()
