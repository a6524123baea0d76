"""How often comparisons over folds err: classifiers are fitted to cells whose law is known.

    python scripts/calibration.py folds [--quick] [--studies N] [--only WORD]

Cells are gaussian around class means. Arm a sees one half of the genes, arm b the other half, and
both halves have one law: expected accuracies are equal, cell by cell they are not. `lead` weakens
the means of b. The truth is the difference expected of a fresh data set of the same size, of which
four fifths train; where a leads it is measured on data sets of their own.

All ways of judging see the same cells: a split of 80/20, or 5 folds. Prints a table, then JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from leadline.data.splits.folds import by_class
from leadline.stats.difference import (
    VarianceParts,
    interval,
    over_folds,
    parts,
    resplit_parts,
)
from leadline.stats.influence import influences

FOLDS = 5
CLASSES = 6
RIDGE, HIDDEN, SELECTED, DONOR = 10.0, 60, 10, 0.3


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Cells and the classifier of both arms; `spread` is the sd of class means, noise has sd 1."""

    name: str
    model: str
    metric: str = "accuracy"
    cells: int = 700
    genes: int = 100
    spread: float = 0.22
    runs: int = 1  # seeds; a model without luck needs one
    lead: float = 0.0  # share by which the class means of b are weaker
    shared: float = 0.6  # sd of the noise that both halves of the genes have in common
    donors: int = 0  # held out whole; each shifts every gene of either half by noise of sd 0.3


SETTINGS = (
    Setting(name="equal, nearest centroid, 200 cells", model="centroid", cells=200, genes=50,
            spread=0.3),
    Setting(name="equal, ridge, 200 cells", model="ridge", cells=200, genes=50, spread=0.3),
    Setting(name="equal, ridge", model="ridge"),
    Setting(name="equal, ridge, 2,000 cells", model="ridge", cells=2000),
    Setting(name="equal, nearest neighbour", model="neighbour", spread=0.35),
    Setting(name="equal, centroid of 10 chosen genes", model="chosen", spread=0.35),
    Setting(name="equal, network, 3 seeds", model="network", runs=3),
    Setting(name="equal, network, 5 seeds", model="network", runs=5),
    Setting(name="equal, ridge, macro-F1", model="ridge", metric="macro_f1"),
    Setting(name="equal, network, 3 seeds, macro-F1", model="network", runs=3, metric="macro_f1"),
    Setting(name="equal, ridge, 10 donors", model="ridge", donors=10),
    Setting(name="equal, network, 3 seeds, 10 donors", model="network", runs=3, donors=10),
    Setting(name="equal, network, 5 seeds, 200 cells", model="network", runs=5, cells=200,
            genes=50, spread=0.3),
    Setting(name="a leads, ridge", model="ridge", lead=0.15),
    Setting(name="a leads, network, 3 seeds", model="network", runs=3, lead=0.2),
)  # fmt: skip


def draw(setting: Setting, cells: int, random: np.random.Generator) -> tuple[Any, Any, Any, Any]:
    """Draw labels (N,), the donor of each cell (N,), and the genes that each arm sees (N, G)."""
    means_KG = setting.spread * np.random.default_rng(1).standard_normal((CLASSES, setting.genes))
    shares = np.geomspace(1, 0.15, CLASSES)
    truth = random.choice(CLASSES, cells, p=shares / shares.sum())
    common = setting.shared * random.standard_normal((cells, setting.genes))
    own = np.sqrt(1 - setting.shared**2)
    donors = np.arange(cells) % max(setting.donors, 1)
    arms = []
    for weight in (1.0, 1.0 - setting.lead):
        seen = weight * means_KG[truth] + common + own * random.standard_normal(common.shape)
        if setting.donors:
            seen += DONOR * random.standard_normal((setting.donors, setting.genes))[donors]
        arms.append(seen)
    return truth, donors, *arms


def calls(model: str, train: Any, labels: Any, held: Any, seed: int) -> Any:
    """Fit a classifier and call the held-out cells; only `network` reads the seed."""
    onehot = np.eye(CLASSES)[labels]
    if model == "neighbour":
        near = held @ train.T - 0.5 * (train**2).sum(axis=1)
        return labels[near.argmax(axis=1)]
    if model == "chosen":
        counts = np.maximum(onehot.sum(axis=0), 1)
        between = counts @ ((onehot.T @ train) / counts[:, None] - train.mean(axis=0)) ** 2
        best = np.argsort(-between / train.var(axis=0))[:SELECTED]
        train, held = train[:, best], held[:, best]
    if model in ("centroid", "chosen"):
        centre = (onehot.T @ train) / np.maximum(onehot.sum(axis=0), 1)[:, None]
        centre[onehot.sum(axis=0) == 0] = 1e6
        return (held @ centre.T - 0.5 * (centre**2).sum(axis=1)).argmax(axis=1)
    penalty = RIDGE
    if model == "network":
        # One hidden layer that the seed draws; the second is fitted.
        random = np.random.default_rng(seed)
        weights = random.standard_normal((train.shape[1], HIDDEN)) / np.sqrt(train.shape[1])
        bias = random.standard_normal(HIDDEN)
        train, held, penalty = np.tanh(train @ weights + bias), np.tanh(held @ weights + bias), 1.0
    middle, usual = train.mean(axis=0), onehot.mean(axis=0)
    gram = (train - middle).T @ (train - middle) + penalty * np.eye(train.shape[1])
    slope = np.linalg.solve(gram, (train - middle).T @ (onehot - usual))
    return ((held - middle) @ slope + usual).argmax(axis=1)


def out_of_fold(setting: Setting, truth: Any, arm: Any, folds: Any, random: Any) -> Any:
    """Call every cell by the model of its fold, run by run (R, N); `folds` has a row a run."""
    rows = []
    for fold_N in folds:
        called = np.empty(len(truth), dtype=np.int64)
        for fold in range(FOLDS):
            out = fold_N == fold
            seed = int(random.integers(2**31))
            called[out] = calls(setting.model, arm[~out], truth[~out], arm[out], seed)
        rows.append(called)
    return np.stack(rows)


def by_fold(truth: Any, called_RN: Any, folds: Any, metric: str) -> Any:
    """Score of each run in each fold (R, folds)."""
    return np.array(
        [
            [
                influences(truth[fold_N == fold], called_N[None, fold_N == fold], metric).scores_R[
                    0
                ]
                for fold in range(FOLDS)
            ]
            for called_N, fold_N in zip(called_RN, folds, strict=True)
        ]
    )


def study(setting: Setting, random: np.random.Generator) -> dict[str, VarianceParts]:
    """Judge one data set in every way."""
    truth, donor_N, *arms = draw(setting, setting.cells, random)
    runs, size = setting.runs, setting.cells

    def part() -> Any:
        if not setting.donors:
            return by_class(truth, FOLDS, random)
        return (random.permutation(setting.donors) % FOLDS)[donor_N]

    def judged(called: Any, kept: Any = slice(None)) -> Any:
        unit = {"donors_N": donor_N[kept]} if setting.donors else {}
        return influences(truth[kept], called, setting.metric, **unit)

    one = part()
    sizes = {"test_cells": size / FOLDS, "training_cells": size * (FOLDS - 1) / FOLDS}

    held = one == 0
    split = [
        np.stack([
            calls(setting.model, arm[~held], truth[~held], arm[held], int(random.integers(2**31)))
            for _ in range(runs)
        ])
        for arm in arms
    ]  # fmt: skip
    found = {"one split, crossed": parts(*(judged(each, held) for each in split))}

    same = [one] * runs
    called = [out_of_fold(setting, truth, arm, same, random) for arm in arms]
    plain = parts(*(judged(each) for each in called))
    found["folds, crossed, uncorrected"] = plain
    found["folds, crossed, corrected"] = over_folds(plain, FOLDS)
    means = [by_fold(truth, each, same, setting.metric).mean(axis=0) for each in called]
    found["folds, corrected t"] = resplit_parts(*means, **sizes)
    grouped = [influences(truth, each, setting.metric, donors_N=one) for each in called]
    found["folds, crossed, folds as donors"] = parts(*grouped)

    # A partition for each seed, of both arms the same.
    many = [part() for _ in range(runs)]
    called = [out_of_fold(setting, truth, arm, many, random) for arm in arms]
    plain = parts(*(judged(each) for each in called), paired=runs > 1)
    found["a partition each seed, crossed, corrected"] = over_folds(plain, FOLDS)
    scores = [by_fold(truth, each, many, setting.metric).ravel() for each in called]
    found["a partition each seed, corrected t"] = resplit_parts(*scores, **sizes)
    return found


def true_lead(setting: Setting) -> tuple[float, float]:
    """Measure the difference expected of fresh data sets, and its sd over training sets."""
    random = np.random.default_rng(99)
    differences = []
    for _ in range(600 if setting.lead else 100):
        truth, _, *arms = draw(setting, round(setting.cells * (FOLDS - 1) / FOLDS), random)
        fresh, _, *held = draw(setting, 4000, random)
        right = [
            (calls(setting.model, a, truth, h, int(random.integers(2**31))) == fresh).mean()
            for a, h in zip(arms, held, strict=True)
        ]
        differences.append(right[0] - right[1])
    return (float(np.mean(differences)) if setting.lead else 0.0), float(np.std(differences))


def rates(setting: Setting, studies: int, seed: int) -> dict[str, Any]:
    """Count what each way of judging says of the same studies."""
    lead, spread = true_lead(setting)
    random = np.random.default_rng([seed, *setting.name.encode()])
    counts: dict[str, dict[str, float]] = {}
    for _ in range(studies):
        for way, judged in study(setting, random).items():
            low, high = interval(judged)
            names = ("false", "covered", "found", "width")
            count = counts.setdefault(way, dict.fromkeys(names, 0.0))
            count["false"] += high < 0 if lead else (low > 0 or high < 0)
            count["covered"] += low <= lead <= high
            count["found"] += bool(lead) and low > 0
            count["width"] += (high - low) / 2
    ways = {way: {key: x / studies for key, x in count.items()} for way, count in counts.items()}
    return {"lead": lead, "sd over training sets": spread, "ways": ways}


def main(words: Sequence[str] | None = None) -> None:
    """Print how often each way of judging errs, covers and finds."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--quick", action="store_true", help="100 studies a setting, not 1,000")
    parser.add_argument("--studies", type=int)
    parser.add_argument("--only", default="", help="settings whose name holds this")
    parser.add_argument("--seed", type=int, default=20_261_124)
    given = parser.parse_args(words)
    studies = given.studies or (100 if given.quick else 1000)
    print(f"| {studies} studies each | judged by | false | coverage | found | half-width |")
    print("|---|---|---|---|---|---|")
    found = {}
    for setting in SETTINGS:
        if given.only not in setting.name:
            continue
        found[setting.name] = rates(setting, studies, given.seed)
        for way, rate in found[setting.name]["ways"].items():
            cells = " | ".join(f"{rate[key]:.3f}" for key in ("false", "covered", "found", "width"))
            print(f"| {setting.name} | {way} | {cells} |", flush=True)
    print(json.dumps({"studies": studies, "rates": found}))


if __name__ == "__main__":
    main()
